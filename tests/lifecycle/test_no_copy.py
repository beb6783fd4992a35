"""Keys whose secret is not kept, and delivery by a command."""

import base64
import hashlib
import json
import re
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from pulumi_sandbox.aws.settings import Failure, Faults

from tests.faults.matrix import kill_with_descendants, stored_keys
from tests.leaks import Processes, Search
from tests.lifecycle.helpers import GROUPS, NewStack, config, keys_in_iam, works
from tests.lifecycle.stack import Sandbox, Stack

STORES = {"ssm": {}, "secretsManager": {}}
SECRET, PARAMETER = "access-keys/test-user", "/access-keys/test-user"


def unkept(serial: int = 1, deliver: "dict[str, Any] | None" = None, **key: Any) -> dict[str, Any]:
    """A user whose secret is not kept."""
    return {**config(serial=serial, keepSecret=False, **key), "deliver": STORES if deliver is None else deliver}


def two(deliver: "dict[str, Any] | None" = None, **serials: int) -> dict[str, Any]:
    """Several users whose secrets are not kept."""
    users = {user: {"groups": ["test"], "key": {"serial": serial}} for user, serial in serials.items()}
    return {"groups": GROUPS, "users": users, "keyDefaults": {"keepSecret": False}, "deliver": deliver or STORES}


@pytest.fixture
def command(tmp_path: Path) -> "Command":
    return Command(tmp_path)


class Command:
    """A program that keeps what it is given in a file, as a consumer's store."""

    def __init__(self, folder: Path) -> None:
        self.file, self.script, self.runs = folder / "credentials.json", folder / "deliver.py", folder / "runs"
        self.write()

    def write(self, then: str = "") -> None:
        """Make the program. then: what else it does."""
        self.script.write_text(
            "import json, os, sys, time\nkey = json.load(sys.stdin)\n"
            f"open({str(self.runs)!r}, 'a').write(key['aws_access_key_id'] + chr(10))\n{then}\n"
            f"json.dump(key, open({str(self.file)!r} + key['user'], 'w'))\n"
        )

    @property
    def settings(self) -> dict[str, Any]:
        return {"command": [sys.executable, str(self.script)]}

    def key(self, sandbox: Sandbox, user: str = "test-user") -> tuple[str, str]:
        """What the store has."""
        key = json.loads(Path(f"{self.file}{user}").read_text())
        assert key.keys() == {"user", "aws_access_key_id", "aws_secret_access_key"}
        sandbox.issued.add(key["aws_secret_access_key"])
        return key["aws_access_key_id"], key["aws_secret_access_key"]

    def count(self) -> int:
        """How often it ran."""
        return len(self.runs.read_text().splitlines()) if self.runs.exists() else 0

    def forget(self) -> None:
        """Remove the store, whose file may hold the secret, unlike others."""
        for path in self.file.parent.glob(f"{self.file.name}*"):
            path.unlink()


# ---- the secret is nowhere else


def _decrypted(file: Path, passphrase: str) -> Iterator[str]:
    """The secrets in a file of the backend. Source: config/crypt.go of the Pulumi SDK."""
    text = file.read_text()
    salts = set(re.findall(r'"salt": ?"v1:([^:"]+):', text))
    sealed = set(re.findall(r'"v1:([A-Za-z0-9+/=]{16}):([A-Za-z0-9+/=]+)"', text))
    for salt in salts:
        key = hashlib.pbkdf2_hmac("sha256", passphrase.encode(), base64.b64decode(salt), 1_000_000, 32)
        for nonce, content in sealed:
            yield AESGCM(key).decrypt(base64.b64decode(nonce), base64.b64decode(content), None).decode()


def _search(stack: Stack, secrets: set[str], *texts: str) -> list[str]:
    """Where secrets are: in the state, its history and the logs, all of it decrypted, and in texts."""
    sandbox, search = stack.sandbox, Search(secrets)
    passphrase = sandbox.folder.passphrase.read_text()
    backend = sandbox.folder.state / ".pulumi"
    files = [path for path in backend.rglob(f"*{stack.name}*.json*") if path.is_file()]
    logs = [path for path in (sandbox.folder.pulumi_home / "logs").iterdir() if path.is_file()]
    assert len(files) > 4, "there is a state and a history"
    assert len(logs) > 4
    for file in files:
        search.text("history" if "history" in file.parts else "state", "\0".join(_decrypted(file, passphrase)))
    for log in logs:
        search.text("logs", stack.run("logs", "decrypt", str(log)).text)
    search.text("state", stack.run("stack", "export", "--show-secrets").text)
    search.text("outputs", stack.run("stack", "output", "--show-secrets", "-j").text)
    for text in texts:
        search.text("output", text)
    return sorted(set(search.folders(sandbox.folder.root, stack.folder).found))


def test_the_secret_is_in_the_stores_and_nowhere_else(new_stack: NewStack, sandbox: Sandbox, command: Command) -> None:
    stack = new_stack()
    deliver = {**STORES, **command.settings}
    secrets: set[str] = set()
    texts: list[str] = []
    with Processes() as processes:
        for serial in (1, 2, 3):
            settings = two(deliver, ann=serial, kept=1)
            settings["users"]["kept"]["key"]["keepSecret"] = True
            stack.write(settings)
            if serial == 1:
                preview = stack.preview().text
                assert (
                    "the new access key of ann will be delivered to the secret 'access-keys/ann' in Secrets Manager"
                    in preview
                )
                assert command.count() == 0, "a preview runs no command"
                texts.append(preview)
            texts.append(stack.up().text)
            held = stored_keys(sandbox)
            key = command.key(sandbox, "ann")
            assert held["access-keys/ann"] == held["/access-keys/ann"] == key
            assert works(sandbox, key)
            assert stack.outputs()["accessKeyIds"]["ann"] == key[0]
            secrets.add(key[1])
            assert stack.preview("--expect-no-changes").changes == {}
            texts.append(stack.refresh("--expect-no-changes").text)
        kept = stack.key("kept")[1]
        command.forget()
        assert _search(stack, secrets, *texts) == []
        assert {"state", "history", "logs", "outputs"} <= set(_search(stack, {kept})), "the search is not blind"
        assert command.count() == 4, "once for each new key"
        hint = stack.run("stack", "output", "encryptedSecrets", check=False)
        assert hint.code != 0, "nobody can read the secret that the state has encrypted"
        stack.destroy("--run-program")
    assert stored_keys(sandbox) == {}
    assert Search({*secrets, kept}).text("a process", b"\0".join(processes.seen)).found == []


# ---- what fails


@pytest.mark.parametrize(("action", "stays"), [("secretsmanager:PutSecretValue", False), ("ssm:PutParameter", True)])
def test_a_store_that_refuses_fails_the_run_and_costs_nothing(
    new_stack: NewStack, sandbox: Sandbox, action: str, stays: bool
) -> None:
    stack = new_stack()
    guard: dict[str, Any] = {"retireGuard": {"idleDays": 3}, "previous": "deleted"}
    stack.write(unkept())
    stack.up()
    old = stored_keys(sandbox)
    stack.write(unkept(2, **guard))
    sandbox.control.fail(action, "AccessDeniedException", times=50)
    failed = stack.up(check=False)
    assert failed.code != 0
    assert "users.test-user.deliver: the access key AKIA" in failed.text
    assert "was not delivered to the" in failed.text
    assert "Traceback" not in failed.text
    assert works(sandbox, old[PARAMETER]), "the previous key is not retired"
    (new,) = keys_in_iam(sandbox).keys() - {old[SECRET][0]}
    sandbox.control.clear_faults()
    stack.write(unkept(2))
    done = stack.up()
    held = stored_keys(sandbox)
    assert held[SECRET] == held[PARAMETER]
    assert works(sandbox, held[SECRET])
    assert works(sandbox, old[SECRET])
    assert (held[SECRET][0] == new) is stays, "a key that a store has is delivered to the others, another one replaced"
    assert (f"the access key {new} of test-user is replaced: no store got its secret" in done.text) is not stays
    assert stack.preview("--expect-no-changes").changes == {}


def test_one_users_store_fails_and_the_other_users_delivery_counts(
    new_stack: NewStack, sandbox: Sandbox, command: Command
) -> None:
    command.write("if key['user'] == 'ann' and os.path.exists('refuse'): sys.exit('the store is full')")
    stack = new_stack()
    stack.write(two(command.settings, ann=1, bob=1))
    stack.up()
    anns = command.key(sandbox, "ann")
    (stack.folder / "refuse").touch()
    stack.write(two(command.settings, ann=2, bob=2))
    failed = stack.up(check=False)
    assert failed.code != 0
    assert "users.ann.deliver: the access key" in failed.text
    assert "it exited with code 1; it printed: the store is full" in failed.text
    assert "users.bob" not in failed.text
    bobs = command.key(sandbox, "bob")
    assert works(sandbox, bobs)
    assert command.key(sandbox, "ann") == anns
    assert works(sandbox, anns)
    ids = keys_in_iam(sandbox, "ann").keys()
    (stack.folder / "refuse").unlink()
    stack.up()
    assert command.key(sandbox, "bob") == bobs, "what was delivered is not issued again"
    assert works(sandbox, command.key(sandbox, "ann"))
    assert works(sandbox, anns)
    assert command.key(sandbox, "ann")[0] not in ids, "what was not delivered is"
    assert stack.preview("--expect-no-changes").changes == {}
    command.forget()


def kill_at(stack: Stack, action: str, before: bool) -> None:
    """Run `pulumi up`, and kill it and all that it started while AWS has one of its calls."""
    control = stack.sandbox.control
    control.hold(action, code="AccessDenied" if before else None)
    process = stack.start("up", "--yes", "--skip-preview", "--json")
    with ThreadPoolExecutor() as pool:
        output = pool.submit(process.communicate)
        while not output.done() and not control.held():
            time.sleep(0.02)
        assert not output.done(), output.result()
        kill_with_descendants(process.pid)
    control.set_faults(Faults(failures=(Failure("*", times=10_000, code="AccessDenied"),)))
    while control.held():
        time.sleep(0.02)
    control.clear_faults()
    _unlock(stack)


def _unlock(stack: Stack) -> None:
    stack.run("cancel", "--yes")
    stack.refresh("--clear-pending-creates")


@pytest.mark.parametrize(
    ("action", "before"),
    [
        ("sts:GetCallerIdentity", True),
        pytest.param("secretsmanager:PutSecretValue", True, marks=pytest.mark.long),
        ("secretsmanager:PutSecretValue", False),
        pytest.param("ssm:PutParameter", True, marks=pytest.mark.long),
        pytest.param("ssm:PutParameter", False, marks=pytest.mark.long),
    ],
)
def test_a_run_that_is_killed_before_delivery_leaves_consumers_a_key_that_works(
    new_stack: NewStack, sandbox: Sandbox, action: str, before: bool
) -> None:
    stack = new_stack()
    stack.write(unkept())
    stack.up()
    old = stored_keys(sandbox)
    stack.write(unkept(2))
    kill_at(stack, action, before)
    for found in stored_keys(sandbox).values():
        assert works(sandbox, found)
    sandbox.control.clear_calls()
    stack.up()
    held = stored_keys(sandbox)
    assert held[SECRET] == held[PARAMETER] != old[SECRET]
    assert works(sandbox, held[SECRET])
    assert works(sandbox, old[SECRET])
    actions = [call.action for call in sandbox.control.calls()]
    was_stored = not before or action == "ssm:PutParameter"
    assert ("DeleteAccessKey" in actions) is not was_stored, "what a store has is not issued again"
    assert stack.preview("--expect-no-changes").changes == {}


@pytest.mark.long
@pytest.mark.parametrize("serials", [(1,), (1, 2), (1, 2, 3)])
def test_a_run_that_is_killed_while_the_command_runs_issues_that_key_again(
    new_stack: NewStack, sandbox: Sandbox, command: Command, serials: tuple[int, ...]
) -> None:
    stack = new_stack()
    *before_it, last = serials
    for serial in before_it:
        stack.write(unkept(serial, command.settings))
        stack.up()
    old = command.key(sandbox) if before_it else None
    command.write("time.sleep(60)")
    stack.write(unkept(last, command.settings))
    process = stack.start("up", "--yes", "--skip-preview", "--json")
    while command.count() < len(serials):
        time.sleep(0.05)
    kill_with_descendants(process.pid)
    process.communicate()
    _unlock(stack)
    before = keys_in_iam(sandbox)
    command.write()
    sandbox.control.clear_calls()
    stack.up()
    assert works(sandbox, command.key(sandbox))
    assert command.key(sandbox)[0] not in before
    calls = [call.action for call in sandbox.control.calls() if call.action in ("CreateAccessKey", "DeleteAccessKey")]
    assert calls == ["DeleteAccessKey", "CreateAccessKey"], "the key that nobody has makes room"
    if old:
        assert works(sandbox, old), "nothing older was touched"
    assert stack.preview("--expect-no-changes").changes == {}
    command.forget()


@pytest.mark.parametrize(
    ("then", "seconds", "says"),
    [
        ("time.sleep(60)", 2, "it did not end within 2 seconds and was killed"),
        ("print(key['aws_secret_access_key']); sys.exit(3)", 60, "it exited with code 3; it printed: [secret]"),
        ("os.kill(os.getpid(), 9)", 60, "it was ended by SIGKILL"),
    ],
)
def test_a_command_that_does_not_deliver_fails_the_run(
    new_stack: NewStack, sandbox: Sandbox, command: Command, then: str, seconds: int, says: str
) -> None:
    stack = new_stack()
    command.write(then)
    stack.write(unkept(deliver={**command.settings, "timeoutSeconds": seconds}))
    failed = stack.up(check=False)
    assert failed.code != 0
    assert f"was not delivered to the command '{sys.executable}': {says}" in failed.text
    assert "Traceback" not in failed.text
    command.write("print('thank you for', key['aws_secret_access_key'])")
    done = stack.up()
    assert "it printed: thank you for [secret]" in done.text
    assert works(sandbox, command.key(sandbox))
    assert len(keys_in_iam(sandbox)) == 1
    command.forget()


def test_a_command_that_does_not_exist_is_reported_before_a_key_is_issued(
    new_stack: NewStack, sandbox: Sandbox
) -> None:
    stack = new_stack()
    stack.write(unkept(deliver={"command": ["./nowhere"]}))
    failed = stack.up(check=False)
    assert "the program './nowhere', which delivers it, is neither on PATH nor in the project's folder" in failed.text
    assert "Traceback" not in failed.text
    assert sandbox.client("iam").list_users()["Users"] == []

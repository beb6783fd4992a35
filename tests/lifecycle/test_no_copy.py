"""Keys whose secret is not kept, and delivery by a command."""

import base64
import hashlib
import json
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from pulumi_sandbox.aws.settings import Failure, Faults

from tests.faults.matrix import kill_with_descendants, stored_keys
from tests.leaks import Processes, Search
from tests.lifecycle.helpers import (
    GROUPS,
    NewStack,
    config,
    in_days,
    keys_in_iam,
    put_by_hand,
    set_adopted_secret,
    works,
)
from tests.lifecycle.stack import CHECKOUT, Sandbox, Stack

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

    def write(self, then: str = "", after: str = "") -> None:
        """Make the program. then: what else it does. after: the same, once it has kept the key."""
        self.script.write_text(
            "import json, os, sys, time\nkey = json.load(sys.stdin)\n"
            f"open({str(self.runs)!r}, 'a').write(key['aws_access_key_id'] + chr(10))\n{then}\n"
            f"with open({str(self.file)!r} + key['user'], 'w') as file:\n    json.dump(key, file)\n{after}\n"
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


def _content(stack: Stack) -> list[tuple[str, str]]:
    """The state, its history, the logs and the outputs, all of it decrypted: place and text."""
    folder = stack.sandbox.folder
    passphrase = folder.passphrase.read_text()
    files = [path for path in (folder.state / ".pulumi").rglob(f"*{stack.name}*.json*") if path.is_file()]
    logs = [path for path in (folder.pulumi_home / "logs").iterdir() if stack.name in path.name]
    assert len(files) > 4, "there is a state and a history"
    assert len(logs) > 2, "there are logs, one for each second in which a command began"
    found = [("history" if "history" in f.parts else "state", "\0".join(_decrypted(f, passphrase))) for f in files]
    found += [("logs", stack.run("logs", "decrypt", str(log)).text) for log in logs]
    found.append(("state", stack.run("stack", "export", "--show-secrets").text))
    return [*found, ("outputs", stack.run("stack", "output", "--show-secrets", "-j").text)]


def _search(secrets: set[str], content: list[tuple[str, str]], stack: Stack) -> set[str]:
    """Where secrets are: in decrypted content, or in any file."""
    search = Search(secrets)
    for place, text in content:
        search.text(place, text)
    return set(search.folders(stack.sandbox.folder.root, stack.folder).found)


def test_the_secret_is_in_the_stores_and_nowhere_else(new_stack: NewStack, sandbox: Sandbox, command: Command) -> None:
    stack = new_stack(secrets_provider="passphrase")
    deliver = {**STORES, **command.settings}
    secrets: set[str] = set()
    texts: list[str] = []
    with Processes() as processes:
        for serial in (1, 2):
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
        content = _content(stack)
        assert _search(secrets, [*content, *(("printed", text) for text in texts)], stack) == set()
        assert {"state", "history", "logs", "outputs"} <= _search({kept}, content, stack), "the search is not blind"
        assert command.count() == 3, "once for each new key"
        hint = stack.run("stack", "output", "encryptedSecrets", check=False)
        assert hint.code != 0, "nobody can read the secret that the state has encrypted"
        stack.destroy("--run-program")
    assert stored_keys(sandbox) == {}
    assert Search({*secrets, kept}).text("a process", b"\0".join(processes.seen)).found == []


# ---- what fails


@pytest.mark.long
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
    assert (f"the access key {new} of test-user is replaced: no store has its secret" in done.text) is not stays
    assert stack.preview("--expect-no-changes").changes == {}


@pytest.mark.long
def test_a_third_key_that_no_store_got_is_issued_again(new_stack: NewStack, sandbox: Sandbox) -> None:
    stack = new_stack()
    for serial in (1, 2):
        stack.write(unkept(serial))
        stack.up()
    in_use = stored_keys(sandbox)
    for serial in (3, 4):
        stack.write(unkept(serial))
        sandbox.control.fail("ssm:PutParameter", "AccessDeniedException", times=50)
        sandbox.control.fail("secretsmanager:PutSecretValue", "AccessDeniedException", times=50)
        assert stack.up(check=False).code != 0
        assert stored_keys(sandbox) == in_use
        sandbox.control.clear_faults()
        stack.up()
        assert stored_keys(sandbox) != in_use
        assert all(works(sandbox, key) for key in (*in_use.values(), *stored_keys(sandbox).values()))
        in_use = stored_keys(sandbox)


@pytest.mark.long
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


@pytest.mark.long
def test_a_key_that_aws_does_not_accept_is_not_delivered(new_stack: NewStack, sandbox: Sandbox) -> None:
    stack = new_stack()
    stack.write(unkept(deliver={"ssm": {}}))
    sandbox.control.fail("sts:GetCallerIdentity", "AccessDenied", times=50)
    failed = stack.up(check=False)
    assert "Run `pulumi up` again for another key in its place: the secret of this one is not kept." in failed.text
    assert stored_keys(sandbox) == {}
    sandbox.control.clear_faults()
    stack.up()
    assert works(sandbox, stored_keys(sandbox)[PARAMETER])
    assert len(keys_in_iam(sandbox)) == 1


def kill_at(stack: Stack, action: str, before: bool) -> None:
    """Run `pulumi up`, and kill it and all that it started while AWS has one of its calls."""
    control = stack.sandbox.control
    call = 2 if action == "sts:GetCallerIdentity" else 1  # the first question is about the account
    control.hold(action, call, "AccessDenied" if before else None)
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


@pytest.mark.long
@pytest.mark.parametrize(
    ("action", "before"),
    [
        ("sts:GetCallerIdentity", True),
        ("secretsmanager:PutSecretValue", True),
        ("secretsmanager:PutSecretValue", False),
        ("ssm:PutParameter", True),
        ("ssm:PutParameter", False),
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
@pytest.mark.parametrize("was_written", [True, False])
@pytest.mark.parametrize("serials", [(1,), (1, 2), (1, 2, 3)])
def test_what_a_command_did_before_the_run_was_killed_is_not_guessed(
    new_stack: NewStack, sandbox: Sandbox, command: Command, serials: tuple[int, ...], was_written: bool
) -> None:
    stack = new_stack()
    *before_it, last = serials
    for serial in before_it:
        stack.write(unkept(serial, command.settings))
        stack.up()
    old = command.key(sandbox) if before_it else None
    command.write(then="" if was_written else "time.sleep(60)", after="time.sleep(60)")
    stack.write(unkept(last, command.settings))
    process = stack.start("up", "--yes", "--skip-preview", "--json")
    while command.count() < len(serials):
        time.sleep(0.05)
    time.sleep(0.2)
    kill_with_descendants(process.pid)
    process.communicate()
    _unlock(stack)
    left, delivered = keys_in_iam(sandbox), command.runs.read_text().split()[-1]
    interrupted = f"the command was interrupted while it delivered the access key {delivered}"
    stack.write(unkept(last, command.settings, previous="deleted"))
    for _ in range(2):
        preview, refused = stack.preview(), stack.up(check=False)
        assert preview.changes.keys() <= {"create"}, "no more than the record of what was delivered, which is nothing"
        assert refused.code != 0
        assert interrupted in preview.text
        assert interrupted in refused.text
        assert keys_in_iam(sandbox) == left, "nothing is retired until somebody knows which key the store has"
    command.write()
    if was_written:
        old = command.key(sandbox)
        stack.write(unkept(last + 1, command.settings))
    else:
        sandbox.client("iam").delete_access_key(UserName="test-user", AccessKeyId=delivered)
        stack.refresh()
        stack.write(unkept(last, command.settings))
    stack.up()
    assert works(sandbox, command.key(sandbox))
    assert command.key(sandbox)[0] not in left
    if old:
        assert works(sandbox, old), "the key that the store had was not touched"
    assert stack.preview("--expect-no-changes").changes == {}
    command.forget()


@pytest.mark.long
def test_a_failed_run_without_the_user_does_not_forget_that_nobody_knows_what_the_command_did(
    new_stack: NewStack, sandbox: Sandbox, command: Command
) -> None:
    stack, settings = new_stack(), two(command.settings, ann=1)
    settings["groups"] = settings["groups"] | {"other": {"policies": ["AmazonSNSFullAccess"]}}
    stack.write(settings)
    stack.up()
    settings["users"]["ann"]["key"] = {"serial": 2}
    command.write("time.sleep(60)")
    stack.write(settings)
    process = stack.start("up", "--yes", "--skip-preview", "--json")
    while command.count() < 2:
        time.sleep(0.05)
    kill_with_descendants(process.pid)
    process.communicate()
    _unlock(stack)
    unknown = "the command was interrupted while it delivered the access key"
    assert unknown in stack.up(check=False).text
    sandbox.control.fail("AttachGroupPolicy", "AccessDenied", times=50)
    failing = settings["groups"] | {"other": {"policies": ["AmazonSQSFullAccess"]}}
    stack.write({**settings, "users": {}, "groups": failing, "allowNoUsers": True})
    assert stack.up(check=False).code != 0
    sandbox.control.clear_faults()
    left = keys_in_iam(sandbox, "ann")
    assert len(left) == 2, "the run failed before it deleted a key"
    stack.write(settings)
    assert unknown in stack.up(check=False).text
    assert keys_in_iam(sandbox, "ann") == left
    command.forget()


@pytest.mark.long
def test_the_command_runs_when_everybody_elses_keys_are_delivered(
    new_stack: NewStack, sandbox: Sandbox, command: Command
) -> None:
    stack, ids = new_stack(), list[str]()
    command.write("time.sleep(1)")
    for serial in (1, 2):
        users = two(command.settings, ann=serial, bob=serial)
        users["users"]["bob"] |= {"key": {"serial": serial, "keepSecret": True}, "deliver": {"ssm": {}}}
        stack.write(users)
        if serial == 2:
            sandbox.control.fail("ssm:PutParameter", "AccessDenied", times=50)
        assert (stack.up(check=False).code == 0) is (serial == 1)
        ids = command.runs.read_text().split()
        assert len(ids) == 1, "the update that fails because of bob does not run ann's command"
    sandbox.control.clear_faults()
    stack.up()
    assert works(sandbox, command.key(sandbox, "ann"))
    assert keys_in_iam(sandbox, "ann").keys() == {*ids, command.key(sandbox, "ann")[0]}
    command.forget()


@pytest.mark.long
def test_a_key_with_which_the_command_failed_stays_where_the_serial_goes_back(
    new_stack: NewStack, sandbox: Sandbox, command: Command
) -> None:
    stack = new_stack()
    stack.write(unkept(1, command.settings))
    stack.up()
    old = command.key(sandbox)
    command.write(after="sys.exit(1)")
    stack.write(unkept(2, command.settings))
    assert stack.up(check=False).code != 0
    (half, left) = command.key(sandbox), keys_in_iam(sandbox)
    stack.write(unkept(1, command.settings, previous="deleted"))
    for done in (stack.preview(), stack.up(check=False), stack.up(check=False)):
        assert f"the delivery of the access key {half[0]} failed, and your store may have it" in done.text
    assert keys_in_iam(sandbox) == left
    command.write()
    stack.write(unkept(3, command.settings))
    assert f"{half[0]} of test-user is replaced: its delivery failed" in stack.up().text
    assert command.key(sandbox)[0] not in left
    assert works(sandbox, command.key(sandbox))
    assert works(sandbox, old)
    assert stack.preview("--expect-no-changes").changes == {}
    command.forget()


@pytest.mark.long
def test_a_key_with_which_the_command_failed_stays_while_no_other_one_can_be_delivered(
    new_stack: NewStack, sandbox: Sandbox, command: Command
) -> None:
    stack = new_stack()
    stack.write(unkept(1, command.settings))
    stack.up()
    command.write(after="sys.exit(1)")
    stack.write(unkept(2, command.settings))
    assert stack.up(check=False).code != 0
    (half, left) = command.key(sandbox), keys_in_iam(sandbox)
    stack.write(unkept(2, {"command": ["no-such-program"]}))
    for done in (stack.preview(), stack.up(check=False)):
        assert "your store may have it, so it stays until another key can be issued in its place" in done.text
        assert "no new key is issued: the program 'no-such-program', which delivers it, is neither on PATH" in done.text
        assert f"{half[0]} of test-user is" not in done.text
    assert keys_in_iam(sandbox) == left, "the key that the store has still works"
    command.write()
    stack.write(unkept(2, command.settings))
    assert f"{half[0]} of test-user is replaced: its delivery failed" in stack.up().text
    assert works(sandbox, command.key(sandbox))
    assert stack.preview("--expect-no-changes").changes == {}
    command.forget()


@pytest.mark.long
@pytest.mark.parametrize("store", ["ssm", "secretsManager"])
def test_where_a_store_fails_before_the_command_nobody_is_asked_what_the_command_did(
    new_stack: NewStack, sandbox: Sandbox, command: Command, store: str
) -> None:
    deliver, stack = {store: {}, **command.settings}, new_stack()
    stack.write(unkept(1, deliver))
    stack.up()
    first = command.key(sandbox)
    sandbox.control.fail("ssm:PutParameter", "AccessDeniedException", times=50)
    sandbox.control.fail("secretsmanager:PutSecretValue", "AccessDeniedException", times=50)
    stack.write(unkept(2, deliver))
    assert "was not delivered to the " in stack.up(check=False).text
    sandbox.control.clear_faults()
    assert command.key(sandbox) == first
    stack.up()
    assert command.key(sandbox) != first, "as the message says"
    assert works(sandbox, command.key(sandbox))
    assert list(stored_keys(sandbox).values()) == [command.key(sandbox)]
    assert stack.preview("--expect-no-changes").changes == {}
    command.forget()


@pytest.mark.long
@pytest.mark.parametrize("is_command", [True, False])
def test_where_a_key_that_was_not_delivered_may_be_in_use_nothing_is_retired(
    new_stack: NewStack, sandbox: Sandbox, command: Command, is_command: bool
) -> None:
    stack, deliver = new_stack(), command.settings if is_command else {"ssm": {}}
    stack.write(unkept(1, deliver))
    stack.up()
    command.write("sys.exit(3)")
    sandbox.control.fail("ssm:PutParameter", "AccessDenied", times=50)
    stack.write(unkept(2, deliver, previous="deleted"))
    assert stack.up(check=False).code != 0
    command.write()
    sandbox.control.clear_faults()
    left = keys_in_iam(sandbox)
    sandbox.control.fail("iam:GetAccessKeyLastUsed", "AccessDenied", times=99)
    for serial in (2, 2, 3):
        stack.write(unkept(serial, deliver, previous="deleted"))
        assert (
            "was not delivered, and whether it was used nevertheless could not be checked" in stack.up(check=False).text
        )
        assert keys_in_iam(sandbox) == left
    sandbox.control.clear_faults()
    stack.write(unkept(2, deliver, previous="deleted"))
    stack.up()
    (key_id,) = keys_in_iam(sandbox)
    assert key_id not in left, "unused, it is replaced, and then the previous one goes"
    command.forget()


@pytest.mark.long
def test_a_key_that_somebody_got_from_a_command_that_failed_stays(
    new_stack: NewStack, sandbox: Sandbox, command: Command
) -> None:
    stack = new_stack()
    stack.write(unkept(1, command.settings))
    stack.up()
    command.write(after="sys.exit(3)")
    stack.write(unkept(2, command.settings, previous="deleted"))
    assert stack.up(check=False).code != 0
    assert works(sandbox, half := command.key(sandbox))
    left = keys_in_iam(sandbox)
    command.write()
    for done in (stack.preview(), stack.up(check=False), stack.up(check=False)):
        assert f"the access key {half[0]} was used, but its delivery is not recorded" in done.text
        assert keys_in_iam(sandbox) == left, "another consumer may have the previous one"
    stack.write(unkept(3, command.settings))
    stack.up()
    assert works(sandbox, half), "as the message promises"
    assert works(sandbox, command.key(sandbox))
    command.forget()


@pytest.mark.long
def test_a_half_delivered_key_that_no_store_has_any_more_retires_no_other(
    new_stack: NewStack, sandbox: Sandbox, command: Command
) -> None:
    stack, deliver = new_stack(), {"ssm": {}, **command.settings}
    stack.write(unkept(1, deliver))
    stack.up()
    old = command.key(sandbox)
    command.write("sys.exit(3)")
    stack.write(unkept(2, deliver, previous="deleted"))
    assert stack.up(check=False).code != 0
    half = stored_keys(sandbox)[PARAMETER]
    assert works(sandbox, old)
    assert works(sandbox, half)
    sandbox.client("ssm").delete_parameter(Name=PARAMETER)
    for _ in range(2):
        assert f"the access key {half[0]} was used, but its delivery is not recorded" in stack.up(check=False).text
        assert works(sandbox, old)
    sandbox.client("iam").delete_access_key(UserName="test-user", AccessKeyId=half[0])
    stack.refresh()
    command.write()
    stack.up()
    assert command.key(sandbox) == stored_keys(sandbox)[PARAMETER] not in (old, half)
    assert stack.preview("--expect-no-changes").changes == {}
    command.forget()


@pytest.mark.long
@pytest.mark.parametrize("is_kept", [True, False])
def test_no_key_that_a_command_delivered_makes_room_for_one_after_the_next(
    new_stack: NewStack, sandbox: Sandbox, command: Command, is_kept: bool
) -> None:
    stack, deliver = new_stack(), {"ssm": {}, **command.settings}

    def write(serial: int) -> None:
        stack.write({**config(serial=serial), "deliver": deliver} if is_kept else unkept(serial, deliver))

    write(1)
    stack.up()
    old = command.key(sandbox)
    command.write("sys.exit(3)")
    for serial in (2, 3, 3):
        write(serial)
        assert stack.up(check=False).code != 0
        assert works(sandbox, old), "it is the only one that the command's consumers have"
    command.write()
    assert "this run completes it" in stack.up(check=False).text
    assert (half := command.key(sandbox)) != old
    stack.up()
    assert works(sandbox, half)
    assert works(sandbox, command.key(sandbox))
    assert command.key(sandbox) == stored_keys(sandbox)[PARAMETER] != half
    command.forget()


@pytest.mark.long
@pytest.mark.parametrize(
    ("then", "seconds", "says"),
    [
        ("time.sleep(60)", 2, "it did not finish within 2 seconds and was killed"),
        ("print(key['aws_secret_access_key']); sys.exit(3)", 60, "it exited with code 3; it printed: [secret]"),
        ("os.kill(os.getpid(), 9)", 60, "it was terminated by SIGKILL"),
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


@pytest.mark.long
def test_a_command_that_does_not_exist_is_reported_before_a_key_is_issued(
    new_stack: NewStack, sandbox: Sandbox
) -> None:
    stack = new_stack()
    stack.write(unkept(deliver={"command": ["./nowhere"]}))
    failed = stack.up(check=False)
    assert "the program './nowhere', which delivers it, is neither on PATH nor in the project's folder" in failed.text
    assert "Traceback" not in failed.text
    assert sandbox.client("iam").list_users()["Users"] == []


# ---- changes of mind


@pytest.mark.long
def test_it_counts_from_the_next_key_on_and_the_way_back_too(new_stack: NewStack, sandbox: Sandbox) -> None:
    stack = new_stack()
    stack.write({**config(), "deliver": STORES})
    stack.up()
    old = stack.key("test-user")
    stack.write(unkept())
    said = "aws-access-keys:users.test-user.key.keepSecret: this applies from the next key on"
    assert said in stack.up().text
    assert said not in stack.up().text, "it is reported once"
    stack.write(unkept(2))
    waits = stack.up(check=False)
    assert waits.code != 0
    assert stored_keys(sandbox)[PARAMETER] == old
    (line,) = re.findall(r"pulumi (state delete '[^']*' --target-dependents)", waits.text)
    stack.run(*shlex.split(line), "--yes")
    stack.up()
    held = stored_keys(sandbox)
    assert held[SECRET] == held[PARAMETER] != old
    assert works(sandbox, held[PARAMETER])
    assert works(sandbox, old)
    assert stack.preview("--expect-no-changes").changes == {}
    assert stack.refresh("--expect-no-changes").changes == {}
    assert Search({held[SECRET][1]}).text("state", stack.run("stack", "export", "--show-secrets").text).found == []
    stack.write({**config(serial=2, keepSecret=True), "deliver": STORES})
    assert "this applies from the next key on; the secret of test-user's current access key stays" in stack.up().text
    assert stored_keys(sandbox) == held
    stack.write({**config(serial=3), "deliver": STORES})
    stack.up()
    again = stored_keys(sandbox)
    assert again[SECRET] == again[PARAMETER] == stack.key("test-user")
    assert works(sandbox, again[SECRET])
    assert stack.preview("--expect-no-changes").changes == {}
    assert stack.refresh("--expect-no-changes").changes == {}
    stack.destroy()
    assert stored_keys(sandbox) == {}


@pytest.mark.long
def test_a_secret_that_was_not_delivered_is_kept_if_the_settings_ask_for_that_now(
    new_stack: NewStack, sandbox: Sandbox
) -> None:
    stack = new_stack()
    stack.write(unkept(deliver={"ssm": {}}))
    sandbox.control.fail("ssm:PutParameter", "ParameterLimitExceeded", times=50)
    assert "ParameterLimitExceeded" in stack.up(check=False).text
    sandbox.control.clear_faults()
    stack.write(config())
    stack.up()
    assert works(sandbox, stack.key("test-user"))
    assert len(keys_in_iam(sandbox)) == 1
    assert stored_keys(sandbox) == {}
    assert stack.preview("--expect-no-changes").changes == {}


@pytest.mark.long
def test_a_new_store_gets_the_key_from_one_that_has_it(new_stack: NewStack, sandbox: Sandbox, command: Command) -> None:
    stack = new_stack()
    stack.write(unkept(deliver={"ssm": {}}))
    stack.up()
    before = keys_in_iam(sandbox)
    stack.write(unkept(deliver={"ssm": {"name": "/team/key"}, "secretsManager": {}, **command.settings}))
    stack.up()
    held = stored_keys(sandbox)
    assert held == dict.fromkeys([SECRET, "/team/key"], command.key(sandbox)), "the old name is gone"
    assert keys_in_iam(sandbox) == before
    assert stack.preview("--expect-no-changes").changes == {}
    stack.write(unkept(deliver=command.settings))
    stack.up()
    assert stored_keys(sandbox) == {}
    assert stack.preview("--expect-no-changes").changes == {}
    stack.write(unkept(deliver={"command": [*command.settings["command"], "changed"]}))
    preview, waits = stack.preview(), stack.up(check=False)
    assert waits.code != 0
    for done in (preview, waits):
        why = "its secret is not kept, and no store has it. Raise serial to 2 for a key that can be delivered."
        assert why in done.text
    assert works(sandbox, command.key(sandbox))
    assert keys_in_iam(sandbox) == before
    command.forget()


@pytest.mark.long
def test_the_command_runs_for_a_new_key_and_for_a_new_command(
    new_stack: NewStack, sandbox: Sandbox, command: Command
) -> None:
    stack = new_stack()
    runs = []
    for serial, argument in ((1, "a"), (1, "a"), (1, "b"), (2, "b")):
        deliver = {"command": [*command.settings["command"], argument]}
        stack.write({**config(serial=serial), "deliver": deliver})
        stack.up()
        assert command.key(sandbox) == stack.key("test-user")
        runs.append(command.count())
        assert stack.preview("--expect-no-changes").changes == {}
    assert runs == [1, 1, 2, 3]
    stack.destroy()
    command.forget()


@pytest.mark.long
def test_a_copy_that_somebody_deleted_costs_nothing(new_stack: NewStack, sandbox: Sandbox) -> None:
    stack = new_stack()
    stack.write(unkept())
    stack.up()
    held = stored_keys(sandbox)
    sandbox.client("secretsmanager").delete_secret(SecretId=SECRET, ForceDeleteWithoutRecovery=True)
    stack.refresh()
    stack.up()
    assert stored_keys(sandbox) == held, "the parameter had it"
    sandbox.client("ssm").delete_parameter(Name=PARAMETER)
    stack.write(unkept(2))
    stack.up()
    held = stored_keys(sandbox)
    assert held[SECRET] == held[PARAMETER]
    stack.write(unkept(2, {"secretsManager": {}}))
    stack.up()
    sandbox.client("secretsmanager").delete_secret(SecretId=SECRET, ForceDeleteWithoutRecovery=True)
    stack.refresh()
    failed = stack.up(check=False)
    assert failed.code != 0
    assert (
        "is not delivered to the secret 'access-keys/test-user' in Secrets Manager: its secret is not kept"
        in failed.text
    )
    stack.write(unkept(3, {"secretsManager": {}}))
    stack.up()
    assert works(sandbox, stored_keys(sandbox)[SECRET])


# ---- the end of a key


def order(sandbox: Sandbox, *actions: str) -> list[str]:
    """The calls among these actions, in the order in which they were made."""
    return [call.action for call in sandbox.control.calls() if call.action in actions]


@pytest.mark.long
def test_a_key_goes_after_its_copies(new_stack: NewStack, sandbox: Sandbox) -> None:
    ends = ("DeleteParameter", "DeleteSecret", "DeleteAccessKey")
    stack = new_stack()
    stack.write(two(ann=1, bob=1))
    stack.up()
    sandbox.control.clear_calls()
    stack.write(two(ann=1))
    assert "the parameter '/access-keys/bob' is deleted from SSM Parameter Store" in stack.preview().text
    stack.up()
    assert order(sandbox, *ends)[2:] == ["DeleteAccessKey"]
    sandbox.control.clear_calls()
    refused = stack.destroy(check=False)
    assert refused.code != 0
    assert "--run-program" in refused.text
    assert works(sandbox, stored_keys(sandbox)["/access-keys/ann"])
    stack.destroy("--run-program")
    assert order(sandbox, *ends)[2:] == ["DeleteAccessKey"]
    assert stored_keys(sandbox) == {}


@pytest.mark.long
def test_an_expired_key_is_deactivated_after_its_copies_were_replaced(new_stack: NewStack, sandbox: Sandbox) -> None:
    stack, day = new_stack(), in_days(30)
    stack.write(unkept(expires=day))
    stack.up()
    stack.environment["ACCESS_KEYS_TODAY"] = day
    stack.preview()
    sandbox.control.fail("ssm:PutParameter", "AccessDeniedException", times=50)
    assert "was not delivered to the parameter" in stack.up(check=False).text
    assert set(keys_in_iam(sandbox).values()) == {"Active"}
    sandbox.control.clear_faults()
    sandbox.control.clear_calls()
    stack.up()
    calls = order(sandbox, "PutSecretValue", "PutParameter", "UpdateAccessKey")
    assert calls[-2:] == ["PutParameter", "UpdateAccessKey"], "no store ever holds a key that does not work"
    assert "PutSecretValue" not in calls, "what is done is not done again"
    text = sandbox.client("ssm").get_parameter(Name=PARAMETER, WithDecryption=True)["Parameter"]["Value"]
    assert json.loads(text) == {"expired": day}
    assert stack.preview("--expect-no-changes").changes == {}
    stack.write(unkept(expires=in_days(60)))
    assert stack.preview("--expect-no-changes").changes == {}, "a later day alone changes nothing"
    stack.write(unkept(2, expires=in_days(60)))
    stack.up()
    held = stored_keys(sandbox)
    assert works(sandbox, held[SECRET])
    assert held[SECRET] == held[PARAMETER]


@pytest.mark.long
@pytest.mark.parametrize("more", [{}, {"ssm": {}}])
def test_what_a_command_delivered_stays_when_it_expires(
    new_stack: NewStack, sandbox: Sandbox, command: Command, more: dict[str, Any]
) -> None:
    stack, day = new_stack(), in_days(30)
    stack.write(unkept(deliver={**command.settings, **more}, expires=day))
    stack.up()
    stack.environment["ACCESS_KEYS_TODAY"] = day
    stack.up()
    assert set(keys_in_iam(sandbox).values()) == {"Inactive"}
    assert stack.preview("--expect-no-changes").changes == {}, "the command gets no message about the end of a key"
    assert command.count() == 1
    command.forget()


@pytest.mark.long
def test_the_retire_guard_keeps_the_copies_of_a_key_in_use(new_stack: NewStack, sandbox: Sandbox) -> None:
    stack = new_stack()
    stack.write(unkept(retireGuard={"idleDays": 30}))
    stack.up()
    held = stored_keys(sandbox)
    assert works(sandbox, held[SECRET])
    refused = stack.destroy("--run-program", check=False)
    assert refused.code != 0
    assert stored_keys(sandbox) == held
    assert works(sandbox, held[SECRET])


@pytest.mark.long
def test_credentials_tells_where_the_secret_is(new_stack: NewStack, sandbox: Sandbox) -> None:
    stack = new_stack()
    stack.write(unkept())
    stack.up()
    command = ["access-keys", "credentials", "test-user", "--stack", stack.name]
    environment = sandbox.environment | stack.environment
    done = subprocess.run(command, cwd=stack.folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 1
    assert "It was delivered to the secret 'access-keys/test-user' in Secrets Manager and the parameter" in done.stderr


@pytest.mark.long
def test_the_example_of_the_documentation_has_no_secret_in_any_file(new_stack: NewStack, sandbox: Sandbox) -> None:
    text = (CHECKOUT / "docs" / "delivery.md").read_text()
    (example,) = re.findall(r"```yaml\n(config:.*?)```", text, re.DOTALL)
    stack = new_stack(secrets_provider="passphrase")
    stack.write(yaml.safe_load(example)["config"])
    stack.up()
    (key,) = stored_keys(sandbox).values()
    assert works(sandbox, key)
    for _ in range(4):  # a history worth searching
        stack.refresh("--expect-no-changes")
    assert _search({key[1]}, _content(stack), stack) == set()


@pytest.mark.long
def test_a_key_in_use_is_not_issued_again_where_the_newer_one_is_gone(new_stack: NewStack, sandbox: Sandbox) -> None:
    stack = new_stack()
    guard: dict[str, Any] = {"retireGuard": {"idleDays": 3}}
    stack.write(unkept(deliver={"ssm": {}}, **guard))
    stack.up()
    in_use = stored_keys(sandbox)[PARAMETER]
    stack.write(unkept(serial=2, deliver={"ssm": {}}, **guard))
    stack.up()
    assert works(sandbox, in_use)
    newer = stored_keys(sandbox)[PARAMETER][0]
    sandbox.client("iam").delete_access_key(UserName="test-user", AccessKeyId=newer)
    stack.refresh()
    stack.up(check=False)
    assert works(sandbox, in_use), "its consumers keep it"


@pytest.mark.long
def test_the_arguments_of_a_command_are_not_in_the_state(new_stack: NewStack, command: Command) -> None:
    stack = new_stack()
    stack.write(unkept(deliver={"command": [*command.settings["command"], "token-of-the-store"]}))
    stack.up()
    assert "token-of-the-store" not in stack.run("stack", "export", "--show-secrets").text


# ---- the only copy of a secret


@pytest.mark.long
def test_the_only_copy_is_not_deleted_with_its_store(new_stack: NewStack, sandbox: Sandbox) -> None:
    stack = new_stack()
    stack.write(unkept())
    stack.up()
    held = stored_keys(sandbox)
    stack.write(config())
    refused = stack.preview(check=False)
    assert refused.code != 0
    assert f"the secret of the access key {held[SECRET][0]} was not kept, so its only copy would be" in refused.text
    assert stack.up(check=False).code != 0
    assert stored_keys(sandbox) == held
    stack.write({**config(serial=2), "deliver": STORES})
    stack.up()
    stack.write(config(serial=2))
    stack.up()
    assert stored_keys(sandbox) == {}
    assert works(sandbox, stack.key("test-user")), "as the message advises: the next key is in the state"


@pytest.mark.parametrize(
    "before", ["a key to issue", pytest.param("a key that was not delivered", marks=pytest.mark.long)]
)
def test_the_only_copy_is_not_deleted_in_the_update_that_asks_for_a_key_without_a_store(
    new_stack: NewStack, sandbox: Sandbox, before: str
) -> None:
    stack = new_stack()
    guard: dict[str, Any] = {"retireGuard": {"idleDays": 3}}
    stack.write(unkept(1, {"secretsManager": {}}, **guard))
    stack.up()
    held = stored_keys(sandbox)
    assert works(sandbox, held[SECRET])
    if before != "a key to issue":
        stack.write({**config(serial=2, **guard), "deliver": {"secretsManager": {}}})
        sandbox.control.fail("secretsmanager:PutSecretValue", "AccessDeniedException")
        stack.up(check=False)
        sandbox.control.clear_faults()
    stack.write(config(serial=2, **guard))
    for refused in (stack.preview(check=False), stack.up(check=False)):
        assert refused.code != 0
        assert f"the access key {held[SECRET][0]} stays, and its secret was not kept" in refused.text
    assert stored_keys(sandbox) == held, "its consumers read it there"
    stack.write({**config(serial=2, **guard), "deliver": {"secretsManager": {}}})
    stack.up()
    newer = stored_keys(sandbox)[SECRET]
    assert newer != held[SECRET]
    assert works(sandbox, newer), "as the message advises"
    stack.write(config(serial=2, **guard))
    stack.up(check=False)
    assert works(sandbox, stack.key("test-user"))


@pytest.mark.long
def test_the_only_copy_goes_with_its_key_where_the_next_one_is_for_no_store(
    new_stack: NewStack, sandbox: Sandbox
) -> None:
    stack = new_stack()
    stack.write(unkept(1, {"ssm": {}}))
    stack.up()
    (held,) = stored_keys(sandbox).values()
    stack.write(config(serial=2, previous="deleted"))
    stack.up()
    assert stored_keys(sandbox) == {}, "as the message advises"
    assert held[0] not in keys_in_iam(sandbox)


@pytest.mark.long
def test_a_parameter_with_the_only_copy_is_not_replaced(new_stack: NewStack, sandbox: Sandbox) -> None:
    stack = new_stack()
    stack.write({**config(keepSecret=False), "deliver": {"ssm": {}}})
    stack.up()
    held = stored_keys(sandbox)
    (urn,) = (urn for urn in stack.resources() if "::access/ssm:" in urn)
    for refused in (stack.preview("--replace", urn, check=False), stack.up("--replace", urn, check=False)):
        assert "is not replaced, because the parameter has the only copy of the secret" in refused.text
    stack.run("state", "taint", urn, "--yes")
    assert f"`pulumi state untaint '{urn}'`" in stack.up(check=False).text
    stack.run("state", "untaint", urn, "--yes")
    assert stack.up().changes == {}, "as the message advises"
    assert stored_keys(sandbox) == held


@pytest.mark.long
def test_a_rotation_into_a_renamed_store_that_refused_once_goes_on(new_stack: NewStack, sandbox: Sandbox) -> None:
    stack = new_stack()
    stack.write(unkept(1, {"ssm": {"name": "/old"}}))
    stack.up()
    first = stored_keys(sandbox)["/old"]
    stack.write(unkept(2, {"ssm": {"name": "/new"}}))
    sandbox.control.fail("ssm:PutParameter", "AccessDeniedException")
    refused = stack.up(check=False)
    sandbox.control.clear_faults()
    assert refused.code != 0
    assert stored_keys(sandbox) == {"/old": first}
    assert works(sandbox, first)
    stack.up()
    assert stored_keys(sandbox).keys() == {"/new"}, "as the message says"
    assert works(sandbox, stored_keys(sandbox)["/new"])
    assert stack.preview("--expect-no-changes").changes == {}


@pytest.mark.parametrize(
    "then",
    [
        {"ssm": {"name": "/own"}},
        pytest.param({"secretsManager": {}}, marks=pytest.mark.long),
        pytest.param(None, marks=pytest.mark.long),
    ],
)
def test_a_parameter_that_somebody_else_has_is_not_deleted_after_a_delivery_that_it_refused(
    new_stack: NewStack, sandbox: Sandbox, then: "dict[str, Any] | None"
) -> None:
    """then: where the key goes after that; None where the stack is destroyed."""
    ssm, stack = sandbox.client("ssm"), new_stack()
    ssm.put_parameter(Name="/app/password", Value="theirs", Type="SecureString")
    stack.write(unkept(1, {"ssm": {"name": "/app/password"}}))
    refused = stack.up(check=False)
    assert "was not delivered to the parameter '/app/password' in SSM: ParameterAlreadyExists" in refused.text
    if then is None:
        done = stack.run("destroy", "--run-program", "--yes")
    else:
        stack.write(unkept(1, then))
        assert "is deleted from SSM Parameter Store if it has a key of this stack" in stack.preview().text
        done = stack.up()
    assert "the parameter '/app/password' in SSM stays as it is" in done.text
    assert ssm.get_parameter(Name="/app/password", WithDecryption=True)["Parameter"]["Value"] == "theirs"
    if then:
        assert stack.preview("--expect-no-changes").changes == {}


@pytest.mark.long
@pytest.mark.parametrize("then", ["rotation", "rotation to a key that is kept", "removal", "destroy"])
def test_a_parameter_that_has_become_another_stacks_keeps_its_key(
    new_stack: NewStack, sandbox: Sandbox, then: str
) -> None:
    ours, theirs = new_stack(), new_stack()

    def settings(user: str, serial: int = 1, name: str = "/shared") -> dict[str, Any]:
        return {**two({"ssm": {"name": name}}, **{user: serial}), "groups": {f"of-{user}": GROUPS["test"]}} | {
            "users": {user: {"groups": [f"of-{user}"], "key": {"serial": serial}}}
        }

    ours.write(settings("ann"))
    ours.up()
    sandbox.client("ssm").delete_parameter(Name="/shared")
    theirs.write(settings("bob"))
    theirs.up()
    held = stored_keys(sandbox)["/shared"]
    if then.startswith("rotation"):
        kept = {"keyDefaults": {}} if then == "rotation to a key that is kept" else {}
        ours.write(settings("ann", serial=2) | kept)
        refused = ours.up(check=False)
        assert refused.code != 0
        assert "the parameter '/shared' in SSM" in refused.text
        assert f"the access key {held[0]} of bob" in refused.text
        ours.write(settings("ann", serial=2, name="/ann") | kept)
    if then == "removal":
        ours.write(settings("ann", serial=2, name="/ann"))
    done = ours.run("destroy", "--run-program", "--yes") if then == "destroy" else ours.up()
    assert f"the parameter '/shared' in SSM stays as it is: it has the access key {held[0]} of bob" in done.text
    assert stored_keys(sandbox)["/shared"] == held
    assert works(sandbox, held)
    if then != "destroy":
        assert works(sandbox, stored_keys(sandbox)["/ann"])
        assert ours.preview("--expect-no-changes").changes == {}


@pytest.mark.long
@pytest.mark.parametrize("then", ["rotation", "refresh", "another name", "removal"])
def test_a_parameter_that_is_a_resource_and_has_become_another_stacks_keeps_its_key(
    new_stack: NewStack, sandbox: Sandbox, then: str
) -> None:
    ours, theirs = new_stack(), new_stack()

    def settings(user: str, serial: int = 1, name: str = "/shared", **key: Any) -> dict[str, Any]:
        users = {user: {"groups": [f"of-{user}"], "key": {"serial": serial, **key}}}
        return {"groups": {f"of-{user}": GROUPS["test"]}, "users": users, "deliver": {"ssm": {"name": name}}}

    changed = {
        "rotation": settings("ann", serial=2),
        "refresh": settings("ann"),
        "another name": settings("ann", name="/ann"),
        "removal": {"groups": {"of-ann": GROUPS["test"]}, "users": {}, "allowNoUsers": True},
    }
    ours.write(settings("ann"))
    ours.up()
    key = ours.key("ann")
    sandbox.client("ssm").delete_parameter(Name="/shared")
    theirs.write(settings("bob", keepSecret=False))
    theirs.up()
    held = stored_keys(sandbox)["/shared"]
    if then == "refresh":
        ours.refresh()
    ours.write(changed[then])
    refused = ours.up(check=False)
    assert refused.code != 0, "the parameter has bob's only copy"
    assert f"users.ann.deliver: the parameter '/shared' in SSM holds the access key {held[0]} of bob" in refused.text
    assert keys_in_iam(sandbox, "ann") == {key[0]: "Active"}, "nothing was changed"
    assert stored_keys(sandbox)["/shared"] == held
    theirs.write(settings("bob", name="/bob", keepSecret=False))
    theirs.up()
    ours.refresh()
    ours.up()
    assert ours.preview("--expect-no-changes").changes == {}
    assert works(sandbox, stored_keys(sandbox)["/bob"])
    if then != "removal":
        assert works(sandbox, stored_keys(sandbox)["/ann" if then == "another name" else "/shared"])


@pytest.mark.long
@pytest.mark.parametrize("is_kept", [True, False])
def test_a_parameter_does_not_change_its_name_by_the_slash_alone(
    new_stack: NewStack, sandbox: Sandbox, is_kept: bool
) -> None:
    stack = new_stack()
    stack.write({**config(keepSecret=is_kept), "deliver": {"ssm": {"name": "shared"}}})
    stack.up()
    held = stored_keys(sandbox)["shared"]
    stack.write({**config(serial=2, keepSecret=False), "deliver": {"ssm": {"name": "/shared"}}})
    for refused in (stack.preview(check=False), stack.up(check=False)):
        assert refused.code != 0, "AWS has one parameter of both names, and it would be deleted"
        assert "deliver: '/shared' differs from 'shared', which the stack has, only in the leading '/'" in refused.text
    assert works(sandbox, held)
    assert stored_keys(sandbox) == {"shared": held}


@pytest.mark.long
def test_a_parameter_goes_whose_key_the_stack_has_deleted_since(new_stack: NewStack, sandbox: Sandbox) -> None:
    stack = new_stack()
    stack.write(unkept(1, {"ssm": {"name": "/old"}}))
    kill_at(stack, "ssm:PutParameter", False)
    stack.write(config())
    sandbox.control.fail("ssm:DeleteParameter", "AccessDeniedException", times=50)
    assert "the parameter '/old' in SSM was not deleted" in stack.up(check=False).text
    sandbox.control.clear_faults()
    assert "stays as it is" not in stack.up().text
    assert stored_keys(sandbox) == {}, "no store holds a key that this program has deleted"


@pytest.mark.long
def test_a_store_with_the_only_copy_is_not_given_to_another_user(new_stack: NewStack, sandbox: Sandbox) -> None:
    def settings(ann: str, bob: str) -> dict[str, Any]:
        asked = two(ann=1, bob=1)
        for user, name in (("ann", ann), ("bob", bob)):
            asked["users"][user]["deliver"] = {"ssm": {"name": name}}
        return asked

    stack = new_stack()
    stack.write(settings("/team/key", "/bob"))
    stack.up()
    held = stored_keys(sandbox)
    stack.write(settings("/ann", "/team/key"))
    refused = stack.up(check=False)
    assert "the parameter '/team/key' in SSM has the only copy of the secret of ann's" in refused.text
    assert stored_keys(sandbox) == held
    stack.write(settings("/ann", "/bob"))
    stack.up()
    stack.write(settings("/ann", "/team/key"))
    stack.up()
    assert stored_keys(sandbox) == {"/ann": held["/team/key"], "/team/key": held["/bob"]}
    assert stack.preview("--expect-no-changes").changes == {}


@pytest.mark.long
def test_a_restored_state_does_not_cost_the_only_copy_of_a_newer_key(new_stack: NewStack, sandbox: Sandbox) -> None:
    stack, backup = new_stack(), "backup.json"
    stack.write(unkept(deliver={"ssm": {}}))
    stack.up()
    stack.run("stack", "export", "--file", str(stack.folder / backup))
    stack.write(unkept(2, {"ssm": {}}))
    stack.up()
    held = stored_keys(sandbox)
    stack.run("stack", "import", "--file", str(stack.folder / backup))
    keyless = {"groups": GROUPS, "users": {"test-user": {"groups": ["test"], "key": None}}, "deliver": {"ssm": {}}}
    expired = unkept(2, {"ssm": {}}, expires=in_days(0))
    for asked in (keyless, expired, unkept(deliver={"ssm": {"name": "/other"}})):
        stack.write(asked)
        refused = stack.up(check=False)
        assert f"the state does not have the access key {held[PARAMETER][0]} of test-user" in refused.text
        assert stored_keys(sandbox) == held
        assert works(sandbox, held[PARAMETER])
    stack.write({**config(serial=2, adopt={"id": held[PARAMETER][0]}), "deliver": {"ssm": {}}})
    set_adopted_secret(stack, held[PARAMETER][1])
    stack.up()
    assert stack.key("test-user") == held[PARAMETER], "as the message advises"
    assert stored_keys(sandbox) == held
    assert stack.preview("--expect-no-changes").changes == {}


@pytest.mark.long
def test_an_inactive_key_that_no_new_store_gets_is_named(new_stack: NewStack, sandbox: Sandbox) -> None:
    stack = new_stack()
    stack.write(unkept(deliver={"ssm": {}}))
    stack.up()
    key = stored_keys(sandbox)[PARAMETER]
    sandbox.client("iam").update_access_key(UserName="test-user", AccessKeyId=key[0], Status="Inactive")
    stack.refresh()
    stack.write(unkept())
    done = stack.up()
    assert f"the access key {key[0]} is not delivered to the secret '{SECRET}' in Secrets Manager" in done.text
    assert stored_keys(sandbox) == {PARAMETER: key}


@pytest.mark.long
def test_other_names_of_the_fields_apply_to_the_key_that_a_store_has(new_stack: NewStack, sandbox: Sandbox) -> None:
    stack = new_stack()
    stack.write(unkept(deliver={"ssm": {}}))
    stack.up()
    key = stored_keys(sandbox)[PARAMETER]
    stack.write(unkept(deliver={"ssm": {"fields": {"id": "username", "secret": "password"}}}))
    assert f"the access key {key[0]} of test-user will be delivered to the parameter" in stack.preview().text
    sandbox.control.clear_calls()
    stack.up()
    assert "GetCallerIdentity" not in {call.action for call in sandbox.control.calls() if call.key == key[0]}, (
        "with whenIdle, another trial would count as a use"
    )
    text = sandbox.client("ssm").get_parameter(Name=PARAMETER, WithDecryption=True)["Parameter"]["Value"]
    assert json.loads(text) == {"username": key[0], "password": key[1]}
    assert stack.preview("--expect-no-changes").changes == {}


@pytest.mark.long
def test_a_store_does_not_move_in_a_run_that_issues_no_key(new_stack: NewStack, sandbox: Sandbox) -> None:
    guard: dict[str, Any] = {"retireGuard": {"idleDays": 3}}
    stack = new_stack()
    stack.write(unkept(deliver={"ssm": {}}, **guard))
    stack.up()
    assert works(sandbox, stored_keys(sandbox)[PARAMETER])
    stack.write(unkept(2, {"ssm": {}}, **guard))
    stack.up()
    held = stored_keys(sandbox)
    stack.write(unkept(3, {"secretsManager": {}}, **guard))
    for refused in (stack.preview(check=False), stack.up(check=False)):
        assert refused.code != 0
        assert "so its only copy would be deleted with the parameter '/access-keys/test-user'" in refused.text
        assert "No new key is issued until this one can be deleted" in refused.text, "and why"
    assert stored_keys(sandbox) == held
    text = json.dumps({"aws_access_key_id": held[PARAMETER][0], "aws_secret_access_key": "?", "note": "by hand"})
    sandbox.client("ssm").put_parameter(Name=PARAMETER, Value=text, Overwrite=True)
    stack.write(unkept(2, {"secretsManager": {}}, **guard))
    assert "so its only copy would be deleted" in stack.up(check=False).text, "no store tells the secret"
    assert "by hand" in sandbox.client("ssm").get_parameter(Name=PARAMETER, WithDecryption=True)["Parameter"]["Value"]


@pytest.mark.long
def test_a_destroy_leaves_a_key_in_use_its_copy_though_the_file_names_another_store(
    new_stack: NewStack, sandbox: Sandbox
) -> None:
    guard: dict[str, Any] = {"retireGuard": {"idleDays": 3}}
    stack = new_stack()
    stack.write(unkept(deliver={"ssm": {}}, **guard))
    stack.up()
    held = stored_keys(sandbox)
    assert works(sandbox, held[PARAMETER])
    for other in ({"secretsManager": {}}, {"ssm": {"name": "/other"}}):
        stack.write(unkept(deliver=other, **guard))
        refused = stack.destroy("--run-program", check=False)
        assert refused.code != 0
        assert "is not deleted, because it holds the key of test-user" in refused.text
        assert stored_keys(sandbox) == held, "nothing was deleted, and nothing delivered"
    stack.up()
    assert stored_keys(sandbox) == {"/other": held[PARAMETER]}, "an update moves it"


@pytest.mark.long
def test_a_removal_that_failed_does_not_forget_that_a_secret_is_not_kept(
    new_stack: NewStack, sandbox: Sandbox, command: Command
) -> None:
    settings = two(ann=1, bob=1)
    settings["users"]["ann"]["deliver"] = {"ssm": {}}
    settings["users"]["bob"] |= {"deliver": command.settings, "key": {"keepSecret": True}}
    stack = new_stack()
    stack.write(settings)
    stack.up()
    held = stored_keys(sandbox)
    command.write("sys.exit(1)")
    failing = {**settings["users"]["bob"], "deliver": {"command": [*command.settings["command"], "changed"]}}
    stack.write({**settings, "users": {"bob": failing}})
    assert stack.up(check=False).code != 0
    command.write()
    stack.write(settings)
    stack.up()
    assert stored_keys(sandbox) == held
    assert stack.preview("--expect-no-changes").changes == {}
    command.forget()


@pytest.mark.long
def test_one_of_two_stores_goes_if_the_other_one_really_has_the_key(new_stack: NewStack, sandbox: Sandbox) -> None:
    guard: dict[str, Any] = {"retireGuard": {"idleDays": 3}}
    stack = new_stack()
    stack.write(unkept(**guard))
    stack.up()
    held = stored_keys(sandbox)
    assert works(sandbox, held[SECRET])
    text = sandbox.client("ssm").get_parameter(Name=PARAMETER, WithDecryption=True)["Parameter"]["Value"]
    sandbox.client("ssm").put_parameter(Name=PARAMETER, Value="overwritten", Overwrite=True)
    stack.write(unkept(deliver={"ssm": {}}, **guard))
    assert "so its only copy would be deleted with the secret" in stack.up(check=False).text
    assert held[SECRET][0] in sandbox.client("secretsmanager").get_secret_value(SecretId=SECRET)["SecretString"]
    sandbox.client("ssm").put_parameter(Name=PARAMETER, Value=text, Overwrite=True)
    stack.up()
    assert stored_keys(sandbox) == {PARAMETER: held[PARAMETER]}
    assert stack.preview("--expect-no-changes").changes == {}


@pytest.mark.long
def test_a_parameter_with_the_only_copy_stays_under_its_kms_key_and_every_run_says_so(
    new_stack: NewStack, sandbox: Sandbox
) -> None:
    kms = sandbox.client("kms")
    one, two = (kms.create_key()["KeyMetadata"]["Arn"] for _ in range(2))
    stack = new_stack()

    def encrypted_with() -> str:
        (parameter,) = sandbox.client("ssm").describe_parameters()["Parameters"]
        return parameter["KeyId"]

    stack.write(unkept(deliver={"ssm": {"kmsKey": one}}))
    stack.up()
    assert "stays encrypted" not in stack.preview("--expect-no-changes").text
    for other in ({"kmsKey": two}, {}):
        stack.write(unkept(deliver={"ssm": other}))
        for done in (stack.preview("--expect-no-changes"), stack.up(), stack.preview("--expect-no-changes")):
            assert "users.test-user.deliver.ssm.kmsKey: this applies from the next key on." in done.text
            assert f"stays encrypted with {one}: keep that KMS key until a new key is delivered." in done.text
        assert encrypted_with() == one
    stack.write(unkept(2, deliver={"ssm": {"kmsKey": two}}))
    assert "stays encrypted" not in stack.up().text
    assert encrypted_with() == two
    assert "stays encrypted" not in stack.preview("--expect-no-changes").text


@pytest.mark.long
@pytest.mark.parametrize("store", STORES)
def test_a_key_that_somebody_put_into_a_store_is_not_overwritten_where_the_names_of_its_fields_change(
    new_stack: NewStack, sandbox: Sandbox, store: str
) -> None:
    stack = new_stack()
    stack.write(unkept())
    stack.up()
    by_hand = put_by_hand(sandbox, store)
    before = stored_keys(sandbox)
    stack.refresh()
    stack.write(unkept(deliver={**STORES, store: {"fields": {"id": "user"}}}))
    refused = stack.up(check=False)
    assert f"the state does not have the access key {by_hand[0]} of test-user, but IAM does" in refused.text
    assert stored_keys(sandbox) == before

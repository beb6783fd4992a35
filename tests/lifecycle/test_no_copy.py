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
from tests.lifecycle.helpers import GROUPS, NewStack, config, in_days, keys_in_iam, works
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

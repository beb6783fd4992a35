"""The one folder in which a sandbox keeps everything: `.sandbox/` in the checkout, private and ignored by git."""

import json
import os
import secrets
from base64 import urlsafe_b64encode
from dataclasses import dataclass
from pathlib import Path
from string import ascii_letters, ascii_uppercase, digits
from typing import Any

CHECKOUT = Path(__file__).resolve().parent.parent
VARIABLE = "ACCESS_KEYS_SANDBOX"  # names another folder than .sandbox
INSIDE = "ACCESS_KEYS_INSIDE"  # set for every command that runs inside, and by nobody else


@dataclass(frozen=True)
class Folder:
    """Where things lie below the sandbox's folder."""

    root: Path

    @property
    def lock(self) -> Path:
        """Held by the server as long as it lives."""
        return self.root / "server.lock"

    @property
    def starting(self) -> Path:
        """Held while a command starts the server."""
        return self.root / "starting.lock"

    @property
    def server(self) -> Path:
        """Addresses of the running server, there only while it is ready."""
        return self.root / "server.json"

    @property
    def log(self) -> Path:
        return self.root / "server.log"

    @property
    def account(self) -> Path:
        """The AWS account that the sandbox holds, encrypted."""
        return self.root / "account"

    @property
    def passphrase(self) -> Path:
        return self.root / "passphrase"

    @property
    def pulumi_home(self) -> Path:
        return self.root / "pulumi"

    @property
    def state(self) -> Path:
        """Pulumi's file backend."""
        return self.root / "state"

    @property
    def project(self) -> Path:
        """The project as the engine sees it in the sandbox; see sandbox/project.py."""
        return self.root / "project"

    @property
    def aws(self) -> Path:
        """AWS config and credentials files of the sandbox."""
        return self.root / "aws"


@dataclass(frozen=True)
class Secrets:
    """Made once per sandbox and kept in it, readable by its owner only."""

    root_access_key_id: str
    root_secret_access_key: str
    control_token: str
    account_key: str


def default() -> Folder:
    """The folder that the environment names, else `.sandbox` in this checkout."""
    return Folder(Path(os.environ.get(VARIABLE) or CHECKOUT / ".sandbox").resolve())


def prepare(folder: Folder) -> Secrets:
    """Make the folder and its secrets where they are missing."""
    for path in (folder.root, folder.account, folder.pulumi_home, folder.state, folder.project, folder.aws):
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.root.chmod(0o700)
    if not folder.passphrase.exists():
        write_private(folder.passphrase, secrets.token_urlsafe(24))
    for name in ("config", "credentials"):
        if not (folder.aws / name).exists():
            write_private(folder.aws / name, "")
    kept = folder.root / "secrets.json"
    if not kept.exists():
        write_private(kept, json.dumps(vars(_new_secrets())))
    return Secrets(**json.loads(kept.read_text()))


def _new_secrets() -> Secrets:
    def some(alphabet: str, count: int) -> str:
        return "".join(secrets.choice(alphabet) for _ in range(count))

    return Secrets(
        root_access_key_id="AKIA" + some(ascii_uppercase + "234567", 16),
        root_secret_access_key=some(ascii_letters + digits + "+/", 40),
        control_token=secrets.token_urlsafe(24),
        account_key=urlsafe_b64encode(secrets.token_bytes(32)).decode(),
    )


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner can read, whole or not at all."""
    new = path.with_name(f"{path.name}.{os.getpid()}.new")
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
    os.replace(new, path)


def read_json(path: Path) -> dict[str, Any] | None:
    """A small JSON file, or None where it is missing or broken."""
    try:
        return json.loads(path.read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        return None

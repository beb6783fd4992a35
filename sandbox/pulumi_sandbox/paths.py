"""The one folder in which a sandbox keeps everything: `.sandbox/` beside Pulumi.yaml, for its owner's eyes only."""

import json
import os
import secrets
from base64 import urlsafe_b64encode
from dataclasses import dataclass
from pathlib import Path
from string import ascii_letters, ascii_uppercase, digits

FOLDER = "PULUMI_SANDBOX_FOLDER"
"""The environment variable that names another folder than `.sandbox`."""

IN_SANDBOX = "PULUMI_SANDBOX"
"""The environment variable that is `1` for every command in a sandbox, and set nowhere else."""


class SandboxError(Exception):
    """Something the user can act on; shown without a traceback."""


class SandboxPaths:
    """Where things are below a sandbox's folder."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.lock = root / "server.lock"  # held by the server as long as it lives
        self.starting = root / "starting.lock"  # held while a command starts the server
        self.server = root / "server.json"  # addresses of the running server, there only while it is ready
        self.log = root / "server.log"
        self.account = root / "account"  # the AWS account, encrypted, and its call log
        self.aws = root / "aws"  # AWS config and credentials files
        self.pulumi_home = root / "pulumi"
        self.state = root / "state"  # Pulumi's file backend
        self.projects = root / "projects"  # the projects as the engine sees them; see project.py
        self.passphrase = root / "passphrase"
        self.secrets = root / "secrets.json"


@dataclass(frozen=True)
class Secrets:
    """Made once per sandbox and kept in it, readable by its owner only."""

    root_access_key_id: str
    root_secret_access_key: str
    control_token: str
    account_key: str
    """Fernet key that the saved account is encrypted with."""


def default_paths() -> SandboxPaths:
    """The sandbox that the environment names, else the one of the Pulumi project that the working directory is in."""
    here = Path.cwd()
    return SandboxPaths(Path(os.environ.get(FOLDER) or (project_folder(here) or here) / ".sandbox").resolve())


def project_folder(folder: Path) -> Path | None:
    """The nearest folder, from this one upwards, with a Pulumi.yaml."""
    return next((above for above in (folder, *folder.parents) if (above / "Pulumi.yaml").exists()), None)


def prepare(paths: SandboxPaths) -> Secrets:
    """Make the folder and its secrets where they are missing. Raises SandboxError where they cannot be read."""
    for path in (paths.root, paths.account, paths.pulumi_home, paths.state, paths.projects, paths.aws):
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    paths.root.chmod(0o700)
    for path, content in (
        (paths.root / ".gitignore", "*\n"),
        (paths.passphrase, secrets.token_urlsafe(24)),
        (paths.aws / "config", ""),
        (paths.aws / "credentials", ""),
        (paths.secrets, json.dumps(vars(_new_secrets()))),
    ):
        if not path.exists():
            write_private(path, content)
    try:
        return Secrets(**json.loads(paths.secrets.read_text()))
    except (ValueError, TypeError):
        raise SandboxError(
            f"{paths.secrets} is damaged, and nothing can read the account without it. Restore it; or, for an empty "
            f"sandbox, run `pulumi-sandbox stop` and delete {paths.root}."
        ) from None


def _new_secrets() -> Secrets:
    def random_text(alphabet: str, length: int) -> str:
        return "".join(secrets.choice(alphabet) for _ in range(length))

    return Secrets(
        root_access_key_id="AKIA" + random_text(ascii_uppercase + "234567", 16),
        root_secret_access_key=random_text(ascii_letters + digits + "+/", 40),
        control_token=secrets.token_urlsafe(24),
        account_key=urlsafe_b64encode(secrets.token_bytes(32)).decode(),
    )


def write_private(path: Path, content: str | bytes) -> None:
    """Write a file that only its owner can read, whole or not at all. Raises OSError; the old file stays then."""
    new = path.with_name(f"{path.name}.{os.getpid()}.new")
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(new, path)
    except OSError:
        new.unlink()
        raise

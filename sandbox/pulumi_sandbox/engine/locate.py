"""Where a Pulumi engine can be on this machine, and whether the one found can be used. Looks only, changes nothing."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

VERSION = "3.274.1"
"""The engine that is installed or built where none is found; go.mod pins the same."""

MINIMUM_VERSION = "3.238.0"
"""The oldest engine taken from PATH: only since 3.238.0 an error in a hook after a step fails the update
(https://github.com/pulumi/pulumi/blob/master/CHANGELOG.md)."""

HOST = "pulumi-language-python"
"""The executable that the engine starts for programs in Python."""

EXEC = f"{HOST}-exec"
"""Pulumi's script that runs a program in Python; a language host starts it. It lies beside the engine."""

HERE = Path(__file__).resolve().parent
SANDBOX_HOST = HERE / "bin" / HOST

Origin = Literal["PATH", "cache", "installer", "modules"]


class EngineError(Exception):
    """There is no engine. The message lists what was tried, why each way failed, and what to install."""


class ProvisionAttemptError(Exception):
    """One way to an engine failed. The message is the reason, to stand in a list of such reasons."""


@dataclass(frozen=True)
class Engine:
    """A Pulumi engine that can be used."""

    pulumi: Path
    version: str
    """Without a leading v, as `3.259.0`."""
    origin: Origin

    @property
    def host(self) -> Path:
        """The Python language host beside it."""
        return self.pulumi.with_name(HOST)

    @property
    def has_official_host(self) -> bool:
        """Whether it comes with Pulumi's own Python language host; an engine built from modules does not."""
        if self.origin == "PATH":
            return True
        with self.host.open("rb") as file:
            return file.read(2) != b"#!"  # the official one is not a script

    @property
    def path(self) -> list[str]:
        """The folders that come first on PATH. The engine looks there for its language host before it looks beside
        itself."""
        return [] if self.origin == "PATH" else [str(self.pulumi.parent)]


def cache_folder() -> Path:
    """The folder of this engine in the user's cache directory (XDG Base Directory Specification)."""
    named = os.environ.get("XDG_CACHE_HOME", "")
    base = Path(named) if os.path.isabs(named) else home() / ".cache"
    return base / "pulumi-sandbox" / "engine" / VERSION


def home() -> Path:
    try:
        return Path.home()
    except RuntimeError:
        raise EngineError("no home directory to install Pulumi in: set HOME, or XDG_CACHE_HOME to a folder") from None


def on_path() -> tuple[Engine | None, str]:
    """The engine on PATH if it can be used; else None, and why not."""
    found = shutil.which("pulumi", path=host_path())
    if not found:
        return None, "no `pulumi` on PATH"
    version, problem = version_of(Path(found))
    if not version:
        return None, f"{found} {problem}"
    if not is_supported(version):
        return None, f"{found} is version {version}; {MINIMUM_VERSION} or a later 3.x is required"
    # The engine looks for its language host on PATH first, then beside the file that a link to itself leads to.
    beside = Path(found).resolve().with_name(HOST)
    if not (shutil.which(HOST, path=host_path()) or os.access(beside, os.X_OK)):
        return None, f"{found} has no {HOST}, on PATH or beside it"
    return Engine(Path(found).absolute(), version, "PATH"), ""


def host_path() -> str:
    """PATH without the `pulumi` that a sandbox puts there, this one or another: it would find itself."""
    folders = os.environ.get("PATH", os.defpath).split(os.pathsep)
    return os.pathsep.join(
        f for f in folders if not any((Path(f).resolve().parent / at / "locate.py").is_file() for at in (".", "engine"))
    )


def cached() -> tuple[Engine | None, str]:
    """The engine in the user's cache directory; else None, and why not.

    It was asked for its version before it was moved there, so it is not asked again: that takes a third of a second.
    """
    pulumi = cache_folder() / "bin" / "pulumi"
    if not all(os.access(pulumi.with_name(name), os.R_OK) for name in ("pulumi", HOST, EXEC)):
        return None, f"none at {pulumi}"
    return Engine(pulumi, VERSION, "cache"), ""


def find() -> Engine | None:
    """The engine on PATH if it can be used, else the one in the cache. Never downloads or builds."""
    return on_path()[0] or cached()[0]


def version_of(pulumi: Path) -> tuple[str, str]:
    """The version that an engine reports, as `3.259.0`, and ""; or "" and what is wrong, to follow its path."""
    try:
        done = subprocess.run(
            [str(pulumi), "version"],
            capture_output=True,
            text=True,
            timeout=20,
            stdin=subprocess.DEVNULL,
            env=os.environ | {"PULUMI_SKIP_UPDATE_CHECK": "true"},
        )
    except subprocess.TimeoutExpired:
        return "", "does not answer `pulumi version` within 20 s"
    except OSError as error:
        return "", f"cannot be started ({error.strerror})"
    if done.returncode != 0:
        return "", f"fails at `pulumi version` with exit code {done.returncode}{last_line(done.stderr)}"
    match = re.fullmatch(r"v?(\d+\.\d+\.\d+)(?:[-+].*)?", done.stdout.strip())
    if not match:
        return "", f"answers {done.stdout.strip()[:60]!r} to `pulumi version`, which is not a version"
    return match[1], ""


def last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return f": {lines[-1].strip()[:200]}" if lines else ""


def numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))


def is_supported(version: str) -> bool:
    """Whether an engine of that version can be used; another major version has another protocol."""
    return numbers(version)[0] == numbers(MINIMUM_VERSION)[0] and numbers(version) >= numbers(MINIMUM_VERSION)

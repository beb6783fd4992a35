"""Where a Pulumi engine can lie on this machine, and whether the one found can be used. Looks only, changes nothing."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

VERSION = "3.274.1"
"""The engine that is installed or built where none is found; go.mod pins the same."""

MINIMUM_VERSION = "3.226.0"
"""The oldest engine taken from PATH. Resource hooks came with 3.182.0, `replacement_trigger` with 3.208.0, and only
since 3.226.0 the latter no longer fires when a dependency changes, which would replace access keys for no reason
(https://github.com/pulumi/pulumi/blob/master/CHANGELOG.md)."""

HOST = "pulumi-language-python"
"""The executable that the engine starts for programs in Python."""

HERE = Path(__file__).resolve().parent

Origin = Literal["PATH", "cache", "installer", "modules"]


class EngineError(Exception):
    """No engine can be had. The message says what was tried, why each way failed, and what to install."""


class AttemptError(Exception):
    """One way to an engine failed. The message is the reason, to stand in a list of such reasons."""


@dataclass(frozen=True)
class Engine:
    """A Pulumi engine that can be used."""

    pulumi: Path
    version: str
    """Without a leading v, as `3.259.0`."""
    origin: Origin
    language_host: Path | None
    """The folder that must come first on PATH for the engine to start the right Python language host: it looks there
    before it looks beside itself. None where the PATH of now will do."""


def cache() -> Path:
    """The folder of this project's engine in the user's cache directory (XDG Base Directory Specification)."""
    named = os.environ.get("XDG_CACHE_HOME", "")
    base = Path(named) if os.path.isabs(named) else home() / ".cache"
    return base / "aws-access-keys" / "engine" / VERSION


def home() -> Path:
    try:
        return Path.home()
    except RuntimeError:
        raise EngineError("no home directory to keep Pulumi in: set HOME, or XDG_CACHE_HOME to a folder") from None


def on_path() -> tuple[Engine | None, str]:
    """The engine on PATH if it can be used; else None, and why not."""
    found = shutil.which("pulumi", path=path_outside())
    if not found:
        return None, "no `pulumi` on PATH"
    version, problem = version_of(Path(found))
    if not version:
        return None, f"{found} {problem}"
    if not recent(version):
        return None, f"{found} is version {version}; this project needs {MINIMUM_VERSION} or a later 3.x"
    # The engine looks for its language host on PATH first, then beside the file that a link to itself leads to.
    beside = Path(found).resolve().with_name(HOST)
    own = shutil.which(HOST) or os.access(beside, os.X_OK)
    return Engine(Path(found).absolute(), version, "PATH", None if own else HERE / "bin"), ""


def path_outside() -> str:
    """PATH without the `pulumi` that `python -m sandbox run` puts there, of this checkout or another: it would find
    itself."""
    folders = os.environ.get("PATH", os.defpath).split(os.pathsep)
    return os.pathsep.join(f for f in folders if not (Path(f).resolve().parent / "engine" / "locate.py").is_file())


def kept() -> tuple[Engine | None, str]:
    """The engine in the user's cache directory; else None, and why not.

    It was asked for its version before it was moved there, so it is not asked again: that takes a third of a second.
    """
    pulumi = cache() / "bin" / "pulumi"
    if not os.access(pulumi, os.X_OK):
        return None, f"none at {pulumi}"
    return Engine(pulumi, VERSION, "cache", pulumi.parent), ""


def find() -> Engine | None:
    """The engine on PATH if it can be used, else the one kept in the cache. Never downloads or builds."""
    return on_path()[0] or kept()[0]


def version_of(pulumi: Path) -> tuple[str, str]:
    """The version that an engine says it has, as `3.259.0`, and ""; or "" and what is wrong, to follow its path."""
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
        return "", f"answers {done.stdout.strip()[:60]!r} to `pulumi version`, which is no version"
    return match[1], ""


def last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return f": {lines[-1].strip()[:200]}" if lines else ""


def numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))


def recent(version: str) -> bool:
    """Whether this project works with an engine of that version; another major version has another protocol."""
    return numbers(version)[0] == numbers(MINIMUM_VERSION)[0] and numbers(version) >= numbers(MINIMUM_VERSION)


def environment(engine: Engine) -> dict[str, str]:
    """What to set so that `pulumi` is this engine, and finds a Python language host. Taken from the PATH of now."""
    path = os.environ.get("PATH", os.defpath)
    folders = [engine.language_host] if engine.language_host else []
    if engine.origin != "PATH" and engine.pulumi.parent not in folders:
        folders.append(engine.pulumi.parent)
    return {
        "PATH": os.pathsep.join([*map(str, folders), path]),
        # For bin/pulumi-language-python; an official host knows nothing of them.
        "AWS_ACCESS_KEYS_LANGUAGE_HOST": str(HERE / "language_host.py"),
        "AWS_ACCESS_KEYS_PYTHON": sys.executable,
    }

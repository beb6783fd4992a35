"""Start, find and stop the sandbox's one background process."""

import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sandbox.folder import CHECKOUT, Folder, prepare, read_json
from sandbox.walls import walled

READY_WITHIN = 30.0  # seconds; a slow disk at the very first start, not the usual 1-3


class SandboxError(Exception):
    """Something the user can act on; shown without a traceback."""


@dataclass(frozen=True)
class Running:
    """A server that is ready. It keeps this in `server.json` for as long as it is."""

    pid: int
    endpoint_url: str
    provider_port: int
    started: str
    real_plugin: bool
    options: list[str]
    notice: str = ""
    """What the user must know of the start, as of a saved account that could not be read."""


def find(folder: Folder) -> Running | None:
    """The running server of this folder, or None."""
    if not _held(folder.lock):
        return None
    found = read_json(folder.server)
    return Running(**found) if found else None


def start(folder: Folder, options: Sequence[str] = ()) -> Running:
    """The running server of this folder, started if need be.

    options: arguments for `sandbox.daemon`; a server that runs with others is not restarted, that is an error.
    """
    prepare(folder)
    with _locked(folder.starting):
        running = find(folder)
        if running is None and _held(folder.lock):
            running = _wait(folder, None)  # it is just starting, or just stopping
        if running is None:
            running = _start(folder, options)
            if running.notice:
                sys.stderr.write(f"sandbox: {running.notice}\n")
            return running
    if options and list(options) != running.options:
        raise SandboxError(
            f"The sandbox runs already, with other settings ({' '.join(running.options) or 'none'}).\n"
            "Stop it first (python -m sandbox stop), or change its behaviour while it runs "
            "(python -m sandbox realism --help)."
        )
    return running


def _start(folder: Folder, options: Sequence[str]) -> Running:
    folder.server.unlink(missing_ok=True)
    log = os.open(folder.log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        child = subprocess.Popen(
            [sys.executable, "-m", "sandbox.daemon", str(folder.root), *options],
            cwd=CHECKOUT,
            env=walled(os.environ, folder),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    finally:
        os.close(log)
    running = _wait(folder, child)
    if running is None:
        said = folder.log.read_text().strip().splitlines()[-5:]
        raise SandboxError(
            "The sandbox did not start. Its last words:\n  "
            + "\n  ".join(said or ["(none)"])
            + f"\nIts whole log: {folder.log}"
        )
    return running


def _wait(folder: Folder, child: "subprocess.Popen[bytes] | None") -> Running | None:
    deadline = time.monotonic() + READY_WITHIN
    while time.monotonic() < deadline:
        running = find(folder)
        if running is not None:
            return running
        if child is not None and child.poll() is not None:
            return None
        if child is None and not _held(folder.lock):
            return None
        time.sleep(0.02)
    if child is not None:
        child.kill()
    return None


def stop(folder: Folder) -> bool:
    """Stop the server of this folder and wait until it is gone; False where none ran."""
    running = find(folder)
    if running is None:
        folder.server.unlink(missing_ok=True)  # left by one that was killed
        return False
    os.kill(running.pid, signal.SIGTERM)
    deadline = time.monotonic() + 15
    while _held(folder.lock):
        if time.monotonic() > deadline:
            raise SandboxError(f"The sandbox (process {running.pid}) does not stop. Its log: {folder.log}")
        time.sleep(0.02)
    return True


@contextmanager
def _locked(path: Path) -> Generator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _held(path: Path) -> bool:
    """Whether a living process holds the lock; a killed one holds nothing."""
    try:
        with path.open("r") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
    except FileNotFoundError:
        pass
    return False

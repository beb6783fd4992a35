"""Start, find and stop the one background process of a sandbox."""

import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pulumi_sandbox.aws.control import Control
from pulumi_sandbox.isolation import isolated_environment
from pulumi_sandbox.paths import SandboxError, SandboxPaths, prepare

START_TIMEOUT = 30.0  # seconds; a slow disk at the very first start, not the usual 1-3
STOP_TIMEOUT = 15.0  # seconds


@dataclass(frozen=True)
class ServerInfo:
    """A server that is ready. It keeps this in `server.json` for as long as it is."""

    pid: int
    endpoint_url: str
    plain_endpoint_url: str
    """Where calls count as plain HTTP; at `endpoint_url` they count as TLS."""
    provider_port: int
    """Port of the emulated provider; 0 where the real one is used."""
    started: str
    options: list[str]
    notice: str = ""
    """What the user must know about the start, for instance that a saved account could not be read."""


def find(paths: SandboxPaths) -> ServerInfo | None:
    """The running server of this folder, or None."""
    if not _is_held(paths.lock):
        return None
    pid = paths.lock.read_text()
    try:
        server = ServerInfo(**json.loads(paths.server.read_text()))
        if str(server.pid) == pid:
            return server
    except FileNotFoundError:
        return None  # it is starting or stopping
    except (ValueError, TypeError):
        pass
    raise SandboxError(
        f"{paths.server} is damaged, or from another version of this tool; the sandbox itself is running (process "
        f"{pid}). End it (kill {pid}), then run the command again; the account is kept."
    )


def start(paths: SandboxPaths, options: Sequence[str] = ()) -> ServerInfo:
    """The running server of this folder, started if need be.

    options: arguments for `pulumi_sandbox.daemon`; a server that runs with others is not restarted, that is an error.
    """
    prepare(paths)
    with _held(paths.starting):
        server = find(paths)
        if server is None and _is_held(paths.lock):
            server = _wait(paths, None)  # it is just starting, or just stopping
        if server is None:
            server = _start(paths, options)
            if server.notice:
                sys.stderr.write(f"pulumi-sandbox: {server.notice}\n")
            return server
    if options and list(options) != server.options:
        raise SandboxError(
            f"The sandbox is already running with other settings ({' '.join(server.options) or 'none'}).\n"
            "Stop it first (pulumi-sandbox stop), or change its faults while it runs (pulumi-sandbox faults --help)."
        )
    return server


def _start(paths: SandboxPaths, options: Sequence[str]) -> ServerInfo:
    paths.server.unlink(missing_ok=True)
    log = os.open(paths.log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        child = subprocess.Popen(
            [sys.executable, "-m", "pulumi_sandbox.daemon", str(paths.root), *options],
            cwd=paths.root,
            env=isolated_environment(os.environ, paths),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    finally:
        os.close(log)
    server = _wait(paths, child)
    if server is None:
        lines = paths.log.read_text().strip().splitlines()[-5:]
        raise SandboxError(
            "The sandbox did not start. Last log lines:\n  "
            + "\n  ".join(lines or ["(none)"])
            + f"\nThe whole log: {paths.log}"
        )
    return server


def _wait(paths: SandboxPaths, child: "subprocess.Popen[bytes] | None") -> ServerInfo | None:
    deadline = time.monotonic() + START_TIMEOUT
    while time.monotonic() < deadline:
        server = find(paths)
        if server is not None:
            return server
        if child is not None and child.poll() is not None:
            return None
        if child is None and not _is_held(paths.lock):
            return None
        time.sleep(0.02)
    if child is not None:
        child.kill()
    return None


def stop(paths: SandboxPaths) -> bool:
    """Stop the server of this folder and wait until it has ended; False where none ran."""
    server = find(paths)
    if server is None:
        paths.server.unlink(missing_ok=True)  # left by one that was killed
        return False
    os.kill(server.pid, signal.SIGTERM)
    deadline = time.monotonic() + STOP_TIMEOUT
    while _is_held(paths.lock):
        if time.monotonic() > deadline:
            raise SandboxError(f"The sandbox (process {server.pid}) does not stop. Its log: {paths.log}")
        time.sleep(0.02)
    return True


def control(paths: SandboxPaths) -> Control:
    """Steers the sandbox of this folder, which is started if need be."""
    return Control(start(paths).endpoint_url, prepare(paths).control_token)


@contextmanager
def _held(path: Path) -> Generator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _is_held(path: Path) -> bool:
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

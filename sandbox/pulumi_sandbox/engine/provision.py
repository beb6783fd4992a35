"""Provides an engine where there is none: the ways in their order, and one message where all of them fail."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import sys
import time
from collections.abc import Callable, Generator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from pulumi_sandbox.engine.build import build, find_go, needed_go
from pulumi_sandbox.engine.install import install
from pulumi_sandbox.engine.locate import (
    HOST,
    MINIMUM_VERSION,
    SANDBOX_HOST,
    VERSION,
    Engine,
    EngineError,
    Origin,
    ProvisionAttemptError,
    cache_folder,
    cached,
    on_path,
)
from pulumi_sandbox.engine.progress import Phase


def ensure() -> Engine:
    """An engine that can be used: found, else installed, else built. Raises EngineError.

    Where another process is providing one, this one waits for it.
    """
    engine, not_on_path = on_path()
    if engine:
        return engine
    folder = cache_folder()
    try:
        engine, _ = cached()
        if not engine:
            folder.mkdir(parents=True, exist_ok=True)
            with file_lock(folder / "lock"):
                engine, not_cached = cached()
                if not engine:
                    return provision(folder, {"pulumi on PATH": not_on_path, "cached engine": not_cached})
        if not engine.has_official_host and engine.host.read_bytes() != SANDBOX_HOST.read_bytes():
            fresh = engine.host.with_name(f"{HOST}.{os.getpid()}")  # the cache can be older than this package
            shutil.copy(SANDBOX_HOST, fresh)
            os.replace(fresh, engine.host)
        return engine
    except OSError as error:
        raise EngineError(f"cannot store a Pulumi engine in {folder}: {error.strerror}: {error.filename}") from error


def provision(folder: Path, reasons: dict[str, str]) -> Engine:
    """Installs or builds the engine into `folder`/bin. `reasons`: why none was found."""
    print(
        f"{reasons['pulumi on PATH']}: installing Pulumi {VERSION} into {folder} (one time)",
        file=sys.stderr,
        flush=True,
    )
    ways: list[tuple[Origin, str, Callable[[Path], None]]] = [
        ("installer", "official installer", install),
        ("modules", "build from Go modules", build),
    ]
    for origin, name, way in ways:
        work = folder / origin
        try:
            way(work)
        except ProvisionAttemptError as failure:
            reasons[name] = str(failure)
            if origin != ways[-1][0]:  # The last reason follows with all the others.
                print(f"{name}: {failure}", file=sys.stderr, flush=True)
            continue
        # Whoever sees the folder sees it whole.
        shutil.rmtree(folder / "bin", ignore_errors=True)
        os.rename(work / "bin", folder / "bin")
        shutil.rmtree(work)
        engine, reason = cached()
        assert engine, reason
        return replace(engine, origin=origin)
    raise EngineError(message(reasons))


def message(reasons: dict[str, str]) -> str:
    tried = "\n".join(f"  {number}. {way}: {reason}" for number, (way, reason) in enumerate(reasons.items(), 1))
    return (
        f"There is no Pulumi engine to run with. Tried, in this order:\n{tried}\n"
        f"Install either Pulumi {MINIMUM_VERSION} or later (https://www.pulumi.com/docs/iac/download-install/)"
        f" or Go {needed_go()} or later (https://go.dev/dl/) and access to a Go module proxy, and run this again."
    )


@contextlib.contextmanager
def file_lock(lock: Path) -> Generator[None]:
    """Holds a lock that ends with the process; waits for it, and shows that."""
    with lock.open("a+") as file:
        if not locked(file.fileno()):
            file.seek(0)
            holder = file.read().strip() or "unknown"
            with Phase(f"Another process (id {holder}) is installing Pulumi {VERSION}; waiting for it"):
                while not locked(file.fileno()):
                    time.sleep(0.5)
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


def locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


class Check(NamedTuple):
    """A line of `pulumi-sandbox doctor`."""

    what: str
    good: bool
    detail: str


def diagnose() -> list[Check]:
    """What there is to run Pulumi with, or to build it. Looks only; the network is not tried."""
    engine, not_on_path = on_path()
    if engine:
        checks = [Check("Pulumi engine", True, f"{engine.pulumi}, version {engine.version}")]
    else:
        engine, not_cached = cached()
        if engine:
            detail = f"{engine.pulumi}, version {engine.version} ({not_on_path})"
        else:
            detail = f"{not_on_path}, {not_cached}; `pulumi-sandbox engine` installs version {VERSION}"
        checks = [Check("Pulumi engine", bool(engine), detail)]
    if engine:
        detail = "Pulumi's own" if engine.has_official_host else "the sandbox's"
        checks.append(Check("Python language host", True, detail))
    try:
        checks.append(Check("Go", True, f"{find_go()}, to build Pulumi where it cannot be downloaded"))
    except ProvisionAttemptError as failure:
        checks.append(
            Check("Go", bool(engine), f"{failure}" + ("; not needed, Pulumi is already installed" if engine else ""))
        )
    return checks

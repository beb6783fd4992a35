"""Gets an engine where there is none: the ways in their order, and one clear message where all of them fail."""

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

from sandbox.engine.build import build, find_go, needed_go
from sandbox.engine.install import install
from sandbox.engine.locate import (
    HERE,
    HOST,
    MINIMUM_VERSION,
    VERSION,
    AttemptError,
    Engine,
    EngineError,
    Origin,
    cache,
    kept,
    on_path,
)
from sandbox.engine.progress import Phase


def ensure() -> Engine:
    """An engine that can be used: found, else installed, else built. Raises EngineError.

    Where another process is getting one, this one waits for it.
    """
    engine, no_path = on_path()
    if engine:
        return engine
    folder = cache()
    try:
        engine, no_cache = kept()
        if not engine:
            folder.mkdir(parents=True, exist_ok=True)
            with only_one(folder / "lock"):
                engine, no_cache = kept()
                if not engine:
                    return obtain(folder, {"pulumi on PATH": no_path, "kept engine": no_cache})
        renew_language_host(engine)
        return engine
    except OSError as error:
        raise EngineError(f"cannot keep a Pulumi engine in {folder}: {error.strerror}: {error.filename}") from error


def obtain(folder: Path, reasons: dict[str, str]) -> Engine:
    """Installs or builds the engine into `folder`/bin. `reasons` says why none was found."""
    print(f"{reasons['pulumi on PATH']}: getting Pulumi {VERSION}, once, into {folder}", file=sys.stderr, flush=True)
    ways: list[tuple[Origin, str, Callable[[Path], None]]] = [
        ("installer", "official installer", install),
        ("modules", "build from Go modules", build),
    ]
    for origin, name, way in ways:
        work = folder / origin
        try:
            way(work)
        except AttemptError as failure:
            reasons[name] = str(failure)
            if origin != ways[-1][0]:  # The last reason follows with all the others.
                print(f"{name}: {failure}", file=sys.stderr, flush=True)
            continue
        # Whoever sees the folder sees it whole.
        shutil.rmtree(folder / "bin", ignore_errors=True)
        os.rename(work / "bin", folder / "bin")
        shutil.rmtree(work)
        engine, reason = kept()
        assert engine, reason
        return replace(engine, origin=origin)
    raise EngineError(message(reasons))


def message(reasons: dict[str, str]) -> str:
    tried = "\n".join(f"  {number}. {way}: {reason}" for number, (way, reason) in enumerate(reasons.items(), 1))
    return (
        f"There is no Pulumi engine to run with. Tried, in this order:\n{tried}\n"
        f"Install either Pulumi {MINIMUM_VERSION} or later (https://www.pulumi.com/docs/iac/download-install/)"
        f" or Go {needed_go()} or later (https://go.dev/dl/) with a Go module proxy in reach, and run this again."
    )


def renew_language_host(engine: Engine) -> None:
    """Brings the starter of our language host beside a built engine up to this checkout's."""
    ours, there = HERE / "bin" / HOST, engine.pulumi.with_name(HOST)
    if has_official_host(engine) or (there.exists() and there.read_bytes() == ours.read_bytes()):
        return
    fresh = there.with_name(f".{HOST}.{os.getpid()}")
    shutil.copy(ours, fresh)
    os.replace(fresh, there)


@contextlib.contextmanager
def only_one(lock: Path) -> Generator[None]:
    """Holds a lock that goes with the process; waits for it, and says so."""
    with lock.open("a+") as file:
        if not locked(file.fileno()):
            file.seek(0)
            holder = file.read().strip() or "unknown"
            with Phase(f"Another process (id {holder}) is getting Pulumi {VERSION}; waiting for it"):
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


class Finding(NamedTuple):
    """A line of `make doctor`."""

    what: str
    found: bool
    detail: str


def examine() -> list[Finding]:
    """What there is to run Pulumi with, or to build it. Looks only; the network is not tried."""
    engine, no_path = on_path()
    if engine:
        findings = [Finding("Pulumi engine", True, f"{engine.pulumi}, version {engine.version}")]
    else:
        engine, no_cache = kept()
        if engine:
            detail = f"{engine.pulumi}, version {engine.version} ({no_path})"
        else:
            detail = f"{no_path}, {no_cache}; `make up` gets version {VERSION}, once"
        findings = [Finding("Pulumi engine", bool(engine), detail)]
    if engine:
        ours = engine.language_host and not has_official_host(engine)
        findings.append(Finding("Python language host", True, "the one of this project" if ours else "Pulumi's own"))
    try:
        findings.append(Finding("Go", True, f"{find_go()}, to build Pulumi where it cannot be downloaded"))
    except AttemptError as failure:
        findings.append(Finding("Go", bool(engine), f"{failure}" + ("; not needed, Pulumi is here" if engine else "")))
    return findings


def has_official_host(engine: Engine) -> bool:
    return engine.pulumi.with_name(f"{HOST}-exec").exists()

"""The sandbox's clock: the real one, moved forward by as much as the faults demand.

moto takes every date from its function `utcnow`, which its modules import by name; `install` puts ours in its place.
"""

from __future__ import annotations

import sys
import time
from datetime import datetime, timezone

_ahead = 0.0


def set_ahead(seconds: float) -> None:
    """Let the sandbox's clock run `seconds` ahead of the real one."""
    global _ahead
    _ahead = seconds


def now() -> float:
    """The sandbox's time in seconds since 1970."""
    return time.time() + _ahead


def utcnow() -> datetime:
    """The sandbox's time in UTC, without a time zone as moto wants it, in whole seconds as AWS writes it."""
    return datetime.fromtimestamp(int(now()), timezone.utc).replace(tzinfo=None)


def iso() -> str:
    """The sandbox's time as 2025-01-31T23:59:59.123Z."""
    return datetime.fromtimestamp(now(), timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def install() -> None:
    """Make moto's modules, those loaded already and those loaded later, take the time from here."""
    import moto.core.utils

    original = moto.core.utils.utcnow
    if original is utcnow:
        return
    moto.core.utils.utcnow = utcnow
    for name, module in list(sys.modules.items()):
        if name.startswith("moto.") and getattr(module, "utcnow", None) is original:
            vars(module)["utcnow"] = utcnow

"""Ids that the real provider makes up itself: a time stamp and a counter."""

import itertools
import re
import time
from datetime import datetime, timezone

_count = itertools.count(1)


def unique_id(prefix: str = "terraform-") -> str:
    """``prefix`` and 26 digits that no other call gives: 18 of time (to 0.1 ms) and 8 of a counter, in hex."""
    now = time.time_ns()
    moment = datetime.fromtimestamp(now // 10**9, timezone.utc)
    return f"{prefix}{moment:%Y%m%d%H%M%S}{now % 10**9 // 10**5:04d}{next(_count) & 0xFFFFFFFF:08x}"


def prefix_of(name: str) -> str:
    """The prefix of a name that ``unique_id`` made; "" of any other."""
    found = re.fullmatch(r"(.*?)[0-9a-f]{26}", name, re.DOTALL)
    return found[1] if found else ""

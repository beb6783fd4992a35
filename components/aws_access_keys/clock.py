"""Which day it is: the current UTC date, or the day that the environment names for a rehearsal."""

import re
from collections.abc import Mapping
from datetime import date, datetime, time, timezone

VARIABLE = "ACCESS_KEYS_TODAY"
FIRST, LAST = date(2000, 1, 1), date(2999, 12, 31)  # leaves room for a calendar's sums


def today(environment: Mapping[str, str]) -> date:
    """The day in ACCESS_KEYS_TODAY, `YYYY-MM-DD`, or the current UTC date. Raises ValueError for any other text."""
    text = environment.get(VARIABLE)
    if not text:
        return datetime.now(timezone.utc).date()
    try:
        day = date.fromisoformat(text) if re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", text) else None
    except ValueError:  # as for 2027-02-30
        day = None
    if day is None or not FIRST <= day <= LAST:
        raise ValueError(
            f"{VARIABLE}={text} is not a valid date. Use YYYY-MM-DD from {FIRST} to {LAST}, for example 2027-03-01."
        )
    return day


def moment_of(day: date) -> datetime:
    """The current time, or the end of a day that is rehearsed."""
    now = datetime.now(timezone.utc)
    return now if now.date() == day else datetime.combine(day, time.max, timezone.utc)

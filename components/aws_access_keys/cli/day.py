"""Which day a report is made for."""

import os
from datetime import date, datetime, timezone

VARIABLE = "ACCESS_KEYS_TODAY"  # the same variable with which a `pulumi preview` is rehearsed


class DayError(Exception):
    """The variable holds no day; the text says what to do."""


def today() -> date:
    """The current UTC date, or the day in ACCESS_KEYS_TODAY."""
    said = os.environ.get(VARIABLE)
    if not said:
        return datetime.now(timezone.utc).date()
    try:
        return datetime.strptime(said, "%Y-%m-%d").date()
    except ValueError:
        raise DayError(f"{VARIABLE}={said} is no day. Write it like {VARIABLE}=2027-03-01.") from None

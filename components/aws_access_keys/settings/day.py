"""Which day it is: the machine's UTC date, or the day that is rehearsed."""

import os
from datetime import date, datetime, timezone

import pulumi

VARIABLE = "ACCESS_KEYS_TODAY"


def read_day() -> date:
    """Today, or the day in ACCESS_KEYS_TODAY. Raises ValueError where that is no day or this is no rehearsal.

    It is a variable and no config key, because `pulumi preview -c` would write the day into the stack's file and stop
    the clock. An `up` on a made-up day would issue or retire real keys, so only the sandbox lets it through.
    """
    said = os.environ.get(VARIABLE)
    if not said:
        return datetime.now(timezone.utc).date()
    try:
        day = date.fromisoformat(said)
    except ValueError:
        raise ValueError(f"{VARIABLE}={said} is no day. Write it like {VARIABLE}=2027-03-01.") from None
    if not pulumi.runtime.is_dry_run() and not os.environ.get("PULUMI_SANDBOX"):
        raise ValueError(
            f"{VARIABLE}={said} rehearses another day, and that is for `pulumi preview` only: `pulumi up` would "
            f"issue and retire keys on the wrong day. Unset {VARIABLE}. Nothing was changed."
        )
    return day

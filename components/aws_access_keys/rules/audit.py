"""What auditors ask of access keys: how old they may get, and how long they may lie unused.

Days are whole days between UTC dates.
"""

from collections.abc import Iterator
from datetime import date
from typing import Literal, NamedTuple

MAX_AGE_DAYS = 90
IDLE_DAYS = 45

Rule = Literal["age", "unused", "rotation"]


class Overdue(NamedTuple):
    """One thing that should have been done with a key by now."""

    rule: Rule
    text: str
    """One sentence without the key's id: what is the matter, and which control says so."""


def days_between(earlier: date, later: date) -> int:
    """Days from one date to a later one; 0 where the order is the other way round, as in a rehearsal of the past."""
    return max(0, (later - earlier).days)


def too_old(active: bool, created: date | None, today: date) -> Overdue | None:
    """An active key is rotated every 90 days or less: on day 90 it is in time, on day 91 no more.

    Source: control IAM.3 in https://docs.aws.amazon.com/securityhub/latest/userguide/iam-controls.html, which is the
    AWS Config rule `access-keys-rotated` with maxAccessKeyAge 90; in the CIS AWS Foundations Benchmark "Ensure access
    keys are rotated every 90 days or less".
    """
    age = days_between(created, today) if created else 0
    if active and age > MAX_AGE_DAYS:
        return Overdue("age", f"{age} days old; the limit is {MAX_AGE_DAYS} (Security Hub IAM.3)")
    return None


def unused(active: bool, created: date | None, used: date | None, today: date) -> Overdue | None:
    """An active key that nobody has used for 45 days or more is removed; one never used counts from its creation.

    used: the day of its last use, None if it was never used.
    Source: control IAM.22 in https://docs.aws.amazon.com/securityhub/latest/userguide/iam-controls.html, which is the
    AWS Config rule `iam-user-unused-credentials-check` with maxCredentialUsageAge 45; in the CIS AWS Foundations
    Benchmark "Ensure credentials unused for 45 days or more are disabled".
    """
    since = used or created
    idle = days_between(since, today) if since else 0
    if not active or idle < IDLE_DAYS:
        return None
    what = f"unused for {idle} days" if used else f"never used since it was made {idle} days ago"
    return Overdue("unused", f"{what}; the limit is {IDLE_DAYS} (Security Hub IAM.22)")


def may_be_unused(active: bool, created: date | None, today: date) -> bool:
    """Whether the last use decides: a key younger than 45 days is in order whenever it was used."""
    return active and (created is None or days_between(created, today) >= IDLE_DAYS)


def rotation_missed(next_rotation: date | None, today: date) -> Overdue | None:
    """The calendar's date has passed and no new key was issued. On the day itself there is still time."""
    if next_rotation is None or next_rotation >= today:
        return None
    return Overdue("rotation", f"its rotation was due on {next_rotation}: run pulumi up")


def overdue(
    *,
    active: bool,
    created: date | None,
    used: date | None,
    use_known: bool,
    next_rotation: date | None,
    today: date,
) -> Iterator[Overdue]:
    """Everything that is overdue for one key.

    use_known: False where AWS did not say when the key was last used; nothing is then said of that.
    next_rotation: None for a key that the calendar does not replace, as one that was replaced already.
    """
    found = (
        too_old(active, created, today),
        unused(active, created, used, today) if use_known else None,
        rotation_missed(next_rotation, today),
    )
    yield from (one for one in found if one)

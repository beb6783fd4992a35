"""The data of the report: a row per access key, from the stack's output `keys` and what AWS says of the last uses."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, timezone
from typing import Any, Literal

from aws_access_keys.cli.last_used import LastUse
from aws_access_keys.rules.audit import MAX_AGE_DAYS, Overdue, days_between, may_be_unused, overdue

NEAR_DAYS = MAX_AGE_DAYS * 2 // 3  # above this age the bar warns
REMEDY = (
    "For a new key raise the user's key.serial by one. To retire the previous key set key.previous to inactive or "
    "deleted. To suspend a key nobody uses set key.status to inactive. Then run pulumi up."
)


@dataclass(frozen=True)
class Key:
    """One access key of the stack."""

    user: str
    id: str
    role: Literal["current", "previous"]
    serial: int
    slot: str
    status: str
    """`Active` or `Inactive`, AWS's words."""
    created: datetime | None
    """UTC; None where the stack does not know it."""
    next_rotation: date | None
    """When the calendar replaces the current key."""
    active_until: date | None
    """When the overlap of the previous key ends."""


@dataclass(frozen=True)
class Row:
    """One access key, and how it stands today."""

    key: Key
    age_days: int | None
    last_use: LastUse | None
    """None where AWS did not say."""
    idle_days: int | None
    """Days since the last use; None where it was never used, or where AWS did not say."""
    overdue: tuple[Overdue, ...]
    undecided: bool
    """The last use would tell whether the key is overdue, and is unknown."""


@dataclass(frozen=True)
class Report:
    """Every access key of a stack on one day, in order of users; a user's current key comes first."""

    stack: str
    day: date
    rows: tuple[Row, ...]
    problem: str | None
    """Why the last use of some or all keys is unknown, in one line."""

    @property
    def overdue(self) -> list[Row]:
        return [row for row in self.rows if row.overdue]

    @property
    def undecided(self) -> list[Row]:
        return [row for row in self.rows if row.undecided]

    def summary(self) -> str:
        """One line on the whole stack, for people."""
        if not self.rows:
            return "no access keys"
        users = len({row.key.user for row in self.rows})
        inactive = sum(row.key.status != "Active" for row in self.rows)
        parts = [f"{count(len(self.rows), 'access key')} of {count(users, 'user')}"]
        if inactive:
            parts.append(f"{inactive} inactive")
        parts.append(f"{len(self.overdue)} overdue" if self.overdue else "nothing overdue")
        if self.undecided:
            parts.append(f"{len(self.undecided)} undecided")
        return ", ".join(parts)


def keys_of(output: Mapping[str, Any]) -> list[Key]:
    """The keys in the stack's output `keys`, in order of users."""
    found: list[Key] = []
    for user, part in sorted(output.items()):
        for role in ("current", "previous"):
            key: Mapping[str, Any] | None = part.get(role)
            if not key or not key.get("id"):
                continue
            is_current = role == "current"
            found.append(
                Key(
                    user=user,
                    id=key["id"],
                    role=role,
                    serial=int(key["serial"]),
                    slot=key["slot"],
                    status=key["status"],
                    created=_instant(key.get("created")),
                    next_rotation=_day(part.get("nextRotation")) if is_current else None,
                    active_until=None if is_current else _day(part.get("previousUntil")),
                )
            )
    return found


def report_of(
    stack: str, day: date, keys: list[Key], used: Mapping[str, LastUse], problem: str | None = None
) -> Report:
    """How the keys stand on a day. used: key id → last use; a key that is not in it counts as unknown."""
    return Report(stack, day, tuple(_row(key, used.get(key.id), day) for key in keys), problem)


def _row(key: Key, last_use: LastUse | None, day: date) -> Row:
    active, created = key.status == "Active", key.created.date() if key.created else None
    used_on = last_use.at.date() if last_use and last_use.at else None
    return Row(
        key=key,
        age_days=days_between(created, day) if created else None,
        last_use=last_use,
        idle_days=days_between(used_on, day) if used_on else None,
        overdue=tuple(
            overdue(
                active=active,
                created=created,
                used=used_on,
                use_known=last_use is not None,
                next_rotation=key.next_rotation,
                today=day,
            )
        ),
        undecided=last_use is None and may_be_unused(active, created, day),
    )


def count(number: int, thing: str) -> str:
    """`1 user`, `2 users`."""
    return f"{number} {thing}{'' if number == 1 else 's'}"


def _instant(text: str | None) -> datetime | None:
    if not text:
        return None
    at = datetime.fromisoformat(text.replace("Z", "+00:00"))  # Python 3.10 does not read Z
    return at.astimezone(timezone.utc) if at.tzinfo else at.replace(tzinfo=timezone.utc)


def _day(text: str | None) -> date | None:
    return date.fromisoformat(text) if text else None

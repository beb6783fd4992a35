"""AWS's credential report: what it says of each user, and which of its two keys is which.

Source: https://docs.aws.amazon.com/IAM/latest/UserGuide/id_credentials_getting-report.html
"""

import csv
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from io import StringIO
from typing import NamedTuple

from aws_access_keys.iam import LastUse

ROOT = "<root_account>"
"""The name of the root user."""
_NOTHING = {"N/A", "no_information", "not_supported", ""}
_COLUMNS = {
    *("user", "arn", "password_enabled", "mfa_active"),
    *(
        f"access_key_{number}_{what}"
        for number in (1, 2)
        for what in ("active", "last_rotated", "last_used_date", "last_used_region", "last_used_service")
    ),
}


class ReportedKey(NamedTuple):
    """A key as the report has it: without its id."""

    active: bool
    changed: datetime | None
    """When it was created or last changed. In reports seen on AWS, always when it was created."""
    used: LastUse | None
    """None where AWS knows no use."""


class ReportedUser(NamedTuple):
    """A user's row."""

    name: str
    arn: str
    password: bool | None
    """Whether it can sign in to the console; None for root, of which AWS does not tell."""
    mfa: bool
    keys: tuple[ReportedKey, ...]
    """The first two, active or not."""


class ReportError(ValueError):
    """The report is not one that is known; the message names what is wrong."""


def parse_report(text: str) -> dict[str, ReportedUser]:
    """Name → row, root's under ROOT. Raises ReportError."""
    rows = csv.DictReader(StringIO(text))
    missing = sorted(_COLUMNS - set(rows.fieldnames or ()))
    if missing:
        raise ReportError(f"the credential report has no column {', '.join(missing)}")
    try:
        users = [_user(row) for row in rows]
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ReportError(f"line {rows.line_num} of the credential report cannot be read") from None
    return {user.name: user for user in users}


def _user(row: Mapping[str, str]) -> ReportedUser:
    password = None if row["password_enabled"] == "not_supported" else _flag(row["password_enabled"])
    found = (_key(row, f"access_key_{number}_") for number in (1, 2))
    keys = tuple(key for key in found if key.active or key.changed or key.used)
    return ReportedUser(row["user"], row["arn"], password, _flag(row["mfa_active"]), keys)


def _key(row: Mapping[str, str], prefix: str) -> ReportedKey:
    used = _time(row[f"{prefix}last_used_date"])
    service, region = (
        None if row[f"{prefix}last_used_{what}"] in _NOTHING else row[f"{prefix}last_used_{what}"]
        for what in ("service", "region")
    )
    return ReportedKey(
        active=_flag(row[f"{prefix}active"]),
        changed=_time(row[f"{prefix}last_rotated"]),
        used=LastUse(used, service, region) if used else None,
    )


def _flag(text: str) -> bool:
    """`true` in reports, `TRUE` in AWS's documentation."""
    return {"true": True, "false": False}[text.lower()]


def _time(text: str) -> datetime | None:
    return None if text in _NOTHING else datetime.fromisoformat(text.replace("Z", "+00:00")).astimezone(timezone.utc)


def certain_uses(created: Mapping[str, datetime], reported: Sequence[ReportedKey]) -> dict[str, LastUse | None]:
    """Key id → last use, for each of a user's keys that is one of the report's without doubt.

    created: id → creation time of each key that the user has now. Two keys of one second are not told apart, unless
    their uses are the same; a key that is newer than the report is not in it.
    """
    found: dict[str, LastUse | None] = {}
    for key_id, moment in created.items():
        same = [key for key in reported if key.changed == moment]
        if same and all(key.used == same[0].used for key in same):
            found[key_id] = same[0].used
    rest = [key_id for key_id in created if key_id not in found]
    others = [key for key in reported if key.changed not in created.values()]
    if len(rest) == len(others) == 1:
        changed = others[0].changed
        # Changed after its creation. Were it another key, deleted since, the report would have both.
        if changed and changed > created[rest[0]]:
            found[rest[0]] = others[0].used
    return found

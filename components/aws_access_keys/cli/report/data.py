"""The data of the report, made of the stack's output `keys` and the last uses in AWS; also as JSON and as CSV.

The classes are the shape of the JSON document, whose names are in camelCase. Days are whole days between UTC dates.
"""

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import date, datetime
from io import StringIO
from typing import Any, Literal

from aws_access_keys.iam import LastUse, was_trial
from aws_access_keys.rules.problem import OTHER_LANGUAGES

REMEDY = (
    "For a new key, run `access-keys rotate USER`. To retire the previous key, set key.previous to inactive or "
    "deleted; to suspend a key that nobody uses, set key.status to inactive. Then run `pulumi up`."
)
UNMANAGED = (
    "Keys marked 'not managed' were created outside this stack, or their secret was lost in a failed update. If nobody "
    "uses such a key, delete it: aws iam delete-access-key --user-name USER --access-key-id ID"
)


@dataclass(frozen=True, kw_only=True)
class Limits:
    """When an active key is overdue. The defaults are those of AWS Security Hub and the CIS AWS Foundations Benchmark.

    Source: https://docs.aws.amazon.com/securityhub/latest/userguide/iam-controls.html
    """

    max_age_days: int = 90
    """Overdue from the day after (IAM.3, "rotated every 90 days or less")."""
    idle_days: int = 45
    """Overdue from this day on (IAM.22, "unused for 45 days"); a key never used counts from its creation."""

    @property
    def warn_age_days(self) -> int:
        """The age above which the bar warns."""
        return self.max_age_days * 2 // 3


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that should have been done with a key by now."""

    rule: Literal["age", "unused", "rotation"]
    text: str


@dataclass(frozen=True, kw_only=True)
class Row:
    """One access key, and how it stands on the day of the report."""

    user: str
    id: str
    role: Literal["current", "previous", "unmanaged"]
    """`unmanaged`: IAM has the key and the stack does not."""
    serial: int | None
    """None for an unmanaged key."""
    name: str
    """The serial, and under a schedule the period the key was issued for: `2.2027-03-01`."""
    status: str
    """`Active` or `Inactive`, AWS's words."""
    created: datetime | None
    """None where the stack does not know it."""
    age_days: int | None
    last_used_known: bool
    """False where AWS did not answer; the next four are None then."""
    last_used: datetime | None
    """None for a key that has not been used since its verification; the same for the next three."""
    last_used_service: str | None
    last_used_region: str | None
    idle_days: int | None
    """Days since the last use."""
    next_rotation: date | None
    """When the schedule replaces the current key."""
    active_until: date | None
    """When the key expires, or the overlap of the previous key ends."""
    overdue: tuple[Finding, ...]
    unknown: bool
    """Whether the key is overdue depends on its last use, and AWS did not answer."""

    @property
    def active(self) -> bool:
        return self.status == "Active"

    @property
    def label(self) -> str:
        """The name, and what the key is if it is not the current one."""
        if self.role == "unmanaged":
            return "not managed"
        return self.name if self.role == "current" else f"{self.name} previous"


@dataclass(frozen=True, kw_only=True)
class Summary:
    users: int
    keys: int
    inactive: int
    overdue: int
    unknown: int
    unmanaged: int

    @property
    def text(self) -> str:
        """One line on the whole stack, for people."""
        if not self.keys:
            return "no access keys"
        keys, users = f"{self.keys} access key{'s' * (self.keys > 1)}", f"{self.users} user{'s' * (self.users > 1)}"
        parts = [f"{keys} for {users}"]
        parts += [f"{self.inactive} inactive"] if self.inactive else []
        parts += [f"{self.overdue} overdue" if self.overdue else "nothing overdue"]
        parts += [f"{self.unknown} unknown"] if self.unknown else []
        parts += [f"{self.unmanaged} not managed by this stack"] if self.unmanaged else []
        return ", ".join(parts)


@dataclass(frozen=True, kw_only=True)
class Report:
    """Every access key of a stack on one day, in order of users; a user's current key comes first."""

    version: int = 1
    """Raised when a member changes its meaning or goes; new members do not raise it."""
    stack: str
    account: str | None
    """AWS account id; None where the stack does not export the ARNs of its users."""
    day: date
    limits: Limits
    summary: Summary
    problem: str | None
    """Why the last use of some or all keys is unknown, in one line."""
    keys: tuple[Row, ...]

    @property
    def title(self) -> str:
        return f"Access keys of stack {self.stack}" + (f", AWS account {self.account}" if self.account else "")

    @property
    def overdue(self) -> list[Row]:
        return [row for row in self.keys if row.overdue]


def report_of(
    stack: str,
    outputs: Mapping[str, Any],
    used: Mapping[str, LastUse | None],
    day: date,
    limits: Limits,
    problem: str | None = None,
    unmanaged: Mapping[str, Sequence[Mapping[str, Any]]] | None = None,
) -> Report:
    """How the keys of a stack stand on a day.

    outputs: `keys`, as the component has them, and `userArns`. used: key id → last use, None if it was never used;
    where a key is missing, its last use is unknown. unmanaged: user → other keys that IAM has.
    """
    rows: list[Row] = []
    for user, part in sorted(outputs["keys"].items()):
        rows += [_row(user, role, part, used, day, limits) for role in ("current", "previous") if part.get(role)]
        others = (unmanaged or {}).get(user, ())
        rows += [_row(user, "unmanaged", {"unmanaged": key}, used, day, limits) for key in others]
    summary = Summary(
        users=len({row.user for row in rows}),
        keys=len(rows),
        inactive=sum(not row.active for row in rows),
        overdue=sum(bool(row.overdue) for row in rows),
        unknown=sum(row.unknown for row in rows),
        unmanaged=sum(row.role == "unmanaged" for row in rows),
    )
    arns: Mapping[str, str] = outputs.get("userArns", {})
    account = next((arn.split(":")[4] for arn in arns.values()), None)
    return Report(
        stack=stack, account=account, day=day, limits=limits, summary=summary, problem=problem, keys=tuple(rows)
    )


def _row(
    user: str,
    role: Literal["current", "previous", "unmanaged"],
    part: Mapping[str, Any],
    used: Mapping[str, LastUse | None],
    day: date,
    limits: Limits,
) -> Row:
    key: Mapping[str, Any] = part[role]
    active, known, use = key["status"] == "Active", key["id"] in used, used.get(key["id"])
    created = datetime.fromisoformat(key["created"].replace("Z", "+00:00")) if key.get("created") else None
    if use and created and was_trial(created, use):
        use = None
    due = date.fromisoformat(part["nextRotation"]) if role == "current" and part.get("nextRotation") else None
    age, idle = _days(created, day), _days(use and use.on, day)
    unused = idle if use else age
    until = part.get("previousUntil") if role == "previous" else None
    expires = part.get("expires") if role != "unmanaged" else None
    in_overlap = until is not None and day < date.fromisoformat(until)  # the schedule retires it on that day
    overdue: list[Finding] = []
    if active and not in_overlap and age is not None and age > limits.max_age_days:
        overdue.append(Finding(rule="age", text=f"{age} days old; the limit is {limits.max_age_days}"))
    if active and not in_overlap and known and unused is not None and unused >= limits.idle_days:
        text = f"unused for {unused} days" if use else f"never used since it was created {unused} days ago"
        overdue.append(Finding(rule="unused", text=f"{text}; the limit is {limits.idle_days}"))
    if due and due < day:
        overdue.append(Finding(rule="rotation", text=f"its rotation was due on {due}: run `pulumi up`"))
    return Row(
        user=user,
        id=key["id"],
        role=role,
        serial=key.get("serial"),
        name=key.get("name") or str(key.get("serial") or ""),
        status=key["status"],
        created=created,
        age_days=age,
        last_used_known=known,
        last_used=use and use.on,
        last_used_service=use and use.service,
        last_used_region=use and use.region,
        idle_days=idle,
        next_rotation=due,
        active_until=min(map(date.fromisoformat, filter(None, (until, expires))), default=None),
        overdue=tuple(overdue),
        unknown=active and not known and (age is None or age >= limits.idle_days),
    )


def _days(earlier: datetime | None, day: date) -> int | None:
    """0 where the order is the other way round, as in a rehearsal of the past."""
    return max(0, (day - earlier.date()).days) if earlier else None


def as_json(report: Report) -> str:
    """The report as a JSON document with a final newline."""
    return json.dumps(_document(report), indent=2, default=_text, ensure_ascii=False) + "\n"


def as_csv(report: Report) -> str:
    """The keys with the same names, a line per key; in `overdue` the rules only."""
    text = StringIO()
    rows = csv.DictWriter(text, [OTHER_LANGUAGES(field.name) for field in fields(Row)], lineterminator="\n")
    rows.writeheader()
    for row in report.keys:
        overdue = " ".join(finding.rule for finding in row.overdue)
        cells = {**_document(row), "overdue": overdue}
        rows.writerow({name: _text(cell) if isinstance(cell, date) else cell for name, cell in cells.items()})
    return text.getvalue()


def _document(part: Report | Row) -> dict[str, Any]:
    """A part of the report as JSON has it."""
    return asdict(part, dict_factory=lambda pairs: {OTHER_LANGUAGES(name): value for name, value in pairs})


def _text(day: date) -> str:
    """A day or a time in ISO 8601."""
    return day.isoformat().replace("+00:00", "Z")

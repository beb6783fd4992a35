"""The data of the report, made of the stack's output `keys` and the last uses in AWS; also as JSON and as CSV.

The inventory of an account (cli/inventory) is a listing of the same kind, with the same columns and some more.

The classes are the shape of the JSON document, whose names are in camelCase. Days are whole days between UTC dates.
"""

import csv
import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import date, datetime
from io import StringIO
from types import MappingProxyType
from typing import Any, ClassVar, Literal, cast

from aws_access_keys.clock import moment_of
from aws_access_keys.iam import LastUse, is_trial, use_by_others
from aws_access_keys.rules.findings import Finding, Limits, overdue_findings
from aws_access_keys.rules.problem import OTHER_LANGUAGES
from aws_access_keys.rules.rotation import RETIRE, waits_for
from aws_access_keys.rules.takeover import Foreign

REMEDY = (
    f"For a new key, run `access-keys rotate USER` and `pulumi up`. To retire the previous key, {RETIRE}: otherwise "
    "the next rotation deletes the key in use. To suspend a key that nobody uses, set key.status to inactive, and run "
    "`pulumi up`."
)
KEY_LIMITS = (
    "An active key is overdue if it is more than {max_age_days} days old, or if nobody has used it for {idle_days} "
    "days (for a key that was never used, since its creation). A key is also overdue if its rotation date has passed. "
    '"Unknown" means that this depends on a last use that AWS did not report.'
)
UNMANAGED = (
    "Keys marked 'not managed' were created outside this stack, or their secret was lost in a failed update. If nobody "
    "uses such a key, and no store has it, delete it: aws iam delete-access-key --user-name USER --access-key-id ID"
)

FOREIGN = (
    "The stack's groups and users also have the following in IAM, which the stack does not manage. To take it over, "
    "list the policy in the stack file, or run `access-keys takeover --account --user USER`. Each line ends with the "
    "command that removes it."
)


@dataclass(frozen=True, kw_only=True)
class Row:
    """One access key, and how it stands on the day of the report."""

    user: str
    id: str | None
    """None in an inventory: for a user without keys, and for a key whose id AWS does not tell."""
    role: Literal["current", "previous", "managed", "unmanaged"] | None
    """`unmanaged`: IAM has the key and the stack does not. `managed`: the state has it, from an update that did not
    finish; or, in an inventory, outside the component. None, in an inventory: that is not known, or there is no key."""
    serial: int | None
    """None for a key that is neither current nor previous."""
    name: str
    """The serial, and under a schedule the period the key was issued for: `2.2027-03-01`."""
    status: str | None
    """`Active` or `Inactive`, AWS's words; None where there is no key."""
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
    waits_for: str | None = None
    """With `previous: whenIdle`, whose previous key this is: who keeps it from being retired."""

    @property
    def active(self) -> bool:
        return self.status == "Active"

    @property
    def label(self) -> str:
        """The name, and what the key is if it is not the current one."""
        if self.role == "unmanaged":
            return "not managed"
        return f"{self.name} previous" if self.role == "previous" else self.name

    @property
    def reasons(self) -> tuple[Finding, ...]:
        """All reasons to act, the most urgent first."""
        return self.overdue

    @property
    def kind(self) -> str:
        """In the report of a stack: what the key is if it is not the current one."""
        return {
            "previous": "previous key",
            "unmanaged": "not managed by this stack",
            "managed": "not recorded yet",
        }.get(self.role or "", "")

    @property
    def place(self) -> str:
        """In an inventory, or a report of several stacks: the stack that has the key."""
        return ""

    @property
    def account_id(self) -> str:
        """In an inventory: the AWS account."""
        return ""

    @property
    def access(self) -> tuple[str, ...]:
        """In an inventory: what the user has and is besides."""
        return ()


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
class Listing(ABC):
    """What is shown of keys, whatever they have in common: the report of a stack, or the inventory of an account."""

    NAME: ClassVar[str]
    """What it is called in messages."""
    ROW: ClassVar[type[Row]] = Row
    """The class of its rows."""
    COLUMNS: ClassVar[tuple[str, ...]]
    """Headers, which as_text.py and as_html.py know."""
    NARROW: ClassVar[tuple[tuple[tuple[str, ...], int], ...]]
    """Which columns stand below each other in a narrow terminal, and their width; together at most 79."""
    REASONS: ClassVar[str]
    """The heading above the reasons to act."""

    version: int = 1
    """Raised when a member changes its meaning or goes; new members do not raise it."""
    account: str | None
    """AWS account id; None where it is not known."""
    day: date
    limits: Limits
    problem: str | None
    """What is unknown and why, in one line."""

    @property
    @abstractmethod
    def title(self) -> str: ...

    @property
    @abstractmethod
    def headline(self) -> str:
        """One line on all of it."""

    @property
    @abstractmethod
    def rows(self) -> Sequence[Row]: ...

    @property
    def notes(self) -> list[str]:
        """What a reader has to know about the rows."""
        return []

    @property
    def legend(self) -> list[str]:
        """What the words mean, and what to do about the reasons to act."""
        return [KEY_LIMITS.format(**asdict(self.limits)), REMEDY]

    @property
    def to_act_on(self) -> list[Row]:
        return [row for row in self.rows if row.reasons]


@dataclass(frozen=True, kw_only=True)
class Report(Listing):
    """Every access key of a stack on one day, in order of users; a user's current key comes first."""

    NAME = "report"
    COLUMNS = ("User", "Key id", "Key", "Status", "Age", "Last used", "Rotation", "Overdue")
    NARROW = (
        (("User", "Key id"), 20),
        (("Key", "Status"), 13),
        (("Age",), 12),
        (("Last used",), 18),
        (("Rotation", "Overdue"), 12),
    )
    REASONS = "Overdue"

    stack: str
    summary: Summary
    keys: tuple[Row, ...]
    foreign: tuple[Foreign, ...] = ()
    """Policies and memberships of the stack's groups and users that the stack does not manage."""

    @property
    def title(self) -> str:
        return f"Access keys of stack {self.stack}" + (f", AWS account {self.account}" if self.account else "")

    @property
    def headline(self) -> str:
        return self.summary.text

    @property
    def rows(self) -> Sequence[Row]:
        return self.keys

    @property
    def notes(self) -> list[str]:
        notes = [
            f"The previous access key {row.id} of {row.user} stays active for now: {row.waits_for}."
            for row in self.keys
            if row.waits_for
        ]
        notes += [UNMANAGED] if self.summary.unmanaged else []
        notes += [FOREIGN] if self.foreign else []
        return notes + [f"{one.owner}: {one.what}. {one.removal}" for one in self.foreign]


def report_of(
    stack: str,
    outputs: Mapping[str, Any],
    used: Mapping[str, LastUse | None],
    day: date,
    limits: Limits,
    problem: str | None = None,
    others: Mapping[str, Sequence[Mapping[str, Any]]] | None = None,
    foreign: Sequence[Foreign] = (),
    unfinished: Mapping[str, str] = MappingProxyType({}),
) -> Report:
    """How the keys of a stack stand on a day.

    outputs: `keys`, as the component has them, and `userArns`. used: key id → last use, None if it was never used;
    where a key is missing, its last use is unknown. others: user → other keys that IAM has. foreign: what else the
    stack's groups and users have and it does not manage. unfinished: id → name of those of the keys that the
    state has.
    """
    rows: list[Row] = []
    managed: Mapping[str, Mapping[str, Any]] = outputs["keys"]
    users: list[str] = sorted(managed.keys() | (others or {}).keys())
    for user in users:
        part: Mapping[str, Any] = managed.get(user, {})
        parts = [(role, part) for role in ("current", "previous") if part.get(role)]
        for key in (others or {}).get(user, ()):
            name = unfinished.get(key["id"])
            role = "managed" if name else "unmanaged"
            parts.append((role, {role: {**key, "name": name}}))
        rows += [Row(**key_facts(user, role, part, used, day, limits)) for role, part in parts]
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
        stack=stack,
        account=account,
        day=day,
        limits=limits,
        summary=summary,
        problem=problem,
        keys=tuple(rows),
        foreign=tuple(foreign),
    )


def key_facts(
    user: str,
    role: str,
    part: Mapping[str, Any],
    used: Mapping[Any, LastUse | None],
    day: date,
    limits: Limits,
) -> dict[str, Any]:
    """The members of a Row. role: which key of `part`, a user's record in the component's output `keys`."""
    key: Mapping[str, Any] = part[role]
    active, known, created = key["status"] == "Active", key["id"] in used, _created(key)
    use = _use_by_others(key, used)
    due = date.fromisoformat(part["nextRotation"]) if role == "current" and part.get("nextRotation") else None
    age, idle = _days(created, day), _days(use and use.on, day)
    until = part.get("previousUntil") if role == "previous" else None
    day_known = None if part.get("whenIdle") else until
    expires = part.get("expires") if role in ("current", "previous") else None
    in_overlap = until is not None and day < date.fromisoformat(until)  # the schedule retires it on that day
    judged = active and not in_overlap
    waits = None
    if role == "previous" and part.get("whenIdle") and active and {key["id"], part["current"]["id"]} <= used.keys():
        current, tried = _use_by_others(part["current"], used), part.get("tried")
        if is_trial(datetime.fromisoformat(tried) if tried else None, current):
            current = None
        waits = waits_for(current, use, int(part["whenIdle"]), moment_of(day))
    overdue = overdue_findings(
        limits,
        age_days=age if judged else None,
        unused_days=(idle if use else age) if judged and known else None,
        was_used=use is not None,
        due=due,
        expires=date.fromisoformat(expires) if active and expires else None,
        is_reactivated=active and key.get("recorded") == "Inactive",
        day=day,
    )
    return {
        "user": user,
        "id": key["id"],
        "role": role,
        "serial": key.get("serial"),
        "name": key.get("name") or str(key.get("serial") or ""),
        "status": key["status"],
        "created": created,
        "age_days": age,
        "last_used_known": known,
        "last_used": use and use.on,
        "last_used_service": use and use.service,
        "last_used_region": use and use.region,
        "idle_days": idle,
        "next_rotation": due,
        "active_until": min(map(date.fromisoformat, filter(None, (day_known, expires))), default=None),
        "overdue": tuple(overdue),
        "unknown": active and not known and (age is None or age >= limits.idle_days),
        "waits_for": waits,
    }


def _created(key: Mapping[str, Any]) -> datetime | None:
    return datetime.fromisoformat(key["created"].replace("Z", "+00:00")) if key.get("created") else None


def _use_by_others(key: Mapping[str, Any], used: Mapping[Any, LastUse | None]) -> LastUse | None:
    """The last use of a key, without its verification; None also where it is not known."""
    use, created = used.get(key["id"]), _created(key)
    return use_by_others(created, use) if created else use


def _days(earlier: datetime | None, day: date) -> int | None:
    """0 where the order is the other way round, as in a rehearsal of the past."""
    return max(0, (day - earlier.date()).days) if earlier else None


def as_json(listing: Listing) -> str:
    """The listing as a JSON document with a final newline."""
    return json.dumps(_document(listing), indent=2, default=_text, ensure_ascii=False) + "\n"


def as_csv(listing: Listing) -> str:
    """The rows with the same names, one a line; of findings the rules only, and several values with a space between."""
    text = StringIO()
    rows = csv.DictWriter(text, [OTHER_LANGUAGES(field.name) for field in fields(listing.ROW)], lineterminator="\n")
    rows.writeheader()
    for row in listing.rows:
        rows.writerow({name: _cell(cell) for name, cell in _document(row).items()})
    return text.getvalue()


def _cell(value: Any) -> Any:
    """A value as CSV has it."""
    if isinstance(value, tuple):
        several = cast("tuple[dict[str, str] | str, ...]", value)
        return " ".join(each if isinstance(each, str) else each["rule"] for each in several)
    return _text(value) if isinstance(value, date) else value


def _document(part: Listing | Row) -> dict[str, Any]:
    """A part of the listing as JSON has it."""
    return asdict(part, dict_factory=lambda pairs: {OTHER_LANGUAGES(name): value for name, value in pairs})


def _text(day: date) -> str:
    """A day or a time in ISO 8601."""
    return day.isoformat().replace("+00:00", "Z")

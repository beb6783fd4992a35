"""The data of the inventory: a row for each access key, and one for each user without any.

It is a listing like the report, with some more columns; see cli/report/data.py.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta, timezone
from typing import Any, NamedTuple

from aws_access_keys.cli.inventory.questions import Found
from aws_access_keys.cli.inventory.stacks import Stacks
from aws_access_keys.cli.report.data import Listing, Row, key_facts
from aws_access_keys.iam import LastUse
from aws_access_keys.rules.credential_report import ROOT, ReportedUser
from aws_access_keys.rules.findings import Finding, Limits
from aws_access_keys.rules.inventory import RULES, administrator_policies, risk_findings, urgency

WORDS = (
    "Root's keys come first, then what to act on first. A user is as strong as an administrator if a policy allows "
    "everything, everything but some actions, or to grant oneself any permission; conditions are not considered. A "
    "policy AWSCompromisedKeyQuarantine is attached by AWS when it finds a key exposed."
)

IN_NO_STACK = (
    "A key in no stack: `aws iam update-access-key --user-name USER --access-key-id ID --status Inactive` stops it. "
    "Delete it once nobody misses it."
)


@dataclass(frozen=True, kw_only=True)
class InventoryRow(Row):
    """One access key of the account, or a user without any."""

    arn: str
    """Of the user."""
    stack: str | None
    """The stack whose state has the key; None where none of those that could be read has it."""
    stack_known: bool
    """False where a stack that could not be read may have it."""
    console_password: bool | None
    """None where AWS did not report it, as for root; and so is the next one."""
    mfa: bool | None
    administrator: tuple[str, ...] | None
    """The policies that make the user as strong as an administrator; None where policies are not known."""
    quarantine: str | None
    """The policy that AWS attached because it found a key of the user exposed; None also where `administrator` is."""
    second_key: bool
    """Whether the user has another key, active or not."""
    risks: tuple[Finding, ...]
    """Reasons to act beside those in `overdue`."""

    @property
    def reasons(self) -> tuple[Finding, ...]:
        return tuple(sorted((*self.risks, *self.overdue), key=lambda finding: RULES.index(finding.rule)))

    @property
    def kind(self) -> str:
        return ""

    @property
    def account_id(self) -> str:
        return self.arn.split(":")[4]

    @property
    def place(self) -> str:
        if self.stack:
            return self.stack
        return ("none" if self.stack_known else "unknown") if self.status else ""

    @property
    def access(self) -> tuple[str, ...]:
        words = {
            "administrator": self.administrator,
            "quarantined": self.quarantine,
            "password": self.console_password,
            "MFA": self.mfa,
            "second key": self.second_key,
        }
        return tuple(word for word, value in words.items() if value)


@dataclass(frozen=True, kw_only=True)
class InventorySummary:
    users: int
    """Without root."""
    keys: int
    inactive: int
    to_act_on: int
    """Rows with a reason."""
    unknown: int
    unmanaged: int
    """Keys that no stack has."""

    @property
    def text(self) -> str:
        """One line on the whole account, for people."""
        parts = [_count(self.users, "user"), _count(self.keys, "access key")]
        parts += [f"{self.inactive} inactive"] if self.inactive else []
        parts += [f"{self.to_act_on} to act on" if self.to_act_on else "nothing to act on"]
        parts += [f"{self.unknown} unknown"] if self.unknown else []
        parts += [f"{self.unmanaged} in no stack"] if self.unmanaged else []
        return ", ".join(parts)


@dataclass(frozen=True, kw_only=True)
class Inventory(Listing):
    """Every user and access key of an account on one day."""

    NAME = "inventory"
    ROW = InventoryRow
    COLUMNS = ("User", "Key id", "Stack", "Key", "Status", "Age", "Last used", "Access", "Act on")
    NARROW = (
        (("User", "Key id"), 20),
        (("Stack", "Status", "Key"), 13),
        (("Age",), 12),
        (("Last used",), 16),
        (("Access", "Act on"), 14),
    )
    REASONS = "To act on first"

    credential_report: datetime | None
    """When AWS made its report, from which last uses, passwords and MFA are; None where there is none."""
    credential_report_age_minutes: int | None
    complete: bool
    """Whether AWS answered everything. Whether all stacks could be read is not part of it."""
    summary: InventorySummary
    items: tuple[InventoryRow, ...]

    @property
    def title(self) -> str:
        return f"Users and access keys of AWS account {self.account}"

    @property
    def headline(self) -> str:
        return self.summary.text if self.complete else f"{self.summary.text} (incomplete)"

    @property
    def rows(self) -> Sequence[InventoryRow]:
        return self.items

    @property
    def notes(self) -> list[str]:
        if self.credential_report is None or self.credential_report_age_minutes is None:
            return []
        hours, minutes = divmod(self.credential_report_age_minutes, 60)
        age = f"{hours} h {minutes} min" if hours else f"{minutes} min"
        return [
            f"Last uses, passwords and MFA are from AWS's credential report of {self.credential_report:%Y-%m-%d %H:%M} "
            f"UTC, {age} ago; AWS makes a new one after four hours. A user's first key, if it is newer, is missing."
        ]

    @property
    def legend(self) -> list[str]:
        limits, remedy = super().legend
        return [WORDS, limits, f"Keys in a stack: {remedy[:1].lower()}{remedy[1:]} {IN_NO_STACK}"]


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def inventory_of(account: str, found: Found, stacks: Stacks, day: date, limits: Limits) -> Inventory:
    """The inventory of an account, from what AWS answered and what the stacks have."""
    rows = sorted(
        _rows(account, found, stacks, day, limits), key=lambda row: urgency(row.reasons, row.age_days, row.user)
    )
    age = (datetime.now(timezone.utc) - found.reported_on) // timedelta(minutes=1) if found.reported_on else None
    keys = [row for row in rows if row.status]
    summary = InventorySummary(
        users=len({row.user for row in rows} - {ROOT}),
        keys=len(keys),
        inactive=sum(not row.active for row in keys),
        to_act_on=sum(bool(row.reasons) for row in rows),
        unknown=sum(row.unknown for row in rows),
        unmanaged=sum(row.role == "unmanaged" for row in rows),
    )
    return Inventory(
        account=account,
        day=day,
        limits=limits,
        problem=" ".join((*found.problems, *stacks.problems)) or None,
        credential_report=found.reported_on,
        credential_report_age_minutes=None if age is None else max(0, age),
        complete=not found.problems,
        summary=summary,
        items=tuple(rows),
    )


def _rows(account: str, found: Found, stacks: Stacks, day: date, limits: Limits) -> Iterator[InventoryRow]:
    users, reported = found.users or {}, found.reported or {}
    for name in found.names:
        user, row = users.get(name), reported.get(name)
        keys = list(_keys(found, name, row))
        about: dict[str, Any] = {
            "arn": user.arn if user else row.arn if row else f"arn:aws:iam::{account}:root",
            "console_password": row.password if row else None,
            "mfa": row.mfa if row else None,
            "administrator": administrator_policies(user, found.documents) if user else None,
            "quarantine": user.quarantine if user else None,
            "second_key": len(keys) > 1,
        }
        active = sum(key.status == "Active" for key in keys)
        for key in keys:
            in_state = stacks.keys.get(key.id or "")
            stack_known = in_state is not None or (key.id is not None and not stacks.problems)
            role = in_state.role if in_state else "unmanaged"
            record = in_state.record if in_state else {}
            in_record: dict[str, Any] = record.get(role) or {}
            # The state is as old as the last update; AWS has the status and the time.
            part: dict[str, Any] = {**record, role: in_record | key._asdict()}
            used = {key.id: key.use} if key.use_known else {}
            facts = key_facts(name, role, part, used, day, limits)
            risks = risk_findings(
                is_root=name == ROOT,
                active=key.status == "Active",
                quarantine=about["quarantine"],
                administrator=about["administrator"] or (),
                has_second=active > 1 and role not in ("current", "previous"),
                password=about["console_password"],
                mfa=about["mfa"],
            )
            stack = in_state.stack if in_state else None
            facts |= {"role": role if stack_known else None}
            yield InventoryRow(**facts, **about, stack=stack, stack_known=stack_known, risks=tuple(risks))
        if not keys and name != ROOT:
            yield _row_without_key(name, about)


class _Key(NamedTuple):
    """A key as AWS has it, with the names of the component's output `keys`."""

    id: str | None
    status: str
    created: str | None
    use: LastUse | None
    use_known: bool


def _keys(found: Found, name: str, row: ReportedUser | None) -> Iterator[_Key]:
    """A user's keys; without ids where only the credential report has them."""
    if name in found.keys:
        for key in found.keys[name]:
            status = "Active" if key.active else "Inactive"
            yield _Key(key.id, status, key.created.isoformat(), found.used.get(key.id), key.id in found.used)
    elif row:
        for key in row.keys:
            created = key.changed.isoformat() if key.changed else None
            yield _Key(None, "Active" if key.active else "Inactive", created, key.used, True)


def _row_without_key(name: str, about: Mapping[str, Any]) -> InventoryRow:
    risks = risk_findings(
        is_root=False,
        active=False,
        quarantine=None,
        administrator=(),
        has_second=False,
        password=about["console_password"],
        mfa=about["mfa"],
    )
    return InventoryRow(
        **about,
        user=name,
        id=None,
        role=None,
        serial=None,
        name="",
        status=None,
        created=None,
        age_days=None,
        last_used_known=False,
        last_used=None,
        last_used_service=None,
        last_used_region=None,
        idle_days=None,
        next_rotation=None,
        active_until=None,
        overdue=(),
        unknown=False,
        stack=None,
        stack_known=True,
        risks=tuple(risks),
    )

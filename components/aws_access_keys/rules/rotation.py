"""The life of a user's access keys: which key is due, which one is retired, and when.

IAM allows two access keys per user: the current one, and the previous one for as long as its users need to change over.
The name of a key shows what it was issued for: its serial (`2`), or a serial and the first day of the scheduled period
(`2.2027-03-01`). Names are all that has to be remembered of earlier runs; they are part of the resources' names.

Everything is decided from three things: the settings (KeyRules), the keys that exist (Key), and the day.
"""

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from typing import Literal

from aws_access_keys.iam import LastUse

RETIRE = "set previous to deleted, run `pulumi up`, and set it back"
"""How messages ask to delete a previous key. Where it is not set back, the next rotation deletes the key in use."""

Status = Literal["active", "inactive"]
Retired = Literal["active", "inactive", "deleted", "whenIdle"]
Retirement = Literal["deactivated", "deleted"]


@dataclass(frozen=True, order=True)
class KeyName:
    """What a key was issued for. Names sort by age: the last one is the newest key's."""

    serial: int
    period: date = date.min
    """First day of the scheduled period for which the key was issued; date.min for a key issued for its serial."""

    def __str__(self) -> str:
        return str(self.serial) if self.period == date.min else f"{self.serial}.{self.period}"

    @staticmethod
    def parse(text: str) -> "KeyName | None":
        """The name in a text such as `2` or `2.2027-03-01`, or None."""
        serial, _, period = text.partition(".")
        try:
            return KeyName(int(serial), date.fromisoformat(period) if period else date.min)
        except ValueError:
            return None


@dataclass(frozen=True)
class Key:
    """An access key that exists."""

    name: KeyName
    id: str
    active: bool
    created: date
    is_retired: bool = False
    """Whether it is inactive because an earlier run retired it."""
    handed_over_on: date | None = field(default=None, compare=False)
    """The day on which it was handed over, if the run that issued it failed before that."""

    @property
    def issued_on(self) -> date:
        """The day from which its age counts. An adopted key is older than the period it serves."""
        return max(self.created, self.name.period)


@dataclass(frozen=True)
class Calendar:
    """Rotation on a schedule: periods of `every_days` from `start`; a new key at the start of each but the first."""

    start: date
    every_days: int
    overlap_days: int
    """Days for which the previous key stays active, counted from the day on which the new key was issued, or handed
    over if an update failed in between."""

    def first_after(self, day: date) -> date:
        """The first rotation date after `day`."""
        periods = max(0, (day - self.start).days // self.every_days)
        return self.start + timedelta(days=(periods + 1) * self.every_days)

    def period_of(self, day: date) -> date:
        """The first day of the period that `day`, not before `start`, is in."""
        return day - timedelta(days=(day - self.start).days % self.every_days)


@dataclass(frozen=True)
class KeyRules:
    """What the settings ask of one user's key."""

    serial: int = 1
    status: Status | None = None
    """None: a new key is active, the status of an existing one is left alone."""
    previous: Retired | None = None
    """What happens to the previous key; None: `inactive` under a schedule, else `active`."""
    rotation: Calendar | None = None
    expires: date | None = None
    """The day from which no key works, and none is issued."""

    def have_expired(self, today: date) -> bool:
        """Whether the user's keys have expired."""
        return self.expires is not None and self.expires <= today


@dataclass(frozen=True)
class PlannedKey:
    """A key that a user is to have."""

    name: KeyName
    status: Status | None
    """None: as it is."""


@dataclass(frozen=True)
class KeyPlan:
    """The keys that a user is to have."""

    current: PlannedKey
    previous: PlannedKey | None = None
    is_new: bool = False
    """Whether this run issues the current key."""
    replaced: KeyName | None = None
    """The older key that is deleted to make room for the new one."""
    next_rotation: date | None = None
    previous_until: date | None = None
    """The day on which the previous key's overlap ends."""
    handed_over_on: date | None = None
    """That of the current key, see Key."""

    @property
    def is_reissue(self) -> bool:
        """Whether the new key has the name of the one that it replaces, which was never delivered."""
        return self.is_new and self.replaced == self.current.name

    @property
    def keys(self) -> "list[PlannedKey]":
        """The current key, and the previous one if there is one."""
        return [key for key in (self.current, self.previous) if key]


def due_key(rules: KeyRules, keys: Sequence[Key], today: date) -> KeyName | None:
    """The name of the key that has to be issued today, or None. keys: those that exist, newest first.

    However far `serial` was raised and however many rotation dates have passed, one key is issued. A lowered `serial`
    issues nothing: a deleted key cannot come back.
    """
    if rules.have_expired(today):
        return None
    if not keys:
        return KeyName(rules.serial)
    current = keys[0]
    if rules.serial > current.name.serial:
        return KeyName(rules.serial)
    if rules.rotation and rules.rotation.first_after(current.issued_on) <= today:
        return KeyName(current.name.serial, rules.rotation.period_of(today))
    return None


def plan_keys(
    rules: KeyRules,
    keys: Sequence[Key],
    today: date,
    new: KeyName | None = None,
    replaced: KeyName | None = None,
    keep: Set[KeyName] = frozenset(),
) -> KeyPlan:
    """The keys that a user is to have.

    keys: those that exist, newest first; at least one, unless there is a new one. new: the key to issue now.
    replaced: the key that is deleted for it. keep: keys that stay as they are, whatever the settings ask.
    """
    if rules.have_expired(today):
        rules = replace(rules, status="inactive", previous="inactive", rotation=None)
    remaining = [key for key in keys if key.name != replaced]
    if new:
        current, issued_on, handed_over_on = PlannedKey(new, rules.status or "active"), today, None
    else:
        newest = remaining.pop(0)
        current = PlannedKey(newest.name, None if newest.name in keep else rules.status)
        issued_on, handed_over_on = newest.issued_on, newest.handed_over_on
    calendar = rules.rotation
    overlap_ends = (handed_over_on or issued_on) + timedelta(days=calendar.overlap_days) if calendar else None
    previous = _previous(rules, remaining[0], new, overlap_ends, today, keep) if remaining else None
    return KeyPlan(
        current,
        previous,
        is_new=new is not None,
        replaced=replaced,
        next_rotation=calendar.first_after(issued_on) if calendar else None,
        previous_until=overlap_ends if previous else None,
        handed_over_on=handed_over_on,
    )


def _previous(
    rules: KeyRules, key: Key, new: KeyName | None, overlap_ends: date | None, today: date, keep: Set[KeyName]
) -> PlannedKey | None:
    """What becomes of the previous key; None: it is deleted."""
    if key.name in keep:
        return PlannedKey(key.name, None)
    if key.active and overlap_ends and today < overlap_ends:
        return PlannedKey(key.name, None)
    if rules.previous == "deleted":
        return None
    if rules.previous == "whenIdle":  # as far as `waits_for` allows; nobody has used a key that is yet to be issued
        return PlannedKey(key.name, "inactive" if key.active and not new else None)
    # Only the setting itself makes an inactive key active again, never a default, an overlap or a removed schedule; and
    # only one that it retired: others were deactivated for a reason.
    if rules.previous == "active" and not key.active and not key.is_retired:
        return PlannedKey(key.name, None)
    default: Status | None = "inactive" if rules.rotation and key.active else None
    return PlannedKey(key.name, rules.previous or default)


def waits_for(current: LastUse | None, previous: LastUse | None, idle_days: int, now: datetime) -> str | None:
    """What the retirement of a previous key waits for, with `whenIdle`; None where everybody has changed over.

    current, previous: the last uses of the two keys, without the verification of a new key.
    """
    if current is None:
        return "the new key has not been used yet"
    if previous and now - previous.on < timedelta(days=idle_days):
        return f"the previous one was {previous.text}"
    return None


def retirements(plan: KeyPlan, keys: Sequence[Key]) -> Mapping[KeyName, Retirement]:
    """What a plan does to the existing keys that it switches off or deletes.

    An inactive key that is deleted counts: somebody may have activated it, which the state does not know.
    """
    planned = {wanted.name: wanted for wanted in (plan.current, plan.previous) if wanted}
    found: dict[KeyName, Retirement] = {}
    for key in keys:
        wanted = planned.get(key.name)
        if wanted is None:
            found[key.name] = "deleted"
        elif wanted.status == "inactive" and key.active:
            found[key.name] = "deactivated"
    return found


def notes(rules: KeyRules, keys: Sequence[Key], today: date) -> list[str]:
    """Settings that do less than they seem to. keys: those that exist, newest first."""
    if not keys or rules.have_expired(today):
        return []
    current, found = keys[0], list[str]()
    serial = current.name.serial
    if today < current.issued_on and rules.serial <= serial:
        found.append(
            f"the current date is {today}, but the current access key was issued on {current.issued_on}: no "
            f"scheduled rotation happens before that date. Check the clock; if the key's date is wrong, raise serial "
            f"to {serial + 1} for a new key."
        )
    if rules.serial < serial:
        found.append(
            f"serial {rules.serial} is lower than the current key's serial {serial} and is ignored: a deleted key "
            f"cannot come back. Raise it to {serial + 1} for a new key."
        )
    if rules.serial > serial + 1:
        found.append(f"serial was raised from {serial} to {rules.serial}; that issues one new key, not several.")
    if not current.active and rules.status is None and rules.serial <= serial:
        found.append(
            f"the current access key {current.id} is inactive and will stay inactive: someone or an earlier setting "
            f"deactivated it. Set status to active to make it work again, or raise serial to {serial + 1} for a new "
            "key."
        )
    return found

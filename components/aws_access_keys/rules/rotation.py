"""The life of a user's access keys: which key is due, which one goes, and when.

A user has two slots, because IAM takes two keys per user. The current key is in one, the key before it in the other.
A new key always goes into the slot that does not hold the current one, so the current key is never touched by the step
that replaces it, and a third key is never attempted.

Everything is decided from three things: what is asked (KeyRules), what earlier runs issued (Issued), and the day.
"""

from collections.abc import Mapping, Set
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Literal

KeyStatus = Literal["active", "inactive"]
Retired = Literal["active", "inactive", "deleted"]
Retirement = Literal["deactivated", "deleted"]
SLOTS = ("a", "b")


@dataclass(frozen=True)
class Calendar:
    """Rotation by the calendar: periods of `every_days` from `start`; a new key at the start of each but the first."""

    start: date
    every_days: int
    overlap_days: int
    """Days for which the key before stays active, counted from the day on which the new key was issued."""

    def first_after(self, day: date) -> date:
        """The first rotation date after `day`."""
        periods = max(0, (day - self.start).days // self.every_days)
        return self.start + timedelta(days=(periods + 1) * self.every_days)


@dataclass(frozen=True)
class KeyRules:
    """What is asked for one user's key."""

    serial: int = 1
    status: KeyStatus = "active"
    previous: Retired | None = None
    """What becomes of the key before; None: `inactive` under a calendar, else `active`."""
    rotation: Calendar | None = None


@dataclass(frozen=True)
class Issued:
    """What earlier runs left of one user's keys."""

    serial: int
    slot: str
    issued_on: date
    asked: int
    """The highest `serial` that was ever asked for."""
    active: bool = True
    """Whether the current key was left active."""
    previous_serial: int | None = None
    """Serial of the key in the other slot, None where it is empty."""
    previous_active: bool = True
    """Whether the key in the other slot was left active."""


@dataclass(frozen=True)
class Slot:
    """One of a user's keys as it shall be."""

    name: str
    serial: int
    status: KeyStatus


@dataclass(frozen=True)
class KeyPlan:
    """Which keys a user shall have, and what an operator wants to know of them."""

    current: Slot
    previous: Slot | None
    issued_on: date
    asked: int
    is_new: bool
    """Whether this run issues the current key."""
    next_rotation: date | None
    previous_until: date | None
    """The day on which the previous key's overlap ends, where there is one."""
    note: str
    """Something in the config that does less than it seems to, or nothing."""
    before: int | None
    """Serial of the key before the current one, whether it stays or goes; None where there is none."""


def plan_key(
    rules: KeyRules, issued: Issued | None, today: date, keep: Set[str] = frozenset(), may_issue: bool = True
) -> KeyPlan:
    """The keys that a user shall have today.

    However far `serial` was raised and however many rotation dates passed unused, one new key is issued: the key that
    is in use keeps its slot. A lowered `serial` issues nothing, for a key that is gone cannot come back.

    keep: slots whose key is to stay as it is, whatever is asked; a new key that needs such a slot waits.
    may_issue: False where IAM has no room for a new key; it waits, too. What waits is asked for again the next time.
    """
    if issued is None:
        current = Slot(SLOTS[0], rules.serial, rules.status)
        return _plan(rules, current, None, True, keep, today, rules.serial, True, today, "")
    raised = max(0, rules.serial - issued.asked)
    due = rules.rotation is not None and rules.rotation.first_after(issued.issued_on) <= today
    note = _note(rules.serial, issued, today)
    if (raised or due) and may_issue and other_slot(issued.slot) not in keep:
        current = Slot(other_slot(issued.slot), issued.serial + (raised or 1), rules.status)
        asked = max(rules.serial, issued.asked)
        return _plan(rules, current, issued.serial, issued.active, keep, today, asked, True, today, note)
    current = Slot(issued.slot, issued.serial, "active" if issued.slot in keep else rules.status)
    return _plan(
        rules,
        current,
        issued.previous_serial,
        issued.previous_active,
        keep,
        issued.issued_on,
        issued.asked,
        False,
        today,
        note,
    )


def retirements(plan: KeyPlan, issued: Issued) -> Mapping[str, Retirement]:
    """Slot → what the plan does to the key in it: keys that are switched off, and keys that are deleted.

    An inactive key that is deleted counts: somebody may have switched it on again, which the state does not know.
    """
    wanted = {slot.name: slot for slot in (plan.current, plan.previous) if slot}
    present = {issued.slot: (issued.serial, issued.active)}
    if issued.previous_serial is not None:
        present[other_slot(issued.slot)] = (issued.previous_serial, issued.previous_active)
    found: dict[str, Retirement] = {}
    for slot, (serial, active) in present.items():
        after = wanted.get(slot)
        if after is None or after.serial != serial:
            found[slot] = "deleted"
        elif after.status == "inactive" and active:
            found[slot] = "deactivated"
    return found


def _plan(
    rules: KeyRules,
    current: Slot,
    previous_serial: int | None,
    was_active: bool,
    keep: Set[str],
    issued_on: date,
    asked: int,
    is_new: bool,
    today: date,
    note: str,
) -> KeyPlan:
    calendar = rules.rotation
    overlap_ends = issued_on + timedelta(days=calendar.overlap_days) if calendar else None
    other = other_slot(current.name)
    previous: Slot | None = None
    if previous_serial is not None:
        retired = rules.previous or ("inactive" if calendar else "active")
        if other in keep:
            retired = "active" if was_active else "inactive"
        elif not was_active:
            # Only a word switches a key on again: never a default, an overlap or a calendar that was taken out.
            retired = rules.previous or "inactive"
        elif overlap_ends is not None and today < overlap_ends:
            retired = "active"
        if retired != "deleted":
            previous = Slot(other, previous_serial, retired)
    return KeyPlan(
        current=current,
        previous=previous,
        issued_on=issued_on,
        asked=asked,
        is_new=is_new,
        next_rotation=calendar.first_after(issued_on) if calendar else None,
        previous_until=overlap_ends if previous else None,
        note=note,
        before=previous_serial,
    )


def other_slot(slot: str) -> str:
    """The slot that is not this one."""
    return SLOTS[1 - SLOTS.index(slot)]


def _note(serial: int, issued: Issued, today: date) -> str:
    asked = issued.asked
    if today < issued.issued_on:
        return (
            f"today is said to be {today}, but the current key was issued on {issued.issued_on}. Is the clock right? "
            "Nothing is due before that day."
        )
    if serial < asked:
        return (
            f"serial is {serial}, but {asked} was asked for before. Keys do not come back, nothing is changed; "
            f"raise it to {asked + 1} for a new key."
        )
    if serial > asked + 1:
        return f"serial was raised from {asked} to {serial} at once; that issues one new key, as a raise by one does."
    return ""

"""The life of a key as pure rules: every case, and the calendar walked day by day."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import date, datetime, timedelta, timezone

import pytest
from aws_access_keys.iam import LastUse
from aws_access_keys.rules.rotation import (
    Calendar,
    Key,
    KeyName,
    KeyPlan,
    KeyRules,
    PlannedKey,
    Retired,
    Status,
    due_key,
    notes,
    plan_keys,
    retirements,
    waits_for,
)
from hypothesis import given, settings
from hypothesis import strategies as st

TODAY = date(2026, 11, 23)
CALENDAR = Calendar(start=date(2026, 1, 1), every_days=90, overlap_days=7)
START = CALENDAR.start


def key(name: str, active: bool = True, created: date = TODAY) -> Key:
    parsed = KeyName.parse(name)
    assert parsed is not None
    return Key(parsed, f"AKIA-{name}", active, created)


def run(rules: KeyRules, keys: Sequence[Key], today: date) -> KeyPlan:
    """The plan of a run where AWS has nothing against it; the oldest of two keys makes room for a new one."""
    new = due_key(rules, keys, today)
    return plan_keys(rules, keys, today, new, keys[-1].name if new and len(keys) == 2 else None)


def after(plan: KeyPlan, keys: Sequence[Key], today: date) -> list[Key]:
    """The keys that exist when a plan was carried out."""
    known = {found.name: found for found in keys}

    def carried_out(wanted: KeyName, status: Status | None) -> Key:
        found = known.get(wanted)
        if found is None:
            return Key(wanted, f"AKIA-{wanted}", status != "inactive", today)
        return Key(wanted, found.id, found.active if status is None else status == "active", found.created)

    return [carried_out(planned.name, planned.status) for planned in (plan.current, plan.previous) if planned]


def shown(plan: KeyPlan) -> tuple[str, str | None]:
    """The names of the current and the previous key."""
    return str(plan.current.name), str(plan.previous.name) if plan.previous else None


# ---- names


@pytest.mark.parametrize("text", ["1", "20", "2.2027-03-01"])
def test_the_name_of_a_key_is_read_as_it_is_written(text: str) -> None:
    assert str(KeyName.parse(text)) == text


@pytest.mark.parametrize("text", ["", "a", "issued", "1.", "1.x", "1.2027-02-30", "2027-03-01"])
def test_other_texts_name_no_key(text: str) -> None:
    found = KeyName.parse(text)
    assert found is None or str(found) != text


def test_names_sort_by_age() -> None:
    names = ["1", "1.2026-12-01", "1.2027-03-01", "2", "2.2027-06-01", "10"]
    assert sorted(map(KeyName.parse, reversed(names)), key=lambda name: name or KeyName(0)) == [
        KeyName.parse(name) for name in names
    ]


# ---- by the serial


def test_the_first_run_issues_one_key_whatever_the_serial() -> None:
    plan = run(KeyRules(serial=5), [], TODAY)
    assert shown(plan) == ("5", None)
    assert plan.is_new
    assert plan.current.status == "active"


def test_a_second_run_changes_nothing() -> None:
    plan = run(KeyRules(), [key("1")], TODAY + timedelta(days=400))
    assert shown(plan) == ("1", None)
    assert not plan.is_new, "without a calendar time alone issues nothing"


@pytest.mark.parametrize("serial", [2, 3, 9])
def test_a_raised_serial_issues_one_key_beside_the_current_one(serial: int) -> None:
    plan = run(KeyRules(serial=serial), [key("1")], TODAY)
    assert shown(plan) == (str(serial), "1")
    assert plan.previous is not None
    assert plan.previous.status is None, "the previous key stays as it is"
    assert plan.replaced is None


def test_a_third_key_takes_the_place_of_the_oldest() -> None:
    plan = run(KeyRules(serial=3), [key("2"), key("1")], TODAY)
    assert shown(plan) == ("3", "2")
    assert plan.replaced == KeyName(1)


def test_a_lowered_serial_changes_nothing() -> None:
    plan = run(KeyRules(serial=2), [key("4"), key("3")], TODAY)
    assert shown(plan) == ("4", "3")
    assert not plan.is_new, "a deleted key cannot come back"


@pytest.mark.parametrize(("previous", "status"), [("active", "active"), ("inactive", "inactive"), ("deleted", None)])
def test_previous_decides_what_becomes_of_the_previous_key(previous: Retired, status: str | None) -> None:
    plan = run(KeyRules(serial=2, previous=previous), [key("1")], TODAY)
    assert (plan.previous.status if plan.previous else None) == status


def test_a_status_is_changed_only_where_the_settings_ask_for_one() -> None:
    off = [key("1", active=False)]
    assert run(KeyRules(), off, TODAY).current.status is None, "what somebody switched off stays off"
    assert run(KeyRules(status="active"), off, TODAY).current.status == "active"
    assert run(KeyRules(status="inactive"), [key("1")], TODAY).current.status == "inactive"


@pytest.mark.parametrize("rotation", [None, Calendar(TODAY, 30, 7)])
def test_a_suspended_key_stays_off_when_a_new_one_takes_its_place(rotation: Calendar | None) -> None:
    plan = run(KeyRules(serial=2, rotation=rotation), [key("1", active=False)], TODAY)
    assert plan.current.status == "active"
    assert plan.previous is not None
    assert plan.previous.status is None, "no default switches it on again"
    asked = run(KeyRules(serial=2, rotation=rotation, previous="active"), [key("1", active=False)], TODAY)
    assert asked.previous is not None
    assert asked.previous.status is None, "nor does the setting: somebody deactivated the key for a reason"
    retired = replace(key("1", active=False), is_retired=True)
    undone = run(KeyRules(serial=2, rotation=rotation, previous="active"), [retired], TODAY)
    assert undone.previous is not None
    assert undone.previous.status == "active", "what the setting retired it also activates"


# ---- by the calendar


def test_the_previous_key_is_active_for_the_overlap_and_then_inactive() -> None:
    rules, first = KeyRules(rotation=CALENDAR), [key("1", created=START)]
    assert not run(rules, first, date(2026, 3, 31)).is_new
    rotated = run(rules, first, date(2026, 4, 1))
    assert shown(rotated) == ("1.2026-04-01", "1"), "90 days after the start a new key is due"
    assert rotated.previous_until == date(2026, 4, 8)
    keys = after(rotated, first, date(2026, 4, 1))
    for day, status in ((7, None), (8, "inactive")):
        plan = run(rules, keys, date(2026, 4, day))
        assert plan.previous is not None
        assert plan.previous.status == status


def test_the_overlap_counts_from_the_day_on_which_the_new_key_was_issued() -> None:
    late = run(KeyRules(rotation=CALENDAR), [key("1", created=START)], date(2026, 4, 20))
    assert shown(late)[0] == "1.2026-04-01", "the key is named after its period"
    assert late.previous_until == date(2026, 4, 27), "a late run does not shorten anybody's time to change"


def test_a_calendar_that_starts_later_does_not_rotate_yet() -> None:
    rules = KeyRules(rotation=Calendar(start=date(2027, 1, 1), every_days=30, overlap_days=1))
    plan = run(rules, [key("1")], date(2027, 1, 30))
    assert not plan.is_new
    assert plan.next_rotation == date(2027, 1, 31)


def test_missed_rotations_are_made_up_for_by_one_key() -> None:
    plan = run(KeyRules(rotation=CALENDAR), [key("1", created=START)], date(2027, 12, 1))
    assert plan.is_new
    assert plan.next_rotation is not None
    assert plan.next_rotation > date(2027, 12, 1)


def test_a_raised_serial_between_two_rotations_has_its_own_overlap() -> None:
    plan = run(KeyRules(serial=2, rotation=CALENDAR), [key("1", created=START)], date(2026, 2, 15))
    assert shown(plan) == ("2", "1")
    assert plan.previous_until == date(2026, 2, 22)
    assert plan.next_rotation == date(2026, 4, 1), "the calendar goes on"


def test_an_adopted_key_serves_from_the_day_on_which_it_was_adopted() -> None:
    adopted = key("1.2026-02-01", created=date(2020, 1, 1))
    assert not run(KeyRules(rotation=CALENDAR), [adopted], date(2026, 3, 31)).is_new, "however old it is"
    assert run(KeyRules(rotation=CALENDAR), [adopted], date(2026, 4, 1)).is_new


def test_a_clock_that_is_behind_retires_nothing() -> None:
    keys = [key("1.2026-11-20"), key("1")]
    plan = run(KeyRules(rotation=CALENDAR, previous="deleted"), keys, TODAY - timedelta(days=300))
    assert shown(plan) == ("1.2026-11-20", "1")
    assert retirements(plan, keys) == {}


@settings(deadline=None, max_examples=20)
@given(
    every=st.integers(1, 200),
    overlap=st.integers(0, 200),
    start=st.dates(date(2025, 6, 1), date(2027, 6, 1)),
    previous=st.sampled_from([None, "active", "inactive", "deleted"]),
    skipped=st.sets(st.integers(0, 730), max_size=100),
    raises=st.sets(st.integers(0, 730), max_size=4),
)
def test_two_years_walked_day_by_day_never_lose_a_key_in_use(
    every: int, overlap: int, start: date, previous: Retired | None, skipped: set[int], raises: set[int]
) -> None:
    calendar = Calendar(start, every, min(overlap, every))
    serial, keys, deleted = 1, list[Key](), set[KeyName]()
    for day in range(731):
        today = date(2026, 1, 1) + timedelta(days=day)
        serial += day in raises
        if day in skipped:
            continue  # nobody ran `pulumi up` on this day
        rules = KeyRules(serial=serial, previous=previous, rotation=calendar)
        before, plan = keys, run(rules, keys, today)
        keys = after(plan, before, today)
        names = {found.name for found in keys}
        assert len(names | {found.name for found in before if found.name != plan.replaced}) <= 2, "never a third key"
        assert keys[0].name == max(names), "the newest key is the current one"
        assert keys[0].active
        assert not names & deleted, "a deleted key does not come back"
        if before:
            assert plan.replaced != before[0].name, "no key makes room by the deletion of the one in use"
        if before and plan.is_new:
            assert plan.current.name > before[0].name
            assert keys[1:] == before[:1] or not calendar.overlap_days, "nobody is cut off within the overlap"
            by_serial = plan.current.name.serial > before[0].name.serial
            assert by_serial or today >= start + timedelta(days=every), (
                "nothing rotates before the first period is over"
            )
        elif before:
            assert keys[0] == before[0], "without a new key the current one is not touched"
        assert plan.next_rotation is not None
        assert plan.next_rotation > today, "a due rotation is done, not put off"
        again = run(rules, keys, today)
        assert not again.is_new, "a second run on the same day issues nothing"
        assert after(again, keys, today) == keys, "and retires nothing"
        deleted |= {found.name for found in before} - names


# ---- what stops working, and what stays


def test_retirements_are_the_keys_that_stop_working_and_no_others() -> None:
    two, off = [key("2"), key("1")], [key("2"), key("1", active=False)]

    def retired(rules: KeyRules, keys: Sequence[Key]) -> dict[str, str]:
        return {str(name): what for name, what in retirements(run(rules, keys, TODAY), keys).items()}

    assert retired(KeyRules(serial=2), two) == {}
    assert retired(KeyRules(serial=2, previous="inactive"), two) == {"1": "deactivated"}
    assert retired(KeyRules(serial=2, previous="deleted"), two) == {"1": "deleted"}
    assert retired(KeyRules(serial=2, status="inactive"), two) == {"2": "deactivated"}
    assert retired(KeyRules(serial=3), two) == {"1": "deleted"}, "its place is needed"
    assert retired(KeyRules(serial=2, previous="inactive"), off) == {}, "it is off already"
    assert retired(KeyRules(serial=3), off) == {"1": "deleted"}, "somebody may have activated it"


@settings(deadline=None)
@given(
    names=st.sampled_from([["2", "1"], ["2"], ["2.2026-06-01", "2"]]),
    active=st.lists(st.booleans(), min_size=2, max_size=2),
    rules=st.builds(
        KeyRules,
        serial=st.integers(1, 3),
        status=st.sampled_from([None, "active", "inactive"]),
        previous=st.sampled_from([None, "active", "inactive", "deleted"]),
        rotation=st.sampled_from([None, CALENDAR, Calendar(START, 30, 0)]),
    ),
    today=st.dates(date(2026, 1, 1), date(2027, 12, 31)),
    in_use=st.sets(st.sampled_from([0, 1])),
)
def test_a_key_that_is_kept_is_never_retired_whatever_is_asked(
    names: list[str], active: list[bool], rules: KeyRules, today: date, in_use: set[int]
) -> None:
    keys = [key(name, is_active) for name, is_active in zip(names, active, strict=False)]
    keep = {found.name for index, found in enumerate(keys) if index in in_use}
    new = due_key(rules, keys, today) if keys[-1].name not in keep or len(keys) == 1 else None
    replaced = keys[-1].name if new and len(keys) == 2 else None
    plan = plan_keys(rules, keys, today, new, replaced, keep)
    assert not retirements(plan, keys).keys() & keep
    assert {found.name for found in after(plan, keys, today)} >= keep


# ---- notes


@pytest.mark.parametrize(
    ("rules", "current", "says"),
    [
        (KeyRules(serial=1), key("4"), "serial 1 is lower than the current key's serial 4 and is ignored"),
        (KeyRules(serial=9), key("1"), "serial was raised from 1 to 9; that issues one new key, not several."),
        (KeyRules(), key("1", active=False), "the current access key AKIA-1 is inactive and will stay inactive"),
        (KeyRules(), key("1", created=date(2056, 1, 1)), "raise serial to 2 for a new key"),
    ],
)
def test_settings_that_do_less_than_they_seem_to_are_noted(rules: KeyRules, current: Key, says: str) -> None:
    (note,) = notes(rules, [current], TODAY)
    assert says in note


@pytest.mark.parametrize(
    ("rules", "keys"),
    [
        (KeyRules(serial=5), []),
        (KeyRules(serial=2), [key("1")]),
        (KeyRules(serial=2), [key("1", created=date(2056, 1, 1))]),
        (KeyRules(serial=2), [key("1", active=False)]),
        (KeyRules(status="inactive"), [key("1", active=False)]),
        (KeyRules(rotation=CALENDAR), [key("1.2026-09-28"), key("1", active=False)]),
    ],
)
def test_ordinary_settings_need_no_note(rules: KeyRules, keys: list[Key]) -> None:
    assert notes(rules, keys, TODAY) == []


# ---- whenIdle


def test_when_idle_retires_nothing_while_the_new_key_is_issued_and_nothing_during_the_overlap() -> None:
    rules = KeyRules(serial=2, previous="whenIdle", rotation=CALENDAR)
    plan = run(rules, [key("1")], TODAY)
    assert plan.is_new
    assert plan.previous == PlannedKey(KeyName(1), None), "nobody can have used the new key"
    keys = after(plan, [key("1")], TODAY)
    statuses: dict[int, Status | None] = {6: None, 7: "inactive", 30: "inactive"}
    for day, status in statuses.items():
        plan = run(rules, keys, TODAY + timedelta(days=day))
        assert plan.previous == PlannedKey(KeyName(1), status), f"{day} days after the new key was issued"


def test_when_idle_leaves_an_inactive_key_alone() -> None:
    plan = run(KeyRules(serial=2, previous="whenIdle"), [key("2"), key("1", active=False)], TODAY)
    assert plan.previous == PlannedKey(KeyName(1), None)


@pytest.mark.parametrize(
    ("new_used", "old_used_days_ago", "waits"),
    [
        (False, None, "the new key has not been used yet"),
        (False, 90, "the new key has not been used yet"),
        (True, None, None),
        (True, 3, None),
        (True, 2, "the previous one was used on 2026-11-21 08:00 UTC for s3 in us-east-1"),
    ],
)
def test_a_hand_over_waits_for_the_new_key_and_then_for_the_old_one(
    new_used: bool, old_used_days_ago: int | None, waits: str | None
) -> None:
    now = datetime(2026, 11, 23, 8, tzinfo=timezone.utc)
    new = LastUse(now - timedelta(days=40), "s3", "us-east-1") if new_used else None
    old = None if old_used_days_ago is None else LastUse(now - timedelta(days=old_used_days_ago), "s3", "us-east-1")
    assert waits_for(new, old, 3, now) == waits

"""The life of a key as pure rules: every case, and the calendar walked day by day."""

from datetime import date, timedelta

import pytest
from aws_access_keys.rules.rotation import Calendar, Issued, KeyPlan, KeyRules, Retired, plan_key, retirements
from hypothesis import given, settings
from hypothesis import strategies as st

TODAY = date(2026, 11, 23)


def after(plan: KeyPlan) -> Issued:
    """What a run that carried out `plan` leaves for the next."""
    return Issued(
        plan.current.serial,
        plan.current.name,
        plan.issued_on,
        plan.asked,
        plan.current.status == "active",
        plan.previous.serial if plan.previous else None,
        plan.previous is not None and plan.previous.status == "active",
    )


def test_the_first_run_issues_one_key_whatever_the_serial() -> None:
    plan = plan_key(KeyRules(serial=5), None, TODAY)
    assert (plan.current.name, plan.current.serial, plan.previous) == ("a", 5, None)
    assert plan.is_new


def test_a_second_run_changes_nothing() -> None:
    first = plan_key(KeyRules(), None, TODAY)
    second = plan_key(KeyRules(), after(first), TODAY + timedelta(days=400))
    assert second.current == first.current
    assert not second.is_new, "without a calendar time alone issues nothing"


def test_a_raise_by_one_puts_the_new_key_beside_the_current_one() -> None:
    plan = plan_key(KeyRules(serial=2), Issued(1, "a", TODAY, 1), TODAY)
    assert (plan.current.name, plan.current.serial, plan.current.status) == ("b", 2, "active")
    assert plan.previous is not None
    assert (plan.previous.name, plan.previous.serial, plan.previous.status) == ("a", 1, "active")


@pytest.mark.parametrize("serial", [3, 9])
def test_a_raise_by_more_issues_one_key_and_says_so(serial: int) -> None:
    plan = plan_key(KeyRules(serial=serial), Issued(1, "b", TODAY, 1), TODAY)
    assert (plan.current.name, plan.current.serial) == ("a", serial)
    assert plan.previous is not None
    assert plan.previous.name == "b", "the key in use keeps its slot"
    assert "issues one new key" in plan.note


def test_a_lowered_serial_changes_nothing_and_says_so() -> None:
    issued = Issued(4, "b", TODAY, 4, True, 3)
    plan = plan_key(KeyRules(serial=2), issued, TODAY)
    assert (plan.current.name, plan.current.serial, plan.is_new) == ("b", 4, False)
    assert "raise it to 5" in plan.note
    assert plan_key(KeyRules(serial=5), after(plan), TODAY).current.serial == 5, "the next raise counts from before"


@pytest.mark.parametrize(("previous", "status"), [("active", "active"), ("inactive", "inactive"), ("deleted", None)])
def test_previous_says_what_becomes_of_the_key_before(previous: Retired, status: str | None) -> None:
    plan = plan_key(KeyRules(serial=2, previous=previous), Issued(1, "a", TODAY, 1), TODAY)
    assert (plan.previous.status if plan.previous else None) == status


def test_a_suspended_user_has_an_inactive_current_key() -> None:
    plan = plan_key(KeyRules(status="inactive"), Issued(1, "a", TODAY, 1), TODAY)
    assert plan.current.status == "inactive"
    assert not plan.is_new, "suspending issues nothing"


def test_a_suspended_key_stays_off_when_a_new_one_takes_its_place() -> None:
    leaked = Issued(1, "a", TODAY, 1, active=False)
    for rules in (KeyRules(serial=2), KeyRules(serial=2, rotation=Calendar(TODAY, 30, 7))):
        plan = plan_key(rules, leaked, TODAY)
        assert plan.current.status == "active"
        assert plan.previous is not None
        assert plan.previous.status == "inactive", "what was switched off by hand is not switched on by a default"
    asked = plan_key(KeyRules(serial=2, previous="active"), leaked, TODAY)
    assert asked.previous is not None
    assert asked.previous.status == "active", "a word of the operator does it"


def test_a_retired_key_stays_off_when_the_calendar_is_taken_out() -> None:
    plan = plan_key(KeyRules(), Issued(2, "b", TODAY, 1, True, 1, previous_active=False), TODAY)
    assert plan.previous is not None
    assert plan.previous.status == "inactive"


def test_a_clock_that_is_behind_is_said_and_retires_nothing() -> None:
    rules = KeyRules(rotation=Calendar(date(2026, 1, 1), 30, 3))
    plan = plan_key(rules, Issued(2, "b", TODAY, 1, True, 1), TODAY - timedelta(days=300))
    assert "Is the clock right?" in plan.note
    assert not plan.is_new
    assert plan.previous is not None
    assert plan.previous.status == "active"


CALENDAR = Calendar(start=date(2026, 1, 1), every_days=90, overlap_days=7)


def test_under_a_calendar_the_key_before_is_active_for_the_overlap_and_then_inactive() -> None:
    rules = KeyRules(rotation=CALENDAR)
    rotated = plan_key(rules, Issued(1, "a", date(2026, 1, 1), 1), date(2026, 4, 1))
    assert rotated.is_new, "90 days after the start a new key is due"
    assert rotated.previous is not None
    assert rotated.previous.status == "active"
    assert rotated.previous_until == date(2026, 4, 8)
    last_day = plan_key(rules, after(rotated), date(2026, 4, 7))
    assert last_day.previous is not None
    assert last_day.previous.status == "active"
    over = plan_key(rules, after(rotated), date(2026, 4, 8))
    assert over.previous is not None
    assert over.previous.status == "inactive"


def test_the_overlap_counts_from_the_day_on_which_the_new_key_was_issued() -> None:
    late = plan_key(KeyRules(rotation=CALENDAR), Issued(1, "a", date(2026, 1, 1), 1), date(2026, 4, 20))
    assert late.previous_until == date(2026, 4, 27), "a late run does not shorten anybody's time to change"


def test_a_calendar_that_starts_later_does_not_rotate_yet() -> None:
    calendar = Calendar(start=date(2027, 1, 1), every_days=30, overlap_days=1)
    plan = plan_key(KeyRules(rotation=calendar), Issued(1, "a", TODAY, 1), date(2027, 1, 30))
    assert not plan.is_new
    assert plan.next_rotation == date(2027, 1, 31)


def test_missed_rotations_are_made_up_for_by_one_key() -> None:
    plan = plan_key(KeyRules(rotation=CALENDAR), Issued(1, "a", date(2026, 1, 1), 1), date(2027, 12, 1))
    assert plan.current.serial == 2
    assert plan.next_rotation is not None
    assert plan.next_rotation > date(2027, 12, 1)


def test_a_key_issued_by_hand_between_two_rotations_has_its_own_overlap() -> None:
    plan = plan_key(KeyRules(serial=2, rotation=CALENDAR), Issued(1, "a", date(2026, 1, 1), 1), date(2026, 2, 15))
    assert plan.is_new
    assert plan.previous_until == date(2026, 2, 22)
    assert plan.next_rotation == date(2026, 4, 1), "the calendar goes on"


def test_a_deleted_key_does_not_come_back_when_previous_is_changed() -> None:
    gone = plan_key(KeyRules(serial=2, previous="deleted"), Issued(1, "a", TODAY, 1), TODAY)
    assert plan_key(KeyRules(serial=2, previous="active"), after(gone), TODAY).previous is None


@settings(deadline=None, max_examples=60)
@given(
    every=st.integers(2, 200),
    overlap=st.integers(0, 199),
    start=st.dates(date(2025, 6, 1), date(2027, 6, 1)),
    previous=st.sampled_from([None, "active", "inactive", "deleted"]),
    skipped=st.sets(st.integers(0, 730)),
    raises=st.sets(st.integers(0, 730), max_size=4),
)
def test_two_years_walked_day_by_day_never_lose_a_key_in_use(
    every: int, overlap: int, start: date, previous: Retired | None, skipped: set[int], raises: set[int]
) -> None:
    calendar = Calendar(start, every, min(overlap, every))
    serial, issued, first = 1, None, date(2026, 1, 1)
    in_slot: dict[str, int] = {}
    for day in range(731):
        today = first + timedelta(days=day)
        serial += day in raises
        if day in skipped:
            continue  # nobody ran `pulumi up` on this day
        plan = plan_key(KeyRules(serial=serial, previous=previous, rotation=calendar), issued, today)
        wanted = {slot.name: slot.serial for slot in (plan.current, plan.previous) if slot}
        assert len(wanted) <= 2, "a third key is never attempted"
        if issued is not None:
            created = {slot for slot, number in wanted.items() if in_slot.get(slot) != number}
            assert created <= {plan.current.name}, "only the current key is ever made"
            assert plan.is_new == bool(created)
            if created:
                assert issued.slot not in created, "the key that is in use keeps its slot while the new one is made"
                assert plan.current.serial > issued.serial
            was_active = issued.active if created else issued.previous_active
            if plan.previous and was_active and today < plan.issued_on + timedelta(days=calendar.overlap_days):
                assert plan.previous.status == "active", "nobody is cut off within the overlap"
            if today < start + timedelta(days=every) and serial == issued.asked:
                assert not created, "nothing rotates before the first period is over"
        assert plan.next_rotation is not None
        assert plan.next_rotation > today, "a due rotation is done, not put off"
        in_slot, issued = wanted, after(plan)


def test_retirements_are_the_keys_that_stop_working_and_no_others() -> None:
    issued = Issued(2, "b", TODAY, 2, True, 1)
    assert retirements(plan_key(KeyRules(serial=2), issued, TODAY), issued) == {}
    assert retirements(plan_key(KeyRules(serial=2, previous="inactive"), issued, TODAY), issued) == {"a": "deactivated"}
    assert retirements(plan_key(KeyRules(serial=2, previous="deleted"), issued, TODAY), issued) == {"a": "deleted"}
    assert retirements(plan_key(KeyRules(serial=2, status="inactive"), issued, TODAY), issued) == {"b": "deactivated"}
    assert retirements(plan_key(KeyRules(serial=3), issued, TODAY), issued) == {"a": "deleted"}, "its slot is needed"
    off = Issued(2, "b", TODAY, 2, True, 1, previous_active=False)
    assert retirements(plan_key(KeyRules(serial=2, previous="inactive"), off, TODAY), off) == {}, "it is off already"
    assert retirements(plan_key(KeyRules(serial=3), off, TODAY), off) == {"a": "deleted"}, "somebody may have it back"


def test_a_new_key_waits_for_the_slot_of_a_key_that_is_kept() -> None:
    issued = Issued(2, "b", TODAY, 2, True, 1)
    waits = plan_key(KeyRules(serial=3, previous="deleted"), issued, TODAY, keep={"a"})
    assert not waits.is_new
    assert (waits.current.serial, waits.previous and waits.previous.serial) == (2, 1)
    assert plan_key(KeyRules(serial=3), after(waits), TODAY).is_new, "what waits is asked for again"


def test_a_new_key_waits_where_iam_has_no_room() -> None:
    issued = Issued(1, "a", TODAY, 1)
    waits = plan_key(KeyRules(serial=2), issued, TODAY, may_issue=False)
    assert (waits.is_new, waits.current.serial, waits.asked) == (False, 1, 1)


def test_the_key_before_is_told_for_the_record_whether_it_stays_or_goes() -> None:
    issued = Issued(1, "a", TODAY, 1)
    assert plan_key(KeyRules(serial=2, previous="deleted"), issued, TODAY).before == 1
    assert plan_key(KeyRules(serial=2), issued, TODAY).before == 1
    assert plan_key(KeyRules(), issued, TODAY).before is None


@settings(deadline=None)
@given(
    issued=st.builds(
        Issued,
        serial=st.just(2),
        slot=st.sampled_from("ab"),
        issued_on=st.dates(date(2026, 1, 1), date(2026, 12, 31)),
        asked=st.just(2),
        active=st.booleans(),
        previous_serial=st.sampled_from([None, 1]),
        previous_active=st.booleans(),
    ),
    rules=st.builds(
        KeyRules,
        serial=st.integers(1, 4),
        status=st.sampled_from(["active", "inactive"]),
        previous=st.sampled_from([None, "active", "inactive", "deleted"]),
        rotation=st.sampled_from([None, CALENDAR, Calendar(date(2026, 1, 1), 30, 0)]),
    ),
    today=st.dates(date(2026, 1, 1), date(2027, 12, 31)),
    in_use=st.sets(st.sampled_from("ab")),
)
def test_a_key_in_use_is_never_retired_whatever_is_asked(
    issued: Issued, rules: KeyRules, today: date, in_use: set[str]
) -> None:
    keep: set[str] = set()
    for _ in range(3):
        plan = plan_key(rules, issued, today, keep)
        refused = retirements(plan, issued).keys() & in_use
        if not refused:
            break
        assert not refused & keep, "what is kept is not planned to go again"
        keep |= refused
    else:
        raise AssertionError("after a round for each slot nothing is left to hold back")
    assert not retirements(plan, issued).keys() & in_use

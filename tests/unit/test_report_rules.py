from datetime import date, timedelta
from typing import Any

import pytest
from aws_access_keys.rules.audit import (
    IDLE_DAYS,
    MAX_AGE_DAYS,
    may_be_unused,
    overdue,
    rotation_missed,
    too_old,
    unused,
)

TODAY = date(2027, 3, 1)


def ago(days: int) -> date:
    return TODAY - timedelta(days=days)


@pytest.mark.parametrize(("age", "late"), [(0, False), (89, False), (90, False), (91, True), (900, True)])
def test_an_active_key_is_too_old_after_ninety_days(age: int, late: bool) -> None:
    found = too_old(True, ago(age), TODAY)
    assert bool(found) is late, f"{age} days against a limit of {MAX_AGE_DAYS}"
    if found:
        assert found == ("age", f"{age} days old; the limit is 90 (Security Hub IAM.3)")


@pytest.mark.parametrize(
    ("made", "used", "says"),
    [
        (44, None, None),
        (45, None, "never used since it was made 45 days ago; the limit is 45 (Security Hub IAM.22)"),
        (400, 0, None),
        (400, 44, None),
        (400, 45, "unused for 45 days; the limit is 45 (Security Hub IAM.22)"),
    ],
)
def test_an_active_key_is_unused_after_forty_five_days(made: int, used: int | None, says: str | None) -> None:
    found = unused(True, ago(made), None if used is None else ago(used), TODAY)
    assert (found.text if found else None) == says


def test_an_inactive_key_is_neither_too_old_nor_unused() -> None:
    assert too_old(False, ago(1000), TODAY) is None
    assert unused(False, ago(1000), None, TODAY) is None
    assert not may_be_unused(False, ago(1000), TODAY)


def test_a_key_without_a_known_creation_date_is_only_judged_by_its_use() -> None:
    assert too_old(True, None, TODAY) is None
    assert unused(True, None, None, TODAY) is None, "never used, and nobody knows for how long"
    assert unused(True, None, ago(IDLE_DAYS), TODAY) is not None
    assert may_be_unused(True, None, TODAY), "its last use would tell"


@pytest.mark.parametrize(("due", "late"), [(-1, True), (0, False), (1, False)])
def test_a_rotation_is_missed_once_its_day_has_passed(due: int, late: bool) -> None:
    assert bool(rotation_missed(TODAY + timedelta(days=due), TODAY)) is late
    assert rotation_missed(None, TODAY) is None


def test_a_key_can_be_overdue_in_every_way_at_once() -> None:
    facts: dict[str, Any] = {
        "active": True,
        "created": ago(100),
        "used": ago(50),
        "next_rotation": ago(10),
        "today": TODAY,
    }
    assert [found.rule for found in overdue(**facts, use_known=True)] == ["age", "unused", "rotation"]
    assert [found.rule for found in overdue(**facts, use_known=False)] == ["age", "rotation"], (
        "where AWS did not say when a key was used, nothing is claimed of it"
    )


def test_a_day_before_the_creation_is_no_reason_for_alarm() -> None:
    facts: dict[str, Any] = {
        "active": True,
        "created": TODAY + timedelta(days=400),
        "used": TODAY + timedelta(days=500),
    }
    assert not list(overdue(**facts, use_known=True, next_rotation=None, today=TODAY))


@pytest.mark.parametrize(("age", "matters"), [(44, False), (45, True)])
def test_the_last_use_of_a_young_key_does_not_matter(age: int, matters: bool) -> None:
    assert may_be_unused(True, ago(age), TODAY) is matters

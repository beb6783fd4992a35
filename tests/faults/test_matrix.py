"""The fault matrix: a sample of it in every run, all of it in the long tests."""

from collections.abc import Callable, Iterable
from dataclasses import replace

import pytest

from tests.faults.matrix import Prepared, try_point
from tests.faults.scenarios import FAILED, FAULTS, FOLLOW_UPS, MISSED, POINT, SCENARIOS, Fault, Point, Then, points

Record = Callable[[str, object], None]

SPREAD = (
    "first up of two users",
    "rotation into a taken slot",
    "previous deleted",
    "removed",
    "destroyed under the guard",
)
"""Scenarios of which each fault is tried once in every run: 20 points."""


@pytest.mark.minutes
@pytest.mark.parametrize("scenario", SPREAD)
def test_a_sample_of_faults_costs_no_key(
    scenario: str, prepared: Callable[[str], Prepared], record_property: Record
) -> None:
    found = prepared(scenario)
    every = list(points(scenario, found.calls))
    chosen: list[Point] = []
    for index, fault in enumerate(FAULTS):
        left = [point for point in every if point not in chosen]
        of_kind = [point for point in left if point.fault == fault] or left  # where the guard lets nothing be written
        chosen.append(of_kind[(SPREAD.index(scenario) + 3 * index) % len(of_kind)])
    assert len({*chosen}) == 4, "20 different points in the five scenarios"
    _try(found, chosen, record_property)


@pytest.mark.long
@pytest.mark.parametrize("then", FOLLOW_UPS)
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_a_fault_at_any_call_costs_no_key(
    scenario: str, fault: Fault, then: Then, prepared: Callable[[str], Prepared], record_property: Record
) -> None:
    found = prepared(scenario)
    every = points(scenario, found.calls)
    _try(found, (point for point in every if (point.fault, point.then) == (fault, then)), record_property)


@pytest.mark.long
def test_the_matrix_is_as_long_as_it_promises(prepared: Callable[[str], Prepared]) -> None:
    assert sum(len([*points(name, prepared(name).calls)]) for name in SCENARIOS) >= 400


@pytest.mark.long
def test_the_matrix_detects_a_lost_key(prepared: Callable[[str], Prepared]) -> None:
    found = prepared("previous deleted")
    harmless = next(point for point in points("previous deleted", found.calls) if point.fault == "error")
    strict = replace(found, scenario=replace(found.scenario, retires=frozenset()))
    with pytest.raises(AssertionError, match="the key 1 of ann still works"):
        try_point(strict, replace(harmless, then="same"))


def _try(prepared: Prepared, chosen: Iterable[Point], record_property: Record) -> None:
    """Try points, all of them before the first failure is reported."""
    failed: list[str] = []
    for point in chosen:
        came = True
        try:
            came = try_point(prepared, point)
        except AssertionError as error:
            record_property(FAILED, str(point))
            failed.append(f"{point}\n{error}")
        record_property(POINT if came else MISSED, str(point))
    assert not failed, "\n\n".join(failed)

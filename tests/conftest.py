"""One sandbox per process for all tests with an engine, and the search for leaked secrets when they have ended."""

import os
from collections import Counter
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.faults.scenarios import FAILED, MISSED, POINT
from tests.leaks import Search
from tests.lifecycle.stack import Sandbox

LEAKS = pytest.StashKey[list[str]]()
COUNTED = "counted"


@pytest.hookimpl(trylast=True)  # after -m
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let the tests that take minutes begin first, spread over the processes: `--dist worksteal` gives each of them an
    equal part of the list to begin with."""
    processes = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    minutes = [item for item in items if item.get_closest_marker("minutes")]
    others = [item for item in items if not item.get_closest_marker("minutes")]
    items.clear()
    for process in range(processes):
        begin, end = (len(others) * part // processes for part in (process, process + 1))
        items += minutes[process::processes] + others[begin:end]


@pytest.fixture(scope="session")
def sandbox(tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config) -> Iterator[Sandbox]:
    """A sandbox. When it has stopped, no file of any test may hold a secret of a key that was issued in it."""
    made = Sandbox(tmp_path_factory.mktemp("sandbox"))
    yield made
    made.stop()
    search = Search(made.issued).folders(tmp_path_factory.getbasetemp(), exempt=_asked_for)
    pytestconfig.stash[LEAKS] = [str(search)]
    assert not search.found, f"{search}: {', '.join(search.found)}"


def _asked_for(path: Path) -> bool:
    """Whether this is an AWS profile or a CSV file, which `access-keys credentials` writes."""
    return path.name.startswith("credentials") or path.suffix == ".csv"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: "pytest.CallInfo[None]"
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Hand what is counted to the process that prints it."""
    report = yield
    if call.when == "call" and (counted := item.get_closest_marker("counted")):
        report.user_properties.append((COUNTED, counted.args[0]))
    return report


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Hand the result of the search to the process that prints it: the last test may be one of another folder, to which
    the hook above does not apply."""
    if (output := getattr(session.config, "workeroutput", None)) is not None:
        output["leaks"] = session.config.stash.get(LEAKS, [])


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Take the result of a process that has finished."""
    node.config.stash.setdefault(LEAKS, []).extend(getattr(node, "workeroutput", {}).get("leaks", ()))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what the searches of all processes looked at, how much was tried, and which fault points failed."""
    found: dict[str, list[str]] = {"summary": [], COUNTED: [], POINT: [], MISSED: [], FAILED: []}
    failed: Counter[str] = Counter()
    for report in (report for reports in terminalreporter.stats.values() for report in reports):
        for name, value in getattr(report, "user_properties", []):
            if name in found and report.when == "call":
                found[name].append(value)
            if name == COUNTED and report.when == "call":
                failed[value] += report.failed
    for line in (*terminalreporter.config.stash.get(LEAKS, ()), *found["summary"]):
        terminalreporter.write_line(line)
    for what, count in sorted(Counter(found[COUNTED]).items()):
        terminalreporter.write_line(f"{what}: {count} tried, {failed[what]} failed")
    if found[POINT] or found[MISSED]:
        text = f"fault matrix: {len(found[POINT])} points tried, {len(found[FAILED])} failed"
        terminalreporter.write_line(f"{text}; the fault of {len(found[MISSED])} others did not come")
        for point in found[FAILED]:
            terminalreporter.write_line(f"  {point}")

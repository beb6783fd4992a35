"""One sandbox for the fault tests of a process, the scenarios that are set up in it, the count of what was tried."""

from collections.abc import Callable, Iterator

import pytest

from tests.faults.matrix import SCENARIOS, Prepared, prepare
from tests.lifecycle.stack import Sandbox

POINT = "fault point"
FAILED = "failed fault point"


@pytest.fixture(scope="session")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    made = Sandbox(tmp_path_factory.mktemp("sandbox"))
    yield made
    made.stop()


@pytest.fixture(scope="session")
def prepared(sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Prepared]:
    """Sets a scenario up, once."""
    found: dict[str, Prepared] = {}

    def get(name: str) -> Prepared:
        if name not in found:
            found[name] = prepare(SCENARIOS[name], sandbox, tmp_path_factory.mktemp("scenario"))
        return found[name]

    return get


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print how many points were tried, over all processes, and which failed."""
    reports = [report for kind in ("passed", "failed") for report in terminalreporter.getreports(kind)]
    properties = [one for report in reports for one in report.user_properties]
    tried = sum(name == POINT for name, _ in properties)
    if tried:
        failed = [value for name, value in properties if name == FAILED]
        terminalreporter.write_line(f"fault matrix: {tried} points tried, {len(failed)} failed")
        for point in failed:
            terminalreporter.write_line(f"  {point}")

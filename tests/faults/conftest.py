"""The scenarios of the fault matrix, and the count of what was tried."""

import shutil
from collections.abc import Callable, Iterator

import pytest

from tests.faults.matrix import Prepared, prepare
from tests.faults.scenarios import SCENARIOS
from tests.lifecycle.stack import Sandbox

POINT = "fault point"
FAILED = "failed fault point"


FOUND: dict[str, Prepared] = {}
"""The scenarios that were set up in this process."""


@pytest.fixture
def prepared(sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Prepared]]:
    """Sets a scenario up, once per process; after the test the sandbox is empty."""

    def get(name: str) -> Prepared:
        if name not in FOUND:
            FOUND[name] = prepare(SCENARIOS[name], sandbox, tmp_path_factory.mktemp("scenario"))
        return FOUND[name]

    yield get
    sandbox.control.clear_faults()
    sandbox.control.reset()
    shutil.rmtree(sandbox.folder.state)
    sandbox.folder.state.mkdir()


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

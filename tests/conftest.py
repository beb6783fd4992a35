"""One sandbox per process for all tests with an engine, and the search for leaked secrets when they have ended."""

from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from tests.leaks import Search
from tests.lifecycle.stack import Sandbox

LEAKS = pytest.StashKey[str]()


@pytest.fixture(scope="session")
def sandbox(tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config) -> Iterator[Sandbox]:
    """A sandbox. When it has stopped, no file of any test may hold a secret of a key that was issued in it."""
    made = Sandbox(tmp_path_factory.mktemp("sandbox"))
    yield made
    made.stop()
    search = Search(made.issued).folders(tmp_path_factory.getbasetemp(), exempt=_asked_for)
    pytestconfig.stash[LEAKS] = str(search)
    assert not search.found, f"{search}: {', '.join(search.found)}"


def _asked_for(path: Path) -> bool:
    """Whether this is an AWS profile or a CSV file, which `access-keys credentials` writes."""
    return path.name.startswith("credentials") or path.suffix == ".csv"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: "pytest.CallInfo[None]"
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Hand the result of the search to the process that prints it."""
    report = yield
    if call.when == "teardown" and LEAKS in item.config.stash:
        report.user_properties.append(("leaks", item.config.stash[LEAKS]))
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what the searches of all processes looked at."""
    for reports in terminalreporter.stats.values():
        for report in reports:
            for name, line in getattr(report, "user_properties", []):
                if name == "leaks":
                    terminalreporter.write_line(line)

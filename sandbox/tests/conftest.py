"""What the tests of AWS and of the emulated provider share: a strict AWS per module, and a provider that calls it."""

from collections.abc import Iterator

import pytest
from aws_support import REGION, Strict, strict_aws
from provider_client import Connection, provider


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Strict]:
    with strict_aws(tmp_path_factory.mktemp("aws")) as running:
        yield running


@pytest.fixture(scope="module")
def connection(strict: Strict) -> Iterator[Connection]:
    """The engine's connection to a provider that calls this AWS."""
    with provider(strict.url, region=REGION) as connected:
        yield connected


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """How much of the property matrix was tried."""

    def of(file: str, outcome: str) -> list[pytest.TestReport]:
        return [report for report in terminalreporter.stats.get(outcome, ()) if f"/{file}::" in report.nodeid]

    held, failed = of("test_provider_matrix.py", "passed"), of("test_provider_matrix.py", "failed")
    if held or failed:
        terminalreporter.write_line(f"property matrix: {len(held)} points hold, {len(failed)} do not")
    for report in of("test_provider_terraform.py", "passed"):
        compared = dict(report.user_properties)["compared"]
        terminalreporter.write_line(f"property matrix: {compared} points are the same on Terraform's aws provider")
    for report in of("test_provider_terraform.py", "skipped"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        terminalreporter.write_line(f"property matrix on Terraform's aws provider: {reason}")

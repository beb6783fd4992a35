"""What the tests of AWS and of the emulated provider share: a strict AWS per module, and a provider that calls it."""

from collections.abc import Iterator

import pytest
from aws_support import REGION, Strict, strict_aws
from provider_client import Connection, provider

MATRIX = "test_provider_matrix.py"
TERRAFORM = "test_terraform_"


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
    counts = {
        outcome: [report.nodeid for report in terminalreporter.stats.get(outcome, ()) if MATRIX in report.nodeid]
        for outcome in ("passed", "failed", "skipped")
    }
    if any(counts.values()):
        compared = sum(TERRAFORM in test for test in counts["passed"])
        terminalreporter.write_line(
            f"property matrix: {len(counts['passed']) - compared} points hold, {compared} compared with Terraform's "
            f"aws provider, {len(counts['failed'])} failed, {len(counts['skipped'])} skipped"
        )

"""The account's quotas hold, and can be set."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from sandbox.aws import Options
from tests.sandbox.aws_rows import ACCOUNT_ROWS, LOW, Row, check_strict
from tests.sandbox.aws_support import Strict, strict_aws


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Strict]:
    with strict_aws(tmp_path_factory.mktemp("quotas"), Options(quotas=LOW)) as running:
        yield running


@pytest.mark.parametrize("row", ACCOUNT_ROWS, ids=lambda row: row.rule)
def test_the_accounts_quotas_hold(row: Row, strict: Strict) -> None:
    check_strict(row, strict.url, "")


def test_the_account_summary_tells_the_quotas_in_force(strict: Strict) -> None:
    summary = strict.client("iam").get_account_summary()["SummaryMap"]
    assert (summary["UsersQuota"], summary["GroupsQuota"]) == (2, 2), "GetAccountSummary tells the quotas in force"

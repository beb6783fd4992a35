"""What is set at the start holds: the account's quotas, and faults."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from aws_rows import ACCOUNT_ROWS, LOW, Row, check_strict
from aws_support import Strict, refusal, strict_aws
from pulumi_sandbox.aws.settings import Faults, Settings


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Strict]:
    with strict_aws(tmp_path_factory.mktemp("quotas"), Settings(Faults(key_delay=60), LOW)) as running:
        yield running


@pytest.mark.parametrize("row", ACCOUNT_ROWS, ids=lambda row: row.rule)
def test_the_accounts_quotas_hold(row: Row, strict: Strict) -> None:
    check_strict(row, strict.url, "")


def test_the_account_summary_tells_the_quotas_in_force(strict: Strict) -> None:
    summary = strict.client("iam").get_account_summary()["SummaryMap"]
    assert (summary["UsersQuota"], summary["GroupsQuota"]) == (2, 2), "GetAccountSummary tells the quotas in force"


@pytest.mark.long
def test_realism_set_at_the_start_is_in_force(strict: Strict) -> None:
    strict.control.reset()
    key = strict.user_with_key("late")
    assert refusal(strict.client("sts", key).get_caller_identity)[0] == "InvalidClientTokenId"
    assert strict.control.faults() == Faults(key_delay=60)

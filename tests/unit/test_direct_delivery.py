"""Whose key a store has, as far as AWS says."""

import json
from typing import Any

import boto3
import pytest
from aws_access_keys.account import Account, AwsQueryError
from aws_access_keys.direct_delivery import not_ours
from aws_access_keys.state import UserState

from tests.unit.fake_aws import aws_error

KEY = "AKIAIOSFODNN7EXAMPLE"


class Store(Account):
    """An account with one parameter, which has a key."""

    def __init__(self, answer: Any) -> None:
        """answer: of GetAccessKeyLastUsed, or the code of its error."""
        super().__init__(boto3.Session)
        self.answer = answer

    def ask(self, service: str, operation: str, region: str | None = None, /, **parameters: Any) -> Any:
        if operation == "get_parameter":
            text = json.dumps({"aws_access_key_id": KEY, "aws_secret_access_key": "s3cr3t/+" * 5})
            return {"Parameter": {"Value": text}}
        assert operation == "get_access_key_last_used"
        if isinstance(self.answer, str):
            raise AwsQueryError(aws_error(self.answer))
        return self.answer


@pytest.mark.parametrize(
    ("answer", "found"),
    [
        ({"UserName": "bob"}, f"the parameter '/shared' in SSM holds the access key {KEY} of bob, possibly its only"),
        ({"UserName": "ann"}, None),
        (None, None),
        ("AccessDenied", None),
        ("Throttling", "whether the parameter '/shared' in SSM holds somebody else's key could not be checked (Throt"),
    ],
)
def test_a_store_is_left_alone_also_where_aws_did_not_say_whose_key_it_holds(answer: Any, found: str | None) -> None:
    why = not_ours(Store(answer), "ssm", "/shared", {"ann": UserState()}, "Choose another.")
    assert why is None if found is None else str(why).startswith(found)

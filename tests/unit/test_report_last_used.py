from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from threading import Lock
from typing import Any

import pytest
from aws_access_keys.cli.report.last_used import NO_SUCH_KEY, fetch_keys, fetch_last_used
from aws_access_keys.iam import LastUse
from botocore.exceptions import ClientError, NoCredentialsError, ProfileNotFound
from botocore.parsers import ResponseParserError

KEYS = [f"AKIA{number:016}" for number in range(40)]
USERS = dict.fromkeys(KEYS, "ann")  # key id → its user
AT = datetime(2026, 11, 20, 21, tzinfo=timezone(timedelta(hours=9)))


class Aws:
    """In place of a session, a client and AWS: gives the answers it is made with, and counts the calls."""

    def __init__(self, answer: Callable[[str], dict[str, Any]], listed: Callable[[], list[str]] | None = None) -> None:
        self.answer = answer
        self.listed = listed or (lambda: KEYS)
        self.calls = 0
        self.lock = Lock()

    def client(self, name: str, config: object) -> "Aws":
        assert name == "iam"
        return self

    def get_access_key_last_used(self, AccessKeyId: str) -> dict[str, Any]:  # noqa: N803 - boto3's own spelling
        with self.lock:
            self.calls += 1
        return {"AccessKeyLastUsed": self.answer(AccessKeyId)}

    def list_access_keys(self, UserName: str) -> dict[str, Any]:  # noqa: N803
        assert UserName == "ann"
        return {"AccessKeyMetadata": [{"AccessKeyId": key_id} for key_id in self.listed()]}


def refused(code: str, message: str = "No.") -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": message}}, "GetAccessKeyLastUsed")


def test_every_key_is_asked_for_once_and_each_answer_is_counted() -> None:
    aws = Aws(lambda key_id: {"LastUsedDate": AT, "ServiceName": "s3", "Region": key_id})
    progress: list[None] = []
    uses = fetch_last_used(USERS, lambda: aws, lambda: progress.append(None))
    assert uses.known == {key: LastUse(AT.astimezone(timezone.utc), "s3", key) for key in KEYS}
    assert not uses.errors
    assert aws.calls == len(progress) == len(KEYS)


def test_nobody_is_asked_where_there_are_no_keys() -> None:
    def session() -> Any:
        raise AssertionError("no session is made")

    assert fetch_last_used({}, session).known == {}


def test_never_used_is_distinguished_from_used_by_a_service_without_a_region() -> None:
    one = {KEYS[0]: "ann"}
    uses = fetch_last_used(one, lambda: Aws(lambda _: {"ServiceName": "N/A", "Region": "N/A"}))
    assert uses.known == {KEYS[0]: None}
    uses = fetch_last_used(one, lambda: Aws(lambda _: {"LastUsedDate": AT, "ServiceName": "iam", "Region": "N/A"}))
    used = uses.known[KEYS[0]]
    assert used == (AT, "iam", None)
    assert used is not None
    assert used.text == "used on 2026-11-20 12:00 UTC for iam"


@pytest.mark.parametrize(
    "error",
    [refused("ExpiredToken"), refused("SignatureDoesNotMatch"), NoCredentialsError(), ResponseParserError("<html>")],
)
def test_a_caller_whom_aws_refuses_asks_once_only(error: Exception) -> None:
    def answer(_: str) -> dict[str, Any]:
        raise error

    aws = Aws(answer)
    uses = fetch_last_used(USERS, lambda: aws)
    assert aws.calls == 1, "the answer would be the same for every key"
    assert list(uses.errors.values()) == [KEYS]
    assert not uses.known


def denied(key_id: str) -> dict[str, Any]:
    if key_id in (KEYS[0], KEYS[5]):
        raise refused("AccessDenied", "not\n  authorized.")
    return {"LastUsedDate": AT, "ServiceName": "s3", "Region": "us-east-1"}


def test_what_aws_refuses_for_one_key_is_reported_for_that_key() -> None:
    uses = fetch_last_used(USERS, lambda: Aws(denied))
    assert len(uses.known) == len(KEYS) - 2
    assert uses.errors == {"AccessDenied: not authorized": [KEYS[0], KEYS[5]]}


def test_refusals_that_name_each_keys_user_are_one_reason() -> None:
    def answer(key_id: str) -> dict[str, Any]:
        resource = f"arn:aws:iam::123456789012:user/{USERS[key_id]}"
        raise refused("AccessDenied", f"not authorized on resource: {resource} because no policy allows it")

    uses = fetch_last_used(USERS, lambda: Aws(answer))
    assert uses.errors == {"AccessDenied: not authorized because no policy allows it": KEYS}


def test_access_denied_for_a_key_that_iam_does_not_have_means_that_it_is_gone() -> None:
    uses = fetch_last_used(USERS, lambda: Aws(denied, lambda: KEYS[1:]))
    assert uses.errors == {NO_SUCH_KEY: [KEYS[0]], "AccessDenied: not authorized": [KEYS[5]]}

    def no_user() -> list[str]:
        raise refused("NoSuchEntity")

    assert fetch_last_used(USERS, lambda: Aws(denied, no_user)).errors == {NO_SUCH_KEY: [KEYS[0], KEYS[5]]}


def test_without_permission_to_list_keys_the_first_refusal_stands() -> None:
    def may_not() -> list[str]:
        raise refused("AccessDenied", "not even that")

    uses = fetch_last_used(USERS, lambda: Aws(denied, may_not))
    assert uses.errors == {"AccessDenied: not authorized": [KEYS[0], KEYS[5]]}


def test_a_session_that_cannot_be_made_is_a_reason_too() -> None:
    def session() -> Any:
        raise ProfileNotFound(profile="nope")

    assert fetch_last_used(USERS, session).errors == {"The config profile (nope) could not be found": KEYS}


class Users:
    """A session and an IAM client that list the keys of users."""

    def __init__(self, keys: dict[str, list[str]], error: Exception | None = None) -> None:
        self.keys, self.error, self.calls = keys, error, 0

    def client(self, name: str, config: object) -> "Users":
        return self

    def list_access_keys(self, UserName: str) -> dict[str, Any]:  # noqa: N803
        self.calls += 1
        if self.error:
            raise self.error
        if UserName not in self.keys:
            raise refused("NoSuchEntity")
        found = [{"AccessKeyId": key, "Status": "Active", "CreateDate": AT} for key in self.keys[UserName]]
        return {"AccessKeyMetadata": found}


def test_the_keys_that_iam_has_are_found() -> None:
    users = ["ann", "bob", "gone", "prod/eve"]
    iam = Users({"ann": ["AKIA1", "AKIA9"], "bob": ["AKIA2"], "eve": ["AKIA4", "AKIA8"]})
    assert fetch_keys(users, lambda: iam) == (
        {
            user: [{"id": key, "status": "Active", "created": AT.isoformat()} for key in keys]
            for user, keys in {"ann": ["AKIA1", "AKIA9"], "bob": ["AKIA2"], "prod/eve": ["AKIA4", "AKIA8"]}.items()
        },
        None,
    )
    assert iam.calls == 4, "each user is asked for once"


def test_who_may_not_list_keys_asks_once_and_the_report_says_so() -> None:
    iam = Users({}, refused("AccessDenied", "not authorized on resource: user ann"))
    found, problem = fetch_keys(["ann", "bob"], lambda: iam)
    assert (found, iam.calls) == ({}, 1)
    assert problem is not None
    assert problem.startswith(
        "Access keys that this stack does not manage may be missing from this report: AccessDenied"
    )
    assert fetch_keys([], lambda: iam) == ({}, None)

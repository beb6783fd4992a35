from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from threading import Lock
from typing import Any

import pytest
from aws_access_keys.cli.last_used import LastUse, ask
from botocore.exceptions import ClientError, NoCredentialsError, ProfileNotFound
from botocore.parsers import ResponseParserError

KEYS = [f"AKIA{number:016}" for number in range(40)]
AT = datetime(2026, 11, 20, 21, tzinfo=timezone(timedelta(hours=9)))


class Aws:
    """In place of a session, a client and AWS: answers as told, and counts the calls."""

    def __init__(self, answer: Callable[[str], dict[str, Any]]) -> None:
        self.answer = answer
        self.calls = 0
        self.lock = Lock()

    def client(self, name: str, config: object) -> "Aws":
        assert name == "iam"
        return self

    def get_access_key_last_used(self, AccessKeyId: str) -> dict[str, Any]:  # noqa: N803 - boto3's own spelling
        with self.lock:
            self.calls += 1
        return {"AccessKeyLastUsed": self.answer(AccessKeyId)}


def refused(code: str, message: str = "No.") -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": message}}, "GetAccessKeyLastUsed")


def test_every_key_is_asked_for_once_and_each_answer_is_told() -> None:
    aws = Aws(lambda key_id: {"LastUsedDate": AT, "ServiceName": "s3", "Region": key_id})
    told: list[None] = []
    answers = ask(KEYS, lambda: aws, lambda: told.append(None))
    assert answers.known == {key: LastUse(AT.astimezone(timezone.utc), "s3", key) for key in KEYS}
    assert not answers.reasons
    assert aws.calls == len(told) == len(KEYS)


def test_nobody_is_asked_where_there_are_no_keys() -> None:
    def session() -> Any:
        raise AssertionError("no session is made")

    assert ask([], session).known == {}


def test_never_used_is_told_from_used_by_a_service_without_a_region() -> None:
    answers = ask(KEYS[:1], lambda: Aws(lambda _: {"ServiceName": "N/A", "Region": "N/A"}))
    assert answers.known == {KEYS[0]: LastUse(None)}
    answers = ask(KEYS[:1], lambda: Aws(lambda _: {"LastUsedDate": AT, "ServiceName": "iam", "Region": "N/A"}))
    assert answers.known[KEYS[0]].service == "iam"
    assert answers.known[KEYS[0]].region is None


@pytest.mark.parametrize(
    "error",
    [refused("ExpiredToken"), refused("SignatureDoesNotMatch"), NoCredentialsError(), ResponseParserError("<html>")],
)
def test_a_caller_whom_aws_refuses_asks_once_only(error: Exception) -> None:
    def answer(_: str) -> dict[str, Any]:
        raise error

    aws = Aws(answer)
    answers = ask(KEYS, lambda: aws)
    assert aws.calls == 1, "the answer would be the same for every key"
    assert list(answers.reasons.values()) == [KEYS]
    assert not answers.known


def test_what_aws_refuses_for_one_key_is_said_of_that_key() -> None:
    def answer(key_id: str) -> dict[str, Any]:
        if key_id == KEYS[0]:
            raise refused("AccessDenied", "not\n  authorized.")
        if key_id == KEYS[5]:
            raise refused("NoSuchEntity")
        return {"LastUsedDate": AT, "ServiceName": "s3", "Region": "us-east-1"}

    answers = ask(KEYS, lambda: Aws(answer))
    assert len(answers.known) == len(KEYS) - 2
    assert answers.reasons == {
        "AccessDenied: not authorized": [KEYS[0]],
        "AWS has no such key (pulumi refresh brings the state up to date)": [KEYS[5]],
    }


def test_a_session_that_cannot_be_made_is_a_reason_too() -> None:
    def session() -> Any:
        raise ProfileNotFound(profile="nope")

    assert ask(KEYS, session).reasons == {"The config profile (nope) could not be found": KEYS}

"""Faults on demand, the control endpoint, and the call log."""

from __future__ import annotations

import argparse
import io
import json
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone
from typing import Any
from urllib.error import HTTPError

import pytest
from aws_support import REGION, ROOT, TOKEN, Strict, code_of, refusal
from botocore.exceptions import BotoCoreError, ClientError
from pulumi_sandbox.aws import call_log
from pulumi_sandbox.aws.control import Control, ControlError
from pulumi_sandbox.aws.settings import Failure, Faults, Quotas, SettingError, Settings, add_arguments, from_args
from pulumi_sandbox.credentials import Credentials


@pytest.fixture(autouse=True)
def no_faults_afterwards(strict: Strict) -> Iterator[None]:
    yield
    strict.control.clear_faults()


def user_names(strict: Strict) -> list[str]:
    return [user["UserName"] for user in strict.client("iam").list_users()["Users"]]


# ---- faults


def test_a_new_key_works_after_a_delay(strict: Strict) -> None:
    strict.control.change_faults(key_delay=600)
    key = strict.user_with_key("late", "AmazonS3FullAccess")
    assert refusal(strict.client("sts", key).get_caller_identity)[0] == "InvalidClientTokenId"
    assert refusal(strict.client("s3", key).list_buckets)[0] == "InvalidAccessKeyId"
    _become_older_than(strict, key_delay=1)
    strict.client("sts", key).get_caller_identity()
    strict.client("s3", key).list_buckets()


def test_reads_do_not_find_a_new_user_or_key_at_first(strict: Strict) -> None:
    iam = strict.client("iam")
    iam.create_user(UserName="settled")
    strict.control.take_snapshot("settled")
    strict.control.restore_snapshot("settled")  # whatever it holds counts as made long ago
    strict.control.change_faults(stale=600)
    iam.create_user(UserName="fresh")
    not_found = ("NoSuchEntity", "The user with name fresh cannot be found.", 404)
    for read in (iam.get_user, iam.list_access_keys, iam.list_user_tags, iam.list_groups_for_user):
        assert refusal(read, UserName="fresh") == not_found
    assert "fresh" not in user_names(strict)
    assert refusal(iam.create_user, UserName="fresh")[0] == "EntityAlreadyExists", "only reads are behind"

    def keys(user: str) -> list[str]:
        return [key["AccessKeyId"] for key in iam.list_access_keys(UserName=user)["AccessKeyMetadata"]]

    new = [iam.create_access_key(UserName=user)["AccessKey"]["AccessKeyId"] for user in ("settled", "fresh")]
    assert keys("settled") == []
    _become_older_than(strict, stale=1)
    assert keys("settled") + keys("fresh") == new
    assert {"settled", "fresh"} <= set(user_names(strict))


def _become_older_than(strict: Strict, **seconds: float) -> None:
    """What needs the fault has a limit that no load reaches; only what comes after it waits."""
    time.sleep(max(seconds.values()) + 0.1)
    strict.control.change_faults(**seconds)


def test_calls_above_the_rate_are_throttled(strict: Strict) -> None:
    strict.control.change_faults(throttle=2)
    iam = strict.client("iam")
    outcomes: list[str] = []
    for _ in range(12):
        try:
            iam.list_users()
            outcomes.append("ok")
        except ClientError as error:
            outcomes.append(code_of(error))
    assert outcomes[:2] == ["ok", "ok"], "a burst of two is let through"
    assert outcomes.count("Throttling") >= 3
    strict.client("sts").get_caller_identity()  # each service has its own limit
    time.sleep(0.6)
    iam.list_users()


@pytest.mark.parametrize(
    ("service", "call", "code"),
    [
        ("iam", "list_users", "Throttling"),
        ("s3", "list_buckets", "SlowDown"),
        ("kms", "list_keys", "ThrottlingException"),
        ("ec2", "describe_instances", "RequestLimitExceeded"),
    ],
)
def test_throttling_is_worded_as_each_service_does(service: str, call: str, code: str, strict: Strict) -> None:
    strict.control.set_faults(Faults(throttle=0.001))
    nobody = Credentials("AKIAIOSFODNN7EXAMPLE", "x" * 40)
    assert refusal(getattr(strict.client(service, nobody), call))[0] != code, "one call is let through"
    assert refusal(getattr(strict.client(service, nobody), call))[0] == code


def test_latency_is_added_to_each_call(strict: Strict) -> None:
    strict.control.change_faults(latency=0.3)
    began = time.monotonic()
    strict.client("iam").list_users()
    assert 0.3 <= time.monotonic() - began < 1


def test_the_nth_call_of_an_action_fails(strict: Strict) -> None:
    strict.control.fail("iam:CreateUser", "ServiceFailure", call=2)
    iam = strict.client("iam")
    iam.create_user(UserName="first")
    code, message, status = refusal(iam.create_user, UserName="second")
    assert (code, status) == ("ServiceFailure", 500)
    assert message
    assert "second" not in user_names(strict), "a call that fails does nothing"
    iam.create_user(UserName="second")


def test_an_sdk_retries_throttled_calls_as_often_as_it_is_told(strict: Strict) -> None:
    strict.control.fail("CreateUser", "Throttling")
    strict.client("iam", retries={"total_max_attempts": 2, "mode": "standard"}).create_user(UserName="patient")
    strict.control.clear_calls()
    strict.control.fail("CreateUser", "Throttling", times=5)
    with pytest.raises(ClientError, match="Throttling"):
        strict.client("iam", retries={"total_max_attempts": 2, "mode": "standard"}).create_user(UserName="impatient")
    assert [call.outcome for call in strict.control.calls()] == ["Throttling", "Throttling"]


def test_a_response_is_dropped_though_the_call_is_carried_out(strict: Strict) -> None:
    strict.control.drop_response("iam:CreateUser")
    with pytest.raises(BotoCoreError, match="Connection was closed"):
        strict.client("iam").create_user(UserName="dropped")
    assert "dropped" in user_names(strict), "the user is there, though nobody heard of it"
    assert strict.control.calls()[-2].outcome == "response dropped"


@pytest.mark.parametrize(("code", "is_made"), [(None, True), ("ServiceFailure", False)])
def test_a_call_is_held_until_the_faults_are_changed(strict: Strict, code: str | None, is_made: bool) -> None:
    name = f"held-{code}"
    strict.control.hold("iam:CreateUser", code=code)
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(refusal, strict.client("iam").create_user, UserName=name)
        while not strict.control.held():
            time.sleep(0.01)
        assert not waiting.done()
        assert (name in user_names(strict)) is is_made
        strict.control.clear_faults()
        assert waiting.result()[0] == (code or "AccessDenied")
    assert strict.control.held() == 0
    assert (name in user_names(strict)) is is_made


@pytest.mark.long
def test_a_snapshot_brings_the_account_back(strict: Strict) -> None:
    key = strict.user_with_key("snapshot", "AmazonS3FullAccess")
    strict.control.take_snapshot("before")
    iam = strict.client("iam")
    iam.delete_access_key(UserName="snapshot", AccessKeyId=key.access_key_id)
    iam.create_user(UserName="after-the-snapshot")
    for _ in range(2):
        strict.control.restore_snapshot("before")
        strict.client("s3", key).list_buckets()
        assert "after-the-snapshot" not in user_names(strict)
    with pytest.raises(ControlError, match=r"there is no snapshot 'x'; there are .*before"):
        strict.control.restore_snapshot("x")


def test_an_sdk_that_retries_after_a_dropped_response_meets_its_own_user(strict: Strict) -> None:
    strict.control.drop_response("CreateUser")
    patient = strict.client("iam", retries={"total_max_attempts": 3, "mode": "standard"})
    assert refusal(patient.create_user, UserName="twice-made")[0] == "EntityAlreadyExists"


def test_the_clock_is_moved_forward(strict: Strict) -> None:
    strict.control.change_faults(clock=90 * 86400)
    iam, soon = strict.client("iam"), datetime.now(timezone.utc) + timedelta(days=90)

    def is_then(moment: datetime) -> bool:
        return abs((moment - soon).total_seconds()) < 60

    assert is_then(iam.create_user(UserName="of-the-future")["User"]["CreateDate"])
    key = strict.user_with_key("key-of-the-future", "AmazonS3FullAccess")
    assert is_then(iam.list_access_keys(UserName="key-of-the-future")["AccessKeyMetadata"][0]["CreateDate"])
    s3 = strict.client("s3", key)
    s3.create_bucket(Bucket="of-the-future", CreateBucketConfiguration={"LocationConstraint": REGION})
    s3.put_object(Bucket="of-the-future", Key="k", Body=b"")
    assert is_then(s3.head_object(Bucket="of-the-future", Key="k")["LastModified"])
    used = iam.get_access_key_last_used(AccessKeyId=key.access_key_id)["AccessKeyLastUsed"]
    assert is_then(used["LastUsedDate"]), "signed by today's clock, used by the sandbox's"
    assert is_then(datetime.fromisoformat(strict.control.calls()[-1].time.replace("Z", "+00:00")))
    strict.control.clear_faults()
    created = iam.create_user(UserName="of-today")["User"]["CreateDate"]
    assert abs((created - datetime.now(timezone.utc)).total_seconds()) < 60


# ---- the control endpoint


def request(strict: Strict, method: str, what: str, token: str | None = TOKEN, body: bytes | None = None) -> Any:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    wanted = urllib.request.Request(f"{strict.url}/_sandbox/{what}", body, headers, method=method)
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(wanted) as answer:
            return answer.status, json.load(answer)
    except HTTPError as error:
        return error.code, json.load(error)


def test_the_control_endpoint_wants_its_token(strict: Strict) -> None:
    for method, what in (("GET", "faults"), ("GET", "calls"), ("POST", "reset"), ("DELETE", "calls")):
        assert request(strict, method, what, token=None)[0] == 401
        assert request(strict, method, what, token="wrong")[0] == 401
    with pytest.raises(ControlError, match="token"):
        Control(strict.url, "wrong").reset()


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"{", "Expecting"),
        (b"[]", "not valid as faults"),
        (b'{"speed": 1}', "unexpected keyword argument 'speed'"),
        (b'{"key_delay": "long"}', "not valid as faults"),
        (b'{"latency": -1}', "latency -1: must be between 0 and 60"),
        (b'{"failures": [{"call": 1}]}', "missing 1 required positional argument: 'action'"),
        (b'{"failures": [{"action": "CreateUser", "call": 0}]}', "must be 1 or more"),
        (b'{"failures": [{"action": "Create User"}]}', "must be like iam:CreateUser"),
    ],
)
def test_faults_that_make_no_sense_are_refused(body: bytes, words: str, strict: Strict) -> None:
    before = strict.control.faults()
    status, answer = request(strict, "PUT", "faults", body=body)
    assert status == 400
    assert words in answer["error"]
    assert strict.control.faults() == before


def test_an_unknown_control_request_is_refused(strict: Strict) -> None:
    status, answer = request(strict, "GET", "magic")
    assert status == 404
    assert "PUT faults" in answer["error"]


def test_a_sandbox_that_is_not_running_is_reported(strict: Strict) -> None:
    with pytest.raises(ControlError, match="does not respond"):
        Control("http://127.0.0.1:1", TOKEN).calls()


# ---- options of the command line


def options(*arguments: str) -> Settings:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return from_args(parser.parse_args(list(arguments)))


def test_options_are_read_from_the_command_line() -> None:
    assert options() == Settings()
    given = options(
        "--key-delay", "10", "--stale", "3", "--latency", "0.2", "--throttle", "5", "--clock", "90d",
        "--fail", "iam:CreateUser#2x3=ServiceFailure", "--drop-response", "CreateAccessKey",
        "--quota", "GroupsPerAccount=500",
    )  # fmt: skip
    failures = (Failure("iam:CreateUser", 2, 3, "ServiceFailure"), Failure("CreateAccessKey"))
    assert given.faults == Faults(key_delay=10, stale=3, latency=0.2, throttle=5, clock=90 * 86400, failures=failures)
    assert given.quotas == Quotas(groups_per_account=500)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--clock", "tomorrow"], "time 'tomorrow'"),
        (["--stale", "-1"], "stale -1: must be between 0 and 3600"),
        (["--latency", "100"], "latency 100: must be between 0 and 60"),
        (["--fail", "CreateUser"], "--fail CreateUser: must be"),
        (["--drop-response", "CreateUser#0"], "must be 1 or more"),
        (["--quota", "Users=3"], "NAME one of UsersPerAccount"),
        (["--quota", "AccessKeysPerUser=3"], "AccessKeysPerUser 3: AWS allows 0 to 2"),
        (["--quota", "PoliciesPerUser=21"], "PoliciesPerUser 21: AWS allows 0 to 20"),
    ],
)
def test_options_that_make_no_sense_are_refused(arguments: list[str], words: str) -> None:
    with pytest.raises(SettingError, match=words):
        options(*arguments)


def test_the_help_explains_each_option(capsys: pytest.CaptureFixture[str]) -> None:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    parser.print_help()
    text = capsys.readouterr().out
    for name in (
        "--key-delay",
        "--stale",
        "--latency",
        "--throttle",
        "--clock",
        "--fail",
        "--drop-response",
        "--quota",
    ):
        assert name in text


# ---- the call log


def test_every_call_is_logged(strict: Strict) -> None:
    strict.control.clear_calls()
    key = strict.user_with_key("logged")
    refusal(strict.client("iam", key).list_users)
    refusal(strict.client("iam").create_user, UserName="logged")
    logged = strict.control.calls()
    assert [(call.service, call.action, call.key, call.region, call.status, call.code) for call in logged] == [
        ("iam", "CreateUser", ROOT.access_key_id, REGION, 200, None),
        ("iam", "CreateAccessKey", ROOT.access_key_id, REGION, 200, None),
        ("iam", "ListUsers", key.access_key_id, REGION, 403, "AccessDenied"),
        ("iam", "CreateUser", ROOT.access_key_id, REGION, 409, "EntityAlreadyExists"),
    ]
    assert all(0 < call.milliseconds < 5000 for call in logged)
    assert call_log.read(strict.folder) == logged, "the file holds the same"
    text = (strict.folder / call_log.FILE_NAME).read_text()
    for secret in (key.secret_access_key, ROOT.secret_access_key, TOKEN):
        assert secret not in text


def printed(strict: Strict, *arguments: str) -> str:
    parser, out = argparse.ArgumentParser(), io.StringIO()
    call_log.add_arguments(parser)
    assert call_log.main(strict.folder, parser.parse_args(list(arguments)), out) == 0
    return out.getvalue()


def test_the_calls_are_printed_and_counted(strict: Strict) -> None:
    strict.control.clear_calls()
    assert printed(strict) == "no calls\n"
    iam = strict.client("iam")
    for number in range(3):
        iam.create_user(UserName=f"counted-{number}")
    refusal(iam.create_user, UserName="counted-0")
    strict.client("sts").get_caller_identity()
    assert len(printed(strict).splitlines()) == 5
    assert "EntityAlreadyExists" in printed(strict, "--failed")
    assert len(printed(strict, "--failed").splitlines()) == 1
    assert len(printed(strict, "--action", "iam:CreateUser", "--last", "2").splitlines()) == 2
    assert len(json.loads(printed(strict, "--json", "--action", "CreateUser"))) == 4
    counted = [line.split() for line in printed(strict, "--count").splitlines()]
    assert counted == [
        ["3", "iam:CreateUser", "ok"],
        ["1", "iam:CreateUser", "EntityAlreadyExists"],
        ["1", "sts:GetCallerIdentity", "ok"],
        ["5", "in", "all"],
    ]
    assert json.loads(printed(strict, "--count", "--json"))[0] == {
        "action": "iam:CreateUser",
        "outcome": "ok",
        "calls": 3,
    }


def test_the_log_file_is_rotated(strict: Strict, monkeypatch: pytest.MonkeyPatch) -> None:
    strict.control.clear_calls()
    monkeypatch.setattr(strict.server._calls._file, "maxBytes", 1000)
    for _ in range(20):
        strict.client("sts").get_caller_identity()
    sizes = [path.stat().st_size for path in strict.folder.glob(f"{call_log.FILE_NAME}*")]
    assert len(sizes) <= 2
    assert sum(sizes) < 3000
    assert len(strict.control.calls()) == 20, "in memory they are all"
    assert call_log.read(strict.folder)[-1] == strict.control.calls()[-1]


def test_a_half_written_line_is_skipped(strict: Strict) -> None:
    strict.control.clear_calls()
    strict.client("sts").get_caller_identity()
    with (strict.folder / call_log.FILE_NAME).open("a") as file:
        file.write('{"time": "2025')
    assert len(call_log.read(strict.folder)) == 1

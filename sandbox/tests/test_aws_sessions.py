"""Sessions of users, and what CloudTrail tells of who called."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from aws_support import ALLOW_ALL, REGION, Strict, client, code_of, refusal, strict_aws
from botocore.exceptions import ClientError
from pulumi_sandbox.credentials import Credentials

ACCOUNT = "123456789012"


def session_of(answer: dict[str, Any]) -> Credentials:
    made = answer["Credentials"]
    return Credentials(made["AccessKeyId"], made["SecretAccessKey"], made["SessionToken"])


def use(aws: Strict, service: str, session: Credentials, region: str = REGION) -> Any:
    """A client that calls with temporary credentials."""
    made = client(aws.url, service, session, region)
    made._request_signer._credentials.token = session.session_token
    return made


@pytest.fixture
def aws(tmp_path: Path) -> Any:
    with strict_aws(tmp_path) as running:
        yield running


def test_a_session_outlives_its_key_and_a_restart_but_not_its_user(tmp_path: Path) -> None:
    with strict_aws(tmp_path) as aws:
        key = aws.user_with_key("ann", "AmazonS3FullAccess")
        session = session_of(aws.client("sts", key).get_session_token())
        use(aws, "s3", session).list_buckets()
        aws.client("iam").update_access_key(UserName="ann", AccessKeyId=key.access_key_id, Status="Inactive")
        aws.client("iam").delete_access_key(UserName="ann", AccessKeyId=key.access_key_id)
    with strict_aws(tmp_path) as aws:
        use(aws, "s3", session).list_buckets()
        assert refusal(use(aws, "iam", session).list_users)[0] == "InvalidClientTokenId", "IAM takes none without MFA"
        assert refusal(use(aws, "sts", session).get_session_token)[0] == "AccessDenied"
        changed = Credentials(session.access_key_id, session.secret_access_key, f"{session.session_token}0")
        assert refusal(use(aws, "s3", changed).list_buckets)[0] == "InvalidAccessKeyId"
        aws.control.change_faults(clock=12 * 3600 + 60)
        assert refusal(use(aws, "s3", session).list_buckets)[0] == "ExpiredToken"
        aws.control.clear_faults()
        aws.client("iam").detach_user_policy(UserName="ann", PolicyArn="arn:aws:iam::aws:policy/AmazonS3FullAccess")
        aws.client("iam").delete_user(UserName="ann")
        assert refusal(use(aws, "s3", session).list_buckets)[0] == "InvalidToken"


@pytest.mark.long
def test_a_federated_user_may_do_what_the_session_policy_and_the_user_may(aws: Strict) -> None:
    key = aws.user_with_key("ann", "AmazonS3FullAccess")
    aws.client("iam").put_user_policy(UserName="ann", PolicyName="sts", PolicyDocument=ALLOW_ALL)
    sts = aws.client("sts", key)
    bare = session_of(sts.get_federation_token(Name="eve"))
    given = session_of(sts.get_federation_token(Name="eve", Policy=ALLOW_ALL))
    assert refusal(use(aws, "s3", bare).list_buckets)[0] == "AccessDenied"
    use(aws, "s3", given).list_buckets()
    identity = use(aws, "sts", given).get_caller_identity()
    assert identity["Arn"] == f"arn:aws:sts::{ACCOUNT}:federated-user/eve"
    role = f"arn:aws:iam::{ACCOUNT}:role/r"
    assert refusal(use(aws, "sts", given).assume_role, RoleArn=role, RoleSessionName="eve")[0] == "AccessDenied"


def test_a_deny_by_token_issue_time_stops_older_sessions_and_no_key(aws: Strict) -> None:
    key = aws.user_with_key("ann", "AmazonS3FullAccess")
    old = session_of(aws.client("sts", key).get_session_token())
    limit = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 60))
    deny = {"Effect": "Deny", "Action": "*", "Resource": "*"}
    deny["Condition"] = {"DateLessThan": {"aws:TokenIssueTime": limit}}  # pyright: ignore[reportArgumentType]
    document = json.dumps({"Version": "2012-10-17", "Statement": [deny]})
    aws.client("iam").put_user_policy(UserName="ann", PolicyName="deny", PolicyDocument=document)
    assert refusal(use(aws, "s3", old).list_buckets)[0] == "AccessDenied"
    aws.client("s3", key).list_buckets()
    aws.control.change_faults(clock=61)
    new = session_of(aws.client("sts", key).get_session_token())
    use(aws, "s3", new).list_buckets()


@pytest.mark.long
def test_the_account_is_read_from_the_key_id(aws: Strict) -> None:
    key, sts = aws.user_with_key("ann"), aws.client("sts")
    assert sts.get_access_key_info(AccessKeyId=key.access_key_id)["Account"] == ACCOUNT
    assert sts.get_access_key_info(AccessKeyId="ASIAY34FZKBOKMUTVV7A")["Account"] == "609629065308"


def events(cloudtrail: Any, **attribute: str) -> list[dict[str, Any]]:
    """All pages of what LookupEvents finds, patiently."""
    asked = [{"AttributeKey": name, "AttributeValue": value} for name, value in attribute.items()]
    found: list[dict[str, Any]] = []
    more: dict[str, str] = {}
    while True:
        try:
            page = cloudtrail.lookup_events(LookupAttributes=asked, **more)
        except ClientError as error:
            if code_of(error) != "ThrottlingException":
                raise
            time.sleep(0.3)
            continue
        found += page["Events"]
        if "NextToken" not in page:
            return found
        more = {"NextToken": page["NextToken"]}


def test_lookup_events_finds_management_events_of_a_key_in_their_regions(aws: Strict) -> None:
    key = aws.user_with_key("ann", "AmazonS3FullAccess", "IAMReadOnlyAccess")
    s3, iam, sts = (aws.client(service, key) for service in ("s3", "iam", "sts"))
    s3.create_bucket(Bucket="data", CreateBucketConfiguration={"LocationConstraint": REGION})
    s3.put_object(Bucket="data", Key="a", Body=b"x")
    for _ in range(60):
        sts.get_caller_identity()
    iam.list_users()
    assert refusal(iam.create_user, UserName="eve")[0] == "AccessDenied"
    here = events(aws.client("cloudtrail"), AccessKeyId=key.access_key_id)
    assert [one["EventName"] for one in here] == ["GetCallerIdentity"] * 60 + ["CreateBucket"], "newest first, no data"
    assert len({one["EventId"] for one in here}) == 61, "each event once, over pages"
    there = events(client(aws.url, "cloudtrail", region="us-east-1"), AccessKeyId=key.access_key_id)
    assert [one["EventName"] for one in there] == ["CreateUser", "ListUsers"], "IAM's events are in us-east-1"
    record = json.loads(there[0]["CloudTrailEvent"])
    assert record["errorCode"] == "AccessDenied"
    assert record["sourceIPAddress"] == "127.0.0.1"
    assert record["userAgent"].startswith("Botocore")
    assert record["userIdentity"]["arn"] == f"arn:aws:iam::{ACCOUNT}:user/ann"
    assert events(aws.client("cloudtrail"), AccessKeyId="AKIA" + "0" * 16) == []


@pytest.mark.long
def test_lookup_events_tells_which_session_a_call_got(aws: Strict) -> None:
    key = aws.user_with_key("ann")
    session = session_of(aws.client("sts", key).get_session_token())
    use(aws, "sts", session).get_caller_identity()
    (issued,) = events(aws.client("cloudtrail"), AccessKeyId=key.access_key_id)
    answer = json.loads(issued["CloudTrailEvent"])["responseElements"]
    assert answer == {"credentials": {"accessKeyId": session.access_key_id}}
    (used,) = events(aws.client("cloudtrail"), AccessKeyId=session.access_key_id)
    assert used["EventName"] == "GetCallerIdentity"
    assert session.secret_access_key not in (aws.folder / "calls.jsonl").read_text()


@pytest.mark.long
def test_lookup_events_refuses_what_aws_refuses(aws: Strict) -> None:
    cloudtrail = client(aws.url, "cloudtrail", retries={"total_max_attempts": 1})
    codes = []
    for _ in range(10):
        try:
            cloudtrail.lookup_events()
        except ClientError as error:
            codes.append(code_of(error))
    assert "ThrottlingException" in codes, "two a second"
    time.sleep(1)
    attribute = {"AttributeKey": "Username", "AttributeValue": "ann"}
    assert refusal(cloudtrail.lookup_events, LookupAttributes=[attribute] * 2)[0] == "InvalidLookupAttributesException"
    time.sleep(1)
    assert refusal(cloudtrail.lookup_events, MaxResults=51)[0] == "InvalidMaxResultsException"
    key = aws.user_with_key("ann")
    time.sleep(1)
    assert refusal(aws.client("cloudtrail", key).lookup_events)[0] == "AccessDeniedException"

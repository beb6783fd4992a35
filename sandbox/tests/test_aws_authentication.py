"""Who may call, and what: signatures, keys, permissions, in the words of each service."""

from __future__ import annotations

import json
import re
import time
import urllib.request
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import Any
from urllib.error import HTTPError

import pytest
from aws_support import FORM, REGION, ROOT, Strict, code_of, refusal, send
from botocore.exceptions import ClientError
from pulumi_sandbox.credentials import Credentials

# A harmless call of each service, and what the service says to a bad key, a bad signature, no signature, no permission.
CALLS: dict[str, tuple[str, dict[str, Any]]] = {
    "iam": ("list_users", {}),
    "sts": ("get_caller_identity", {}),
    "s3": ("list_buckets", {}),
    "ec2": ("describe_instances", {}),
    "ssm": ("describe_parameters", {}),
    "kms": ("list_keys", {}),
    "secretsmanager": ("list_secrets", {}),
}
JSON_SERVICES = ("ssm", "kms", "secretsmanager")
BAD_KEY = {
    "iam": ("InvalidClientTokenId", 403),
    "sts": ("InvalidClientTokenId", 403),
    "s3": ("InvalidAccessKeyId", 403),
    "ec2": ("AuthFailure", 401),
    **dict.fromkeys(JSON_SERVICES, ("UnrecognizedClientException", 400)),
}
BAD_SIGNATURE = {
    "iam": ("SignatureDoesNotMatch", 403),
    "sts": ("SignatureDoesNotMatch", 403),
    "s3": ("SignatureDoesNotMatch", 403),
    "ec2": ("AuthFailure", 401),
    **dict.fromkeys(JSON_SERVICES, ("InvalidSignatureException", 400)),
}
NO_PERMISSION = {
    "iam": ("AccessDenied", 403),
    "s3": ("AccessDenied", 403),
    "ec2": ("UnauthorizedOperation", 403),
    **dict.fromkeys(JSON_SERVICES, ("AccessDeniedException", 400)),
}


@pytest.fixture(scope="module")
def powerless(strict: Strict) -> Credentials:
    """The key of a user that may do nothing."""
    return strict.user_with_key("powerless")


@pytest.fixture(scope="module")
def operator(strict: Strict) -> Credentials:
    """The key of the user of the project's first stack: S3 and IAM, through a group."""
    iam = strict.client("iam")
    iam.create_group(GroupName="test")
    for policy in ("AmazonS3FullAccess", "IAMFullAccess"):
        iam.attach_group_policy(GroupName="test", PolicyArn=f"arn:aws:iam::aws:policy/{policy}")
    key = strict.user_with_key("test-user")
    iam.add_user_to_group(GroupName="test", UserName="test-user")
    return key


def call(strict: Strict, service: str, key: Credentials) -> Callable[..., Any]:
    operation, parameters = CALLS[service]
    method = getattr(strict.client(service, key), operation)
    return lambda: method(**parameters)


def is_known(strict: Strict, service: str, key: Credentials) -> bool:
    """Whether the service knows the key: it answers, or refuses for want of permission."""
    try:
        call(strict, service, key)()
    except ClientError as error:
        return code_of(error) == NO_PERMISSION[service][0]
    return True


# ---- keys


@pytest.mark.parametrize("service", CALLS)
def test_an_unknown_key_is_refused(service: str, strict: Strict) -> None:
    code, _, status = refusal(call(strict, service, Credentials("AKIAIOSFODNN7EXAMPLE", "x" * 40)))
    assert (code, status) == BAD_KEY[service]


@pytest.mark.parametrize("service", CALLS)
def test_an_inactive_key_is_refused(service: str, strict: Strict) -> None:
    name = f"inactive-{service}"
    key = strict.user_with_key(name)
    assert is_known(strict, service, key)
    strict.client("iam").update_access_key(UserName=name, AccessKeyId=key.access_key_id, Status="Inactive")
    code, _, status = refusal(call(strict, service, key))
    assert (code, status) == BAD_KEY[service]
    strict.client("iam").update_access_key(UserName=name, AccessKeyId=key.access_key_id, Status="Active")
    assert is_known(strict, service, key)


@pytest.mark.parametrize("service", CALLS)
def test_a_deleted_key_is_refused(service: str, strict: Strict) -> None:
    key = strict.user_with_key(f"deleted-{service}")
    assert is_known(strict, service, key)
    strict.client("iam").delete_access_key(UserName=f"deleted-{service}", AccessKeyId=key.access_key_id)
    code, _, status = refusal(call(strict, service, key))
    assert (code, status) == BAD_KEY[service]


@pytest.mark.parametrize("service", CALLS)
def test_a_wrong_signature_is_refused(service: str, strict: Strict, operator: Credentials) -> None:
    code, _, status = refusal(call(strict, service, Credentials(operator.access_key_id, "wrong" * 8)))
    assert (code, status) == BAD_SIGNATURE[service]
    code, _, status = refusal(call(strict, service, Credentials(ROOT.access_key_id, "wrong" * 8)))
    assert (code, status) == BAD_SIGNATURE[service], "root's key is checked like any other"


# ---- signatures


UNSIGNED = {
    "iam": (FORM, b"Action=ListUsers&Version=2010-05-08", "MissingAuthenticationToken", 403),
    "sts": (FORM, b"Action=GetCallerIdentity&Version=2011-06-15", "MissingAuthenticationToken", 403),
    "ec2": (FORM, b"Action=DescribeInstances&Version=2016-11-15", "MissingAuthenticationToken", 403),
    "kms": ({"X-Amz-Target": "TrentService.ListKeys"}, b"{}", "MissingAuthenticationTokenException", 400),
    "ssm": ({"X-Amz-Target": "AmazonSSM.DescribeParameters"}, b"{}", "MissingAuthenticationTokenException", 400),
    "secretsmanager": (
        {"X-Amz-Target": "secretsmanager.ListSecrets"},
        b"{}",
        "MissingAuthenticationTokenException",
        400,
    ),
}


@pytest.mark.parametrize("service", UNSIGNED)
def test_an_unsigned_call_is_refused(service: str, strict: Strict) -> None:
    headers, body, code, status = UNSIGNED[service]
    answer = send(strict.url, body=body, headers=headers)
    assert answer.status == status
    assert code.encode() in answer.body


def test_an_unsigned_s3_call_is_refused(strict: Strict) -> None:
    answer = send(strict.url, "GET", "/some-bucket/some-key")
    assert (answer.status, b"<Code>AccessDenied</Code>" in answer.body) == (403, True)


@pytest.mark.parametrize(
    "authorization",
    [
        "AWS4-HMAC-SHA256 nonsense",
        "AWS4-HMAC-SHA256 Credential=a/b/c/iam/aws4_request",
        "AWS4-HMAC-SHA256 Credential=AKIA/20250101/iam, SignedHeaders=host, Signature=0",
        "AWS4-HMAC-SHA256 Credential=AKIA/20250101/us-east-1/iam/aws4_request, SignedHeaders=host",
        "AWS AKIA:old",
        "Basic dXNlcjpwYXNz",
        "",
    ],
)
def test_a_malformed_signature_is_refused(authorization: str, strict: Strict) -> None:
    headers = {"Authorization": authorization, "X-Amz-Date": "20250101T000000Z"}
    answer = send(strict.url, body=b"Action=ListUsers&Version=2010-05-08", headers={**FORM, **headers})
    assert (answer.status, b"<Code>IncompleteSignature</Code>" in answer.body) == (400, True)
    answer = send(strict.url, "GET", "/bucket/key", headers=headers)
    assert answer.status == 400
    assert b"<Code>AuthorizationHeaderMalformed</Code>" in answer.body or b"Please use AWS4" in answer.body


def test_a_changed_body_is_refused(strict: Strict) -> None:
    body = b"Action=CreateUser&Version=2010-05-08&UserName=signed"
    headers = signed_headers(strict, body)
    answer = send(strict.url, body=body.replace(b"signed", b"forged"), headers=headers)
    assert b"SignatureDoesNotMatch" in answer.body


@pytest.mark.parametrize(
    ("minutes", "words"),
    [
        (-16, r"Signature expired: {} is now earlier than \d{{8}}T\d{{6}}Z \(\d{{8}}T\d{{6}}Z - 15 min\.\)"),
        (16, r"Signature not yet current: {} is still later than \d{{8}}T\d{{6}}Z \(\d{{8}}T\d{{6}}Z \+ 15 min\.\)"),
    ],
)
def test_an_old_signature_is_refused_and_one_of_the_future(
    minutes: int, words: str, strict: Strict, monkeypatch: pytest.MonkeyPatch
) -> None:
    import botocore.auth

    signed = datetime.now(timezone.utc).replace(tzinfo=None) + timedelta(minutes=minutes)
    monkeypatch.setattr(botocore.auth, "get_current_datetime", lambda *_: signed)
    code, message, _ = refusal(call(strict, "iam", ROOT))
    assert code == "SignatureDoesNotMatch"
    assert re.fullmatch(words.format(f"{signed:%Y%m%dT%H%M%SZ}"), message), message
    assert refusal(call(strict, "s3", ROOT))[0] == "RequestTimeTooSkewed"
    assert refusal(call(strict, "kms", ROOT))[0] == "InvalidSignatureException"


def signed_headers(strict: Strict, body: bytes) -> dict[str, str]:
    from botocore.auth import SigV4Auth
    from botocore.awsrequest import AWSRequest
    from botocore.credentials import Credentials as SigningCredentials

    request = AWSRequest("POST", f"{strict.url}/", data=body, headers=FORM)
    SigV4Auth(SigningCredentials(ROOT.access_key_id, ROOT.secret_access_key), "iam", REGION).add_auth(request)
    return dict(request.headers.items())


# ---- S3: object keys, streams, presigned URLs


@pytest.fixture(scope="module")
def bucket(strict: Strict, operator: Credentials) -> str:
    strict.client("s3", operator).create_bucket(
        Bucket="signed-bucket", CreateBucketConfiguration={"LocationConstraint": REGION}
    )
    return "signed-bucket"


@pytest.mark.parametrize("name", ["plain", "a b+c", "ü/한글 (1)", "a//b/../c", "x%2Fy", "tilde~*'", "q?a=b&c"])
def test_any_object_key_is_signed_and_kept(name: str, strict: Strict, operator: Credentials, bucket: str) -> None:
    s3 = strict.client("s3", operator)
    s3.put_object(Bucket=bucket, Key=name, Body=b"value", Metadata={"with-dash": "1"})
    answer = s3.get_object(Bucket=bucket, Key=name)
    assert answer["Body"].read() == b"value"
    assert answer["Metadata"] == {"with-dash": "1"}


@pytest.mark.parametrize("payload", ["signed", "unsigned"])
def test_streams_are_signed(payload: str, strict: Strict, operator: Credentials, bucket: str) -> None:
    s3 = strict.client("s3", operator, s3={"payload_signing_enabled": payload == "signed"})
    body = b"0123456789abcdef" * 200_000
    s3.put_object(Bucket=bucket, Key=f"stream-{payload}", Body=body, ChecksumAlgorithm="CRC32")
    assert s3.get_object(Bucket=bucket, Key=f"stream-{payload}")["Body"].read() == body


def test_an_aws_chunked_body_with_a_trailing_checksum_is_read(
    strict: Strict, operator: Credentials, bucket: str
) -> None:
    chunked = b"5\r\nhello\r\n0\r\nx-amz-checksum-crc32:NhCmhg==\r\n\r\n"
    headers = {
        "Content-Encoding": "aws-chunked",
        "X-Amz-Trailer": "x-amz-checksum-crc32",
        "X-Amz-Decoded-Content-Length": "5",
        "X-Amz-Content-SHA256": "STREAMING-UNSIGNED-PAYLOAD-TRAILER",
    }
    url = f"{strict.url}/{bucket}/chunked"
    answer = send(strict.url, "PUT", f"/{bucket}/chunked", chunked, sign_streaming(url, headers, operator))
    assert answer.status == 200, answer.body
    assert strict.client("s3", operator).get_object(Bucket=bucket, Key="chunked")["Body"].read() == b"hello"


def sign_streaming(url: str, headers: dict[str, str], key: Credentials) -> dict[str, str]:
    from botocore.auth import S3SigV4Auth
    from botocore.awsrequest import AWSRequest
    from botocore.credentials import Credentials as SigningCredentials

    class Streaming(S3SigV4Auth):
        def payload(self, request: AWSRequest) -> str:
            return headers["X-Amz-Content-SHA256"]

    request = AWSRequest("PUT", url, headers=headers)
    Streaming(SigningCredentials(key.access_key_id, key.secret_access_key), "s3", REGION).add_auth(request)
    return dict(request.headers.items())


def fetch(url: str) -> tuple[int, bytes]:
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url) as answer:
            return answer.status, answer.read()
    except HTTPError as error:
        return error.code, error.read()


def test_a_presigned_url_works_until_it_expires(strict: Strict, operator: Credentials, bucket: str) -> None:
    s3 = strict.client("s3", operator, signature_version="s3v4")
    s3.put_object(Bucket=bucket, Key="shared file", Body=b"shared")
    where = {"Bucket": bucket, "Key": "shared file"}
    assert fetch(s3.generate_presigned_url("get_object", Params=where)) == (200, b"shared")
    status, body = fetch(s3.generate_presigned_url("get_object", Params=where).replace("shared", "secret"))
    assert (status, b"SignatureDoesNotMatch" in body) == (403, True), "a URL for another object is refused"
    soon = s3.generate_presigned_url("get_object", Params=where, ExpiresIn=1)
    time.sleep(1.2)
    status, body = fetch(soon)
    assert (status, b"Request has expired" in body) == (403, True)


def test_an_old_kind_of_presigned_url_is_refused(strict: Strict, operator: Credentials, bucket: str) -> None:
    s3 = strict.client("s3", operator, signature_version="s3")
    status, body = fetch(s3.generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": "plain"}))
    assert (status, b"Please use AWS4-HMAC-SHA256" in body) == (400, True)


def test_a_presigned_identity_works(strict: Strict, operator: Credentials) -> None:
    url = strict.client("sts", operator).generate_presigned_url("get_caller_identity", HttpMethod="GET")
    status, body = fetch(url)
    assert (status, b":user/test-user</Arn>" in body) == (200, True)


# ---- who is who


def test_root_is_no_user(strict: Strict) -> None:
    identity = strict.client("sts").get_caller_identity()
    assert identity["Arn"] == "arn:aws:iam::123456789012:root"
    assert identity["UserId"] == identity["Account"] == "123456789012"
    assert strict.client("iam").get_user()["User"]["Arn"] == "arn:aws:iam::123456789012:root"
    keys = strict.client("iam").list_access_keys()["AccessKeyMetadata"]
    assert [key["AccessKeyId"] for key in keys] == [ROOT.access_key_id]
    names = [user["UserName"] for user in strict.client("iam").list_users()["Users"]]
    assert "root" not in names


def test_a_user_is_itself(strict: Strict, operator: Credentials) -> None:
    assert strict.client("sts", operator).get_caller_identity()["Arn"] == "arn:aws:iam::123456789012:user/test-user"
    iam = strict.client("iam", operator)
    assert iam.get_user()["User"]["UserName"] == "test-user"
    keys = iam.list_access_keys()["AccessKeyMetadata"]
    assert [key["AccessKeyId"] for key in keys] == [operator.access_key_id], "UserName left out means the caller"


def test_an_identity_needs_no_permission(strict: Strict, powerless: Credentials) -> None:
    assert strict.client("sts", powerless).get_caller_identity()["Arn"].endswith(":user/powerless")


# ---- permissions


@pytest.mark.parametrize("service", NO_PERMISSION)
def test_a_call_without_permission_is_refused(service: str, strict: Strict, powerless: Credentials) -> None:
    code, message, status = refusal(call(strict, service, powerless))
    assert (code, status) == NO_PERMISSION[service]
    assert "User: arn:aws:iam::123456789012:user/powerless is not authorized to perform: " in message
    assert "because no identity-based policy allows the " in message


def test_s3_and_iam_full_access_allow_these_and_nothing_else(
    strict: Strict, operator: Credentials, bucket: str
) -> None:
    s3, iam = strict.client("s3", operator), strict.client("iam", operator)
    s3.put_object(Bucket=bucket, Key="proof", Body=b"it works")
    assert s3.get_object(Bucket=bucket, Key="proof")["Body"].read() == b"it works"
    assert s3.list_objects_v2(Bucket=bucket, Prefix="proof")["KeyCount"] == 1
    assert iam.list_groups()["Groups"][0]["GroupName"] == "test"
    code, message, status = refusal(strict.client("ec2", operator).describe_instances)
    assert (code, status) == ("UnauthorizedOperation", 403)
    assert "ec2:DescribeInstances" in message


def allowed(
    strict: Strict, name: str, documents: list[dict[str, Any]], calls: Callable[[Credentials], list[bool]]
) -> list[bool]:
    key = strict.user_with_key(name)
    for number, document in enumerate(documents):
        text = json.dumps({"Version": "2012-10-17", "Statement": document})
        strict.client("iam").put_user_policy(UserName=name, PolicyName=f"p{number}", PolicyDocument=text)
    return calls(key)


def works(method: Callable[..., Any], **parameters: Any) -> bool:
    try:
        method(**parameters)
    except ClientError as error:
        if code_of(error) != "AccessDenied":
            raise
        return False
    return True


def test_policies_are_evaluated_as_aws_does(strict: Strict, operator: Credentials, bucket: str) -> None:
    arn = f"arn:aws:s3:::{bucket}"
    strict.client("s3", operator).put_object(Bucket=bucket, Key="team/file", Body=b"x")
    strict.client("s3", operator).put_object(Bucket=bucket, Key="other", Body=b"x")

    def reads(key: Credentials) -> list[bool]:
        s3 = strict.client("s3", key)
        return [
            works(s3.get_object, Bucket=bucket, Key="team/file"),
            works(s3.get_object, Bucket=bucket, Key="other"),
            works(s3.list_objects_v2, Bucket=bucket, Prefix="team/"),
            works(s3.put_object, Bucket=bucket, Key="team/new", Body=b""),
        ]

    def allow(action: Any, resource: Any, **more: Any) -> dict[str, Any]:
        return {"Effect": "Allow", "Action": action, "Resource": resource, **more}

    deny_without_mfa = {
        "Effect": "Deny",
        "NotAction": "sts:GetCallerIdentity",
        "Resource": "*",
        "Condition": {"BoolIfExists": {"aws:MultiFactorAuthPresent": "false"}},
    }
    cases: dict[str, tuple[list[dict[str, Any]], list[bool]]] = {
        "resource": ([allow("s3:GetObject", f"{arn}/team/*")], [True, False, False, False]),
        "case": ([allow("S3:getobject", f"{arn}/TEAM/*")], [False, False, False, False]),
        "action-case": ([allow("S3:getobject", f"{arn}/*")], [True, True, False, False]),
        "question-mark": ([allow("s3:Get?bject", f"{arn}/othe?")], [False, True, False, False]),
        "not-resource": (
            [{"Effect": "Allow", "Action": "s3:*", "NotResource": f"{arn}/other"}],
            [True, False, True, True],
        ),
        "deny": (
            [
                allow("s3:*", "*"),
                {"Effect": "Deny", "Action": "s3:Put*", "Resource": f"{arn}/team/*"},
            ],
            [True, True, True, False],
        ),
        "prefix": (
            [allow("s3:ListBucket", arn, Condition={"StringLike": {"s3:prefix": "team/*"}})],
            [False, False, True, False],
        ),
        "variable": ([allow("s3:GetObject", f"{arn}/${{aws:username}}/*")], [False, False, False, False]),
        "address": (
            [allow("s3:*", "*", Condition={"IpAddress": {"aws:SourceIp": "127.0.0.0/8"}})],
            [True, True, True, True],
        ),
        "region": (
            [allow("s3:*", "*", Condition={"StringNotEquals": {"aws:RequestedRegion": REGION}})],
            [False, False, False, False],
        ),
        # Long-lived keys carry no such key: a deny with IfExists holds, one without does not.
        "mfa-if-exists": ([allow("s3:*", "*"), deny_without_mfa], [False, False, False, False]),
        "mfa": (
            [allow("s3:*", "*"), {**deny_without_mfa, "Condition": {"Bool": {"aws:MultiFactorAuthPresent": "false"}}}],
            [True, True, True, True],
        ),
    }
    for name, (statements, expected) in cases.items():
        assert allowed(strict, f"policy-{name}", [{**s} for s in statements], reads) == expected, name


def test_a_permissions_boundary_limits_a_user(strict: Strict, operator: Credentials, bucket: str) -> None:
    iam = strict.client("iam")
    document = json.dumps(
        {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:Get*", "Resource": "*"}]}
    )
    arn = iam.create_policy(PolicyName="only-reading", PolicyDocument=document)["Policy"]["Arn"]
    key = strict.user_with_key("bounded", "AmazonS3FullAccess")
    strict.client("s3", operator).put_object(Bucket=bucket, Key="bounded", Body=b"x")
    s3 = strict.client("s3", key)
    assert works(s3.put_object, Bucket=bucket, Key="bounded", Body=b"y")
    iam.put_user_permissions_boundary(UserName="bounded", PermissionsBoundary=arn)
    assert iam.get_user(UserName="bounded")["User"]["PermissionsBoundary"]["PermissionsBoundaryArn"] == arn
    code, message, _ = refusal(s3.put_object, Bucket=bucket, Key="bounded", Body=b"y")
    assert code == "AccessDenied"
    assert "no permissions boundary allows the s3:PutObject action" in message
    assert works(s3.get_object, Bucket=bucket, Key="bounded")
    iam.delete_user_permissions_boundary(UserName="bounded")
    assert works(s3.put_object, Bucket=bucket, Key="bounded", Body=b"y")


def test_a_role_is_assumed_by_those_it_trusts(strict: Strict, operator: Credentials) -> None:
    iam = strict.client("iam")
    trust = {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Principal": {"AWS": "arn:aws:iam::123456789012:user/test-user"},
                "Action": "sts:AssumeRole",
            }
        ],
    }
    arn = iam.create_role(RoleName="reader", AssumeRolePolicyDocument=json.dumps(trust))["Role"]["Arn"]
    iam.attach_role_policy(RoleName="reader", PolicyArn="arn:aws:iam::aws:policy/AmazonS3ReadOnlyAccess")
    everything = strict.user_with_key("outsider", "AdministratorAccess")
    iam.put_user_policy(
        UserName="test-user",
        PolicyName="assume",
        PolicyDocument=json.dumps(
            {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "sts:AssumeRole", "Resource": arn}]}
        ),
    )
    answer = strict.client("sts", operator).assume_role(RoleArn=arn, RoleSessionName="session")["Credentials"]
    session = client_with_token(strict, answer)
    session.list_buckets()
    code, message, _ = refusal(session.create_bucket, Bucket="not-allowed")
    assert (code, ":assumed-role/reader/session" in message) == ("AccessDenied", True)
    assert refusal(strict.client("sts", everything).assume_role, RoleArn=arn, RoleSessionName="s2")[0] == "AccessDenied"
    assert refusal(strict.client("sts").assume_role, RoleArn=arn, RoleSessionName="s2")[0] == "AccessDenied"
    assert refusal(client_with_token(strict, {**answer, "SessionToken": "wrong"}).list_buckets)[0] == "InvalidToken"


def client_with_token(strict: Strict, answer: dict[str, Any]) -> Any:
    import botocore.session
    from botocore.config import Config

    return botocore.session.Session().create_client(
        "s3",
        region_name=REGION,
        endpoint_url=strict.url,
        aws_access_key_id=answer["AccessKeyId"],
        aws_secret_access_key=answer["SecretAccessKey"],
        aws_session_token=answer["SessionToken"],
        config=Config(retries={"total_max_attempts": 1}),
    )

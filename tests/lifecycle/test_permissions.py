"""What keys may do, tried with the issued keys themselves: what is granted works, what is next to it does not."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from aws_access_keys.rules.s3_grants import S3Grant, grant_policies
from botocore.exceptions import ClientError
from botocore.httpsession import URLLib3Session

from tests.lifecycle.helpers import NewStack, keys_in_iam, works
from tests.lifecycle.stack import Sandbox

OTHER_NETWORK = "127.0.0.2"
LEVELS = {
    "list": {"list"},
    "read": {"list", "get"},
    "write": {"put"},
    "readWrite": {"list", "get", "put"},
}

Call = Callable[[Any, str, str], Any]


def upload_in_parts(s3: Any, bucket: str, prefix: str) -> None:
    place = {"Bucket": bucket, "Key": f"{prefix}parts"}
    upload = place | {"UploadId": s3.create_multipart_upload(**place)["UploadId"]}
    tag = s3.upload_part(**upload, PartNumber=1, Body=b"x")["ETag"]
    s3.list_parts(**upload)
    s3.complete_multipart_upload(**upload, MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": tag}]})


def abandon_upload(s3: Any, bucket: str, prefix: str) -> None:
    place = {"Bucket": bucket, "Key": f"{prefix}parts"}
    s3.abort_multipart_upload(**place, UploadId=s3.create_multipart_upload(**place)["UploadId"])


def version(s3: Any, bucket: str, prefix: str) -> dict[str, str]:
    return {"Bucket": bucket, "Key": f"{prefix}file", "VersionId": VERSIONS[bucket, prefix]}


VERSIONS: dict[tuple[str, str], str] = {}
NEVER = "never"
# What a client does, the part of an access level that it needs, and how, given a client, a bucket and a prefix.
CALLS: dict[str, tuple[set[str], Call]] = {
    "get": ({"get"}, lambda s3, b, p: s3.get_object(Bucket=b, Key=f"{p}file")),
    "head": ({"get"}, lambda s3, b, p: s3.head_object(Bucket=b, Key=f"{p}file")),
    "get a version": ({"get"}, lambda s3, b, p: s3.get_object(**version(s3, b, p))),
    "get tags": ({"get"}, lambda s3, b, p: s3.get_object_tagging(Bucket=b, Key=f"{p}file")),
    "ls": ({"list"}, lambda s3, b, p: s3.list_objects_v2(Bucket=b, Prefix=p, Delimiter="/")),
    "ls below": ({"list"}, lambda s3, b, p: s3.list_objects_v2(Bucket=b, Prefix=f"{p}2026/")),
    "ls, version 1": ({"list"}, lambda s3, b, p: s3.list_objects(Bucket=b, Prefix=p)),
    "list versions": ({"list"}, lambda s3, b, p: s3.list_object_versions(Bucket=b, Prefix=p)),
    "put": ({"put"}, lambda s3, b, p: s3.put_object(Bucket=b, Key=f"{p}new", Body=b"x")),
    "put with tags": ({"put"}, lambda s3, b, p: s3.put_object(Bucket=b, Key=f"{p}new", Body=b"x", Tagging="a=b")),
    "upload in parts": ({"put"}, upload_in_parts),
    "abandon an upload": ({"put"}, abandon_upload),
    "copy": (
        {"get", "put"},
        lambda s3, b, p: s3.copy_object(Bucket=b, Key=f"{p}copy", CopySource={"Bucket": b, "Key": f"{p}file"}),
    ),
    "delete": ({"put"}, lambda s3, b, p: s3.delete_object(Bucket=b, Key=f"{p}new")),
    "delete several": (
        {"put"},
        lambda s3, b, p: s3.delete_objects(Bucket=b, Delete={"Objects": [{"Key": f"{p}new"}, {"Key": f"{p}copy"}]}),
    ),
    "delete a version": ({NEVER}, lambda s3, b, p: s3.delete_object(**version(s3, b, p))),
    "set an ACL": ({NEVER}, lambda s3, b, p: s3.put_object_acl(Bucket=b, Key=f"{p}file", ACL="public-read")),
    "set a bucket policy": ({NEVER}, lambda s3, b, p: s3.put_bucket_policy(Bucket=b, Policy="{}")),
}
NEEDS_KMS = {
    *("get", "get a version", "put", "put with tags", "upload in parts", "abandon an upload", "copy"),
}
WHOLE_BUCKET: dict[str, tuple[set[str], Call]] = {
    "ls of everything": ({"list"}, lambda s3, b, p: s3.list_objects_v2(Bucket=b)),
    "ls of the top": ({"list"}, lambda s3, b, p: s3.list_objects_v2(Bucket=b, Prefix="", Delimiter="/")),
    "ls without the slash": ({"list"}, lambda s3, b, p: s3.list_objects_v2(Bucket=b, Prefix="in", Delimiter="/")),
    "head of the bucket": ({"list"}, lambda s3, b, p: s3.head_bucket(Bucket=b)),
    "list uploads": ({"put"}, lambda s3, b, p: s3.list_multipart_uploads(Bucket=b)),
}


class Need(NamedTuple):
    """A permission that a client's call needs. Source: "Required permissions for Amazon S3 API operations" and "Using
    server-side encryption with AWS KMS keys" in the S3 user guide."""

    action: str
    key: str | None = None
    """The object, below the prefix; None: the bucket, or the KMS key that it is encrypted with."""
    listed: str | None = None
    """What the keys begin with that a listing asks for; `{p}` is the prefix. None where it asks for none."""


ENCRYPT, DECRYPT = Need("kms:GenerateDataKey"), Need("kms:Decrypt")
NEEDS: dict[str, list[Need]] = {
    "get": [Need("s3:GetObject", "file"), DECRYPT],
    "head": [Need("s3:GetObject", "file")],
    "get a version": [Need("s3:GetObjectVersion", "file"), DECRYPT],
    "get tags": [Need("s3:GetObjectTagging", "file")],
    "ls": [Need("s3:ListBucket", listed="{p}")],
    "ls below": [Need("s3:ListBucket", listed="{p}2026/")],
    "ls, version 1": [Need("s3:ListBucket", listed="{p}")],
    "list versions": [Need("s3:ListBucketVersions", listed="{p}")],
    "put": [Need("s3:PutObject", "new"), ENCRYPT],
    "put with tags": [Need("s3:PutObject", "new"), Need("s3:PutObjectTagging", "new"), ENCRYPT],
    "upload in parts": [Need("s3:PutObject", "parts"), Need("s3:ListMultipartUploadParts", "parts"), ENCRYPT, DECRYPT],
    "abandon an upload": [Need("s3:PutObject", "parts"), Need("s3:AbortMultipartUpload", "parts"), ENCRYPT],
    "copy": [Need("s3:GetObject", "file"), Need("s3:PutObject", "copy"), ENCRYPT, DECRYPT],
    "delete": [Need("s3:DeleteObject", "new")],
    "delete several": [Need("s3:DeleteObject", "new"), Need("s3:DeleteObject", "copy")],
    "delete a version": [Need("s3:DeleteObjectVersion", "file")],
    "set an ACL": [Need("s3:PutObjectAcl", "file")],
    "set a bucket policy": [Need("s3:PutBucketPolicy")],
    "ls of everything": [Need("s3:ListBucket")],
    "ls of the top": [Need("s3:ListBucket", listed="")],
    "ls without the slash": [Need("s3:ListBucket", listed="in")],
    "head of the bucket": [Need("s3:ListBucket")],
    "list uploads": [Need("s3:ListBucketMultipartUploads")],
}


@dataclass(frozen=True)
class Simulator:
    """What IAM's simulator says of the same calls. kms_keys: bucket → the KMS key that it is encrypted with."""

    iam: Any
    kms_keys: dict[str, str]

    def allows(self, user: str, what: str, bucket: str, prefix: str, tls: bool, address: str) -> bool:
        """Whether a user is allowed all that a call needs."""
        context = {"aws:SecureTransport": str(tls).lower(), "aws:SourceIp": address, "aws:ViaAWSService": "false"}
        for need in NEEDS[what]:
            is_kms = need.action.startswith("kms:")
            if is_kms and bucket not in self.kms_keys:
                continue
            place = f"arn:aws:s3:::{bucket}" + ("" if need.key is None else f"/{prefix}{need.key}")
            more = {"kms:ViaService": "s3.ap-northeast-2.amazonaws.com"} if is_kms else {}
            more |= {} if need.listed is None else {"s3:prefix": need.listed.format(p=prefix)}
            types = {"aws:SourceIp": "ip", "aws:SecureTransport": "boolean", "aws:ViaAWSService": "boolean"}
            (result,) = self.iam.simulate_principal_policy(
                PolicySourceArn=f"arn:aws:iam::123456789012:user/{user}",
                ActionNames=[need.action],
                ResourceArns=[self.kms_keys[bucket] if is_kms else place],
                ContextEntries=[
                    {"ContextKeyName": key, "ContextKeyType": types.get(key, "string"), "ContextKeyValues": [value]}
                    for key, value in (context | more).items()
                ],
            )["EvaluationResults"]
            if result["ResourceSpecificResults"][0]["EvalResourceDecision"] != "allowed":
                return False
        return True


def is_allowed(call: Call, s3: Any, bucket: str, prefix: str) -> bool:
    try:
        call(s3, bucket, prefix)
    except ClientError as error:
        if error.response["Error"]["Code"] not in ("AccessDenied", "403"):
            raise
        return False
    return True


@dataclass(frozen=True)
class FromAddress:
    """Sends a client's requests from an address of this machine."""

    address: str

    def use(self, client: Any) -> Any:
        address = self.address

        class Session(URLLib3Session):
            def _get_pool_manager_kwargs(self, **extra: Any) -> dict[str, Any]:
                kept: dict[str, Any] = super()._get_pool_manager_kwargs(**extra)  # pyright: ignore
                return kept | {"source_address": (address, 0)}

        session = Session()
        client.meta.events.register("before-send.s3", lambda request, **_: session.send(request))
        return client


def fill(sandbox: Sandbox, *buckets: str, kms_key: str | None = None) -> None:
    """Versioned buckets with a few objects each. kms_key: encrypts them."""
    s3 = sandbox.client("s3")
    for bucket in buckets:
        s3.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": "ap-northeast-2"})
        s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
        if kms_key:
            by_kms = {"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": kms_key}}
            s3.put_bucket_encryption(Bucket=bucket, ServerSideEncryptionConfiguration={"Rules": [by_kms]})
        for prefix in ("", "in/", "inner/"):
            VERSIONS[bucket, prefix] = s3.put_object(Bucket=bucket, Key=f"{prefix}file", Body=b"x")["VersionId"]


@pytest.mark.parametrize(
    ("levels", "cells"),
    [
        pytest.param(["read", "write"], 400, id="read-write"),
        pytest.param(list(LEVELS), 1000, id="every-level", marks=pytest.mark.long),
    ],
)
def test_each_access_level_opens_its_bucket_or_prefix_and_nothing_else(
    new_stack: NewStack,
    sandbox: Sandbox,
    record_property: Callable[[str, object], None],
    levels: list[str],
    cells: int,
) -> None:
    kms = sandbox.client("kms")
    keys = [kms.create_key()["KeyMetadata"]["Arn"] for _ in range(2)]
    fill(sandbox, "data", kms_key=keys[0])
    fill(sandbox, "data-2")
    # Encrypted with a key that no grant names.
    fill(sandbox, "sealed", kms_key=keys[1])
    places = {"prefix": {"bucket": "data", "prefix": "in/"}, "bucket": {"bucket": "data"}}
    grants: dict[str, list[dict[str, str]]] = {}
    for level in levels:
        key = {} if level == "list" else {"kmsKey": keys[0]}
        for scope, place in places.items():
            grants[f"{level}-{scope}"] = [
                {**place, "access": level, **key},
                {"bucket": "sealed", "prefix": "in/", "access": level},
            ]
    stack = new_stack()
    stack.write(
        {
            "groups": {name: {"s3": grant, "allowFrom": ["127.0.0.1/32"]} for name, grant in grants.items()},
            "users": {name: {"groups": [name]} for name in grants},
        }
    )
    stack.up()
    tried, wrong, simulated_otherwise = 0, list[str](), list[str]()
    simulator = Simulator(sandbox.client("iam"), {"data": keys[0], "sealed": keys[1]})
    outputs = stack.outputs()
    for name in grants:
        level, scope = name.split("-")
        key_pair = outputs["accessKeyIds"][name], outputs["secretAccessKeys"][name]
        s3, plain = sandbox.client("s3", key_pair), sandbox.client("s3", key_pair, tls=False)
        elsewhere = FromAddress(OTHER_NETWORK).use(sandbox.client("s3", key_pair))
        for what, (needed, call) in (CALLS | WHOLE_BUCKET).items():
            works_there = needed <= LEVELS[level] and (scope == "bucket" or what in CALLS)
            without_kms = needed <= LEVELS[level] and what in CALLS and what not in NEEDS_KMS
            for where, client, bucket, prefix, expected in (
                ("its place", s3, "data", "in/", works_there),
                ("the next prefix", s3, "data", "inner/", works_there and scope == "bucket"),
                ("the next bucket", s3, "data-2", "in/", False),
                ("a bucket whose KMS key is not granted", s3, "sealed", "in/", without_kms),
                ("its place by plain HTTP", plain, "data", "in/", False),
                ("its place from another network", elsewhere, "data", "in/", False),
            ):
                tried += 1
                works_really = is_allowed(call, client, bucket, prefix)
                if works_really != expected:
                    wrong.append(f"{name}: {what} in {where} should {'' if expected else 'not '}work")
                address = OTHER_NETWORK if client is elsewhere else "127.0.0.1"
                if simulator.allows(name, what, bucket, prefix, client is not plain, address) != works_really:
                    simulated_otherwise.append(f"{name}: {what} in {where}")
    text = f"permissions: {tried} calls with issued keys, {len(wrong)} decided otherwise than granted"
    record_property("summary", f"{text}, {len(simulated_otherwise)} otherwise than simulated")
    assert wrong == []
    assert simulated_otherwise == []
    assert tried >= cells
    assert stack.preview("--expect-no-changes").changes == {}
    assert stack.refresh("--expect-no-changes").changes == {}


@pytest.mark.long
def test_the_aws_cli_works_below_a_prefix(new_stack: NewStack, sandbox: Sandbox, tmp_path: Path) -> None:
    fill(sandbox, "data")
    stack = new_stack()
    levels = ("read", "write", "readWrite")
    groups = {level: {"s3": [{"bucket": "data", "prefix": "in/", "access": level}]} for level in levels}
    stack.write({"groups": groups, "users": {level: {"groups": [level]} for level in levels}})
    stack.up()
    folder = tmp_path / "files"
    (folder / "sub").mkdir(parents=True)
    (folder / "large").write_bytes(b"x" * 9_000_000)  # above 8 MB the CLI uploads in parts
    (folder / "sub" / "small").write_text("x")

    def aws_s3(user: str, *arguments: str) -> bool:
        key_id, secret = stack.key(user)
        done = subprocess.run(
            [sys.executable, "-m", "awscli", "s3", *arguments],
            env=sandbox.environment
            | {"AWS_ENDPOINT_URL": sandbox.running.endpoint_url, "AWS_REGION": "ap-northeast-2"}
            | {"AWS_ACCESS_KEY_ID": key_id, "AWS_SECRET_ACCESS_KEY": secret},
            cwd=folder,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0 or "AccessDenied" in done.stderr or "(403)" in done.stderr, done.stderr
        return done.returncode == 0

    back = str(tmp_path / "back")
    for user, expected, command in (
        ("readWrite", True, ("sync", ".", "s3://data/in/")),
        ("readWrite", True, ("sync", "s3://data/in/", back)),
        ("readWrite", True, ("mv", "s3://data/in/large", "s3://data/in/moved")),
        ("readWrite", True, ("rm", "--recursive", "s3://data/in/sub/")),
        ("readWrite", False, ("cp", "large", "s3://data/out/large")),
        ("read", True, ("ls", "s3://data/in/")),
        ("read", False, ("ls", "s3://data/in")),
        ("read", True, ("cp", "--recursive", "s3://data/in", back)),
        ("read", False, ("rm", "s3://data/in/file")),
        ("write", True, ("cp", "large", "s3://data/in/large")),
        ("write", True, ("cp", "--recursive", ".", "s3://data/in/again/")),
        ("write", False, ("sync", ".", "s3://data/in/")),
        ("write", False, ("cp", "s3://data/in/file", back)),
    ):
        assert aws_s3(user, *command) == expected, f"{user}: aws s3 {' '.join(command)}"


@pytest.mark.long
def test_documents_become_policies_that_can_be_edited_and_removed(
    new_stack: NewStack, sandbox: Sandbox, tmp_path: Path
) -> None:
    fill(sandbox, "data")
    stack = new_stack()

    def document(action: str) -> dict[str, Any]:
        statement = {"Effect": "Allow", "Action": action, "Resource": "arn:aws:s3:::data/*"}
        return {"Version": date(2012, 10, 17), "Statement": [statement]}  # as YAML reads it without quotes

    def write(action: str, **group: Any) -> None:
        file = tmp_path / "put.json"
        file.write_text(json.dumps(document("s3:PutObject"), default=str))
        own = {"reading": document(action), "putting": f"file:{file}"}
        own = {name: found for name, found in own.items() if name in group["policies"]}
        stack.write({"policyDocuments": own, "groups": {"test": group}, "users": {"ann": {"groups": ["test"]}}})

    write("s3:GetObject", policies=["reading", "putting"], inline={"deleting": document("s3:DeleteObject")})
    assert stack.up().changes == {"create": 12}
    key = stack.key("ann")
    get, put, delete = (CALLS[what][1] for what in ("get", "put", "delete"))
    s3 = sandbox.client("s3", key)
    assert all(is_allowed(call, s3, "data", "in/") for call in (get, put, delete))
    assert not is_allowed(CALLS["get tags"][1], s3, "data", "in/")
    assert stack.preview("--expect-no-changes").changes == {}
    assert stack.refresh("--expect-no-changes").changes == {}

    write("s3:GetObjectTagging", policies=["reading"])
    assert stack.up().changes == {"update": 1, "delete": 3}, "an attachment, its policy, and the inline policy go"
    assert is_allowed(CALLS["get tags"][1], s3, "data", "in/")
    assert not any(is_allowed(call, s3, "data", "in/") for call in (get, put, delete))
    assert stack.key("ann") == key

    sandbox.control.clear_calls()
    stack.destroy()
    assert [call for call in sandbox.control.calls() if call.outcome == "DeleteConflict"] == []
    assert sandbox.client("iam").list_policies(Scope="Local")["Policies"] == []


@pytest.mark.long
def test_keys_work_from_the_allowed_networks_only(new_stack: NewStack, sandbox: Sandbox) -> None:
    fill(sandbox, "data")
    stack = new_stack()
    grant = [{"bucket": "data", "access": "readWrite"}]

    def write(group: list[str] | None = None, user: list[str] | None = None, **more: Any) -> None:
        groups = {"test": {"s3": grant, "allowFrom": group}, "free": {"s3": grant}}
        users = {"ann": {"groups": ["test"], "allowFrom": user}, "bob": {"groups": ["free"]}, **more}
        stack.write({"groups": groups, "users": users})

    def works(user: str) -> dict[str, bool]:
        """Address → whether every call that the grant allows works from there; no call alone does."""
        key, found = stack.key(user), dict[str, bool]()
        for address in ("127.0.0.1", OTHER_NETWORK):
            client = FromAddress(address).use(sandbox.client("s3", key))
            calls = [call for needed, call in CALLS.values() if NEVER not in needed]
            (found[address],) = {is_allowed(call, client, "data", "in/") for call in calls}
        return found

    everywhere, only_here = {"127.0.0.1": True, OTHER_NETWORK: True}, {"127.0.0.1": True, OTHER_NETWORK: False}
    sandbox.control.clear_calls()
    write(group=["127.0.0.1/32"])
    stack.up()
    calls = [call.action for call in sandbox.control.calls()]
    for later in ("AttachGroupPolicy", "AddUserToGroup", "CreateAccessKey"):
        last = len(calls) - 1 - calls[::-1].index(later)
        assert calls.index("PutGroupPolicy") < last, f"{later} for the limited group comes after its limit"
    assert works("ann") == only_here
    assert works("bob") == everywhere, "the sandbox does not refuse the other network by itself"
    ann = stack.key("ann")

    write()
    assert stack.up().changes == {"delete": 1}
    assert works("ann") == everywhere
    write(user=["127.0.0.0/31"])
    assert stack.up().changes == {"create": 1}
    assert works("ann") == only_here
    write(user=["127.0.0.0/30"])
    assert stack.up().changes == {"update": 1}
    assert works("ann") == everywhere
    assert stack.key("ann") == ann
    sandbox.control.clear_calls()
    assert stack.preview("--expect-no-changes").changes == {}
    asked = [call.action for call in sandbox.control.calls()]
    assert asked == ["GetCallerIdentity"], "where nothing changes, AWS is asked only which account it is"

    sandbox.control.clear_calls()
    stack.write({"groups": {"free": {"s3": grant}}, "users": {"bob": {"groups": ["free"]}}})
    stack.up()
    calls = [call.action for call in sandbox.control.calls()]
    assert calls.index("DeleteUserPolicy") > calls.index("DeleteAccessKey"), "the limit goes after the key"
    assert works("bob") == everywhere


@pytest.mark.long
def test_users_without_groups_have_policies_and_a_boundary(new_stack: NewStack, sandbox: Sandbox) -> None:
    fill(sandbox, "data", "data-2")
    stack = new_stack()
    statement = {"Effect": "Allow", "Action": "s3:*", "Resource": ["arn:aws:s3:::data", "arn:aws:s3:::data/*"]}
    limit = {"Version": "2012-10-17", "Statement": statement}
    both = {"ann": {"policies": ["AmazonS3FullAccess"], "permissionsBoundary": "limit"}, "bob": {"policies": ["limit"]}}
    stack.write({"policyDocuments": {"limit": limit}, "groups": {}, "users": both})
    assert stack.up().changes == {"create": 10}
    get = CALLS["get"][1]
    ann = stack.key("ann")
    for user in both:
        s3 = sandbox.client("s3", stack.key(user))
        assert is_allowed(get, s3, "data", "in/"), user
        assert not is_allowed(get, s3, "data-2", "in/"), user
    assert stack.preview("--expect-no-changes").changes == {}
    assert stack.refresh("--expect-no-changes").changes == {}

    stack.write({"groups": {}, "users": {"ann": {"policies": ["AmazonS3FullAccess"]}}})
    assert stack.up().changes == {"update": 1, "delete": 4}, "bob with key and attachment goes, and the unused policy"
    assert is_allowed(get, sandbox.client("s3", ann), "data-2", "in/"), "without the boundary the policy counts"
    stack.destroy()
    assert sandbox.client("iam").list_users()["Users"] == []


@pytest.mark.long
def test_a_grant_that_moves_to_another_policy_of_its_group_is_allowed_at_every_moment(
    new_stack: NewStack, sandbox: Sandbox
) -> None:
    stack, buckets = new_stack(), [f"{'data-' * 10}{number:02}" for number in range(30)]

    def write(*names: str) -> None:
        grants = [{"bucket": name, "access": "read"} for name in names]
        stack.write({"groups": {"readers": {"s3": grants}}, "users": {"ann": {"groups": ["readers"]}}})

    def policies() -> set[str]:
        attached = sandbox.client("iam").list_attached_group_policies(GroupName="readers")["AttachedPolicies"]
        return {policy["PolicyName"] for policy in attached}

    for bucket in buckets:
        root = sandbox.client("s3")
        root.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": "ap-northeast-2"})
    count = next(count for count in range(2, 30) if len(grant_policies(grants(buckets[-count:]), "aws")) == 2) - 1
    write(*buckets[-count:])
    stack.up()
    s3 = sandbox.client("s3", stack.key("ann"))
    assert policies() == {"readers-s3"}
    for action in ("CreatePolicy", "AttachGroupPolicy"):
        write(*buckets[-count - 1 :])
        sandbox.control.fail(f"iam:{action}", "AccessDenied", times=9)
        assert stack.up(check=False).code != 0
        sandbox.control.clear_faults()
        s3.list_objects_v2(Bucket=buckets[-1])
    stack.up()
    assert policies() == {"readers-s3", "readers-s3-2"}
    write(*buckets[-count:])
    sandbox.control.fail("iam:CreatePolicyVersion", "AccessDenied", times=9)
    assert stack.up(check=False).code != 0
    sandbox.control.clear_faults()
    s3.list_objects_v2(Bucket=buckets[-1])
    stack.up()
    s3.list_objects_v2(Bucket=buckets[-1])
    assert policies() == {"readers-s3"}


def grants(buckets: Iterable[str]) -> list[S3Grant]:
    return [S3Grant(bucket, "", "read") for bucket in buckets]


@pytest.mark.long
def test_two_environments_share_an_account(new_stack: NewStack, sandbox: Sandbox) -> None:
    fill(sandbox, "dev-data", "prod-data")
    stacks = {name: new_stack() for name in ("dev", "prod")}
    for name, stack in stacks.items():
        grants = [{"bucket": f"{name}-data", "access": "read"}]
        users = {"ann": {"groups": ["readers"], "deliver": {"ssm": {}}}}
        stack.write({"namePrefix": f"{name}-", "groups": {"readers": {"s3": grants}}, "users": users})
        stack.up()
        assert stack.preview("--expect-no-changes").changes == {}
    for name, stack in stacks.items():
        s3 = sandbox.client("s3", stack.key(f"{name}-ann"))
        opened = {bucket for bucket in ("dev-data", "prod-data") if is_allowed(CALLS["get"][1], s3, bucket, "in/")}
        assert opened == {f"{name}-data"}
    stacks["dev"].destroy()
    iam = sandbox.client("iam")
    assert [user["UserName"] for user in iam.list_users()["Users"]] == ["prod-ann"]
    assert [policy["PolicyName"] for policy in iam.list_policies(Scope="Local")["Policies"]] == ["prod-readers-s3"]


@pytest.mark.long
def test_a_user_loses_its_key_and_gets_another_one(new_stack: NewStack, sandbox: Sandbox) -> None:
    stack = new_stack()
    user: dict[str, Any] = {"groups": ["test"]}
    groups = {"test": {"policies": ["AmazonS3FullAccess"]}}
    stack.write({"groups": groups, "users": {"ann": {**user, "key": None}}})
    stack.up()
    assert keys_in_iam(sandbox, "ann") == {}
    stack.write({"groups": groups, "users": {"ann": user}})
    assert stack.up().changes == {"create": 1}
    first = stack.key("ann")
    assert works(sandbox, first)
    assert sandbox.client("iam").list_groups_for_user(UserName="ann")["Groups"][0]["GroupName"] == "test"

    guarded = {"retireGuard": {"idleDays": 3}}
    stack.write({"groups": groups, "users": {"ann": {**user, "key": guarded}}})
    stack.up()
    stack.write({"groups": groups, "users": {"ann": {**user, "key": None}}})
    refused = stack.up(check=False)
    assert refused.code != 0
    assert "in use and is not deleted" in refused.text
    assert works(sandbox, first)
    stack.write({"groups": groups, "users": {"ann": {**user, "key": None}}, "retireUnguarded": ["ann"]})
    preview = stack.preview()
    assert f"the access key {first[0]} of ann" in preview.text
    assert "is deleted: the settings give the user no key" in preview.text
    assert stack.up().changes == {"delete": 1}
    assert keys_in_iam(sandbox, "ann") == {}
    assert stack.preview("--expect-no-changes").changes == {}
    stack.write({"groups": groups, "users": {"ann": user}})
    stack.up()
    assert works(sandbox, stack.key("ann"))

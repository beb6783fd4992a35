"""The account survives a stop, encrypted; a kill loses at most a second; a damaged file is moved away."""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from aws_support import ALLOW_ALL, REGION, ROOT, STATE_KEY, TOKEN, Strict, client, code_of, strict_aws
from botocore.exceptions import ClientError
from cryptography.fernet import Fernet
from pulumi_sandbox.aws import persistence
from pulumi_sandbox.aws.emulator import AwsEmulator
from pulumi_sandbox.aws.settings import Settings
from pulumi_sandbox.credentials import Credentials
from waitress.trigger import trigger

S3_FULL = "arn:aws:iam::aws:policy/AmazonS3FullAccess"


def start(folder: Path, port: int = 0) -> AwsEmulator:
    return AwsEmulator(folder, port, Settings(), root=ROOT, token=TOKEN, state_key=STATE_KEY)


def furnish(strict: Strict) -> tuple[Credentials, dict[str, Any]]:
    """Put something of everything that survives into the account: the user's key, and what else must be there."""
    iam = strict.client("iam")
    iam.create_group(GroupName="test", Path="/team/")
    iam.attach_group_policy(GroupName="test", PolicyArn=S3_FULL)
    iam.put_group_policy(GroupName="test", PolicyName="inline", PolicyDocument=ALLOW_ALL)
    own = iam.create_policy(PolicyName="own", PolicyDocument=ALLOW_ALL)["Policy"]["Arn"]
    iam.attach_group_policy(GroupName="test", PolicyArn=own)
    key = strict.user_with_key("kept")
    iam.tag_user(UserName="kept", Tags=[{"Key": "Team", "Value": "data"}])
    iam.put_user_permissions_boundary(UserName="kept", PermissionsBoundary=own)
    iam.add_user_to_group(GroupName="test", UserName="kept")
    idle = iam.create_access_key(UserName="kept")["AccessKey"]["AccessKeyId"]
    iam.update_access_key(UserName="kept", AccessKeyId=idle, Status="Inactive")
    s3 = strict.client("s3", key)
    s3.create_bucket(Bucket="kept-bucket", CreateBucketConfiguration={"LocationConstraint": REGION})
    s3.put_object(Bucket="kept-bucket", Key="a/b", Body=b"kept object", Metadata={"by": "me"})
    s3.create_multipart_upload(Bucket="kept-bucket", Key="unfinished")
    secret = strict.client("secretsmanager").create_secret(Name="kept-secret", SecretString="kept value")["ARN"]
    strict.client("ssm").put_parameter(Name="/kept/parameter", Value="kept value", Type="SecureString")
    kms = strict.client("kms")
    kms_key = kms.create_key()["KeyMetadata"]["KeyId"]
    kms.create_alias(AliasName="alias/kept", TargetKeyId=kms_key)
    cipher = kms.encrypt(KeyId=kms_key, Plaintext=b"kept text")["CiphertextBlob"]
    strict.client("sns").create_topic(Name="kept-topic")
    signing = kms.create_key(KeyUsage="SIGN_VERIFY", KeySpec="ECC_NIST_P256")["KeyMetadata"]["KeyId"]
    return key, {"own": own, "idle": idle, "secret": secret, "cipher": cipher, "signing": signing}


def check(strict: Strict, key: Credentials, made: dict[str, Any]) -> None:
    iam = strict.client("iam")
    group = iam.get_group(GroupName="test")
    assert group["Group"]["Path"] == "/team/"
    assert [user["UserName"] for user in group["Users"]] == ["kept"]
    attached = iam.list_attached_group_policies(GroupName="test")["AttachedPolicies"]
    assert {policy["PolicyArn"] for policy in attached} == {S3_FULL, made["own"]}
    assert iam.get_policy(PolicyArn=S3_FULL)["Policy"]["AttachmentCount"] == 1
    assert iam.list_group_policies(GroupName="test")["PolicyNames"] == ["inline"]
    user = iam.get_user(UserName="kept")["User"]
    assert user["Tags"] == [{"Key": "Team", "Value": "data"}]
    assert user["PermissionsBoundary"]["PermissionsBoundaryArn"] == made["own"]
    statuses = {one["AccessKeyId"]: one["Status"] for one in iam.list_access_keys(UserName="kept")["AccessKeyMetadata"]}
    assert statuses == {key.access_key_id: "Active", made["idle"]: "Inactive"}
    assert iam.get_access_key_last_used(AccessKeyId=key.access_key_id)["AccessKeyLastUsed"]["ServiceName"] == "s3"
    s3 = strict.client("s3", key)
    answer = s3.get_object(Bucket="kept-bucket", Key="a/b")
    assert (answer["Body"].read(), answer["Metadata"]) == (b"kept object", {"by": "me"})
    assert "Uploads" not in s3.list_multipart_uploads(Bucket="kept-bucket")
    assert strict.client("secretsmanager").get_secret_value(SecretId=made["secret"])["SecretString"] == "kept value"
    parameter = strict.client("ssm").get_parameter(Name="/kept/parameter", WithDecryption=True)["Parameter"]
    assert parameter["Value"] == "kept value"
    kms = strict.client("kms")
    assert kms.decrypt(CiphertextBlob=made["cipher"])["Plaintext"] == b"kept text"
    assert kms.describe_key(KeyId="alias/kept")["KeyMetadata"]["Enabled"]
    (topic,) = strict.client("sns").list_topics()["Topics"]
    assert topic["TopicArn"].endswith(":kept-topic")
    assert kms.sign(KeyId=made["signing"], Message=b"m", SigningAlgorithm="ECDSA_SHA_256")["Signature"]


def test_the_account_survives_a_stop_and_is_encrypted(tmp_path: Path) -> None:
    with strict_aws(tmp_path) as strict:
        key, made = furnish(strict)
    kept = (tmp_path / persistence.FILE_NAME).read_bytes()
    for secret in (key.secret_access_key, "kept value", "kept object"):
        assert secret.encode() not in kept
        assert base64.b64encode(secret.encode()).rstrip(b"=")[:-1] not in kept
    assert (tmp_path / persistence.FILE_NAME).stat().st_mode & 0o077 == 0, "only the owner may read it"
    for _ in range(2):  # a second stop keeps what the first kept
        with strict_aws(tmp_path) as strict:
            assert strict.server.notice is None
            check(strict, key, made)
            # the account lives on: what was kept can be changed
            strict.client("iam").tag_user(UserName="kept", Tags=[{"Key": "Team", "Value": "data"}])
            code = refused(strict.client("iam").create_access_key, UserName="kept")
            assert code == "LimitExceeded"
            strict.client("s3", key).list_buckets()


def refused(call: Any, **parameters: Any) -> str:
    with pytest.raises(ClientError) as refusal:
        call(**parameters)
    return code_of(refusal.value)


@pytest.mark.long
def test_a_reset_empties_the_account_for_good(tmp_path: Path) -> None:
    with strict_aws(tmp_path) as strict:
        strict.user_with_key("gone", "AmazonS3FullAccess")
        strict.client("iam").create_group(GroupName="gone")
        where = {"LocationConstraint": REGION}
        strict.client("s3").create_bucket(Bucket="gone-bucket", CreateBucketConfiguration=where)
        strict.control.reset()
        assert strict.client("iam").list_users()["Users"] == []
        assert strict.client("s3").list_buckets()["Buckets"] == []
        assert strict.client("iam").get_policy(PolicyArn=S3_FULL)["Policy"]["AttachmentCount"] == 0
    with strict_aws(tmp_path) as strict:
        assert strict.client("iam").list_groups()["Groups"] == []
        assert strict.client("iam").get_policy(PolicyArn=S3_FULL)["Policy"]["AttachmentCount"] == 0


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"not a state file", "damaged, or was encrypted with another key"),
        (b"", "damaged"),
        (Fernet(Fernet.generate_key()).encrypt(b"x"), "another key"),
        (Fernet(STATE_KEY).encrypt(b"no pickle"), "its content does not fit"),
        (
            Fernet(STATE_KEY).encrypt(__import__("pickle").dumps({"format": 0, "moto": "1.0", "stores": {}})),
            "it was written with moto 1.0",
        ),
    ],
    ids=["text", "empty", "other key", "other content", "older version"],
)
def test_an_unusable_file_is_moved_away_with_the_reason(content: bytes, words: str, tmp_path: Path) -> None:
    (tmp_path / persistence.FILE_NAME).write_bytes(content)
    with strict_aws(tmp_path) as strict:
        assert strict.server.notice is not None
        assert words in strict.server.notice
        assert strict.client("iam").list_users()["Users"] == []
        moved = [path for path in tmp_path.iterdir() if "unusable" in path.name]
        assert [path.read_bytes() for path in moved] == [content]
        assert str(moved[0]) in strict.server.notice


@pytest.mark.long
def test_after_an_unusable_file_the_new_account_is_kept(tmp_path: Path) -> None:
    (tmp_path / persistence.FILE_NAME).write_bytes(b"not a state file")
    with strict_aws(tmp_path) as strict:
        strict.client("iam").create_user(UserName="new")
    with strict_aws(tmp_path) as strict:
        assert strict.server.notice is None
        assert strict.client("iam").list_users()["Users"][0]["UserName"] == "new"


@pytest.mark.long
def test_a_stop_that_meets_the_end_of_a_response_ends_cleanly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pull: Any = vars(trigger)["_physical_pull"]

    def pull_twice(self: trigger) -> None:
        pull(self)
        time.sleep(0.2)  # the server's thread is awake
        pull(self)

    with strict_aws(tmp_path) as own:
        own.client("sts").get_caller_identity()
        time.sleep(0.2)  # until the response has ended
        monkeypatch.setattr(trigger, "_physical_pull", pull_twice)


@pytest.mark.long
def test_a_kill_loses_a_second_at_most(tmp_path: Path) -> None:
    program = (
        "import sys, time; from pathlib import Path; from aws_support import *;"
        "s = AwsEmulator(Path(sys.argv[1]), 0, Settings(), root=ROOT, token=TOKEN, state_key=sys.argv[2]);"
        "print(s.endpoint_url, flush=True); time.sleep(60)"
    )
    command = [sys.executable, "-c", program, str(tmp_path), STATE_KEY.decode()]
    process = subprocess.Popen(command, cwd=Path(__file__).parent, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        iam = client(process.stdout.readline().strip(), "iam")
        iam.create_user(UserName="saved")
        created = time.monotonic()
        while not (tmp_path / persistence.FILE_NAME).exists():
            assert time.monotonic() - created < 10, "a machine under load takes longer than the second, but not ten"
            time.sleep(0.05)
        iam.create_user(UserName="perhaps")
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    with strict_aws(tmp_path) as strict:
        names = [user["UserName"] for user in strict.client("iam").list_users()["Users"]]
    assert names[0] == "saved", "what was saved before the kill is there"


@pytest.mark.long
def test_objects_beyond_the_limit_are_not_kept_but_their_buckets_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(persistence, "OBJECTS_LIMIT", 100)
    with strict_aws(tmp_path) as strict:
        s3 = strict.client("s3")
        s3.create_bucket(Bucket="large-bucket", CreateBucketConfiguration={"LocationConstraint": REGION})
        s3.put_object(Bucket="large-bucket", Key="large", Body=b"x" * 101)
    with strict_aws(tmp_path) as strict:
        assert [bucket["Name"] for bucket in strict.client("s3").list_buckets()["Buckets"]] == ["large-bucket"]
        assert strict.client("s3").list_objects_v2(Bucket="large-bucket")["KeyCount"] == 0


@pytest.mark.long
def test_a_full_disk_keeps_the_old_file_and_the_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with strict_aws(tmp_path) as strict:
        strict.client("iam").create_user(UserName="before")
        strict.control.save()
        with monkeypatch.context() as patched:
            patched.setattr(os, "fsync", _no_space)
            strict.client("iam").create_user(UserName="after")
            time.sleep(0.6)
            assert len(strict.client("iam").list_users()["Users"]) == 2, "requests are served"
    with strict_aws(tmp_path) as strict:
        assert len(strict.client("iam").list_users()["Users"]) == 2, "saved as soon as there was room"


def _no_space(_descriptor: int) -> None:
    raise OSError(28, "No space left on device")


def test_there_is_one_aws_per_process(tmp_path: Path) -> None:
    with strict_aws(tmp_path), pytest.raises(RuntimeError, match="a process can run one AWS"):
        start(tmp_path)


@pytest.mark.long
def test_a_taken_port_is_an_error(tmp_path: Path) -> None:
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(OSError, match="in use"):
            start(tmp_path, taken.getsockname()[1])
    with strict_aws(tmp_path) as strict:  # the failed start has left nothing behind
        assert json.loads(json.dumps(strict.url)).startswith("http://127.0.0.1:")

"""The leak drill: after `access-keys leak`, neither the key nor a session that it made opens S3."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import boto3
import pytest
import yaml
from botocore.config import Config
from botocore.exceptions import ClientError

from tests.lifecycle.helpers import NewStack, config, keys_in_iam, works
from tests.lifecycle.stack import Sandbox, Stack

ACCESS_KEYS = Path(sys.executable).with_name("access-keys")
ALLOW = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": ["s3:*", "sts:*"], "Resource": "*"}]}
TRUST = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": "sts:AssumeRole"}],
}


def leak(sandbox: Sandbox, folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """`access-keys leak ARGUMENTS` in a folder, as the account's root."""
    return subprocess.run(
        [ACCESS_KEYS, "leak", *arguments], cwd=folder, env=sandbox.environment, capture_output=True, text=True
    )


class Session:
    """Temporary credentials, as STS gives them."""

    def __init__(self, sandbox: Sandbox, answer: dict[str, Any]) -> None:
        self.sandbox, self.made = sandbox, answer["Credentials"]

    @property
    def id(self) -> str:
        return self.made["AccessKeyId"]

    def client(self, service: str) -> Any:
        return boto3.client(
            service,
            region_name="ap-northeast-2",
            endpoint_url=self.sandbox.running.endpoint_url,
            aws_access_key_id=self.id,
            aws_secret_access_key=self.made["SecretAccessKey"],
            aws_session_token=self.made["SessionToken"],
            config=Config(s3={"addressing_style": "path"}, retries={"total_max_attempts": 1}, proxies={}),
        )

    def opens_s3(self) -> bool:
        try:
            self.client("s3").list_buckets()
        except ClientError as error:
            assert error.response["Error"]["Code"] == "AccessDenied", error
            return False
        return True


def sessions_of(sandbox: Sandbox, key: tuple[str, str]) -> list[Session]:
    """A session of each kind that a user's key makes, and not of a role."""
    sts = sandbox.client("sts", key)
    return [
        Session(sandbox, sts.get_session_token()),
        Session(sandbox, sts.get_federation_token(Name="eve", Policy=json.dumps(ALLOW))),
    ]


@pytest.fixture
def stack(new_stack: NewStack, sandbox: Sandbox) -> Stack:
    """A stack with one user, who may use S3 and STS."""
    made = new_stack()
    made.write({**config(previous="active"), "groups": {"test": {"inline": {"own": ALLOW}}}})
    made.up()
    return made


def test_after_it_neither_key_nor_session_opens_s3_and_no_update_revives_them(sandbox: Sandbox, stack: Stack) -> None:
    key = stack.key("test-user")
    iam = sandbox.client("iam")
    iam.create_role(RoleName="deploy", AssumeRolePolicyDocument=json.dumps(TRUST))
    iam.put_role_policy(RoleName="deploy", PolicyName="own", PolicyDocument=json.dumps(ALLOW))
    role = "arn:aws:iam::123456789012:role/deploy"
    sessions = sessions_of(sandbox, key)
    assumed = Session(sandbox, sessions[0].client("sts").assume_role(RoleArn=role, RoleSessionName="by-session"))
    assert works(sandbox, key)
    assert all(session.opens_s3() for session in [*sessions, assumed])
    text = stack.file.read_text()
    dry = leak(sandbox, stack.folder, key[0], "--new-key", "--dry-run")
    assert dry.returncode == 0, dry.stdout + dry.stderr
    assert works(sandbox, key), "a dry run changes nothing"
    assert stack.file.read_text() == text

    done = leak(sandbox, stack.folder, key[0], "--new-key")
    print(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr
    assert not works(sandbox, key)
    assert [session.opens_s3() for session in sessions] == [False, False]
    command = next(line.strip() for line in done.stdout.splitlines() if "put-role-policy" in line)
    assert assumed.opens_s3(), "a role's session is not the user's"
    document = command.partition("--policy-document ")[2].strip("'")
    iam.put_role_policy(RoleName="deploy", PolicyName="AWSRevokeOlderSessions", PolicyDocument=document)
    assert not assumed.opens_s3(), "the command that is printed revokes it"

    settings = yaml.safe_load(stack.file.read_text())["config"]["aws-access-keys:users"]["test-user"]["key"]
    assert settings == {"serial": 2, "previous": "inactive"}
    stack.up()
    assert keys_in_iam(sandbox)[key[0]] == "Inactive"
    assert works(sandbox, stack.key("test-user")), "the new key works, the deny is about sessions only"
    assert not works(sandbox, key)
    assert stack.up().changes == {}

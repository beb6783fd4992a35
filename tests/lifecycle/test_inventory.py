"""`access-keys inventory` in an account that was made without the program, with two stacks in it."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.lifecycle.helpers import NewStack, config
from tests.lifecycle.stack import Sandbox, Stack

AWS = "arn:aws:iam::aws:policy"
GRANTING = json.dumps({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "iam:*", "Resource": "*"}]})


def run(
    stack: Stack, *arguments: str, folder: Path | None = None, **environment: str
) -> "subprocess.CompletedProcess[str]":
    """`access-keys inventory ARGUMENTS` in the stack's folder, or in another one."""
    done = subprocess.run(
        ["access-keys", "inventory", *arguments],
        cwd=folder or stack.folder,
        env=stack.sandbox.environment | stack.environment | environment,
        capture_output=True,
        text=True,
    )
    assert "Traceback" not in done.stderr
    return done


def inventory(stack: Stack, *arguments: str, **environment: str) -> dict[str, Any]:
    """The inventory as JSON."""
    done = run(stack, "--output", "json", *arguments, **environment)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def rows_of(document: dict[str, Any], user: str) -> list[dict[str, Any]]:
    return [row for row in document["items"] if row["user"] == user]


def rules(row: dict[str, Any]) -> list[str]:
    return [finding["rule"] for finding in (*row["risks"], *row["overdue"])]


def new_key(iam: Any, user: str) -> str:
    return iam.create_access_key(UserName=user)["AccessKey"]["AccessKeyId"]


@pytest.fixture
def made(sandbox: Sandbox) -> dict[str, str]:
    """An account as people make one: name → id of a key."""
    iam = sandbox.client("iam")
    iam.create_group(GroupName="admins")
    iam.put_group_policy(GroupName="admins", PolicyName="grant", PolicyDocument=GRANTING)
    for user in ("boss", "ci", "clerk", "leaked", "off", "bounded", "plain"):
        iam.create_user(UserName=user)
    iam.attach_user_policy(UserName="boss", PolicyArn=f"{AWS}/AdministratorAccess")
    iam.add_user_to_group(UserName="ci", GroupName="admins")
    iam.create_login_profile(UserName="clerk", Password="Correct-horse-7-battery")
    iam.attach_user_policy(UserName="leaked", PolicyArn=f"{AWS}/AWSCompromisedKeyQuarantineV3")
    iam.attach_user_policy(UserName="bounded", PolicyArn=f"{AWS}/AdministratorAccess")
    iam.put_user_permissions_boundary(UserName="bounded", PermissionsBoundary=f"{AWS}/AmazonS3ReadOnlyAccess")
    keys = {user: new_key(iam, user) for user in ("boss", "leaked", "off", "bounded", "plain")}
    iam.update_access_key(UserName="off", AccessKeyId=keys["off"], Status="Inactive")
    pair = [iam.create_access_key(UserName="ci")["AccessKey"] for _ in range(2)]
    sandbox.issued |= {key["SecretAccessKey"] for key in pair}
    used, keys["ci unused"] = (key["AccessKeyId"] for key in pair)
    keys["ci used"] = used
    sandbox.client("iam", (used, pair[0]["SecretAccessKey"])).list_users()
    return keys


def test_every_user_and_key_is_there_with_its_stack(
    new_stack: NewStack, sandbox: Sandbox, made: dict[str, str]
) -> None:
    first, second = new_stack(), new_stack()
    first.write(config("ann"))
    first.up()
    first.write(config("ann", serial=2))
    first.up()
    second.write({"groups": {"web": {"policies": ["AmazonS3FullAccess"]}}, "users": {"bob": {"groups": ["web"]}}})
    second.up()
    new_key(sandbox.client("iam"), "bob")
    sandbox.control.clear_calls()
    document = inventory(first)
    assert document["problem"] is None
    assert document["account"] == "123456789012"

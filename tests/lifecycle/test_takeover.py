"""`access-keys takeover`: an account that people made becomes a stack, and nothing in it changes."""

import json
import subprocess
from typing import Any

import pytest

from tests.lifecycle.helpers import NewStack
from tests.lifecycle.stack import Sandbox, Stack

AWS = "arn:aws:iam::aws:policy"
READS = ("Get", "List", "Describe", "Head", "Simulate", "GenerateCredentialReport")
USERS = [f"worker{number}" for number in range(5)]


def document(action: str, **more: Any) -> dict[str, Any]:
    statement = {"Effect": "Allow", "Action": action, "Resource": "*", **more}
    return {"Version": "2012-10-17", "Statement": [statement]}


def takeover(stack: Stack, *arguments: str, check: bool = True) -> "subprocess.CompletedProcess[str]":
    """`access-keys takeover ARGUMENTS`, as a person in the sandbox runs it."""
    done = subprocess.run(
        ["access-keys", "takeover", *arguments, "--stack", stack.name],
        cwd=stack.folder,
        env={**stack.sandbox.environment, **stack.environment},
        capture_output=True,
        text=True,
    )
    assert "Traceback" not in done.stderr, done.stderr
    assert not check or done.returncode == 0, done.stdout + done.stderr
    return done


def as_data(stack: Stack, *arguments: str) -> dict[str, Any]:
    return json.loads(takeover(stack, *arguments, "--output", "json").stdout)


def writes(sandbox: Sandbox) -> list[str]:
    """The calls since the last look that change something in AWS."""
    found = [call.action for call in sandbox.control.calls() if not call.action.startswith(READS)]
    sandbox.control.clear_calls()
    return found


@pytest.fixture
def grown(sandbox: Sandbox) -> dict[str, list[tuple[str, str]]]:
    """3 groups and 12 users, as people make them: user → its keys, the oldest first."""
    iam = sandbox.client("iam")
    own = iam.create_policy(PolicyName="own", Path="/team/", PolicyDocument=json.dumps(document("sqs:SendMessage")))
    arn = own["Policy"]["Arn"]
    for group in ("readers", "writers"):
        iam.create_group(GroupName=group)
    iam.create_group(GroupName="apps", Path="/apps/")
    iam.attach_group_policy(GroupName="readers", PolicyArn=f"{AWS}/AmazonS3ReadOnlyAccess")
    iam.attach_group_policy(GroupName="readers", PolicyArn=arn)
    limited = document("s3:PutObject", Condition={"Bool": {"aws:SecureTransport": "true"}})
    iam.put_group_policy(GroupName="writers", PolicyName="write", PolicyDocument=json.dumps(limited, indent=2))
    iam.attach_group_policy(GroupName="apps", PolicyArn=f"{AWS}/job-function/ViewOnlyAccess")
    for user in (*USERS, "two", "off", "leaked", "keyless", "bounded", "alone"):
        iam.create_user(UserName=user)
    iam.create_user(
        UserName="app", Path="/apps/", Tags=[{"Key": "team", "Value": "data"}, {"Key": "no", "Value": "1e3"}]
    )
    for user in (*USERS, "two", "keyless"):
        iam.add_user_to_group(GroupName="readers", UserName=user)
    iam.add_user_to_group(GroupName="writers", UserName="two")
    iam.add_user_to_group(GroupName="apps", UserName="app")
    iam.attach_user_policy(UserName="leaked", PolicyArn=f"{AWS}/AWSCompromisedKeyQuarantineV3")
    iam.attach_user_policy(UserName="leaked", PolicyArn=f"{AWS}/AmazonS3ReadOnlyAccess")
    iam.attach_user_policy(UserName="app", PolicyArn=arn)
    iam.put_user_policy(UserName="off", PolicyName="mine", PolicyDocument=json.dumps(document("s3:ListBucket")))
    iam.attach_user_policy(UserName="bounded", PolicyArn=f"{AWS}/AmazonS3FullAccess")
    iam.put_user_permissions_boundary(UserName="bounded", PermissionsBoundary=f"{AWS}/AmazonS3ReadOnlyAccess")
    iam.create_login_profile(UserName="worker0", Password="Correct-horse-7-battery")
    keys: dict[str, list[tuple[str, str]]] = {}
    for user in (*USERS, "two", "off", "leaked", "bounded", "alone", "app", "two"):
        key = iam.create_access_key(UserName=user)["AccessKey"]
        sandbox.issued.add(key["SecretAccessKey"])
        keys.setdefault(user, []).append((key["AccessKeyId"], key["SecretAccessKey"]))
    iam.update_access_key(UserName="off", AccessKeyId=keys["off"][0][0], Status="Inactive")
    sandbox.control.clear_calls()
    return keys


def in_iam(sandbox: Sandbox) -> Any:
    """All that IAM has of groups, users and keys."""
    iam = sandbox.client("iam")
    details = iam.get_account_authorization_details(Filter=["User", "Group", "LocalManagedPolicy"])
    keys = {
        user["UserName"]: iam.list_access_keys(UserName=user["UserName"])["AccessKeyMetadata"]
        for user in details["UserDetailList"]
    }
    return [details["UserDetailList"], details["GroupDetailList"], details["Policies"], keys]


def test_a_grown_account_becomes_a_stack_and_nothing_in_it_changes(
    new_stack: NewStack, sandbox: Sandbox, grown: dict[str, list[tuple[str, str]]]
) -> None:
    stack = new_stack()
    before, file = in_iam(sandbox), stack.file.read_text()
    sandbox.control.clear_calls()
    shown = takeover(stack, "--account", "--all")
    print(shown.stdout)
    assert stack.file.read_text() == file, "without --yes, the stack file is not written"
    done = takeover(stack, "--account", "--all", "--yes")
    print(done.stdout, stack.file.read_text())
    up = stack.up()
    print(up.text, up.changes)
    assert writes(sandbox) == []
    assert in_iam(sandbox) == before

"""The operator's permissions in docs/security.md, proved from both sides: whole lives of a stack under an operator who
has no others; each of them is used, and without any one of them a life fails or does less."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.lifecycle.helpers import NewStack, in_days
from tests.lifecycle.stack import CHECKOUT, Done, Sandbox, Stack

PROGRAM = Path(__file__).with_name("programs") / "operator"
BACKEND = ("state in S3", "secrets under KMS")
"""Rows that the backend needs, which is a folder here."""
BY_THE_STORES = {"kms:GenerateDataKey", "kms:Encrypt", "kms:Decrypt"}
"""What Secrets Manager and SSM do in the operator's name: needed, and never a call of the operator's own."""


def table() -> Iterator[tuple[str, list[str], str]]:
    """The rows of the table: what for, the actions, the resource as an ARN or a description."""
    section = (CHECKOUT / "docs" / "security.md").read_text().split("## Permissions of the operator")[1]
    for row in re.findall(r"^\| (.+?) \| (.+?) \| (.+?) \|$", section, re.MULTILINE)[1:]:
        what, actions, resources = row
        found: list[str] = []
        service = ""
        for word in re.findall(r"[\w-]+:?", actions.replace(":`", ":")):
            if word.endswith(":"):
                service = word
            else:
                found.append(service + word)
        yield what, found, resources


ROWS = [row for row in table() if not row[0].startswith(BACKEND)]
_CHECKS, _NEEDED = (
    {action for what, actions, _ in ROWS for action in actions if what.startswith("checks before") == checks}
    for checks in (True, False)
)
_PERMISSIONS = {"HeadBucket": "ListBucket"}
"""Call → the permission that it needs, where it has another name."""
OPTIONAL = _CHECKS - _NEEDED
"""Without these less is known before a change, and the life goes on."""
ACTIONS = sorted({action for _, actions, _ in ROWS for action in actions})


def policy(kms_key: str, without: str = "") -> dict[str, Any]:
    """The table as an IAM policy, perhaps without one action."""
    statements: list[dict[str, Any]] = []
    stores = ["arn:aws:secretsmanager:*:*:secret:access-keys/*", "arn:aws:ssm:*:*:parameter/access-keys/*"]
    for _, actions, resources in ROWS:
        arn = re.fullmatch(r"`(.+)`", resources)
        where = [arn[1]] if arn else [kms_key] if resources == "that key" else stores
        allowed = [action for action in actions if action != without]
        if allowed:
            statements.append({"Effect": "Allow", "Action": allowed, "Resource": where})
    return {"Version": "2012-10-17", "Statement": statements}


@pytest.fixture
def kms_key(sandbox: Sandbox) -> str:
    return sandbox.client("kms").create_key()["KeyMetadata"]["Arn"]


def operate(sandbox: Sandbox, new_stack: NewStack, document: dict[str, Any]) -> Stack:
    """A stack that an IAM user runs who has one policy."""
    iam = sandbox.client("iam")
    iam.create_user(UserName="the-operator")
    made = iam.create_policy(PolicyName="the-operator", PolicyDocument=json.dumps(document))["Policy"]["Arn"]
    iam.attach_user_policy(UserName="the-operator", PolicyArn=made)
    key = iam.create_access_key(UserName="the-operator")["AccessKey"]
    credentials = {"AWS_ACCESS_KEY_ID": key["AccessKeyId"], "AWS_SECRET_ACCESS_KEY": key["SecretAccessKey"]}
    return new_stack(program=PROGRAM, environment=credentials)


def statement(action: str) -> dict[str, Any]:
    """A policy document that allows an action."""
    return {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": action, "Resource": "*"}]}


def live(stack: Stack, kms_key: str) -> Iterator[Done]:
    """A life in which everything happens that the table has a row for."""
    iam = stack.sandbox.client("iam")
    iam.create_user(UserName="eve")
    adopted = iam.create_access_key(UserName="eve")["AccessKey"]["AccessKeyId"]
    stores = {"secretsManager": {"kmsKey": kms_key}, "ssm": {"kmsKey": kms_key}}
    documents = {"own": statement("s3:ListAllMyBuckets")}
    expect = {"deny": ["iam:*"]}
    read = [{"bucket": "data", "access": "read"}]
    groups: dict[str, Any] = {
        "readers": {"policies": ["AmazonS3ReadOnlyAccess"], "s3": read, "expect": expect},
        "writers": {"policies": ["AmazonS3FullAccess"]},
    }
    users: dict[str, Any] = {
        "ann": {"groups": ["readers"], "tags": {"team": "data", "cost": ""}, "key": {"description": "backup"}},
        "bob": {"policies": ["own"], "permissionsBoundary": "own", "allowFrom": ["203.0.113.0/24"], "expect": expect},
        "eve": {"groups": ["readers"], "key": {"adopt": {"id": adopted}}, "deliver": None},
    }
    settings: dict[str, Any] = {
        "groups": groups,
        "users": users,
        "deliver": stores,
        "policyDocuments": documents,
        "aws:ignoreTags": {"keyPrefixes": ["AKIA"]},
    }
    stack.write({**settings, "aws:defaultTags": {"tags": {"owner": "it"}}})
    yield stack.up(check=False)
    documents["own"] = statement("s3:GetBucketLocation")
    groups["readers"] = {"policies": ["AmazonS3FullAccess", "own"], "path": "/data/"}
    groups["readers"] |= {"allowFrom": ["203.0.113.0/24"], "inline": documents}
    users["bob"] = {"policies": ["AmazonS3ReadOnlyAccess"]}
    key: dict[str, Any] = {"serial": 2, "previous": "inactive"}
    users["ann"] = {"groups": ["writers"], "tags": {"team": "web", "room": ""}, "path": "/data/", "key": key}
    users["ann"]["permissionsBoundary"] = "own"
    settings |= {"deliver": {"secretsManager": {}, "ssm": {}}, "aws:defaultTags": {"tags": {"stage": "prod"}}}
    stack.write(settings)
    yield stack.up(check=False)
    yield stack.refresh(check=False)
    del users["bob"]
    key |= {"serial": 3, "previous": "deleted", "retireGuard": {"idleDays": 1}}
    stack.write(settings)
    stack.environment["ACCESS_KEYS_TODAY"] = in_days(5)
    yield stack.up(check=False)
    yield stack.destroy("--run-program", check=False)


def outcome(stack: Stack, kms_key: str) -> tuple[int, str]:
    """Exit code and text of the step at which a life ends: the first that fails, or the last."""
    code, text = 0, ""
    for done in live(stack, kms_key):
        code, text = done.code, done.text
        if code:
            break
    return code, text


def test_the_operator_needs_the_permissions_in_the_table_and_no_others(
    new_stack: NewStack, sandbox: Sandbox, kms_key: str
) -> None:
    stack = operate(sandbox, new_stack, policy(kms_key))
    sandbox.control.clear_calls()
    code, text = outcome(stack, kms_key)
    assert code == 0, f"the permissions of the table are enough, but:\n{text}"
    operator = stack.environment["AWS_ACCESS_KEY_ID"]
    called = {
        f"{call.service}:{_PERMISSIONS.get(call.action, call.action)}"
        for call in sandbox.control.calls()
        if call.key == operator
    }
    assert called - {"sts:GetCallerIdentity"} == set(ACTIONS) - BY_THE_STORES, "each is used, and nothing else"


@pytest.mark.long
@pytest.mark.parametrize("action", ACTIONS)
def test_without_one_of_them_the_missing_one_is_named(
    new_stack: NewStack, sandbox: Sandbox, kms_key: str, action: str
) -> None:
    stack = operate(sandbox, new_stack, policy(kms_key, without=action))
    code, text = outcome(stack, kms_key)
    assert (code == 0) == (action in OPTIONAL), f"without {action} the life ends with {code}:\n{text}"
    named = action.partition(":")[2] in text or (action in BY_THE_STORES and "Access to KMS is not allowed" in text)
    assert named or not code, f"{action} is named in:\n{text}"
    assert "Traceback" not in text

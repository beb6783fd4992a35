"""`adopt: true` takes over a group or user that the account has already; everything else of it stays."""

import json
from typing import Any

import pytest

from tests.lifecycle.helpers import NewStack, keys_in_iam
from tests.lifecycle.stack import Sandbox

AWS = "arn:aws:iam::aws:policy"
OWN = json.dumps({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "sqs:*", "Resource": "*"}]})


@pytest.fixture
def existing(sandbox: Sandbox) -> str:
    """A group with two members, and a user with tags, policies and a key: its id."""
    iam = sandbox.client("iam")
    iam.create_group(GroupName="team", Path="/data/")
    iam.attach_group_policy(GroupName="team", PolicyArn=f"{AWS}/AmazonSQSFullAccess")
    iam.put_group_policy(GroupName="team", PolicyName="old", PolicyDocument=OWN)
    for user in ("ann", "bob"):
        iam.create_user(UserName=user, Tags=[{"Key": "cost", "Value": "42"}, {"Key": "team", "Value": "web"}])
        iam.add_user_to_group(GroupName="team", UserName=user)
    iam.attach_user_policy(UserName="ann", PolicyArn=f"{AWS}/AmazonSNSFullAccess")
    key = iam.create_access_key(UserName="ann")["AccessKey"]
    sandbox.issued.add(key["SecretAccessKey"])
    return key["AccessKeyId"]


def tags(sandbox: Sandbox) -> dict[str, str]:
    return {tag["Key"]: tag["Value"] for tag in sandbox.client("iam").list_user_tags(UserName="ann")["Tags"]}


def test_what_the_settings_do_not_have_stays(new_stack: NewStack, sandbox: Sandbox, existing: str) -> None:
    stack = new_stack()
    group: dict[str, Any] = {"path": "/data/", "policies": ["AmazonS3ReadOnlyAccess"], "adopt": True}
    user: dict[str, Any] = {"groups": ["team"], "tags": {"team": "data"}, "adopt": True}
    stack.write({"groups": {"team": group}, "users": {"ann": user}})
    shown = stack.preview()
    for kept in ("the policy AmazonSQS", "member bob", "tag cost", existing, "AmazonSNSFullAccess"):
        print(kept, kept in shown.text)
    print(shown.text, shown.changes)
    up = stack.up()
    print(up.text, up.changes)
    assert tags(sandbox) == {"cost": "42", "team": "data"}, "undeclared tags stay, declared ones are set"
    assert existing in keys_in_iam(sandbox, "ann")
    print(stack.preview().changes, stack.up().changes)
    del user["tags"]["team"]
    stack.write({"groups": {"team": group}, "users": {"ann": user}})
    print(stack.up().changes, tags(sandbox))

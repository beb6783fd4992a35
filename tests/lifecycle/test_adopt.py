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


@pytest.mark.long
def test_what_the_settings_do_not_have_stays(new_stack: NewStack, sandbox: Sandbox, existing: str) -> None:
    stack, iam = new_stack(), sandbox.client("iam")
    group: dict[str, Any] = {"path": "/data/", "policies": ["AmazonS3ReadOnlyAccess"], "adopt": True}
    user: dict[str, Any] = {"groups": ["team"], "tags": {"team": "data"}, "adopt": True}
    stack.write({"groups": {"team": group}, "users": {"ann": user}})
    shown = stack.preview()
    assert shown.changes == {"import": 2, "update": 1, "create": 6}, "the tag is the only change of what exists"
    for kept in ("AmazonSQSFullAccess", "policy 'old'", "member bob", "tag cost", existing, "AmazonSNSFullAccess"):
        assert kept in shown.text, "the preview lists what stays"
    stack.up()
    assert tags(sandbox) == {"cost": "42", "team": "data"}, "undeclared tags stay, declared ones are set"
    assert keys_in_iam(sandbox, "ann").keys() == {existing, stack.key("ann")[0]}
    assert iam.list_group_policies(GroupName="team")["PolicyNames"] == ["old"]
    assert {one["UserName"] for one in iam.get_group(GroupName="team")["Users"]} == {"ann", "bob"}
    assert stack.preview().changes == {}, "adopt can stay in the file"
    sandbox.control.clear_calls()
    assert stack.up().changes == {}
    asked = [call.action for call in sandbox.control.calls()]
    assert asked == ["GetCallerIdentity"], "where nothing changes, AWS is asked only which account it is"
    del user["tags"]
    stack.write({"groups": {"team": group}, "users": {"ann": user}})
    assert stack.up().changes == {"update": 1}
    assert tags(sandbox) == {"cost": "42"}


def test_an_inline_policy_that_is_not_the_stacks_is_not_replaced(
    new_stack: NewStack, sandbox: Sandbox, existing: str
) -> None:
    stack, iam = new_stack(), sandbox.client("iam")
    iam.put_user_policy(UserName="bob", PolicyName="allow-from", PolicyDocument=OWN)
    group: dict[str, Any] = {"path": "/data/", "adopt": True, "inline": {"old": {**json.loads(OWN), "Id": "mine"}}}
    user: dict[str, Any] = {"groups": ["team"], "adopt": True}
    stack.write({"groups": {"team": group}, "users": {"ann": user}})
    for run in (stack.preview, stack.up):
        text = run(check=False).text
        assert "groups.team.inline.old: IAM already has an inline policy 'old' of this group" in text
        assert "`aws iam delete-group-policy --group-name team --policy-name old`" in text
    assert iam.get_group_policy(GroupName="team", PolicyName="old")["PolicyDocument"] == json.loads(OWN)
    group["inline"] = {"old": json.loads(OWN)}
    stack.write({"groups": {"team": group}, "users": {"ann": user, "bob": user}})
    stack.up()
    group["inline"] = {"old": {**json.loads(OWN), "Id": "mine"}}
    stack.write({"groups": {"team": group}, "users": {"ann": user, "bob": user}})
    stack.up()
    assert iam.get_group_policy(GroupName="team", PolicyName="old")["PolicyDocument"]["Id"] == "mine", "now it is ours"
    stack.write({"groups": {"team": group}, "users": {"ann": user, "bob": {**user, "allowFrom": ["8.8.8.0/24"]}}})
    refused = stack.up(check=False).text
    assert "users.bob.allowFrom: IAM already has an inline policy 'allow-from' of this user" in refused
    assert "Remove the setting. To replace the policy, delete it right before the update" in refused


def test_an_existing_key_is_taken_over_with_the_user_and_its_tags(
    new_stack: NewStack, sandbox: Sandbox, existing: str
) -> None:
    stack = new_stack()
    user = {"policies": ["AmazonSNSFullAccess"], "adopt": True, "key": {"adopt": {"id": existing}}}
    stack.write({"users": {"ann": user}})
    stack.up()
    assert tags(sandbox) == {"cost": "42", "team": "web"}
    assert keys_in_iam(sandbox, "ann").keys() == {existing}
    assert stack.outputs()["accessKeyIds"] == {"ann": existing}


@pytest.mark.parametrize(
    ("groups", "users", "message"),
    [
        ({"tem": {"adopt": True}}, {}, "groups.tem.adopt: IAM has no group 'tem' to adopt. Correct the name, or"),
        ({}, {"ann": {"adopt": True, "path": "/x/"}}, "users.ann.path: the user to adopt has the path '/'; another"),
        pytest.param(
            {"team": {"adopt": True}},
            {},
            "groups.team.path: the group to adopt has the path '/data/'; another path",
            marks=pytest.mark.long,
        ),
        pytest.param(
            {},
            {"an": {"adopt": True}},
            "users.an.adopt: IAM has no user 'an' to adopt. Correct the name, or",
            marks=pytest.mark.long,
        ),
    ],
)
def test_what_cannot_be_taken_over_is_refused_with_its_place(
    new_stack: NewStack, sandbox: Sandbox, existing: str, groups: dict[str, Any], users: dict[str, Any], message: str
) -> None:
    stack = new_stack()
    users = users or {"new": {"policies": ["AmazonS3ReadOnlyAccess"]}}
    stack.write({"groups": groups, "users": users})
    sandbox.control.clear_calls()
    refused = stack.up(check=False)
    assert refused.code != 0
    assert message in refused.text
    assert stack.resources().keys() <= {urn for urn in stack.resources() if "aws:iam" not in urn}


@pytest.mark.long
def test_a_user_who_has_two_keys_gets_no_third(new_stack: NewStack, sandbox: Sandbox, existing: str) -> None:
    key = sandbox.client("iam").create_access_key(UserName="ann")["AccessKey"]
    sandbox.issued.add(key["SecretAccessKey"])
    stack = new_stack()
    stack.write({"users": {"ann": {"adopt": True}}})
    refused = stack.up(check=False)
    assert refused.code != 0
    assert "IAM allows two access keys per user, and ann has one that this stack does not manage" in refused.text
    stack.write({"users": {"ann": {"adopt": True, "key": None}}})
    stack.up()
    assert keys_in_iam(sandbox, "ann").keys() == {existing, key["AccessKeyId"]}

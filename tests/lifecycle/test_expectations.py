"""Permission tests: run before an update, again afterwards, at any time, and not if nothing has changed."""

import json
import re
from collections import Counter
from typing import Any

import pytest
import yaml

from tests.lifecycle.helpers import NewStack
from tests.lifecycle.stack import CHECKOUT, Sandbox, Stack
from tests.lifecycle.test_operations import operate

READERS: dict[str, Any] = {"s3": [{"bucket": "data", "prefix": "in/", "access": "read"}]}
USERS: dict[str, Any] = {"ann": {"groups": ["readers"]}}
EVERYTHING = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}


def simulations(sandbox: Sandbox) -> dict[str, int]:
    """How often the simulator was asked since the log was last cleared. Clears it again."""
    found = Counter(call.action for call in sandbox.control.calls() if call.action.startswith("Simulate"))
    sandbox.control.clear_calls()
    return dict(found)


def attach_everything(sandbox: Sandbox, group: str) -> None:
    """Somebody gives a group more than the stack does."""
    sandbox.client("iam").put_group_policy(GroupName=group, PolicyName="outside", PolicyDocument=json.dumps(EVERYTHING))


def test_an_expectation_that_does_not_hold_is_refused_before_anything_is_made(
    new_stack: NewStack, sandbox: Sandbox
) -> None:
    stack = new_stack()
    deny_tags = {"Sid": "Tags", "Effect": "Deny", "Action": "s3:Get*Tagging", "Resource": "*"}
    inline = {"no-tags": {"Version": "2012-10-17", "Statement": deny_tags}}
    readers = {**READERS, "policies": ["IAMReadOnlyAccess"], "inline": inline, "allowFrom": ["203.0.113.0/24"]}
    allow = [
        "s3:GetObject arn:aws:s3:::data/*",
        "s3:GetObjectTagging arn:aws:s3:::data/in/*",
        "s3:ListBucket arn:aws:s3:::data",
    ]
    deny = [
        "iam:*",
        "s3:GetObject arn:aws:s3:::data/*",
        "s3:ListBucket arn:aws:s3:::data",
        {"action": "s3:*", "from": "198.51.100.0/24"},
    ]
    groups = {"readers": {**readers, "expect": {"allow": allow}}}
    stack.write({"groups": groups, "users": {"ann": {"groups": ["readers"], "expect": {"deny": deny}}}})
    for refused in (stack.preview(check=False), stack.up(check=False)):
        assert refused.code != 0
        lines = [line.strip() for line in refused.text.splitlines() if ".expect." in line]
        text = "\n".join(dict.fromkeys(lines))
        assert (
            "groups.readers.expect.allow[0]: s3:GetObject on 'arn:aws:s3:::data/*' should be allowed, but no policy "
            "allows it (implicitDeny). Change the policies or the expectation."
        ) in text
        assert (
            "groups.readers.expect.allow[1]: s3:GetObjectTagging on 'arn:aws:s3:::data/in/*' should be allowed, but it "
            "is denied by statement 'Tags' of the inline policy 'no-tags' of group readers (explicitDeny)."
        ) in text
        assert "groups.readers.expect.allow[2]: s3:ListBucket" in text
        assert "It depends on s3:prefix: set a value under context." in text
        assert "users.ann.expect.deny[0]: iam:" in text
        assert "should be denied, but it is allowed by statement 1 of the policy 'IAMReadOnlyAccess' (allowed)" in text
        assert "deny[1]: s3:GetObject on 'arn:aws:s3:::data/in/*' should be denied, but it is allowed by" in text
        assert "deny[2]: whether it is denied depends on s3:prefix. Set a value under context" in text
        assert "deny[3]" not in text, "no call from elsewhere is allowed"
    assert sandbox.client("iam").list_groups()["Groups"] == []


@pytest.mark.long
def test_what_is_expected_of_a_user_and_its_group_is_checked_once(new_stack: NewStack, sandbox: Sandbox) -> None:
    stack = new_stack()
    home = {"Effect": "Allow", "Action": "s3:*Object", "Resource": "arn:aws:s3:::home/${aws:username}/*"}
    limit = {"Effect": "Allow", "Action": ["s3:GetObject", "s3:ListBucket"], "Resource": "*"}
    documents = {
        "home": {"Version": "2012-10-17", "Statement": home},
        "limit": {"Version": "2012-10-17", "Statement": limit},
    }
    prefix = {"action": "s3:ListBucket", "resource": "arn:aws:s3:::data", "context": {"s3:prefix": "in/"}}
    elsewhere = {"action": "s3:GetObject", "resource": "arn:aws:s3:::data/in/*", "from": "198.51.100.7/32"}
    groups: dict[str, Any] = {
        "readers": {
            **READERS,
            "policies": ["home", "AmazonSESReadOnlyAccess"],
            "expect": {
                "allow": ["s3:GetObject arn:aws:s3:::data/in/*", prefix],
                "deny": ["iam:*", "s3:* arn:aws:s3:::other*"],
            },
        },
    }
    ann: dict[str, Any] = {
        "groups": ["readers"],
        "permissionsBoundary": "limit",
        "allowFrom": ["203.0.113.0/24"],
        "expect": {
            "allow": ["s3:GetObject arn:aws:s3:::data/in/*", "s3:GetObject arn:aws:s3:::home/ann/*"],
            "deny": ["s3:PutObject", "ses:*", "s3:GetObject arn:aws:s3:::home/bob/*", elsewhere],
        },
    }
    bob: dict[str, Any] = {"groups": ["readers"]}

    def write(**more: Any) -> None:
        stack.write({"policyDocuments": documents, "groups": groups, "users": {"ann": ann, "bob": bob}, **more})

    write()
    sandbox.control.clear_calls()
    stack.preview()
    preview = simulations(sandbox)
    assert set(preview) == {"SimulateCustomPolicy"}, "a preview decides, and confirms nothing"
    stack.up()
    calls = sandbox.control.calls()
    aws = [call for call in calls if call.action == "GetPolicy"]
    print(f"\nfirst up: {simulations(sandbox)}, {len(aws)} GetPolicy")
    assert stack.preview("--expect-no-changes").changes == {}
    assert stack.up().changes == {}
    asked = {call.action for call in sandbox.control.calls()}
    assert asked == {"GetCallerIdentity"}, "where nothing changes, AWS is asked only which account it is"

    bob["tags"] = {"team": "data"}
    write()
    assert stack.up().changes == {"update": 1}
    assert simulations(sandbox) == {}, "nothing changed that decides"

    ann["expect"]["deny"].append("ec2:*")
    write()
    stack.up()
    assert set(simulations(sandbox)) == {"SimulateCustomPolicy", "SimulatePrincipalPolicy"}

    groups["readers"]["policies"] = ["home"]
    groups["readers"]["expect"]["deny"].append("ses:*")
    write()
    assert stack.up().changes == {"delete": 1}, "the policy goes at the end, and does not count before"
    assert set(simulations(sandbox)) == {"SimulateCustomPolicy", "SimulatePrincipalPolicy"}

    ann["groups"] = []
    ann["policies"] = ["home"]
    ann["expect"] = {"deny": ["s3:GetObject arn:aws:s3:::data/in/*"]}
    write()
    assert stack.up().changes == {"create": 1, "delete": 1}, "the membership goes at the end"

    ann["policies"] = ["AmazonS3FullAccess"]
    write()
    refused = stack.up(check=False)
    assert "users.ann.expect.deny[0]: s3:GetObject on 'arn:aws:s3:::data/in/*' should be denied" in refused.text
    del groups["readers"]["expect"], ann["expect"]
    write()
    stack.up()
    found = simulations(sandbox)
    assert found.keys() == {"SimulateCustomPolicy", "SimulatePrincipalPolicy"}, "of the runs before"
    assert "has no expectations" in operate(stack, "permissions", "--check").stderr


def checked(stack: Stack) -> tuple[int, dict[str, str | None]]:
    """Exit code of `access-keys permissions --check`, and expectation → why it does not hold."""
    done = operate(stack, "permissions", "--check", "--output", "json")
    rows = json.loads(done.stdout)["expectations"]
    return done.returncode, {f"{row['for']} {row['expected']}": row["problem"] for row in rows}


@pytest.mark.long
def test_expectations_can_be_checked_at_any_time(new_stack: NewStack, sandbox: Sandbox) -> None:
    stack = new_stack()
    readers = {**READERS, "expect": {"allow": ["s3:GetObject arn:aws:s3:::data/in/*"], "deny": ["iam:*"]}}
    ann = {"groups": ["readers"], "expect": {"deny": ["s3:PutObject arn:aws:s3:::data/*"]}}
    stack.write({"namePrefix": "dev-", "groups": {"readers": readers}, "users": {"ann": ann}})
    stack.up()
    code, found = checked(stack)
    assert code == 0
    assert found == {
        "groups.dev-readers allow s3:GetObject arn:aws:s3:::data/in/*": None,
        "groups.dev-readers deny iam:*": None,
        "users.dev-ann deny s3:PutObject arn:aws:s3:::data/*": None,
    }
    attach_everything(sandbox, "dev-readers")
    code, found = checked(stack)
    assert code == 1
    why = "s3:PutObject on 'arn:aws:s3:::data/*' should be denied, but it is allowed by "
    why += "group_dev-readers_outside (allowed)"
    assert found["users.dev-ann deny s3:PutObject arn:aws:s3:::data/*"] == f"{why}."
    shown = operate(stack, "permissions", "--check")
    assert shown.returncode == 1
    lines = [re.split(r" {2,}", line) for line in shown.stdout.splitlines()]
    assert ["users.dev-ann", "deny s3:PutObject arn:aws:s3:::data/*", f"FAILED: {why}."] in lines
    assert ["groups.dev-readers", "allow s3:GetObject arn:aws:s3:::data/in/*", "ok"] in lines
    assert "Expectations: 3, failed: 2. IAM decisions: " in shown.stdout


@pytest.mark.long
def test_the_expectations_of_the_example_for_production_hold(new_stack: NewStack) -> None:
    stack = new_stack()
    stack.write(yaml.safe_load((CHECKOUT / "Pulumi.prod.yaml").read_text())["config"])
    stack.up()
    code, found = checked(stack)
    assert code == 0
    assert len(found) == 12


@pytest.mark.long
def test_an_operator_who_may_not_simulate_learns_what_is_missing(new_stack: NewStack, sandbox: Sandbox) -> None:
    key = sandbox.client("iam")
    key.create_user(UserName="the-operator")
    more = {"Effect": "Deny", "Action": "iam:Simulate*", "Resource": "*"}
    document = {"Version": "2012-10-17", "Statement": [EVERYTHING["Statement"][0], more]}
    key.put_user_policy(UserName="the-operator", PolicyName="own", PolicyDocument=json.dumps(document))
    made = key.create_access_key(UserName="the-operator")["AccessKey"]
    credentials = {"AWS_ACCESS_KEY_ID": made["AccessKeyId"], "AWS_SECRET_ACCESS_KEY": made["SecretAccessKey"]}
    stack = new_stack(environment=credentials)
    stack.write({"groups": {"readers": {**READERS, "expect": {"deny": ["iam:*"]}}}, "users": USERS})
    refused = stack.up(check=False)
    assert "groups.readers.expect: the expectations could not be checked: AccessDenied" in refused.text
    assert "needs iam:SimulateCustomPolicy" in refused.text


@pytest.mark.long
def test_an_update_fails_where_iam_decides_otherwise_afterwards(new_stack: NewStack, sandbox: Sandbox) -> None:
    stack = new_stack()
    stack.write({"groups": {"readers": READERS}, "users": USERS})
    stack.up()
    attach_everything(sandbox, "readers")
    stack.write({"groups": {"readers": {**READERS, "expect": {"deny": ["iam:CreateUser"]}}}, "users": USERS})
    refused = stack.up(check=False)
    assert refused.code != 0
    assert "group/readers are not as expected" in refused.text
    assert (
        "deny iam:CreateUser: iam:CreateUser on '*' should be denied, but it is allowed by group_readers_outside"
        in refused.text
    )
    stack.write({"groups": {"readers": {**READERS, "expect": {"deny": ["iam:CreateUser", "ec2:*"]}}}, "users": USERS})
    sandbox.client("iam").delete_group_policy(GroupName="readers", PolicyName="outside")
    stack.up()
    attach_everything(sandbox, "readers")
    stack.write({"groups": {"readers": {**READERS, "expect": {"deny": ["iam:CreateUser"]}}}, "users": USERS})
    assert stack.up(check=False).code != 0
    stack.write({"groups": {"readers": {**READERS, "expect": {"deny": ["iam:CreateUser", "ec2:*"]}}}, "users": USERS})
    assert stack.up(check=False).code != 0, "an expectation that failed is tested again, though the edit is reverted"
    sandbox.client("iam").delete_group_policy(GroupName="readers", PolicyName="outside")
    stack.up()
    simulations(sandbox)
    assert stack.up().changes == {}
    assert simulations(sandbox) == {}


@pytest.mark.long
def test_a_policy_that_the_stack_removes_counts_if_somebody_attached_it_to_the_user(
    new_stack: NewStack, sandbox: Sandbox
) -> None:
    stack = new_stack()
    groups = {"readers": {**READERS, "policies": ["IAMFullAccess"]}}
    stack.write({"groups": groups, "users": USERS})
    stack.up()
    attached = {"UserName": "ann", "PolicyArn": "arn:aws:iam::aws:policy/IAMFullAccess"}
    sandbox.client("iam").attach_user_policy(**attached)
    ann = {"groups": ["readers"], "expect": {"deny": ["iam:CreateUser"]}}
    stack.write({"groups": {"readers": READERS}, "users": {"ann": ann}})
    refused = stack.up(check=False)
    assert "user/ann are not as expected" in refused.text
    sandbox.client("iam").detach_user_policy(**attached)
    stack.up()

"""Users that are removed: what IAM has and the stack does not manage is named before anything is deleted."""

import re
from typing import Any

import pytest

from tests.faults.matrix import stored_keys
from tests.lifecycle.helpers import GROUPS, NewStack, config, in_days, keys_in_iam
from tests.lifecycle.stack import Sandbox

QUARANTINE = "arn:aws:iam::aws:policy/AWSCompromisedKeyQuarantineV3"


def burden(iam: Any, user: str) -> str:
    """Give a user what no stack knows: a console password, policies and another key, whose id is returned."""
    iam.create_login_profile(UserName=user, Password="Correct-Horse-Battery-9")
    iam.attach_user_policy(UserName=user, PolicyArn=QUARANTINE)
    document = '{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Action":"*","Resource":"*"}]}'
    iam.put_user_policy(UserName=user, PolicyName="stop", PolicyDocument=document)
    return iam.create_access_key(UserName=user)["AccessKey"]["AccessKeyId"]


@pytest.mark.long
def test_a_user_with_more_than_the_stack_knows_is_not_removed_half_way(new_stack: NewStack, sandbox: Sandbox) -> None:
    stack = new_stack()
    stack.write(config("ann"))
    stack.up()
    extra = burden(sandbox.client("iam"), "ann")
    before = keys_in_iam(sandbox, "ann")
    stack.write({"groups": GROUPS, "users": {"bob": {"groups": ["test"]}}})
    for refused in (stack.preview(check=False), stack.up(check=False)):
        assert refused.code != 0
        assert "users.ann: the user cannot be removed" in refused.text
        for thing in (extra, "a console password", "the inline policy 'stop'", "exposed publicly"):
            assert thing in refused.text, f"{thing} is named"
        assert "DeleteConflict" not in refused.text
    assert keys_in_iam(sandbox, "ann") == before, "nothing was deleted"

    kept = config("ann")
    kept["users"]["ann"]["forceDestroy"] = True
    stack.write(kept)
    stack.up()
    sandbox.client("iam").create_group(GroupName="theirs")
    sandbox.client("iam").add_user_to_group(GroupName="theirs", UserName="ann")
    stack.write({"groups": GROUPS, "users": {"bob": {"groups": ["test"]}}})
    assert f"is deleted with everything that this stack does not manage: the access key {extra}" in stack.preview().text
    assert f"{extra} (active, created on " in stack.preview().text, "with its last use"
    assert "the user ann also leaves groups that this stack does not manage: theirs" in stack.preview().text
    stack.up()
    assert [user["UserName"] for user in sandbox.client("iam").list_users()["Users"]] == ["bob"]


@pytest.mark.parametrize("idle_days", [0, pytest.param(3, marks=pytest.mark.long)], ids=["no guard", "guard"])
def test_a_destroy_that_runs_the_program_deletes_no_user_half_way(
    new_stack: NewStack, sandbox: Sandbox, idle_days: int
) -> None:
    stack, iam = new_stack(), sandbox.client("iam")
    guard: dict[str, Any] = {"retireGuard": {"idleDays": idle_days}} if idle_days else {}
    stack.write({**config("ann", **guard), "deliver": {"secretsManager": {}}})
    stack.up()
    iam.create_login_profile(UserName="ann", Password="Correct-Horse-Battery-9")
    stack.environment["ACCESS_KEYS_TODAY"] = in_days(10)
    before = keys_in_iam(sandbox, "ann"), stored_keys(sandbox)
    refused = [stack.run("destroy", "--run-program", "--preview-only", check=False)]
    refused += [stack.destroy("--run-program", check=False)] if idle_days else []
    for shown in refused:
        assert shown.code != 0
        assert "the user ann cannot be deleted" in shown.text
        assert "a console password" in shown.text
        assert "DeleteConflict" not in shown.text
    assert (keys_in_iam(sandbox, "ann"), stored_keys(sandbox)) == before, "nothing was deleted"
    iam.delete_login_profile(UserName="ann")
    stack.run("destroy", "--run-program", "--preview-only")
    stack.destroy("--run-program")
    assert iam.list_users()["Users"] == []


@pytest.mark.parametrize("way", ["in IAM", pytest.param("in the state", marks=pytest.mark.long)])
@pytest.mark.parametrize("begins", ["created", pytest.param("an adoption that failed", marks=pytest.mark.long)])
def test_a_group_with_more_than_the_stack_knows_is_not_removed_half_way(
    begins: str, way: str, new_stack: NewStack, sandbox: Sandbox
) -> None:
    iam = sandbox.client("iam")
    before = {"groups": GROUPS, "users": {"ann": {"groups": ["test"]}}}
    team = {"policies": ["AmazonSNSFullAccess"], "adopt": begins != "created"}
    stack = new_stack()
    stack.write(before)
    stack.up()
    stack.write({"groups": {**GROUPS, "team": team}, "users": {"ann": {"groups": ["test", "team"]}}})
    if begins == "created":
        stack.up()
    else:
        iam.create_group(GroupName="team")
        sandbox.control.fail("AttachGroupPolicy", "AccessDenied", times=9)
        assert stack.up(check=False).code != 0
        sandbox.control.clear_faults()
    iam.create_user(UserName="eve")
    iam.add_user_to_group(GroupName="team", UserName="eve")
    iam.attach_group_policy(GroupName="team", PolicyArn="arn:aws:iam::aws:policy/AmazonSQSFullAccess")
    stack.write(before)
    sandbox.control.clear_calls()
    for refused in (stack.preview(check=False), stack.up(check=False)):
        assert refused.code != 0
        assert "groups.team: the group cannot be removed" in refused.text
        assert "does not manage: the attached policy AmazonSQSFullAccess, the member eve. Remove" in refused.text
    assert not {"DetachGroupPolicy", "RemoveUserFromGroup"} & {call.action for call in sandbox.control.calls()}
    if way == "in IAM":
        iam.remove_user_from_group(GroupName="team", UserName="eve")
        iam.detach_group_policy(GroupName="team", PolicyArn="arn:aws:iam::aws:policy/AmazonSQSFullAccess")
    else:
        stack.write({**before, "groups": {**GROUPS, "team": {"adopt": True}}})
        stack.up()
        (urn,) = set(re.findall(r"pulumi state delete '([^']+)'", refused.text))
        stack.run("state", "delete", urn, "--yes")
        stack.write(before)
    stack.up()
    assert stack.preview("--expect-no-changes").changes == {}
    left = {group["GroupName"] for group in iam.list_groups()["Groups"]}
    assert left == {"test", *(["team"] if way == "in the state" else [])}


@pytest.mark.long
def test_the_preview_of_a_rotation_names_what_a_new_key_does_not_change(new_stack: NewStack, sandbox: Sandbox) -> None:
    stack = new_stack()
    stack.write(config("ann"))
    stack.up()
    iam = sandbox.client("iam")
    iam.attach_user_policy(UserName="ann", PolicyArn=QUARANTINE)
    iam.create_login_profile(UserName="ann", Password="Correct-Horse-Battery-9")
    assert "exposed publicly" not in stack.preview().text, "a run that changes nothing asks nothing"
    stack.write(config("ann", serial=2))
    text = stack.preview().text
    kept = "keeps these items, which this stack does not manage: a console password"
    assert f"the user ann gets a new key, and {kept}" in text
    assert "exposed publicly" in text

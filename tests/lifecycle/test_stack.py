"""The whole life of a stack on the real engine: made, looked at, edited, destroyed."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.lifecycle.stack import Sandbox, Stack

NewStack = Callable[..., Stack]

GROUPS = {"test": {"policies": ["AmazonS3FullAccess", "IAMFullAccess"]}}
USERS = {"test-user": {"groups": ["test"]}}


def in_iam(sandbox: Sandbox) -> tuple[list[str], list[str]]:
    """Names of the groups and users that the account holds."""
    iam = sandbox.client("iam")
    return (
        sorted(group["GroupName"] for group in iam.list_groups()["Groups"]),
        sorted(user["UserName"] for user in iam.list_users()["Users"]),
    )


def test_a_stack_lives_from_up_to_destroy(new_stack: NewStack, sandbox: Sandbox) -> None:
    stack = new_stack(preloaded=False)
    stack.write({"groups": GROUPS, "users": USERS})

    assert stack.preview().changes == {"create": 9}, "the preview says what will be made"
    assert in_iam(sandbox) == ([], []), "a preview makes nothing"
    assert stack.up().changes == {"create": 9}

    iam = sandbox.client("iam")
    assert [user["UserName"] for user in iam.get_group(GroupName="test")["Users"]] == ["test-user"]
    attached = iam.list_attached_group_policies(GroupName="test")["AttachedPolicies"]
    assert {policy["PolicyName"] for policy in attached} == {"AmazonS3FullAccess", "IAMFullAccess"}

    key_id, secret = stack.key("test-user")
    assert sandbox.client("sts", (key_id, secret)).get_caller_identity()["Arn"].endswith(":user/test-user")
    sandbox.client("s3", (key_id, secret)).list_buckets()
    with pytest.raises(ClientError, match="UnauthorizedOperation"):
        sandbox.client("ec2", (key_id, secret)).describe_instances()

    assert stack.preview("--expect-no-changes").changes == {}, "a second preview is empty"
    assert stack.refresh("--expect-no-changes").changes == {}, "a refresh finds nothing"
    assert stack.up().changes == {}, "a second up changes nothing"
    assert stack.destroy().changes == {"delete": 9}
    assert in_iam(sandbox) == ([], []), "destroy leaves IAM empty"


@pytest.mark.long
def test_outputs_have_ids_secrets_and_a_credentials_file_that_the_sdk_reads(
    new_stack: NewStack, sandbox: Sandbox, tmp_path: Any
) -> None:
    stack = new_stack()
    stack.write({"groups": GROUPS, "users": {"ann": {"groups": ["test"]}, "bob": {"groups": ["test"]}}})
    stack.up()
    outputs = stack.outputs()
    assert set(outputs["accessKeyIds"]) == {"ann", "bob"}
    assert outputs["userArns"]["ann"] == "arn:aws:iam::123456789012:user/ann"
    assert outputs["groupArns"] == {"test": "arn:aws:iam::123456789012:group/test"}

    import botocore.session

    file = tmp_path / "credentials"
    file.write_text(outputs["credentialsFile"])
    session = botocore.session.Session(profile="bob")
    session.set_config_variable("credentials_file", str(file))
    found = session.get_credentials()
    assert found is not None
    assert (found.access_key, found.secret_key) == stack.key("bob"), "the SDK finds bob's key in the profile bob"


@pytest.mark.long
def test_secrets_are_encrypted_wherever_they_are_kept(new_stack: NewStack) -> None:
    stack = new_stack()
    stack.write({"groups": GROUPS, "users": USERS})
    done = stack.up()
    secret = stack.key("test-user")[1]
    shown = stack.run("stack", "output").text + done.text
    assert secret not in shown, "no secret is shown unasked"
    assert "[secret]" in shown, "it is shown that there is one"
    for path in stack.sandbox.folder.root.rglob("*"):
        if path.is_file():
            assert secret.encode() not in path.read_bytes(), f"{path.name} has no plaintext secret"
    assert secret not in json.dumps(stack.resources())


@pytest.mark.long
def test_users_and_groups_are_added_and_removed_without_touching_the_others(
    new_stack: NewStack, sandbox: Sandbox
) -> None:
    stack = new_stack()
    stack.write({"groups": GROUPS, "users": USERS})
    stack.up()
    before = stack.key("test-user")

    more = {**GROUPS, "readers": {"policies": ["AmazonS3ReadOnlyAccess"]}}
    stack.write({"groups": more, "users": {**USERS, "second": {"groups": ["readers", "test"]}}})
    assert stack.up().changes == {"create": 5}, "group, attachment, user, membership and key"
    assert in_iam(sandbox) == (["readers", "test"], ["second", "test-user"])

    stack.write({"groups": GROUPS, "users": USERS})
    assert stack.up().changes == {"delete": 5}
    assert in_iam(sandbox) == (["test"], ["test-user"])
    assert stack.key("test-user") == before, "the first user keeps its key throughout"


@pytest.mark.long
def test_a_renamed_user_gets_a_new_key_and_leaves_nothing_of_the_old(new_stack: NewStack, sandbox: Sandbox) -> None:
    stack = new_stack()
    stack.write({"groups": GROUPS, "users": USERS})
    stack.up()
    old = stack.key("test-user")
    stack.write({"groups": GROUPS, "users": {"renamed": USERS["test-user"]}})
    stack.up()
    assert in_iam(sandbox) == (["test"], ["renamed"])
    assert stack.key("renamed")[0] != old[0]
    with pytest.raises(ClientError, match="InvalidClientTokenId"):
        sandbox.client("sts", old).get_caller_identity()


@pytest.mark.long
def test_a_renamed_group_takes_its_policies_and_members_along(new_stack: NewStack, sandbox: Sandbox) -> None:
    stack = new_stack()
    stack.write({"groups": GROUPS, "users": USERS})
    stack.up()
    before = stack.key("test-user")
    stack.write({"groups": {"team": GROUPS["test"]}, "users": {"test-user": {"groups": ["team"]}}})
    stack.up()
    iam = sandbox.client("iam")
    assert in_iam(sandbox) == (["team"], ["test-user"])
    assert [group["GroupName"] for group in iam.list_groups_for_user(UserName="test-user")["Groups"]] == ["team"]
    assert len(iam.list_attached_group_policies(GroupName="team")["AttachedPolicies"]) == 2
    assert stack.key("test-user") == before, "the user keeps its key"


@pytest.mark.long
def test_another_order_of_everything_changes_nothing(new_stack: NewStack) -> None:
    stack = new_stack()
    groups = {"a": GROUPS["test"], "b": {"policies": ["AmazonS3ReadOnlyAccess"]}}
    users = {"one": {"groups": ["a", "b"]}, "two": {"groups": ["b"]}}
    stack.write({"groups": groups, "users": users})
    stack.up()
    stack.file.write_text(stack.file.read_text())
    reordered = {
        "b": groups["b"],
        "a": {"policies": list(reversed(GROUPS["test"]["policies"]))},
    }
    stack.write({"users": {"two": users["two"], "one": {"groups": ["b", "a"]}}, "groups": reordered})
    assert stack.preview("--expect-no-changes").changes == {}


@pytest.mark.long
def test_policies_are_swapped_one_by_one(new_stack: NewStack, sandbox: Sandbox) -> None:
    stack = new_stack()
    stack.write({"groups": GROUPS, "users": USERS})
    stack.up()
    stack.write({"groups": {"test": {"policies": ["AmazonS3FullAccess", "ViewOnlyAccess"]}}, "users": USERS})
    assert stack.up().changes == {"create": 1, "delete": 1}, "only the policy that changed"
    attached = sandbox.client("iam").list_attached_group_policies(GroupName="test")["AttachedPolicies"]
    assert {policy["PolicyArn"] for policy in attached} == {
        "arn:aws:iam::aws:policy/AmazonS3FullAccess",
        "arn:aws:iam::aws:policy/job-function/ViewOnlyAccess",
    }


@pytest.mark.long
def test_groups_that_somebody_else_put_the_user_into_are_left_alone(new_stack: NewStack, sandbox: Sandbox) -> None:
    stack = new_stack()
    stack.write({"groups": GROUPS, "users": USERS})
    stack.up()
    iam = sandbox.client("iam")
    iam.create_group(GroupName="by-hand")
    iam.add_user_to_group(GroupName="by-hand", UserName="test-user")
    try:
        assert stack.refresh("--expect-no-changes").changes == {}
        assert stack.up().changes == {}
        groups = iam.list_groups_for_user(UserName="test-user")["Groups"]
        assert {group["GroupName"] for group in groups} == {"by-hand", "test"}
    finally:
        iam.remove_user_from_group(GroupName="by-hand", UserName="test-user")
        iam.delete_group(GroupName="by-hand")


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ({}, "has no configuration"),
        ({"groups": {"test": {"policies": ["S3FullAccess"]}}, "users": USERS}, "Did you mean 'AmazonS3FullAccess'?"),
        ({"groups": GROUPS, "users": {"u": {"group": ["test"]}}}, "users.u.group: unknown name"),
        ({"groups": GROUPS, "usres": USERS}, "usres: unknown name"),
    ],
)
def test_bad_config_stops_the_engine_with_one_message_and_no_traceback(
    new_stack: NewStack, sandbox: Sandbox, config: dict[str, Any], says: str
) -> None:
    stack = new_stack()
    stack.write(config)
    done = stack.up(check=False)
    assert done.code != 0, "the command fails"
    assert says in done.text
    assert "Traceback" not in done.text
    assert in_iam(sandbox) == ([], []), "nothing was created"


def test_an_up_or_preview_with_nothing_to_change_asks_only_which_account_it_is_in(
    new_stack: NewStack, sandbox: Sandbox
) -> None:
    stack = new_stack()
    users = {f"user-{number}": {"groups": ["test"]} for number in range(5)}
    stack.write({"groups": GROUPS, "users": users, "keyDefaults": {"retireGuard": {"idleDays": 3}}})
    stack.up()
    sandbox.control.clear_calls()
    stack.preview("--expect-no-changes")
    stack.up()
    actions = [call.action for call in sandbox.control.calls()]
    assert actions == ["GetCallerIdentity"] * 2, "no look-up, however many users there are"


@pytest.mark.long
def test_a_new_user_costs_three_calls_and_the_trial_of_its_key(new_stack: NewStack, sandbox: Sandbox) -> None:
    stack = new_stack()
    stack.write({"groups": GROUPS, "users": {}, "allowNoUsers": True})
    stack.up()
    sandbox.control.clear_calls()
    stack.write({"groups": GROUPS, "users": USERS})
    stack.up()
    actions = [call.action for call in sandbox.control.calls()]
    wrote = sorted(action for action in actions if not action.startswith(("Get", "List")))
    assert wrote == ["AddUserToGroup", "CreateAccessKey", "CreateUser"], "no write is wasted"
    assert actions.count("GetCallerIdentity") == 1, "the key is tried once"
    assert (actions.count("ListUsers"), actions.count("ListAccessKeys")) == (1, 1), "one list of each"
    assert len(actions) == 8, "the other reads are the provider's"


def test_a_rotation_costs_one_list_one_trial_and_a_question_about_the_account_and_about_the_key_that_goes(
    new_stack: NewStack, sandbox: Sandbox
) -> None:
    stack = new_stack()
    stack.write({"groups": GROUPS, "users": USERS})
    stack.up()
    sandbox.control.clear_calls()
    users = {name: {**user, "key": {"serial": 2, "previous": "deleted"}} for name, user in USERS.items()}
    stack.write({"groups": GROUPS, "users": users})
    stack.up()
    asked, issued = ["ListAccessKeys", "GetAccessKeyLastUsed"], ["CreateAccessKey", "GetCallerIdentity"]
    actions = [call.action for call in sandbox.control.calls()]
    assert actions == ["GetCallerIdentity", *asked, *issued, "DeleteAccessKey"]


@pytest.mark.long
def test_an_update_that_is_held_to_a_plan_issues_and_rotates_keys(new_stack: NewStack) -> None:
    stack, ids = new_stack(), list[str]()
    for serial in (1, 2):
        stack.write({"groups": GROUPS, "users": {"ann": {"groups": ["test"], "key": {"serial": serial}}}})
        stack.preview("--save-plan", "plan.json")
        stack.up("--plan", "plan.json")
        ids.append(stack.outputs()["accessKeyIds"]["ann"])
    assert ids[0] != ids[1], "there was nothing in the first update that its preview cannot know"

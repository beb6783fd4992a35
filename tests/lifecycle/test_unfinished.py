"""Changes that AWS made in an update that was interrupted, and that the stack file no longer asks for afterwards."""

import json
import re
from hashlib import sha256
from typing import Any, cast

import pytest
from aws_access_keys.rules.resource_types import AWS_KEYS, SECRET
from pulumi_sandbox.aws.settings import Failure, Faults

from tests.faults.matrix import run_until_held
from tests.lifecycle.helpers import NewStack, by_hand, keys_in_iam
from tests.lifecycle.stack import Sandbox, Stack

POWER_USER = "arn:aws:iam::aws:policy/PowerUserAccess"


def allow(action: str) -> dict[str, Any]:
    return {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": action, "Resource": "*"}]}


def file(group: dict[str, Any], user: dict[str, Any], **others: Any) -> dict[str, Any]:
    """A stack file with a group and a user, each with some settings of its own."""
    groups = {
        "readers": {"policies": ["AmazonS3ReadOnlyAccess"]} | group,
        "writers": {"policies": ["AmazonS3FullAccess"]},
    }
    return {"groups": groups, "users": {"ann": {"groups": ["readers"]} | user}, **others}


PLAIN = file({}, {})
TWO = file({"policies": ["AmazonS3ReadOnlyAccess", "AmazonSQSFullAccess"]}, {})
READ = file({}, {"deliver": {"secretsManager": {"readers": ["arn:aws:iam::123456789012:root"]}}})
OWN_DOCUMENT = {"own": allow("sqs:*")}
OWN = file({"policies": ["AmazonS3ReadOnlyAccess", "own"]}, {}, policyDocuments=OWN_DOCUMENT)
SSM, MANAGER = file({}, {"deliver": {"ssm": {}}}), file({}, {"deliver": {"secretsManager": {}}})
FIELDS = {"fields": {"id": "username", "secret": "password"}}
CASES = [
    (TWO, PLAIN, "DetachGroupPolicy", "policy/AmazonSQSFullAccess is not attached any more"),
    (
        PLAIN,
        file({}, {"groups": ["writers"]}),
        "RemoveUserFromGroup",
        "the user is not in the group 'readers' any more",
    ),
    (
        file({}, {"permissionsBoundary": POWER_USER}),
        PLAIN,
        "DeleteUserPermissionsBoundary",
        "the permissions boundary in IAM is gone",
    ),
    (
        file({}, {"key": {"status": "active"}}),
        file({}, {"key": {"status": "inactive"}}),
        "UpdateAccessKey",
        " is Inactive.",
    ),
    (file({}, {"deliver": {"ssm": {}}}), PLAIN, "DeleteParameter", "/ann' is gone or has another content"),
    (PLAIN, OWN, "AttachGroupPolicy", ":policy/own is attached"),
]
MORE_CASES = [
    (PLAIN, TWO, "AttachGroupPolicy", "policy/AmazonSQSFullAccess is attached"),
    (
        file({}, {"policies": ["AmazonSQSFullAccess"]}),
        PLAIN,
        "DetachUserPolicy",
        "policy/AmazonSQSFullAccess is not attached any more",
    ),
    (
        file({"inline": {"get": allow("s3:GetObject")}}, {}),
        file({"inline": {"get": allow("s3:PutObject")}}, {}),
        "PutGroupPolicy",
        "the inline policy 'get' is gone or has another document",
    ),
    (file({"allowFrom": ["203.0.113.0/24"]}, {}), PLAIN, "DeleteGroupPolicy", "the inline policy 'allow-from' is gone"),
    (PLAIN, file({}, {"allowFrom": ["203.0.113.0/24"]}), "PutUserPolicy", "IAM has an inline policy 'allow-from'"),
    (
        PLAIN,
        file({}, {"permissionsBoundary": POWER_USER}),
        "PutUserPermissionsBoundary",
        f"the permissions boundary in IAM is {POWER_USER}",
    ),
    (
        file({"policies": ["own"]}, {}, policyDocuments={"own": allow("s3:GetObject")}),
        file({"policies": ["own"]}, {}, policyDocuments={"own": allow("s3:PutObject")}),
        "CreatePolicyVersion",
        "the policy has another document in IAM",
    ),
    (
        file({}, {"key": {"status": "inactive"}}),
        file({}, {"key": {"status": "active"}}),
        "UpdateAccessKey",
        " is Active.",
    ),
    (READ, MANAGER, "PutResourcePolicy", "its resource policy in Secrets Manager is gone or another one"),
    (MANAGER, READ, "PutResourcePolicy", "Secrets Manager has a resource policy for it"),
    (SSM, file({}, {"deliver": {"ssm": FIELDS}}), "PutParameter", "/ann' is gone or has another content"),
    (
        SSM,
        file({}, {"key": {"expires": "2026-11-01"}, "deliver": {"ssm": {}}}),
        "PutParameter",
        "/ann' is gone or has another content",
    ),
    (PLAIN, SSM, "PutParameter", "/ann' has the access key"),
    (
        MANAGER,
        file({}, {"deliver": {"secretsManager": {"replicas": ["eu-west-1"]}}}),
        "ReplicateSecretToRegions",
        "the secret has a replica in eu-west-1",
    ),
    (SSM, file({}, {"deliver": {"ssm": {"name": "/other/ann"}}}), "PutParameter", "/ann' has the access key"),
    (SSM, file({}, {"deliver": {"ssm": {"kmsKey": "alias/other"}}}), "PutParameter", "encrypted with another KMS key"),
    (
        MANAGER,
        file({}, {"deliver": {"secretsManager": {"kmsKey": "alias/other"}}}),
        "UpdateSecret",
        "encrypted with another KMS key",
    ),
    (
        file({}, {"deliver": {"secretsManager": {"kmsKey": "alias/other"}}}),
        MANAGER,
        "UpdateSecret",
        "encrypted with another KMS key",
    ),
    (
        PLAIN,
        file({}, {"policies": ["own"]}, policyDocuments=OWN_DOCUMENT),
        "AttachUserPolicy",
        "is attached",
    ),
    (
        PLAIN,
        file({}, {"permissionsBoundary": "own"}, policyDocuments=OWN_DOCUMENT),
        "PutUserPermissionsBoundary",
        "the permissions boundary in IAM is own",
    ),
    (file({"path": "/data/"}, {}), PLAIN, "UpdateGroup", "its path in IAM is /."),
    (PLAIN, file({}, {"path": "/data/"}), "UpdateUser", "its path in IAM is /data/."),
    (file({}, {"tags": {"team": "web"}}), PLAIN, "UntagUser", "its tag 'team' in IAM is gone or has another value"),
    (PLAIN, file({}, {"tags": {"room": ""}}), "TagUser", "IAM has the tag 'room'."),
    (PLAIN, file({"s3": [{"bucket": "data", "access": "read"}]}, {}), "AttachGroupPolicy", " is attached"),
]


@pytest.mark.parametrize(
    ("before", "after", "action", "told"),
    [*CASES, *(pytest.param(*case, marks=pytest.mark.long) for case in MORE_CASES)],
)
def test_what_an_interrupted_update_changed_is_named_when_the_file_is_put_back(
    before: dict[str, Any], after: dict[str, Any], action: str, told: str, new_stack: NewStack, sandbox: Sandbox
) -> None:
    stack, kms = new_stack(), sandbox.client("kms")
    kms.create_alias(AliasName="alias/other", TargetKeyId=kms.create_key()["KeyMetadata"]["KeyId"])
    stack.write(before)
    stack.up()
    intended = in_aws(sandbox)
    interrupt(stack, after, action)
    assert in_aws(sandbox) != intended, "AWS made the change"
    stack.write(before)
    for run in (stack.preview, stack.up):
        refused = run(check=False)
        assert refused.code != 0
        assert "the last update did not finish, and the state does not know that" in refused.text
        assert told in refused.text
    follow(stack, sandbox, refused.text)
    stack.up()
    assert in_aws(sandbox) == intended
    sandbox.control.clear_calls()
    assert stack.preview("--expect-no-changes").changes == {}
    assert {call.action for call in sandbox.control.calls()} <= {
        "GetCallerIdentity",
        "DescribeKey",  # of a kmsKey, always
    }, "it is looked up only once"


def with_group(name: str, group: dict[str, Any] | None, **others: Any) -> dict[str, Any]:
    """PLAIN with another group, or without one of its own."""
    groups = {**PLAIN["groups"], name: group}
    return {**PLAIN, "groups": {name: of for name, of in groups.items() if of}, **others}


WRITERS_OWN = with_group("writers", {"policies": ["AmazonS3FullAccess", "own"]}, policyDocuments=OWN_DOCUMENT)
BOUNDED = file({}, {"permissionsBoundary": "own"}, policyDocuments=OWN_DOCUMENT)
WRITERS_INLINE = with_group("writers", {"policies": ["AmazonS3FullAccess"], "inline": {"x": allow("iam:*")}})
THIRDS = [
    (with_group("more", {"policies": ["AmazonSQSFullAccess"]}), "AttachGroupPolicy", PLAIN),
    (OWN, "AttachGroupPolicy", WRITERS_OWN),
    (BOUNDED, "PutUserPermissionsBoundary", WRITERS_OWN),
    (READ, "PutResourcePolicy", MANAGER),
]


@pytest.mark.parametrize(
    ("second", "action", "third"),
    [
        (WRITERS_INLINE, "PutGroupPolicy", with_group("writers", None)),
        *(pytest.param(*case, marks=pytest.mark.long) for case in THIRDS),
    ],
)
def test_what_an_interrupted_update_added_is_named_before_a_third_file_is_applied(
    second: dict[str, Any], action: str, third: dict[str, Any], new_stack: NewStack, sandbox: Sandbox
) -> None:
    stack = new_stack()
    stack.write(PLAIN)
    stack.up()
    interrupt(stack, second, action)
    stack.write(third)
    follow(stack, sandbox, stack.up(check=False).text)
    stack.up()
    assert stack.preview("--expect-no-changes").changes == {}
    iam = sandbox.client("iam")
    assert "PermissionsBoundary" not in iam.get_user(UserName="ann")["User"]
    attached = iam.list_attached_group_policies(GroupName="readers")["AttachedPolicies"]
    assert [one["PolicyName"] for one in attached] == ["AmazonS3ReadOnlyAccess"]
    assert {group["GroupName"] for group in iam.list_groups()["Groups"]} == third["groups"].keys()
    manager = sandbox.client("secretsmanager")
    for secret in manager.list_secrets()["SecretList"]:
        assert "ResourcePolicy" not in manager.get_resource_policy(SecretId=secret["Name"]), "nobody else reads it"


@pytest.mark.parametrize("fault", ["killed", "lost"])
@pytest.mark.parametrize(
    ("store", "action"),
    [("ssm", "PutParameter"), pytest.param("secretsManager", "PutSecretValue", marks=pytest.mark.long)],
)
@pytest.mark.parametrize("expires", [True, False])
def test_a_store_with_the_only_copy_of_a_secret_is_looked_at_after_an_interrupted_update(
    store: str, action: str, expires: bool, fault: str, new_stack: NewStack, sandbox: Sandbox
) -> None:
    key, more = ({"expires": "2026-11-01"}, {}) if expires else ({}, FIELDS)
    before = file({}, {"key": {"keepSecret": False}, "deliver": {store: {}}})
    after = file({}, {"key": {"keepSecret": False} | key, "deliver": {store: more}})
    stack = new_stack()
    stack.write(before)
    stack.up()
    intended = in_aws(sandbox)
    if fault == "killed":
        interrupt(stack, after, action)
    else:
        stack.write(after)
        refused = Failure(action, call=2, times=9, code="AccessDenied")
        sandbox.control.set_faults(Faults(failures=(Failure(action), refused)))
        assert stack.up(check=False).code != 0
        sandbox.control.clear_faults()
    assert in_aws(sandbox) != intended, "AWS made the change"
    stack.write(before)
    assert "will be delivered to" in stack.preview().text
    if expires:
        for _ in range(2):
            told = stack.up(check=False)
            assert told.code != 0
            assert "its secret is not kept, and no store has it. Raise serial to 2" in told.text
        before["users"]["ann"]["key"]["serial"] = 2
        stack.write(before)
        stack.up()
    else:
        stack.up()
        assert in_aws(sandbox) == intended
    sandbox.control.clear_calls()
    assert stack.preview("--expect-no-changes").changes == {}
    assert {call.action for call in sandbox.control.calls()} <= {"GetCallerIdentity"}


def existing(**user: Any) -> dict[str, Any]:
    """A key that is delivered into a secret of somebody else."""
    return file({}, {"deliver": {"secretsManager": {"existing": "team"}}} | user)


def beside_a_secret(content: str | None, new_stack: NewStack, sandbox: Sandbox) -> tuple[Any, Stack]:
    """A client of Secrets Manager, which has a secret of somebody else, and a stack that does not use it yet."""
    manager = sandbox.client("secretsmanager")
    manager.create_secret(Name="team", **({"SecretString": content} if content else {}))
    stack = new_stack()
    stack.write(PLAIN)
    stack.up()
    return manager, stack


@pytest.mark.parametrize("content", ["of the team", pytest.param(None, marks=pytest.mark.long)])
def test_an_existing_secret_into_which_an_interrupted_update_has_written_a_key_gets_its_content_back(
    content: str | None, new_stack: NewStack, sandbox: Sandbox
) -> None:
    manager, stack = beside_a_secret(content, new_stack, sandbox)
    interrupt(stack, existing(), "PutSecretValue")
    stack.write(PLAIN)
    place = "secretsManager.existing: the last update did not finish, and the secret 'team' has a"
    assert f"{place}nother content, maybe the access key" in stack.preview().text
    refused = stack.up(check=False)
    assert refused.code != 0
    assert f"{place}n access key of this stack in place of what it had. Run `aws secretsmanager " in refused.text
    follow(stack, sandbox, refused.text)
    assert manager.get_secret_value(SecretId="team")["SecretString"] == (content or "{}")
    stack.up()
    assert stack.preview("--expect-no-changes").changes == {}


@pytest.mark.long
def test_a_refresh_that_runs_the_program_does_not_count_as_the_first_delivery(
    new_stack: NewStack, sandbox: Sandbox
) -> None:
    manager, stack = beside_a_secret("of the team", new_stack, sandbox)
    interrupt(stack, existing(), "PutSecretValue")
    stack.refresh("--clear-pending-creates", "--run-program")
    stack.write(PLAIN)
    refused = stack.up(check=False)
    assert "an access key of this stack in place of what it had" in refused.text
    follow(stack, sandbox, refused.text)
    assert manager.get_secret_value(SecretId="team")["SecretString"] == "of the team"


@pytest.mark.parametrize(
    ("second", "keep"),
    [
        ("denied", False),
        *(
            pytest.param(*case, marks=pytest.mark.long)
            for case in (("denied", True), ("killed", True), ("killed", False))
        ),
    ],
)
def test_what_an_existing_secret_had_is_known_after_two_updates_that_did_not_finish(
    second: str, keep: bool, new_stack: NewStack, sandbox: Sandbox
) -> None:
    manager = sandbox.client("secretsmanager")
    manager.create_secret(Name="team", SecretString="of the team")
    stack, key = new_stack(), {} if keep else {"key": {"keepSecret": False, "serial": 2}}
    stack.write(PLAIN)
    stack.up()
    interrupt(stack, existing(**key), "PutSecretValue")
    if second == "killed":
        interrupt(stack, existing(**key), "PutSecretValue")
    else:
        sandbox.control.fail("PutSecretValue", "AccessDeniedException", times=50)
        assert stack.up(check=False).code != 0
        sandbox.control.clear_faults()
    stack.write(PLAIN)
    refused = stack.up(check=False)
    assert refused.code != 0
    follow(stack, sandbox, refused.text)
    assert manager.get_secret_value(SecretId="team")["SecretString"] == "of the team"
    stack.refresh("--clear-pending-creates")
    stack.up(check=False)
    assert "did not finish" not in stack.up(check=False).text


@pytest.mark.long
@pytest.mark.parametrize("content", ["of the team", None])
def test_what_somebody_else_has_written_into_an_existing_secret_is_not_called_the_key(
    content: str | None, new_stack: NewStack, sandbox: Sandbox
) -> None:
    manager, stack = beside_a_secret(content, new_stack, sandbox)
    stack.write(existing())
    sandbox.control.fail("PutSecretValue", "AccessDeniedException", times=50)
    assert stack.up(check=False).code != 0
    sandbox.control.clear_faults()
    manager.put_secret_value(SecretId="team", SecretString="another one of the team")
    stack.write(PLAIN)
    stack.up()
    assert stack.preview("--expect-no-changes").changes == {}


@pytest.mark.parametrize(
    "deliver",
    [{"secretsManager": {"existing": "team"}}, pytest.param({"ssm": {}}, marks=pytest.mark.long)],
)
def test_a_first_delivery_that_finished_is_not_called_left_over_once_the_state_has_let_the_user_go(
    deliver: dict[str, Any], new_stack: NewStack, sandbox: Sandbox
) -> None:
    sandbox.client("secretsmanager").create_secret(Name="team", SecretString="of the team")
    stack = new_stack()
    stack.write(PLAIN)
    stack.up()
    stack.write(file({}, {"deliver": deliver}))
    stack.up()
    (urn,) = (urn for urn in stack.resources() if urn.endswith("User::access/ann"))
    stack.run("state", "delete", urn, "--target-dependents", "--yes")
    stack.write({**PLAIN, "users": {"bob": {"groups": ["readers"]}}})
    assert "did not finish" not in stack.up().text
    assert stack.preview("--expect-no-changes").changes == {}


@pytest.mark.long
def test_a_parameter_that_was_there_before_is_not_called_left_over(new_stack: NewStack, sandbox: Sandbox) -> None:
    ssm = sandbox.client("ssm")
    ssm.put_parameter(Name="/access-keys/ann", Value="x", Type="String", Description="Access key of IAM user ann")
    stack = new_stack()
    stack.write(PLAIN)
    stack.up()
    stack.write(SSM)
    for _ in range(2):
        assert "ParameterAlreadyExists" in stack.up(check=False).text
    stack.write(PLAIN)
    stack.up()
    assert stack.preview("--expect-no-changes").changes == {}


@pytest.mark.long
def test_an_existing_secret_that_was_written_is_no_obstacle_where_an_update_failed_elsewhere(
    new_stack: NewStack, sandbox: Sandbox
) -> None:
    sandbox.client("secretsmanager").create_secret(Name="team", SecretString="of the team")
    stack, both = new_stack(), existing()
    both["users"]["bob"] = {"groups": ["readers"], "deliver": {"ssm": {}}}
    stack.write(both)
    sandbox.control.fail("PutParameter", "AccessDeniedException", times=50)
    assert stack.up(check=False).code != 0
    sandbox.control.clear_faults()
    stack.up()
    assert stack.preview("--expect-no-changes").changes == {}


@pytest.mark.long
def test_an_existing_secret_that_cannot_be_described_is_named(new_stack: NewStack, sandbox: Sandbox) -> None:
    sandbox.client("secretsmanager").create_secret(Name="team", SecretString="of the team")
    stack = new_stack()
    stack.write(PLAIN)
    stack.up()
    stack.write(existing())
    sandbox.control.set_faults(Faults(failures=(Failure("DescribeSecret", 2, 50, "AccessDeniedException"),)))
    refused = stack.up(check=False)
    assert refused.code != 0
    assert "the secret 'team' could not be read: " in refused.text
    assert "Traceback" not in refused.text


@pytest.mark.parametrize("gone", ["removed", pytest.param("without a key", marks=pytest.mark.long)])
def test_a_run_without_the_user_remembers_that_a_store_may_hold_something_else(
    gone: str, new_stack: NewStack, sandbox: Sandbox
) -> None:
    before = file({}, {"key": {"keepSecret": False}, "deliver": {"ssm": {}}})
    stack = new_stack()
    stack.write(before)
    stack.up()
    intended = in_aws(sandbox)
    interrupt(stack, file({}, {"key": {"keepSecret": False}, "deliver": {"ssm": FIELDS}}), "PutParameter")
    third = file({"policies": ["AmazonS3ReadOnlyAccess", "AmazonSQSFullAccess"]}, {"key": None, "deliver": None})
    stack.write({**third, "users": {}, "allowNoUsers": True} if gone == "removed" else third)
    sandbox.control.fail("AttachGroupPolicy", "AccessDenied", times=9)
    assert stack.up(check=False).code != 0
    sandbox.control.clear_faults()
    stack.write(before)
    stack.up()
    assert in_aws(sandbox) == intended
    assert stack.preview("--expect-no-changes").changes == {}


@pytest.mark.parametrize("store", ["ssm", pytest.param("secretsManager", marks=pytest.mark.long)])
def test_a_key_whose_only_copy_a_rotation_overwrote_is_named_when_the_new_key_is_deleted_by_hand(
    store: str, new_stack: NewStack, sandbox: Sandbox
) -> None:
    stack = new_stack()
    stack.write(file({}, {"key": {"keepSecret": False}, "deliver": {store: {}}}))
    stack.up()
    (old,) = keys_in_iam(sandbox, "ann")
    after = file({}, {"key": {"keepSecret": False, "serial": 2}, "deliver": {store: {}}})
    interrupt(stack, after, {"ssm": "PutParameter", "secretsManager": "PutSecretValue"}[store])
    (new,) = keys_in_iam(sandbox, "ann").keys() - {old}
    by_hand(sandbox, f"aws iam delete-access-key --user-name ann --access-key-id {new}")
    stack.refresh("--clear-pending-creates")
    stack.write(file({}, {"key": {"keepSecret": False}, "deliver": {store: {}}}))
    told = stack.up(check=False)
    assert told.code != 0
    assert f"the access key {old} is not delivered to " in told.text
    assert "its secret is not kept, and no store has it. Raise serial to 2" in told.text


@pytest.mark.parametrize("text", ['{{"secret": "{secret}", "id": "{id}"}}', '{{"password": "{secret}"}}'])
def test_no_record_of_a_run_has_a_secret_that_somebody_put_into_a_parameter(
    text: str, new_stack: NewStack, sandbox: Sandbox
) -> None:
    stack = new_stack()
    stack.write(SSM)
    stack.up()
    key_id, secret = stack.key("ann")
    value = text.format(id=key_id, secret=secret)
    sandbox.client("ssm").put_parameter(Name="/access-keys/ann", Value=value, Overwrite=True)
    stack.refresh()
    stack.up()
    assert "changes" in stack.run("stack", "export").text, "the run recorded that it changes the parameter"
    assert secret not in stack.run("stack", "export").text


@pytest.mark.long
def test_what_an_adopted_group_had_before_is_never_called_left_over(new_stack: NewStack, sandbox: Sandbox) -> None:
    iam = sandbox.client("iam")
    iam.create_group(GroupName="prod")
    iam.attach_group_policy(GroupName="prod", PolicyArn="arn:aws:iam::aws:policy/AmazonSQSFullAccess")
    stack = new_stack()
    stack.write(PLAIN)
    stack.up()
    adopted = {"adopt": True, "policies": ["AmazonSQSFullAccess", "AmazonSNSFullAccess"]}
    stack.write(with_group("prod", adopted))
    sandbox.control.fail("AttachGroupPolicy", "AccessDenied", times=9)
    assert stack.up(check=False).code != 0
    sandbox.control.clear_faults()
    stack.write(with_group("prod", {"adopt": True, "policies": ["AmazonSNSFullAccess"]}))
    assert "the last update did not finish" not in stack.up().text


@pytest.mark.parametrize("adopted", ["group", pytest.param("user", marks=pytest.mark.long)])
def test_what_an_interrupted_update_added_to_something_that_was_adopted_before_is_named(
    new_stack: NewStack, sandbox: Sandbox, adopted: str
) -> None:
    iam = sandbox.client("iam")
    iam.create_group(GroupName="readers")
    iam.create_user(UserName="ann")
    before, restricted = {"adopt": True}, {"adopt": True, "allowFrom": ["203.0.113.0/24"]}
    stack = new_stack()
    stack.write(file(before, before))
    stack.up()
    changed = file(restricted, before) if adopted == "group" else file(before, restricted)
    interrupt(stack, changed, f"Put{adopted.capitalize()}Policy")
    stack.write(file(before, before))
    stack.refresh("--clear-pending-creates")
    refused = stack.up(check=False)
    assert "IAM has an inline policy 'allow-from'" in refused.text
    follow(stack, sandbox, refused.text)
    stack.up()
    assert stack.preview("--expect-no-changes").changes == {}


def follow(stack: Stack, sandbox: Sandbox, text: str) -> None:
    """Run the command that a message about an unfinished update has."""
    (command,) = set(re.findall(r"Run `([^`]+)`, then this command again[.;]", text))
    if command == "pulumi refresh":
        stack.refresh()
    else:
        by_hand(sandbox, command)


@pytest.mark.long
def test_a_previous_key_that_an_interrupted_update_deactivated_is_named_and_then_stays_inactive(
    new_stack: NewStack, sandbox: Sandbox
) -> None:
    stack = new_stack()
    for serial in (1, 2):
        stack.write(file({}, {"key": {"serial": serial, "previous": "active"}}))
        stack.up()
    interrupt(stack, file({}, {"key": {"serial": 2, "previous": "inactive"}}), "UpdateAccessKey")
    stack.write(file({}, {"key": {"serial": 2, "previous": "active"}}))
    assert " is Inactive. Run `pulumi refresh`" in stack.up(check=False).text
    stack.refresh()
    assert "is inactive and stays inactive, although previous is active" in stack.up().text


def test_a_policy_whose_creation_was_interrupted_is_deleted_by_the_command_in_the_message(
    new_stack: NewStack, sandbox: Sandbox
) -> None:
    stack = new_stack()
    stack.write(PLAIN)
    stack.up()
    interrupt(stack, file({"policies": ["own"]}, {}, policyDocuments={"own": allow("s3:GetObject")}), "CreatePolicy")
    stack.refresh("--clear-pending-creates")
    refused = stack.up(check=False)
    assert "policyDocuments.own: the account already has a policy 'own'" in refused.text
    (command,) = re.findall(r"delete it: `([^`]+)`", refused.text)
    by_hand(sandbox, command)
    stack.up()
    assert stack.preview("--expect-no-changes").changes == {}


def test_the_change_is_made_by_the_same_file_without_a_look_at_aws(new_stack: NewStack, sandbox: Sandbox) -> None:
    stack = new_stack()
    stack.write(TWO)
    stack.up()
    stack.write(PLAIN)
    lost_and_refused = (
        Failure("DetachGroupPolicy"),
        Failure("DetachGroupPolicy", call=2, times=9, code="AccessDenied"),
    )
    sandbox.control.set_faults(Faults(failures=lost_and_refused))
    assert stack.up(check=False).code != 0
    sandbox.control.clear_faults()
    sandbox.control.clear_calls()
    assert stack.up().changes == {"delete": 1}
    assert "ListAttachedGroupPolicies" not in {call.action for call in sandbox.control.calls()}


def interrupt(stack: Stack, after: dict[str, Any], action: str) -> None:
    """Kill the update to a stack file when AWS has made a change."""
    stack.write(after)
    stack.sandbox.control.set_faults(Faults(failures=(Failure(action, hold=True),)))
    assert run_until_held(stack, "up") is None, "the update is interrupted"
    stack.run("cancel", "--yes")


def in_aws(sandbox: Sandbox) -> Any:
    """All groups, users, policies, keys and stores, without times, and in one order: IAM keeps none."""
    iam = sandbox.client("iam")
    details = iam.get_account_authorization_details(Filter=["User", "Group", "LocalManagedPolicy"])
    for policy in details["Policies"]:
        (document,) = [one["Document"] for one in policy["PolicyVersionList"] if one["IsDefaultVersion"]]
        policy.update(PolicyVersionList=document, DefaultVersionId="", UpdateDate="")
    keys = iam.list_access_keys(UserName="ann")["AccessKeyMetadata"]
    ssm, manager = sandbox.client("ssm"), sandbox.client("secretsmanager")
    stores = [(one["Name"], one["KeyId"]) for one in ssm.describe_parameters()["Parameters"]]
    texts = [ssm.get_parameter(Name=name, WithDecryption=True)["Parameter"]["Value"] for name, _ in stores]
    secrets = [(one["Name"], one.get("KmsKeyId", AWS_KEYS[SECRET])) for one in manager.list_secrets()["SecretList"]]
    texts += [manager.get_secret_value(SecretId=name)["SecretString"] for name, _ in secrets]
    readers = [manager.get_resource_policy(SecretId=name).get("ResourcePolicy") for name, _ in secrets]
    readers += [manager.describe_secret(SecretId=name).get("ReplicationStatus") for name, _ in secrets]
    digests = [sha256(text.encode()).hexdigest() for text in texts]  # no message shows a secret
    lists = [details[name] for name in ("UserDetailList", "GroupDetailList", "Policies")]
    return in_order(json.loads(json.dumps([lists, keys, stores, secrets, digests, readers], default=str)))


def in_order(value: Any) -> Any:
    """The same with every list sorted."""
    if isinstance(value, dict):
        return {key: in_order(one) for key, one in cast("dict[str, Any]", value).items()}
    if isinstance(value, list):
        return sorted(map(in_order, cast("list[Any]", value)), key=lambda one: json.dumps(one, sort_keys=True))
    return value

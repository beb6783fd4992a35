"""What goes wrong is reported so that a person can act on it, and nothing that exists is ever forgotten."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
from aws_support import Strict
from provider_client import Connection, Made, ProviderFaultError, Secret, connected, provider
from pulumi_sandbox.provider import registry

GROUP, USER, KEY = "aws:iam/group:Group", "aws:iam/user:User", "aws:iam/accessKey:AccessKey"
MEMBERSHIP = "aws:iam/userGroupMembership:UserGroupMembership"
ATTACHMENT = "aws:iam/groupPolicyAttachment:GroupPolicyAttachment"


@pytest.fixture(autouse=True)
def no_faults_afterwards(strict: Strict) -> Iterator[None]:
    yield
    strict.control.clear_faults()


def one_line(message: str) -> str:
    assert "\n" not in message, f"the message must be one line: {message!r}"
    assert "Traceback" not in message, f"no traceback for a mistake of the user's: {message!r}"
    return message


# ---- AWS refuses


def test_an_error_of_aws_names_resource_operation_code_and_reason(connection: Connection) -> None:
    connection.make(GROUP, {"name": "twice"})
    with pytest.raises(ProviderFaultError) as refused:
        connection.make(GROUP, {"name": "twice"}, name="second")
    message = one_line(refused.value.message)
    assert message == (
        'aws:iam/group:Group "second": CreateGroup failed: EntityAlreadyExists: Group with name twice already exists.'
    )
    assert refused.value.left_behind is None, "nothing was made, nothing may be kept in the state"


def test_an_address_at_which_nothing_listens_is_reported() -> None:
    with provider("http://127.0.0.1:9", region="us-east-1") as connection, pytest.raises(ProviderFaultError) as refused:
        connection.make(GROUP, {"name": "nowhere"})
    assert "nothing responds at http://127.0.0.1:9" in one_line(refused.value.message)


def test_an_error_after_a_rename_names_the_resource_as_aws_knows_it(connection: Connection, strict: Strict) -> None:
    user = connection.make(USER, {"name": "old-name"}, name="logical")
    user.update({"name": "new-name"})
    strict.client("iam").create_access_key(UserName="new-name")
    with pytest.raises(ProviderFaultError) as refused:
        user.delete()
    assert one_line(refused.value.message) == (
        'aws:iam/user:User "logical" (new-name): DeleteUser failed: DeleteConflict: Cannot delete entity, must delete '
        "access keys first."
    )


# ---- the program is wrong


def test_an_unknown_resource_type_names_the_nearest_and_the_known_ones(connection: Connection) -> None:
    with pytest.raises(ProviderFaultError) as refused:
        connection.check("aws:iam/role:Role", {})
    message = one_line(refused.value.message)
    assert "does not know the resource type aws:iam/role:Role" in message
    assert GROUP in message, "the known types are listed"
    assert "--real-provider" in message, "the alternative is named"


def test_an_unknown_function_is_refused_likewise(connection: Connection) -> None:
    with pytest.raises(ProviderFaultError, match="did you mean aws:index/getRegion:getRegion"):
        connection.invoke("aws:index/getRegoin:getRegoin", {})


@pytest.mark.parametrize(
    ("token", "inputs", "where", "says"),
    [
        (GROUP, {"name": "g", "nmae": "x"}, "nmae", "it knows name, path"),
        (KEY, {}, "user", "missing required property 'user'"),
        (GROUP, {"name": "two words"}, "name", "'two words' must be made of ASCII letters, digits and _+=,.@- only"),
        (USER, {"name": ["a"]}, "name", "expected text, got list"),
        (USER, {"name": "u", "tags": ["a"]}, "tags", "expected a mapping of text to text"),
        (USER, {"name": "u", "forceDestroy": "maybe"}, "forceDestroy", "expected true or false, got 'maybe'"),
        (MEMBERSHIP, {"user": "u", "groups": "g"}, "groups", "expected a list of text, got 'g'"),
        (KEY, {"user": "u", "status": "Off"}, "status", "'Off' is not one of Active, Inactive"),
        (ATTACHMENT, {"group": "g", "policyArn": "ReadOnlyAccess"}, "policyArn", "'ReadOnlyAccess' is not a valid ARN"),
        ("aws:iam/policy:Policy", {"policy": "{"}, "policy", "the policy is not valid JSON"),
        ("aws:iam/policy:Policy", {"policy": "[]"}, "policy", "not an object"),
        ("aws:iam/policy:Policy", {"name": "a", "namePrefix": "b", "policy": "{}"}, "name", "cannot both be given"),
        ("aws:kms/key:Key", {"deletionWindowInDays": 6}, "deletionWindowInDays", "6 is not between 7 and 30"),
        ("aws:kms/key:Key", {"deletionWindowInDays": 7.5}, "deletionWindowInDays", "expected a whole number"),
        ("aws:kms/key:Key", {"rotationPeriodInDays": 90}, "rotationPeriodInDays", "needs 'enableKeyRotation'"),
        ("aws:kms/alias:Alias", {"name": "alias/aws/x", "targetKeyId": "k"}, "name", "not alias/aws/"),
        ("aws:secretsmanager/secret:Secret", {"recoveryWindowInDays": 3}, "recoveryWindowInDays", "or 0"),
        ("aws:ssm/parameter:Parameter", {"type": "String"}, "value", "exactly one of value, insecureValue"),
        ("aws:s3/bucket:Bucket", {"versioning": {"enabled": True}}, "versioning", "With the real provider"),
    ],
)
def test_a_bad_input_is_refused_by_check(
    connection: Connection, token: str, inputs: dict[str, Any], where: str, says: str
) -> None:
    _, failures = connection.check(token, inputs)
    assert says in one_line(failures.get(where, "no failure at all")), f"{inputs} of {token}: {failures}"


def test_a_refused_secret_is_not_shown(connection: Connection) -> None:
    _, failures = connection.check(
        "aws:secretsmanager/secretVersion:SecretVersion", {"secretId": "s", "secretBinary": "top secret!"}
    )
    assert failures, "secretBinary must be base64"
    assert "top secret" not in str(failures), "a message must never hold a secret"


def test_what_the_real_provider_leaves_to_aws_is_left_to_aws(connection: Connection) -> None:
    _, failures = connection.check(USER, {"name": "x" * 65, "path": "no/slash"})
    assert not failures, "the real provider lets AWS judge the length of a name and the form of a path"


@pytest.mark.parametrize(
    ("token", "import_id", "says"),
    [
        (ATTACHMENT, "just-a-group", "group/policy-arn"),
        (MEMBERSHIP, "just-a-user", "user/group1/group2"),
        ("aws:iam/groupPolicy:GroupPolicy", "g", "group:policy-name"),
        ("aws:secretsmanager/secretVersion:SecretVersion", "s", "secret-arn|version-id"),
    ],
)
def test_a_malformed_import_id_is_refused_with_the_right_form(
    connection: Connection, token: str, import_id: str, says: str
) -> None:
    with pytest.raises(ProviderFaultError) as refused:
        connection.find(token, import_id)
    assert says in one_line(refused.value.message)


def test_a_connection_that_was_never_configured_is_refused_with_what_to_do(connection: Connection) -> None:
    with connected(connection.port, None) as new, pytest.raises(ProviderFaultError, match="run it again"):
        new.make(GROUP, {"name": "g"})


# ---- gone, and half done


def test_what_is_gone_reads_as_gone_and_deletes_without_complaint(connection: Connection, strict: Strict) -> None:
    iam = strict.client("iam")
    connection.make(GROUP, {"name": "ghosts"})
    user = connection.make(USER, {"name": "ghost"})
    gone = [
        connection.make(KEY, {"user": "ghost"}),
        connection.make(MEMBERSHIP, {"user": "ghost", "groups": ["ghosts"]}),
        connection.make(
            "aws:iam/userPolicy:UserPolicy",
            {
                "user": "ghost",
                "name": "p",
                "policy": {
                    "Version": "2012-10-17",
                    "Statement": [{"Effect": "Allow", "Action": "s3:Get*", "Resource": "*"}],
                },
            },
        ),
        user,
    ]
    iam.delete_access_key(UserName="ghost", AccessKeyId=gone[0].id)
    iam.remove_user_from_group(UserName="ghost", GroupName="ghosts")
    iam.delete_user_policy(UserName="ghost", PolicyName="p")
    iam.delete_user(UserName="ghost")
    for made in gone:
        assert not made.refresh(), f"{made.token} is gone and must read as gone"
        made.delete()
    assert connection.find(USER, "ghost") is None, "and it cannot be imported"


def test_a_key_that_cannot_be_deactivated_keeps_its_secret_in_the_state(connection: Connection, strict: Strict) -> None:
    strict.control.fail("UpdateAccessKey", "ServiceNotHere", message="come back later")
    connection.make(USER, {"name": "half"})
    with pytest.raises(ProviderFaultError) as refused:
        connection.make(KEY, {"user": "half", "status": "Inactive"})
    assert "UpdateAccessKey failed: ServiceNotHere: come back later" in one_line(refused.value.message)
    assert refused.value.left_behind is not None, "the key exists: the engine must keep it"
    key_id, state = refused.value.left_behind
    assert key_id.startswith("AKIA")
    assert isinstance(state["secret"], Secret), "the secret is shown once: it must not be lost"
    assert state["status"] == "Active", "the state holds what is true, so that the next run fixes it"


def test_a_user_that_could_not_be_read_after_its_creation_is_completed_by_an_update(
    connection: Connection, strict: Strict
) -> None:
    strict.control.fail("GetUser", "AccessDenied", times=50)
    with pytest.raises(ProviderFaultError) as refused:
        connection.make(USER, {"name": "unread"})
    strict.control.clear_faults()
    assert refused.value.left_behind is not None, "the user exists"
    user = Made(connection, USER, "it", *refused.value.left_behind, {"name": "unread"})
    user.update({"name": "unread", "path": "/"})
    assert user.outputs["arn"].endswith(":user/unread")
    assert user.outputs["tagsAll"] == {}


def test_a_rename_whose_second_half_fails_is_remembered(connection: Connection, strict: Strict) -> None:
    strict.control.fail("PutUserPermissionsBoundary", "ServiceNotHere")
    user = connection.make(USER, {"name": "first-name"})
    new = {"name": "second-name", "permissionsBoundary": "arn:aws:iam::aws:policy/ReadOnlyAccess"}
    with pytest.raises(ProviderFaultError) as refused:
        user.update(new)
    assert refused.value.left_behind is not None
    _, user.outputs = refused.value.left_behind
    assert (user.outputs["id"], user.outputs["name"]) == ("second-name", "second-name"), "the rename took place"
    assert user.diff(new).diffs == ["permissionsBoundary"], "the boundary is still to do"
    user.update(new)
    assert user.outputs["permissionsBoundary"] == new["permissionsBoundary"]


def test_a_rename_together_with_a_change_of_tags_fails_as_with_the_real_provider(connection: Connection) -> None:
    user = connection.make(USER, {"name": "one-at-a-time"})
    with pytest.raises(ProviderFaultError, match="TagUser failed: NoSuchEntity: The user with name both-at-once"):
        user.update({"name": "both-at-once", "tags": {"a": "b"}})
    user.update({"name": "both-at-once"})
    user.update({"name": "both-at-once", "tags": {"a": "b"}})
    assert user.outputs["tagsAll"] == {"a": "b"}


def test_throttling_and_failing_servers_are_retried(connection: Connection, strict: Strict) -> None:
    strict.control.fail("CreateUser", "Throttling")
    strict.control.fail("CreateUser", "ServiceUnavailable", call=2)
    assert connection.make(USER, {"name": "patient"}).id == "patient", "the third try must succeed"


# ---- many at once


def test_requests_run_in_parallel(connection: Connection, strict: Strict) -> None:
    strict.control.change_faults(latency=0.1)
    began = time.monotonic()
    with ThreadPoolExecutor(32) as pool:
        users = list(pool.map(lambda number: connection.make(USER, {"name": f"parallel-{number}"}), range(64)))
    assert len({user.id for user in users}) == 64
    assert time.monotonic() - began < 64 * 0.1, "128 requests of 0.1 s each take less than half of that"


@pytest.mark.long
def test_three_hundred_resources_are_made_quickly_and_rightly(connection: Connection, strict: Strict) -> None:
    connection.make(GROUP, {"name": "crowd"})
    names = [f"member-{number:03}" for number in range(100)]
    start = time.monotonic()
    with ThreadPoolExecutor(32) as pool:
        list(pool.map(lambda name: connection.make(USER, {"name": name}), names))
        keys = list(pool.map(lambda name: connection.make(KEY, {"user": name}), names))
        list(pool.map(lambda name: connection.make(MEMBERSHIP, {"user": name, "groups": ["crowd"]}), names))
    took = time.monotonic() - start
    members = strict.client("iam").get_paginator("get_group").paginate(GroupName="crowd").build_full_result()["Users"]
    assert sorted(user["UserName"] for user in members) == names, "every user is in the group"
    assert [key.outputs["user"] for key in keys] == names, "every key is its own user's"
    assert took < 60, f"300 resources took {took:.0f} s"


def test_a_bug_of_the_provider_is_reported_without_what_may_be_secret(
    connection: Connection, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(aws: Any, arguments: Any) -> Any:
        raise ValueError("hunter" + str(len(arguments) + 2))

    function = registry.FUNCTIONS["aws:index/getPartition:getPartition"]
    monkeypatch.setitem(registry.FUNCTIONS, function.token, replace(function, answer=broken))
    with pytest.raises(ProviderFaultError) as refused:
        connection.invoke(function.token, {})
    assert "a bug in the emulated provider, not in your program: ValueError" in one_line(refused.value.message)
    assert "in broken" in caplog.text, "the log must hold the place"
    assert "hunter2" not in refused.value.message + caplog.text, "an exception's words may hold a secret"

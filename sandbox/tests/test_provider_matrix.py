"""Each resource of the emulated provider through everything that can happen to it.

The inputs and their changes are those measured on the real provider (provider_measured.json). The summary at the end of
a test run counts the points of this matrix.
"""

import json
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from aws_support import Strict
from provider_client import Connection, Made, ProviderFaultError, connected
from pulumi_sandbox.provider import registry

MEASURED: list[dict[str, Any]] = json.loads(
    Path(__file__).with_name("provider_measured.json").read_text(encoding="utf-8")
)["resources"]
TOKENS = {row["token"].rpartition(":")[2]: row["token"] for row in MEASURED}
NUMBER = count(1)

# What is changed in place of, or along with, a measured change that is only planned there and that AWS would refuse.
APPLIED: dict[tuple[str, str], dict[str, Any]] = {
    ("AccessKey", "user"): {"user": "${other User.name}"},
    ("Alias", "targetKeyId"): {"targetKeyId": "${other Key.keyId}"},
    ("GroupPolicy", "group"): {"group": "${other Group.name}"},
    ("GroupPolicyAttachment", "group"): {"group": "${other Group.name}"},
    ("Key", "keyUsage"): {"keyUsage": "SIGN_VERIFY", "customerMasterKeySpec": "RSA_2048"},
    ("Parameter", "dataType"): {"dataType": "aws:ec2:image", "type": "String", "value": "ami-0123456789abcdef0"},
    ("Parameter", "keyId"): {"keyId": "${Key.keyId}"},
    ("Secret", "kmsKeyId"): {"kmsKeyId": "${Key.keyId}"},
    ("SecretPolicy", "secretArn"): {"secretArn": "${other Secret.arn}"},
    ("SecretVersion", "secretId"): {"secretId": "${other Secret.id}"},
    **{
        (kind, "bucket"): {"bucket": "${other Bucket.bucket}"}
        for kind in (
            "BucketVersioning",
            "BucketServerSideEncryptionConfiguration",
            "BucketPublicAccessBlock",
            "BucketPolicy",
            "BucketLifecycleConfiguration",
        )
    },
    ("UserGroupMembership", "groups"): {"groups": ["${Group.name}", "${other Group.name}"]},
    ("UserGroupMembership", "user"): {"user": "${other User.name}"},
    ("UserPolicy", "user"): {"user": "${other User.name}"},
    ("UserPolicyAttachment", "user"): {"user": "${other User.name}"},
}
# Inputs whose change was not measured.
NOT_MEASURED = {
    "Key": {"customKeyStoreId", "rotationPeriodInDays", "xksKeyId"},
    "Alias": {"namePrefix"},
    "SecretVersion": {"secretBinary"},
    "Parameter": {"arn", "insecureValue"},
    "AccessKey": {"pgpKey"},
    "Policy": {"delayAfterPolicyCreationInMs"},
}
# How somebody removes it without the provider: service, operation, and its arguments.
REMOVED: dict[str, tuple[str, str, Callable[[Made], dict[str, Any]]]] = {
    "Group": ("iam", "delete_group", lambda it: {"GroupName": it.id}),
    "User": ("iam", "delete_user", lambda it: {"UserName": it.id}),
    "Policy": ("iam", "delete_policy", lambda it: {"PolicyArn": it.id}),
    "AccessKey": (
        "iam",
        "delete_access_key",
        lambda it: {"UserName": it.outputs["user"], "AccessKeyId": it.id},
    ),
    "GroupPolicyAttachment": (
        "iam",
        "detach_group_policy",
        lambda it: {"GroupName": it.outputs["group"], "PolicyArn": it.outputs["policyArn"]},
    ),
    "UserPolicyAttachment": (
        "iam",
        "detach_user_policy",
        lambda it: {"UserName": it.outputs["user"], "PolicyArn": it.outputs["policyArn"]},
    ),
    "UserGroupMembership": (
        "iam",
        "remove_user_from_group",
        lambda it: {"UserName": it.outputs["user"], "GroupName": it.outputs["groups"][0]},
    ),
    "GroupPolicy": (
        "iam",
        "delete_group_policy",
        lambda it: {"GroupName": it.outputs["group"], "PolicyName": it.outputs["name"]},
    ),
    "UserPolicy": (
        "iam",
        "delete_user_policy",
        lambda it: {"UserName": it.outputs["user"], "PolicyName": it.outputs["name"]},
    ),
    "Key": ("kms", "schedule_key_deletion", lambda it: {"KeyId": it.id}),
    "Alias": ("kms", "delete_alias", lambda it: {"AliasName": it.id}),
    "Secret": ("secretsmanager", "delete_secret", lambda it: {"SecretId": it.id}),
    "SecretPolicy": ("secretsmanager", "delete_resource_policy", lambda it: {"SecretId": it.id}),
    "SecretVersion": ("secretsmanager", "delete_secret", lambda it: {"SecretId": it.outputs["secretId"]}),
    "Parameter": ("ssm", "delete_parameter", lambda it: {"Name": it.id}),
    "Bucket": ("s3", "delete_bucket", lambda it: {"Bucket": it.id}),
    "BucketVersioning": ("s3", "delete_bucket", lambda it: {"Bucket": it.id}),
    "BucketServerSideEncryptionConfiguration": ("s3", "delete_bucket_encryption", lambda it: {"Bucket": it.id}),
    "BucketPublicAccessBlock": ("s3", "delete_public_access_block", lambda it: {"Bucket": it.id}),
    "BucketPolicy": ("s3", "delete_bucket_policy", lambda it: {"Bucket": it.id}),
    "BucketLifecycleConfiguration": ("s3", "delete_bucket_lifecycle", lambda it: {"Bucket": it.id}),
}
IMPORT_ID: dict[str, Callable[[Made], str]] = {
    "GroupPolicyAttachment": lambda it: f"{it.outputs['group']}/{it.outputs['policyArn']}",
    "UserPolicyAttachment": lambda it: f"{it.outputs['user']}/{it.outputs['policyArn']}",
    "UserGroupMembership": lambda it: "/".join([it.outputs["user"], *it.outputs["groups"]]),
}
# What the provider keeps for itself or AWS shows only once: an import does not know it, nor with the real provider.
NOT_IMPORTED = {
    "User": {"forceDestroy"},
    "Bucket": {"forceDestroy"},
    "Secret": {"recoveryWindowInDays", "forceOverwriteReplicaSecret"},
    "AccessKey": {"secret", "sesSmtpPasswordV4"},
    "Key": {"deletionWindowInDays", "bypassPolicyLockoutSafetyCheck"},
    "GroupPolicyAttachment": {"id"},
    "UserPolicyAttachment": {"id"},
    "UserGroupMembership": {"id"},
}


class World:
    """Makes a resource with all that it refers to, each time from new."""

    def __init__(self, engine: Connection) -> None:
        self.engine = engine
        self.others: dict[str, Made] = {}
        self.suffix = f"-{next(NUMBER)}"

    def refresh_others(self) -> None:
        """Refresh what the resource refers to."""
        for other in self.others.values():
            other.refresh()

    def make(self, kind: str) -> Made:
        """The resource under test."""
        return self.engine.make(TOKENS[kind], self.inputs(kind))

    def inputs(self, kind: str, change: dict[str, Any] | None = None) -> dict[str, Any]:
        """Its inputs, with names of this test; None in a change removes one."""
        row = next(row for row in MEASURED if row["token"] == TOKENS[kind])
        name = registry.RESOURCES[TOKENS[kind]].autoname
        given = {
            key: self._filled({"group": "${Group.name}", "user": "${User.name}"}.get(key, value))
            for key, value in row["inputs"].items()
        }
        given |= {"groups": [self._filled("${Group.name}")]} if "groups" in given else {}
        merged = given | self._filled(change or {})
        if merged.get(name):
            merged[name] += self.suffix
        return {key: value for key, value in merged.items() if value is not None}

    def _filled(self, value: Any) -> Any:
        """`${User.name}` is the name of a user; `${other User.name}` that of another one."""
        if isinstance(value, dict):
            return {key: self._filled(part) for key, part in value.items()}
        if isinstance(value, list):
            return [self._filled(part) for part in value]
        if not isinstance(value, str) or not value.startswith("${"):
            return value
        what, _, output = value[2:-1].rpartition(".")
        kind = what.rpartition(":")[2].removeprefix("other ")
        return self.referred_to(f"other {kind}" if what.startswith("other ") else kind, kind, output)

    def referred_to(self, which: str, kind: str, output: str) -> Any:
        """An output of another resource, which is made if need be."""
        if which not in self.others:
            self.others[which] = World(self.engine).make(kind)
        return self.others[which].outputs[output]


@pytest.fixture
def world(connection: Connection) -> Iterator[World]:
    with connected(connection.port, region="us-east-1") as engine:
        yield World(engine)


kinds = pytest.mark.parametrize("kind", list(TOKENS))
CHANGES = [(kind, plan) for kind, row in zip(TOKENS, MEASURED, strict=True) for plan in row["plans"]]


def changes(*, replacing: bool) -> Any:
    chosen = [(kind, plan) for kind, plan in CHANGES if bool(plan["replaces"]) == replacing]
    names = [f"{kind}-{'-'.join(plan['change'])}-{number}" for number, (kind, plan) in enumerate(chosen)]
    return pytest.mark.parametrize(("kind", "plan"), chosen, ids=names)


def applied(kind: str, plan: dict[str, Any]) -> dict[str, Any]:
    """The measured change, or the one that AWS accepts in its place."""
    change: dict[str, Any] = plan["change"]
    asked, value = list(change.items())[-1]
    return change if str(value).startswith("${") else APPLIED.get((kind, asked), change)


def unchanged(made: Made, inputs: dict[str, Any]) -> None:
    diff = made.diff(inputs)
    assert not diff.diffs, f"{made.token}: a preview without a change shows {list(diff.diffs)}"


def differing(before: dict[str, Any], after: dict[str, Any]) -> set[str]:
    """The outputs that are not the same; that there are no tags can be kept as {} or not at all."""
    return {
        key
        for key in before.keys() | after.keys()
        if before.get(key) != after.get(key) and not (key == "tags" and before.get(key, {}) == after.get(key, {}))
    }


@kinds
def test_create_makes_what_was_asked_for(world: World, kind: str) -> None:
    made = world.make(kind)
    assert made.id
    found = world.engine.find(made.token, IMPORT_ID.get(kind, lambda it: it.id)(made))
    assert found is not None, f"AWS has the new {kind}"


@kinds
def test_a_second_preview_is_empty(world: World, kind: str) -> None:
    unchanged(world.make(kind), world.inputs(kind))


@kinds
def test_a_refresh_finds_no_drift(world: World, kind: str) -> None:
    made = world.make(kind)
    before = made.outputs
    assert made.refresh()
    assert not differing(before, made.outputs), "a refresh without drift changes something"
    unchanged(made, world.inputs(kind))


@changes(replacing=False)
def test_an_update_in_place_changes_it_and_nothing_else(world: World, kind: str, plan: dict[str, Any]) -> None:
    made = world.make(kind)
    new = world.inputs(kind, applied(kind, plan))
    diff = made.diff(new)
    assert not list(diff.replaces)
    assert sorted(diff.diffs) == sorted(plan["diffs"])
    made.update(new)
    updated = made.outputs
    unchanged(made, new)
    assert made.refresh()
    assert not differing(updated, made.outputs), "a refresh after the update changes something"
    unchanged(made, new)
    made.delete()


@changes(replacing=True)
def test_a_replacement_makes_a_new_one_and_removes_the_old(world: World, kind: str, plan: dict[str, Any]) -> None:
    made = world.make(kind)
    new = world.inputs(kind, applied(kind, plan))
    diff = made.diff(new)
    if applied(kind, plan) == plan["change"]:
        assert list(diff.replaces) == plan["replaces"]
    assert set(plan["replaces"]) <= set(diff.replaces)
    assert diff.deleteBeforeReplace == plan["deleteBeforeReplace"]
    if diff.deleteBeforeReplace:
        made.delete()
    other = world.engine.make(made.token, new)
    if not diff.deleteBeforeReplace:
        made.delete()
    unchanged(other, new)
    assert other.refresh(), "the new one stays"


@kinds
def test_every_input_was_measured_or_is_named(kind: str) -> None:
    row = next(row for row in MEASURED if row["token"] == TOKENS[kind])
    measured = {key for plan in row["plans"] for key in plan["change"]}
    inputs = registry.RESOURCES[row["token"]].inputs().keys() - {"region"}  # provider 6 has it, the measured one not
    assert inputs - measured == NOT_MEASURED.get(kind, set())


@kinds
def test_what_somebody_removed_is_gone_and_can_be_made_again(world: World, strict: Strict, kind: str) -> None:
    made = world.make(kind)
    service, operation, arguments = REMOVED[kind]
    getattr(strict.client(service, region="us-east-1"), operation)(**arguments(made))
    # It is the user's list of groups, and that has become shorter; or the secret's policy, and that has become empty.
    if left := {"UserGroupMembership": "groups", "SecretPolicy": "policy"}.get(kind):
        assert made.refresh()
        assert list(made.diff(world.inputs(kind)).diffs) == [left]
        made.update(world.inputs(kind))
        unchanged(made, world.inputs(kind))
        return
    assert not made.refresh(), f"a refresh takes the {kind} out of the state"
    if kind != "Secret":  # see the last test
        made.delete()  # what is gone already is no error
    again = World(world.engine).make(kind)
    assert again.refresh()


@kinds
def test_an_import_leads_to_the_same_state(world: World, kind: str) -> None:
    made = world.make(kind)
    made.refresh()
    found = world.engine.find(made.token, IMPORT_ID.get(kind, lambda it: it.id)(made))
    assert found is not None
    assert differing(made.outputs, found.outputs) == NOT_IMPORTED.get(kind, set())
    program = {key: value for key, value in found.inputs.items() if key != "__defaults"}
    # The window is the provider's own: an import leaves it out, and the next update writes it into the state.
    assert list(found.diff(program).diffs) == (["recoveryWindowInDays"] if kind == "Secret" else [])


@kinds
def test_destroy_leaves_nothing(world: World, kind: str) -> None:
    made = world.make(kind)
    made.delete()
    if kind == "UserGroupMembership":  # the user is still there, in none of its groups
        assert made.refresh()
        assert made.outputs["groups"] == []
    elif kind == "SecretPolicy":  # the secret is still there, without a policy
        assert made.refresh()
        assert made.outputs["policy"] == ""
    elif kind == "BucketVersioning":
        assert made.refresh()
        assert made.outputs["versioningConfiguration"]["status"] == "Suspended", "no bucket becomes unversioned"
    elif kind != "SecretVersion":  # a version stays until its secret goes: the provider only takes its labels away
        assert not made.refresh(), f"AWS has the {kind} no longer"
    if kind == "Secret":  # as with the real provider, measured
        with pytest.raises(ProviderFaultError, match="DeleteSecret failed: InvalidRequestException"):
            made.delete()
    else:
        made.delete()  # what is gone already is no error

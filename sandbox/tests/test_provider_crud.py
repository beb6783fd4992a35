"""Updates and deletes do to AWS what the program says: each resource is changed, and looked at with the AWS SDK."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from aws_support import Strict
from botocore.exceptions import ClientError
from google.protobuf.struct_pb2 import Struct
from provider_client import Connection, ProviderFaultError, Secret, connected
from pulumi_sandbox.provider.values import from_struct

USER, KEY, POLICY = "aws:iam/user:User", "aws:iam/accessKey:AccessKey", "aws:iam/policy:Policy"
GROUP_POLICY, USER_POLICY = "aws:iam/groupPolicy:GroupPolicy", "aws:iam/userPolicy:UserPolicy"
SECRET, VERSION = "aws:secretsmanager/secret:Secret", "aws:secretsmanager/secretVersion:SecretVersion"
PARAMETER, KMS_KEY, ALIAS = "aws:ssm/parameter:Parameter", "aws:kms/key:Key", "aws:kms/alias:Alias"
BUCKET = "aws:s3/bucket:Bucket"

Sdk = Callable[[str], Any]


def document(action: str) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": action, "Resource": "*"}]})


@pytest.fixture
def sdk(strict: Strict) -> Sdk:
    """AWS's SDK, to look at what the provider did, or to do things without its knowledge."""
    return strict.client


def gone(call: Any, **arguments: Any) -> bool:
    """Whether AWS says that a thing is not there."""
    try:
        call(**arguments)
    except ClientError as error:
        code = error.response["Error"]["Code"]
        return code in ("NoSuchEntity", "ParameterNotFound", "ResourceNotFoundException", "404")
    return False


def tags_of(pairs: list[dict[str, str]]) -> dict[str, str]:
    return {tag["Key"]: tag["Value"] for tag in pairs}


# ---- IAM


def test_a_users_tags_are_added_changed_and_removed(connection: Connection, sdk: Sdk) -> None:
    user = connection.make(USER, {"name": "life-user", "tags": {"keep": "1", "change": "1", "drop": "1"}})
    user.update({"name": "life-user", "tags": {"keep": "1", "change": "2", "add": "1"}})
    assert tags_of(sdk("iam").list_user_tags(UserName="life-user")["Tags"]) == {"keep": "1", "change": "2", "add": "1"}
    user.delete()
    assert gone(sdk("iam").get_user, UserName="life-user")


def test_a_create_waits_until_reads_find_the_new_user(connection: Connection, strict: Strict) -> None:
    strict.control.change_faults(stale=1)
    try:
        user = connection.make(USER, {"name": "life-fresh"})
        strict.control.change_faults(stale=600)
        key = connection.make(KEY, {"user": "life-fresh"})
        assert not key.refresh(), "a refresh at once takes the key for deleted, as with the real provider"
    finally:
        strict.control.clear_faults()
    assert user.outputs["arn"].endswith(":user/life-fresh")
    assert key.refresh(), "and finds it later"
    key.delete()
    user.delete()


def test_a_user_leaves_its_groups_before_it_is_deleted(connection: Connection, sdk: Sdk) -> None:
    iam = sdk("iam")
    iam.create_group(GroupName="life-group")
    user = connection.make(USER, {"name": "life-member"})
    iam.add_user_to_group(UserName="life-member", GroupName="life-group")
    user.delete()
    assert iam.get_group(GroupName="life-group")["Users"] == [], "the membership must go with the user"


def test_force_destroy_removes_what_keeps_a_user_alive(connection: Connection, sdk: Sdk) -> None:
    iam = sdk("iam")
    user = connection.make(USER, {"name": "life-laden", "forceDestroy": True})
    iam.create_access_key(UserName="life-laden")
    iam.create_login_profile(UserName="life-laden", Password="a password of 20 characters")
    iam.put_user_policy(UserName="life-laden", PolicyName="inline", PolicyDocument=document("s3:Get*"))
    iam.attach_user_policy(UserName="life-laden", PolicyArn="arn:aws:iam::aws:policy/ReadOnlyAccess")
    user.delete()
    assert gone(iam.list_access_keys, UserName="life-laden"), "user and keys must be gone"


def test_a_key_is_switched_off_and_on_and_deleted(connection: Connection, sdk: Sdk) -> None:
    connection.make(USER, {"name": "life-keys"})
    key = connection.make(KEY, {"user": "life-keys"})

    def on_aws() -> list[tuple[str, str]]:
        found = sdk("iam").list_access_keys(UserName="life-keys")["AccessKeyMetadata"]
        return [(one["AccessKeyId"], one["Status"]) for one in found]

    for status in ("Inactive", "Active"):
        key.update({"user": "life-keys", "status": status})
        assert on_aws() == [(key.id, status)]
    key.delete()
    assert on_aws() == []


def test_a_policy_update_makes_a_new_default_version_and_keeps_at_most_five(connection: Connection, sdk: Sdk) -> None:
    policy = connection.make(POLICY, {"name": "life-policy", "policy": document("s3:Get0")})
    for number in range(1, 8):
        policy.update({"name": "life-policy", "policy": document(f"s3:Get{number}")})
    versions = sdk("iam").list_policy_versions(PolicyArn=policy.id)["Versions"]
    assert sorted(version["VersionId"] for version in versions) == ["v4", "v5", "v6", "v7", "v8"], "the oldest must go"
    assert [version["VersionId"] for version in versions if version["IsDefaultVersion"]] == ["v8"]
    assert "s3:Get7" in policy.outputs["policy"]
    policy.delete()
    assert gone(sdk("iam").get_policy, PolicyArn=policy.id), "all versions and the policy must be gone"


@pytest.mark.parametrize(("token", "owner"), [(GROUP_POLICY, "group"), (USER_POLICY, "user")])
def test_an_inline_policy_is_put_changed_and_deleted(connection: Connection, token: str, owner: str, sdk: Sdk) -> None:
    iam, name = sdk("iam"), f"life-inline-{owner}"
    connection.make(f"aws:iam/{owner}:{owner.capitalize()}", {"name": name})
    made = connection.make(token, {owner: name, "name": "p", "policy": document("s3:Get*")})
    made.update({owner: name, "name": "p", "policy": document("s3:Put*")})
    get = getattr(iam, f"get_{owner}_policy")
    named = {f"{owner.capitalize()}Name": name, "PolicyName": "p"}
    assert get(**named)["PolicyDocument"]["Statement"][0]["Action"] == "s3:Put*"
    found = connection.find(token, f"{name}:p")
    assert found is not None, "the import id is owner:name"
    assert found.outputs["policy"] == made.outputs["policy"]
    made.delete()
    assert gone(get, **named)


# ---- Secrets Manager and SSM


def test_a_secret_and_its_versions(connection: Connection, sdk: Sdk) -> None:
    client = sdk("secretsmanager")
    secret = connection.make(SECRET, {"name": "life-secret", "recoveryWindowInDays": 0, "tags": {"a": "b"}})
    first = connection.make(VERSION, {"secretId": secret.id, "secretString": "one"})
    assert first.diff({"secretId": secret.id, "secretString": "two"}).replaces == ["secretString"]
    second = connection.make(VERSION, {"secretId": secret.id, "secretString": "two"})
    first.refresh()
    assert first.outputs["versionStages"] == ["AWSPREVIOUS"], "the new version is the current one"
    first.delete()
    assert client.get_secret_value(SecretId=secret.id)["SecretString"] == "two", "consumers read the new version"
    assert second.outputs["secretString"] == Secret("two")
    second.update({"secretId": secret.id, "secretString": "two", "versionStages": ["AWSCURRENT", "BLUE"]})
    assert client.get_secret_value(SecretId=secret.id, VersionStage="BLUE")["SecretString"] == "two"

    secret.update({"name": "life-secret", "recoveryWindowInDays": 0, "description": "d", "tags": {"c": "d"}})
    described = client.describe_secret(SecretId=secret.id)
    assert (described["Description"], tags_of(described["Tags"])) == ("d", {"c": "d"})
    policy = json.dumps({"Version": "2012-10-17", "Statement": []})
    secret.update({"name": "life-secret", "recoveryWindowInDays": 0, "policy": policy})
    assert json.loads(client.get_resource_policy(SecretId=secret.id)["ResourcePolicy"]) == json.loads(policy)
    second.delete()
    secret.delete()
    assert gone(client.describe_secret, SecretId=secret.id), "a recovery window of 0 deletes at once"
    assert not second.refresh(), "a version goes with its secret"


def test_a_deleted_secret_that_can_be_recovered_reads_as_gone(connection: Connection, sdk: Sdk) -> None:
    secret = connection.make(SECRET, {"name": "life-recoverable"})
    version = connection.make(VERSION, {"secretId": secret.id, "secretBinary": "YWJj"})
    assert version.outputs["secretBinary"] == Secret("YWJj")
    secret.delete()
    assert "DeletedDate" in sdk("secretsmanager").describe_secret(SecretId=secret.id), "30 days to change one's mind"
    assert not secret.refresh()
    assert not version.refresh()


def test_a_parameter_counts_its_versions(connection: Connection, sdk: Sdk) -> None:
    client = sdk("ssm")
    inputs = {"name": "/life/parameter", "type": "SecureString", "value": "one", "description": "d"}
    parameter = connection.make(PARAMETER, inputs)
    parameter.update(inputs | {"value": "two", "tags": {"a": "b"}})
    assert parameter.outputs["version"] == 2
    found = client.get_parameter(Name="/life/parameter", WithDecryption=True)["Parameter"]
    assert (found["Value"], found["Type"]) == ("two", "SecureString")
    parameter.update(inputs | {"value": "two"})
    assert parameter.outputs["version"] == 2, "a change of tags alone makes no version"
    assert client.list_tags_for_resource(ResourceType="Parameter", ResourceId="/life/parameter")["TagList"] == []
    with pytest.raises(ProviderFaultError, match="ParameterAlreadyExists"):
        connection.make(PARAMETER, inputs)
    plain = connection.make(PARAMETER, {"name": "/life/plain", "type": "String", "insecureValue": "open"})
    assert plain.outputs["insecureValue"] == "open", "an insecureValue is no secret"
    for made in (parameter, plain):
        made.delete()
    assert gone(client.get_parameter, Name="/life/parameter")


# ---- KMS and S3


def test_a_kms_key_is_changed_and_scheduled_for_deletion(connection: Connection, sdk: Sdk) -> None:
    client = sdk("kms")
    key = connection.make(KMS_KEY, {"description": "one", "deletionWindowInDays": 7})
    key.update(
        {
            "description": "two",
            "deletionWindowInDays": 7,
            "enableKeyRotation": True,
            "isEnabled": False,
            "tags": {"a": "b"},
        }
    )
    about = client.describe_key(KeyId=key.id)["KeyMetadata"]
    assert (about["Description"], about["Enabled"]) == ("two", False)
    assert client.list_resource_tags(KeyId=key.id)["Tags"] == [{"TagKey": "a", "TagValue": "b"}]
    key.update({"description": "two", "deletionWindowInDays": 7})
    assert client.describe_key(KeyId=key.id)["KeyMetadata"]["Enabled"] is True
    assert client.get_key_rotation_status(KeyId=key.id)["KeyRotationEnabled"] is False
    other = connection.make(KMS_KEY, {})
    alias = connection.make(ALIAS, {"name": "alias/life", "targetKeyId": key.id})
    assert not alias.diff({"name": "alias/life", "targetKeyId": key.outputs["arn"]}).diffs, "id and ARN are the same"
    alias.update({"name": "alias/life", "targetKeyId": other.outputs["arn"]})
    assert client.describe_key(KeyId="alias/life")["KeyMetadata"]["KeyId"] == other.id
    for made in (alias, key, other):
        made.delete()
    assert client.describe_key(KeyId=key.id)["KeyMetadata"]["KeyState"] == "PendingDeletion"
    assert not key.refresh(), "a key that awaits its deletion reads as gone"
    assert not alias.refresh()


def test_a_bucket_with_contents_is_only_deleted_by_force(connection: Connection, sdk: Sdk) -> None:
    client = sdk("s3")
    bucket = connection.make(BUCKET, {"bucket": "life-bucket", "tags": {"a": "b"}})
    client.put_bucket_versioning(Bucket="life-bucket", VersioningConfiguration={"Status": "Enabled"})
    for body in (b"one", b"two"):
        client.put_object(Bucket="life-bucket", Key="k", Body=body)
    client.delete_object(Bucket="life-bucket", Key="k")
    bucket.refresh()
    assert bucket.outputs["versioning"]["enabled"] is True, "a refresh sees what others set"
    with pytest.raises(ProviderFaultError, match="DeleteBucket failed: BucketNotEmpty"):
        bucket.delete()
    bucket.update({"bucket": "life-bucket", "forceDestroy": True, "tags": {"c": "d"}})
    assert tags_of(client.get_bucket_tagging(Bucket="life-bucket")["TagSet"]) == {"c": "d"}
    bucket.delete()
    assert gone(client.head_bucket, Bucket="life-bucket"), "all versions and markers and the bucket must be gone"


def test_a_bucket_of_ones_own_is_not_taken_for_a_new_one(connection: Connection) -> None:
    for region, refused in (("us-east-1", "BucketAlreadyExists"), ("eu-west-1", "BucketAlreadyOwnedByYou")):
        with connected(connection.port, region=region) as engine:
            bucket = engine.make(BUCKET, {"bucket": f"life-twice-{region}"})
            with pytest.raises(ProviderFaultError, match=refused):
                engine.make(BUCKET, {"bucket": f"life-twice-{region}"})
            bucket.delete()


def test_an_automatic_bucket_name_is_in_lower_case(connection: Connection) -> None:
    bucket = connection.make(BUCKET, {}, name="MyBucket")
    assert bucket.id.startswith("mybucket-")
    bucket.delete()


# ---- names chosen by the engine's own rules, and numbers


def test_the_engines_naming_rules_are_followed(connection: Connection) -> None:
    from pulumi.runtime.proto import provider_pb2 as pb

    options = pb.CheckRequest.AutonamingOptions
    proposed, _ = connection.check(USER, {}, autonaming=options(proposed_name="as-told", mode=options.PROPOSE))
    assert proposed["name"] == "as-told"
    _, failures = connection.check(USER, {}, autonaming=options(mode=options.DISABLE))
    assert "automatic naming is switched off" in failures["name"]


def test_whole_numbers_arrive_whole() -> None:
    wire = Struct()
    wire.update({"days": 7, "share": 0.5})
    values = from_struct(wire)
    assert (type(values["days"]), values["share"]) == (int, 0.5), "AWS refuses 7.0 where it wants 7"

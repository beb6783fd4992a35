"""Which permissions a request needs: exactly these let it pass, and each one of them is needed."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from aws_support import ALLOW_ALL, REGION, Strict, refusal, send
from botocore.exceptions import ClientError
from pulumi_sandbox.credentials import Credentials

HERE = f"{REGION}:123456789012"
IAM = "arn:aws:iam::123456789012"
SSM, SECRET = f"arn:aws:ssm:{HERE}:parameter", f"arn:aws:secretsmanager:{HERE}:secret"

Permission = tuple[str, str]
Call = Callable[[Any, dict[str, Any]], Any]


@pytest.fixture(scope="module")
def given(strict: Strict) -> dict[str, Any]:
    """What the requests are about."""
    kms, ssm, secrets = strict.client("kms"), strict.client("ssm"), strict.client("secretsmanager")
    keys = [kms.create_key()["KeyMetadata"]["Arn"] for _ in range(2)]
    for alias in ("one", "moving", "old"):
        kms.create_alias(AliasName=f"alias/{alias}", TargetKeyId=keys[0])
    iam = strict.client("iam")
    iam.create_user(UserName="owner", Path="/team/")
    iam.create_user(UserName="moving", Path="/team/")
    iam.create_group(GroupName="moving")
    iam.create_virtual_mfa_device(VirtualMFADeviceName="device")
    for name in ("/a/encrypted", "/a/managed"):
        key = {"KeyId": keys[0]} if name == "/a/encrypted" else {}
        ssm.put_parameter(Name=name, Type="SecureString", Value="x", **key)
    for name in ("/a/one", "/a/two", "plain"):
        ssm.put_parameter(Name=name, Type="String", Value="x")
    s3 = strict.client("s3")
    s3.create_bucket(Bucket="bucket", CreateBucketConfiguration={"LocationConstraint": REGION})
    s3.create_bucket(Bucket="encrypted", CreateBucketConfiguration={"LocationConstraint": REGION})
    by_kms = {"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": keys[0]}}
    s3.put_bucket_encryption(Bucket="encrypted", ServerSideEncryptionConfiguration={"Rules": [by_kms]})
    s3.put_object(Bucket="encrypted", Key="file", Body=b"x")
    s3.put_bucket_versioning(Bucket="bucket", VersioningConfiguration={"Status": "Enabled"})
    return {
        "version": s3.put_object(**OBJECT, Body=b"x")["VersionId"],
        "owner's key": iam.create_access_key(UserName="owner")["AccessKey"]["AccessKeyId"],
        "key": keys[0],
        "other key": keys[1],
        "ciphertext": kms.encrypt(KeyId=keys[0], Plaintext=b"x")["CiphertextBlob"],
        "secret": secrets.create_secret(Name="team/one", SecretString="x")["ARN"],
        "encrypted": secrets.create_secret(Name="team/encrypted", SecretString="x", KmsKeyId="alias/one")["ARN"],
    }


@pytest.fixture(scope="module")
def probe(strict: Strict) -> Credentials:
    """The key of a user who may do what a test puts into its policy."""
    return strict.user_with_key("probe")


TAG = [{"Key": "a", "Value": "b"}]
TRUST = json.dumps(
    {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"AWS": "*"}}]}
)
NOTHING = json.dumps(
    {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "sts:GetCallerIdentity", "Resource": "*"}]}
)
TAGS = {"ResourceType": "Parameter", "ResourceId": "/a/one"}
OBJECT, FILE = {"Bucket": "bucket", "Key": "file"}, "arn:aws:s3:::bucket/file"
ALIAS = f"arn:aws:kms:{HERE}:alias"
# The service, a request, and the permissions that it needs; {...} is of what is given above.
ROWS: list[tuple[str, Call, list[Permission]]] = [
    (
        "iam",
        lambda iam, of: iam.get_access_key_last_used(AccessKeyId=of["owner's key"]),
        [("GetAccessKeyLastUsed", f"{IAM}:user/team/owner")],
    ),
    (
        "iam",
        lambda iam, _: iam.update_user(UserName="moving", NewUserName="moved"),
        [("UpdateUser", f"{IAM}:user/team/moving"), ("UpdateUser", f"{IAM}:user/team/moved")],
    ),
    (
        "iam",
        lambda iam, _: iam.update_group(GroupName="moving", NewPath="/x/"),
        [("UpdateGroup", f"{IAM}:group/moving"), ("UpdateGroup", f"{IAM}:group/x/moving")],
    ),
    (
        "iam",
        lambda iam, _: iam.create_user(UserName="tagged", Path="/team/", Tags=TAG),
        [("CreateUser", f"{IAM}:user/team/tagged"), ("TagUser", f"{IAM}:user/team/tagged")],
    ),
    (
        "iam",
        lambda iam, _: iam.create_policy(PolicyName="tagged", PolicyDocument=ALLOW_ALL, Tags=TAG),
        [("CreatePolicy", f"{IAM}:policy/tagged"), ("TagPolicy", f"{IAM}:policy/tagged")],
    ),
    (
        "iam",
        lambda iam, _: iam.create_role(RoleName="tagged", AssumeRolePolicyDocument=TRUST, Tags=TAG),
        [("CreateRole", f"{IAM}:role/tagged"), ("TagRole", f"{IAM}:role/tagged")],
    ),
    (
        "secretsmanager",
        lambda sm, _: sm.create_secret(Name="tagged", Tags=TAG),
        [("CreateSecret", f"{SECRET}:tagged-??????"), ("TagResource", f"{SECRET}:tagged-??????")],
    ),
    (
        "ssm",
        lambda ssm, _: ssm.put_parameter(Name="/a/tagged", Type="String", Value="x", Tags=TAG),
        [("PutParameter", f"{SSM}/a/tagged"), ("AddTagsToResource", f"{SSM}/a/tagged")],
    ),
    (
        "kms",
        lambda kms, _: kms.create_key(Tags=[{"TagKey": "a", "TagValue": "b"}]),
        [("CreateKey", "*"), ("TagResource", "*")],
    ),
    ("ssm", lambda ssm, _: ssm.get_parameter(Name="/a/one"), [("GetParameter", f"{SSM}/a/one")]),
    ("ssm", lambda ssm, _: ssm.get_parameter(Name="plain:1"), [("GetParameter", f"{SSM}/plain")]),
    ("ssm", lambda ssm, _: ssm.get_parameter(Name=f"{SSM}/a/one"), [("GetParameter", f"{SSM}/a/one")]),
    (
        "ssm",
        lambda ssm, _: ssm.get_parameters(Names=["/a/one", "/a/two"]),
        [("GetParameters", f"{SSM}/a/one"), ("GetParameters", f"{SSM}/a/two")],
    ),
    ("ssm", lambda ssm, _: ssm.get_parameters_by_path(Path="/a"), [("GetParametersByPath", f"{SSM}/a")]),
    ("ssm", lambda ssm, _: ssm.delete_parameters(Names=["/none"]), [("DeleteParameters", f"{SSM}/none")]),
    ("ssm", lambda ssm, _: ssm.describe_parameters(), [("DescribeParameters", "*")]),
    ("ssm", lambda ssm, _: ssm.list_tags_for_resource(**TAGS), [("ListTagsForResource", f"{SSM}/a/one")]),
    (
        "ssm",
        lambda ssm, _: ssm.add_tags_to_resource(**TAGS, Tags=TAG),
        [("AddTagsToResource", f"{SSM}/a/one")],
    ),
    (
        "ssm",
        lambda ssm, _: ssm.remove_tags_from_resource(**TAGS, TagKeys=["a"]),
        [("RemoveTagsFromResource", f"{SSM}/a/one")],
    ),
    ("secretsmanager", lambda sm, _: sm.get_secret_value(SecretId="team/one"), [("GetSecretValue", "{secret}")]),
    ("secretsmanager", lambda sm, of: sm.describe_secret(SecretId=of["secret"]), [("DescribeSecret", "{secret}")]),
    ("secretsmanager", lambda sm, _: sm.list_secrets(), [("ListSecrets", "*")]),
    (
        "secretsmanager",
        lambda sm, _: sm.create_secret(Name="team/two"),
        [("CreateSecret", f"{SECRET}:team/two-??????")],
    ),
    (
        "secretsmanager",
        lambda sm, _: sm.create_secret(Name="team/three", AddReplicaRegions=[{"Region": "eu-west-1"}]),
        [("CreateSecret", f"{SECRET}:team/three-??????"), ("ReplicateSecretToRegions", f"{SECRET}:team/three-??????")],
    ),
    # With a customer managed key: what the service does with it, the caller must be allowed to do.
    (
        "secretsmanager",
        lambda sm, of: sm.create_secret(Name="team/new", KmsKeyId="alias/one"),
        [("CreateSecret", f"{SECRET}:team/new-??????"), ("kms:GenerateDataKey", "{key}"), ("kms:Decrypt", "{key}")],
    ),
    (
        "secretsmanager",
        lambda sm, of: sm.put_secret_value(SecretId=of["encrypted"], SecretString="y"),
        [("PutSecretValue", "{encrypted}"), ("kms:GenerateDataKey", "{key}"), ("kms:Decrypt", "{key}")],
    ),
    (
        "secretsmanager",
        lambda sm, of: sm.get_secret_value(SecretId="team/encrypted"),
        [("GetSecretValue", "{encrypted}"), ("kms:Decrypt", "{key}")],
    ),
    (
        "secretsmanager",
        lambda sm, of: sm.update_secret(SecretId=of["encrypted"], SecretString="z"),
        [("UpdateSecret", "{encrypted}"), ("kms:GenerateDataKey", "{key}"), ("kms:Decrypt", "{key}")],
    ),
    (
        "secretsmanager",
        lambda sm, of: sm.update_secret(SecretId=of["encrypted"], Description="d"),
        [("UpdateSecret", "{encrypted}")],
    ),
    (
        "secretsmanager",
        lambda sm, of: sm.update_secret(SecretId=of["encrypted"], KmsKeyId=of["other key"]),
        [
            ("UpdateSecret", "{encrypted}"),
            ("kms:GenerateDataKey", "{other key}"),
            ("kms:Encrypt", "{other key}"),
            ("kms:Decrypt", "{other key}"),
        ],
    ),
    (
        "secretsmanager",
        lambda sm, of: sm.create_secret(Name="team/managed", KmsKeyId="alias/aws/secretsmanager"),
        [("CreateSecret", f"{SECRET}:team/managed-??????")],
    ),
    (
        "ssm",
        lambda ssm, of: ssm.put_parameter(Name="/a/new", Type="SecureString", Value="x", KeyId=of["key"]),
        [("PutParameter", f"{SSM}/a/new"), ("kms:Encrypt", "{key}")],
    ),
    (
        "ssm",
        lambda ssm, of: ssm.put_parameter(
            Name="/a/large", Type="SecureString", Value="x", KeyId="alias/one", Tier="Advanced"
        ),
        [("PutParameter", f"{SSM}/a/large"), ("kms:Encrypt", "{key}"), ("kms:GenerateDataKey", "{key}")],
    ),
    (
        "ssm",
        lambda ssm, _: ssm.get_parameter(Name="/a/encrypted", WithDecryption=True),
        [("GetParameter", f"{SSM}/a/encrypted"), ("kms:Decrypt", "{key}")],
    ),
    (
        "ssm",
        lambda ssm, _: ssm.get_parameters(Names=["/a/one", "/a/encrypted"], WithDecryption=True),
        [("GetParameters", f"{SSM}/a/one"), ("GetParameters", f"{SSM}/a/encrypted"), ("kms:Decrypt", "{key}")],
    ),
    ("ssm", lambda ssm, _: ssm.get_parameter(Name="/a/encrypted"), [("GetParameter", f"{SSM}/a/encrypted")]),
    (
        "ssm",
        lambda ssm, _: ssm.get_parameter(Name="/a/managed", WithDecryption=True),
        [("GetParameter", f"{SSM}/a/managed")],
    ),
    ("kms", lambda kms, of: kms.decrypt(CiphertextBlob=of["ciphertext"]), [("Decrypt", "{key}")]),
    ("kms", lambda kms, _: kms.encrypt(KeyId="alias/one", Plaintext=b"x"), [("Encrypt", "{key}")]),
    ("kms", lambda kms, _: kms.describe_key(KeyId=f"{ALIAS}/one"), [("DescribeKey", "{key}")]),
    ("kms", lambda kms, _: kms.generate_data_key(KeyId="alias/one", KeySpec="AES_256"), [("GenerateDataKey", "{key}")]),
    ("kms", lambda kms, _: kms.list_keys(), [("ListKeys", "*")]),
    (
        "kms",
        lambda kms, of: kms.re_encrypt(CiphertextBlob=of["ciphertext"], DestinationKeyId=of["other key"]),
        [("ReEncryptFrom", "{key}"), ("ReEncryptTo", "{other key}")],
    ),
    (
        "kms",
        lambda kms, of: kms.create_alias(AliasName="alias/new", TargetKeyId=of["key"]),
        [("CreateAlias", f"{ALIAS}/new"), ("CreateAlias", "{key}")],
    ),
    (
        "kms",
        lambda kms, of: kms.update_alias(AliasName="alias/moving", TargetKeyId=of["other key"]),
        [("UpdateAlias", f"{ALIAS}/moving"), ("UpdateAlias", "{key}"), ("UpdateAlias", "{other key}")],
    ),
    (
        "kms",
        lambda kms, _: kms.delete_alias(AliasName="alias/old"),
        [("DeleteAlias", f"{ALIAS}/old"), ("DeleteAlias", "{key}")],
    ),
    ("iam", lambda iam, _: iam.list_virtual_mfa_devices(), [("ListVirtualMFADevices", "*")]),
    (
        "iam",
        lambda iam, _: iam.delete_virtual_mfa_device(SerialNumber="arn:aws:iam::123456789012:mfa/device"),
        [("DeleteVirtualMFADevice", "arn:aws:iam::123456789012:mfa/device")],
    ),
    ("s3", lambda s3, of: s3.get_object(**OBJECT), [("GetObject", FILE)]),
    ("s3", lambda s3, of: s3.get_object(**OBJECT, VersionId=of["version"]), [("GetObjectVersion", FILE)]),
    ("s3", lambda s3, of: s3.get_object_tagging(**OBJECT), [("GetObjectTagging", FILE)]),
    (
        "s3",
        lambda s3, of: s3.get_object_tagging(**OBJECT, VersionId=of["version"]),
        [("GetObjectVersionTagging", FILE)],
    ),
    (
        "s3",
        lambda s3, _: s3.get_object_attributes(**OBJECT, ObjectAttributes=["ETag"]),
        [("GetObject", FILE), ("GetObjectAttributes", FILE)],
    ),
    (
        "s3",
        lambda s3, _: s3.put_object(**OBJECT, Body=b"x", Tagging="a=b"),
        [("PutObject", FILE), ("PutObjectTagging", FILE)],
    ),
    (
        "s3",
        lambda s3, of: s3.copy_object(
            Bucket="bucket", Key="copy", CopySource={"Bucket": "bucket", "Key": "file", "VersionId": of["version"]}
        ),
        [("PutObject", "arn:aws:s3:::bucket/copy"), ("GetObjectVersion", FILE)],
    ),
    (
        "s3",
        lambda s3, _: s3.delete_objects(Bucket="bucket", Delete={"Objects": [{"Key": "a/1"}, {"Key": "b&c"}]}),
        [("DeleteObject", "arn:aws:s3:::bucket/a/1"), ("DeleteObject", "arn:aws:s3:::bucket/b&c")],
    ),
    (
        "s3",
        lambda s3, _: s3.get_object(Bucket="encrypted", Key="file"),
        [("GetObject", "arn:aws:s3:::encrypted/file"), ("kms:Decrypt", "{key}")],
    ),
    (
        "s3",
        lambda s3, _: s3.put_object(Bucket="encrypted", Key="file", Body=b"x"),
        [("PutObject", "arn:aws:s3:::encrypted/file"), ("kms:GenerateDataKey", "{key}")],
    ),
    (
        "s3",
        lambda s3, of: s3.delete_object(**OBJECT, VersionId=of["version"]),
        [("DeleteObjectVersion", FILE)],
    ),
]


@pytest.mark.parametrize(
    ("service", "call", "permissions"), ROWS, ids=[f"{number}-{row[2][0][0]}" for number, row in enumerate(ROWS)]
)
def test_a_request_needs_exactly_these_permissions(
    service: str, call: Call, permissions: list[Permission], strict: Strict, probe: Credentials, given: dict[str, Any]
) -> None:
    needed = [
        (action if ":" in action else f"{service}:{action}", resource.format(**given))
        for action, resource in permissions
    ]

    def allow(allowed: list[Permission]) -> None:
        statements = [{"Effect": "Allow", "Action": action, "Resource": resource} for action, resource in allowed]
        statements.append({"Effect": "Allow", "Action": "sts:GetCallerIdentity", "Resource": "*"})
        document = json.dumps({"Version": "2012-10-17", "Statement": statements})
        strict.client("iam").put_user_policy(UserName="probe", PolicyName="allowed", PolicyDocument=document)

    client = strict.client(service, probe)
    for missing in needed:
        allow([permission for permission in needed if permission != missing])
        code, message, _ = refusal(lambda: call(client, given))
        assert code.startswith("AccessDenied")
        if service == "secretsmanager" and missing[0].startswith("kms:"):
            assert message == "Access to KMS is not allowed"
            continue
        assert f"is not authorized to perform: {missing[0]}" in message
        assert missing[1] == "*" or f"on resource: {missing[1]}" in message.replace('"', "")
    allow(needed)
    call(client, given)


def test_a_secret_that_awaits_its_deletion_can_only_be_looked_at(strict: Strict) -> None:
    secrets = strict.client("secretsmanager")
    secrets.create_secret(Name="marked", SecretString="x")
    secrets.delete_secret(SecretId="marked")
    marked = "You can't perform this operation on the secret because it was marked for deletion."
    for call, more in (
        (secrets.get_secret_value, {}),
        (secrets.put_secret_value, {"SecretString": "y"}),
        (secrets.update_secret, {"Description": "d"}),
        (secrets.tag_resource, {"Tags": TAG}),
        (secrets.delete_secret, {}),
    ):
        assert refusal(call, SecretId="marked", **more) == ("InvalidRequestException", marked, 400)
    scheduled = "You can't create this secret because a secret with this name is already scheduled for deletion."
    assert refusal(secrets.create_secret, Name="marked")[:2] == ("InvalidRequestException", scheduled)
    assert "DeletedDate" in secrets.describe_secret(SecretId="marked")
    secrets.restore_secret(SecretId="marked")
    assert secrets.get_secret_value(SecretId="marked")["SecretString"] == "x"
    secrets.delete_secret(SecretId="marked")
    secrets.delete_secret(SecretId="marked", ForceDeleteWithoutRecovery=True)
    assert refusal(secrets.describe_secret, SecretId="marked")[0] == "ResourceNotFoundException"


def test_a_label_decides_which_version_of_a_secret_is_current(strict: Strict) -> None:
    secrets = strict.client("secretsmanager")
    first = secrets.create_secret(Name="labelled", SecretString="x")["VersionId"]
    second = secrets.put_secret_value(SecretId="labelled", SecretString="y")["VersionId"]
    move = {"VersionStage": "AWSCURRENT", "MoveToVersionId": first, "RemoveFromVersionId": second}
    secrets.update_secret_version_stage(SecretId="labelled", **move)
    assert secrets.get_secret_value(SecretId="labelled")["SecretString"] == "x"
    secrets.put_secret_value(SecretId="labelled", SecretString="z")
    assert secrets.get_secret_value(SecretId="labelled", VersionStage="AWSPREVIOUS")["SecretString"] == "x"


def test_the_resource_policy_of_a_secret_counts(strict: Strict, probe: Credentials) -> None:
    secrets, iam = strict.client("secretsmanager"), strict.client("iam")
    arn = secrets.create_secret(Name="shared", SecretString="x")["ARN"]
    iam.put_user_policy(UserName="probe", PolicyName="allowed", PolicyDocument=NOTHING)
    user = f"{IAM}:user/probe"

    def policy(effect: str, principal: str) -> None:
        statement = {"Effect": effect, "Principal": {"AWS": [principal]}, "Action": "secretsmanager:GetSecretValue"}
        document = {"Version": "2012-10-17", "Statement": [statement | {"Resource": "*"}]}
        secrets.put_resource_policy(SecretId="shared", ResourcePolicy=json.dumps(document))

    reading = strict.client("secretsmanager", probe)
    for principal in (f"{IAM}:user/other", f"{IAM}:root"):
        policy("Allow", principal)
        assert refusal(reading.get_secret_value, SecretId="shared")[0] == "AccessDeniedException"
    policy("Allow", user)
    assert reading.get_secret_value(SecretId="shared")["SecretString"] == "x"
    assert reading.get_secret_value(SecretId=arn)["SecretString"] == "x"
    assert refusal(reading.describe_secret, SecretId="shared")[0] == "AccessDeniedException", "no other action"
    iam.put_user_policy(UserName="probe", PolicyName="allowed", PolicyDocument=ALLOW_ALL)
    for principal in (user, f"{IAM}:root"):
        policy("Deny", principal)
        code, message, _ = refusal(reading.get_secret_value, SecretId="shared")
        assert code == "AccessDeniedException"
        assert message.endswith("with an explicit deny in a resource-based policy")


def test_publishing_needs_a_permission_on_the_topic(strict: Strict, probe: Credentials) -> None:
    topic = strict.client("sns").create_topic(Name="notices")["TopicArn"]
    strict.client("iam").put_user_policy(UserName="probe", PolicyName="allowed", PolicyDocument=NOTHING)
    sns = strict.client("sns", probe)
    assert refusal(sns.publish, TopicArn=topic, Message="m") == (
        "AuthorizationError",
        f"User: {IAM}:user/probe is not authorized to perform: SNS:Publish on resource: {topic} because no "
        "identity-based policy allows the SNS:Publish action",
        403,
    )
    statement = {"Effect": "Allow", "Action": "sns:Publish", "Resource": topic}
    document = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    strict.client("iam").put_user_policy(UserName="probe", PolicyName="allowed", PolicyDocument=document)
    assert sns.publish(TopicArn=topic, Message="m")["MessageId"]


def test_a_key_may_be_limited_to_one_service(strict: Strict, probe: Credentials, given: dict[str, Any]) -> None:
    via = {"StringEquals": {"kms:ViaService": f"ssm.{REGION}.amazonaws.com"}}
    statements: list[dict[str, Any]] = [
        {"Effect": "Allow", "Action": "kms:*", "Resource": given["key"], "Condition": via},
        {"Effect": "Allow", "Action": ["ssm:*", "secretsmanager:*"], "Resource": "*"},
    ]
    document = json.dumps({"Version": "2012-10-17", "Statement": statements})
    strict.client("iam").put_user_policy(UserName="probe", PolicyName="allowed", PolicyDocument=document)
    ssm, secrets, kms = (strict.client(service, probe) for service in ("ssm", "secretsmanager", "kms"))
    assert ssm.get_parameter(Name="/a/encrypted", WithDecryption=True)["Parameter"]["Value"] == "x"
    assert refusal(secrets.create_secret, Name="team/via", KmsKeyId=given["key"])[0] == "AccessDeniedException"
    assert refusal(kms.describe_key, KeyId=given["key"])[0] == "AccessDeniedException"


def test_a_key_may_be_named_by_its_alias_in_a_condition(
    strict: Strict, probe: Credentials, given: dict[str, Any]
) -> None:
    named = {"ForAnyValue:StringEquals": {"kms:ResourceAliases": "alias/one"}}
    statement = {"Effect": "Allow", "Action": ["kms:DescribeKey"], "Resource": "*", "Condition": named}
    document = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    strict.client("iam").put_user_policy(UserName="probe", PolicyName="allowed", PolicyDocument=document)
    kms = strict.client("kms", probe)
    assert kms.describe_key(KeyId="alias/one")["KeyMetadata"]["Arn"] == given["key"]
    assert kms.describe_key(KeyId=given["key"])["KeyMetadata"]["Arn"] == given["key"]
    assert refusal(kms.describe_key, KeyId=given["other key"])[0] == "AccessDeniedException"


def test_a_bucket_policy_that_denies_is_worded_as_by_aws(strict: Strict) -> None:
    s3 = strict.client("s3", strict.user_with_key("denied", "AmazonS3FullAccess"))
    s3.create_bucket(Bucket="closed-bucket", CreateBucketConfiguration={"LocationConstraint": REGION})
    deny: dict[str, Any] = {"Effect": "Deny", "Principal": "*", "Action": "s3:PutObject"}
    document = {"Version": "2012-10-17", "Statement": [deny | {"Resource": "arn:aws:s3:::closed-bucket/*"}]}
    s3.put_bucket_policy(Bucket="closed-bucket", Policy=json.dumps(document))
    assert refusal(s3.put_object, Bucket="closed-bucket", Key="k", Body=b"x") == (
        "AccessDenied",
        "User: arn:aws:iam::123456789012:user/denied is not authorized to perform: s3:PutObject on resource: "
        '"arn:aws:s3:::closed-bucket/k" with an explicit deny in a resource-based policy',
        403,
    )
    assert strict.control.calls()[-1].code == "AccessDenied"


def test_a_bucket_policy_denies_only_its_principal_and_only_under_its_condition(strict: Strict) -> None:
    denied, other = (strict.user_with_key(name, "AmazonS3FullAccess") for name in ("barred", "welcome"))
    s3 = strict.client("s3")
    s3.create_bucket(Bucket="half-closed", CreateBucketConfiguration={"LocationConstraint": REGION})

    def refuse(principal: Any, **condition: Any) -> None:
        deny = {"Effect": "Deny", "Principal": principal, "Action": "s3:PutObject", **condition}
        document = {"Version": "2012-10-17", "Statement": deny | {"Resource": "arn:aws:s3:::half-closed/*"}}
        s3.put_bucket_policy(Bucket="half-closed", Policy=json.dumps(document))

    def put(key: Any) -> str | None:
        try:
            strict.client("s3", key).put_object(Bucket="half-closed", Key="k", Body=b"x")
        except ClientError as error:
            return error.response["Error"]["Code"]
        return None

    refuse({"AWS": "arn:aws:iam::123456789012:user/barred"})
    assert (put(denied), put(other)) == ("AccessDenied", None)
    refuse("*", Condition={"Bool": {"aws:SecureTransport": "false"}})
    assert (put(denied), put(other)) == (None, None), "these calls count as TLS"
    refuse("*", Condition={"Bool": {"aws:SecureTransport": "true"}})
    assert (put(denied), put(other)) == ("AccessDenied", "AccessDenied")
    s3.delete_bucket_policy(Bucket="half-closed")
    assert put(denied) is None


@pytest.mark.parametrize(
    ("condition", "plain", "network", "works"),
    [
        ({"Bool": {"aws:SecureTransport": "true"}}, False, "127.0.0.1", True),
        ({"Bool": {"aws:SecureTransport": "true"}}, True, "127.0.0.1", False),
        ({"Bool": {"aws:SecureTransport": "false"}}, True, "127.0.0.1", True),
        ({"IpAddress": {"aws:SourceIp": "127.0.0.1/32"}}, False, "127.0.0.1", True),
        ({"IpAddress": {"aws:SourceIp": "127.0.0.1/32"}}, False, "127.0.0.2", False),
        ({"IpAddress": {"aws:SourceIp": "127.0.0.2/32"}}, False, "127.0.0.2", True),
    ],
)
def test_the_second_address_counts_as_plain_http_and_the_callers_address_as_its_network(
    condition: dict[str, Any], plain: bool, network: str, works: bool, strict: Strict, probe: Credentials
) -> None:
    statement = {"Effect": "Allow", "Action": "s3:*", "Resource": "*", "Condition": condition}
    document = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    strict.client("iam").put_user_policy(UserName="probe", PolicyName="allowed", PolicyDocument=document)
    url = strict.server.plain_endpoint_url if plain else strict.url
    answer = send(url, "GET", sign="s3", key=probe, source=network)
    assert answer.status == (200 if works else 403), answer.body


def test_a_parameter_of_the_standard_tier_has_4096_characters_at_most(strict: Strict) -> None:
    ssm = strict.client("ssm")
    ssm.put_parameter(Name="large", Type="SecureString", Value="x" * 4096)
    code, message, _ = refusal(ssm.put_parameter, Name="larger", Type="SecureString", Value="x" * 4097)
    assert code == "ValidationException"
    assert "Standard tier parameters support a maximum parameter value of 4096 characters." in message
    ssm.put_parameter(Name="larger", Type="SecureString", Value="x" * 4097, Tier="Advanced")

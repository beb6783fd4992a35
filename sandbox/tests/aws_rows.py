"""The table of the rules of the real IAM and STS that moto does not have, and what runs a row of it."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import cache
from typing import Any

from aws_support import ALLOW_ALL, client, refusal
from pulumi_sandbox.aws.settings import Quotas

Step = tuple[str, dict[str, Any]]

S3_FULL = "arn:aws:iam::aws:policy/AmazonS3FullAccess"
TRUST = json.dumps(
    {
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": "sts:AssumeRole"}],
    }
)
OWN = "arn:aws:iam::123456789012:policy/"
MANAGED = [
    "AmazonS3FullAccess", "IAMFullAccess", "ReadOnlyAccess", "AmazonSQSFullAccess", "AmazonSNSFullAccess",
    "AmazonEC2FullAccess", "AmazonRDSFullAccess", "AmazonVPCFullAccess", "AmazonDynamoDBFullAccess",
    "CloudWatchFullAccess", "AWSLambda_FullAccess",
]  # fmt: skip


@dataclass(frozen=True)
class Row:
    """`given` are made first, then `when` is refused with `code` and a message that `message` matches as a whole.

    `~` in any text stands for a suffix unique to the row. `moto_passes` tells what plain moto does with `when`.
    """

    rule: str
    when: Step
    code: str
    message: str
    given: tuple[Step, ...] = ()
    moto_passes: bool = True
    service: str = "iam"


def user(name: str = "u~", **more: Any) -> Step:
    return "create_user", {"UserName": name, **more}


def group(name: str = "g~", **more: Any) -> Step:
    return "create_group", {"GroupName": name, **more}


def policy(name: str = "p~", document: str = ALLOW_ALL, **more: Any) -> Step:
    return "create_policy", {"PolicyName": name, "PolicyDocument": document, **more}


def document(size: int) -> str:
    """A valid policy document of `size` characters without white space."""
    empty = len(re.sub(r"\s", "", ALLOW_ALL.replace('"*", "Resource"', '"s3:", "Resource"')))
    return ALLOW_ALL.replace('"*", "Resource"', f'"s3:{"G" * (size - empty)}", "Resource"')


def tags(count: int, start: int = 0) -> list[dict[str, str]]:
    return [{"Key": f"key{number}", "Value": "v"} for number in range(start, start + count)]


NAME = r"must contain only alphanumeric characters and/or the following: \+=,\.@_-"
PATH = r"must begin and end with / and contain only alphanumeric characters and/or / characters\."


def too_long(what: str, limit: int) -> str:
    return rf"1 validation error detected: Value at '{what}' .* length less than or equal to {limit}"


def invalid(what: str, how: str) -> str:
    return rf"The specified value for {what} is invalid\. It {how}"


V = "ValidationError"
EXISTS = "EntityAlreadyExists"
LIMIT = "LimitExceeded"
CONFLICT = "DeleteConflict"
ABSENT = "NoSuchEntity"

# fmt: off
ROWS = [
    # names and other parameters: the service model
    Row("a user name has no spaces", user("a b~"), V, invalid("userName", NAME)),
    Row("a user name has no slash", user("a/b~"), V, invalid("userName", NAME)),
    Row("a user name is ASCII", user("김철수~"), V, invalid("userName", NAME)),
    Row("a user name has at most 64 characters", user("u" * 65 + "~"), V, too_long("userName", 64)),
    Row("a user name is not empty", user(""), V,
        r"2 validation errors detected: Value at 'userName' .* greater than or equal to 1; The specified .*"),
    Row("a user needs a name", ("create_user", {}), V,
        "1 validation error detected: Value at 'userName' failed to satisfy constraint: Member must not be null"),
    Row("a group name has no spaces", group("a b~"), V, invalid("groupName", NAME)),
    Row("a group name has at most 128 characters", group("g" * 129 + "~"), V, too_long("groupName", 128)),
    Row("a group needs a name", ("create_group", {}), V, "1 validation error .* 'groupName' .* must not be null"),
    Row("a policy name has no colon", policy("a:b~"), V, invalid("policyName", NAME)),
    Row("a policy name has at most 128 characters", policy("p" * 129 + "~"), V, too_long("policyName", 128)),
    Row("a policy description has at most 1,000 characters", policy(Description="d" * 1001), V,
        too_long("description", 1000)),
    Row("a role name has at most 64 characters",
        ("create_role", {"RoleName": "r" * 65, "AssumeRolePolicyDocument": TRUST}), V, too_long("roleName", 64)),
    Row("a path begins and ends with a slash", user(Path="team"), V, invalid("path", PATH)),
    Row("a path has no spaces", group(Path="/a b/"), V, invalid("path", PATH)),
    Row("a path has at most 512 characters", user(Path="/" + "p" * 511 + "/"), V, too_long("path", 512)),
    Row("a new user name obeys the rules too", ("update_user", {"UserName": "u~", "NewUserName": "a b~"}), V,
        invalid("newUserName", NAME), (user(),)),
    Row("a new user name has at most 64 characters", ("update_user", {"UserName": "u~", "NewUserName": "n" * 65}), V,
        too_long("newUserName", 64), (user(),)),
    Row("a new group name obeys the rules too", ("update_group", {"GroupName": "g~", "NewGroupName": "a b~"}), V,
        invalid("newGroupName", NAME), (group(),)),
    Row("a new path obeys the rules too", ("update_user", {"UserName": "u~", "NewPath": "team"}), V,
        invalid("newPath", PATH), (user(),)),
    Row("an inline policy's name obeys the rules",
        ("put_group_policy", {"GroupName": "g~", "PolicyName": "a b", "PolicyDocument": ALLOW_ALL}), V,
        invalid("policyName", NAME), (group(),)),
    Row("a key's status is Active or Inactive",
        ("update_access_key", {"UserName": "u~", "AccessKeyId": "AKIA" + "A" * 16, "Status": "Asleep"}), V,
        "1 validation error detected: Value at 'status' .* must satisfy enum value set", (user(),), moto_passes=False),
    Row("an access key id has at least 16 characters",
        ("delete_access_key", {"UserName": "u~", "AccessKeyId": "AKIA"}), V,
        "1 validation error .* 'accessKeyId' .* greater than or equal to 16", (user(),), moto_passes=False),
    Row("an access key id is alphanumeric",
        ("delete_access_key", {"UserName": "u~", "AccessKeyId": "AKIA-" + "A" * 16}), V,
        r"The specified value for accessKeyId is invalid\. It must contain only alphanumeric characters\.", (user(),),
        moto_passes=False),
    Row("a list's page has at least one item", ("list_users", {"MaxItems": 0}), V,
        "1 validation error .* 'maxItems' .* value greater than or equal to 1"),
    Row("a list's page has at most 1,000 items", ("list_users", {"MaxItems": 1001}), V,
        "1 validation error .* 'maxItems' .* value less than or equal to 1000"),
    Row("a scope of policies is All, AWS or Local", ("list_policies", {"Scope": "Mine"}), V,
        "1 validation error .* 'scope' .* must satisfy enum value set"),
    Row("a policy's ARN has at least 20 characters", ("attach_group_policy", {"GroupName": "g~", "PolicyArn": "arn"}),
        V, "1 validation error .* 'policyArn' .* greater than or equal to 20", (group(),), moto_passes=False),
    Row("a policy is named by an ARN",
        ("attach_group_policy", {"GroupName": "g~", "PolicyArn": "AmazonS3FullAccess-of-AWS"}), V,
        "Invalid ARN:  Could not be parsed!", (group(),), moto_passes=False),
    Row("a policy document is text without control characters",
        ("put_user_policy", {"UserName": "u~", "PolicyName": "p", "PolicyDocument": "\u4e2d" + ALLOW_ALL}), V,
        invalid("policyDocument", r"must contain only printable ASCII characters\."), (user(),), moto_passes=False),
    Row("all violations come in one message", user("a b" * 30, Path="x"), V,
        r"3 validation errors detected: .* value for path .*; Value at 'userName' .* 64; .* for userName .*"),

    # tags
    Row("a tag's key has at most 128 characters", user(Tags=[{"Key": "k" * 129, "Value": "v"}]), V,
        too_long(r"tags\.1\.member\.key", 128)),
    Row("a tag's value has at most 256 characters", user(Tags=[*tags(1), {"Key": "k", "Value": "v" * 257}]), V,
        too_long(r"tags\.2\.member\.value", 256)),
    Row("a tag's value has no comma", user(Tags=[{"Key": "k", "Value": "a,b"}]), V,
        r"1 validation error .* 'tags\.1\.member\.value' .* regular expression pattern: .*"),
    Row("a tag's key has no hash", ("tag_user", {"UserName": "u~", "Tags": [{"Key": "#", "Value": "v"}]}), V,
        r"1 validation error .* 'tags\.1\.member\.key' .* regular expression pattern: .*", (user(),)),
    Row("a tag has a value", ("tag_user", {"UserName": "u~", "Tags": [{"Key": "k"}]}), V,
        r"1 validation error .* 'tags\.1\.member\.value' .* must not be null", (user(),)),
    Row("a call brings at most 50 tags", user(Tags=tags(51)), V, too_long("tags", 50)),
    Row("a user has at most 50 tags", ("tag_user", {"UserName": "u~", "Tags": tags(1, 50)}), LIMIT,
        r"The number of tags has reached the maximum limit\.", (user(Tags=tags(50)),)),
    Row("tag keys are unique regardless of case",
        user(Tags=[{"Key": "Team", "Value": "a"}, {"Key": "team", "Value": "b"}]), "InvalidInput",
        r"Duplicate tag keys found\. Please note that Tag keys are case insensitive\."),
    Row("a tag's key does not begin with aws:", user(Tags=[{"Key": "aws:x", "Value": "v"}]), "InvalidInput",
        ".*aws:.*"),
    Row("tag keys to remove obey the rules", ("untag_user", {"UserName": "u~", "TagKeys": ["#"]}), V,
        r"1 validation error detected: Value at 'tagKeys' .* Member must satisfy constraint: \[.*must not be null\]",
        (user(),)),

    # uniqueness
    Row("user names are unique", user("Anna~"), EXISTS, r"User with name Anna\w+ already exists\.", (user("Anna~"),),
        moto_passes=False),
    Row("user names are unique regardless of case", user("ANNA~"), EXISTS, r"User with name ANNA\w+ already exists\.",
        (user("anna~"),)),
    Row("group names are unique regardless of case", group("ADMINS~"), EXISTS,
        r"Group with name ADMINS\w+ already exists\.", (group("admins~"),)),
    Row("policy names are unique regardless of case", policy("Read~"), EXISTS,
        r"A policy called Read\w+ already exists\. Duplicate names are not allowed\.", (policy("READ~"),)),
    Row("policy names are unique regardless of path", policy("p~", Path="/team/"), EXISTS,
        r"A policy called p\w+ already exists\. Duplicate names are not allowed\.", (policy("p~"),)),
    Row("role names are unique regardless of case",
        ("create_role", {"RoleName": "R~", "AssumeRolePolicyDocument": TRUST}), EXISTS,
        r"Role with name R\w+ already exists\.",
        (("create_role", {"RoleName": "r~", "AssumeRolePolicyDocument": TRUST}),)),
    Row("instance profile names are unique regardless of case",
        ("create_instance_profile", {"InstanceProfileName": "I~"}), EXISTS, r"Instance Profile I\w+ already exists\.",
        (("create_instance_profile", {"InstanceProfileName": "i~"}),)),
    Row("a user is not renamed to another's name", ("update_user", {"UserName": "u~", "NewUserName": "v~"}), EXISTS,
        r"User with name v\w+ already exists\.", (user(), user("v~"))),
    Row("a user is not renamed to another's name in other case",
        ("update_user", {"UserName": "u~", "NewUserName": "V~"}), EXISTS, r"User with name V\w+ already exists\.",
        (user(), user("v~"))),
    Row("a user is not renamed to another spelling of its own name",
        ("update_user", {"UserName": "u~", "NewUserName": "U~"}), EXISTS, r"User with name U\w+ already exists\.",
        (user(),)),
    Row("a group is not renamed to another's name in other case",
        ("update_group", {"GroupName": "g~", "NewGroupName": "H~"}), EXISTS, r"Group with name H\w+ already exists\.",
        (group(), group("h~"))),

    # quotas
    Row("a user has at most two access keys", ("create_access_key", {"UserName": "u~"}), LIMIT,
        "Cannot exceed quota for AccessKeysPerUser: 2", (user(), *[("create_access_key", {"UserName": "u~"})] * 2),
        moto_passes=False),
    Row("a group has at most ten managed policies",
        ("attach_group_policy", {"GroupName": "g~", "PolicyArn": f"arn:aws:iam::aws:policy/{MANAGED[10]}"}), LIMIT,
        "Cannot exceed quota for PoliciesPerGroup: 10",
        (group(), *[("attach_group_policy", {"GroupName": "g~", "PolicyArn": f"arn:aws:iam::aws:policy/{name}"})
                    for name in MANAGED[:10]])),
    Row("a user has at most ten managed policies",
        ("attach_user_policy", {"UserName": "u~", "PolicyArn": f"arn:aws:iam::aws:policy/{MANAGED[10]}"}), LIMIT,
        "Cannot exceed quota for PoliciesPerUser: 10",
        (user(), *[("attach_user_policy", {"UserName": "u~", "PolicyArn": f"arn:aws:iam::aws:policy/{name}"})
                   for name in MANAGED[:10]])),
    Row("a user is in at most ten groups", ("add_user_to_group", {"GroupName": "g10~", "UserName": "u~"}), LIMIT,
        "Cannot exceed quota for GroupsPerUser: 10",
        (user(), *[group(f"g{number}~") for number in range(11)],
         *[("add_user_to_group", {"GroupName": f"g{number}~", "UserName": "u~"}) for number in range(10)])),
    Row("a managed policy has at most 6,144 characters", policy(document=document(6145)), LIMIT,
        "Cannot exceed quota for PolicySize: 6144"),
    Row("a new version of a policy has at most 6,144 characters",
        ("create_policy_version", {"PolicyArn": OWN + "p~", "PolicyDocument": document(6145)}), LIMIT,
        "Cannot exceed quota for PolicySize: 6144", (policy(),)),
    Row("a policy has at most five versions",
        ("create_policy_version", {"PolicyArn": OWN + "p~", "PolicyDocument": ALLOW_ALL}), LIMIT,
        "A managed policy can have up to 5 versions.*",
        (policy(), *[("create_policy_version", {"PolicyArn": OWN + "p~", "PolicyDocument": ALLOW_ALL})] * 4),
        moto_passes=False),
    Row("a user's inline policies have at most 2,048 characters together",
        ("put_user_policy", {"UserName": "u~", "PolicyName": "b", "PolicyDocument": document(1049)}), LIMIT,
        r"Maximum policy size of 2048 bytes exceeded for user u\w+",
        (user(), ("put_user_policy", {"UserName": "u~", "PolicyName": "a", "PolicyDocument": document(1000)}))),
    Row("a group's inline policies have at most 5,120 characters together",
        ("put_group_policy", {"GroupName": "g~", "PolicyName": "b", "PolicyDocument": document(2621)}), LIMIT,
        r"Maximum policy size of 5120 bytes exceeded for group g\w+",
        (group(), ("put_group_policy", {"GroupName": "g~", "PolicyName": "a", "PolicyDocument": document(2500)}))),

    # what must go first
    Row("a user with an access key is not deleted", ("delete_user", {"UserName": "u~"}), CONFLICT,
        r"Cannot delete entity, must delete access keys first\.", (user(), ("create_access_key", {"UserName": "u~"}))),
    Row("a user with an inactive key is not deleted", ("delete_user", {"UserName": "u~"}), CONFLICT,
        r"Cannot delete entity, must delete access keys first\.",
        (user(), ("create_access_key", {"UserName": "u~"}),
         ("update_access_key", {"UserName": "u~", "AccessKeyId": "the key", "Status": "Inactive"}))),
    Row("a user in a group is not deleted", ("delete_user", {"UserName": "u~"}), CONFLICT,
        r"Cannot delete entity, must remove users from group first\.",
        (user(), group(), ("add_user_to_group", {"GroupName": "g~", "UserName": "u~"}))),
    Row("a user with a password is not deleted", ("delete_user", {"UserName": "u~"}), CONFLICT,
        r"Cannot delete entity, must delete login profile first\.",
        (user(), ("create_login_profile", {"UserName": "u~", "Password": "Pass-word-1"}))),
    Row("a user with an MFA device is not deleted", ("delete_user", {"UserName": "u~"}), CONFLICT,
        r"Cannot delete entity, must delete MFA device first\.",
        (user(), ("create_virtual_mfa_device", {"VirtualMFADeviceName": "m~"}),
         ("enable_mfa_device", {"UserName": "u~", "SerialNumber": "arn:aws:iam::123456789012:mfa/m~",
                                "AuthenticationCode1": "123456", "AuthenticationCode2": "654321"}))),
    Row("a user with an SSH key is not deleted", ("delete_user", {"UserName": "u~"}), CONFLICT,
        r"Cannot delete entity, must remove referenced objects first\.",
        (user(), ("upload_ssh_public_key", {"UserName": "u~", "SSHPublicKeyBody": "ssh-rsa AAAA"}))),
    Row("a user with a managed policy is not deleted", ("delete_user", {"UserName": "u~"}), CONFLICT,
        r"Cannot delete entity, must detach all policies first\.",
        (user(), ("attach_user_policy", {"UserName": "u~", "PolicyArn": S3_FULL})), moto_passes=False),
    Row("a user with an inline policy is not deleted", ("delete_user", {"UserName": "u~"}), CONFLICT,
        r"Cannot delete entity, must delete policies first\.",
        (user(), ("put_user_policy", {"UserName": "u~", "PolicyName": "p", "PolicyDocument": ALLOW_ALL})),
        moto_passes=False),
    Row("a group with a member is not deleted", ("delete_group", {"GroupName": "g~"}), CONFLICT,
        r"Cannot delete entity, must remove users from group first\.",
        (user(), group(), ("add_user_to_group", {"GroupName": "g~", "UserName": "u~"}))),
    Row("a group with a managed policy is not deleted", ("delete_group", {"GroupName": "g~"}), CONFLICT,
        r"Cannot delete entity, must detach all policies first\.",
        (group(), ("attach_group_policy", {"GroupName": "g~", "PolicyArn": S3_FULL}))),
    Row("a group with an inline policy is not deleted", ("delete_group", {"GroupName": "g~"}), CONFLICT,
        r"Cannot delete entity, must delete policies first\.",
        (group(), ("put_group_policy", {"GroupName": "g~", "PolicyName": "p", "PolicyDocument": ALLOW_ALL}))),
    Row("a policy attached to a group is not deleted", ("delete_policy", {"PolicyArn": OWN + "p~"}), CONFLICT,
        r"Cannot delete a policy attached to entities\.",
        (policy(), group(), ("attach_group_policy", {"GroupName": "g~", "PolicyArn": OWN + "p~"}))),
    Row("a policy attached to a user is not deleted", ("delete_policy", {"PolicyArn": OWN + "p~"}), CONFLICT,
        r"Cannot delete a policy attached to entities\.",
        (policy(), user(), ("attach_user_policy", {"UserName": "u~", "PolicyArn": OWN + "p~"}))),
    Row("a policy that is a user's boundary is not deleted", ("delete_policy", {"PolicyArn": OWN + "p~"}), CONFLICT,
        r"Cannot delete a policy attached to entities\.", (policy(), user(PermissionsBoundary=OWN + "p~"))),
    Row("a policy with several versions is not deleted", ("delete_policy", {"PolicyArn": OWN + "p~"}), CONFLICT,
        r"This policy has more than one version\. Before you delete a policy, .*",
        (policy(), ("create_policy_version", {"PolicyArn": OWN + "p~", "PolicyDocument": ALLOW_ALL}))),
    Row("a policy's default version is not deleted",
        ("delete_policy_version", {"PolicyArn": OWN + "p~", "VersionId": "v1"}), CONFLICT,
        r"Cannot delete the default version of a policy\.", (policy(),), moto_passes=False),

    # what does not exist, and what nobody may touch
    Row("a boundary is a policy that exists", user(PermissionsBoundary=OWN + "nothing"), ABSENT,
        "Scope ARN: .* does not exist or is not attachable.*"),
    Row("a policy that does not exist is not attached",
        ("attach_group_policy", {"GroupName": "g~", "PolicyArn": "arn:aws:iam::aws:policy/S3FullAccess"}), ABSENT,
        r"Policy arn:aws:iam::aws:policy/S3FullAccess does not exist or is not attachable\.", (group(),),
        moto_passes=False),
    Row("a service role's policy is not attached to a user",
        ("attach_user_policy", {"UserName": "u~", "PolicyArn":
                                "arn:aws:iam::aws:policy/aws-service-role/AWSSupportServiceRolePolicy"}),
        "PolicyNotAttachable", "Cannot attach a Service Role Policy .*", (user(),)),
    Row("AWS's own policies are not deleted",
        ("delete_policy", {"PolicyArn": "arn:aws:iam::aws:policy/job-function/Billing"}), "AccessDenied",
        ".* is not authorized to perform: iam:DeletePolicy on resource: .*"),
    Row("AWS's own policies get no versions",
        ("create_policy_version", {"PolicyArn": S3_FULL, "PolicyDocument": ALLOW_ALL}), "AccessDenied",
        ".* is not authorized to perform: iam:CreatePolicyVersion on resource: .*"),
    Row("a policy that is not attached is not detached",
        ("detach_group_policy", {"GroupName": "g~", "PolicyArn": S3_FULL}), ABSENT,
        r"Policy arn:aws:iam::aws:policy/AmazonS3FullAccess was not found\.", (group(),), moto_passes=False),
    Row("the last use of an unknown key is nobody's business",
        ("get_access_key_last_used", {"AccessKeyId": "AKIAIOSFODNN7EXAMPLE"}), "AccessDenied",
        "User: .* is not authorized to perform iam:GetAccessKeyLastUsed on resource: access key AKIAIOSFODNN7EXAMPLE",
        moto_passes=False),
    Row("a user that does not exist is not found", ("get_user", {"UserName": "nobody~"}), ABSENT,
        r"The user with name nobody\w+ cannot be found\.", moto_passes=False),
    Row("a group that does not exist is not found", ("get_group", {"GroupName": "none~"}), ABSENT,
        r"The group with name none\w+ cannot be found\.", moto_passes=False),
    Row("another's key is not found with a user",
        ("update_access_key", {"UserName": "u~", "AccessKeyId": "AKIAIOSFODNN7EXAMPLE", "Status": "Inactive"}), ABSENT,
        r"The Access Key with id AKIAIOSFODNN7EXAMPLE cannot be found\.", (user(),), moto_passes=False),

    # STS
    Row("a role that does not exist is not assumed",
        ("assume_role", {"RoleArn": "arn:aws:iam::123456789012:role/nothing~", "RoleSessionName": "test"}),
        "AccessDenied", ".*", service="sts"),
    Row("a session's name has at least two characters",
        ("assume_role", {"RoleArn": "arn:aws:iam::123456789012:role/nothing~", "RoleSessionName": "s"}), V,
        "1 validation error detected: Value 's' at 'roleSessionName' .* greater than or equal to 2", service="sts"),
    Row("a session lasts at least 15 minutes",
        ("assume_role", {"RoleArn": "arn:aws:iam::123456789012:role/nothing~", "RoleSessionName": "test",
                         "DurationSeconds": 60}), V,
        "1 validation error detected: Value '60' at 'durationSeconds' .* greater than or equal to 900", service="sts"),
    Row("an access key's account is asked with a key id", ("get_access_key_info", {}), V,
        "1 validation error detected: Value null at 'accessKeyId' .* must not be null", service="sts"),
]
# fmt: on

# The quotas of the account, with LOW so that few calls reach them.
LOW = Quotas(users_per_account=2, groups_per_account=2, policies_per_account=2, roles_per_account=2)
ACCOUNT_ROWS = [
    Row(
        "an account has a limited number of users",
        user("u3"),
        LIMIT,
        "Cannot exceed quota for UsersPerAccount: 2",
        (user("u1"), user("u2")),
    ),
    Row(
        "an account has a limited number of groups",
        group("g3"),
        LIMIT,
        "Cannot exceed quota for GroupsPerAccount: 2",
        (group("g1"), group("g2")),
    ),
    Row(
        "an account has a limited number of policies",
        policy("p3"),
        LIMIT,
        "Cannot exceed quota for PoliciesPerAccount: 2",
        (policy("p1"), policy("p2")),
    ),
    Row(
        "an account has a limited number of roles",
        ("create_role", {"RoleName": "r3", "AssumeRolePolicyDocument": TRUST}),
        LIMIT,
        "Cannot exceed quota for RolesPerAccount: 2",
        tuple(("create_role", {"RoleName": f"r{n}", "AssumeRolePolicyDocument": TRUST}) for n in (1, 2)),
    ),
]

ALL_ROWS = [*ROWS, *ACCOUNT_ROWS]


def perform(clients: dict[str, Any], row: Row, step: Step, suffix: str) -> Any:
    operation, parameters = step
    service = row.service if step is row.when else "iam"
    return getattr(clients[service], operation)(**fill(parameters, suffix, clients["iam"]))


def fill(value: Any, suffix: str, iam: Any) -> Any:
    """`value` with `~` replaced by the row's suffix and `the key` by the id of the row's user's key."""
    if isinstance(value, dict):
        return {name: fill(inner, suffix, iam) for name, inner in value.items()}
    if isinstance(value, list):
        return [fill(inner, suffix, iam) for inner in value]
    if value == "the key":
        return iam.list_access_keys(UserName=f"u{suffix}")["AccessKeyMetadata"][0]["AccessKeyId"]
    return value.replace("~", suffix) if isinstance(value, str) else value


@cache
def clients_of(url: str) -> dict[str, Any]:
    return {service: client(url, service) for service in ("iam", "sts")}


def check_strict(row: Row, url: str, suffix: str) -> None:
    clients = clients_of(url)
    for step in row.given:
        perform(clients, row, step, suffix)
    code, message, status = refusal(lambda: perform(clients, row, row.when, suffix))
    assert code == row.code, f"AWS answers {row.code} where {row.rule}, not {code}: {message}"
    assert re.fullmatch(row.message, message), f"AWS's words where {row.rule} are like {row.message!r}, not {message!r}"
    assert 400 <= status < 500

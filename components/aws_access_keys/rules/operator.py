"""What the operator, the identity that runs Pulumi, must be allowed: one table, from which the policy document of
`access-keys permissions` and the table in docs/security.md are made.

Sources: the calls of the aws provider, as measured for the sandbox (docs/sandbox.md), and of this package; which
resources and condition keys an action has, the service authorization reference; what Secrets Manager and SSM do with a
KMS key for the caller, their user guides.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import takewhile
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, get_args

from aws_access_keys.rules.documents import VERSION, length
from aws_access_keys.rules.limits import POLICY_LENGTH
from aws_access_keys.rules.names import stored_name
from aws_access_keys.rules.policies import managed_policies, policy_arn
from aws_access_keys.rules.s3_grants import grant_policies

if TYPE_CHECKING:
    from aws_access_keys.settings import AccessSettings

Command = Literal["preview", "up", "refresh", "destroy", "report", "inventory", "leak"]
COMMANDS: tuple[Command, ...] = get_args(Command)
"""Pulumi's, and three of `access-keys`. Its other commands ask AWS nothing, except `access-keys permissions` itself."""
OWN: tuple[Command, ...] = ("report", "inventory", "leak")
"""Those of `access-keys`."""

SHOWN = {
    "any": "`*`",
    "group": "`arn:aws:iam::*:group/*`",
    "user": "`arn:aws:iam::*:user/*`",
    "every user": "`arn:aws:iam::*:user/*`",
    "mfa": "`arn:aws:iam::*:mfa/*`",
    "policy": "`arn:aws:iam::*:policy/*`",
    "secret": "`arn:aws:secretsmanager:*:*:secret:access-keys/*`",
    "parameter": "`arn:aws:ssm:*:*:parameter/access-keys/*`",
    "key": "that key",
    "bucket": "the bucket",
    "object": "its objects",
    "operator": "the operator itself",
}
"""Kind of a resource → how the documentation shows it."""
_LATER = "IAM refuses later what this check refuses before anything is changed"
_LESS = "last uses are unknown, the retire guard retires no key, and `adopt` fails"


class Row(NamedTuple):
    """A row of the table. The actions of a service, separated by spaces, that each command needs."""

    purpose: str
    """What it is for, in Markdown."""
    sid: str
    about: str
    """Which resources: a key of the result of `resources_of`; it begins with one of SHOWN."""
    service: str
    up: str = ""
    preview: str = ""
    refresh: str = ""
    destroy: str = ""
    report: str = ""
    inventory: str = ""
    leak: str = ""
    permissions: str = ""
    """What `access-keys permissions` needs. It asks only what it may."""
    only: tuple[str, str, str] | None = None
    """Operator and key of a condition, and which values; see `resources_of`."""
    otherwise: str = ""
    """What happens without it, where the command does not fail."""

    @property
    def actions(self) -> list[str]:
        """The names of all actions, in the table's order."""
        every = (*(getattr(self, command) for command in COMMANDS), self.permissions)
        return list(dict.fromkeys(action for actions in every for action in actions.split()))


_CHECKS = "checks before a new user, group or policy is created"
_QUOTAS = "checks that IAM's quotas allow a new attachment or membership"
_USED = "the retire guard, `adopt`, the report, the inventory, and the last use in messages"
_ATTACHED = (
    "GetLoginProfile ListMFADevices ListUserPolicies ListAttachedUserPolicies ListSigningCertificates "
    "ListSSHPublicKeys ListServiceSpecificCredentials"
)
_STRIPPED = (
    "ListUserPolicies DeleteUserPolicy ListAttachedUserPolicies DetachUserPolicy ListAccessKeys DeleteAccessKey "
    "ListSSHPublicKeys DeleteSSHPublicKey ListMFADevices DeactivateMFADevice DeleteLoginProfile "
    "ListSigningCertificates DeleteSigningCertificate ListServiceSpecificCredentials DeleteServiceSpecificCredential"
)
_INVENTORY = "`access-keys inventory`"
_STATE = "GetObject PutObject DeleteObject"
ROWS = (
    Row(
        "groups",
        "Groups",
        "group",
        "iam",
        up="CreateGroup GetGroup UpdateGroup DeleteGroup",
        refresh="GetGroup",
        destroy="DeleteGroup",
    ),
    Row(
        "`users.NAME.groups`",
        "Memberships",
        "group:with users",
        "iam",
        up="AddUserToGroup RemoveUserFromGroup",
        destroy="RemoveUserFromGroup",
    ),
    Row(
        "`groups.NAME.policies`, `groups.NAME.s3`",
        "GroupPolicies",
        "group:with managed policies",
        "iam",
        up="AttachGroupPolicy DetachGroupPolicy",
        destroy="DetachGroupPolicy",
        only=("ArnEquals", "iam:PolicyARN", "of groups"),
    ),
    Row(
        "`groups.NAME.policies`, `groups.NAME.s3`",
        "ReadGroupPolicies",
        "group:with managed policies",
        "iam",
        up="ListAttachedGroupPolicies",
        refresh="ListAttachedGroupPolicies",
    ),
    Row(
        "`groups.NAME.s3`, `policyDocuments`",
        "OwnPolicies",
        "policy",
        "iam",
        up="CreatePolicy GetPolicy GetPolicyVersion ListPolicyVersions CreatePolicyVersion DeletePolicyVersion "
        "DeletePolicy",
        refresh="GetPolicy GetPolicyVersion",
        destroy="ListPolicyVersions DeletePolicyVersion DeletePolicy",
    ),
    Row(
        "`groups.NAME.inline`, `groups.NAME.allowFrom`",
        "GroupInlinePolicies",
        "group:with inline policies",
        "iam",
        up="PutGroupPolicy GetGroupPolicy DeleteGroupPolicy",
        refresh="GetGroupPolicy",
        destroy="DeleteGroupPolicy",
    ),
    Row(
        "`users.NAME.policies`",
        "UserPolicies",
        "user:with managed policies",
        "iam",
        up="AttachUserPolicy DetachUserPolicy",
        destroy="DetachUserPolicy",
        only=("ArnEquals", "iam:PolicyARN", "of users"),
    ),
    Row(
        "`users.NAME.policies`",
        "ReadUserPolicies",
        "user:with managed policies",
        "iam",
        up="ListAttachedUserPolicies",
        refresh="ListAttachedUserPolicies",
    ),
    Row(
        "`users.NAME.permissionsBoundary`",
        "Boundaries",
        "user:with a boundary",
        "iam",
        up="PutUserPermissionsBoundary DeleteUserPermissionsBoundary",
    ),
    Row(
        "`users.NAME.allowFrom`",
        "UserInlinePolicies",
        "user:with inline policies",
        "iam",
        up="PutUserPolicy GetUserPolicy DeleteUserPolicy",
        refresh="GetUserPolicy",
        destroy="DeleteUserPolicy",
    ),
    Row(
        "`expect`",
        "Expectations",
        "any:expectations",
        "iam",
        up="SimulateCustomPolicy",
        preview="SimulateCustomPolicy",
    ),
    Row(
        "`expect` with policies that this stack does not create",
        "ExpectedPolicies",
        "policy:expected",
        "iam",
        up="GetPolicy GetPolicyVersion",
        preview="GetPolicy GetPolicyVersion",
    ),
    Row(
        "`groups.NAME.expect`, also for `access-keys permissions --check`",
        "ConfirmGroups",
        "group:with expectations",
        "iam",
        up="SimulatePrincipalPolicy",
    ),
    Row(
        "`users.NAME.expect`, also for `access-keys permissions --check`",
        "ConfirmUsers",
        "user:with expectations",
        "iam",
        up="SimulatePrincipalPolicy",
    ),
    Row(
        "`users.NAME.expect`, when a managed policy is removed",
        "Holders",
        "any:users with expectations",
        "iam",
        up="ListEntitiesForPolicy",
    ),
    Row(
        "users and keys",
        "Users",
        "user",
        "iam",
        up="CreateUser GetUser UpdateUser DeleteUser ListGroupsForUser",
        refresh="GetUser ListGroupsForUser",
        destroy="DeleteUser ListGroupsForUser",
    ),
    Row(
        "users and keys",
        "Keys",
        "user:with a key",
        "iam",
        up="CreateAccessKey UpdateAccessKey DeleteAccessKey ListAccessKeys",
        preview="ListAccessKeys",
        refresh="ListAccessKeys",
        destroy="DeleteAccessKey",
        report="ListAccessKeys",
    ),
    Row("users and keys", "DestroyGuarded", "user:with a retire guard", "iam", destroy="ListAccessKeys"),
    Row("users and keys", "Adopt", "user:to adopt", "iam", preview="GetUser"),
    Row("tags of users, descriptions of keys", "Tags", "user:with tags", "iam", up="TagUser UntagUser"),
    Row(
        "a user is created or changed and has a tag with an empty value",
        "EmptyTags",
        "user:with an empty tag",
        "iam",
        up="ListUserTags",
    ),
    Row(_CHECKS, "CheckUsers", "any:users", "iam", up="ListUsers", preview="ListUsers", otherwise=_LATER),
    Row(_CHECKS, "CheckGroups", "any:groups", "iam", up="ListGroups", preview="ListGroups", otherwise=_LATER),
    Row(_CHECKS, "CheckPolicies", "any:policies", "iam", up="ListPolicies", preview="ListPolicies", otherwise=_LATER),
    Row(
        _QUOTAS,
        "CheckAttachments",
        "group:with managed policies",
        "iam",
        up="ListAttachedGroupPolicies",
        preview="ListAttachedGroupPolicies",
        otherwise=_LATER,
    ),
    Row(
        _QUOTAS,
        "CheckMemberships",
        "user:in groups",
        "iam",
        up="ListGroupsForUser",
        preview="ListGroupsForUser",
        otherwise=_LATER,
    ),
    Row(
        "checks whether a quota that would be exceeded has been raised",
        "CheckQuotas",
        "any:users",
        "iam",
        up="GetAccountSummary",
        preview="GetAccountSummary",
        otherwise="IAM's default quotas are assumed",
    ),
    Row(
        "checks that a policy given by its ARN exists",
        "CheckOtherPolicies",
        "policy:of others",
        "iam",
        up="GetPolicy",
        preview="GetPolicy",
        otherwise=_LATER,
    ),
    Row(
        "checks that the bucket of a new `s3` grant exists",
        "CheckBuckets",
        "bucket:granted",
        "s3",
        up="ListBucket",
        preview="ListBucket",
        otherwise="a bucket that does not exist is not reported",
    ),
    Row(
        _USED,
        "LastUse",
        "every user",
        "iam",
        up="GetAccessKeyLastUsed",
        preview="GetAccessKeyLastUsed",
        report="GetAccessKeyLastUsed",
        inventory="GetAccessKeyLastUsed",
        otherwise=_LESS,
    ),
    Row(
        "`access-keys leak`",
        "Leak",
        "every user",
        "iam",
        leak="ListAccessKeys UpdateAccessKey GetUserPolicy PutUserPolicy DeleteUserPolicy ListAttachedUserPolicies",
    ),
    Row(
        "`access-keys leak`",
        "LeakOwner",
        "every user",
        "iam",
        leak="GetAccessKeyLastUsed",
        otherwise="the user is known only if a stack of the project has the key, or from `--user`",
    ),
    Row("`access-keys leak`", "LeakAccount", "any:users", "sts", leak="GetAccessKeyInfo"),
    Row(
        "`access-keys leak` of a key that may be the root user's",
        "LeakRoot",
        "any:users",
        "iam",
        leak="GetAccountSummary",
        otherwise="whether the root user has a key is not known",
    ),
    Row(
        "`access-keys leak`, `access-keys report --who`",
        "Events",
        "any:users",
        "cloudtrail",
        report="LookupEvents",
        leak="LookupEvents",
    ),
    Row(_USED, "DestroyGuardedLastUse", "user:with a retire guard", "iam", destroy="GetAccessKeyLastUsed"),
    Row("`users.NAME.forceDestroy`", "ForceDestroy", "user:to force", "iam", up=_STRIPPED, destroy=_STRIPPED),
    Row(
        "`users.NAME.forceDestroy`",
        "ListMFADevices",
        "any:users to force",
        "iam",
        up="ListVirtualMFADevices",
        destroy="ListVirtualMFADevices",
    ),
    Row(
        "`users.NAME.forceDestroy`",
        "DeleteMFADevices",
        "mfa",
        "iam",
        up="DeleteVirtualMFADevice",
        destroy="DeleteVirtualMFADevice",
    ),
    Row(
        "checks before a user is removed, and in the preview of a rotation",
        "CheckRemovals",
        "user",
        "iam",
        up=_ATTACHED,
        preview=_ATTACHED,
        otherwise=_LATER,
    ),
    Row(
        "`deliver.secretsManager`",
        "Secrets",
        "secret",
        "secretsmanager",
        up="CreateSecret DescribeSecret GetResourcePolicy PutSecretValue GetSecretValue UpdateSecret DeleteSecret",
        refresh="DescribeSecret GetResourcePolicy GetSecretValue",
        destroy="DescribeSecret GetSecretValue DeleteSecret",
    ),
    Row(
        "`deliver.ssm`",
        "Parameters",
        "parameter",
        "ssm",
        up="PutParameter GetParameter DeleteParameter ListTagsForResource",
        refresh="GetParameter ListTagsForResource",
        destroy="DeleteParameter",
    ),
    Row(
        "`deliver.ssm`",
        "DescribeParameters",
        "any:parameters",
        "ssm",
        up="DescribeParameters",
        refresh="DescribeParameters",
    ),
    Row("`kmsKey` in `deliver`", "CheckDeliveryKeys", "key", "kms", up="DescribeKey", preview="DescribeKey"),
    Row("`kmsKey` in `deliver`", "DestroyGuardedKeys", "key:with a retire guard", "kms", destroy="DescribeKey"),
    Row(
        "`kmsKey` in `deliver`",
        "SecretKeys",
        "key:of secrets",
        "kms",
        up="GenerateDataKey Encrypt Decrypt",
        refresh="Decrypt",
        destroy="Decrypt",
        only=("StringLike", "kms:ViaService", "secretsmanager"),
    ),
    Row(
        "`kmsKey` in `deliver`",
        "ParameterKeys",
        "key:of parameters",
        "kms",
        up="Encrypt Decrypt",
        refresh="Decrypt",
        only=("StringLike", "kms:ViaService", "ssm"),
    ),
    Row(
        "`aws:defaultTags` with `deliver.secretsManager`",
        "SecretTags",
        "secret:with tags",
        "secretsmanager",
        up="TagResource UntagResource",
    ),
    Row(
        "`aws:defaultTags` with `deliver.ssm`",
        "ParameterTags",
        "parameter:with tags",
        "ssm",
        up="AddTagsToResource RemoveTagsFromResource",
    ),
    Row(
        "`aws:defaultTags` with `s3` or `policyDocuments`",
        "PolicyTags",
        "policy:with tags",
        "iam",
        up="TagPolicy UntagPolicy",
    ),
    Row(
        "state in S3",
        "Backend",
        "bucket",
        "s3",
        up="ListBucket",
        preview="ListBucket",
        refresh="ListBucket",
        destroy="ListBucket",
        report="ListBucket",
        inventory="ListBucket",
    ),
    Row(
        "state in S3",
        "State",
        "object",
        "s3",
        up=_STATE,
        preview="GetObject",
        refresh=_STATE,
        destroy=_STATE,
        report="GetObject",
        inventory="GetObject",
    ),
    Row(
        "secrets under KMS",
        "StackSecrets",
        "key:of the stack",
        "kms",
        up="Encrypt Decrypt",
        preview="Encrypt Decrypt",
        refresh="Encrypt Decrypt",
        destroy="Encrypt Decrypt",
    ),
    Row(
        _INVENTORY,
        "Account",
        "any:account",
        "iam",
        inventory="GetAccountAuthorizationDetails GenerateCredentialReport GetCredentialReport",
        otherwise="what only this tells is unknown",
    ),
    Row(
        _INVENTORY,
        "AccountKeys",
        "every user:of the account",
        "iam",
        inventory="ListAccessKeys",
        otherwise="the ids of keys are unknown, and so are their stacks",
    ),
    Row(
        _INVENTORY,
        "AwsPolicies",
        "policy:of AWS",
        "iam",
        inventory="GetPolicy GetPolicyVersion",
        otherwise="AWS's policies are judged by their names",
    ),
    Row(
        "`access-keys permissions`",
        "Permissions",
        "operator",
        "iam",
        permissions="SimulatePrincipalPolicy GetRole",
        otherwise="it prints the policy, but not what the operator lacks",
    ),
)


class Resource(NamedTuple):
    """A resource that the stack has or is to have, with the properties that matter here, as in the state."""

    type: str
    properties: Mapping[str, Any]


class Place(NamedTuple):
    """Where a stack's resources are. `*` for what is not known."""

    partition: str
    region: str
    account: str

    def arn(self, service: str, resource: str) -> str:
        """The ARN of a resource; IAM has no regions."""
        region = "" if service == "iam" else self.region
        return f"arn:{self.partition}:{service}:{region}:{self.account}:{resource}"

    def names_of(self, service: str) -> list[str]:
        """The names under which a service calls KMS for the caller. In China, AWS uses both."""
        name = f"{service}.{self.region}.amazonaws.com"
        return [name, f"{name}.cn"] if self.partition == "aws-cn" else [name]


GROUP, USER, KEY = "aws:iam/group:Group", "aws:iam/user:User", "aws:iam/accessKey:AccessKey"
POLICY, MEMBERSHIP = "aws:iam/policy:Policy", "aws:iam/userGroupMembership:UserGroupMembership"
GROUP_INLINE, USER_INLINE = "aws:iam/groupPolicy:GroupPolicy", "aws:iam/userPolicy:UserPolicy"
GROUP_ATTACHMENT = "aws:iam/groupPolicyAttachment:GroupPolicyAttachment"
USER_ATTACHMENT = "aws:iam/userPolicyAttachment:UserPolicyAttachment"
SECRET, PARAMETER = "aws:secretsmanager/secret:Secret", "aws:ssm/parameter:Parameter"
DESCRIPTIONS = "pulumi:index:Stash"
GRANT, EXPECTATIONS = "grant", "expectations"
"""A granted bucket, and the expectations of a group or user: not resources of the stack."""


def planned(settings: "AccessSettings", place: Place, default_tags: Mapping[str, Any]) -> Iterator[Resource]:
    """What the component registers for checked settings with the names in IAM."""
    own = {name: place.arn("iam", f"policy/{name}") for name in settings.policy_documents}

    def arn(policy: str) -> str:
        return own.get(policy) or policy_arn(policy, place.partition)

    for name in settings.policy_documents:
        yield Resource(POLICY, {"arn": own[name], "tagsAll": default_tags})
    for name, group in settings.groups.items():
        yield Resource(GROUP, {"name": name, "arn": place.arn("iam", f"group{group.path}{name}")})
        grants = [f"{name}-{key}" for key in grant_policies([one.grant() for one in group.s3], place.partition)]
        for policy in grants:
            yield Resource(POLICY, {"arn": place.arn("iam", f"policy/{policy}"), "tagsAll": default_tags})
        attached = [*map(arn, group.policies), *(place.arn("iam", f"policy/{policy}") for policy in grants)]
        for policy in (*attached, *group.policy_arns.values()):
            yield Resource(GROUP_ATTACHMENT, {"group": name, "policyArn": policy, "checked": True})
        yield from (Resource(GRANT, {"bucket": one.bucket}) for one in group.s3)
        if group.inline or group.allow_from is not None:
            yield Resource(GROUP_INLINE, {"group": name})
        if group.expect:
            yield Resource(EXPECTATIONS, {"group": name, "policies": [*map(arn, group.policies)]})
    for name, user in settings.users.items():
        tags = {**default_tags, **settings.effective_tags(name)}
        boundary = arn(user.permissions_boundary) if isinstance(user.permissions_boundary, str) else None
        known = {"name": name, "arn": place.arn("iam", f"user{user.path}{name}"), "tagsAll": tags}
        limits = {"permissionsBoundary": boundary, "checked": True}
        yield Resource(USER, {**known, **limits, "forceDestroy": user.force_destroy})
        for policy in user.policies:
            yield Resource(USER_ATTACHMENT, {"user": name, "policyArn": arn(policy), "checked": True})
        if user.allow_from is not None:
            yield Resource(USER_INLINE, {"user": name})
        if user.expect:
            deciding = [
                *user.policies,
                *(policy for group in user.groups for policy in settings.groups[group].policies),
            ]
            found = [*map(arn, deciding), *([boundary] if boundary else [])]
            yield Resource(EXPECTATIONS, {"user": name, "policies": found})
        if user.groups:
            yield Resource(MEMBERSHIP, {"user": name, "groups": user.groups})
        if user.key is None:
            continue
        key, deliver = settings.effective_key(name), settings.effective_deliver(name)
        guarded = key.retire_guard is not None
        yield Resource(KEY, {"user": name, "guarded": guarded, "adopted": key.adopt is not None})
        if key.description is not None:
            yield Resource(DESCRIPTIONS, {"input": {"user": name}})
        if deliver and (store := deliver.secrets_manager):
            stored = place.arn("secretsmanager", f"secret:{stored_name(name, store.name, 'secrets_manager')}-??????")
            asked = {"arn": stored, "kmsKeyId": store.kms_key, "tagsAll": default_tags, "guarded": guarded}
            yield Resource(SECRET, asked)
        if deliver and (store := deliver.ssm):
            stored = place.arn("ssm", f"parameter/{stored_name(name, store.name, 'ssm').removeprefix('/')}")
            asked = {"arn": stored, "keyId": store.kms_key, "tagsAll": default_tags, "guarded": guarded}
            yield Resource(PARAMETER, asked)


def resources_of(resources: Iterable[Resource], place: Place) -> dict[str, list[str]]:
    """What the rows are about (Row.about) and the values of conditions (Row.only), sorted: mostly ARNs.

    A group or user has two ARNs while its path changes.
    """
    listed = list(resources)
    arns: dict[tuple[str, str], set[str]] = defaultdict(set)
    for kind, properties in listed:
        if kind in (GROUP, USER):
            arns[kind, properties["name"]].add(properties["arn"])
    found: dict[str, set[str]] = defaultdict(set)
    for kind, properties in listed:
        for about, names in _FINDINGS.get(kind, _nothing)(properties, place):
            owner = {"group": GROUP, "user": USER}.get(about.partition(":")[0])
            # A group or user that the stack does not have belongs to somebody else.
            found[about] |= {arn for name in names for arn in arns[owner, name]} if owner else set(names)
    for others in ("policy:of others", "policy:expected"):
        found[others] -= found["policy"]
    if USER in (kind for kind, _ in listed):
        found["every user"] = {place.arn("iam", "user/*")}
    for service in ("secretsmanager", "ssm"):
        found[service] |= set(place.names_of(service))
    return {about: sorted(which) for about, which in found.items() if which}


def of_account(place: Place) -> dict[str, list[str]]:
    """The same for a command about the whole account."""
    users = [place.arn("iam", "user/*")]
    aws = [f"arn:{place.partition}:iam::aws:policy/*"]
    return {"any:account": ["*"], "every user": users, "every user:of the account": users, "policy:of AWS": aws}


Findings = Iterator[tuple[str, list[str]]]
"""Row.about or the values of a condition → names of groups or users; of others ARNs, or `*`."""


def _nothing(_properties: Mapping[str, Any], _place: Place) -> Findings:
    yield from ()


def _of_group(group: Mapping[str, Any], _: Place) -> Findings:
    yield "group", [group["name"]]
    yield "any:groups", ["*"]


def _of_user(user: Mapping[str, Any], place: Place) -> Findings:
    name = [user["name"]]
    tags: Mapping[str, Any] = user.get("tagsAll") or {}
    yield "user", name
    yield "any:users", ["*"]
    if tags:
        yield "user:with tags", name
    if "" in tags.values():
        yield "user:with an empty tag", name
    if boundary := user.get("permissionsBoundary"):
        yield "user:with a boundary", name
        if user.get("checked"):
            yield "policy:of others", _unknown(boundary)
    if user.get("forceDestroy"):
        yield "user:to force", name
        yield "any:users to force", ["*"]
        yield "mfa", [place.arn("iam", f"mfa/{user['name']}")]


def _of_policy(policy: Mapping[str, Any], _: Place) -> Findings:
    yield "policy", [policy["arn"]]
    yield "any:policies", ["*"]
    if policy.get("tagsAll"):
        yield "policy:with tags", [policy["arn"]]


def _of_attachment(attachment: Mapping[str, Any], _: Place) -> Findings:
    owner = "group" if "group" in attachment else "user"
    yield f"{owner}:with managed policies", [attachment[owner]]
    yield f"of {owner}s", [attachment["policyArn"]]
    if attachment.get("checked"):
        yield "policy:of others", _unknown(attachment["policyArn"])


def _unknown(policy: str) -> list[str]:
    """The ARN of a policy, unless it is one of AWS's that are known offline."""
    owner, _, path = policy.partition(":policy/")
    return [] if owner.endswith(":iam::aws") and path in managed_policies().values() else [policy]


def _of_grant(grant: Mapping[str, Any], place: Place) -> Findings:
    yield "bucket:granted", [f"arn:{place.partition}:s3:::{grant['bucket']}"]


def _of_expectations(expected: Mapping[str, Any], _: Place) -> Findings:
    owner = "group" if "group" in expected else "user"
    yield f"{owner}:with expectations", [expected[owner]]
    yield "any:expectations", ["*"]
    if owner == "user":
        yield "any:users with expectations", ["*"]
    yield "policy:expected", expected["policies"]


def _of_inline(policy: Mapping[str, Any], _: Place) -> Findings:
    owner = "group" if "group" in policy else "user"
    yield f"{owner}:with inline policies", [policy[owner]]


def _of_membership(membership: Mapping[str, Any], _: Place) -> Findings:
    yield "group:with users", membership["groups"]
    yield "user:in groups", [membership["user"]]


def _of_key(key: Mapping[str, Any], _: Place) -> Findings:
    yield "user:with a key", [key["user"]]
    if key.get("guarded"):
        yield "user:with a retire guard", [key["user"]]
    if key.get("adopted"):
        yield "user:to adopt", [key["user"]]


def _of_descriptions(stash: Mapping[str, Any], _: Place) -> Findings:
    if isinstance(stash.get("input"), Mapping) and "user" in stash["input"]:
        yield "user:with tags", [stash["input"]["user"]]


def _of_store(stored: Mapping[str, Any], place: Place) -> Findings:
    """A secret or parameter. The KMS key that it names is a key of the account's own, or an alias of one."""
    is_parameter = ":ssm:" in stored["arn"]
    store, key = ("parameter", stored.get("keyId")) if is_parameter else ("secret", stored.get("kmsKeyId"))
    yield store, [stored["arn"]]
    yield f"any:{store}s", ["*"]
    if stored.get("tagsAll"):
        yield f"{store}:with tags", [stored["arn"]]
    if not isinstance(key, str) or not key or key.startswith("alias/aws/"):
        return
    if not key.startswith("arn:"):
        key = place.arn("kms", key if key.startswith("alias/") else f"key/{key}")
    yield from (("key", [key]), (f"key:of {store}s", [key]))
    if stored.get("guarded"):
        yield "key:with a retire guard", [key]


_FINDINGS = {
    GROUP: _of_group,
    USER: _of_user,
    POLICY: _of_policy,
    GROUP_ATTACHMENT: _of_attachment,
    USER_ATTACHMENT: _of_attachment,
    GROUP_INLINE: _of_inline,
    USER_INLINE: _of_inline,
    MEMBERSHIP: _of_membership,
    GRANT: _of_grant,
    EXPECTATIONS: _of_expectations,
    KEY: _of_key,
    DESCRIPTIONS: _of_descriptions,
    SECRET: _of_store,
    PARAMETER: _of_store,
}


class Statement(NamedTuple):
    """A statement of the policy, and why it is there."""

    row: Row
    actions: list[str]
    resources: list[str]
    condition: dict[str, dict[str, list[str]]]

    @property
    def as_json(self) -> dict[str, Any]:
        """The statement as a policy document has it."""
        condition = {"Condition": self.condition} if self.condition else {}
        found = {"Sid": self.row.sid, "Effect": "Allow", "Action": self.actions, "Resource": self.resources}
        return {**found, **condition}


def statements(about: Mapping[str, Sequence[str]], command: Command, place: Place) -> list[Statement]:
    """What a command needs. about: as from `resources_of`."""
    made: list[Statement] = []
    known: set[tuple[str, str]] = set()
    for row in ROWS:
        actions = [f"{row.service}:{action}" for action in getattr(row, command).split()]
        where = [arn for arn in about.get(row.about, ()) if any((action, arn) not in known for action in actions)]
        actions = [action for action in actions if any((action, arn) not in known for arn in where)]
        condition: dict[str, dict[str, list[str]]] = {}
        if row.only:
            operator, key, values = row.only
            condition[operator] = {key: list(about[values])} if where else {}
        else:
            known |= {(action, arn) for action in actions for arn in where}
        aliases = [arn for arn in where if ":alias/" in arn]
        if keys := [arn for arn in where if arn not in aliases]:
            made.append(Statement(row, actions, keys, condition))
        if aliases:
            # A policy cannot name a key by its alias; it needs a condition on the key's aliases.
            named = {"ForAnyValue:StringEquals": {"kms:ResourceAliases": [arn.split(":", 5)[5] for arn in aliases]}}
            every = sorted({f"{arn.rpartition(':alias/')[0]}:key/*" for arn in aliases})
            of_aliases = row._replace(sid=f"{row.sid}ByAlias")
            made.append(Statement(of_aliases, actions, every, condition | named))
    return made


def document(found: Sequence[Statement]) -> tuple[dict[str, Any], bool]:
    """The policy document, and whether names are shortened in it.

    If it is too long for IAM, statements on the same resources become one, without a Sid; if that is not enough, a list
    of names is replaced by what they begin with, and `*`.
    """
    whole = _document(statement.as_json for statement in found)
    if length(whole) > POLICY_LENGTH:
        whole = _document(_joined(found))
    if length(whole) <= POLICY_LENGTH:
        return whole, False
    return _document(_joined([one._replace(resources=_in_common(one.resources)) for one in found])), True


def _document(found: Iterable[dict[str, Any]]) -> dict[str, Any]:
    return {"Version": VERSION, "Statement": list(found)}


def _joined(found: Sequence[Statement]) -> Iterator[dict[str, Any]]:
    by_resources: dict[str, Statement] = {}
    for one in found:
        same = by_resources.setdefault(repr((one.resources, one.condition)), one._replace(actions=[]))
        same.actions.extend(action for action in one.actions if action not in same.actions)
    for one in by_resources.values():
        yield {name: value for name, value in one.as_json.items() if name != "Sid"}


def _in_common(arns: list[str]) -> list[str]:
    """One pattern for many ARNs of one kind, unless they are those of KMS keys."""
    if len(arns) < 2 or ":kms:" in arns[0]:
        return arns
    same = takewhile(lambda pair: pair[0] == pair[1], zip(min(arns), max(arns), strict=False))
    return [f"{''.join(one for one, _ in same)}*"]


def table() -> str:
    """The table of docs/security.md, as Markdown: rows of one purpose and resource are one."""
    joined: dict[tuple[str, str], dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for row in ROWS:
        actions = joined[row.purpose, SHOWN[row.about.partition(":")[0]]][row.service]
        actions += [action for action in row.actions if action not in actions]
    lines = ["| For | Actions | Resources |", "|---|---|---|"]
    for (purpose, shown), services in joined.items():
        listed = "; ".join(f"`{service}:` {', '.join(actions)}" for service, actions in services.items())
        lines.append(f"| {purpose} | {listed} | {shown} |")
    return "\n".join(lines) + "\n"

"""What the operator, the identity that runs Pulumi, must be allowed: one table, from which the policy document of
`access-keys permissions` (operator.py) and the table in docs/security.md are made.

Sources: the calls of the aws provider, as measured for the sandbox (docs/sandbox.md), and of this package; which
resources and condition keys an action has, the service authorization reference; what Secrets Manager and SSM do with a
KMS key for the caller, their user guides.
"""

from collections import defaultdict
from typing import Literal, NamedTuple, get_args

Command = Literal["preview", "up", "refresh", "destroy", "report", "inventory", "leak", "takeover"]
COMMANDS: tuple[Command, ...] = get_args(Command)
"""Pulumi's, and four of `access-keys`. Its other commands ask AWS nothing, except `access-keys permissions` itself."""
OWN: tuple[Command, ...] = ("report", "inventory", "leak", "takeover")
"""Those of `access-keys`."""
OF_ACCOUNT: tuple[Command, ...] = ("inventory", "takeover")
"""Those about the whole account."""

SHOWN = {
    "any": "`*`",
    "group": "`arn:aws:iam::*:group/*`",
    "user": "`arn:aws:iam::*:user/*`",
    "every user": "`arn:aws:iam::*:user/*`",
    "mfa": "`arn:aws:iam::*:mfa/*`",
    "policy": "`arn:aws:iam::*:policy/*`",
    "secret": "`arn:aws:secretsmanager:*:*:secret:access-keys/*`",
    "other secret": "that secret",
    "parameter": "`arn:aws:ssm:*:*:parameter/access-keys/*`",
    "key": "that key",
    "topic": "that topic",
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
    takeover: str = ""
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
_REMOVED = f"{_ATTACHED} ListGroupsForUser"
_HELD = "GetGroup ListAttachedGroupPolicies ListGroupPolicies"
_STRIPPED = (
    "ListUserPolicies DeleteUserPolicy ListAttachedUserPolicies DetachUserPolicy ListAccessKeys DeleteAccessKey "
    "ListSSHPublicKeys DeleteSSHPublicKey ListMFADevices DeactivateMFADevice DeleteLoginProfile "
    "ListSigningCertificates DeleteSigningCertificate ListServiceSpecificCredentials DeleteServiceSpecificCredential"
)
_INVENTORY = "`access-keys inventory`"
_TAKEOVER = "`access-keys takeover`"
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
        preview="GetGroupPolicy",
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
        "`users.NAME.inline`, `users.NAME.allowFrom`",
        "UserInlinePolicies",
        "user:with inline policies",
        "iam",
        up="PutUserPolicy GetUserPolicy DeleteUserPolicy",
        preview="GetUserPolicy",
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
        destroy="DeleteAccessKey ListAccessKeys",
        report="ListAccessKeys",
    ),
    Row("users and keys", "Adopt", "user:to adopt", "iam", preview="GetUser"),
    Row(
        "`groups.NAME.adopt`",
        "AdoptGroups",
        "group:to adopt",
        "iam",
        preview="GetGroup",
    ),
    Row(
        "`groups.NAME.adopt`: what the group keeps",
        "AdoptedGroups",
        "group:to adopt",
        "iam",
        preview="ListAttachedGroupPolicies ListGroupPolicies",
        otherwise="what the stack does not manage of the group is not listed",
    ),
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
        "`status: active`, `previous: active` of a key that was inactive: whether it has leaked",
        "ActivatedKey",
        "user:with a key",
        "iam",
        up="GetUserPolicy",
        preview="GetUserPolicy",
        otherwise="the key stays inactive",
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
    Row(
        _USED,
        "DestroyLastUse",
        "user:with a key",
        "iam",
        destroy="GetAccessKeyLastUsed",
        otherwise="last uses are unknown, and the retire guard retires no key",
    ),
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
        up=_REMOVED,
        preview=_REMOVED,
        otherwise=_LATER,
    ),
    Row(
        "checks before a user is removed, and in the preview of a rotation",
        "DestroyChecks",
        "user:with a key",
        "iam",
        destroy=_ATTACHED,
        otherwise=_LATER,
    ),
    Row(
        "checks before a group is removed",
        "CheckGroupRemovals",
        "group",
        "iam",
        up=_HELD,
        preview=_HELD,
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
        "`deliver.secretsManager.readers`",
        "SecretReaders",
        "secret:with readers",
        "secretsmanager",
        up="PutResourcePolicy DeleteResourcePolicy",
        destroy="DeleteResourcePolicy GetResourcePolicy",
    ),
    Row(
        "`deliver.secretsManager.replicas`",
        "SecretReplicas",
        "secret:with replicas",
        "secretsmanager",
        up="ReplicateSecretToRegions RemoveRegionsFromReplication",
        destroy="RemoveRegionsFromReplication",
    ),
    Row(
        "`deliver.secretsManager.existing`",
        "ExistingSecrets",
        "other secret:to check",
        "secretsmanager",
        up="DescribeSecret",
        preview="DescribeSecret",
    ),
    Row(
        "`deliver.secretsManager.existing`",
        "WrittenSecrets",
        "other secret",
        "secretsmanager",
        up="PutSecretValue GetSecretValue",
        refresh="GetSecretValue",
        destroy="GetSecretValue",
    ),
    Row(
        "`deliver.ssm`",
        "Parameters",
        "parameter",
        "ssm",
        up="PutParameter GetParameter DeleteParameter ListTagsForResource",
        refresh="GetParameter ListTagsForResource",
        destroy="DeleteParameter GetParameter",
    ),
    Row(
        "`deliver.ssm`",
        "DescribeParameters",
        "any:parameters",
        "ssm",
        up="DescribeParameters",
        refresh="DescribeParameters",
    ),
    Row("`notify.sns`", "Notices", "topic", "sns", up="Publish"),
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
        destroy="Decrypt",
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
        takeover="ListBucket",
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
        takeover=_STATE,
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
        takeover="Encrypt Decrypt",
    ),
    Row(
        "state in S3, in a bucket encrypted with the same key",
        "StateKey",
        "key:of the state",
        "kms",
        up="GenerateDataKey Decrypt",
        preview="Decrypt",
        refresh="GenerateDataKey Decrypt",
        destroy="GenerateDataKey Decrypt",
        report="Decrypt",
        takeover="GenerateDataKey Decrypt",
        inventory="Decrypt",
        only=("StringLike", "kms:ViaService", "s3"),
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
        "`access-keys report`",
        "Foreign",
        "any:users",
        "iam",
        report="GetAccountAuthorizationDetails",
        otherwise="policies and members that the stack does not manage are unknown",
    ),
    Row(
        _TAKEOVER,
        "AccountToTakeOver",
        "any:account",
        "iam",
        takeover="GetAccountAuthorizationDetails",
    ),
    Row(
        _TAKEOVER,
        "UsersToTakeOver",
        "every user:of the account",
        "iam",
        takeover="ListAccessKeys GetAccessKeyLastUsed GetUser GetUserPolicy ListAttachedUserPolicies ListGroupsForUser",
    ),
    Row(
        _TAKEOVER,
        "GroupsToTakeOver",
        "group:of the account",
        "iam",
        takeover="GetGroup GetGroupPolicy ListAttachedGroupPolicies",
    ),
    Row(
        _TAKEOVER,
        "CredentialsLeftAlone",
        "every user:of the account",
        "iam",
        takeover="GetLoginProfile ListMFADevices ListSigningCertificates ListSSHPublicKeys "
        "ListServiceSpecificCredentials",
        otherwise="what else the users have is not listed",
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

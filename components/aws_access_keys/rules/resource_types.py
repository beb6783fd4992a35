"""The types of the resources that this package and its policy pack know, as the engine's state has them."""

from collections.abc import Iterator, Mapping
from typing import Any

COMPONENT = "aws-access-keys:index:ProgrammaticAccess"
PLANS = "aws-access-keys:index:KeyPlans"
USER = "aws:iam/user:User"
GROUP = "aws:iam/group:Group"
KEY = "aws:iam/accessKey:AccessKey"
MEMBERSHIP = "aws:iam/userGroupMembership:UserGroupMembership"
GROUP_MEMBERSHIP = "aws:iam/groupMembership:GroupMembership"
POLICY = "aws:iam/policy:Policy"
USER_POLICY = "aws:iam/userPolicy:UserPolicy"
GROUP_POLICY = "aws:iam/groupPolicy:GroupPolicy"
USER_POLICY_ATTACHMENT = "aws:iam/userPolicyAttachment:UserPolicyAttachment"
GROUP_POLICY_ATTACHMENT = "aws:iam/groupPolicyAttachment:GroupPolicyAttachment"
POLICY_ATTACHMENT = "aws:iam/policyAttachment:PolicyAttachment"
SECRET = "aws:secretsmanager/secret:Secret"
SECRET_VERSION = "aws:secretsmanager/secretVersion:SecretVersion"
SECRET_POLICY = "aws:secretsmanager/secretPolicy:SecretPolicy"
PARAMETER = "aws:ssm/parameter:Parameter"
STASH = "pulumi:index:Stash"
AWS_KEYS = {SECRET: "alias/aws/secretsmanager", PARAMETER: "alias/aws/ssm"}
"""The KMS keys of AWS. Every region has the one of secrets, and AWS reports it, so the provider must know it, too."""
FORGET = (
    "Remove that resource from the program, and from the state with `pulumi state delete '{}' --target-dependents`, "
    "which changes nothing in AWS."
)
"""What to do about a resource whose user, group or key a component is to have."""
RESOURCE_POLICY = "a resource policy"
_POLICIES = {
    USER_POLICY: ("user", "name"),
    GROUP_POLICY: ("group", "name"),
    USER_POLICY_ATTACHMENT: ("user", "policyArn"),
    GROUP_POLICY_ATTACHMENT: ("group", "policyArn"),
}
"""Type → the output that names the owner, and the one that names the policy."""


def held(kind: str, outputs: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """What a resource gives to others: `user` or `group`, its name, and the ARN or name of a policy, or the name of a
    group that a user is in; or `secret`, its ARN, and RESOURCE_POLICY. kind: the type of the resource."""
    if kind == MEMBERSHIP:
        yield from (("user", str(outputs.get("user")), str(group)) for group in outputs.get("groups") or ())
    elif kind == GROUP_MEMBERSHIP:
        yield from (("user", str(user), str(outputs.get("group"))) for user in outputs.get("users") or ())
    elif kind == SECRET_POLICY:
        yield "secret", str(outputs.get("secretArn")), RESOURCE_POLICY
    elif kind in _POLICIES:
        owner, what = _POLICIES[kind]
        yield owner, str(outputs.get(owner)), str(outputs.get(what))
    elif kind == POLICY_ATTACHMENT:
        for owner in ("group", "user"):
            names = outputs.get(f"{owner}s") or ()
            yield from ((owner, str(name), str(outputs.get("policyArn"))) for name in names)

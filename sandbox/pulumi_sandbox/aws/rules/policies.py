"""AWS's rules for IAM policies: sizes, quotas, attachments, versions; and unique role names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pulumi_sandbox.aws.response import ApiResponse, AwsError
from pulumi_sandbox.aws.rules.rule import Context, check_quota, rule, size, taken

if TYPE_CHECKING:
    from moto.iam.models import ManagedPolicy

NOT_ATTACHABLE = "does not exist or is not attachable."


def _is_aws_managed(policy: ManagedPolicy) -> bool:
    return ":iam::aws:" in policy.arn


def _own(context: Context) -> ManagedPolicy:
    """The policy that a call wants to change; AWS's own cannot be changed by anybody. (Wording not seen on AWS.)"""
    policy = context.policy()
    if _is_aws_managed(policy):
        what = f"{context.caller.arn} is not authorized to perform: iam:{context.request.action}"
        raise AwsError("AccessDenied", f"User: {what} on resource: policy {policy.arn}")
    return policy


# ---- managed policies


@rule("CreatePolicy")
def create_policy(context: Context) -> None:
    name = context.given["PolicyName"]
    own = [policy for policy in context.store.managed_policies.values() if not _is_aws_managed(policy)]
    if taken(name, (policy.name for policy in own)):
        raise AwsError(
            "EntityAlreadyExists", f"A policy called {name} already exists. Duplicate names are not allowed."
        )
    check_quota(context.quotas, "policies_per_account", len(own))
    _check_size(context)


@rule("CreatePolicyVersion")
def create_policy_version(context: Context) -> None:
    policy = _own(context)
    _check_size(context)
    limit = context.quotas.versions_per_policy
    if len(policy.versions) >= limit:
        raise AwsError(
            "LimitExceeded",
            f"A managed policy can have up to {limit} versions. Before you create a new version, you must delete an "
            "existing version.",
        )


@rule("DeletePolicyVersion")
def delete_policy_version(context: Context) -> None:
    policy = _own(context)
    version = context.given["VersionId"]
    if version == policy.default_version_id:
        raise AwsError("DeleteConflict", "Cannot delete the default version of a policy.")
    _check_version(context, policy)


@rule("SetDefaultPolicyVersion")
def set_default_policy_version(context: Context) -> None:
    absent = f"version {context.given['VersionId']} {NOT_ATTACHABLE}"
    context.policy(absent)
    _check_version(context, _own(context))


@rule("GetPolicyVersion")
def get_policy_version(context: Context) -> None:
    _check_version(context, context.policy(f"version {context.given['VersionId']} {NOT_ATTACHABLE}"))


@rule("GetPolicy", "ListPolicyTags", "ListEntitiesForPolicy")
def existing_policy(context: Context) -> None:
    context.policy()


@rule("TagPolicy", "UntagPolicy")
def change_policy(context: Context) -> None:
    _own(context)


@rule("DeletePolicy")
def delete_policy(context: Context) -> None:
    policy = _own(context)
    holders = [*context.store.users.values(), *context.store.groups.values(), *context.store.roles.values()]
    if any(policy.arn in holder.managed_policies or _bounded_by(holder, policy) for holder in holders):
        raise AwsError("DeleteConflict", "Cannot delete a policy attached to entities.")
    if len(policy.versions) > 1:
        raise AwsError(
            "DeleteConflict",
            "This policy has more than one version. Before you delete a policy, you must delete the policy's versions. "
            "The default version is deleted with the policy.",
        )


def _bounded_by(holder: Any, policy: ManagedPolicy) -> bool:
    limit = getattr(holder, "permissions_boundary", None)
    return bool(limit) and limit["PermissionsBoundaryArn"] == policy.arn


def _check_version(context: Context, policy: ManagedPolicy) -> None:
    wanted = context.given["VersionId"]
    if not any(version.version_id == wanted for version in policy.versions):
        raise AwsError("NoSuchEntity", f"Policy {policy.arn} version {wanted} {NOT_ATTACHABLE}")


def _check_size(context: Context) -> None:
    limit = context.quotas.policy_size
    if size(context.given["PolicyDocument"]) > limit:
        raise AwsError("LimitExceeded", f"Cannot exceed quota for PolicySize: {limit}")


# ---- attachments


@rule("AttachUserPolicy", "AttachGroupPolicy", "AttachRolePolicy")
def attach(context: Context) -> ApiResponse:
    """Attaching twice is not an error and counts once."""
    kind, holder = context.holder()
    policy = context.policy(NOT_ATTACHABLE)
    if policy.arn in holder.managed_policies:
        return context.success()
    if policy.path.startswith("/aws-service-role/"):
        raise AwsError("PolicyNotAttachable", f"Cannot attach a Service Role Policy to a Customer {kind}.")
    check_quota(context.quotas, f"policies_per_{kind.lower()}", len(holder.managed_policies))
    policy.attach_to(holder)
    return context.success()


@rule("DetachUserPolicy", "DetachGroupPolicy", "DetachRolePolicy")
def detach(context: Context) -> ApiResponse:
    _, holder = context.holder()
    policy = context.policy()
    if policy.arn not in holder.managed_policies:
        raise AwsError("NoSuchEntity", f"Policy {policy.arn} was not found.")
    policy.detach_from(holder)
    return context.success()


# ---- inline policies


@rule("PutUserPolicy", "PutGroupPolicy", "PutRolePolicy")
def put_inline(context: Context) -> None:
    """The limit is on all inline policies of one entity together."""
    kind, holder = context.holder()
    limit: int = getattr(context.quotas, f"{kind.lower()}_policy_size")
    others = sum(size(text) for name, text in holder.policies.items() if name != context.given["PolicyName"])
    if others + size(context.given["PolicyDocument"]) > limit:
        whose = f"{kind.lower()} {holder.name}"
        raise AwsError("LimitExceeded", f"Maximum policy size of {limit} bytes exceeded for {whose}")


@rule(
    "GetUserPolicy",
    "DeleteUserPolicy",
    "GetGroupPolicy",
    "DeleteGroupPolicy",
    "GetRolePolicy",
    "DeleteRolePolicy",
)
def existing_inline(context: Context) -> None:
    kind, holder = context.holder()
    name = context.given["PolicyName"]
    if name not in holder.policies:
        raise AwsError("NoSuchEntity", f"The {kind.lower()} policy with name {name} cannot be found.")


# ---- roles and instance profiles


@rule("CreateRole")
def create_role(context: Context) -> None:
    name, roles = context.given["RoleName"], context.store.roles.values()
    if taken(name, (role.name for role in roles)):
        raise AwsError("EntityAlreadyExists", f"Role with name {name} already exists.")
    check_quota(context.quotas, "roles_per_account", len(roles))


@rule("CreateInstanceProfile")
def create_instance_profile(context: Context) -> None:
    name = context.given["InstanceProfileName"]
    if taken(name, (profile.name for profile in context.store.instance_profiles.values())):
        raise AwsError("EntityAlreadyExists", f"Instance Profile {name} already exists.")

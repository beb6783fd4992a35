"""IAM's lists, in pages as AWS gives them: 100 items unless MaxItems says otherwise, then a Marker.

moto responds to most of these in one piece, which hides a client's missing pagination.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from pulumi_sandbox.aws.response import ApiResponse, AwsError
from pulumi_sandbox.aws.rules.rule import Context, group_summary, groups_of, rule, user_summary

DEFAULT_PAGE = 100

List = Callable[[Context], "list[Any]"]


def _with_prefix(context: Context, items: Iterable[Any]) -> list[Any]:
    return [item for item in items if item.path.startswith(context.given.get("PathPrefix", "/"))]


def _users(context: Context) -> list[Any]:
    known = [user for user in context.store.users.values() if not context.faults.is_stale(user.name)]
    return [user_summary(user) for user in _with_prefix(context, known)]


def _access_keys(context: Context) -> list[Any]:
    if "UserName" not in context.given:
        root = context.root.access_key_id
        return [{"AccessKeyId": root, "Status": "Active", "CreateDate": "2020-01-01T00:00:00Z"}]
    return [
        {
            "UserName": key.user_name,
            "AccessKeyId": key.access_key_id,
            "Status": key.status,
            "CreateDate": key.create_date,
        }
        for key in context.user().access_keys
        if not context.faults.is_stale(key.access_key_id)
    ]


def _attached_policies(context: Context) -> list[Any]:
    policies = _with_prefix(context, context.holder()[1].managed_policies.values())
    return [{"PolicyName": policy.name, "PolicyArn": policy.arn} for policy in policies]


def _inline_policies(context: Context) -> list[Any]:
    return list(context.holder()[1].policies)


def _policy_versions(context: Context) -> list[Any]:
    """Newest first."""
    return [
        {
            "VersionId": version.version_id,
            "IsDefaultVersion": version.is_default,
            "CreateDate": version.create_date,
        }
        for version in reversed(context.policy().versions)
    ]


# What an action lists, and in which member of its response.
LISTS: dict[str, tuple[str, List]] = {
    "ListUsers": ("Users", _users),
    "ListGroups": ("Groups", lambda of: [group_summary(group) for group in _with_prefix(of, of.store.groups.values())]),
    "ListGroupsForUser": ("Groups", lambda of: [group_summary(group) for group in groups_of(of, of.user())]),
    "ListAccessKeys": ("AccessKeyMetadata", _access_keys),
    "ListUserTags": ("Tags", lambda of: list(of.user().tags or [])),
    "ListUserPolicies": ("PolicyNames", _inline_policies),
    "ListGroupPolicies": ("PolicyNames", _inline_policies),
    "ListAttachedUserPolicies": ("AttachedPolicies", _attached_policies),
    "ListAttachedGroupPolicies": ("AttachedPolicies", _attached_policies),
    "ListPolicyVersions": ("Versions", _policy_versions),
    "ListServiceSpecificCredentials": ("ServiceSpecificCredentials", lambda _: []),  # moto has none
    "ListAccountAliases": ("AccountAliases", lambda of: list(of.store.account_aliases)),
}


@rule(*LISTS)
def list_of(context: Context) -> ApiResponse:
    member, items = LISTS[context.request.action or ""]
    return context.success(page(context, member, items(context)))


@rule("GetGroup")
def get_group(context: Context) -> ApiResponse:
    group = context.group()
    users = page(context, "Users", [user_summary(user) for user in group.users])
    return context.success({"Group": group_summary(group), **users})


def page(context: Context, member: str, items: list[Any]) -> dict[str, Any]:
    """The page of a list that a request asks for, under the name of its member in the response."""
    marker, limit = context.given.get("Marker", "0"), context.given.get("MaxItems", DEFAULT_PAGE)
    if not marker.isdigit():
        raise AwsError("ValidationError", "Invalid Marker.")
    start = int(marker)
    truncated = len(items) > start + limit
    found: dict[str, Any] = {member: items[start : start + limit], "IsTruncated": truncated}
    return {**found, "Marker": str(start + limit)} if truncated else found

"""IAM's lists, in pages as AWS gives them: 100 items unless MaxItems says otherwise, then a Marker.

moto answers most of these in one piece, which hides a client's missing pagination.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pulumi_sandbox.aws import account
from pulumi_sandbox.aws.response import ApiResponse, AwsError
from pulumi_sandbox.aws.rules.rule import Context, group_summary, rule, user_summary

DEFAULT_PAGE = 100

List = Callable[[Context], "list[Any]"]


def _listing(action: str, member: str) -> Callable[[List], List]:
    """Register a function as the list that `action` answers in its member `member`."""

    def register(function: List) -> List:
        def answer(context: Context) -> ApiResponse:
            return context.success(_page(context, member, function(context)))

        rule(action)(answer)
        return function

    return register


def _page(context: Context, member: str, items: list[Any]) -> dict[str, Any]:
    marker, limit = context.given.get("Marker", "0"), context.given.get("MaxItems", DEFAULT_PAGE)
    if not marker.isdigit():
        raise AwsError("ValidationError", "Invalid Marker.")
    start = int(marker)
    truncated = len(items) > start + limit
    page: dict[str, Any] = {member: items[start : start + limit], "IsTruncated": truncated}
    return {**page, "Marker": str(start + limit)} if truncated else page


def _with_prefix(context: Context, items: list[Any]) -> list[Any]:
    prefix = context.given.get("PathPrefix", "/")
    return [item for item in items if item.path.startswith(prefix)]


@_listing("ListUsers", "Users")
def users(context: Context) -> list[Any]:
    return [user_summary(user) for user in _with_prefix(context, list(context.store.users.values()))]


@_listing("ListGroups", "Groups")
def groups(context: Context) -> list[Any]:
    return [group_summary(group) for group in _with_prefix(context, list(context.store.groups.values()))]


@_listing("ListGroupsForUser", "Groups")
def groups_for_user(context: Context) -> list[Any]:
    user = context.user()
    return [group_summary(group) for group in context.store.groups.values() if user in group.users]


@rule("GetGroup")
def get_group(context: Context) -> ApiResponse:
    group = context.group()
    page = _page(context, "Users", [user_summary(user) for user in group.users])
    return context.success({"Group": group_summary(group), **page})


@_listing("ListAccessKeys", "AccessKeyMetadata")
def access_keys(context: Context) -> list[Any]:
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
    ]


@_listing("ListUserTags", "Tags")
def user_tags(context: Context) -> list[Any]:
    return list(context.user().tags or [])


@_listing("ListUserPolicies", "PolicyNames")
def user_policies(context: Context) -> list[Any]:
    return list(context.user().policies)


@_listing("ListGroupPolicies", "PolicyNames")
def group_policies(context: Context) -> list[Any]:
    return list(context.group().policies)


@_listing("ListAttachedUserPolicies", "AttachedPolicies")
def attached_user_policies(context: Context) -> list[Any]:
    return _attached(context, context.user())


@_listing("ListAttachedGroupPolicies", "AttachedPolicies")
def attached_group_policies(context: Context) -> list[Any]:
    return _attached(context, context.group())


def _attached(context: Context, holder: Any) -> list[Any]:
    policies = _with_prefix(context, list(holder.managed_policies.values()))
    return [{"PolicyName": policy.name, "PolicyArn": policy.arn} for policy in policies]


@_listing("ListPolicyVersions", "Versions")
def policy_versions(context: Context) -> list[Any]:
    """Newest first."""
    return [
        {
            "VersionId": version.version_id,
            "IsDefaultVersion": version.is_default,
            "CreateDate": version.create_date,
        }
        for version in reversed(context.policy().versions)
    ]


@_listing("ListAccountAliases", "AccountAliases")
def account_aliases(context: Context) -> list[Any]:
    return list(account.iam(context.request.region).account_aliases)

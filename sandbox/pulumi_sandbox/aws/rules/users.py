"""AWS's rules for IAM users and groups: unique names, quotas, renames, memberships, tags, and what must go first."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pulumi_sandbox.aws import clock
from pulumi_sandbox.aws.response import ApiResponse, AwsError
from pulumi_sandbox.aws.rules.rule import (
    Context,
    boundary,
    check_quota,
    conflict,
    group_summary,
    groups_of,
    rule,
    taken,
    user_details,
)

if TYPE_CHECKING:
    pass

DUPLICATE_TAGS = "Duplicate tag keys found. Please note that Tag keys are case insensitive."
TOO_MANY_TAGS = "The number of tags has reached the maximum limit."


@rule("CreateUser")
def create_user(context: Context) -> ApiResponse:
    store, given = context.store, context.given
    name, tags = given["UserName"], given.get("Tags", [])
    if taken(name, store.users):
        raise AwsError("EntityAlreadyExists", f"User with name {name} already exists.")
    check_quota(context.quotas, "users_per_account", len(store.users))
    _check_tags(tags)
    limit = boundary(context) if "PermissionsBoundary" in given else None
    user = store.create_user(context.request.region, name, given.get("Path", "/"), tags)
    user.id = _identifier("AIDA")
    context.faults.register(name)
    vars(user)["permissions_boundary"] = limit
    return context.success({"User": user_details(user)})


@rule("UpdateUser")
def update_user(context: Context) -> ApiResponse:
    """A rename keeps the user: its keys, groups, policies and tags go on under the new name."""
    store, user = context.store, context.user()
    new_name = context.given.get("NewUserName", user.name)
    # The present name is allowed, another spelling of it is not: it clashes with the user itself.
    if new_name != user.name and taken(new_name, store.users):
        raise AwsError("EntityAlreadyExists", f"User with name {new_name} already exists.")
    old_arn = user.arn
    store.users = {new_name if name == user.name else name: other for name, other in store.users.items()}
    user.name, user.path = new_name, context.given.get("NewPath", user.path)
    for owned in (*user.access_keys, *user.ssh_public_keys, *user.signing_certificates.values()):
        owned.user_name = new_name
    if user.arn != old_arn and store.tagger.has_tags(old_arn):
        store.tagger.tags[user.arn] = store.tagger.tags.pop(old_arn)
    return context.success()


@rule("DeleteUser")
def delete_user(context: Context) -> None:
    user = context.user()
    if user.managed_policies:
        raise conflict("detach all policies")
    if user.policies:
        raise conflict("delete policies")
    if any(user in group.users for group in context.store.groups.values()):
        raise conflict("remove users from group")
    if user.password:
        raise conflict("delete login profile")
    if user.access_keys:
        raise conflict("delete access keys")
    if user.mfa_devices:
        raise conflict("delete MFA device")
    if user.ssh_public_keys or user.signing_certificates:
        raise conflict("remove referenced objects")


@rule("CreateLoginProfile")
def create_login_profile(context: Context) -> None:
    if context.user().password:
        raise AwsError("EntityAlreadyExists", f"Login Profile for user {context.user().name} already exists.")
    vars(context.user())["password_changed"] = clock.utcnow()


@rule("GetLoginProfile", "UpdateLoginProfile", "DeleteLoginProfile")
def existing_login_profile(context: Context) -> None:
    if not context.user().password:
        raise AwsError("NoSuchEntity", f"Login Profile for User {context.user().name} cannot be found.")
    if "Password" in context.given:
        vars(context.user())["password_changed"] = clock.utcnow()


@rule("PutUserPermissionsBoundary")
def put_boundary(context: Context) -> ApiResponse:
    vars(context.user())["permissions_boundary"] = boundary(context)
    return context.success()


@rule("DeleteUserPermissionsBoundary")
def delete_boundary(context: Context) -> ApiResponse:
    user = context.user()
    if not getattr(user, "permissions_boundary", None):
        # Wording not seen on AWS.
        raise AwsError("NoSuchEntity", f"The user with name {user.name} has no permissions boundary.")
    vars(user)["permissions_boundary"] = None
    return context.success()


# ---- tags


@rule("TagUser")
def tag_user(context: Context) -> ApiResponse:
    """Keys are kept as written but compared regardless of case: a new spelling replaces the old tag."""
    store, user, new = context.store, context.user(), context.given.get("Tags", [])
    _check_tags(new)
    replaced = {tag["Key"].lower() for tag in new}
    kept = [tag for tag in user.tags or [] if tag["Key"].lower() not in replaced]
    if len(kept) + len(new) > context.quotas.tags_per_user:
        raise AwsError("LimitExceeded", TOO_MANY_TAGS)
    store.tagger.delete_all_tags_for_resource(user.arn)
    store.tagger.tag_resource(user.arn, kept + new)
    return context.success()


@rule("UntagUser")
def untag_user(context: Context) -> ApiResponse:
    store, user = context.store, context.user()
    removed = {key.lower() for key in context.given.get("TagKeys", [])}
    kept = [tag for tag in user.tags or [] if tag["Key"].lower() not in removed]
    store.tagger.delete_all_tags_for_resource(user.arn)
    store.tagger.tag_resource(user.arn, kept)
    return context.success()


def _check_tags(tags: list[dict[str, Any]]) -> None:
    keys = [tag["Key"].lower() for tag in tags]
    if len(keys) != len(set(keys)):
        raise AwsError("InvalidInput", DUPLICATE_TAGS)
    if any(key.startswith("aws:") for key in keys):
        # Wording not seen on AWS; the user guide says that the prefix is reserved.
        raise AwsError("InvalidInput", "Tag keys beginning with aws: are reserved for system use.")


# ---- groups


@rule("CreateGroup")
def create_group(context: Context) -> ApiResponse:
    store, name = context.store, context.given["GroupName"]
    if taken(name, store.groups):
        raise AwsError("EntityAlreadyExists", f"Group with name {name} already exists.")
    check_quota(context.quotas, "groups_per_account", len(store.groups))
    group = store.create_group(name, context.given.get("Path", "/"))
    group.partition = store.partition
    group.id = _identifier("AGPA")
    return context.success({"Group": group_summary(group)})


@rule("UpdateGroup")
def update_group(context: Context) -> ApiResponse:
    store, group = context.store, context.group()
    new_name = context.given.get("NewGroupName", group.name)
    if new_name != group.name and taken(new_name, store.groups):
        raise AwsError("EntityAlreadyExists", f"Group with name {new_name} already exists.")
    store.groups = {new_name if name == group.name else name: other for name, other in store.groups.items()}
    group.name, group.path = new_name, context.given.get("NewPath", group.path)
    return context.success()


@rule("DeleteGroup")
def delete_group(context: Context) -> None:
    group = context.group()
    if group.managed_policies:
        raise conflict("detach all policies")
    if group.policies:
        raise conflict("delete policies")
    if group.users:
        raise conflict("remove users from group")


@rule("AddUserToGroup")
def add_user_to_group(context: Context) -> None:
    user, group = context.user(), context.group()
    if user not in group.users:
        check_quota(context.quotas, "groups_per_user", len(groups_of(context, user)))


@rule("RemoveUserFromGroup")
def remove_user_from_group(context: Context) -> ApiResponse:
    """Removing a user who is not a member succeeds on AWS."""
    user, group = context.user(), context.group()
    if user in group.users:
        group.users.remove(user)
    return context.success()


def _identifier(prefix: str) -> str:
    """A unique id of 21 characters as AWS makes them: a prefix for the kind, then capitals and digits."""
    from moto.iam.utils import random_resource_id

    return prefix + random_resource_id(17).upper()

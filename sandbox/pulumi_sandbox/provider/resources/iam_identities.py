"""IAM groups and users, and who is in which group."""

from collections.abc import Callable, Iterable
from typing import Any

from botocore.exceptions import ClientError

from pulumi_sandbox.provider import input_rules, tags
from pulumi_sandbox.provider.clients import Aws, all_pages, is_gone
from pulumi_sandbox.provider.schema import TAGS, Property, ResourceType, output
from pulumi_sandbox.provider.unique_ids import unique_id
from pulumi_sandbox.provider.values import ProviderError, State

# ---- groups


def _create_group(aws: Aws, desired: State, state: State) -> None:
    aws.iam.create_group(GroupName=desired["name"], Path=desired["path"])
    state["id"] = desired["name"]
    _read_group(aws, state)


def _read_group(aws: Aws, state: State) -> State | None:
    group = aws.iam.get_group(GroupName=state["id"])["Group"]
    return {
        "id": group["GroupName"],
        "name": group["GroupName"],
        "path": group["Path"],
        "arn": group["Arn"],
        "uniqueId": group["GroupId"],
    }


def _update_group(aws: Aws, desired: State, state: State) -> None:
    changes = _renaming(desired, state, "NewGroupName")
    if changes:
        aws.iam.update_group(GroupName=state["id"], **changes)
    state["id"] = desired["name"]


def _renaming(desired: State, state: State, name_argument: str) -> dict[str, str]:
    """The arguments of UpdateGroup or UpdateUser that lead to the desired name and path."""
    new = {name_argument: desired["name"]} if desired["name"] != state["id"] else {}
    return new | ({"NewPath": desired["path"]} if desired["path"] != state.get("path") else {})


def _delete_group(aws: Aws, state: State) -> None:
    aws.iam.delete_group(GroupName=state["id"])


GROUP = ResourceType(
    "aws:iam/group:Group",
    {
        "name": Property(required=True, rule=input_rules.IDENTITY_NAME),
        "path": Property(default="/"),
        "arn": output(recomputed_with=("name", "path")),
        "uniqueId": output(),
    },
    _create_group,
    _read_group,
    _delete_group,
    _update_group,
    autoname="name",
)

# ---- users


def _create_user(aws: Aws, desired: State, state: State) -> None:
    boundary = {"PermissionsBoundary": desired["permissionsBoundary"]} if desired.get("permissionsBoundary") else {}
    tagged = aws.tagging.all(desired["tags"])
    aws.iam.create_user(
        UserName=desired["name"], Path=desired["path"], **boundary, **({"Tags": tags.to_list(tagged)} if tagged else {})
    )
    state["id"] = desired["name"]


def _read_user(aws: Aws, state: State) -> State | None:
    user = aws.iam.get_user(UserName=state["id"])["User"]
    own, everything = aws.tagging.split(tags.from_list(user.get("Tags")), state.get("tags"))
    return {
        "id": user["UserName"],
        "name": user["UserName"],
        "path": user["Path"],
        "arn": user["Arn"],
        "uniqueId": user["UserId"],
        "tags": own,
        "tagsAll": everything,
        "permissionsBoundary": user.get("PermissionsBoundary", {}).get("PermissionsBoundaryArn", ""),
    }


def _update_user(aws: Aws, desired: State, state: State) -> State | None:
    # A tag without a value is unknown in the real provider's plan: it is set after everything else.
    late = "" in desired["tagsAll"].values() and desired["tagsAll"] != state.get("tagsAll")
    if not late:
        _update_user_tags(aws, desired, state)  # under the new name: with a rename in one update this fails
    changes = _renaming(desired, state, "NewUserName")
    if changes:
        aws.iam.update_user(UserName=state["id"], **changes)
    state["id"] = user = desired["name"]
    boundary = desired.get("permissionsBoundary") or ""
    if boundary != (state.get("permissionsBoundary") or ""):
        if boundary:
            aws.iam.put_user_permissions_boundary(UserName=user, PermissionsBoundary=boundary)
        else:
            aws.iam.delete_user_permissions_boundary(UserName=user)
    if not late:
        return None
    fresh = _read_user(aws, state) or {}
    _update_user_tags(aws, desired, state)
    listed = tags.from_list(all_pages(aws.iam, "list_user_tags", "Tags", UserName=user))
    fresh["tags"], fresh["tagsAll"] = aws.tagging.split(listed, desired.get("tags"))
    return fresh


def _update_user_tags(aws: Aws, desired: State, state: State) -> None:
    removed, new = tags.difference(state.get("tagsAll"), desired["tagsAll"])
    if removed:
        aws.iam.untag_user(UserName=desired["name"], TagKeys=removed)
    if new:
        aws.iam.tag_user(UserName=desired["name"], Tags=tags.to_list(new))


def _delete_user(aws: Aws, state: State) -> None:
    user = state["id"]
    for group in all_pages(aws.iam, "list_groups_for_user", "Groups", UserName=user):
        _remove(aws, user, group["GroupName"])
    if state.get("forceDestroy"):
        _strip_user(aws, user)
    aws.iam.delete_user(UserName=user)


def _strip_user(aws: Aws, user: str) -> None:
    """Remove all that AWS wants gone before a user can be deleted."""
    iam, of = aws.iam, {"UserName": user}

    def each(operation: str, key: str, name: str, remove: Callable[..., Any]) -> None:
        for item in all_pages(iam, operation, key, **of):
            remove(**of, **{name: item[name] if isinstance(item, dict) else item})

    each("list_user_policies", "PolicyNames", "PolicyName", iam.delete_user_policy)
    each("list_attached_user_policies", "AttachedPolicies", "PolicyArn", iam.detach_user_policy)
    each("list_access_keys", "AccessKeyMetadata", "AccessKeyId", iam.delete_access_key)
    each("list_ssh_public_keys", "SSHPublicKeys", "SSHPublicKeyId", iam.delete_ssh_public_key)
    virtual = all_pages(iam, "list_virtual_mfa_devices", "VirtualMFADevices")
    each("list_mfa_devices", "MFADevices", "SerialNumber", iam.deactivate_mfa_device)
    for device in virtual:
        if device["SerialNumber"].endswith(f":mfa/{user}"):
            iam.delete_virtual_mfa_device(SerialNumber=device["SerialNumber"])
    try:
        iam.delete_login_profile(**of)
    except ClientError as error:
        if not is_gone(error):  # most users have no password
            raise
    each("list_signing_certificates", "Certificates", "CertificateId", iam.delete_signing_certificate)
    credentials = iam.list_service_specific_credentials(**of)["ServiceSpecificCredentials"]
    for credential in credentials:
        iam.delete_service_specific_credential(
            **of, ServiceSpecificCredentialId=credential["ServiceSpecificCredentialId"]
        )


USER = ResourceType(
    "aws:iam/user:User",
    {
        "name": Property(required=True, rule=input_rules.IDENTITY_NAME),
        "path": Property(default="/"),
        "forceDestroy": Property("bool", default=False),
        "permissionsBoundary": Property(),
        "arn": output(),
        "uniqueId": output(),
        **TAGS,
    },
    _create_user,
    _read_user,
    _delete_user,
    _update_user,
    autoname="name",
)

# ---- memberships


def _add(aws: Aws, user: str, group: str) -> None:
    aws.iam.add_user_to_group(UserName=user, GroupName=group)


def _remove(aws: Aws, user: str, group: str) -> None:
    try:
        aws.iam.remove_user_from_group(UserName=user, GroupName=group)
    except ClientError as error:
        if not is_gone(error):
            raise


def _without(names: Iterable[str], others: Iterable[str]) -> list[str]:
    taken = set(others)
    return [name for name in names if name not in taken]


def _create_user_membership(aws: Aws, desired: State, state: State) -> None:
    for group in desired["groups"]:
        _add(aws, desired["user"], group)
    state["id"] = unique_id()


def _read_user_membership(aws: Aws, state: State) -> State | None:
    """Only the groups that this resource lists: a user's other memberships are somebody else's."""
    actual = {
        group["GroupName"] for group in all_pages(aws.iam, "list_groups_for_user", "Groups", UserName=state["user"])
    }
    return {"user": state["user"], "groups": sorted(actual & set(state["groups"]))}


def _update_user_membership(aws: Aws, desired: State, state: State) -> None:
    for group in _without(state["groups"], desired["groups"]):
        _remove(aws, desired["user"], group)
    for group in _without(desired["groups"], state["groups"]):
        _add(aws, desired["user"], group)


def _delete_user_membership(aws: Aws, state: State) -> None:
    for group in state["groups"]:
        _remove(aws, state["user"], group)


def _locate_user_membership(aws: Aws, import_id: str) -> State:
    user, *groups = import_id.split("/")
    if not user or not groups or not all(groups):
        raise ProviderError(f"the import id of a UserGroupMembership is user/group1/group2..., not {import_id!r}")
    return {"id": unique_id(), "user": user, "groups": groups}


USER_GROUP_MEMBERSHIP = ResourceType(
    "aws:iam/userGroupMembership:UserGroupMembership",
    {"user": Property(required=True, replaces=True), "groups": Property("set", required=True)},
    _create_user_membership,
    _read_user_membership,
    _delete_user_membership,
    _update_user_membership,
    locate=_locate_user_membership,
)

"""What goes with a user, stays with one, or keeps one from being deleted: items in IAM that this stack does not manage,
copies in the stores; what keeps a group from being deleted; and users who were renamed in IAM.

IAM deletes no user or group that still has any such item. Source: DeleteUser and DeleteGroup in the IAM API reference.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

from aws_access_keys.account import Account, AwsQueryError
from aws_access_keys.key_endings import described, in_parallel, take_back
from aws_access_keys.renamed import renamed, renamed_text
from aws_access_keys.rules.keys import delete_command
from aws_access_keys.rules.leak import DENY_NAME, QUARANTINE
from aws_access_keys.rules.names import described_user
from aws_access_keys.rules.problem import Problem, Spelling
from aws_access_keys.rules.resource_types import PARAMETER, SECRET, STASH, USER
from aws_access_keys.rules.untyped import mapping
from aws_access_keys.settings import AccessSettings
from aws_access_keys.state import ComponentState, UserState, stored_in
from aws_access_keys.urns import name_below, urn_below

_Found = Callable[[Any], Iterator[str]]
ATTACHED: dict[str, _Found] = {
    "get_login_profile": lambda _: iter(["a console password"]),
    "list_mfa_devices": lambda found: (f"the MFA device {device['SerialNumber']}" for device in found["MFADevices"]),
    "list_user_policies": lambda found: (_inline(name) for name in found["PolicyNames"]),
    "list_attached_user_policies": lambda found: (_attached(p["PolicyName"]) for p in found["AttachedPolicies"]),
    "list_signing_certificates": lambda found: (
        f"the signing certificate {certificate['CertificateId']}" for certificate in found["Certificates"]
    ),
    "list_ssh_public_keys": lambda found: (f"the SSH key {key['SSHPublicKeyId']}" for key in found["SSHPublicKeys"]),
    "list_service_specific_credentials": lambda found: (
        f"a credential of {credential['ServiceName']}" for credential in found["ServiceSpecificCredentials"]
    ),
}
"""IAM operation for one user → what its response has, in words."""


def removal_problems(
    removed: Sequence[str], state: ComponentState, spell: Spelling, account: Account
) -> tuple[list[Problem], list[str]]:
    """What keeps removed users from being deleted, and a line for each one that is deleted with what is listed."""
    states = state.users
    found = in_parallel(lambda user: list(_unmanaged(user, state, account)), removed)
    problems: list[Problem] = []
    lines = list(filter(None, in_parallel(lambda user: _other_groups(user, state, account), removed)))
    for user, things in zip(removed, found, strict=True):
        listed = ", ".join(things)
        if things and states[user].force_destroy:
            lines.append(f"the user {user} is deleted with everything that this stack does not manage: {listed}")
        elif things:
            problems.append(
                Problem(
                    spell("users.{}", user),
                    f"the user cannot be removed, because {user} still has items in IAM that this stack does not "
                    f"manage: {listed}. Remove them in IAM, or restore the user with {spell('force_destroy')}: true, "
                    "run `pulumi up`, then remove the user.",
                )
            )
    return problems, lines


def _other_groups(user: str, state: ComponentState, account: Account) -> str | None:
    """A line about groups of a removed user that the stack does not manage: the provider ends these memberships."""
    found = state.users[user]
    try:
        own = found.groups | state.given.get(("user", user), {}).keys()
        others = sorted(account.groups_of(user) - own) if found.exists else []
    except AwsQueryError:
        return None
    return (
        f"the user {user} also leaves groups that this stack does not manage: {', '.join(others)}" if others else None
    )


def unfinished_adoptions(removed: Sequence[str], state: ComponentState, spell: Spelling) -> Iterator[Problem]:
    """Removed users who existed before this stack, and whose key a failed run was to take over: not to be deleted."""
    for user in removed:
        found = state.users[user]
        if found.exists and found.adopting:
            yield Problem(
                spell("users.{}", user),
                f"the user would be deleted, but existed before this stack, and the run that was to adopt the access "
                f"key {found.adopting} failed. Restore the user here and run `pulumi up` to complete the adoption. Or, "
                f"to leave the user as it is in IAM, remove it from the state: pulumi state delete "
                f"'{state.user_urn(user)}' --target-dependents",
            )


def kept_items(users: Sequence[str], state: ComponentState, account: Account) -> list[str]:
    """A line about each user who gets a new key and has more in IAM, which a new key does not change."""
    found = in_parallel(lambda user: ", ".join(_unmanaged(user, state, account)), users)
    return [
        f"the user {user} gets a new key, and keeps these items, which this stack does not manage: {items}"
        for user, items in zip(users, found, strict=True)
        if items
    ]


def _unmanaged(user: str, state: ComponentState, account: Account) -> Iterator[str]:
    return unmanaged_items(user, {key.id for key in state.users[user].keys}, state.policies_of(user), account)


def unmanaged_items(user: str, keys: Collection[str], policies: Collection[str], account: Account) -> Iterator[str]:
    """What a user has in IAM that the stack does not manage, in words. keys, policies: what it does manage, ids of keys
    and names of inline policies or ARNs of attached ones.
    """
    with suppress(AwsQueryError):
        others = [key for key in account.list_access_keys(user) if key.id not in keys]
        yield from (f"the access key {described(key, account)}" for key in others)
    for operation, describe in ATTACHED.items():
        try:
            response = account.ask("iam", operation, UserName=user)
        except AwsQueryError:
            continue  # without the permission, IAM refuses when the user is deleted
        if response is not None:
            yield from describe(_without(response, policies))


def group_problems(
    settings: AccessSettings, state: ComponentState, spell: Spelling, account: Account
) -> Iterator[Problem]:
    """What keeps groups that were removed from being deleted. Source: DeleteGroup in the IAM API reference."""
    for name in sorted(state.groups - settings.groups.keys()):
        members = {user for user, found in state.users.items() if name in found.groups}
        members |= {user for (_, user), has in state.given.items() if name in has}
        own = {*state.group_policies.get(name, ()), *state.given.get(("group", name), ())}
        with suppress(AwsQueryError):  # without the permission, IAM refuses when the group is deleted
            if items := items_of_group(name, own, members, account):
                yield Problem(
                    spell("groups.{}", name),
                    f"the group cannot be removed, because it still has what this stack does not manage: "
                    f"{', '.join(items)}. Remove that in IAM. Or, to leave the group there: restore it here, with "
                    "adopt: true in place of its policies and without members; run `pulumi up`; remove it from the "
                    f"state with `pulumi state delete '{state.group_urn(name)}'`, and then here.",
                    in_file=False,
                )


def items_of_group(group: str, own: Collection[str], members: Collection[str], account: Account) -> list[str]:
    """What a group has in IAM beside its own policies (ARNs, names of inline ones) and members, in words.

    Raises AwsQueryError.
    """
    of = {"GroupName": group}
    attached = mapping(account.ask("iam", "list_attached_group_policies", **of)).get("AttachedPolicies", ())
    inline = mapping(account.ask("iam", "list_group_policies", **of)).get("PolicyNames", ())
    users = mapping(account.ask("iam", "get_group", **of)).get("Users", ())
    found = [_attached(one["PolicyName"]) for one in attached if one["PolicyArn"] not in own]
    found += [_inline(one) for one in inline if one not in own]
    return found + [f"the member {one['UserName']}" for one in users if one["UserName"] not in members]


def _without(response: Mapping[str, Any], own: Collection[str]) -> dict[str, Any]:
    """A response without the policies that the stack itself gave the user, and deletes first."""
    kept = dict(response)
    if "PolicyNames" in kept:
        kept["PolicyNames"] = [name for name in kept["PolicyNames"] if name not in own]
    if "AttachedPolicies" in kept:
        kept["AttachedPolicies"] = [policy for policy in kept["AttachedPolicies"] if policy["PolicyArn"] not in own]
    return kept


def removed_copies(
    settings: AccessSettings, state: ComponentState, resources: Mapping[str, Any]
) -> tuple[list[str], set[str]]:
    """A line about each secret and parameter that is deleted, because its user or `deliver` was removed, or that keeps
    the key, because the stack only wrote to it; and the ids of the keys in those that are deleted.

    resources: URN → `outputs` of each resource of the stack.
    """
    delivers = {user: settings.effective_deliver(user) for user in settings.users}
    stashes = f"{urn_below(state.urn, USER, STASH)}/ssm:"
    inputs = [had["outputs"].get("input") for urn, had in resources.items() if urn.startswith(stashes)]
    unkept = {str(one["parameter"]) for one in inputs if one}
    # Where a later key was delivered elsewhere, nothing records any more which store has the one before it.
    unrecorded = {
        user: of_user.unkept - of_user.delivered for user, of_user in state.users.items() if not of_user.expired_on
    }
    recorded = {place for of_user in state.users.values() for place in stored_in(of_user.delivered_directly.to)}
    lines: list[str] = []
    held: set[str] = set()
    for field, token, what in (
        ("secrets_manager", SECRET, "the secret '{}' is deleted from Secrets Manager"),
        ("ssm", PARAMETER, "the parameter '{}' is deleted from SSM Parameter Store"),
    ):
        stores = {user: getattr(deliver, field) for user, deliver in delivers.items() if deliver}
        kept = {store.stored_name(user, field) for user, store in stores.items() if store}
        begin = f"{urn_below(state.urn, USER, token)}/"
        had = [found["outputs"] for urn, found in resources.items() if urn.startswith(begin)]
        users = {str(one.get("name")): described_user(one, state.users) for one in had}
        found = {*users}
        found |= unkept & state.recorded_parameters if token == PARAMETER else set()
        why = "no user's key is delivered there any more. Applications that read it will fail"
        lines += [f"{what.format(stored)}: {why}" for stored in sorted(found - kept)]
        if token == PARAMETER:
            lines += [
                f"the parameter '{stored}' is deleted from SSM Parameter Store if it has a key of this stack, which no "
                "update has recorded"
                for stored in sorted(unkept - found - kept)
            ]
        for stored in (found | unkept if token == PARAMETER else found) - kept:
            place = (token, name_below(token, stored))
            if key := state.copies.get(place):
                held.add(key)
            elif place not in recorded:
                owner = users.get(stored)
                held |= {key for user, keys in unrecorded.items() if owner in (None, user) for key in keys}
        if token == SECRET:
            secrets = {store.stored_name(user, field): store for user, store in stores.items() if store}
            for urn, had in resources.items():
                stored = secrets.get(str(had["outputs"].get("name"))) if urn.startswith(begin) else None
                if stored and not stored.replicas and (last := had["outputs"].get("replicas")):
                    name, regions = had["outputs"]["name"], sorted(str(replica["region"]) for replica in last)
                    region = str(had["outputs"]["arn"]).split(":")[3]
                    lines.append(
                        f"the secret '{name}' keeps its replicas in {', '.join(regions)}: the aws provider does not "
                        f"remove the last ones. Run: aws secretsmanager remove-regions-from-replication --secret-id "
                        f"{name} --remove-replica-regions {' '.join(regions)} --region {region}, then pulumi refresh"
                    )
            written = {stored: key for (kind, stored), key in state.copies.items() if kind == SECRET}
            lines += [
                f"the secret '{stored}' is not this stack's: it stays as it is, with the access key {written[stored]} "
                "in it. Delete or overwrite it if nobody needs it"
                for stored in sorted(written.keys() - state.secrets - kept)
            ]
    for user, found_user in state.users.items():
        if user not in settings.users and (command := found_user.delivered_directly.to.get("command")):
            lines.append(f"what the command '{command[0]}' delivered for {user} is not deleted")
    return lines, held


def renamed_users(
    ending: Collection[str], kept: Collection[str], states: Mapping[str, UserState], spell: Spelling, account: Account
) -> list[Problem]:
    """Users whose keys are to end, and who were renamed in IAM: the aws provider takes their keys for deleted ones.

    ending: users of the state. kept: users of the settings.
    """
    users = sorted(ending)
    found = in_parallel(lambda user: renamed(user, states[user].keys, account), users)
    return [
        Problem(
            spell("users.{}", user),
            text if user in kept else f"{text} To keep the user and its keys, put '{user}' back here first.",
        )
        for user, text in zip(users, found, strict=True)
        if text
    ]


def lost_users(
    settings: AccessSettings, states: Mapping[str, UserState], spell: Spelling, account: Account
) -> tuple[list[Problem], list[str]]:
    """Keys that were handed over, that the state no longer has, and that IAM has at another user, or at one whom the
    state does not have either.

    Returns problems of users who were only renamed in IAM and would get another key, and a warning for each key that
    the stack does not manage any more.
    """
    lost = [
        (user, key.id)
        for user in sorted(states)
        for key in states[user].handed_over
        if not states[user].exists or key.id not in {known.id for known in states[user].keys}
    ]
    problems: dict[str, Problem] = {}
    warnings: list[str] = []
    for (user, key_id), owner in zip(lost, in_parallel(lambda key: account.owner(key[1]), lost), strict=True):
        if owner is None or (owner == user and (states[user].exists or user in settings.users)):
            continue  # planning.py takes care of it
        if user not in settings.users:
            if owner in settings.users:
                continue  # it is taken over
            warnings.append(
                f"the access key {key_id}, which this stack issued for '{user}', still exists. It belongs to the IAM "
                f"user '{owner}', whom this stack does not manage. If nobody uses it, delete it: "
                f"{delete_command(owner, key_id)}"
            )
        elif user not in problems:  # the newest key comes first
            is_unkept = user in settings.users_with_key and not settings.effective_key(user).keep_secret
            problems[user] = Problem(
                spell("users.{}", user),
                f"{renamed_text(user, key_id, owner, account)}. {take_back(key_id, is_unkept, spell)}. Or, if nobody "
                f"uses the key, delete it: {delete_command(owner, key_id)}",
            )
    return list(problems.values()), warnings


def _inline(policy: str) -> str:
    leaked = (
        ", by which `access-keys leak` denies the sessions of a leaked key: delete that key first"
        if policy.startswith(DENY_NAME)
        else ""
    )
    return f"the inline policy '{policy}'{leaked}"


def _attached(policy: str) -> str:
    if policy.startswith(QUARANTINE):
        return f"the policy {policy}, which AWS attaches when it finds one of the user's keys exposed publicly"
    return f"the attached policy {policy}"

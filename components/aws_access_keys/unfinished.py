"""What an update that did not finish may have changed in AWS, while the state still has what was before.

The state has what AWS answered. After a lost answer or a killed engine, the next update makes the same change again,
but not if the settings are as they were before: then a permission, a parameter or the status of a key would stay as
nobody asked for it. So each run records what it is about to change; what the next one wants to be as the state has it
is looked up in AWS.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from aws_access_keys.account import Account, AwsQueryError
from aws_access_keys.rules.documents import digest
from aws_access_keys.rules.networks import ALLOW_FROM, allow_from_document
from aws_access_keys.rules.policies import policy_arn
from aws_access_keys.rules.problem import Problem, Spelling
from aws_access_keys.rules.resource_types import (
    GROUP,
    GROUP_POLICY,
    PARAMETER,
    SECRET,
    SECRET_POLICY,
    USER,
    USER_POLICY,
)
from aws_access_keys.rules.rotation import KeyPlan
from aws_access_keys.rules.s3_grants import grant_policies
from aws_access_keys.rules.secrets import readers_policy
from aws_access_keys.rules.untyped import mapping
from aws_access_keys.settings import AccessSettings
from aws_access_keys.state import ComponentState
from aws_access_keys.state_reading import Below

Facts = dict[str, dict[str, str]]
"""`group NAME`, `user NAME`, `policy NAME`, `parameter NAME` or `secret NAME` → what it has → the value; "" for what it
has not.

What it has: `policy ARN`, `inline NAME` (a digest of the document), `group NAME`, `boundary` (its ARN), `key ID`
(`Active` or `Inactive`), `document` (its digest), `name`, `readers` (a digest of the resource policy).
"""

_HAS = "yes"


def facts_in_state(state: ComponentState, resources: Mapping[str, Any]) -> Facts:
    """What the users and groups of the component have, by the state. resources: as for parse_state."""
    below, facts = Below(state.urn, resources), Facts()
    for group in state.groups:
        facts[f"group {group}"] = {f"policy {arn}": _HAS for arn in state.attached.get(group, {}).values()}
    for user in (user for user, found in state.users.items() if found.exists):
        found = state.user(user)
        has = facts[f"user {user}"] = {f"policy {arn}": _HAS for arn in found.policies if arn.startswith("arn:")}
        has |= {f"group {group}": _HAS for group in found.groups}
        has |= {f"key {key.id}": _status(key.active) for key in found.keys}
        has["boundary"] = found.boundary or ""
    for kind, owner, inline in (("group", GROUP, GROUP_POLICY), ("user", USER, USER_POLICY)):
        for path, found in below.outputs(owner, inline).items():
            of = facts.setdefault(f"{kind} {path.partition('/')[0]}", {})
            of[f"inline {found.get('name')}"] = _document(found)
    facts |= {f"policy {name}": {"document": digest(document)} for name, document in state.policies.items()}
    for found in below.outputs(USER, PARAMETER).values():
        facts[f"parameter {found.get('name')}"] = {"name": _HAS}
    policies = below.outputs(USER, SECRET_POLICY)
    for path, found in below.outputs(USER, SECRET).items():
        facts[f"secret {found.get('name')}"] = {"readers": _document(policies.get(path, {}))}
    return facts


def _status(active: bool) -> str:
    return "Active" if active else "Inactive"


def _document(found: Mapping[str, Any]) -> str:
    """The digest of the policy in a resource's outputs."""
    return digest(found["policy"]) if found.get("policy") else ""


def facts_wanted(
    settings: AccessSettings,
    state: ComponentState,
    facts: Facts,
    plans: Mapping[str, KeyPlan],
    partition: str,
) -> Facts:
    """What the settings ask for. What is not known before the update, such as an Output, is as in the state; policies
    that this run creates are left out.

    facts: of the state. plans: by user.
    """

    def arn(policy: str) -> str | None:
        """None for a policy that this run creates."""
        own = policy in settings.policy_documents
        return state.policy_arns.get(policy) if own else policy_arn(policy, partition)

    wanted = Facts()
    for kind, holders in (("group", settings.groups), ("user", settings.users)):
        for name, holder in holders.items():
            known = [arn(policy) for policy in holder.policies]
            wants = {f"policy {one}": _HAS for one in known if one}
            wants |= {f"inline {key}": digest(document) for key, document in holder.inline.items()}
            if holder.allow_from is not None:
                wants[f"inline {ALLOW_FROM}"] = digest(allow_from_document(holder.allow_from))
            wanted[f"{kind} {name}"] = wants
    for name, group in settings.groups.items():
        attached, wants = state.attached.get(name, {}), wanted[f"group {name}"]
        for key, given in group.policy_arns.items():
            if found := given if isinstance(given, str) else attached.get(key):
                wants[f"policy {found}"] = _HAS
        for key, document in grant_policies([asked.grant() for asked in group.s3], partition).items():
            wanted[f"policy {name}-{key}"] = {"document": digest(document)}
            wants |= {f"policy {attached[key]}": _HAS} if key in attached else {}
    for name, user in settings.users.items():
        has, wants = facts.get(f"user {name}", {}), wanted[f"user {name}"]
        wants |= {f"group {group}": _HAS for group in user.groups}
        boundary = user.permissions_boundary
        if isinstance(boundary, str):
            boundary = arn(boundary)
        elif boundary is not None:
            boundary = has.get("boundary", "")
        wants["boundary"] = boundary or ""
        for key in plans[name].keys if name in plans else ():
            if known := state.user(name).key(key.name):
                what = f"key {known.id}"
                wants[what] = key.status.capitalize() if key.status else has.get(what, "")
    wanted |= {f"policy {name}": {"document": digest(text)} for name, text in settings.policy_documents.items()}
    for user in settings.users_with_key:
        deliver = settings.effective_deliver(user)
        if deliver and (store := deliver.ssm):
            wanted[f"parameter {store.stored_name(user, 'ssm')}"] = {"name": _HAS}
        if deliver and (store := deliver.secrets_manager):
            readers = digest(readers_policy(store.readers)) if store.readers else ""
            wanted[f"secret {store.stored_name(user, 'secrets_manager')}"] = {"readers": readers}
    return wanted


def changes(facts: Facts, wanted: Facts) -> Facts:
    """What a run is about to change, as the state has it before. Nothing of groups, users and others that are new."""
    found = Facts()
    for owner, has in facts.items():
        wants = wanted.get(owner, {})
        changed = {
            what: has.get(what, "") for what in sorted({*has, *wants}) if has.get(what, "") != wants.get(what, "")
        }
        found |= {owner: changed} if changed else {}
    return found


def unfinished(
    last: Mapping[str, Mapping[str, str]],
    facts: Facts,
    wanted: Facts,
    arns: Mapping[str, str],
    places: Mapping[str, str],
    spell: Spelling,
    account: Account,
) -> Iterator[Problem]:
    """What AWS has otherwise than both the state and the settings, of what the last run was about to change (`last`).

    arns: of the stack's policies, by name. places: owner → setting, of policies and parameters.
    """
    for owner, changed in last.items():
        has, wants = facts.get(owner), wanted.get(owner)
        if has is None or wants is None:
            continue
        kind, name = owner.split(" ", 1)
        place = places.get(owner) or spell(f"{kind}s.{{}}", name)
        for what, value in changed.items():
            if not has.get(what, "") == value == wants.get(what, ""):
                continue
            try:
                actual = _in_aws(account, kind, name, what, arns)
            except AwsQueryError as error:
                text = f"the last update may not have finished, and what it did could not be read ({error})"
                yield Problem(place, f"{text}. {error.cure('the permissions of a refresh')}")
                continue
            if actual == value:
                continue
            which, _, of = what.partition(" ")
            is_extra = not value and which in _UNDO
            text = (_EXTRA if is_extra else _OTHERWISE)[which].format(of=of, actual=actual or "gone")
            undo = _UNDO[which].format(kind=kind, name=name, of=of) if is_extra else "pulumi refresh"
            yield Problem(
                place,
                f"the last update did not finish, and the state does not know that {text}. Run `{undo}`, then "
                "`pulumi up` again.",
            )


_OTHERWISE = {
    "policy": "the policy {of} is not attached any more",
    "inline": "the inline policy '{of}' is gone or has another document",
    "group": "the user is not in the group '{of}' any more",
    "boundary": "the permissions boundary in IAM is {actual}",
    "key": "the access key {of} is {actual}",
    "document": "the policy has another document in IAM",
    "name": "the parameter is gone",
    "readers": "its resource policy in Secrets Manager is gone or another one",
}
"""What AWS has otherwise → how that is told."""

_EXTRA = {
    "policy": "the policy {of} is attached",
    "inline": "IAM has an inline policy '{of}'",
    "group": "the user is in the group '{of}'",
}

_UNDO = {
    "policy": "aws iam detach-{kind}-policy --{kind}-name {name} --policy-arn {of}",
    "inline": "aws iam delete-{kind}-policy --{kind}-name {name} --policy-name {of}",
    "group": "aws iam remove-user-from-group --user-name {name} --group-name {of}",
}
"""What a refresh does not see, if the state does not have it → the command of the AWS CLI that removes it."""


def _in_aws(account: Account, kind: str, name: str, what: str, arns: Mapping[str, str]) -> str:
    """The value that AWS has; "" for none. Raises AwsQueryError."""
    which, _, of = what.partition(" ")
    if which == "policy":
        return _HAS if of in account.attached_policies(kind, name) else ""
    if which == "inline":
        owner = {f"{kind.capitalize()}Name": name}
        found = account.ask("iam", f"get_{kind}_policy", **owner, PolicyName=of)
        return digest(found["PolicyDocument"]) if found else ""
    if which == "group":
        return _HAS if of in account.groups_of(name) else ""
    if which == "boundary":
        user = account.user(name) or {}
        return str(mapping(user.get("PermissionsBoundary")).get("PermissionsBoundaryArn", ""))
    if which == "key":
        status = {key.id: _status(key.active) for key in account.list_access_keys(name)}
        return status.get(of, "")
    if which == "document":
        document = account.policy_document(arns[name])
        return digest(document) if document else ""
    if which == "readers":
        policy = account.ask("secretsmanager", "get_resource_policy", SecretId=name).get("ResourcePolicy")
        return digest(policy) if policy else ""
    try:
        return _HAS if account.ask("ssm", "get_parameter", Name=name) else ""
    except AwsQueryError as error:
        if error.code == "ParameterNotFound":
            return ""
        raise

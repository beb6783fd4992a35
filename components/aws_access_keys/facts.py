"""What users, groups, policies and stores have, by the state and by the settings: for unfinished.py."""

import json
from collections.abc import Collection, Iterable, Mapping
from typing import Any

import pulumi

from aws_access_keys.account import Account, AwsQueryError
from aws_access_keys.credentials import expired_text, stored_id
from aws_access_keys.planning import UserPlan
from aws_access_keys.rules.documents import digest, text_digest
from aws_access_keys.rules.networks import ALLOW_FROM, allow_from_document
from aws_access_keys.rules.policies import policy_arn
from aws_access_keys.rules.resource_types import (
    AWS_KEYS,
    GROUP,
    GROUP_POLICY,
    PARAMETER,
    SECRET,
    USER,
    USER_POLICY,
)
from aws_access_keys.rules.s3_grants import grant_policies
from aws_access_keys.rules.secrets import readers_policy
from aws_access_keys.settings import AccessSettings, StoreSettings
from aws_access_keys.state import ComponentState, UserState
from aws_access_keys.state_reading import Below

Facts = dict[str, dict[str, str]]
"""`group NAME`, `user NAME`, `policy NAME`, `parameter NAME`, `secret NAME` or `existing NAME` (existing_secrets.py) →
what it has → the value; "" for what it has not.

What it has: `policy ARN` (or the name of a policy of the stack, whose ARN is not known before it is created), `inline
NAME` (a digest of the document), `group NAME`, `path`, `tag KEY` (a digest of the value), `boundary` (as `policy`),
`key ID` (`Active` or `Inactive`), `document` (its digest), `version` (of the parameter), `kms` (the KMS key; "" for
AWS's own), `readers` (a digest of the resource policy), `replicas` (regions), `content` (the current version's id).
"""

HAS = "yes"


def facts_in_state(state: ComponentState, resources: Mapping[str, Any]) -> Facts:
    """What the users and groups of the component have, by the state. resources: as for parse_state."""
    below, facts, own = Below(state.urn, resources), Facts(), state.policy_names
    for group in state.groups:
        attached = state.attached.get(group, {}).values()
        facts[f"group {group}"] = {f"policy {own.get(arn, arn)}": HAS for arn in attached}
    for user in (user for user, found in state.users.items() if found.exists):
        found = state.user(user)
        attached = (arn for arn in found.policies if arn.startswith("arn:"))
        has = facts[f"user {user}"] = {f"policy {own.get(arn, arn)}": HAS for arn in attached}
        has |= {f"group {group}": HAS for group in found.groups}
        has |= {f"key {key.id}": status_of(key.active) for key in found.keys}
        has["boundary"] = own.get(found.boundary or "", found.boundary or "")
        has |= tag_facts(below.outputs(USER)[user].get("tags") or {})
    for kind, owner, inline in (("group", GROUP, GROUP_POLICY), ("user", USER, USER_POLICY)):
        for name, found in below.outputs(owner).items():
            facts.setdefault(f"{kind} {name}", {})["path"] = found.get("path", "/")
        for path, found in below.outputs(owner, inline).items():
            of = facts.setdefault(f"{kind} {path.partition('/')[0]}", {})
            of[f"inline {found.get('name')}"] = _document(found)
    facts |= {f"policy {name}": {"document": digest(document)} for name, document in state.policies.items()}
    for found in below.outputs(USER, PARAMETER).values():
        kms = kms_key_of(found.get("keyId"), PARAMETER)
        facts[f"parameter {found.get('name')}"] = {"version": version_of(found.get("version")), "kms": kms}
    for path, found in below.outputs(USER, SECRET).items():
        regions = regions_of(one.get("region") for one in found.get("replicas") or ())
        policy, kms = state.secret_policies.get(path), kms_key_of(found.get("kmsKeyId"), SECRET)
        readers = digest(policy) if policy else ""
        facts[f"secret {found.get('name')}"] = {"readers": readers, "kms": kms, "replicas": regions}
    return facts


FIRST_WRITTEN = ("parameter", "existing")
"""What is written for the first time before a run registers its outputs."""


def facts_of_parameters(facts: Facts, wanted: Facts, state: ComponentState, account: Account) -> Facts:
    """The parameters that are to be new and are there already, though the state does not have them: none of them is
    left over from this run or the one before. In a preview, whose facts are not recorded, none."""
    absent = {owner for owner, changed in state.changes.items() if not changed.get("version")}
    known = facts.keys() if state.is_written else facts.keys() | absent
    new = [owner.partition(" ")[2] for owner in wanted if owner.startswith("parameter ") and owner not in known]
    try:
        found = account.parameters([] if pulumi.runtime.is_dry_run() else new)
    except AwsQueryError as error:
        raise pulumi.RunError(
            f"whether SSM has the parameter {', '.join(new)} already could not be checked: {error}. "
            f"{error.cure('ssm:DescribeParameters')} Nothing was changed."
        ) from None
    return {f"parameter {name}": {"version": version_of(one["Version"])} for name, one in found.items()}


def tag_facts(tags: Mapping[str, Any]) -> dict[str, Any]:
    """What a user has of tags, by key; values that are not known yet stay."""
    digests = {key: text_digest(value) if isinstance(value, str) else value for key, value in tags.items()}
    return {f"tag {key}": value for key, value in digests.items()}


def status_of(active: bool) -> str:
    return "Active" if active else "Inactive"


def _document(found: Mapping[str, Any]) -> str:
    """The digest of the policy in a resource's outputs."""
    return digest(found["policy"]) if found.get("policy") else ""


def kms_key_of(given: str | None, kind: str) -> str:
    """The KMS key of a store; "" for AWS's own. kind: the type of the store."""
    return "" if given is None or given == AWS_KEYS[kind] else given


def regions_of(names: Iterable[str]) -> str:
    return " ".join(sorted(names))


def version_of(number: float | None) -> str:
    """Numbers come back from the state as floats. None: of one that was created and could not be read."""
    return "unread" if number is None else f"{number:.0f}"


def facts_wanted(
    settings: AccessSettings,
    state: ComponentState,
    facts: Facts,
    plans: Mapping[str, UserPlan],
    kept: Collection[str],
    partition: str,
    resources: Mapping[str, Any],
) -> Facts:
    """What the settings ask for. What is not known before the update, such as an Output, is as in the state.

    facts: of the state. plans: by user. kept: users with a current key whose secret is kept, and so is a parameter.
    resources: as for parse_state.
    """

    def canonical(policy: str) -> str:
        return policy if policy in settings.policy_documents else own.get(arn := policy_arn(policy, partition), arn)

    own, wanted = state.policy_names, Facts()
    for kind, holders in (("group", settings.groups), ("user", settings.users)):
        for name, holder in holders.items():
            wants = {f"policy {canonical(policy)}": HAS for policy in holder.policies}
            wants |= {f"inline {key}": digest(document) for key, document in holder.inline.items()}
            if holder.allow_from is not None:
                wants[f"inline {ALLOW_FROM}"] = digest(allow_from_document(holder.allow_from))
            owner, path = f"{kind} {name}", holder.path
            wants["path"] = path if isinstance(path, str) else facts.get(owner, {}).get("path", "")
            wanted[owner] = wants
    for name, group in settings.groups.items():
        attached, wants = state.attached.get(name, {}), wanted[f"group {name}"]
        for key, given in group.policy_arns.items():
            if found := given if isinstance(given, str) else attached.get(key):
                wants[f"policy {own.get(found, found)}"] = HAS
        for key, document in grant_policies([asked.grant() for asked in group.s3], partition).items():
            wanted[f"policy {name}-{key}"] = {"document": digest(document)}
            wants[f"policy {name}-{key}"] = HAS
    for name, user in settings.users.items():
        has, wants = facts.get(f"user {name}", {}), wanted[f"user {name}"]
        wants |= {f"group {group}": HAS for group in user.groups}
        boundary = user.permissions_boundary
        if isinstance(boundary, str):
            boundary = canonical(boundary)
        elif boundary is not None:
            boundary = has.get("boundary", "")
        wants["boundary"] = boundary or ""
        tags = tag_facts(settings.effective_tags(name))
        wants |= {what: value if isinstance(value, str) else has.get(what, "") for what, value in tags.items()}
        for key in plans[name].plan.keys if name in plans else ():
            if known := state.user(name).key(key.name):
                what = f"key {known.id}"
                wants[what] = key.status.capitalize() if key.status else has.get(what, "")
    wanted |= {f"policy {name}": {"document": digest(text)} for name, text in settings.policy_documents.items()}
    return wanted | _stores_wanted(settings, state, facts, plans, kept, resources)


def _stores_wanted(
    settings: AccessSettings,
    state: ComponentState,
    facts: Facts,
    plans: Mapping[str, UserPlan],
    kept: Collection[str],
    resources: Mapping[str, Any],
) -> Facts:
    """The same of parameters and secrets. Arguments: as for facts_wanted."""

    def kms(owner: str, store: StoreSettings) -> str:
        key = store.kms_key
        return key if isinstance(key, str) else facts.get(owner, {}).get("kms", "") if key else ""

    values = {
        found.get("name"): found.get("value") for found in Below(state.urn, resources).outputs(USER, PARAMETER).values()
    }
    wanted = Facts()
    for user in settings.users_with_key:
        deliver = settings.effective_deliver(user)
        if deliver and (store := deliver.ssm) and user in kept:
            name = store.stored_name(user, "ssm")
            owner = f"parameter {name}"
            is_same = _is_delivered(values.get(name), plans[user], state.user(user), store)
            wanted[owner] = {"version": facts[owner]["version"] if is_same else "new", "kms": kms(owner, store)}
        if deliver and (store := deliver.secrets_manager) and store.existing is None:
            owner = f"secret {store.stored_name(user, 'secrets_manager')}"
            has_policy = store.readers or facts.get(owner, {}).get("readers")
            readers = digest(readers_policy(store.readers or ())) if has_policy else ""
            wanted[owner] = {"readers": readers, "kms": kms(owner, store), "replicas": regions_of(store.replicas)}
    return wanted


def _is_delivered(value: str | None, plan: UserPlan, state: UserState, store: StoreSettings) -> bool:
    """Whether a parameter has what this run delivers. value: its content; None if there is none."""
    if plan.expired_on:
        return value == expired_text(plan.expired_on)
    current = state.key(plan.plan.current.name)
    names = [store.fields.id, store.fields.secret]
    return bool(value and current and stored_id(value) == current.id and list(json.loads(value)) == names)

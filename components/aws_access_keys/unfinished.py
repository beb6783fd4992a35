"""What an update that did not finish may have changed in AWS, while the state still has what was before.

The state has what AWS answered. After a lost answer or a killed engine, the next update makes the same change again,
but not if the settings are as they were before: then a permission, a parameter or the status of a key would stay as
nobody asked for it. So each run records what it is about to change; what the next one wants to be as the state has it
is looked up in AWS.
"""

import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

from aws_access_keys.account import Account, AwsQueryError
from aws_access_keys.credentials import expired_text, stored_id
from aws_access_keys.planning import UserPlan
from aws_access_keys.rules.documents import digest
from aws_access_keys.rules.names import DESCRIPTION
from aws_access_keys.rules.networks import ALLOW_FROM, allow_from_document
from aws_access_keys.rules.policies import policy_arn
from aws_access_keys.rules.problem import Problem, Spelling
from aws_access_keys.rules.resource_types import (
    AWS_KEYS,
    GROUP,
    GROUP_POLICY,
    PARAMETER,
    SECRET,
    SECRET_POLICY,
    USER,
    USER_POLICY,
)
from aws_access_keys.rules.s3_grants import grant_policies
from aws_access_keys.rules.secrets import readers_policy
from aws_access_keys.rules.untyped import mapping
from aws_access_keys.settings import AccessSettings, StoreSettings
from aws_access_keys.state import ComponentState, UserState
from aws_access_keys.state_reading import Below

Facts = dict[str, dict[str, str]]
"""`group NAME`, `user NAME`, `policy NAME`, `parameter NAME`, `secret NAME` or `existing NAME` (a secret that is not of
the stack) → what it has → the value; "" for what it has not.

What it has: `policy ARN` (or the name of a policy of the stack, whose ARN is not known before it is created), `inline
NAME` (a digest of the document), `group NAME`, `path`, `tag KEY` (`=VALUE`), `boundary` (as `policy`), `key ID`
(`Active` or `Inactive`), `document` (its digest), `version` (of the parameter), `kms` (the KMS key; "" for AWS's own),
`readers` (a digest of the resource policy), `replicas` (regions), `content` (the id of the version of a secret that is
current).
"""

_HAS = "yes"


def facts_in_state(state: ComponentState, resources: Mapping[str, Any]) -> Facts:
    """What the users and groups of the component have, by the state. resources: as for parse_state."""
    below, facts, own = Below(state.urn, resources), Facts(), state.policy_names
    for group in state.groups:
        attached = state.attached.get(group, {}).values()
        facts[f"group {group}"] = {f"policy {own.get(arn, arn)}": _HAS for arn in attached}
    for user in (user for user, found in state.users.items() if found.exists):
        found = state.user(user)
        attached = (arn for arn in found.policies if arn.startswith("arn:"))
        has = facts[f"user {user}"] = {f"policy {own.get(arn, arn)}": _HAS for arn in attached}
        has |= {f"group {group}": _HAS for group in found.groups}
        has |= {f"key {key.id}": _status(key.active) for key in found.keys}
        has["boundary"] = own.get(found.boundary or "", found.boundary or "")
        has |= _tags(below.outputs(USER)[user].get("tags") or {})
    for kind, owner, inline in (("group", GROUP, GROUP_POLICY), ("user", USER, USER_POLICY)):
        for name, found in below.outputs(owner).items():
            facts.setdefault(f"{kind} {name}", {})["path"] = found.get("path", "/")
        for path, found in below.outputs(owner, inline).items():
            of = facts.setdefault(f"{kind} {path.partition('/')[0]}", {})
            of[f"inline {found.get('name')}"] = _document(found)
    facts |= {f"policy {name}": {"document": digest(document)} for name, document in state.policies.items()}
    for found in below.outputs(USER, PARAMETER).values():
        kms = _kms_key(found.get("keyId"), PARAMETER)
        facts[f"parameter {found.get('name')}"] = {"version": _version(found.get("version")), "kms": kms}
    policies = below.outputs(USER, SECRET_POLICY)
    for path, found in below.outputs(USER, SECRET).items():
        regions = _regions(one.get("region") for one in found.get("replicas") or ())
        readers, kms = _document(policies.get(path, {})), _kms_key(found.get("kmsKeyId"), SECRET)
        facts[f"secret {found.get('name')}"] = {"readers": readers, "kms": kms, "replicas": regions}
    return facts


def facts_of_existing(settings: AccessSettings, state: ComponentState, account: Account) -> Facts:
    """What the secrets of others have into which a key is to be written for the first time. Raises AwsQueryError."""
    return {
        f"existing {name}": {"content": _current(_versions(account, name), "AWSCURRENT")}
        for name in _new_existing(settings, state)
    }


def _new_existing(settings: AccessSettings, state: ComponentState) -> Iterator[str]:
    """The names of these."""
    for user in settings.users_with_key:
        deliver = settings.effective_deliver(user)
        store = deliver.secrets_manager if deliver else None
        if store and store.existing is not None:
            name = store.stored_name(user, "secrets_manager")
            if (SECRET, name) not in state.copies:
                yield name


def _versions(account: Account, name: str) -> dict[str, list[str]]:
    """Id of each version of a secret → its stages. Raises AwsQueryError."""
    return account.ask("secretsmanager", "describe_secret", SecretId=name).get("VersionIdsToStages") or {}


def _current(versions: Mapping[str, list[str]], stage: str) -> str:
    return next((version for version, stages in versions.items() if stage in stages), "")


def _tags(tags: Mapping[str, Any]) -> dict[str, Any]:
    values = {key: f"={value}" if isinstance(value, str) else value for key, value in tags.items()}  # "" is one, too
    return {f"tag {key}": value for key, value in values.items()}


def _status(active: bool) -> str:
    return "Active" if active else "Inactive"


def _document(found: Mapping[str, Any]) -> str:
    """The digest of the policy in a resource's outputs."""
    return digest(found["policy"]) if found.get("policy") else ""


def _kms_key(given: str | None, kind: str) -> str:
    """The KMS key of a store; "" for AWS's own. kind: the type of the store."""
    return "" if given is None or given == AWS_KEYS[kind] else given


def _regions(names: Iterable[str]) -> str:
    return " ".join(sorted(names))


def _version(number: float | None) -> str:
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
            wants = {f"policy {canonical(policy)}": _HAS for policy in holder.policies}
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
                wants[f"policy {own.get(found, found)}"] = _HAS
        for key, document in grant_policies([asked.grant() for asked in group.s3], partition).items():
            wanted[f"policy {name}-{key}"] = {"document": digest(document)}
            wants[f"policy {name}-{key}"] = _HAS
    for name, user in settings.users.items():
        has, wants = facts.get(f"user {name}", {}), wanted[f"user {name}"]
        wants |= {f"group {group}": _HAS for group in user.groups}
        boundary = user.permissions_boundary
        if isinstance(boundary, str):
            boundary = canonical(boundary)
        elif boundary is not None:
            boundary = has.get("boundary", "")
        wants["boundary"] = boundary or ""
        tags = _tags(settings.effective_tags(name))
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
    wanted: Facts = {f"existing {name}": {"content": "new"} for name in _new_existing(settings, state)}
    for user in settings.users_with_key:
        deliver = settings.effective_deliver(user)
        if deliver and (store := deliver.ssm) and user in kept:
            name = store.stored_name(user, "ssm")
            owner = f"parameter {name}"
            is_same = _is_delivered(values.get(name), plans[user], state.user(user), store)
            wanted[owner] = {"version": facts[owner]["version"] if is_same else "new", "kms": kms(owner, store)}
        if deliver and (store := deliver.secrets_manager) and store.existing is None:
            owner = f"secret {store.stored_name(user, 'secrets_manager')}"
            readers = digest(readers_policy(store.readers)) if store.readers else ""
            wanted[owner] = {"readers": readers, "kms": kms(owner, store), "replicas": _regions(store.replicas)}
    return wanted


def _is_delivered(value: str | None, plan: UserPlan, state: UserState, store: StoreSettings) -> bool:
    """Whether a parameter has what this run delivers. value: its content; None if there is none."""
    if plan.expired_on:
        return value == expired_text(plan.expired_on)
    current = state.key(plan.plan.current.name)
    names = [store.fields.id, store.fields.secret]
    return bool(value and current and stored_id(value) == current.id and list(json.loads(value)) == names)


def changes(facts: Facts, wanted: Facts, settings: AccessSettings) -> Facts:
    """What a run is about to change, as the state has it before; of policies and secrets, not of those that are new.

    What an adopted group or user has beside it is somebody else's.
    """
    adopted = {f"group {name}" for name, group in settings.groups.items() if group.adopt}
    adopted |= {f"user {name}" for name in settings.users if settings.adopts(name)}
    found = Facts()
    for owner in sorted({*facts, *(owner for owner in wanted if owner.split(" ")[0] in _LEFT)}):
        has, wants = facts.get(owner, {}), wanted.get(owner, {})
        changed = {
            what: value
            for what in sorted({*has, *wants})
            if (value := has.get(what, "")) != wants.get(what, "") and (value or owner not in adopted)
        }
        found |= {owner: changed} if changed else {}
    return found


_STORES = ("parameter", "existing")
_LEFT = ("group", "user", *_STORES)
"""What has something, or is there, that nobody knows of, if it was to be new and is not wanted any more."""

_GONE_WITH_IT = ("boundary", "key", "path", "tag")
"""What keeps nothing from being deleted."""

_EXISTING = "deliver.secrets_manager.existing"


def unfinished(
    last: Mapping[str, Mapping[str, str]],
    facts: Facts,
    wanted: Facts,
    state: ComponentState,
    places: Mapping[str, str],
    spell: Spelling,
    account: Account,
) -> Iterator[Problem]:
    """What AWS has otherwise than both the state and the settings, of what the last run was about to change (`last`).

    places: owner → setting, of policies and parameters.
    """
    for owner, changed in last.items():
        has, wants = facts.get(owner, {}), wanted.get(owner, {})
        kind, name = owner.split(" ", 1)
        stays, is_left = owner in facts and owner in wanted, owner not in wanted and kind in _LEFT
        if kind == "existing" and (SECRET, name) in state.copies:
            continue
        # Of what is removed, or was to be new, only what nobody knows of matters. A parameter takes all along.
        if not stays and not (is_left and (owner in facts) == (kind not in _STORES)):
            continue
        place = places.get(owner) or spell(_EXISTING if kind == "existing" else f"{kind}s.{{}}", name)
        for what, value in changed.items():
            if not stays and what.partition(" ")[0] in _GONE_WITH_IT:
                continue
            is_as_wanted = (stays or not value) and has.get(what, "") == value == wants.get(what, "")
            if kind != "existing" and not is_as_wanted:
                continue
            try:
                actual = _in_aws(account, kind, name, what, value, state, facts)
            except AwsQueryError as error:
                if kind == "existing" and error.code == "ResourceNotFoundException":
                    continue
                text = f"the last update may not have finished, and what it did could not be read ({error})"
                needs = f"secretsmanager:DescribeSecret on {name}" if kind == "existing" else "those of a refresh"
                yield Problem(place, f"{text}. {error.cure(f'more permissions: {needs}')}", in_file=False)
                continue
            if actual != value:
                text = _told(what, value, actual, {"kind": kind, "name": name}, state)
                yield Problem(
                    place, f"the last update did not finish, and the state does not know that {text}", in_file=False
                )


def _told(what: str, value: str, actual: str, owner: Mapping[str, str], state: ComponentState) -> str:
    """What AWS has otherwise, and what to do. value: of the state. actual: in AWS. owner: its `kind` and `name`."""
    which, _, of = what.partition(" ")
    tells = [_EXTRA.get(which) if not value else None, _OTHERWISE.get(f"{which} {actual}"), _OTHERWISE[which]]
    text, cure, *stays = next(filter(None, tells))
    named = {**owner, "of": state.policy_arns.get(of, of), "actual": actual or "gone", "value": value}
    others = "".join(f"; or, {one}" for one in stays)
    return f"{text.format(**named)}. Run `{cure.format(**named)}`, then this command again{others}."


_REFRESH = "pulumi refresh"
_STAYS = "if somebody else did that and it is to stay, add it here"
_OTHERWISE = {
    "policy": ("the policy {of} is not attached any more", _REFRESH),
    "inline": ("the inline policy '{of}' is gone or has another document", _REFRESH),
    "group": ("the user is not in the group '{of}' any more", _REFRESH),
    "path": ("its path in IAM is {actual}", _REFRESH),
    "tag": ("its tag '{of}' in IAM is gone or has another value", _REFRESH),
    "boundary": ("the permissions boundary in IAM is {actual}", _REFRESH),
    "key": ("the access key {of} is {actual}", _REFRESH),
    "key Active": (
        "the access key {of} is Active",
        "aws iam update-access-key --user-name {name} --access-key-id {of} --status Inactive",
        "if it is to work, set its status to active here",
    ),
    "document": ("the policy has another document in IAM", _REFRESH),
    "version": ("the parameter is gone or has another content", _REFRESH),
    "kms": ("it is encrypted with another KMS key", _REFRESH),
    "replicas": ("the secret has replicas in other regions: {actual}", _REFRESH),
    "readers": ("its resource policy in Secrets Manager is gone or another one", _REFRESH),
    "content": (
        "the secret '{name}' has another content, probably the access key",
        "aws secretsmanager update-secret-version-stage --secret-id {name} --version-stage AWSCURRENT "
        "--move-to-version-id {value} --remove-from-version-id {actual}",
        "write another content into it",
    ),
}
"""What AWS has otherwise, some with the value there → how that is told, and the command that helps."""

_EXTRA = {
    "content": (
        "the secret '{name}', which was empty, has a content, probably the access key",
        "aws secretsmanager put-secret-value --secret-id {name} --secret-string '{{}}'",
    ),
    "policy": (
        "the policy {of} is attached",
        "aws iam detach-{kind}-policy --{kind}-name {name} --policy-arn {of}",
        _STAYS,
    ),
    "inline": (
        "IAM has an inline policy '{of}'",
        "aws iam delete-{kind}-policy --{kind}-name {name} --policy-name {of}",
        _STAYS,
    ),
    "group": (
        "the user is in the group '{of}'",
        "aws iam remove-user-from-group --user-name {name} --group-name {of}",
        _STAYS,
    ),
    "version": ("the parameter has the access key", "aws ssm delete-parameter --name {name}"),
    "readers": (
        "Secrets Manager has a resource policy for it",
        "aws secretsmanager delete-resource-policy --secret-id {name}",
    ),
    "replicas": (
        "the secret has a replica in {actual}",
        "aws secretsmanager remove-regions-from-replication --secret-id {name} --remove-replica-regions {actual}",
    ),
}
"""What a refresh does not see, if the state does not have it → the same."""


def _in_aws(account: Account, kind: str, name: str, what: str, value: str, state: ComponentState, facts: Facts) -> str:
    """The value that AWS has; "" for none. value: before the last update. Raises AwsQueryError."""
    which, _, of = what.partition(" ")
    if which == "policy":
        attached = account.attached_policies(kind, name)
        return _HAS if state.policy_arns.get(of, of) in attached else ""
    if which == "inline":
        owner = {f"{kind.capitalize()}Name": name}
        found = account.ask("iam", f"get_{kind}_policy", **owner, PolicyName=of)
        return digest(found["PolicyDocument"]) if found else ""
    if which == "group":
        return _HAS if of in account.groups_of(name) else ""
    if which == "path":
        found = mapping(account.user(name) if kind == "user" else account.ask("iam", "get_group", GroupName=name))
        return str(found.get("Group", found).get("Path", ""))
    if which == "tag":
        found = mapping(account.user(name)).get("Tags", ())
        return _tags({tag["Key"]: tag["Value"] for tag in found}).get(what, "")
    if which == "boundary":
        user = mapping(account.user(name))
        boundary = str(mapping(user.get("PermissionsBoundary")).get("PermissionsBoundaryArn", ""))
        return state.policy_names.get(boundary, boundary)
    if which == "key":
        status = {key.id: _status(key.active) for key in account.list_access_keys(name)}
        is_behind = of not in status and account.is_unlisted(name, of)
        return facts[f"{kind} {name}"].get(what, "") if is_behind else status.get(of, "")
    if which == "document":
        document = account.policy_document(state.policy_arns[name])
        return digest(document) if document else ""
    if which == "readers":
        policy = account.ask("secretsmanager", "get_resource_policy", SecretId=name).get("ResourcePolicy")
        return digest(policy) if policy else ""
    if which == "content":
        versions = _versions(account, name)
        # If another version has followed, somebody else has written.
        return _current(versions, "AWSCURRENT") if _current(versions, "AWSPREVIOUS") == value else value
    if kind == "secret":
        found = account.ask("secretsmanager", "describe_secret", SecretId=name)
        regions = _regions(one["Region"] for one in found.get("ReplicationStatus") or ())
        return regions if which == "replicas" else _kms_key(found.get("KmsKeyId"), SECRET)
    found = account.parameter(name)
    if which == "kms":
        return _kms_key(found.get("KeyId"), PARAMETER)
    ours = {DESCRIPTION.format(user) for user in state.users}
    is_ours = f"parameter {name}" in facts or found.get("Description") in ours
    return _version(found["Version"]) if found and is_ours else ""

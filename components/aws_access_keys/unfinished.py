"""What an update that did not finish may have changed in AWS, while the state still has what was before.

The state has what AWS answered. After a lost answer or a killed engine, the next update makes the same change again,
but not if the settings are as they were before: then a permission, a parameter or the status of a key would stay as
nobody asked for it. So each run records what it is about to change; what the next one wants to be as the state has it
is looked up in AWS.
"""

from collections.abc import Iterator, Mapping

import pulumi

from aws_access_keys.account import Account, AwsQueryError
from aws_access_keys.existing_secrets import interrupted
from aws_access_keys.facts import FIRST_WRITTEN, HAS, Facts, kms_key_of, regions_of, status_of, tag_facts, version_of
from aws_access_keys.key_endings import in_parallel
from aws_access_keys.rules.documents import digest
from aws_access_keys.rules.names import described_user
from aws_access_keys.rules.networks import ALLOW_FROM
from aws_access_keys.rules.problem import Problem, Spelling
from aws_access_keys.rules.resource_types import PARAMETER, SECRET
from aws_access_keys.rules.untyped import mapping
from aws_access_keys.settings import AccessSettings
from aws_access_keys.state import ComponentState


def changes(facts: Facts, wanted: Facts, settings: AccessSettings) -> Facts:
    """What a run is about to change, as the state has it before; of policies, not of those that are new.

    What a group or user has beside it that is adopted now is somebody else's.
    """
    adopted = _adopted(settings) - facts.keys()
    found = Facts()
    for owner in sorted({*facts, *(owner for owner in wanted if owner.split(" ")[0] in _NEW)}):
        has, wants = facts.get(owner, {}), wanted.get(owner, {})
        changed = {
            what: value
            for what in sorted({*has, *wants})
            if (value := has.get(what, "")) != wants.get(what, "") and (value or owner not in adopted)
        }
        found |= {owner: changed} if changed else {}
    return found


def _adopted(settings: AccessSettings) -> set[str]:
    groups = {f"group {name}" for name, group in settings.groups.items() if group.adopt}
    return groups | {f"user {name}" for name in settings.users if settings.adopts(name)}


def foreign_policies(
    facts: Facts, wanted: Facts, settings: AccessSettings, state: ComponentState, spell: Spelling, account: Account
) -> Iterator[Problem]:
    """Inline policies that IAM has, that no update of this stack wrote, and that the settings would replace by others.

    Asked about those only that are new to a group or user who exists already.
    """
    exist = facts.keys() | _adopted(settings)
    new = [
        (owner, what)
        for owner, wants in wanted.items()
        if owner in exist
        for what in wants
        if what.startswith("inline ") and what not in {**facts.get(owner, {}), **state.changes.get(owner, {})}
    ]

    def check(asked: tuple[str, str]) -> Problem | None:
        owner, what = asked
        kind, name = owner.split(" ", 1)
        policy = what.removeprefix("inline ")
        place, cure = spell(f"{kind}s.{{}}.allow_from", name), "Remove the setting."
        if policy != ALLOW_FROM:
            place = spell(f"{kind}s.{{}}.inline.{{}}", name, policy)
            cure = "Choose another name, or copy the document from IAM into the settings."
        try:
            actual = _in_aws(account, kind, name, what, state, facts)
        except AwsQueryError as error:
            if error.is_denied and pulumi.runtime.is_dry_run():
                return None  # who may only preview may lack this permission; the update asks again
            cure = error.cure(f"iam:Get{kind.capitalize()}Policy")
            return Problem(place, f"whether the {kind} has such a policy could not be checked ({error}). {cure}")
        if actual in ("", wanted[owner][what]):
            return None
        delete = f"aws iam delete-{kind}-policy --{kind}-name {name} --policy-name {policy}"
        return Problem(
            place,
            f"IAM already has an inline policy '{policy}' of this {kind}. This stack did not create it, and the update "
            f"would overwrite it. {cure} To replace the policy, delete it right before the update: `{delete}`.",
        )

    yield from filter(None, in_parallel(check, new))


_LEFT = ("group", "user", "parameter")
"""Kinds of which AWS may have something that the state lacks: an update failed while it created it, and the settings no
longer ask for it."""

_NEW = (*_LEFT, "secret")
"""The same, also while the settings ask for it: a secret may have other readers."""

_GONE_WITH_IT = ("boundary", "key", "kms", "path", "tag")
"""What keeps nothing from being deleted."""


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
        if kind in FIRST_WRITTEN and owner not in facts and (owner in wanted or state.is_written):
            continue
        if kind == "existing":
            yield from interrupted({"given": name, **changed}, state, spell, account)
            continue
        # Of what is removed, or was to be new, only what nobody knows of matters. A parameter takes all along.
        if not stays and not (is_left and (owner in facts) == (kind != "parameter")):
            continue
        place = places.get(owner) or spell("deliver.ssm" if kind == "parameter" else f"{kind}s.{{}}", name)
        for what, value in changed.items():
            if not stays and what.partition(" ")[0] in _GONE_WITH_IT:
                continue
            if (value and not stays) or not has.get(what, "") == value == wants.get(what, ""):
                continue
            try:
                actual = _in_aws(account, kind, name, what, state, facts)
            except AwsQueryError as error:
                text = f"the last update may not have finished, and what it did could not be read ({error})"
                yield Problem(place, f"{text}. {error.cure('the permissions of a refresh')}", in_file=False)
                continue
            if actual != value:
                region = account.region_option("ssm" if kind == "parameter" else "secretsmanager")
                text = _told(what, value, actual, {"kind": kind, "name": name, "region": region}, state)
                yield Problem(
                    place, f"the last update did not finish, and the state does not know that {text}", in_file=False
                )


def _told(what: str, value: str, actual: str, owner: Mapping[str, str], state: ComponentState) -> str:
    """What AWS has otherwise, and what to do. value: of the state. actual: in AWS. owner: its `kind` and `name`, and
    the `region` of stores, as an option."""
    which, _, of = what.partition(" ")
    actual = actual or "gone"
    tells = [_EXTRA.get(which) if not value else None, _OTHERWISE.get(f"{which} {actual}"), _OTHERWISE[which]]
    text, cure, *stays = next(filter(None, tells))
    keys = state.user(owner["name"]).keys
    setting = "status" if which != "key" or keys[0].id == of else "previous"
    named = {**owner, "of": state.policy_arns.get(of, of), "actual": actual, "setting": setting}
    others = "".join(f"; or, {one.format(**named)}" for one in stays)
    return f"{text.format(**named)}. Run `{cure.format(**named)}`, then this command again{others}."


_REFRESH = "pulumi refresh"
_STAYS = "if somebody else did that and it is to stay, add it here"
_OTHERWISE = {
    "policy": ("the policy {of} is not attached any more", _REFRESH),
    "inline": ("the inline policy '{of}' is gone or has another document", _REFRESH),
    "group": ("the user is not in the group '{of}' any more", _REFRESH),
    "path": ("its path in IAM is {actual}", _REFRESH),
    "path gone": ("IAM does not have it any more", _REFRESH),
    "tag": ("its tag '{of}' in IAM is gone or has another value", _REFRESH),
    "boundary": ("the permissions boundary in IAM is {actual}", _REFRESH),
    "key": ("the access key {of} is {actual}", _REFRESH),
    "key Active": (
        "the access key {of} is Active",
        "aws iam update-access-key --user-name {name} --access-key-id {of} --status Inactive",
        "if it is to work, set {setting} to active here",
    ),
    "document": ("the policy has another document in IAM", _REFRESH),
    "version": ("the parameter '{name}' is gone or has another content", _REFRESH),
    "kms": ("it is encrypted with another KMS key", _REFRESH),
    "replicas": ("the secret has replicas in other regions: {actual}", _REFRESH),
    "readers": ("its resource policy in Secrets Manager is gone or another one", _REFRESH),
}
"""What AWS has otherwise, some with the value there → how that is told, and the command that helps."""

_EXTRA = {
    "tag": ("IAM has the tag '{of}'", _REFRESH),
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
    "version": ("the parameter '{name}' has the access key", "aws ssm delete-parameter --name {name}{region}"),
    "readers": (
        "Secrets Manager has a resource policy for it",
        "aws secretsmanager delete-resource-policy --secret-id {name}{region}",
    ),
    "replicas": (
        "the secret has a replica in {actual}",
        "aws secretsmanager remove-regions-from-replication --secret-id {name} --remove-replica-regions {actual}"
        "{region}",
    ),
}
"""What AWS has and the state has not → the same. Of most of it, a refresh sees nothing."""


def _in_aws(account: Account, kind: str, name: str, what: str, state: ComponentState, facts: Facts) -> str:
    """The value that AWS has; "" for none. Raises AwsQueryError."""
    which, _, of = what.partition(" ")
    if which == "policy":
        attached = account.attached_policies(kind, name)
        return HAS if state.policy_arns.get(of, of) in attached else ""
    if which == "inline":
        owner = {f"{kind.capitalize()}Name": name}
        found = account.ask("iam", f"get_{kind}_policy", **owner, PolicyName=of)
        return digest(found["PolicyDocument"]) if found else ""
    if which == "group":
        return HAS if of in account.groups_of(name) else ""
    if which == "path":
        found = mapping(account.user(name) if kind == "user" else account.ask("iam", "get_group", GroupName=name))
        return str(found.get("Group", found).get("Path", ""))
    if which == "tag":
        found = mapping(account.user(name)).get("Tags", ())
        return tag_facts({tag["Key"]: tag["Value"] for tag in found}).get(what, "")
    if which == "boundary":
        user = mapping(account.user(name))
        boundary = str(mapping(user.get("PermissionsBoundary")).get("PermissionsBoundaryArn", ""))
        return state.policy_names.get(boundary, boundary)
    if which == "key":
        status = {key.id: status_of(key.active) for key in account.list_access_keys(name)}
        is_behind = of not in status and account.is_unlisted(name, of)
        return facts[f"{kind} {name}"].get(what, "") if is_behind else status.get(of, "")
    if which == "document":
        document = account.policy_document(state.policy_arns[name])
        return digest(document) if document else ""
    if which == "readers":
        policy = account.ask("secretsmanager", "get_resource_policy", SecretId=name).get("ResourcePolicy")
        return digest(policy) if policy else ""
    if kind == "secret":
        found = account.ask("secretsmanager", "describe_secret", SecretId=name)
        regions = regions_of(one["Region"] for one in found.get("ReplicationStatus") or ())
        return regions if which == "replicas" else kms_key_of(found.get("KmsKeyId"), SECRET)
    found = account.parameters([name]).get(name, {})
    if which == "kms":
        return kms_key_of(found.get("KeyId"), PARAMETER)
    is_ours = f"parameter {name}" in facts or described_user(found, state.users) is not None
    return version_of(found["Version"]) if found and is_ours else ""

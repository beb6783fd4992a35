"""What only AWS can say about the settings, asked before a user, group or key is registered.

Asked only where the settings need it: for a stack without new users and groups, KMS keys or keys to adopt nothing is.
"""

import re
from collections.abc import Iterator, Mapping, Sequence

import pulumi

from aws_access_keys.account import Account, AwsQueryError
from aws_access_keys.adoption import adoption_problems
from aws_access_keys.existing_secrets import existing_secret_problems
from aws_access_keys.other_resources import (
    adopted_twice,
    already_in_stack,
    given_twice,
    had_twice,
    parameters_of_others,
)
from aws_access_keys.quotas import quota_problems
from aws_access_keys.rules.policies import attachable_policies, policy_arn
from aws_access_keys.rules.problem import Problem, Spelling
from aws_access_keys.rules.resource_types import GROUP, USER
from aws_access_keys.rules.s3_grants import grant_policies
from aws_access_keys.rules.secrets import is_covered
from aws_access_keys.rules.untyped import mapping
from aws_access_keys.settings import AccessSettings
from aws_access_keys.state import ComponentState


def preflight(
    settings: AccessSettings,
    spell: Spelling,
    state: ComponentState,
    removed: Sequence[str],
    policies: Mapping[str, str],
    partition: str,
    ignored_tags: Sequence[str],
    account: Account,
) -> Iterator[Problem]:
    """Problems that AWS knows of.

    removed: users that are in the state and not in the settings. policies: as from `policy_places`. ignored_tags:
    prefixes of tag keys that the aws provider leaves alone.
    """
    new_users = [user for user in settings.users if not state.user(user).exists and not settings.adopts(user)]
    new_groups = [name for name, group in settings.groups.items() if name not in state.groups and not group.adopt]
    old_groups = state.groups - settings.groups.keys()
    yield from _taken("user", new_users, removed, spell, state, account)
    yield from _taken("group", new_groups, sorted(old_groups), spell, state, account)
    yield from _taken_policies(policies, spell, state, account)
    yield from quota_problems(settings, spell, state, policies, partition, account)
    yield from _missing_policies(settings, spell, state, partition, account)
    yield from existing_secret_problems(settings, spell, state, account)
    for kms_key, where in _kms_keys(settings, spell).items():
        yield from _kms_problems(where, kms_key, account)
    yield from had_twice(spell, state)
    yield from adopted_twice(settings, spell, state, account)
    yield from given_twice(settings, spell, state, partition, policies)
    yield from _policies_of_others(settings, spell, state, account)
    yield from parameters_of_others(store_places(settings, spell)["parameter"], state, account)
    yield from adoption_problems(settings, spell, state, ignored_tags, account)


def _policies_of_others(
    settings: AccessSettings, spell: Spelling, state: ComponentState, account: Account
) -> Iterator[Problem]:
    """Resource policies that somebody gave to secrets of the stack, and that the first `readers` would replace."""
    for user, store in settings.secrets().items():
        name = store.stored_name(user, "secrets_manager")
        if not store.readers or name not in state.secrets or name in state.secret_policies:
            continue
        where = spell("users.{}.deliver.secrets_manager.readers", user)
        try:
            found = account.ask("secretsmanager", "get_resource_policy", SecretId=name)
        except AwsQueryError as error:
            if error.code == "ResourceNotFoundException" or (error.is_denied and pulumi.runtime.is_dry_run()):
                continue  # who may only preview need not read it; the update does
            cure = error.cure(f"secretsmanager:GetResourcePolicy on {name}")
            yield Problem(where, f"the resource policy of the secret '{name}' could not be read ({error}). {cure}")
            continue
        policy = mapping(found).get("ResourcePolicy")
        if policy and not is_covered(policy, store.readers):
            yield Problem(
                where,
                f"the secret '{name}' has a resource policy that this stack did not write, and readers would replace it"
                ". Leave readers out; or list all who may read the secret, and if the policy does more than allow it, "
                f"delete it first: `aws secretsmanager delete-resource-policy --secret-id {name}"
                f"{account.region_option('secretsmanager')}`.",
            )


def _taken(
    kind: str, new: Sequence[str], old: Sequence[str], spell: Spelling, state: ComponentState, account: Account
) -> Iterator[Problem]:
    """New names that the account has already, in whatever case: IAM compares names without it."""
    going = {name.casefold(): name for name in old}
    for name in new:
        if name.casefold() in going:
            yield Problem(
                spell(f"{kind}s.{{}}", name),
                f"to IAM this is the same name as '{going[name.casefold()]}', a {kind} of this stack, and the new "
                f"{kind} would be created before the old one is deleted. Write '{going[name.casefold()]}', or choose "
                "another name.",
            )
    if not new:
        return
    try:
        entities = account.entities(kind)
    except AwsQueryError as error:
        if error.is_about_caller:
            raise pulumi.RunError(
                f"AWS did not answer with the credentials that Pulumi uses: {error}. Check them with `aws sts "
                "get-caller-identity`, then run `pulumi up` again. Nothing was created or changed."
            ) from None
        known = {known.casefold(): urn for known, urn in state.names(kind).items()}
        for name in new if state.is_new else ():
            if urn := known.get(name.casefold()):
                yield Problem(spell(f"{kind}s.{{}}", name), already_in_stack(kind, urn, state))
        if not error.is_denied:  # without the permission, IAM refuses when the first one is created
            yield Problem(f"{kind}s", f"the {kind}s of the account could not be listed: {error}. Try again.")
        return
    existing = {name.casefold(): name for name in entities}
    for name in new:
        found = existing.get(name.casefold())
        if found and name.casefold() not in going:
            token = USER if kind == "user" else GROUP
            take_over = (
                f"If it is left over from an earlier run of this stack, take it over: pulumi import {token} "
                f"'{state.component}/{name}' '{found}' --parent 'component={state.urn}' --protect=false "
                "--generate-code=false; otherwise choose another name."
                if found == name and not state.is_new
                else f"Take it over with {spell(f'{kind}s.{{}}.adopt', name)}, or choose another name."
                if found == name
                else _other_name(spell)
            )
            yield Problem(
                spell(f"{kind}s.{{}}", name),
                already_in_stack(kind, state.in_stack[entities[found]], state)
                if entities[found] in state.in_stack
                else f"the account already has a {kind} '{found}', which this stack does not manage. {take_over}",
            )


def _missing_policies(
    settings: AccessSettings, spell: Spelling, state: ComponentState, partition: str, account: Account
) -> Iterator[Problem]:
    """ARNs of policies that do not exist, where they are new. AWS's own that are known offline exist."""
    asked: dict[str, str] = {}
    for name, group in settings.groups.items():
        for index, policy in enumerate(group.policies):
            if policy not in state.attached.get(name, {}).values():
                asked.setdefault(policy, spell(f"groups.{{}}.policies[{index}]", name))
    for name, user in settings.users.items():
        for index, policy in enumerate(user.policies):
            if policy not in state.user(name).policies:
                asked.setdefault(policy, spell(f"users.{{}}.policies[{index}]", name))
        boundary = user.permissions_boundary
        if isinstance(boundary, str) and boundary != state.user(name).boundary:
            asked.setdefault(boundary, spell("users.{}.permissions_boundary", name))
    known = {policy_arn(name, partition) for name in attachable_policies()}
    for arn, place in asked.items():
        if not arn.startswith("arn:") or arn in known:
            continue
        try:
            found = account.policy(arn)
        except AwsQueryError:
            continue  # IAM refuses when it is attached
        if found is None:
            yield Problem(place, f"IAM has no policy {arn}. Correct the ARN, or create the policy first.")


def missing_buckets(
    settings: AccessSettings, spell: Spelling, state: ComponentState, account: Account
) -> Iterator[str]:
    """A line about each bucket of a new grant that does not exist."""
    granted = "".join(state.policies.values())
    asked: dict[str, str] = {}
    for name, group in settings.groups.items():
        for index, grant in enumerate(group.s3):
            if not re.search(rf":::{re.escape(grant.bucket)}[\"/]", granted):
                asked.setdefault(grant.bucket, spell("groups.{}.s3[{}].bucket", name, index))
    for bucket, place in asked.items():
        try:
            account.ask("s3", "head_bucket", Bucket=bucket)
        except AwsQueryError as error:
            if error.code in ("404", "NoSuchBucket"):
                yield f"{spell.prefix}{place}: the bucket '{bucket}' does not exist. Create it, or correct the name."


def policy_places(settings: AccessSettings, spell: Spelling, partition: str) -> dict[str, str]:
    """Name of each customer managed policy that the component creates → the setting."""
    places = {name: spell("policy_documents.{}", name) for name in settings.policy_documents}
    for name, group in settings.groups.items():
        for key in grant_policies([asked.grant() for asked in group.s3], partition):
            places[f"{name}-{key}"] = spell("groups.{}.s3", name)
    return places


def store_places(settings: AccessSettings, spell: Spelling) -> dict[str, dict[str, str]]:
    """`secret` and `parameter`: name of each one that holds a key → the setting."""
    places: dict[str, dict[str, str]] = {"secret": {}, "parameter": {}}
    for user in settings.users_with_key:
        deliver = settings.effective_deliver(user)
        for kind, store in (("secret", "secrets_manager"), ("parameter", "ssm")):
            if asked := getattr(deliver, store, None):
                places[kind][asked.stored_name(user, store)] = spell(f"users.{{}}.deliver.{store}", user)
    return places


def _taken_policies(
    places: Mapping[str, str], spell: Spelling, state: ComponentState, account: Account
) -> Iterator[Problem]:
    """New policies whose names the account has already. places: as from `policy_places`."""
    new = {name.casefold(): name for name in places if name not in state.policies}
    for old in state.policies.keys() - places.keys():
        if name := new.pop(old.casefold(), None):
            yield Problem(
                places[name],
                f"to IAM '{name}' is the same name as '{old}', a policy of this stack, and the new policy would be "
                f"created before the old one is deleted. Write '{old}', or choose another name.",
            )
    if not new:
        return
    try:
        existing = account.entities("policy")
    except AwsQueryError:
        return  # IAM refuses when the first one is created
    for taken, arn in existing.items():
        if name := new.get(taken.casefold()):
            text, choose = f"the account already has a policy '{taken}', which this stack does not manage.", "Choose"
            if not state.is_new:  # IAM deletes none that is attached to something
                text += " If it is left over from an earlier run of this stack, and nothing uses it, delete it: "
                text += f"`aws iam delete-policy --policy-arn {arn}`."
                choose = "Otherwise choose"
            yield Problem(places[name], f"{text} {_other_name(spell, choose)}")


def _other_name(spell: Spelling, choose: str = "Choose") -> str:
    return f"{choose} another name; {spell('name_prefix')} puts the same text before all names of a stack."


def _kms_keys(settings: AccessSettings, spell: Spelling) -> dict[str, str]:
    """KMS key → the first setting that names it."""
    found: dict[str, str] = {}
    for user in settings.users:
        deliver = settings.effective_deliver(user)
        own = "deliver" in settings.users[user].given
        for store in ("secrets_manager", "ssm"):
            asked = getattr(deliver, store) if deliver else None
            if asked and isinstance(asked.kms_key, str):
                place = spell(f"users.{{}}.deliver.{store}.kms_key", user) if own else spell(f"deliver.{store}.kms_key")
                found.setdefault(asked.kms_key, place)
    return found


def _kms_problems(where: str, kms_key: str, account: Account) -> Iterator[Problem]:
    try:
        response = account.ask("kms", "describe_key", KeyId=kms_key)
    except AwsQueryError as error:
        cure = "Correct it; or, if it is right, allow the identity running Pulumi kms:DescribeKey on it."
        yield Problem(where, f"the KMS key '{kms_key}' could not be checked: {error}. {cure}")
        return
    state: str = response["KeyMetadata"]["KeyState"]
    if state != "Enabled":
        cure = "Cancel its deletion and enable it" if state == "PendingDeletion" else "Enable it"
        yield Problem(where, f"the KMS key '{kms_key}' is {state}. {cure}, or choose another.")

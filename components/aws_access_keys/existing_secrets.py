"""Secrets of others, `deliver.secretsManager.existing`, into which a key is to be written for the first time."""

from collections.abc import Iterator, Mapping

import pulumi

from aws_access_keys.account import Account, AwsQueryError
from aws_access_keys.direct_delivery import TOKEN, not_ours, text_in_store
from aws_access_keys.facts import Facts
from aws_access_keys.rules.keys import key_ids
from aws_access_keys.rules.names import DESCRIPTION
from aws_access_keys.rules.problem import Problem, Spelling
from aws_access_keys.rules.resource_types import SECRET
from aws_access_keys.rules.rotation import RETIRE
from aws_access_keys.rules.secrets import secret_name
from aws_access_keys.settings import AccessSettings
from aws_access_keys.state import ComponentState, known_ids
from aws_access_keys.urns import component_of


def existing_secret_problems(
    settings: AccessSettings, spell: Spelling, state: ComponentState, account: Account
) -> Iterator[Problem]:
    """Secrets of others into which a key is to be written for the first time."""
    for user, store in settings.secrets().items():
        if store.existing is None:
            continue
        place = "deliver.secrets_manager.existing"
        where = spell(f"users.{{}}.{place}", user) if "deliver" in settings.users[user].given else spell(place)
        name = store.stored_name(user, "secrets_manager")
        if name in state.secrets:
            # In the state, a previous key depends on what the current one is delivered to, and would go with it.
            more = f"write name: {name}, retire the previous key ({RETIRE}), write existing again, and "
            first = more if len(state.user(user).keys) > 1 else ""
            owner = state.owner_of(state.copies.get((SECRET, name), ""))
            if owner not in (None, user):
                yield Problem(where, f"this stack created the secret '{name}' for {owner}'s key. Choose another one.")
                continue
            yield Problem(
                where,
                f"this stack created the secret '{name}', and would delete it. Write name: {name} instead; or, to keep "
                f"it outside the stack, {first}remove it from the state: "
                f"pulumi state delete '{state.store_urn(SECRET, name)}' --target-dependents",
            )
        elif name not in state.secrets_written:
            try:
                found = account.ask("secretsmanager", "describe_secret", SecretId=store.existing)
            except AwsQueryError as error:
                cure = "Create it first, or correct the name; the identity running Pulumi needs"
                actions = "secretsmanager:DescribeSecret, PutSecretValue and GetSecretValue on it"
                yield Problem(where, f"the secret '{store.existing}' could not be read: {error}. {cure} {actions}.")
                continue
            if (owner := str(found["ARN"]).split(":")[4]) != (account.caller_account or owner):
                yield Problem(
                    where,
                    f"the secret '{store.existing}' is in the account {owner}. Name one of this account, "
                    f"{account.caller_account}, or deliver the key by a command.",
                )
                continue
            if (urn := state.in_stack.get(str(found["ARN"]))) and not component_of(urn, state.components):
                pulumi.log.warn(
                    f"{spell.prefix}{where}: the secret '{name}' is the resource '{urn}' of the same program. Protect "
                    "that resource: without it in the program, Pulumi deletes the secret and the key in it."
                )
            # With a part of its ARN, one secret would have two names here.
            if store.existing.startswith("arn:") and found["ARN"] != store.existing:
                yield Problem(
                    where,
                    f"'{store.existing}' is not the complete ARN of the secret '{found['Name']}'. Write the name, or "
                    f"{found['ARN']}.",
                )
            elif "DeletedDate" in found:
                yield Problem(where, f"the secret '{name}' is marked for deletion. Restore it, or choose another.")
            elif (text := str(found.get("Description", ""))).startswith(DESCRIPTION.format("")) and (
                text != DESCRIPTION.format(user)
            ):
                yield Problem(
                    where,
                    f"the secret '{name}' holds the key of another user: its description is '{text}'. "
                    "Choose another secret; or, if nobody delivers that key there any more, change its description.",
                )
            else:
                cure = "Choose another secret; or, if nobody needs that key there any more, empty the secret."
                if why := not_ours(account, "secretsManager", name, {user: state.user(user)}, cure):
                    yield Problem(where, why)


def existing_facts(settings: AccessSettings, state: ComponentState, account: Account) -> tuple[Facts, Facts]:
    """What is current in those that are written for the first time, and what all are to have. A preview, whose facts
    are not recorded, does not ask."""
    existing = [store.existing for store in settings.secrets().values() if store.existing is not None]
    given = {secret_name(name): name for name in existing}
    facts = Facts()
    for name in set[str]() if pulumi.runtime.is_dry_run() else given.keys() - state.secrets_written:
        owner = f"existing {name}"
        recorded = state.changes.get(owner) if not state.is_written else None
        try:
            current = _current(given[name], account)
        except AwsQueryError as error:
            cure = error.cure(f"secretsmanager:DescribeSecret on {name}")
            raise pulumi.RunError(f"the secret '{name}' could not be read: {error}. {cure}") from None
        # What an update wrote that did not finish is not what was there before.
        before = recorded["content"] if recorded and current.startswith(_WRITERS) else current
        facts[owner] = {"content": before, "given": given[name]}
    return facts, {f"existing {name}": {"content": "new"} for name in given}


def interrupted(
    recorded: Mapping[str, str], state: ComponentState, spell: Spelling, account: Account
) -> Iterator[Problem]:
    """A secret into which the last update may have written, and into which this one does not. recorded: by
    existing_facts. A preview reads no secret, and can only warn."""
    place, name, before = spell("deliver.secrets_manager.existing"), recorded["given"], recorded["content"]
    begin = "the last update did not finish, and the secret"
    try:
        now = _current(name, account)
        if now == before or not now.startswith(_WRITERS):
            return
        if pulumi.runtime.is_dry_run():
            pulumi.log.warn(
                f"{spell.prefix}{place}: {begin} '{name}' has another content, maybe the access key. `pulumi up` looks "
                "into it."
            )
            return
        held = key_ids(text_in_store(account, "secretsmanager", name) or "")
        if not any(key_id in known_ids(state.users) or account.certain_owner(key_id) in state.users for key_id in held):
            return
    except AwsQueryError as error:
        if error.code != "ResourceNotFoundException":
            cure = error.cure(f"secretsmanager:DescribeSecret and GetSecretValue on {name}")
            text = f"{begin} '{name}', into which it was to write, could not be read ({error}). {cure}"
            yield Problem(place, text, in_file=False)
        return
    region = account.region_option("secretsmanager")
    cure = (
        f"aws secretsmanager update-secret-version-stage --secret-id {name} --version-stage AWSCURRENT "
        f"--move-to-version-id {before} --remove-from-version-id {now}{region}"
    )
    if not before:
        cure = f"aws secretsmanager put-secret-value --secret-id {name} --secret-string '{{}}'{region}"
    other = "; or, write another content into it" if before else ""
    text = f"{begin} '{name}' has an access key of this stack in place of what it had"
    yield Problem(place, f"{text}. Run `{cure}`, then this command again{other}.", in_file=False)


_WRITERS = ("terraform-", TOKEN)
"""How the ids of versions begin that the aws provider and this program write; others, and people, leave them to AWS."""


def _current(name: str, account: Account) -> str:
    """The id of the current version; "" where there is none. Raises AwsQueryError."""
    found = account.ask("secretsmanager", "describe_secret", SecretId=name)
    versions: dict[str, list[str]] = found.get("VersionIdsToStages") or {}
    return next((version for version, stages in versions.items() if "AWSCURRENT" in stages), "")

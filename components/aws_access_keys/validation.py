"""The rules of `rules/` for settings of the right types, and one message for every problem.

A value that becomes known only later (a Pulumi Output) is left out here; the component checks it when it is known.
"""

import re
from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence

import pulumi

from aws_access_keys.rules.access import access_problems
from aws_access_keys.rules.documents import Document, document_problems, length
from aws_access_keys.rules.expectations import expectation_problems
from aws_access_keys.rules.keys import (
    adoption_problems,
    calendar_problems,
    description_problems,
    ignored_tags_problems,
)
from aws_access_keys.rules.limits import INLINE_LENGTH, POLICIES_PER_GROUP, POLICY_LENGTH, POLICY_NAME_LENGTH
from aws_access_keys.rules.names import (
    path_problems,
    policy_name_problems,
    prefix_problems,
    stored_name_problems,
    tag_problems,
)
from aws_access_keys.rules.networks import ALLOW_FROM, allow_from_document, have_common_network, network_problems
from aws_access_keys.rules.notices import topic_problems
from aws_access_keys.rules.pgp import PgpError, public_key
from aws_access_keys.rules.policies import PolicyError, policy_arn, policy_key
from aws_access_keys.rules.problem import STACK_FILE, Problem, Spelling, as_lines
from aws_access_keys.rules.s3_grants import POLICY_KEY, grant_policies, grant_problems, kms_key_problems
from aws_access_keys.rules.secrets import existing_problems, reader_problems, replica_problems
from aws_access_keys.setting_types import file_content
from aws_access_keys.settings import AccessSettings, DeliverSettings, GroupSettings, StackSettings, StoreSettings


class SettingsError(pulumi.RunError):
    """Settings that cannot be used. A RunError, so that Pulumi shows the message without a traceback."""


def refuse(problems: Sequence[Problem], spell: Spelling, component: str = "", effect: str = "") -> None:
    """Raise a SettingsError with every problem, if there is one. component: whose arguments have them."""
    problems = list(dict.fromkeys(problems))  # one mistake in key_defaults is one problem, not one per user
    if problems:
        count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
        in_file = spell.prefix == STACK_FILE.prefix
        title = f"configuration of stack '{pulumi.get_stack()}'" if in_file else f"ProgrammaticAccess '{component}'"
        is_fixed_there = in_file and any(problem.in_file for problem in problems)
        fix = f"Fix this in Pulumi.{pulumi.get_stack()}.yaml. " if is_fixed_there else ""
        effect = effect or f"Nothing{'' if in_file else ' of this component'} was created or changed."
        raise SettingsError(f"The {title} has {count}:\n{as_lines(problems, spell)}\n{fix}{effect}")


def rule_problems(
    settings: AccessSettings, spell: Spelling, partition: str, ignored_tags: Sequence[str]
) -> Iterator[Problem]:
    """Every rule that well-typed settings break.

    ignored_tags: prefixes of tag keys that the aws provider leaves alone (`aws:ignoreTags`).
    """
    yield from access_problems(
        {name: group.policies for name, group in settings.groups.items()},
        {name: user.groups for name, user in settings.users.items()},
        partition,
        list(settings.policy_documents),
        {name: user.policies for name, user in settings.users.items()},
        [name for name, user in settings.users.items() if user.inline or user.adopt],
        settings.allow_no_users,
    )
    yield from _own_policy_problems(settings, spell, partition)
    if settings.name_prefix is not None:
        names = {
            "users": settings.users,
            "groups": settings.groups,
            spell("policy_documents"): settings.policy_documents,
        }
        yield from prefix_problems(spell("name_prefix"), settings.name_prefix, names)
    for name, group in settings.groups.items():
        if not (group.policies or group.policy_arns or group.s3 or group.inline or group.adopt):
            text = "no policies. A group without one allows nothing; list at least one, or add s3 or inline."
            yield Problem(spell("groups.{}.policies", name), text)
        yield from _grant_problems(spell, name, group, partition, settings.name_prefix or "")
        where = spell("groups.{}.inline", name)
        yield from _inline_problems("group", where, group.inline, partition, group.allow_from)
        if group.allow_from is not None:
            yield from network_problems(spell("groups.{}.allow_from", name), group.allow_from)
        yield from _path_problems(spell("groups.{}.path", name), group.path)
        yield from _policy_arns_problems(spell("groups.{}.policy_arns", name), group, partition)
    for name, user in settings.users.items():
        yield from _path_problems(spell("users.{}.path", name), user.path)
        yield from _network_problems(settings, spell, name)
        where = spell("users.{}.inline", name)
        yield from _inline_problems("user", where, user.inline, partition, user.allow_from)
        boundary = user.permissions_boundary
        if isinstance(boundary, str) and boundary not in settings.policy_documents:
            yield from arn_problems(spell("users.{}.permissions_boundary", name), boundary, partition)
        yield from _tag_problems(settings, spell, name)
        yield from _key_problems(settings, spell, name, ignored_tags)
    for (kind, name), expected in settings.expectations(spell).items():
        limits = settings.networks(name) if kind == "users" else [settings.groups[name].allow_from or []]
        limits = [networks for networks in limits if networks]
        yield from expectation_problems(spell(f"{kind}.{{}}.expect", name), expected, limits, partition)
    delivers = {"deliver": settings.deliver}
    delivers |= {spell("users.{}.deliver", name): user.deliver for name, user in settings.users.items()}
    for place, deliver in delivers.items():
        if deliver and deliver.command is not None and not all(deliver.command or [""]):
            yield Problem(f"{place}.command", "no program, or an empty argument. List the program and its arguments.")
        if deliver and not deliver.secrets_manager and not deliver.ssm and deliver.command is None:
            yield Problem(
                place,
                f"no store. Write {spell('secrets_manager')}: {{}} for one with the default name, or "
                f"{'remove deliver' if place == 'deliver' else spell.off('deliver')} for none.",
            )
        yield from _store_problems(place, deliver, spell, partition)
    yield from _stored_names(settings, spell)
    if settings.notify:
        if settings.notify.sns is not None:
            yield from topic_problems("notify.sns", settings.notify.sns, partition)
        command = settings.notify.command
        if command is not None and not all([command, *command]):
            yield Problem("notify.command", "the command, or a part of it, is empty. List a program and its arguments.")
        if settings.notify.sns is None and command is None:
            yield Problem("notify", "no channel. Add sns or command, or remove notify.")


def _path_problems(where: str, path: "pulumi.Input[str]") -> Iterator[Problem]:
    if isinstance(path, str):
        yield from path_problems(where, path)


def _policy_arns_problems(where: str, group: GroupSettings, partition: str) -> Iterator[Problem]:
    """Problems of policies whose ARN may become known later, and of those together with the others."""
    attached = {policy_key(arn) if (arn := _arn(policy, partition)) else policy: arn for policy in group.policies}
    has = {arn: key for key, arn in attached.items() if arn}
    for key, arn in group.policy_arns.items():
        if isinstance(arn, str):
            yield from arn_problems(f"{where}.{key}", arn, partition)
            if (other := has.setdefault(arn, key)) != key:
                yield Problem(
                    f"{where}.{key}", f"the group has this policy already, as '{other}'. Remove one of the two."
                )
        if key in attached:
            yield Problem(f"{where}.{key}", f"policies already lists '{key}'. Choose another name.")
    count = len(group.policies) + len(group.policy_arns)
    if group.policy_arns and count > POLICIES_PER_GROUP:
        text = f"{count} managed policies, including those under `policies`; AWS allows at most {POLICIES_PER_GROUP}"
        yield Problem(where, f"{text} on a group. Remove {count - POLICIES_PER_GROUP} of them.")


def _grant_problems(spell: Spelling, name: str, group: GroupSettings, partition: str, prefix: str) -> Iterator[Problem]:
    where = spell("groups.{}.s3", name)
    grants = [asked.grant() for asked in group.s3]
    problems = list(grant_problems(where, grants))
    for index, grant in enumerate(grants):
        if grant.kms_key is not None:
            place = spell("groups.{}.s3[{}].kms_key", name, index)
            problems += kms_key_problems(place, grant.kms_key, grant.access, partition)
    yield from problems
    made = {} if problems else grant_policies(grants, partition)
    count = len(made) + len(group.policies) + len(group.policy_arns)
    if made and count > POLICIES_PER_GROUP:
        text = f"with those for its S3 grants, {count} managed policies; AWS allows at most {POLICIES_PER_GROUP}"
        yield Problem(where, f"{text} on a group. Remove some, grant whole buckets, or split the group.")
    for key in made:
        if key in group.policy_arns or key in group.policies:
            place = spell("groups.{}.policy_arns.{}" if key in group.policy_arns else "groups.{}.policies", name, key)
            text = f"'{key}' is the name under which the group's S3 grants are attached"
            yield Problem(place, f"{text}. Choose another name.")
        if len(own := f"{prefix}{name}-{key}") > POLICY_NAME_LENGTH:
            text = f"the policy would be named '{own}', but IAM allows at most {POLICY_NAME_LENGTH} characters"
            yield Problem(where, f"{text}. Choose a shorter name for the group.")


def _own_policy_problems(settings: AccessSettings, spell: Spelling, partition: str) -> Iterator[Problem]:
    """Problems of the customer managed policies that the stack creates."""
    where, own = spell("policy_documents"), settings.policy_documents
    yield from policy_name_problems(where, own)
    attached = {policy for group in settings.groups.values() for policy in group.policies}
    attached |= {policy for user in settings.users.values() for policy in (*user.policies, user.permissions_boundary)}
    with_grants = [name for name, group in settings.groups.items() if group.s3]
    for name, document in own.items():
        place = f"{where}.{name}"
        if _arn(full := f"{settings.name_prefix or ''}{name}", partition) or _arn(name, partition):
            yield Problem(place, f"'{full}' is also the name of an AWS managed policy. Choose another name.")
        for group in with_grants:
            if not re.fullmatch(rf"{re.escape(group)}-{POLICY_KEY}", name, re.IGNORECASE):
                continue
            yield Problem(place, f"the policy for the S3 grants of '{group}' has this name. Choose another name.")
        if name not in attached:
            yield Problem(
                place, "no group or user uses this policy. List it under the policies of a group, or remove it."
            )
        yield from document_problems(place, document, partition)
        yield from _length_problems(
            place, length(document), POLICY_LENGTH, "a managed policy", "Split it into several."
        )


def _network_problems(settings: AccessSettings, spell: Spelling, user: str) -> Iterator[Problem]:
    where, own = spell("users.{}.allow_from", user), settings.users[user].allow_from
    lists = settings.networks(user)
    problems = [problem for networks in lists for problem in network_problems(where, networks)]
    if own is not None:
        yield from network_problems(where, own)
        if not problems:  # what is wrong with a group's is reported there
            found = length(allow_from_document(own))
            yield from _length_problems(where, found, INLINE_LENGTH["user"], "a user", "List fewer, larger networks.")
    if len(lists) > 1 and not problems and not have_common_network(lists):
        text = "the networks of the user and of its groups have no address in common, so no key would work"
        yield Problem(where, f"{text}. Change one of the lists, or put the user into other groups.")


def _inline_problems(
    kind: str, where: str, inline: Mapping[str, Document], partition: str, networks: Sequence[str] | None
) -> Iterator[Problem]:
    """networks: those of `allow_from`, which becomes an inline policy as well."""
    yield from policy_name_problems(where, inline)
    if networks is not None and ALLOW_FROM in inline:
        text = f"the policy for the {kind}'s networks has this name. Choose another name."
        yield Problem(f"{where}.{ALLOW_FROM}", text)
    for name, document in inline.items():
        yield from document_problems(f"{where}.{name}", document, partition)
    together = sum(map(length, inline.values()))
    if networks and not list(network_problems("", networks)):
        together += length(allow_from_document(networks))
    what = f"all inline policies of a {kind} together, including the one for its networks"
    if inline:
        yield from _length_problems(where, together, INLINE_LENGTH[kind], what, "Use managed policies instead.")


def _length_problems(where: str, found: int, limit: int, what: str, cure: str) -> Iterator[Problem]:
    if found > limit:
        text = f"{found} characters without white space; IAM allows at most {limit} for {what}"
        yield Problem(where, f"{text}. {cure}")


def _arn(policy: str, partition: str) -> str | None:
    try:
        return policy_arn(policy, partition)
    except PolicyError:
        return None


def arn_problems(where: str, arn: str, partition: str) -> Iterator[Problem]:
    """Problems of the ARN of a managed policy."""
    try:
        policy_arn(arn, partition)
    except PolicyError as error:
        yield Problem(where, str(error))


def pgp_problems(where: str, given: str) -> Iterator[Problem]:
    """Problems of an OpenPGP public key."""
    try:
        public_key(pgp_text(given))
    except (PgpError, OSError, ValueError) as error:
        yield Problem(where, str(error))


def _tag_problems(settings: AccessSettings, spell: Spelling, name: str) -> Iterator[Problem]:
    """Problems of a user's tags; those of a tag that the stack puts on everyone are at the stack's."""
    where = spell("users.{}.tags", name)
    # A value that is not known yet takes its place in the count.
    known = {key: value if isinstance(value, str) else "" for key, value in settings.effective_tags(name).items()}
    for problem in tag_problems(where, known, bool(settings.effective_key(name).description)):
        key = problem.path.removeprefix(f"{where}.")
        yield problem._replace(path=settings.tag_place(spell, name, key)) if key in known else problem


def _store_problems(place: str, deliver: DeliverSettings | None, spell: Spelling, partition: str) -> Iterator[Problem]:
    """Problems of the stores of one `deliver`, without those of their names."""
    for name in ("secrets_manager", "ssm"):
        store: StoreSettings | None = getattr(deliver, name, None)
        if store and (store.fields.id == store.fields.secret or not store.fields.id or not store.fields.secret):
            where = f"{place}.{spell(name)}.fields"
            yield Problem(where, "the id and the secret need a field each. Write two different names.")
    store = deliver.secrets_manager if deliver else None
    if store is None:
        return
    where = f"{place}.{spell('secrets_manager')}"
    if store.readers is not None:
        yield from reader_problems(f"{where}.readers", store.readers, partition)
    yield from replica_problems(f"{where}.replicas", store.replicas)
    if store.existing is not None:
        yield from existing_problems(f"{where}.existing", store.existing, partition)
        others = [spell(name) for name in ("name", "kms_key", "readers", "replicas") if name in store.given]
        if others:
            text = f"the stack does not create this secret, so it cannot have: {', '.join(others)}"
            yield Problem(f"{where}.existing", f"{text}. Remove them here, or remove existing.")


def _stored_names(settings: AccessSettings, spell: Spelling) -> Iterator[Problem]:
    delivered = {user: found for user in settings.users if (found := settings.effective_deliver(user))}
    for store in ("secrets_manager", "ssm"):
        users = {user: asked for user, found in delivered.items() if (asked := getattr(found, store))}
        places = {
            # A default name is replaced at the user, wherever delivery was configured.
            user: spell(f"users.{{}}.deliver.{store}.{setting}", user)
            if "deliver" in settings.users[user].given or asked.given_name is None
            else spell(f"deliver.{store}.{setting}")
            for user, asked in users.items()
            for setting in ["existing" if getattr(asked, "existing", None) is not None else "name"]
        }
        names = {
            user: asked.given_name
            for user, asked in users.items()
            if not (getattr(asked, "existing", None) and str(asked.given_name).startswith("arn:"))  # not a whole one
        }
        yield from stored_name_problems(store, names, places)


def _key_problems(
    settings: AccessSettings, spell: Spelling, user: str, ignored_tags: Sequence[str]
) -> Iterator[Problem]:
    key, deliver = settings.effective_key(user), settings.effective_deliver(user)
    if settings.users[user].key is None and settings.users[user].deliver is not None:
        where = spell("users.{}.deliver", user)
        yield Problem(where, "a user without a key has nothing to deliver. Remove it, or give the user a key.")
    if key.rotation:
        place = settings.key_place(spell, user, "rotation")
        yield from calendar_problems(spell("{}.overlap_days", place), key.rotation.calendar())
    if key.previous == "whenIdle" and not key.retire_guard:
        guard = spell("retire_guard: {idle_days: 3}")
        yield Problem(
            settings.key_place(spell, user, "previous"),
            f"whenIdle needs the days for which the previous key must have been unused. Add {guard}, or choose "
            "active, inactive or deleted.",
        )
    if key.description is not None and key.description != "":
        place = settings.key_place(spell, user, "description")
        yield from ignored_tags_problems(place, ignored_tags)
        if isinstance(key.description, str):
            yield from description_problems(place, key.description)
    adopt = spell("users.{}.key.adopt", user)
    if key.adopt:
        pgp_key = settings.key_place(spell, user, "pgp_key") if key.pgp_key is not None else None
        yield from adoption_problems(adopt, key.adopt.id, pgp_key)
    if isinstance(key.pgp_key, str):
        yield from pgp_problems(settings.key_place(spell, user, "pgp_key"), key.pgp_key)
    if deliver and key.pgp_key is not None:
        yield Problem(
            spell("users.{}.deliver", user),
            "a secret that is encrypted to an OpenPGP key cannot be delivered: only the owner of that key can read it. "
            f"Remove one of the two ({spell.off('deliver')} for this user).",
        )
    if not key.keep_secret:
        yield from _unkept_problems(settings, spell, user)
    if deliver and key.adopt and key.adopt.secret is None:
        yield Problem(
            adopt,
            "the adopted key cannot be delivered without its secret. Specify its secret. If nobody has it, "
            f"{spell.off('deliver')} for this user; with the first rotation, remove that and adopt.",
        )


def _unkept_problems(settings: AccessSettings, spell: Spelling, user: str) -> Iterator[Problem]:
    """Problems of a key whose secret is not kept."""
    key, where = settings.effective_key(user), settings.key_place(spell, user, "keep_secret")
    if settings.users[user].key is not None and settings.effective_deliver(user) is None:
        text = "the secret would be lost, because the key is not delivered anywhere"
        yield Problem(spell("users.{}.deliver", user), f"{text}. Add a store or a command, or remove {where}.")
    if key.adopt:
        text = "an existing key's secret is stored somewhere already, so this can only apply from the next key on"
        cure = f"Set {spell('keep_secret')} to true for this user until the first rotation; then remove it and adopt."
        yield Problem(spell("users.{}.key.adopt", user), f"{text}. {cure}")
    kept = [name for name in settings.users_with_key if settings.effective_key(name).keep_secret]
    if isinstance(settings, StackSettings) and settings.outputs and not kept:
        yield Problem("outputs", f"no user's secret is kept, so there is nothing to show. Remove this, or {where}.")


def pgp_text(given: str) -> str:
    """The text of an OpenPGP key given itself or as `file:PATH`, relative to the program. Raises OSError."""
    if not given.startswith("file:"):
        return given
    raw = file_content(given)
    if b"-----BEGIN" in raw:
        return raw.decode()
    return raw.decode() if raw.isascii() else b64encode(raw).decode()

"""The rules of `rules/` put to the settings of a stack, each problem at the place where it was written."""

from base64 import b64encode
from collections.abc import Iterator, Sequence
from datetime import date
from pathlib import Path
from typing import NamedTuple

from aws_access_keys.rules.access import access_problems
from aws_access_keys.rules.keys import adoption_problems, calendar_problems, description_problems
from aws_access_keys.rules.names import path_problems, stored_name_problems, tag_problems
from aws_access_keys.rules.pgp import PgpError, public_key
from aws_access_keys.rules.problem import Problem
from aws_access_keys.settings.shape import KeySettings, StackSettings


class Environment(NamedTuple):
    """What a stack's settings are used with, and what is not under our own config namespace."""

    partition: str
    region: str
    """Empty: as the AWS environment says."""
    ignored_tags: Sequence[str]
    """Prefixes of tag keys that the aws provider leaves alone."""
    today: date
    users_are_encrypted: bool = True
    """Whether the users hold encrypted values; the engine tells it of `users` as a whole."""


def check(settings: StackSettings, environment: Environment) -> Iterator[Problem]:
    """Every rule that well-shaped settings break."""
    yield from access_problems(
        {name: group.policies for name, group in settings.groups.items()},
        {name: user.groups for name, user in settings.users.items()},
        environment.partition,
    )
    for name, group in settings.groups.items():
        if not group.policies:
            yield Problem(
                f"groups.{name}.policies", "no policies. A group without one allows nothing; name at least one."
            )
        yield from path_problems(f"groups.{name}.path", group.path)
    for name, user in settings.users.items():
        yield from path_problems(f"users.{name}.path", user.path)
        yield from _tag_problems(settings, name)
        yield from _key_problems(f"users.{name}", settings, name, environment)
        if "," in name and "credentialsCsv" in settings.outputs:
            yield Problem(
                f"users.{name}",
                "`aws configure import` splits the lines of credentialsCsv at every comma, so a user name with one "
                "cannot be in it. Rename the user, or take credentialsCsv out of outputs.",
            )
    yield from _stored_name_problems(settings)


def _tag_problems(settings: StackSettings, name: str) -> Iterator[Problem]:
    """Problems of a user's tags; those of a tag that the stack gives to everyone are at the stack's."""
    where, own = f"users.{name}.tags", settings.users[name].tags
    for problem in tag_problems(where, settings.tags | own, bool(settings.key_of(name).description)):
        key = problem.where.removeprefix(f"{where}.")
        inherited = key in settings.tags and key not in own
        yield Problem(f"tags.{key}", problem.what) if inherited else problem


def _stored_name_problems(settings: StackSettings) -> Iterator[Problem]:
    delivered = {user: found for user in settings.users if (found := settings.deliver_of(user))}
    in_secrets_manager = {user: found.secrets_manager for user, found in delivered.items() if found.secrets_manager}
    in_ssm = {user: found.ssm for user, found in delivered.items() if found.ssm}
    for store, users in (("secretsManager", in_secrets_manager), ("ssm", in_ssm)):
        own = {user: "deliver" in settings.users[user].model_fields_set for user in users}
        places = {
            # A default is mended at the user, wherever delivery was asked for.
            user: f"{f'users.{user}.' if own[user] or asked.name is None else ''}deliver.{store}.name"
            for user, asked in users.items()
        }
        yield from stored_name_problems(store, {user: asked.name for user, asked in users.items()}, places)


def _key_problems(where: str, settings: StackSettings, user: str, environment: Environment) -> Iterator[Problem]:
    key = settings.key_of(user)
    if key.rotation:
        yield from calendar_problems(_said_at(where, settings, user, "rotation"), key.rotation.calendar())
    if key.description:
        place = _said_at(where, settings, user, "description")
        yield from description_problems(place, key.description, list(environment.ignored_tags))
    if key.adopt:
        yield from adoption_problems(f"{where}.key.adopt", key.adopt.id, key.pgp_key is not None)
    if key.pgp_key is not None:
        try:
            public_key(pgp_text(key.pgp_key))
        except (PgpError, OSError, ValueError) as error:
            yield Problem(_said_at(where, settings, user, "pgp_key"), str(error))
    deliver = settings.deliver_of(user)
    if deliver and key.pgp_key is not None:
        yield Problem(
            f"{where}.deliver",
            "a secret that is encrypted to pgpKey is known to that key's owner only, so it cannot be delivered. "
            "Leave one of the two out (deliver: null for this user).",
        )
    if key.adopt and key.adopt.secret is not None and not environment.users_are_encrypted:
        yield Problem(
            f"{where}.key.adopt.secret",
            "the secret is in this file in the clear. Take it out, and take it for known to whoever saw the file; then "
            f"give it encrypted: pulumi config set --secret --path 'aws-access-keys:{where}.key.adopt.secret'",
        )
    if deliver and key.adopt and key.adopt.secret is None:
        yield Problem(
            f"{where}.key.adopt",
            "the adopted key is to be delivered, but its secret is not given. Give it (pulumi config set --secret "
            f"--path aws-access-keys:{where}.key.adopt.secret), or set {where}.deliver to null until the first "
            "rotation; after that, take adopt out.",
        )


def pgp_text(given: str) -> str:
    """The text of a PGP key that was given itself or as `file:PATH`, relative to the program. Raises OSError."""
    if not given.startswith("file:"):
        return given
    path = Path(given.removeprefix("file:"))
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise OSError(
            f"the file '{path}' cannot be read: {error.strerror}. It is looked for from {Path.cwd()}"
        ) from None
    return raw.decode() if b"-----BEGIN" in raw else _base64(raw)


def _base64(raw: bytes) -> str:
    """A binary key as base64; text that is base64 already stays as it is."""
    return raw.decode() if raw.isascii() else b64encode(raw).decode()


def _said_at(where: str, settings: StackSettings, user: str, field: str) -> str:
    """Where a key setting of a user is written: at the user, or among the defaults."""
    alias = KeySettings.model_fields[field].alias
    own = field in settings.users[user].key.model_fields_set
    return f"{where}.key.{alias}" if own else f"keyDefaults.{alias}"

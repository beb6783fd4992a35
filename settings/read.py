"""From the stack's config to checked settings, or to one message with everything that is wrong."""

import json
import os
from collections.abc import Iterator, Sequence
from datetime import date
from pathlib import Path
from typing import Any, NamedTuple, get_args

import pulumi
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from rules.access import access_problems
from rules.keys import adoption_problems, calendar_problems, description_problems
from rules.names import path_problems, stored_name_problems, tag_problems
from rules.pgp import PgpError, public_key
from rules.policies import partition_of
from rules.problem import Problem, did_you_mean
from settings.day import read_day
from settings.shape import KeySettings, StackSettings

NAMESPACE = "aws-access-keys"


class SettingsError(pulumi.RunError):
    """The config cannot be used. A RunError, so that Pulumi shows its text and no traceback."""


class Environment(NamedTuple):
    """What a stack's settings are used with, and what is not under our own config namespace."""

    partition: str
    region: str
    """Empty: as the AWS environment says."""
    ignored_tags: Sequence[str]
    """Prefixes of tag keys that the aws provider leaves alone."""
    today: date


def read_settings() -> tuple[StackSettings, Environment]:
    """The settings of the running stack. Raises SettingsError, which names every problem at once."""
    try:
        today = read_day()
    except ValueError as error:
        raise SettingsError(str(error)) from None
    region = pulumi.Config("aws").get("region") or os.environ.get("AWS_REGION", "")
    ignored: Any = pulumi.Config("aws").get_object("ignoreTags") or {}
    environment = Environment(partition_of(region), region, ignored.get("keyPrefixes", []), today)
    given = _given()
    if not given:
        raise SettingsError(
            f"The stack '{pulumi.get_stack()}' has no configuration: {_file()} is missing or has no {NAMESPACE}: "
            "keys.\nThe least it needs is one group and one user:\n"
            f"  {NAMESPACE}:groups: {{test: {{policies: [AmazonS3FullAccess]}}}}\n"
            f"  {NAMESPACE}:users: {{test-user: {{groups: [test]}}}}\n"
            "Nothing was created."
        )
    try:
        settings = StackSettings.model_validate(given)
    except ValidationError as error:
        raise _refusal([_from_pydantic(details) for details in error.errors()]) from None
    refuse(list(check(settings, environment)))
    return settings, environment


def refuse(problems: Sequence[Problem]) -> None:
    """Raise a SettingsError that names every problem, if there is one."""
    if problems:
        raise _refusal(problems)


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
        yield from tag_problems(f"users.{name}.tags", settings.tags | user.tags)
        yield from _key_problems(f"users.{name}", settings, name, environment)


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
        except (PgpError, OSError, UnicodeDecodeError) as error:
            yield Problem(_said_at(where, settings, user, "pgp_key"), str(error))
    deliver = settings.deliver_of(user)
    if deliver and key.pgp_key is not None:
        yield Problem(
            f"{where}.deliver",
            "a secret that is encrypted to pgpKey is known to that key's owner only, so it cannot be delivered. "
            "Leave one of the two out (deliver: null for this user).",
        )
    for store, asked in (("secretsManager", deliver and deliver.secrets_manager), ("ssm", deliver and deliver.ssm)):
        if asked and asked.name:
            yield from stored_name_problems(f"{where}.deliver.{store}.name", asked.name, store)


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
    from base64 import b64encode

    return raw.decode() if raw.isascii() else b64encode(raw).decode()


def _said_at(where: str, settings: StackSettings, user: str, field: str) -> str:
    """Where a key setting of a user is written: at the user, or among the defaults."""
    alias = KeySettings.model_fields[field].alias
    own = field in settings.users[user].key.model_fields_set
    return f"{where}.key.{alias}" if own else f"keyDefaults.{alias}"


def _file() -> str:
    return f"Pulumi.{pulumi.get_stack()}.yaml"


def _given() -> dict[str, Any]:
    """What the stack says under our namespace, parsed: {"groups": {...}, ...}; unset and empty keys are left out."""
    prefix = f"{NAMESPACE}:"
    raw = pulumi.runtime.get_config_env() | pulumi.runtime.config.CONFIG.get()
    given: dict[str, Any] = {}
    for key, text in raw.items():
        if key.startswith(prefix):
            try:
                value = json.loads(text)
            except json.JSONDecodeError:
                value = text  # plain text stays text, and is refused where a mapping is expected
            if value not in ({}, [], None):
                given[key.removeprefix(prefix)] = value
    return given


def _refusal(problems: Sequence[Problem]) -> SettingsError:
    problems = list(dict.fromkeys(problems))  # one mistake in keyDefaults is one problem, not one per user
    count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
    lines = "\n".join(f"  {NAMESPACE}:{where}: {what}" for where, what in problems)
    return SettingsError(
        f"The configuration of stack '{pulumi.get_stack()}' has {count}:\n{lines}\n"
        f"Mend this in {_file()}. Nothing was created or changed."
    )


_EXPECTED = {
    "string_type": "text",
    "bool_type": "true or false",
    "int_type": "a whole number",
    "list_type": "a list, for example [one, two]",
    "dict_type": "a mapping, for example {name: ...}",
    "model_type": "a mapping, for example {name: ...}",
}


def _from_pydantic(details: ErrorDetails) -> Problem:
    """Pydantic's finding in the words of the stack file."""
    location, value = details["loc"], details["input"]
    where = _path(location)
    match details["type"]:
        case "extra_forbidden":
            known = _known_keys(location[:-1])
            unknown = str(location[-1])
            return Problem(
                where, f"unknown key '{unknown}'. Known here: {', '.join(known)}.{did_you_mean(unknown, known)}"
            )
        case "missing":
            return Problem(where, "missing. Add it.")
        case kind if kind in _EXPECTED:
            return Problem(where, f"{_shown(value)} is given, {_EXPECTED[kind]} is expected.")
        case "greater_than_equal":
            return Problem(where, f"{_shown(value)} is given, {details.get('ctx', {})['ge']} or more is expected.")
        case "literal_error":
            choices = details.get("ctx", {})["expected"]
            return Problem(where, f"{_shown(value)} is given, {choices} is expected.")
        case kind if kind.startswith("date_"):
            return Problem(where, f"{_shown(value)} is given, a date such as 2026-12-01 is expected.")
        case _:
            return Problem(where, f"{_shown(value)}: {details['msg']}.")


def _path(location: tuple[int | str, ...]) -> str:
    text = ""
    for part in location:
        if part != "[key]":
            text += f"[{part}]" if isinstance(part, int) else f".{part}"
    return text.removeprefix(".")


def _known_keys(location: tuple[int | str, ...]) -> list[str]:
    """The keys that the shape at `location` knows, in the stack file's spelling."""
    shape: Any = StackSettings
    for part in location:
        if isinstance(shape, type) and issubclass(shape, BaseModel):
            by_alias = {field.alias: field.annotation for field in shape.model_fields.values()}
            shape = by_alias[str(part)]
        else:
            shape = get_args(shape)[-1]  # dict[str, X] and list[X]: X
        choices = [choice for choice in get_args(shape) if isinstance(choice, type) and issubclass(choice, BaseModel)]
        if choices and not hasattr(shape, "__origin__"):
            shape = choices[0]  # X | None: X
    return sorted(str(field.alias) for field in shape.model_fields.values())


def _shown(value: object) -> str:
    """The value as the user wrote it, shortened; nothing of it where it may hold a secret."""
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        return "a list"
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:57]}..."

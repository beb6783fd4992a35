"""Checks of settings: their types first, then the rules of `rules/`; every problem in one message.

A value that becomes known only later (a Pulumi Output) is left out here; the component checks it when it is known.
"""

import re
from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, cast

import pulumi
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from aws_access_keys.rules.access import access_problems
from aws_access_keys.rules.keys import (
    adoption_problems,
    calendar_problems,
    description_problems,
    ignored_tags_problems,
)
from aws_access_keys.rules.limits import POLICIES_PER_GROUP
from aws_access_keys.rules.names import path_problems, stored_name_problems, tag_problems
from aws_access_keys.rules.pgp import PgpError, public_key
from aws_access_keys.rules.policies import PolicyError, policy_arn, policy_key
from aws_access_keys.rules.problem import PYTHON, STACK_FILE, Problem, Spelling, as_lines, did_you_mean
from aws_access_keys.settings import AccessSettings, GroupSettings, SettingsModel

Model = TypeVar("Model", bound=SettingsModel)

_KINDS = {
    "string_type": "text",
    "bool_type": "true or false",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "model_type": "a mapping",
}


class SettingsError(pulumi.RunError):
    """Settings that cannot be used. A RunError, so that Pulumi shows the message without a traceback."""


def refuse(
    problems: Sequence[Problem], spell: Spelling, component: str = "", effect: str = "Nothing was created or changed."
) -> None:
    """Raise a SettingsError with every problem, if there is one. component: whose arguments have them."""
    problems = list(dict.fromkeys(problems))  # one mistake in key_defaults is one problem, not one per user
    if problems:
        count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
        in_file = spell == STACK_FILE
        title = f"configuration of stack '{pulumi.get_stack()}'" if in_file else f"ProgrammaticAccess '{component}'"
        fix = f"Fix this in Pulumi.{pulumi.get_stack()}.yaml. " if in_file else ""
        raise SettingsError(f"The {title} has {count}:\n{as_lines(problems, spell)}\n{fix}{effect}")


def parse(model: type[Model], given: object, spell: Spelling) -> "tuple[Model | None, list[Problem]]":
    """The settings in a mapping, or the problems of their names and types."""
    if not isinstance(given, Mapping):
        return None, [Problem("args", f"expected {_KINDS['model_type']}, got {_shown(given, spell)}.")]
    try:
        parsed = model.model_validate(_plain(given), by_alias=spell.camel_case, by_name=not spell.camel_case)
        return parsed, []
    except ValidationError as error:
        schema = _schema(model, spell.camel_case)
        found = error.errors()
        # A mistyped name is one mistake, though it leaves the right name missing.
        suggested = {
            (*details["loc"][:-1], near)
            for details in found
            if details["type"] == "extra_forbidden"
            for near in _known_names(schema, details["loc"][:-1])
            if did_you_mean(str(details["loc"][-1]), [near], _singular)
        }
        return None, [
            _problem(details, schema, spell)
            for details in found
            if not (details["type"] == "missing" and details["loc"] in suggested)
        ]


def _plain(value: Any) -> Any:
    """Mappings and sequences of any class as dicts and lists."""
    if isinstance(value, Mapping):
        return {name: _plain(item) for name, item in cast("Mapping[Any, Any]", value).items()}
    return [_plain(item) for item in cast("Sequence[Any]", value)] if isinstance(value, (list, tuple)) else value


def _problem(details: ErrorDetails, schema: dict[str, Any], spell: Spelling) -> Problem:
    """One of pydantic's errors with its place, the value and what is expected."""
    location, kind, given = details["loc"], details["type"], details["input"]
    path = _path(location)
    # The secret of an adopted key may have been put in the wrong place.
    value = "a value that is not shown" if "adopt" in location and given is not None else _shown(given, spell)
    context: Mapping[str, Any] = details.get("ctx", {})
    here = _schema_at(schema, location)
    if isinstance(given, pulumi.Output):
        later = f" An ARN that is known later belongs below {spell('policy_arns')}." if "policies" in location else ""
        return Problem(path, f"expected a value that is known when the program runs, got an Output.{later}")
    match kind:
        case "extra_forbidden":
            known = _known_names(schema, location[:-1])
            unknown = str(location[-1])
            places = sorted(_places(schema, _schema_at(schema, ()), unknown))
            elsewhere = f" Write it as {' or '.join(places)}." if places else ""
            cure = elsewhere or did_you_mean(unknown, known, _singular)
            return Problem(path, f"unknown name. Known names: {', '.join(known)}.{cure}")
        case "missing":
            return Problem(path, f"missing. Add it, for example {location[-1]}: {_as_yaml(here['examples'][0])}.")
        case "dict_type" | "model_type":
            example = f", for example {spell(here['example'])}" if "example" in here else ""
            name = location[-1] if location else ""
            cure = f" Should '{name}' be one level deeper?" if name in here.get("properties", {}) else ""
            return Problem(path, f"expected a mapping{example}, got {value}.{cure}")
        case "list_type":
            return Problem(path, f"expected a list, for example {_as_yaml(here['examples'][0])}, got {value}.")
        case "string_type" if "policies" in location and isinstance(given, dict):
            cure = "Create a managed policy from this document first."
            return Problem(path, f"expected the name or ARN of a managed policy, got {value}. {cure}")
        case "string_type" if isinstance(given, (int, float)):
            return Problem(path, f"expected text, got {value}. Put it in quotes.")
        case kind if kind in _KINDS:
            return Problem(path, f"expected {_KINDS[kind]}, got {value}.")
        case "greater_than_equal":
            return Problem(
                path,
                f"expected {context['ge']} or {'more' if isinstance(context['ge'], int) else 'later'}, got {value}.",
            )
        case "less_than_equal":
            return Problem(
                path,
                f"expected {context['le']} or {'less' if isinstance(context['le'], int) else 'earlier'}, got {value}.",
            )
        case "literal_error":
            return Problem(path, f"expected {context['expected']}, got {value}.")
        case kind if kind.startswith("date_") or kind == "value_error":
            return Problem(path, f"expected a date such as 2026-12-01 (YYYY-MM-DD), got {value}.")
        case _:
            return Problem(path, f"{details['msg']}, got {value}.")


def _singular(name: str) -> str:
    return re.sub("ies$", "y", name.casefold()).removesuffix("s")


def _places(schema: dict[str, Any], node: dict[str, Any], name: str) -> Iterator[str]:
    """Where there is a setting of a name below a node of the schema; NAME stands for a name of the caller's."""
    for part, child in {**node.get("properties", {}), "NAME": node.get("additionalProperties")}.items():
        if part == name:
            yield name
        if isinstance(child, dict):
            below = _resolved(schema, cast("dict[str, Any]", child))
            yield from (f"{part}.{place}" for place in _places(schema, below, name))


def _path(location: tuple[int | str, ...]) -> str:
    text = ""
    for part in location:
        if part != "[key]":
            text += f"[{part}]" if isinstance(part, int) else f".{part}"
    return text.removeprefix(".")


@cache
def _schema(model: type[SettingsModel], camel_case: bool) -> dict[str, Any]:
    return model.model_json_schema(by_alias=camel_case)


def _schema_at(schema: dict[str, Any], location: tuple[int | str, ...]) -> dict[str, Any]:
    """The part of a JSON schema that describes the value at a location."""
    node = _resolved(schema, schema)
    for part in location:
        child = node.get("properties", {}).get(part) or node.get("additionalProperties") or node.get("items", {})
        node = _resolved(schema, child)
    return node


def _resolved(schema: dict[str, Any], node: dict[str, Any]) -> dict[str, Any]:
    """A node of the schema with what it refers to."""
    named: Iterator[dict[str, Any]] = (choice for choice in [node, *node.get("anyOf", [])] if "$ref" in choice)
    reference = next(named, None)
    return node | schema["$defs"][reference["$ref"].rsplit("/", 1)[-1]] if reference else node


def _known_names(schema: dict[str, Any], location: tuple[int | str, ...]) -> list[str]:
    return sorted(_schema_at(schema, location).get("properties", {}))


def _as_yaml(example: Any) -> str:
    return f"[{', '.join(cast('list[str]', example))}]" if isinstance(example, list) else str(example)


def _shown(value: object, spell: Spelling) -> str:
    """A value as the caller wrote it, shortened."""
    if value is None:
        return spell.null
    if isinstance(value, bool):
        return str(value) if spell == PYTHON else str(value).lower()
    if isinstance(value, str):
        return "an empty value" if not value else f"'{value}'" if len(value) <= 60 else f"'{value[:57]}...'"
    if isinstance(value, (dict, list)):
        return "a mapping" if isinstance(value, dict) else "a list"
    return str(value) if isinstance(value, (int, float, date)) else f"a value of type {type(value).__name__}"


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
    )
    for name, group in settings.groups.items():
        if not group.policies and not group.policy_arns:
            yield Problem(
                spell("groups.{}.policies", name), "no policies. A group without one allows nothing; list at least one."
            )
        yield from _path_problems(spell("groups.{}.path", name), group.path)
        yield from _policy_arns_problems(spell("groups.{}.policy_arns", name), group, partition)
    for name, user in settings.users.items():
        yield from _path_problems(spell("users.{}.path", name), user.path)
        yield from _tag_problems(settings, spell, name)
        yield from _key_problems(settings, spell, name, ignored_tags)
    yield from _stored_names(settings, spell)


def _path_problems(where: str, path: "pulumi.Input[str]") -> Iterator[Problem]:
    if isinstance(path, str):
        yield from path_problems(where, path)


def _policy_arns_problems(where: str, group: GroupSettings, partition: str) -> Iterator[Problem]:
    """Problems of policies whose ARN may become known later, and of those together with the others."""
    attached = {policy_key(arn) for policy in group.policies if (arn := _arn(policy, partition))}
    for key, arn in group.policy_arns.items():
        if isinstance(arn, str):
            yield from arn_problems(f"{where}.{key}", arn, partition)
        if key in attached:
            yield Problem(f"{where}.{key}", f"policies lists '{key}' already. Choose another name.")
    count = len(group.policies) + len(group.policy_arns)
    if group.policy_arns and count > POLICIES_PER_GROUP:
        text = f"{count} managed policies, including those under `policies`; AWS allows at most {POLICIES_PER_GROUP}"
        yield Problem(where, f"{text} on a group. Remove {count - POLICIES_PER_GROUP} of them.")


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


def _stored_names(settings: AccessSettings, spell: Spelling) -> Iterator[Problem]:
    delivered = {user: found for user in settings.users if (found := settings.effective_deliver(user))}
    for store in ("secrets_manager", "ssm"):
        users = {user: asked for user, found in delivered.items() if (asked := getattr(found, store))}
        places = {
            # A default name is replaced at the user, wherever delivery was configured.
            user: spell(f"users.{{}}.deliver.{store}.name", user)
            if "deliver" in settings.users[user].model_fields_set or asked.name is None
            else spell(f"deliver.{store}.name")
            for user, asked in users.items()
        }
        yield from stored_name_problems(store, {user: asked.name for user, asked in users.items()}, places)


def _key_problems(
    settings: AccessSettings, spell: Spelling, user: str, ignored_tags: Sequence[str]
) -> Iterator[Problem]:
    key, deliver = settings.effective_key(user), settings.effective_deliver(user)
    if key.rotation:
        place = settings.key_place(spell, user, "rotation")
        yield from calendar_problems(spell("{}.overlap_days", place), key.rotation.calendar())
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
            f"Remove one of the two (deliver: {spell.null} for this user).",
        )
    if deliver and key.adopt and key.adopt.secret is None:
        yield Problem(
            adopt,
            "the adopted key cannot be delivered without its secret. Specify its secret, or set deliver to "
            f"{spell.null} for this user until the first rotation and then remove adopt.",
        )


def pgp_text(given: str) -> str:
    """The text of an OpenPGP key given itself or as `file:PATH`, relative to the program. Raises OSError."""
    if not given.startswith("file:"):
        return given
    path = Path(given.removeprefix("file:"))
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise OSError(f"cannot read '{path}' in {Path.cwd()}: {error.strerror}. Correct the path.") from None
    if b"-----BEGIN" in raw:
        return raw.decode()
    return raw.decode() if raw.isascii() else b64encode(raw).decode()

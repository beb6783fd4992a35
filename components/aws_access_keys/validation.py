"""Checks of settings: their types first, then the rules of `rules/`; every problem in one message.

A value that becomes known only later (a Pulumi Output) is left out here and checked by `once_known`.
"""

import json
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import pulumi
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from aws_access_keys.rules.access import access_problems
from aws_access_keys.rules.keys import adoption_problems, calendar_problems, description_problems
from aws_access_keys.rules.names import path_problems, stored_name_problems, tag_problems
from aws_access_keys.rules.pgp import PgpError, public_key
from aws_access_keys.rules.policies import PolicyError, policy_arn
from aws_access_keys.rules.problem import STACK_FILE, Problem, Spelling, as_lines, did_you_mean
from aws_access_keys.settings import AccessSettings, SettingsModel

Model = TypeVar("Model", bound=SettingsModel)

_EXPECTED = {
    "string_type": "text",
    "bool_type": "true or false",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "list_type": "a list, for example [one, two]",
}


class SettingsError(pulumi.RunError):
    """Settings that cannot be used. A RunError, so that Pulumi shows the message without a traceback."""


def refuse(problems: Sequence[Problem], spell: Spelling, component: str = "") -> None:
    """Raise a SettingsError with every problem, if there is one. component: whose arguments have them."""
    problems = list(dict.fromkeys(problems))  # one mistake in key_defaults is one problem, not one per user
    if problems:
        count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
        in_file = spell == STACK_FILE
        title = f"configuration of stack '{pulumi.get_stack()}'" if in_file else f"ProgrammaticAccess '{component}'"
        fix = f"Fix this in Pulumi.{pulumi.get_stack()}.yaml. " if in_file else ""
        raise SettingsError(
            f"The {title} has {count}:\n{as_lines(problems, spell)}\n{fix}Nothing was created or changed."
        )


def parse(model: type[Model], given: Mapping[str, Any], spell: Spelling) -> "tuple[Model | None, list[Problem]]":
    """The settings in a mapping, or the problems of their names and types."""
    try:
        parsed = model.model_validate(dict(given), by_alias=spell.camel_case, by_name=not spell.camel_case)
        return parsed, []
    except ValidationError as error:
        schema = model.model_json_schema(by_alias=spell.camel_case)
        found = error.errors()
        # A mistyped name is one mistake, though it leaves the right name missing.
        suggested = {
            (*details["loc"][:-1], near)
            for details in found
            if details["type"] == "extra_forbidden"
            for near in _known_names(schema, details["loc"][:-1])
            if did_you_mean(str(details["loc"][-1]), [near])
        }
        return None, [
            _problem(details, schema, spell)
            for details in found
            if not (details["type"] == "missing" and details["loc"] in suggested)
        ]


def _problem(details: ErrorDetails, schema: dict[str, Any], spell: Spelling) -> Problem:
    """One of pydantic's errors with its place, the value and what is expected."""
    location, kind = details["loc"], details["type"]
    path = _path(location)
    value = "(secret)" if "secret" in location else _shown(details["input"])
    context: Mapping[str, Any] = details.get("ctx", {})
    if isinstance(details["input"], pulumi.Output):
        return Problem(path, "this must be known when the program runs, so it cannot be an Output.")
    match kind:
        case "extra_forbidden":
            known = _known_names(schema, location[:-1])
            unknown = str(location[-1])
            return Problem(path, f"unknown name. Known here: {', '.join(known)}.{did_you_mean(unknown, known)}")
        case "missing":
            examples: list[Any] = _schema_at(schema, location).get("examples", [])
            example = f", for example {location[-1]}: [{', '.join(examples[0])}]" if examples else ""
            return Problem(path, f"missing. Add it{example}.")
        case "dict_type" | "model_type":
            example = spell(_schema_at(schema, location).get("example", "{name: ...}"))
            return Problem(path, f"{value} is given; a mapping is expected, for example {example}.")
        case kind if kind in _EXPECTED:
            return Problem(path, f"{value} is given; {_EXPECTED[kind]} is expected.")
        case "greater_than_equal":
            return Problem(path, f"{value} is given; the lowest allowed value is {context['ge']}.")
        case "less_than_equal":
            return Problem(path, f"{value} is given; the highest allowed value is {context['le']}.")
        case "literal_error":
            return Problem(path, f"{value} is given; {context['expected']} is expected.")
        case kind if kind.startswith("date_") or kind == "value_error":
            return Problem(path, f"{value} is given; a day such as 2026-12-01 (YYYY-MM-DD) is expected.")
        case _:
            return Problem(path, f"{value}: {details['msg']}.")


def _path(location: tuple[int | str, ...]) -> str:
    text = ""
    for part in location:
        if part != "[key]":
            text += f"[{part}]" if isinstance(part, int) else f".{part}"
    return text.removeprefix(".")


def _schema_at(schema: dict[str, Any], location: tuple[int | str, ...]) -> dict[str, Any]:
    """The part of a JSON schema that describes the value at a location."""
    node = schema
    for part in (None, *location):
        if part is not None:
            node = node.get("properties", {}).get(part) or node.get("additionalProperties") or node.get("items", {})
        named: Iterator[dict[str, Any]] = (choice for choice in [node, *node.get("anyOf", [])] if "$ref" in choice)
        if reference := next(named, None):
            node = node | schema["$defs"][reference["$ref"].rsplit("/", 1)[-1]]
    return node


def _known_names(schema: dict[str, Any], location: tuple[int | str, ...]) -> list[str]:
    return sorted(_schema_at(schema, location).get("properties", {}))


def _shown(value: object) -> str:
    """The value as the caller wrote it, shortened; nothing of it where it may hold a secret."""
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        return "a list"
    text = json.dumps(value, ensure_ascii=False, default=lambda other: type(other).__name__)
    return text if len(text) <= 60 else f"{text[:57]}..."


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
        for key, arn in group.policy_arns.items():
            yield from _policy_arn_problems(spell("groups.{}.policy_arns.{}", name, key), arn, partition)
    for name, user in settings.users.items():
        yield from _path_problems(spell("users.{}.path", name), user.path)
        yield from _tag_problems(settings, spell, name)
        yield from _key_problems(settings, spell, name, ignored_tags)
    yield from _stored_names(settings, spell)


def once_known(
    value: "pulumi.Input[str]", check: Callable[[str], Iterator[Problem]], spell: Spelling, component: str
) -> "pulumi.Input[str]":
    """The value; an Output is checked when it becomes known, and fails the run with a SettingsError."""
    if isinstance(value, str):
        return value  # was checked with all the others

    def checked(known: str) -> str:
        refuse(list(check(known)), spell, component)
        return known

    return pulumi.Output.from_input(value).apply(checked)


def _path_problems(where: str, path: "pulumi.Input[str]") -> Iterator[Problem]:
    if isinstance(path, str):
        yield from path_problems(where, path)


def _policy_arn_problems(where: str, arn: "pulumi.Input[str]", partition: str) -> Iterator[Problem]:
    if isinstance(arn, str):
        try:
            policy_arn(arn, partition)
        except PolicyError as error:
            yield Problem(where, str(error))


def _tag_problems(settings: AccessSettings, spell: Spelling, name: str) -> Iterator[Problem]:
    """Problems of a user's tags; those of a tag that the stack puts on everyone are at the stack's."""
    where, own = spell("users.{}.tags", name), settings.users[name].tags
    # A value that is not known yet takes its place in the count.
    known = {key: value if isinstance(value, str) else "" for key, value in settings.effective_tags(name).items()}
    for problem in tag_problems(where, known, bool(settings.effective_key(name).description)):
        key = problem.path.removeprefix(f"{where}.")
        inherited = key in settings.tags and key not in own
        yield Problem(f"tags.{key}", problem.message) if inherited else problem


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
    if isinstance(key.description, str) and key.description:
        place = settings.key_place(spell, user, "description")
        yield from description_problems(place, key.description, list(ignored_tags))
    adopt = spell("users.{}.key.adopt", user)
    if key.adopt:
        yield from adoption_problems(adopt, key.adopt.id, key.pgp_key is not None)
    if isinstance(key.pgp_key, str):
        try:
            public_key(pgp_text(key.pgp_key))
        except (PgpError, OSError, ValueError) as error:
            yield Problem(settings.key_place(spell, user, "pgp_key"), str(error))
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
        raise OSError(f"cannot read '{path}' in {Path.cwd()}: {error.strerror}") from None
    if b"-----BEGIN" in raw:
        return raw.decode()
    return raw.decode() if raw.isascii() else b64encode(raw).decode()

"""Pydantic's findings in the words of the stack file."""

import json
from typing import Any, get_args

from pydantic import BaseModel
from pydantic_core import ErrorDetails

from aws_access_keys.rules.problem import Problem, did_you_mean
from aws_access_keys.settings.shape import StackSettings

_EXPECTED = {
    "string_type": "text",
    "bool_type": "true or false",
    "int_type": "a whole number",
    "list_type": "a list, for example [one, two]",
    "dict_type": "a mapping, for example {name: ...}",
    "model_type": "a mapping, for example {name: ...}",
}


def finding(details: ErrorDetails) -> Problem:
    """One finding as a problem with its place, the value and what is expected."""
    location = details["loc"]
    value = "(secret)" if "secret" in location else details["input"]
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
        case "less_than_equal":
            return Problem(where, f"{_shown(value)} is given, {details.get('ctx', {})['le']} or less is expected.")
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

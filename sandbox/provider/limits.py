"""Rules for the values of inputs, as AWS states them: each says what is wrong and what the limit is."""
from __future__ import annotations

import json
import re
from typing import Any

from .schema import Rule


def text(what: str, pattern: str, longest: int, shortest: int = 1) -> Rule:
    """Text of allowed characters (``what`` names them) and length."""
    compiled = re.compile(pattern, re.ASCII)

    def rule(value: Any) -> str | None:
        if not shortest <= len(value) <= longest:
            return f"{value!r} has {len(value)} characters; {shortest} to {longest} are allowed"
        if not compiled.fullmatch(value):
            return f"{value!r} may only contain {what}"
        return None
    return rule


def one_of(*choices: str) -> Rule:
    return lambda value: None if value in choices else f"{value!r} is none of {', '.join(choices)}"


def between(low: int, high: int, *others: int) -> Rule:
    """A whole number in a range, or one of some others."""
    extra = "".join(f" or {other}" for other in others)
    return lambda value: (None if low <= value <= high or value in others
                          else f"{value} is not between {low} and {high}{extra}")


def arn(value: Any) -> str | None:
    """An Amazon Resource Name: six parts divided by colons."""
    parts = value.split(":", 5)
    if len(parts) == 6 and parts[0] == "arn" and parts[1].startswith("aws") and parts[2] and parts[5]:
        return None
    return f"{value!r} is no ARN; one looks like arn:aws:iam::aws:policy/ReadOnlyAccess"


def document(value: Any) -> str | None:
    """A policy: the JSON text of an object."""
    try:
        parsed = json.loads(value)
    except ValueError as error:
        return f"the policy is no JSON: {error}"
    return None if isinstance(parsed, dict) else "the policy is JSON, but not an object"


_IDENTITY = "letters, digits and _+=,.@-"


def iam_name(longest: int) -> Rule:
    """A name in IAM (CreateUser, CreateGroup, CreatePolicy)."""
    return text(_IDENTITY, r"[\w+=,.@-]+", longest)


def iam_path(value: Any) -> str | None:
    """/ or /.../, printable ASCII, at most 512 characters (CreateUser)."""
    if re.fullmatch(r"/|/[\x21-\x7e]{0,510}/", value):
        return None
    return f"{value!r} is no path; a path is / or /team/, printable ASCII, at most 512 characters"


def at_most(longest: int) -> Rule:
    """Any text up to a length."""
    return lambda value: None if len(value) <= longest else f"has {len(value)} characters; at most {longest} are allowed"

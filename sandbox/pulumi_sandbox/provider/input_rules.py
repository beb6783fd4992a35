"""Rules for the values of inputs: those, and only those, that the real provider checks before it asks AWS.

What it leaves to AWS (the length of a user's name, say) is left to AWS here too, so that both fail at the same moment.
"""

import base64
import binascii
import json
import re
from typing import Any

from pulumi_sandbox.provider.schema import Rule


def text(what: str, pattern: str, longest: int | None = None) -> Rule:
    """Text of allowed characters (``what`` names them), and of a length."""
    compiled = re.compile(pattern, re.ASCII)

    def rule(value: Any) -> str | None:
        if longest is not None and len(value) > longest:
            return f"{_short(value)} has {len(value)} characters; at most {longest} are allowed"
        return None if compiled.fullmatch(value) else f"{_short(value)} must be {what}"

    return rule


def at_most(longest: int) -> Rule:
    """Any text up to a length."""
    return text("text", r"(?s:.*)", longest)


def one_of(*choices: str) -> Rule:
    return lambda value: None if value in choices else f"{_short(value)} is not one of {', '.join(choices)}"


def between(low: int, high: int, *others: int) -> Rule:
    """A whole number in a range, or one of some others."""
    extra = "".join(f" or {other}" for other in others)
    return lambda value: (
        None if low <= value <= high or value in others else f"{value} is not between {low} and {high}{extra}"
    )


def arn(value: Any) -> str | None:
    """An Amazon ResourceType Name: six parts divided by colons."""
    parts = value.split(":", 5)
    if len(parts) == 6 and parts[0] == "arn" and parts[1].startswith("aws") and parts[2] and parts[5]:
        return None
    return f"{_short(value)} is not a valid ARN; one looks like arn:aws:iam::aws:policy/ReadOnlyAccess"


def members(*known: str) -> Rule:
    """Nested blocks with these members only, where they are not empty; the real provider has more."""

    def unknown(value: Any) -> set[str]:
        if isinstance(value, list):
            return set[str]().union(*map(unknown, value))
        if not isinstance(value, dict):
            return set()
        given = {name: part for name, part in value.items() if part not in (None, "", [], {}) and name != "__defaults"}
        return {name for name in given if name not in known}.union(*map(unknown, given.values()))

    return lambda value: (
        f"the emulated provider does not know {', '.join(sorted(found))} here; it knows {', '.join(known)}"
        if (found := unknown(value))
        else None
    )


def document(value: Any) -> str | None:
    """A policy: the JSON text of an object."""
    try:
        parsed = json.loads(value)
    except ValueError as error:
        return f"the policy is not valid JSON: {error}"
    return None if isinstance(parsed, dict) else "the policy is JSON, but not an object"


def base64_text(value: Any) -> str | None:
    """Bytes written in base64. The value may be a secret: it is not shown."""
    try:
        base64.b64decode(value, validate=True)
    except binascii.Error:
        return "the value must be base64"
    return None


IDENTITY_NAME = text("made of ASCII letters, digits and _+=,.@- only", r"[\w+=,.@-]+")
"""Of users and groups; AWS checks how long it may be."""


def _short(value: str) -> str:
    return repr(value if len(value) <= 40 else f"{value[:37]}...")

"""Check: a program's inputs converted, completed with defaults and a name, and judged."""

import random
from collections.abc import Set
from typing import Any

from pulumi_sandbox.provider import policy_documents
from pulumi_sandbox.provider.schema import Function, Property, ResourceType
from pulumi_sandbox.provider.values import UNKNOWN, Secret, State, has_unknown

Problems = list[tuple[str, str]]
"""(property, what is wrong with it)"""

_UNKNOWN_INPUT = (
    "the emulated provider does not know {!r} of {}; it knows {}. "
    "With the real provider (pulumi-sandbox start --real-provider) every input works"
)


def check(
    resource: ResourceType, name: str, olds: State, news: State, seed: bytes, naming: str | None
) -> tuple[State, Problems]:
    """Complete and judge a program's inputs.

    ``naming`` is what the engine's own auto-naming proposes: a name, "" where it is switched off, None where the
    provider is to choose. Filled-in inputs are listed in ``__defaults``.
    """
    given = {key: value for key, value in news.items() if value is not None and key != "__defaults"}
    known = resource.inputs()
    inputs, problems = _converted(resource.token, known, given)
    defaults: list[str] = []
    if resource.autoname and resource.autoname not in inputs and f"{resource.autoname}Prefix" not in inputs:
        chosen = _auto_name(resource, name, olds, seed, naming)
        if chosen:
            inputs[resource.autoname] = chosen
            defaults.append(resource.autoname)
        else:
            problems.append(
                (resource.autoname, "automatic naming is switched off (pulumi:autonaming) and no name is given")
            )
    for key, prop in known.items():
        if prop.default and key not in inputs and not any(rival in inputs for rival in prop.conflicts):
            inputs[key] = prop.default
            defaults.append(key)
    problems += _judged(known, given.keys() | {resource.autoname}, inputs)
    if resource.exactly_one and sum(key in inputs for key in resource.exactly_one) != 1:
        problems.append((resource.exactly_one[0], f"exactly one of {', '.join(resource.exactly_one)} must be given"))
    checked: State = {key: Secret(value) if known[key].secret else value for key, value in inputs.items()}
    return checked | {"__defaults": sorted(defaults)}, problems


def check_arguments(function: Function, news: State) -> tuple[State, Problems]:
    """The same for a function's arguments."""
    given = {key: value for key, value in news.items() if value is not None}
    arguments, problems = _converted(function.token, function.arguments, given)
    for key, prop in function.arguments.items():
        if prop.default is not None:
            arguments.setdefault(key, prop.default)
    return arguments, problems + _judged(function.arguments, given.keys(), arguments)


def _converted(token: str, known: dict[str, Property], given: State) -> tuple[State, Problems]:
    values: State = {}
    problems: Problems = []
    for key, value in given.items():
        if key not in known:
            problems.append((key, _UNKNOWN_INPUT.format(key, token, ", ".join(sorted(known)))))
            continue
        try:
            values[key] = _convert(known[key].kind, value)
        except ValueError as error:
            problems.append((key, str(error)))
    return values, problems


def _convert(kind: str, value: Any) -> Any:
    """A value in the form its kind asks for; ValueError names what was expected."""
    if has_unknown(value):
        return UNKNOWN if kind == "document" else value
    match kind:
        case "document" if isinstance(value, dict | list):
            return policy_documents.compact(value)
        case "string" | "document":
            if isinstance(value, dict | list):
                raise ValueError(f"expected text, got {type(value).__name__}")
            if isinstance(value, bool):
                return "true" if value else "false"
            return str(value)
        case "bool":
            if isinstance(value, bool):
                return value
            if value in ("true", "false"):
                return value == "true"
            raise ValueError(f"expected true or false, got {value!r}")
        case "int":
            if isinstance(value, int) and not isinstance(value, bool):
                return value
            if isinstance(value, str) and value.isdecimal():
                return int(value)
            raise ValueError(f"expected a whole number, got {value!r}")
        case "map":
            if not isinstance(value, dict):
                raise ValueError(f"expected a mapping of text to text, got {value!r}")
            return {key: _convert("string", part) for key, part in value.items() if not key.startswith("__")}
        case "set" | "list":
            if not isinstance(value, list):
                raise ValueError(f"expected a list of text, got {value!r}")
            parts = [_convert("string", part) for part in value]
            return list(dict.fromkeys(parts)) if kind == "set" else parts
        case _:
            return value


def _judged(known: dict[str, Property], answered: Set[str], inputs: State) -> Problems:
    """``answered`` are the inputs whose absence is not a problem, or is reported already."""
    problems: Problems = []
    for key, prop in known.items():
        if key not in inputs:
            if prop.required and key not in answered:
                problems.append((key, f"missing required property {key!r}"))
            continue
        for rival in prop.conflicts:
            if rival in inputs and key < rival:
                problems.append((key, f"{key!r} and {rival!r} cannot both be given"))
        problems += [(key, f"{key!r} needs {other!r} beside it") for other in prop.needs if other not in inputs]
        if prop.rule is not None and not has_unknown(inputs[key]) and (complaint := prop.rule(inputs[key])):
            problems.append((key, complaint))
    return problems


def _auto_name(resource: ResourceType, name: str, olds: State, seed: bytes, naming: str | None) -> str:
    """The name of last time if the provider chose it then, else a new one that is the same for the same seed."""
    before = olds.get(resource.autoname)
    if before is not None and resource.autoname in olds.get("__defaults", [resource.autoname]):
        return before
    if naming is not None:
        return naming
    base = name.lower() if resource.autoname_lower else name
    digits = f"{random.Random(seed or None).getrandbits(28):07x}"
    return f"{base[: resource.autoname_limit - 8]}-{digits}"

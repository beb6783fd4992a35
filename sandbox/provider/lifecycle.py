"""What every resource goes through - check, diff, create, read, update, delete - derived from its description."""
from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from . import documents
from .aws import Aws, is_gone
from .schema import Function, Property, Resource
from .values import UNKNOWN, Refusal, Secret, State, has_unknown

Problems = list[tuple[str, str]]
"""(property, what is wrong with it)"""


class HalfDone(Exception):
    """A resource exists but is not as wanted: what went wrong, and the state that is true now."""

    def __init__(self, cause: Exception, row: Resource, state: State) -> None:
        super().__init__(str(cause))
        self.cause, self.state, self.outputs = cause, state, outputs(row, state)


# ---- check

def check(row: Resource, name: str, olds: State, news: State, seed: bytes, naming: str | None) -> tuple[State, Problems]:
    """Complete and judge a program's inputs.

    ``naming`` is what the engine's own auto-naming proposes: a name, "" where it is switched off, None where the
    provider is to choose. Filled-in inputs are listed in ``__defaults``.
    """
    given = {key: value for key, value in news.items() if value is not None and key != "__defaults"}
    known = row.inputs()
    inputs, problems = _converted(row.token, known, given)
    defaults: list[str] = []
    if row.autoname and row.autoname not in inputs and f"{row.autoname}Prefix" not in inputs:
        chosen = _auto_name(row, name, olds, seed, naming)
        if chosen:
            inputs[row.autoname] = chosen
            defaults.append(row.autoname)
        else:
            problems.append((row.autoname, "automatic naming is switched off (pulumi:autonaming) and no name is given"))
    for key, prop in known.items():
        if prop.default and key not in inputs and not any(rival in inputs for rival in prop.conflicts):
            inputs[key] = prop.default
            defaults.append(key)
    problems += _judged(known, inputs)
    checked: State = {key: Secret(value) if known[key].secret else value for key, value in inputs.items()}
    return checked | {"__defaults": sorted(defaults)}, problems


def check_arguments(function: Function, news: State) -> tuple[State, Problems]:
    """The same for a function's arguments."""
    given = {key: value for key, value in news.items() if value is not None}
    arguments, problems = _converted(function.token, function.arguments, given)
    for key, prop in function.arguments.items():
        if prop.default is not None:
            arguments.setdefault(key, prop.default)
    return arguments, problems + _judged(function.arguments, arguments)


def _converted(token: str, known: dict[str, Property], given: State) -> tuple[State, Problems]:
    values: State = {}
    problems: Problems = []
    for key, value in given.items():
        if key not in known:
            problems.append((key, (
                f"the sandbox's aws provider does not know {key!r} of {token}; it knows {', '.join(sorted(known))}. "
                "With the real plugin (see the README's sandbox section) every input works")))
            continue
        try:
            values[key] = _convert(known[key].kind, value)
        except ValueError as error:
            problems.append((key, str(error)))
    return values, problems


def _convert(kind: str, value: Any) -> Any:
    """A value in the form its kind asks for; ValueError says what was expected."""
    if has_unknown(value):
        return UNKNOWN if kind == "document" else value
    match kind:
        case "document" if isinstance(value, dict | list):
            return json.dumps(value)
        case "string" | "document":
            if isinstance(value, dict | list):
                raise ValueError(f"expected text, got {type(value).__name__}")
            if isinstance(value, bool):
                return "true" if value else "false"
            return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
        case "bool":
            if isinstance(value, bool):
                return value
            if value in ("true", "false"):
                return value == "true"
            raise ValueError(f"expected true or false, got {value!r}")
        case "int":
            try:
                number = float(value)
            except (TypeError, ValueError):
                raise ValueError(f"expected a whole number, got {value!r}") from None
            if not number.is_integer():
                raise ValueError(f"expected a whole number, got {value!r}")
            return int(number)
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


def _judged(known: dict[str, Property], inputs: State) -> Problems:
    problems: Problems = []
    for key, prop in known.items():
        if key not in inputs:
            if prop.required:
                problems.append((key, f"missing required property {key!r}"))
            continue
        for rival in prop.conflicts:
            if rival in inputs and key < rival:
                problems.append((key, f"{key!r} and {rival!r} cannot both be given"))
        if prop.rule is not None and not has_unknown(inputs[key]) and (complaint := prop.rule(inputs[key])):
            problems.append((key, complaint))
    return problems


def _auto_name(row: Resource, name: str, olds: State, seed: bytes, naming: str | None) -> str:
    """The name of last time if the provider chose it then, else a new one that is the same for the same seed."""
    before = olds.get(row.autoname)
    if before is not None and row.autoname in olds.get("__defaults", [row.autoname]):
        return before
    if naming is not None:
        return naming
    base = name.lower() if row.autoname_lower else name
    digits = f"{random.Random(seed or None).getrandbits(28):07x}"
    return f"{base[:row.autoname_limit - 8]}-{digits}"


# ---- plan

def planned(row: Resource, aws: Aws, inputs: State, prior: State | None = None, ignored: list[str] | None = None) -> State:
    """The state these inputs lead to, ``UNKNOWN`` where only AWS can tell. ``ignored`` are ignoreChanges paths."""
    state: State = {"id": UNKNOWN} if prior is None else dict(prior)
    for key, prop in row.properties.items():
        if not prop.is_output and inputs.get(key) is not None:
            state[key] = inputs[key]
        elif prop.default is not None:
            state[key] = prop.default
        elif not prop.computed:
            state[key] = None
        elif prior is None:
            state[key] = UNKNOWN
    if prior is not None:
        _ignore(ignored or [], prior, state)
    if "tagsAll" in row.properties:
        tags_all = UNKNOWN if has_unknown(state["tags"]) else aws.tagging.all(state["tags"])
        # As the real provider plans it: without any tag, tagsAll is left for AWS to tell.
        state["tagsAll"] = UNKNOWN if prior is None and tags_all == {} else tags_all
    if prior is not None:
        for key, prop in row.properties.items():
            if any(not _same(row.properties[other], prior.get(other), state.get(other)) for other in prop.follows):
                state[key] = UNKNOWN
    return state


def _ignore(paths: list[str], prior: State, state: State) -> None:
    """Take back the changes at these property paths (``tags``, ``tags.owner``, ``tags["a b"]``)."""
    for path in paths:
        top, _, rest = path.replace("[", ".", 1).partition(".")
        if not rest or not isinstance(state.get(top), dict):
            state[top] = prior.get(top)
            continue
        inner = rest.removesuffix("]").strip('"')
        parts = {key: value for key, value in state[top].items() if key != inner}
        before = (prior.get(top) or {}).get(inner)
        state[top] = parts if before is None else parts | {inner: before}


@dataclass(frozen=True)
class Diff:
    """``changes`` is property → ADD, UPDATE or DELETE."""

    changes: dict[str, str]
    replaces: list[str]
    delete_first: bool


def diff(row: Resource, aws: Aws, prior: State, inputs: State, ignored: list[str]) -> Diff:
    """What the new inputs change of the last state (not of the last inputs: so drift that a refresh saw counts)."""
    plan = planned(row, aws, inputs, prior, ignored)
    changes = {key: _change(prior.get(key), plan.get(key)) for key, prop in row.properties.items()
               if not _same(prop, prior.get(key), plan.get(key))}
    shown = {key: kind for key, kind in changes.items() if not row.properties[key].is_output} or changes
    replaces = [key for key in changes if row.properties[key].replaces]
    # A name of the program's own choice cannot exist twice.
    named = row.autoname in inputs and row.autoname not in inputs.get("__defaults", [row.autoname])
    return Diff(shown, replaces, bool(replaces) and (row.delete_first or named))


def _change(old: Any, new: Any) -> str:
    return "ADD" if old is None else "DELETE" if new is None else "UPDATE"


def _same(prop: Property, old: Any, new: Any) -> bool:
    """Equality as AWS sees it: absent is empty, sets have no order, documents no layout."""
    if has_unknown(old) or has_unknown(new):
        return old is new
    alike = prop.alike or _ALIKE.get(prop.kind, lambda value: value or None)
    return alike(old) == alike(new)


_ALIKE: dict[str, Callable[[Any], Any]] = {
    "bool": bool,
    "int": lambda value: value,
    "set": lambda value: sorted(value or []),
    "document": documents.meaning,
}


# ---- the steps that change something

def create(row: Resource, aws: Aws, inputs: State) -> State:
    """Make the resource and return its state."""
    state = {key: value for key, value in planned(row, aws, inputs).items() if value is not UNKNOWN}
    aws = aws.in_region(state.get("region"))
    want = dict(state)
    try:
        row.create(aws, want, state)
        return _completed(row, aws, state, want)
    except (ClientError, BotoCoreError, Refusal) as error:
        if "id" not in state:
            raise
        raise HalfDone(error, row, _truth(row, aws, state)) from error


def update(row: Resource, aws: Aws, prior: State, wanted: State) -> State:
    """Change the resource in place and return its new state."""
    want = {key: value for key, value in wanted.items() if value is not UNKNOWN}
    aws = aws.in_region(want.get("region"))
    state = dict(prior)
    try:
        row.update(aws, want, state)
        return _completed(row, aws, want | {"id": state["id"]}, want)
    except (ClientError, BotoCoreError, Refusal) as error:
        raise HalfDone(error, row, _truth(row, aws, state)) from error


def delete(row: Resource, aws: Aws, state: State) -> None:
    """Remove the resource; one that is gone already is no error."""
    try:
        row.delete(aws.in_region(state.get("region")), state)
    except ClientError as error:
        if not is_gone(error):
            raise


def _completed(row: Resource, aws: Aws, state: State, want: State) -> State:
    fresh = _read(row, aws, state)
    if fresh is None:
        raise Refusal(f"{row.token} {state['id']} was there a moment ago and AWS no longer finds it")
    state = state | fresh
    # An empty collection that nobody asked for is no collection.
    return {key: None if value in ({}, []) and key in want and not want[key] else value for key, value in state.items()}


def _truth(row: Resource, aws: Aws, state: State) -> State:
    """What is true after a failure; if AWS cannot be asked, the state as far as the steps got."""
    try:
        return state | (_read(row, aws, state) or {})
    except (ClientError, BotoCoreError):
        return state


# ---- read

def refresh(row: Resource, aws: Aws, state: State) -> State | None:
    """The state as AWS has it now, or None if the resource is gone. What AWS never tells (secrets) stays."""
    fresh = _read(row, aws.in_region(state.get("region")), state)
    return None if fresh is None else state | fresh


def adopt(row: Resource, aws: Aws, import_id: str) -> State | None:
    """The state of a resource that this stack does not have yet, for import and ``.get``."""
    try:
        state = {"id": import_id} | row.locate(aws, import_id)
    except ClientError as error:
        if is_gone(error):
            return None
        raise
    return refresh(row, aws, state)


def _read(row: Resource, aws: Aws, state: State) -> State | None:
    try:
        fresh = row.read(aws, state)
    except ClientError as error:
        if is_gone(error):
            return None
        raise
    if fresh is not None and row.regional:
        fresh["region"] = aws.region
    return fresh


def refreshed_inputs(row: Resource, inputs: State, state: State) -> State:
    """The old inputs with what AWS says now, in the parts they spoke of; ``__defaults`` is dropped, as in the bridge."""
    known = row.inputs()
    found = {key: _part(old, state[key]) for key, old in inputs.items() if key in known and state.get(key) is not None}
    return _marked(row, found)


def _part(old: Any, new: Any) -> Any:
    if isinstance(old, list) and isinstance(new, list):
        return [_part(before, now) for before, now in zip(old, new, strict=False)]
    if isinstance(old, dict) and isinstance(new, dict):
        return {key: _part(value, new[key]) for key, value in old.items() if key in new}
    return new


def imported_inputs(row: Resource, state: State) -> State:
    """What a program would have to say to get this state: no empty values and no defaults."""
    empty: list[Any] = [None, "", False, 0, [], {}]
    keep = {key: state[key] for key, prop in row.inputs().items()
            if key in state and (prop.required or state[key] not in [*empty, prop.default])}
    return _marked(row, keep) | {"__defaults": []}


def outputs(row: Resource, state: State) -> State:
    """A state as the engine keeps it: nothing null, secrets marked."""
    return _marked(row, {key: value for key, value in state.items() if value is not None})


def _marked(row: Resource, values: State) -> State:
    secret: Callable[[str], bool] = lambda key: key in row.properties and row.properties[key].secret
    return {key: Secret(value) if secret(key) else value for key, value in values.items()}

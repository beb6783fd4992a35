"""Plan: the state that inputs lead to, and what differs from the last one."""
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from . import documents
from .aws import Aws
from .schema import Property, Resource
from .values import UNKNOWN, State, has_unknown


def planned(
    row: Resource, aws: Aws, inputs: State, prior: State | None = None, ignored: list[str] | None = None
) -> State:
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

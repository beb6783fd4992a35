"""Plan: the state that inputs lead to, and what differs from the last one."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pulumi_sandbox.provider import policy_documents
from pulumi_sandbox.provider.clients import Aws
from pulumi_sandbox.provider.schema import Property, ResourceType
from pulumi_sandbox.provider.values import UNKNOWN, State, has_unknown


def new(resource: ResourceType, aws: Aws, inputs: State) -> State:
    """The state of a resource made with these inputs, ``UNKNOWN`` where only AWS knows the value."""
    state = {"id": UNKNOWN} | {key: _desired(key, prop, inputs, UNKNOWN) for key, prop in resource.properties.items()}
    if resource.regional:
        state["region"] = inputs.get("region") or aws.region
    if "tagsAll" in state:
        tags_all = _tags_all(aws, state)
        # As the real provider plans it: without any tag, tagsAll is known only after AWS responds.
        state["tagsAll"] = UNKNOWN if tags_all == {} else tags_all
    return state


def changed(resource: ResourceType, aws: Aws, prior: State, inputs: State, ignored: list[str]) -> State:
    """The state that an update with these inputs leads to. ``ignored`` are the paths of ignoreChanges."""
    state = prior | {key: _desired(key, prop, inputs, prior.get(key)) for key, prop in resource.properties.items()}
    _ignore(ignored, prior, state)
    if "tagsAll" in state:
        state["tagsAll"] = _tags_all(aws, state)
    for key, prop in resource.properties.items():
        if any(
            not _same(resource.properties[other], prior.get(other), state.get(other)) for other in prop.recomputed_with
        ):
            state[key] = UNKNOWN
        elif _same(prop, prior.get(key), state[key]):
            state[key] = prior.get(key)  # the same in another form is not a change
        elif prop.kind == "map" and state[key] is None:
            state[key] = {}  # as the real provider has it: emptied, not absent
    if "tagsAll" in state and state["tagsAll"] is None:  # in the state of a create that failed half-way
        state["tagsAll"] = {}
    return state


def _desired(key: str, prop: Property, inputs: State, otherwise: Any) -> Any:
    """The desired value of a property; ``otherwise`` where the provider or AWS decides."""
    value = None if prop.is_output else inputs.get(key)
    if value is None or (prop.kind == "blocks" and not value):  # to Terraform, no block is no value
        return otherwise if prop.computed else prop.default
    if has_unknown(value):
        return value
    normalize = prop.normalize or (sorted if prop.kind == "set" else None)
    return normalize(value) if normalize else value


def _tags_all(aws: Aws, state: State) -> Any:
    return UNKNOWN if has_unknown(state["tags"]) else aws.tagging.all(state["tags"])


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


def diff(resource: ResourceType, aws: Aws, prior: State, inputs: State, ignored: list[str]) -> Diff:
    """What the new inputs change of the last state (not of the last inputs: so drift that a refresh saw counts)."""
    plan = changed(resource, aws, prior, inputs, ignored)
    changes = {
        key: _change(prior.get(key), plan.get(key))
        for key, prop in resource.properties.items()
        if not _same(prop, prior.get(key), plan.get(key))
    }
    shown = {key: kind for key, kind in changes.items() if not resource.properties[key].is_output} or changes
    replaces = [key for key in changes if resource.properties[key].replaces]
    # A name of the program's own choice cannot exist twice.
    named = resource.autoname in inputs and resource.autoname not in inputs.get("__defaults", [resource.autoname])
    return Diff(shown, replaces, bool(replaces) and (resource.delete_first or named))


def _change(old: Any, new: Any) -> str:
    return "ADD" if old is None else "DELETE" if new is None else "UPDATE"


def _same(prop: Property, old: Any, new: Any) -> bool:
    """Equality as AWS sees it: absent is empty, sets have no order, documents no layout."""
    if has_unknown(old) or has_unknown(new):
        return old is new
    normalize_for_diff = prop.normalize_for_diff or _ALIKE.get(prop.kind, lambda value: value or None)
    return normalize_for_diff(old) == normalize_for_diff(new)


def _not_empty(value: Any) -> Any:
    """A block without its empty parts, which the real provider fills in."""
    if isinstance(value, dict):
        parts = {key: _not_empty(part) for key, part in value.items() if key != "__defaults"}
        return {key: part for key, part in parts.items() if part} or None
    return [_not_empty(part) for part in value] if isinstance(value, list) and value else value or None


_ALIKE: dict[str, Callable[[Any], Any]] = {
    "bool": bool,
    "set": lambda value: sorted(value or []),
    "document": policy_documents.meaning,
    "blocks": _not_empty,
}

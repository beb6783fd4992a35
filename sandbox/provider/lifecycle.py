"""What every resource goes through - create, read, update, delete - derived from its description."""

from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from . import plan
from .aws import Aws, is_gone
from .schema import Resource
from .values import UNKNOWN, ProviderError, Secret, State


class HalfDoneError(Exception):
    """A resource exists but is not as wanted: what went wrong, and the state that is true now."""

    def __init__(self, cause: Exception, row: Resource, state: State) -> None:
        super().__init__(str(cause))
        self.cause, self.state, self.outputs = cause, state, outputs(row, state)


# ---- the steps that change something


def create(row: Resource, aws: Aws, inputs: State) -> State:
    """Make the resource and return its state."""
    state = {key: value for key, value in plan.new(row, aws, inputs).items() if value is not UNKNOWN}
    aws = aws.in_region(state.get("region"))
    want = dict(state)
    try:
        row.create(aws, want, state)
        return _completed(row, aws, state, want)
    except (ClientError, BotoCoreError, ProviderError) as error:
        if "id" not in state:
            raise
        raise HalfDoneError(error, row, _truth(row, aws, state)) from error


def update(row: Resource, aws: Aws, prior: State, wanted: State) -> State:
    """Change the resource in place and return its new state."""
    want = {key: value for key, value in wanted.items() if value is not UNKNOWN}
    aws = aws.in_region(want.get("region"))
    state = dict(prior)
    try:
        row.update(aws, want, state)
        return _completed(row, aws, want | {"id": state["id"]}, want)
    except (ClientError, BotoCoreError, ProviderError) as error:
        raise HalfDoneError(error, row, _truth(row, aws, state)) from error


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
        raise ProviderError(f"{row.token} {state['id']} was there a moment ago and AWS no longer finds it")
    state = state | fresh
    # An empty collection that nobody asked for is no collection.
    return {key: None if value in ({}, []) and want.get(key, value) is None else value for key, value in state.items()}


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
    """The old inputs with AWS's present values, in the parts they spoke of; ``__defaults`` goes, as in the bridge."""
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
    keep = {
        key: state[key]
        for key, prop in row.inputs().items()
        if key in state and (prop.required or state[key] not in [*empty, prop.default])
    }
    return _marked(row, keep) | {"__defaults": []}


def outputs(row: Resource, state: State) -> State:
    """A state as the engine keeps it: nothing null, secrets marked."""
    return _marked(row, {key: value for key, value in state.items() if value is not None})


def _marked(row: Resource, values: State) -> State:
    secrets = {key for key, prop in row.properties.items() if prop.secret}
    return {key: Secret(value) if key in secrets else value for key, value in values.items()}

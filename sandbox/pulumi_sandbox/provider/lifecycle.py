"""What every resource goes through - create, read, update, delete - derived from its description."""

import time
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from pulumi_sandbox.provider import plan
from pulumi_sandbox.provider.clients import Aws, is_gone
from pulumi_sandbox.provider.schema import ResourceType
from pulumi_sandbox.provider.values import UNKNOWN, ProviderError, Secret, State

_PROPAGATION = 120  # seconds for which the real provider looks for what it has just made


class PartialFailureError(Exception):
    """A resource exists but is not as desired: what went wrong, and the state that is true now."""

    def __init__(self, cause: Exception, resource: ResourceType, state: State) -> None:
        super().__init__(str(cause))
        self.cause, self.state, self.outputs = cause, state, outputs(resource, state)


# ---- the steps that change something


def create(resource: ResourceType, aws: Aws, inputs: State) -> State:
    """Make the resource and return its state."""
    state = {key: value for key, value in plan.new(resource, aws, inputs).items() if value is not UNKNOWN}
    aws = aws.in_region(state.get("region"))
    desired = dict(state)
    try:
        fresh = resource.create(aws, desired, state) or _found(resource, aws, state, wait=_PROPAGATION)
        return _completed(state | fresh, desired)
    except (ClientError, BotoCoreError, ProviderError) as error:
        if "id" not in state:
            raise
        raise PartialFailureError(error, resource, _actual_state(resource, aws, state)) from error


def update(resource: ResourceType, aws: Aws, prior: State, planned: State) -> State:
    """Change the resource in place and return its new state."""
    desired = {key: value for key, value in planned.items() if value is not UNKNOWN}
    aws = aws.in_region(desired.get("region"))
    state = dict(prior)
    try:
        fresh = resource.update(aws, desired, state)
        now = desired | {"id": state["id"]}
        return _completed(now | (fresh or _found(resource, aws, now)), desired)
    except (ClientError, BotoCoreError, ProviderError) as error:
        raise PartialFailureError(error, resource, _actual_state(resource, aws, state)) from error


def delete(resource: ResourceType, aws: Aws, state: State) -> None:
    """Remove the resource; one that does not exist any more is not an error."""
    try:
        resource.delete(aws.in_region(state.get("region")), state)
    except ClientError as error:
        if not is_gone(error):
            raise


def _found(resource: ResourceType, aws: Aws, state: State, wait: float = 0) -> State:
    """What AWS has. `wait`: seconds in which something new may not be found yet."""
    deadline = time.monotonic() + wait
    while (fresh := _read(resource, aws, state)) is None and time.monotonic() < deadline:
        time.sleep(0.5)
    if fresh is None:
        raise ProviderError(f"{resource.token} {state['id']} was there a moment ago and AWS no longer finds it")
    return fresh


def _completed(state: State, desired: State) -> State:
    """An empty collection that nobody asked for counts as absent."""
    return {
        key: None if value in ({}, []) and desired.get(key, value) is None else value for key, value in state.items()
    }


def _actual_state(resource: ResourceType, aws: Aws, state: State) -> State:
    """What is true after a failure; if AWS cannot be asked, the state as far as the steps got."""
    try:
        return state | (_read(resource, aws, state) or {})
    except (ClientError, BotoCoreError):
        return state


# ---- read


def refresh(resource: ResourceType, aws: Aws, state: State) -> State | None:
    """The state as AWS has it now, or None if the resource is gone. What AWS never shows (secrets) stays."""
    fresh = _read(resource, aws.in_region(state.get("region")), state)
    return None if fresh is None else state | fresh


def adopt(resource: ResourceType, aws: Aws, import_id: str) -> State | None:
    """The state of a resource that this stack does not have yet, for import and ``.get``."""
    try:
        state = {"id": import_id} | resource.locate(aws, import_id)
    except ClientError as error:
        if is_gone(error):
            return None
        raise
    return refresh(resource, aws, state)


def _read(resource: ResourceType, aws: Aws, state: State) -> State | None:
    try:
        fresh = resource.read(aws, state)
    except ClientError as error:
        if is_gone(error):
            return None
        raise
    if fresh is not None and resource.regional:
        fresh["region"] = aws.region
    return fresh


def refreshed_inputs(resource: ResourceType, inputs: State, state: State) -> State:
    """The old inputs with AWS's present values, in the parts they spoke of; ``__defaults`` goes, as in the bridge."""
    known = resource.inputs()
    found = {key: _part(old, state[key]) for key, old in inputs.items() if key in known and state.get(key) is not None}
    return _marked(resource, found)


def _part(old: Any, new: Any) -> Any:
    if isinstance(old, list) and isinstance(new, list):
        return [_part(before, now) for before, now in zip(old, new, strict=False)]
    if isinstance(old, dict) and isinstance(new, dict):
        return {key: _part(value, new[key]) for key, value in old.items() if key in new}
    return new


def imported_inputs(resource: ResourceType, state: State) -> State:
    """What a program would have to say to get this state: no empty values and no defaults."""
    empty: list[Any] = [None, "", False, 0, [], {}]
    keep = {
        key: state[key]
        for key, prop in resource.inputs().items()
        if key in state and (prop.required or state[key] not in [*empty, prop.default])
    }
    return _marked(resource, keep) | {"__defaults": []}


def outputs(resource: ResourceType, state: State) -> State:
    """A state as the engine keeps it: nothing null, secrets marked."""
    return _marked(resource, {key: value for key, value in state.items() if value is not None})


def _marked(resource: ResourceType, values: State) -> State:
    secrets = {key for key, prop in resource.properties.items() if prop.secret}
    return {key: Secret(value) if key in secrets else value for key, value in values.items()}

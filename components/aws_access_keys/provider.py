"""The component as a Pulumi package, for programs in YAML, TypeScript and every other language of Pulumi.

It adds three things to the SDK's own host (`pulumi.provider.experimental.component_provider_host`): the component gets
the arguments as they were given, where the SDK would drop unknown ones and what is null; a mistake of the user is shown
without a traceback; and what was skipped makes the update fail, once everything else of the component is done.
"""

import importlib.metadata
import json
import sys
from functools import cache
from typing import Any, cast

import pulumi
from pulumi.errors import InputPropertiesError
from pulumi.provider import ConstructResult, server
from pulumi.provider.experimental.component import ComponentProvider
from pulumi.runtime.stack import wait_for_rpcs

from aws_access_keys.programmatic_access import ProgrammaticAccess
from aws_access_keys.rules.problem import OTHER_LANGUAGES
from aws_access_keys.run import skipped_message

PACKAGE = "aws-access-keys"
_NULL = "\0null"
"""Stands for null until the SDK has read the arguments."""


class AccessKeysProvider(ComponentProvider):
    """Serves `ProgrammaticAccess`."""

    def __init__(self) -> None:
        super().__init__([ProgrammaticAccess], PACKAGE, version=importlib.metadata.version(PACKAGE))
        self._component = self._component_defs[ProgrammaticAccess.__name__]

    def construct(
        self, name: str, resource_type: str, inputs: pulumi.Inputs, options: pulumi.ResourceOptions | None = None
    ) -> ConstructResult:
        """Create the component. Raises InputPropertiesError, which the engine shows without a traceback."""
        self.validate_resource_type(PACKAGE, resource_type)
        try:
            made = ProgrammaticAccess(name, _with_nulls(inputs), options, spell=OTHER_LANGUAGES)
        except pulumi.RunError as error:
            raise _for_users(error) from None
        state = self.get_state(made, self._component)
        return ConstructResult(self._finished(name, made, state), state)

    async def _finished(self, name: str, made: ProgrammaticAccess, state: pulumi.Inputs) -> str:
        """The component's URN, once all of the component is done and the engine knows what was skipped."""
        try:
            for value in state.values():
                await pulumi.Output.from_input(value).future()
            await made.delivered.future()
            if made.notices:
                await made.notices.future()
            await wait_for_rpcs(await_all_outstanding_tasks=False)
        except pulumi.RunError as error:
            raise _for_users(error) from None
        if made.skipped and not pulumi.runtime.is_dry_run():
            waits = "Deletions were not made either: they wait for an update that skips nothing."
            if made.outputs_stay:
                waits += " So does the deactivation of previous keys, which the stack's outputs may still have."
            _fail(name, made, f"{skipped_message(made.skipped, OTHER_LANGUAGES)}\n{waits}")
        urn = await made.urn.future()
        assert urn
        return urn


class _Servicer(server.ProviderServicer):
    """What the engine calls."""

    async def Construct(self, request: Any, context: Any) -> Any:  # noqa: N802
        for argument in request.inputs.fields.values():
            _mark_nulls(argument)
        return await super().Construct(request, context)


def _mark_nulls(value: Any) -> None:
    """Replace what is null below an argument, a protobuf. An argument that is null was not given."""
    kind = value.WhichOneof("kind")
    if kind == "struct_value":
        below = value.struct_value.fields.values()
    else:
        below = value.list_value.values if kind == "list_value" else ()
    for one in below:
        if one.WhichOneof("kind") == "null_value":
            one.string_value = _NULL
        else:
            _mark_nulls(one)


def _with_nulls(value: Any) -> Any:
    """The arguments with null where it was."""
    if isinstance(value, pulumi.Output):
        return cast("pulumi.Output[Any]", value).apply(_with_nulls)
    if isinstance(value, dict):
        return {name: _with_nulls(found) for name, found in cast("dict[str, Any]", value).items()}
    if isinstance(value, list):
        return [_with_nulls(found) for found in cast("list[Any]", value)]
    return None if value == _NULL else value


def _for_users(error: Exception) -> InputPropertiesError:
    return InputPropertiesError(str(error), [])  # the SDK cannot do without the list


def _fail(name: str, made: pulumi.Resource, message: str) -> None:
    """Make the update fail for what was skipped, by a hook on a resource, which is never created.

    If the engine's call for the component failed instead, not even --continue-on-error would bring the update to its
    deletions and to the outputs of the stack.
    """

    def refuse(_args: pulumi.ResourceHookArgs) -> None:
        raise pulumi.RunError(message)

    hooks = pulumi.ResourceHookBinding(before_create=[pulumi.ResourceHook(f"{name}/skipped", refuse)])
    pulumi.Stash(f"{name}/skipped", input=message, opts=pulumi.ResourceOptions(parent=made, hooks=hooks))


def schema() -> str:
    """The package's schema as JSON, from which Pulumi generates SDKs for other languages."""
    return json.dumps(json.loads(AccessKeysProvider().schema or ""), indent=2, sort_keys=True)


def main() -> None:
    """Serve the package to the engine, whose address is the first argument."""
    server.ProviderServicer = _Servicer  # main() takes none
    # One object for each provider of the program: by it, components of one account are recognized (Run.claim).
    name = "_create_provider_resource"
    if create := getattr(server, name, None):
        setattr(server, name, cache(create))
    server.main(AccessKeysProvider(), sys.argv[1:])

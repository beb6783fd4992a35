"""The component as a Pulumi package, for programs in YAML, TypeScript and every other language of Pulumi.

It adds four things to the SDK's own host (`pulumi.provider.experimental.component_provider_host`): whole numbers, which
arrive as floats, become integers again; args that the schema does not have are handed on, so that the component refuses
them; a mistake of the user is shown without a traceback; and what the component refused makes the update fail, once all
else of it is done.
"""

import importlib.metadata
import json
import re
import sys
from collections.abc import Mapping
from datetime import date
from typing import Any, cast

import pulumi
from pulumi.errors import InputPropertiesError
from pulumi.provider import ConstructResult
from pulumi.provider import main as serve
from pulumi.provider.experimental.analyzer import PropertyDefinition
from pulumi.provider.experimental.component import ComponentProvider
from pulumi.runtime.stack import wait_for_rpcs

from aws_access_keys.issued import issued_keys
from aws_access_keys.programmatic_access import ProgrammaticAccess
from aws_access_keys.rules.problem import as_lines

PACKAGE = "aws-access-keys"


class AccessKeysProvider(ComponentProvider):
    """Serves `ProgrammaticAccess`."""

    def __init__(self) -> None:
        super().__init__([ProgrammaticAccess], PACKAGE, version=importlib.metadata.version(PACKAGE))
        self._component = self._component_defs[ProgrammaticAccess.__name__]
        names = [self._component.inputs_mapping, *(known.properties_mapping for known in self._type_defs.values())]
        self._schema_names = {python: schema for each in names for schema, python in each.items() if python != schema}

    def construct(
        self, name: str, resource_type: str, inputs: pulumi.Inputs, options: pulumi.ResourceOptions | None = None
    ) -> ConstructResult:
        """Make the component. Raises InputPropertiesError, which the engine shows without a traceback."""
        self.validate_resource_type(PACKAGE, resource_type)
        try:
            args: Any = {"issued": issued_keys(), "today": date.today().isoformat(), **self.args(inputs)}
            made = ProgrammaticAccess(name, args, options)
        except (pulumi.RunError, ValueError) as error:
            raise self._for_users(error) from None
        state = self.get_state(made, self._component)
        return ConstructResult(self._finished(name, made, state), state)

    def args(self, inputs: pulumi.Inputs) -> dict[str, Any]:
        """The component's args from what a program in another language gave. Raises RunError for a fraction."""
        return self._renamed(inputs, self._component.inputs, self._component.inputs_mapping)

    def _renamed(
        self,
        given: Mapping[str, Any],
        properties: Mapping[str, PropertyDefinition],
        python_names: Mapping[str, str],
        path: str = "",
    ) -> dict[str, Any]:
        """Args under their names in Python. One that the schema does not have keeps its name."""
        return {
            python_names.get(key, key): self._arg(value, properties.get(key), f"{path}.{key}" if path else key)
            for key, value in given.items()
        }

    def _arg(self, value: Any, shape: PropertyDefinition | None, path: str) -> Any:
        """One value as the component takes it. shape: what the schema says of it, None where it says nothing."""
        if isinstance(value, pulumi.Output):
            return cast("pulumi.Output[Any]", value).apply(lambda known: self._arg(known, shape, path))
        if isinstance(value, float):
            if not value.is_integer():
                raise pulumi.RunError(f"{path}: {value} is not a whole number.")
            return int(value)
        if isinstance(value, dict) and shape:
            inner = cast("dict[str, Any]", value)
            if known := self.get_type_definition(shape) if shape.ref else None:
                return self._renamed(inner, known.properties, known.properties_mapping, path)
            return {key: self._arg(each, shape.additional_properties, f"{path}.{key}") for key, each in inner.items()}
        if isinstance(value, list) and shape:
            items = enumerate(cast("list[Any]", value))
            return [self._arg(each, shape.items, f"{path}[{index}]") for index, each in items]
        return cast("Any", value)

    async def _finished(self, name: str, made: ProgrammaticAccess, state: pulumi.Inputs) -> str:
        """The component's URN, once all of the component is done and the engine knows what was refused."""
        try:
            for value in state.values():
                await pulumi.Output.from_input(value).future()
            await wait_for_rpcs(await_all_outstanding_tasks=False)
        except pulumi.RunError as error:
            raise self._for_users(error) from None
        if made.refused:
            _fail(name, made, self._in_schema_names(as_lines(made.refused)))
        urn = await made.urn.future()
        assert urn
        return urn

    def _for_users(self, error: Exception) -> InputPropertiesError:
        return InputPropertiesError(self._in_schema_names(str(error)), [])  # the SDK cannot do without the list

    def _in_schema_names(self, text: str) -> str:
        """A message that names args as programs in other languages write them: `pgpKey`, not `pgp_key`."""
        return re.sub(r"\b[a-z]+(_[a-z]+)+\b", lambda word: self._schema_names.get(word[0], word[0]), text)


def _fail(name: str, made: pulumi.Resource, refused: str) -> None:
    """Make the update fail for what was refused; a preview only warns.

    By a hook on a resource, which is never made. If the engine's call for the component failed instead, not even
    --continue-on-error would bring the update to its deletions and to the outputs of the stack.
    """
    if pulumi.runtime.is_dry_run():
        pulumi.log.warn(f"`pulumi up` will skip this, apply everything else of {name}, and fail:\n{refused}")
        return

    def refuse(_args: pulumi.ResourceHookArgs) -> None:
        raise pulumi.RunError(f"skipped, while everything else of {name} was applied:\n{refused}")

    hooks = pulumi.ResourceHookBinding(before_create=[pulumi.ResourceHook(f"{name}/refused", refuse)])
    pulumi.Stash(f"{name}/refused", input=refused, opts=pulumi.ResourceOptions(parent=made, hooks=hooks))


def schema() -> str:
    """The package's schema as JSON, from which Pulumi generates SDKs for other languages."""
    return json.dumps(json.loads(AccessKeysProvider().schema or ""), indent=2, sort_keys=True)


def main() -> None:
    """Serve the package to the engine, whose address is the first argument."""
    serve(AccessKeysProvider(), sys.argv[1:])

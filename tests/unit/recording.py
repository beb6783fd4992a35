"""Run a Pulumi program against mocks that record what it registers, as the engine would see it."""

import asyncio
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pulumi
from pulumi.runtime import rpc
from pulumi.runtime.mocks import MockCallArgs, MockMonitor, MockResourceArgs, Mocks

ACCOUNT = "123456789012"


@dataclass(frozen=True)
class Registered:
    """One resource as the program registered it."""

    urn: str
    token: str
    name: str
    parent: str
    inputs: dict[str, Any]


@dataclass
class Recording:
    """Everything that a program registered, and the outputs it left."""

    resources: list[Registered] = field(default_factory=list)
    outputs: dict[str, Any] = field(default_factory=dict)
    registered_outputs: dict[str, dict[str, Any]] = field(default_factory=dict)

    def of(self, token: str) -> dict[str, Registered]:
        """The resources of one type, by name."""
        return {resource.name: resource for resource in self.resources if resource.token.endswith(token)}

    @property
    def urns(self) -> list[str]:
        return [resource.urn for resource in self.resources]

    def value(self, output: "pulumi.Output[Any]") -> Any:
        """What an output resolves to."""
        return asyncio.run(output.future())  # pyright: ignore[reportArgumentType]


class AwsMocks(Mocks):
    """AWS's answers, made from the inputs."""

    def new_resource(self, args: MockResourceArgs) -> tuple[str | None, dict[str, Any]]:
        outputs = dict(args.inputs)
        kind = args.typ.rsplit(":", 1)[-1]
        if kind in ("User", "Group"):
            outputs["arn"] = f"arn:aws:iam::{ACCOUNT}:{kind.lower()}{args.inputs['path']}{args.inputs['name']}"
            return args.inputs["name"], outputs
        if kind == "AccessKey":
            outputs["secret"] = f"secret of {args.name}"
            outputs["createDate"] = "2026-11-01T00:00:00Z"
            return f"AKIA{args.name.upper()}", outputs
        return f"{args.name}-id", outputs

    def call(self, args: MockCallArgs) -> Any:
        raise AssertionError(f"the program asked AWS during a run: {args.token}")


class RecordingMonitor(MockMonitor):
    """Keeps what the mocks are not told: parents, and the outputs that components register."""

    def __init__(self, recording: Recording) -> None:
        super().__init__(AwsMocks())
        self.recording = recording

    def RegisterResource(self, request: Any) -> Any:  # noqa: N802 - gRPC's name
        if request.type != "pulumi:pulumi:Stack":
            self.recording.resources.append(
                Registered(
                    self.make_urn(request.parent, request.type, request.name),
                    request.type,
                    request.name,
                    request.parent,
                    dict(rpc.deserialize_properties(request.object, keep_unknowns=True)),
                )
            )
        return super().RegisterResource(request)

    def RegisterResourceOutputs(self, request: Any) -> Any:  # noqa: N802 - gRPC's name
        self.recording.registered_outputs[request.urn] = rpc.deserialize_properties(request.outputs)
        return super().RegisterResourceOutputs(request)


def deploy(
    program: Callable[[], Any], config: Mapping[str, Any] | None = None, stack: str = "dev", preview: bool = False
) -> Recording:
    """Run `program` to its end and return what it registered.

    config: stack config by full key; what is not text is written as JSON, as the engine hands it over.
    """
    recording = Recording()
    asyncio.set_event_loop(asyncio.new_event_loop())
    monitor = RecordingMonitor(recording)
    pulumi.runtime.set_mocks(monitor.mocks, "aws-access-keys", stack, preview, monitor=monitor)
    pulumi.runtime.set_all_config(
        {key: value if isinstance(value, str) else json.dumps(value) for key, value in (config or {}).items()}
    )
    pulumi.runtime.test(program)()
    return recording

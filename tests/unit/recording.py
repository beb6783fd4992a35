"""Run a Pulumi program against mocks that record what it registers, as the engine would see it."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pulumi
from pulumi.runtime import rpc, settings
from pulumi.runtime.mocks import MockCallArgs, MockMonitor, MockResourceArgs, Mocks

ACCOUNT = "123456789012"
PROJECT = "aws-access-keys"


@dataclass(frozen=True)
class Registered:
    """One resource as the program registered it."""

    urn: str
    token: str
    name: str
    parent: str
    inputs: dict[str, Any]
    request: Any
    """The engine's message, with all options."""


@dataclass
class Recording:
    """Everything that a program registered."""

    resources: list[Registered] = field(default_factory=list)
    outputs: dict[str, dict[str, Any]] = field(default_factory=dict)
    """URN of a component → the outputs that it registered."""

    def of(self, token: str) -> dict[str, Registered]:
        """The resources of one type, by name."""
        return {resource.name: resource for resource in self.resources if resource.token.endswith(token)}

    @property
    def keys(self) -> list[str]:
        """The names of the access keys."""
        return sorted(self.of(":AccessKey"))


def resolved(output: "pulumi.Output[Any]") -> Any:
    """What an output resolves to."""
    return asyncio.get_event_loop().run_until_complete(output.future())  # pyright: ignore[reportArgumentType]


class _AwsMocks(Mocks):
    """AWS's and the engine's answers."""

    def __init__(self, state: Mapping[str, Any]) -> None:
        self._state = state

    def new_resource(self, args: MockResourceArgs) -> tuple[str | None, dict[str, Any]]:
        outputs = dict(args.inputs)
        kind = args.typ.rsplit(":", 1)[-1]
        if kind in ("User", "Group"):
            outputs["arn"] = f"arn:aws:iam::{ACCOUNT}:{kind.lower()}{args.inputs['path']}{args.inputs['name']}"
            return args.inputs["name"], outputs
        if kind == "Policy":
            outputs["arn"] = f"arn:aws:iam::{ACCOUNT}:policy/{args.inputs['name']}"
            return outputs["arn"], outputs
        if kind == "AccessKey":
            outputs |= {"secret": f"secret of {args.name}", "createDate": "2026-11-01T00:00:00Z"}
            outputs |= {"sesSmtpPasswordV4": f"password of {args.name}"}
            if "pgpKey" in outputs:
                outputs |= {"secret": None, "encryptedSecret": "encrypted", "keyFingerprint": "fingerprint"}
            return args.resource_id or key_id(args.name), outputs
        return f"{args.name}-id", outputs

    def call(self, args: MockCallArgs) -> Any:
        if args.token == "aws:index/getRegion:getRegion":
            return {"region": "ap-northeast-2"}
        assert args.token == "pulumi:pulumi:readStackResourceOutputs", "the program asks the engine for nothing else"
        return {"name": args.args["stackName"], "outputs": dict(self._state)}


def key_id(name: str) -> str:
    """The id of the access key with a resource name: `access/ann/2` → `AKIA-ann-2`."""
    return "AKIA-" + "-".join(name.split("/")[-2:])


class _RecordingMonitor(MockMonitor):
    """Keeps what the mocks do not get: parents, options, and the outputs that components register."""

    def __init__(self, recording: Recording, state: Mapping[str, Any]) -> None:
        super().__init__(_AwsMocks(state))
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
                    request,
                )
            )
        return super().RegisterResource(request)

    def RegisterResourceOutputs(self, request: Any) -> Any:  # noqa: N802 - gRPC's name
        self.recording.outputs[request.urn] = rpc.deserialize_properties(request.outputs)
        return super().RegisterResourceOutputs(request)


def deploy(
    program: Callable[[], Any],
    config: Mapping[str, str] | None = None,
    state: Mapping[str, Any] | None = None,
    preview: bool = False,
    folder: str = "/nowhere",
) -> Recording:
    """Run `program` to its end and return what it registered.

    config: stack config by full key, as text. state: URN → type and outputs of what earlier runs left; see
    `made_up_state.py`. folder: that of the project, which can have a `Pulumi.dev.yaml`.
    """
    recording = Recording()
    asyncio.set_event_loop(asyncio.new_event_loop())
    settings.reset_options()
    monitor = _RecordingMonitor(recording, state or {})
    pulumi.runtime.set_mocks(monitor.mocks, PROJECT, "dev", preview, monitor=monitor, organization="organization")
    settings.SETTINGS.root_directory = folder  # pyright: ignore[reportAttributeAccessIssue]
    pulumi.runtime.set_all_config(dict(config or {}))
    pulumi.runtime.test(program)()
    return recording

"""The engine's side of the provider protocol, with plain values."""

import re
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import grpc
from aws_support import ROOT
from google.protobuf.json_format import MessageToDict, ParseDict
from google.protobuf.struct_pb2 import Struct
from pulumi.runtime.proto import provider_pb2 as pb
from pulumi.runtime.proto import provider_pb2_grpc
from pulumi.runtime.proto.status_pb2 import Status
from pulumi_sandbox.provider.server import serve

UNKNOWN = "04da6b54-80e4-46f7-96ec-b56ff0331ba9"
_SIGNATURE = "4dabf18193072939515e22adb298388d"
_SECRET = "1b47061264138c4ac30d75fd1eb44270"

Properties = dict[str, Any]


@dataclass(frozen=True)
class Secret:
    """A value that came over the wire marked as secret."""

    value: Any


class ProviderFaultError(Exception):
    """An error the engine would print; ``left_behind`` is the id and state of a resource that exists in spite of it."""

    def __init__(self, message: str, left_behind: "tuple[str, Properties] | None") -> None:
        super().__init__(message)
        self.message, self.left_behind = message, left_behind


@contextmanager
def provider(url: str, **settings: Any) -> Generator["Connection"]:
    """A provider served over ``url`` and the engine's connection to it, with these settings."""
    server = serve(url, ROOT)
    try:
        with connected(server.port, **settings) as connection:
            yield connection
    finally:
        server.stop()


@contextmanager
def connected(port: int, name: str | None = "default_7_51_1", **settings: Any) -> Generator["Connection"]:
    """Another connection to a running provider: another configured provider, or without a name an unconfigured one."""
    # Each of the engine's providers has a connection of its own.
    with grpc.insecure_channel(f"127.0.0.1:{port}", options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
        connection = Connection(provider_pb2_grpc.ResourceProviderStub(channel), port)
        if name is not None:
            connection.configure(name, settings)
        yield connection


class Connection:
    """What the engine can ask a provider, with plain values."""

    def __init__(self, stub: Any, port: int) -> None:
        self.stub, self.port = stub, port

    def check_settings(self, settings: Properties, name: str = "explicit") -> dict[str, str]:
        """What is wrong with a provider's settings, by setting."""
        reply = self._call(
            "CheckConfig", pb.CheckRequest(urn=_urn("pulumi:providers:aws", name), news=_struct(settings))
        )
        return {failure.property: failure.reason for failure in reply.failures}

    def configure(self, name: str, settings: Properties) -> None:
        assert not self.check_settings(settings, name), f"the settings {settings} were refused"
        self._call(
            "Configure",
            pb.ConfigureRequest(urn=_urn("pulumi:providers:aws", name), args=_struct(settings), acceptSecrets=True),
        )

    def check(
        self, token: str, inputs: Properties, olds: Properties | None = None, name: str = "it", **more: Any
    ) -> tuple[Properties, dict[str, str]]:
        """(checked inputs, failures by property)"""
        reply = self._call(
            "Check",
            pb.CheckRequest(
                urn=_urn(token, name), news=_struct(inputs), olds=_struct(olds or {}), randomSeed=b"seed", **more
            ),
        )
        return _plain(reply.inputs), {failure.property: failure.reason for failure in reply.failures}

    def make(self, token: str, inputs: Properties, name: str = "it") -> "Made":
        """Check and create."""
        checked, failures = self.check(token, inputs, name=name)
        assert not failures, f"{token} {inputs} was refused by check: {failures}"
        reply = self._call("Create", pb.CreateRequest(urn=_urn(token, name), properties=_struct(checked)))
        return Made(self, token, name, reply.id, _plain(reply.properties), checked)

    def preview(self, token: str, inputs: Properties, name: str = "it") -> Properties:
        """The outputs that a preview of the create shows."""
        checked, failures = self.check(token, inputs, name=name)
        assert not failures, f"{token} {inputs} was refused by check: {failures}"
        request = pb.CreateRequest(urn=_urn(token, name), properties=_struct(checked), preview=True)
        return _plain(self._call("Create", request).properties)

    def find(self, token: str, import_id: str, name: str = "it") -> "Made | None":
        """Read what this stack does not have yet, as ``.get`` and import do."""
        reply = self._call("Read", pb.ReadRequest(urn=_urn(token, name), id=import_id))
        if not reply.id:
            return None
        return Made(self, token, name, reply.id, _plain(reply.properties), _plain(reply.inputs))

    def invoke(self, token: str, arguments: Properties) -> Properties:
        reply = self._call("Invoke", pb.InvokeRequest(tok=token, args=_struct(arguments)))
        if reply.failures:
            raise ProviderFaultError("; ".join(failure.reason for failure in reply.failures), None)
        return _plain(getattr(reply, "return"))

    def _call(self, rpc: str, request: Any) -> Any:
        try:
            return getattr(self.stub, rpc)(request)
        except grpc.RpcError as caught:
            error: Any = caught
            left_behind = None
            for key, value in error.trailing_metadata() or ():
                if key == "grpc-status-details-bin":
                    details = pb.ErrorResourceInitFailed()
                    Status.FromString(value).details[0].Unpack(details)
                    left_behind = (details.id, _plain(details.properties))
            raise ProviderFaultError(error.details(), left_behind) from None


@dataclass
class Made:
    """A resource as the engine's state has it."""

    connection: Connection
    token: str
    name: str
    id: str
    outputs: Properties
    inputs: Properties

    def diff(self, inputs: Properties, ignore: tuple[str, ...] = ()) -> Any:
        """The provider's DiffResponse for new inputs of the program."""
        checked, failures = self.connection.check(self.token, inputs, self.inputs, self.name)
        assert not failures, f"{inputs} was refused by check: {failures}"
        return self.connection._call(
            "Diff",
            pb.DiffRequest(
                urn=_urn(self.token, self.name),
                id=self.id,
                olds=_struct(self.outputs),
                news=_struct(checked),
                ignoreChanges=ignore,
            ),
        )

    def update(self, inputs: Properties, *, preview: bool = False, ignore: tuple[str, ...] = ()) -> Properties:
        """Update in place; the engine keeps the id it has, whatever happens."""
        checked, _ = self.connection.check(self.token, inputs, self.inputs, self.name)
        reply = self.connection._call(
            "Update",
            pb.UpdateRequest(
                urn=_urn(self.token, self.name),
                id=self.id,
                olds=_struct(self.outputs),
                news=_struct(checked),
                ignoreChanges=ignore,
                preview=preview,
            ),
        )
        outputs = _plain(reply.properties)
        if not preview:
            self.outputs, self.inputs = outputs, checked
        return outputs

    def refresh(self) -> bool:
        """Read it again; False where it is gone."""
        reply = self.connection._call(
            "Read",
            pb.ReadRequest(
                urn=_urn(self.token, self.name),
                id=self.id,
                properties=_struct(self.outputs),
                inputs=_struct(self.inputs),
            ),
        )
        if reply.id:
            self.id, self.outputs, self.inputs = reply.id, _plain(reply.properties), _plain(reply.inputs)
        return bool(reply.id)

    def delete(self) -> None:
        self.connection._call(
            "Delete", pb.DeleteRequest(urn=_urn(self.token, self.name), id=self.id, properties=_struct(self.outputs))
        )


def _urn(token: str, name: str) -> str:
    return f"urn:pulumi:test::test::{token}::{name}"


def _struct(values: Properties) -> Struct:
    def wire(value: Any) -> Any:
        if isinstance(value, Secret):  # the provider did not ask for secrets: the engine unwraps them
            return wire(value.value)
        if isinstance(value, dict):
            return {key: wire(part) for key, part in value.items()}
        return [wire(part) for part in value] if isinstance(value, list) else value

    return ParseDict(wire(values), Struct())


def _plain(struct: Struct) -> Properties:
    def value_of(value: Any) -> Any:
        if isinstance(value, dict):
            if value.get(_SIGNATURE) == _SECRET:
                return Secret(value_of(value["value"]))
            return {key: value_of(part) for key, part in value.items()}
        if isinstance(value, list):
            return [value_of(part) for part in value]
        return int(value) if isinstance(value, float) and value.is_integer() else value

    return {key: value_of(value) for key, value in MessageToDict(struct).items()}


_PATTERNS = {
    "{stamp}": r"\d{18}[0-9a-f]{8}",
    "{uuid}": r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}",
    "{key id}": r"AKIA[A-Z0-9]{16}",
    "{date}": r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ",
    "{unique id}": r"[A-Za-z0-9]{20,21}",
    "{suffix}": r"[A-Za-z0-9]{6}",
    "{secret}": r"\S{20,}",
}


def agrees(measured: Any, actual: Any) -> bool:
    """Whether a value is as measured; what differs at each run stands as a pattern in braces."""
    if isinstance(measured, dict) and isinstance(actual, dict):
        return measured.keys() == actual.keys() and all(agrees(measured[key], actual[key]) for key in measured)
    if isinstance(measured, list) and isinstance(actual, list):
        return len(measured) == len(actual) and all(map(agrees, measured, actual))
    if isinstance(measured, str) and isinstance(actual, str):
        pattern = re.escape(measured)
        for brace, meaning in _PATTERNS.items():
            pattern = pattern.replace(re.escape(brace), meaning)
        return re.fullmatch(pattern, actual) is not None
    return measured == actual

"""The gRPC server the Pulumi engine attaches to in place of the pulumi-resource-aws plugin."""
from __future__ import annotations

import functools
import json
import logging
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from typing import Any, NoReturn

import grpc
from botocore.exceptions import BotoCoreError, ClientError
from google.protobuf.empty_pb2 import Empty
from google.rpc.status_pb2 import Status
from pulumi.runtime.proto import plugin_pb2, provider_pb2_grpc
from pulumi.runtime.proto import provider_pb2 as pb

from . import catalogue, configuration, lifecycle
from .aws import Aws, Credentials, Endpoint, in_words
from .schema import Resource
from .values import Refusal, Secret, State, from_struct, to_struct

log = logging.getLogger(__name__)

_WORKERS = 64
_MAX_MESSAGE = 400 << 20                  # what the engine itself allows
_DIFF = pb.DiffResponse


def _answer(method: Callable[..., Any]) -> Callable[..., Any]:
    """Turn what went wrong into one line for the person who runs Pulumi."""
    @functools.wraps(method)
    def call(self: Provider, request: Any, context: grpc.ServicerContext) -> Any:
        try:
            return method(self, request, context)
        except lifecycle.HalfDone as half:
            _abort_half_done(half, self.explain(half.cause, request), context)
        except (Refusal, ClientError, BotoCoreError) as error:
            context.abort(grpc.StatusCode.UNKNOWN, self.explain(error, request))
        except Exception as error:
            if context.code() is not None:           # it is an abort of our own
                raise
            log.exception("%s of %s", method.__name__, _subject(request))
            context.abort(grpc.StatusCode.INTERNAL, (
                f"a mistake in the sandbox's aws provider, not in your program: {method.__name__} of "
                f"{_subject(request)}: {type(error).__name__}: {error}"))
    return call


def _subject(request: Any) -> str:
    """The resource or function a request is about, with the resource's id where it has one."""
    urn = getattr(request, "urn", "")
    if not urn:
        return getattr(request, "tok", "") or "the provider"
    token, name = _type_and_name(urn)
    known = getattr(request, "id", "")
    return f'{token} "{name}"' + (f" ({known})" if known else "")


def _type_and_name(urn: str) -> tuple[str, str]:
    _, _, types, name = urn.split("::", 3)
    return types.split("$")[-1], name


def _abort_half_done(half: lifecycle.HalfDone, message: str, context: grpc.ServicerContext) -> NoReturn:
    """Tell the engine that the resource exists but is not as wanted, so that it is kept in the state."""
    details = pb.ErrorResourceInitFailed(id=half.state["id"], properties=to_struct(half.outputs), reasons=[message])
    status = Status(code=grpc.StatusCode.UNKNOWN.value[0], message=message)
    status.details.add().Pack(details)
    context.set_trailing_metadata((("grpc-status-details-bin", status.SerializeToString()),))
    context.abort(grpc.StatusCode.UNKNOWN, message)
    raise AssertionError("abort always raises")


class Provider(provider_pb2_grpc.ResourceProviderServicer):
    """Answers the engine. One connection belongs to one configured provider (the default one or an explicit one)."""

    def __init__(self, endpoint: Endpoint, credentials: Credentials, region: str) -> None:
        self._endpoint, self._credentials, self._region = endpoint, credentials, region
        self._version = version("pulumi-aws")
        self._by_peer: dict[str, Aws] = {}
        self._lock = threading.Lock()

    def explain(self, error: Exception, request: Any) -> str:
        if isinstance(error, ClientError | BotoCoreError):
            return f"{_subject(request)}: {in_words(error, self._endpoint.url)}"
        return str(error)

    # ---- the life of a plugin

    def Handshake(self, request: Any, context: grpc.ServicerContext) -> Any:
        return pb.ProviderHandshakeResponse(supports_autonaming_configuration=True)

    def Attach(self, request: Any, context: grpc.ServicerContext) -> Any:
        return Empty()

    def Cancel(self, request: Any, context: grpc.ServicerContext) -> Any:
        return Empty()

    def GetPluginInfo(self, request: Any, context: grpc.ServicerContext) -> Any:
        return plugin_pb2.PluginInfo(version=self._version)

    def GetSchema(self, request: Any, context: grpc.ServicerContext) -> Any:
        return pb.GetSchemaResponse(schema=json.dumps({"name": "aws", "version": self._version}))

    def GetMapping(self, request: Any, context: grpc.ServicerContext) -> Any:
        return pb.GetMappingResponse()

    def GetMappings(self, request: Any, context: grpc.ServicerContext) -> Any:
        return pb.GetMappingsResponse()

    @_answer
    def CheckConfig(self, request: Any, context: grpc.ServicerContext) -> Any:
        problems = configuration.problems(from_struct(request.news))
        failures = [pb.CheckFailure(property=name, reason=reason) for name, reason in problems]
        return pb.CheckResponse(inputs=request.news, failures=failures)

    @_answer
    def DiffConfig(self, request: Any, context: grpc.ServicerContext) -> Any:
        olds, news = from_struct(request.olds), from_struct(request.news)
        changed = sorted(key for key in olds.keys() | news.keys() if olds.get(key) != news.get(key))
        return _DIFF(changes=_DIFF.DIFF_SOME if changed else _DIFF.DIFF_NONE, diffs=changed,
                     replaces=[key for key in changed if key == "region" and key in olds])

    @_answer
    def Configure(self, request: Any, context: grpc.ServicerContext) -> Any:
        is_default = _type_and_name(request.urn)[1].startswith("default") if request.urn else False
        aws = configuration.configured(
            from_struct(request.args), self._endpoint, self._credentials, self._region, take_key=not is_default)
        with self._lock:
            self._by_peer[context.peer()] = aws
        return pb.ConfigureResponse(supportsPreview=True, supports_autonaming_configuration=True)

    # ---- resources

    @_answer
    def Check(self, request: Any, context: grpc.ServicerContext) -> Any:
        row, _ = self._target(request, context)
        naming = None
        if request.HasField("autonaming"):
            disabled = request.autonaming.mode == pb.CheckRequest.AutonamingOptions.DISABLE
            naming = "" if disabled else request.autonaming.proposed_name
        inputs, problems = lifecycle.check(
            row, _type_and_name(request.urn)[1], from_struct(request.olds), from_struct(request.news),
            request.randomSeed, naming)
        failures = [pb.CheckFailure(property=name, reason=reason) for name, reason in problems]
        return pb.CheckResponse(inputs=to_struct(inputs), failures=failures)

    @_answer
    def Diff(self, request: Any, context: grpc.ServicerContext) -> Any:
        row, aws = self._target(request, context)
        diff = lifecycle.diff(row, aws, self._state(request, request.olds), from_struct(request.news),
                              list(request.ignoreChanges))
        detailed = {name: pb.PropertyDiff(kind=pb.PropertyDiff.Kind.Value(kind + "_REPLACE" * (name in diff.replaces)))
                    for name, kind in diff.changes.items()}
        return _DIFF(changes=_DIFF.DIFF_SOME if diff.changes else _DIFF.DIFF_NONE, replaces=diff.replaces,
                     diffs=sorted(detailed), detailedDiff=detailed, hasDetailedDiff=True,
                     deleteBeforeReplace=diff.delete_first)

    @_answer
    def Create(self, request: Any, context: grpc.ServicerContext) -> Any:
        row, aws = self._target(request, context)
        inputs = from_struct(request.properties)
        if request.preview:
            planned = lifecycle.planned(row, aws, inputs)
            return pb.CreateResponse(properties=to_struct(lifecycle.outputs(row, planned)))
        state = lifecycle.create(row, aws, inputs)
        return pb.CreateResponse(id=state["id"], properties=to_struct(lifecycle.outputs(row, state)))

    @_answer
    def Update(self, request: Any, context: grpc.ServicerContext) -> Any:
        row, aws = self._target(request, context)
        prior, ignored = self._state(request, request.olds), list(request.ignoreChanges)
        wanted = lifecycle.planned(row, aws, from_struct(request.news), prior, ignored)
        state = wanted if request.preview else lifecycle.update(row, aws, prior, wanted)
        return pb.UpdateResponse(properties=to_struct(lifecycle.outputs(row, state)))

    @_answer
    def Delete(self, request: Any, context: grpc.ServicerContext) -> Any:
        row, aws = self._target(request, context)
        lifecycle.delete(row, aws, self._state(request, request.properties))
        return Empty()

    @_answer
    def Read(self, request: Any, context: grpc.ServicerContext) -> Any:
        row, aws = self._target(request, context)
        refreshing = len(request.properties.fields) > 0
        if refreshing:
            state = lifecycle.refresh(row, aws, self._state(request, request.properties))
        else:
            state = lifecycle.adopt(row, aws, request.id)
        if state is None:
            return pb.ReadResponse()               # gone
        inputs = (lifecycle.refreshed_inputs(row, from_struct(request.inputs), state) if refreshing
                  else lifecycle.imported_inputs(row, state))
        return pb.ReadResponse(id=state["id"], properties=to_struct(lifecycle.outputs(row, state)),
                               inputs=to_struct(inputs))

    # ---- functions

    @_answer
    def Invoke(self, request: Any, context: grpc.ServicerContext) -> Any:
        function = catalogue.function(request.tok)
        arguments, problems = lifecycle.check_arguments(function, from_struct(request.args))
        if problems:
            return pb.InvokeResponse(failures=[pb.CheckFailure(property=n, reason=r) for n, r in problems])
        answer = function.answer(self._aws(context).in_region(arguments.get("region")), arguments)
        return pb.InvokeResponse(**{"return": to_struct(answer)})

    # ---- whom and what a request is about

    def _aws(self, context: grpc.ServicerContext) -> Aws:
        with self._lock:
            aws = self._by_peer.get(context.peer())
        if aws is None:
            raise Refusal("the sandbox's aws provider was started anew in the middle of a Pulumi run; run it again")
        return aws

    def _target(self, request: Any, context: grpc.ServicerContext) -> tuple[Resource, Aws]:
        return catalogue.resource(_type_and_name(request.urn)[0]), self._aws(context)

    @staticmethod
    def _state(request: Any, properties: Any) -> State:
        """The resource's last state. The id in it wins over the engine's, which goes stale when a rename is an update."""
        return {"id": request.id} | from_struct(properties)


class Server:
    """A running provider: ``PULUMI_DEBUG_PROVIDERS=aws:<port>`` attaches the engine to it."""

    def __init__(self, server: grpc.Server, port: int) -> None:
        self._server, self.port = server, port

    def stop(self) -> None:
        """Stop serving; calls under way get five seconds to end."""
        self._server.stop(grace=5).wait()


def serve(endpoint_url: str, access_key_id: str, secret_access_key: str, region: str = "us-east-1",
          port: int = 0) -> Server:
    """Serve the stand-in for pulumi-resource-aws on loopback.

    Every call to AWS goes to ``endpoint_url``, signed with the given key, whatever AWS settings the machine has.
    ``region`` holds where a stack names none; port 0 takes any free one. Raises RuntimeError if the port is taken.
    """
    provider = Provider(Endpoint(endpoint_url), Credentials(access_key_id, secret_access_key), region)
    # so_reuseport would let a second server share the port in silence.
    server = grpc.server(ThreadPoolExecutor(_WORKERS, "aws-provider"), options=[
        ("grpc.max_receive_message_length", _MAX_MESSAGE), ("grpc.max_send_message_length", _MAX_MESSAGE),
        ("grpc.so_reuseport", 0)])
    provider_pb2_grpc.add_ResourceProviderServicer_to_server(provider, server)
    bound = server.add_insecure_port(f"127.0.0.1:{port}")
    server.start()
    return Server(server, bound)


__all__ = ["Secret", "Server", "serve"]

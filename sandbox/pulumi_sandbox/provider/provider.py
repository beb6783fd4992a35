"""What the Pulumi engine asks of a provider, one method for each of its requests."""

import json
import re
import threading
from importlib.metadata import version
from typing import Any

import grpc
from botocore.exceptions import BotoCoreError, ClientError
from google.protobuf.empty_pb2 import Empty
from pulumi.runtime.proto import plugin_pb2
from pulumi.runtime.proto import provider_pb2 as pb

from pulumi_sandbox.credentials import Credentials
from pulumi_sandbox.provider import configuration, inputs, lifecycle, plan, registry
from pulumi_sandbox.provider.clients import Aws, Endpoint, format_error
from pulumi_sandbox.provider.inputs import Problems
from pulumi_sandbox.provider.schema import ResourceType
from pulumi_sandbox.provider.values import ProviderError, State, from_struct, to_struct

_DIFF = pb.DiffResponse
Context = grpc.ServicerContext
_DEFAULT = re.compile(r"default(_\d.*)?")  # what the engine calls the provider of a stack's config


class Provider:
    """The aws provider. One connection of the engine belongs to one configured provider, default or explicit."""

    def __init__(self, endpoint: Endpoint, credentials: Credentials, region: str) -> None:
        self._endpoint, self._credentials, self._region = endpoint, credentials, region
        self._version = version("pulumi-aws")
        self._by_peer: dict[str, Aws] = {}
        self._lock = threading.Lock()

    # ---- the life of a plugin

    def handshake(self, request: Any, context: Context) -> Any:
        return pb.ProviderHandshakeResponse(supports_autonaming_configuration=True)

    def attach(self, request: Any, context: Context) -> Any:
        return Empty()

    def cancel(self, request: Any, context: Context) -> Any:
        return Empty()

    def get_plugin_info(self, request: Any, context: Context) -> Any:
        return plugin_pb2.PluginInfo(version=self._version)

    def get_schema(self, request: Any, context: Context) -> Any:
        return pb.GetSchemaResponse(schema=json.dumps({"name": "aws", "version": self._version}))

    def check_config(self, request: Any, context: Context) -> Any:
        return pb.CheckResponse(
            inputs=request.news, failures=_failures(configuration.problems(from_struct(request.news)))
        )

    def diff_config(self, request: Any, context: Context) -> Any:
        olds, news = from_struct(request.olds), from_struct(request.news)
        changed = sorted(key for key in olds.keys() | news.keys() if olds.get(key) != news.get(key))
        return _DIFF(
            changes=_DIFF.DIFF_SOME if changed else _DIFF.DIFF_NONE,
            diffs=changed,
            replaces=[key for key in changed if key == "region" and key in olds],
        )

    def configure(self, request: Any, context: Context) -> Any:
        name = type_and_name(request.urn)[1] if request.urn else "default"
        aws = configuration.configured(
            from_struct(request.args),
            self._endpoint,
            self._credentials,
            self._region,
            take_key=not _DEFAULT.fullmatch(name),
        )
        with self._lock:
            self._by_peer[context.peer()] = aws
        return pb.ConfigureResponse(supportsPreview=True, supports_autonaming_configuration=True)

    # ---- resources

    def check(self, request: Any, context: Context) -> Any:
        resource, _ = self._target(request, context)
        naming = None
        if request.HasField("autonaming"):
            disabled = request.autonaming.mode == pb.CheckRequest.AutonamingOptions.DISABLE
            naming = "" if disabled else request.autonaming.proposed_name
        checked, problems = inputs.check(
            resource,
            type_and_name(request.urn)[1],
            from_struct(request.olds),
            from_struct(request.news),
            request.randomSeed,
            naming,
        )
        return pb.CheckResponse(inputs=to_struct(checked), failures=_failures(problems))

    def diff(self, request: Any, context: Context) -> Any:
        resource, aws = self._target(request, context)
        diff = plan.diff(
            resource, aws, _state(request, request.olds), from_struct(request.news), list(request.ignoreChanges)
        )
        detailed = {
            name: pb.PropertyDiff(kind=pb.PropertyDiff.Kind.Value(f"{kind}_REPLACE" if name in diff.replaces else kind))
            for name, kind in diff.changes.items()
        }
        return _DIFF(
            changes=_DIFF.DIFF_SOME if diff.changes else _DIFF.DIFF_NONE,
            replaces=diff.replaces,
            diffs=sorted(detailed),
            detailedDiff=detailed,
            hasDetailedDiff=True,
            deleteBeforeReplace=diff.delete_first,
        )

    def create(self, request: Any, context: Context) -> Any:
        resource, aws = self._target(request, context)
        desired = from_struct(request.properties)
        if request.preview:
            return pb.CreateResponse(
                properties=to_struct(lifecycle.outputs(resource, plan.new(resource, aws, desired)))
            )
        state = lifecycle.create(resource, aws, desired)
        return pb.CreateResponse(id=state["id"], properties=to_struct(lifecycle.outputs(resource, state)))

    def update(self, request: Any, context: Context) -> Any:
        resource, aws = self._target(request, context)
        prior = _state(request, request.olds)
        desired = plan.changed(resource, aws, prior, from_struct(request.news), list(request.ignoreChanges))
        state = desired if request.preview else lifecycle.update(resource, aws, prior, desired)
        return pb.UpdateResponse(properties=to_struct(lifecycle.outputs(resource, state)))

    def delete(self, request: Any, context: Context) -> Any:
        resource, aws = self._target(request, context)
        lifecycle.delete(resource, aws, _state(request, request.properties))
        return Empty()

    def read(self, request: Any, context: Context) -> Any:
        resource, aws = self._target(request, context)
        refreshing = len(request.properties.fields) > 0
        if refreshing:
            state = lifecycle.refresh(resource, aws, _state(request, request.properties))
        else:
            state = lifecycle.adopt(resource, aws, request.id)
        if state is None:
            return pb.ReadResponse()  # it does not exist any more
        found = (
            lifecycle.refreshed_inputs(resource, from_struct(request.inputs), state)
            if refreshing
            else lifecycle.imported_inputs(resource, state)
        )
        return pb.ReadResponse(
            id=state["id"], properties=to_struct(lifecycle.outputs(resource, state)), inputs=to_struct(found)
        )

    # ---- functions

    def invoke(self, request: Any, context: Context) -> Any:
        function = registry.function(request.tok)
        arguments, problems = inputs.check_arguments(function, from_struct(request.args))
        if problems:
            return pb.InvokeResponse(failures=_failures(problems))
        answer = function.answer(self._aws(context), arguments)
        response = pb.InvokeResponse()
        found = to_struct({name: value for name, value in answer.items() if value is not None})
        getattr(response, "return").CopyFrom(found)  # "return" is a keyword in Python
        return response

    # ---- what a request is about

    def explain(self, error: Exception, request: Any) -> str:
        """One line on what went wrong with the resource or function of a request."""
        if isinstance(error, ClientError | BotoCoreError):
            return f"{subject(request)}: {format_error(error, self._endpoint.url)}"
        return f"{subject(request)}: {error}"

    def _aws(self, context: Context) -> Aws:
        with self._lock:
            aws = self._by_peer.get(context.peer())
        if aws is None:
            raise ProviderError("the sandbox was restarted in the middle of this Pulumi run; run it again")
        return aws

    def _target(self, request: Any, context: Context) -> tuple[ResourceType, Aws]:
        return registry.resource(type_and_name(request.urn)[0]), self._aws(context)


def type_and_name(urn: str) -> tuple[str, str]:
    """("aws:iam/user:User", "alice") of the URN of a resource."""
    _, _, types, name = urn.split("::", 3)
    return types.split("$")[-1], name


def subject(request: Any) -> str:
    """What a request is about: the resource, by type, name and AWS's name, or the function."""
    urn = getattr(request, "urn", "")
    if not urn:
        return getattr(request, "tok", "") or "the aws provider"
    token, name = type_and_name(urn)
    known = getattr(request, "id", "")
    for state in (getattr(request, "properties", {}), getattr(request, "olds", {})):
        if "id" in state:
            known = state["id"]  # the newer one, where a rename in place left the engine's behind
    return f'{token} "{name}"' + (f" ({known})" if known else "")


def _failures(problems: Problems) -> list[pb.CheckFailure]:
    return [pb.CheckFailure(property=name, reason=reason) for name, reason in problems]


def _state(request: Any, properties: Any) -> State:
    """A resource's last state. The id in it wins over the engine's, which a rename in place leaves behind."""
    return {"id": request.id} | from_struct(properties)

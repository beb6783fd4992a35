"""The gRPC server that the Pulumi engine attaches to in place of the pulumi-resource-aws provider."""

import logging
import re
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NoReturn

import grpc
from botocore.exceptions import BotoCoreError, ClientError
from pulumi.runtime.proto import provider_pb2 as pb
from pulumi.runtime.proto import provider_pb2_grpc
from pulumi.runtime.proto.status_pb2 import Status

from pulumi_sandbox.credentials import Credentials
from pulumi_sandbox.provider.clients import Endpoint
from pulumi_sandbox.provider.lifecycle import PartialFailureError
from pulumi_sandbox.provider.provider import Context, Provider, subject
from pulumi_sandbox.provider.values import ProviderError, to_struct

log = logging.getLogger(__name__)

_WORKERS = 64  # the engine runs as many steps at once as a program allows
_MAX_MESSAGE = 400 << 20  # bytes; what the engine itself allows


class Server:
    """A running provider: ``PULUMI_DEBUG_PROVIDERS=aws:<port>`` attaches the engine to it."""

    def __init__(self, server: grpc.Server, port: int) -> None:
        self._server, self.port = server, port

    def stop(self) -> None:
        """Stop serving; calls under way get five seconds to end."""
        self._server.stop(grace=5).wait()


def serve(endpoint_url: str, credentials: Credentials, region: str = "us-east-1", port: int = 0) -> Server:
    """Serve the emulated provider for pulumi-resource-aws on loopback.

    Every call to AWS goes to ``endpoint_url``, signed with these credentials, whatever AWS settings the machine has.
    ``region`` holds where a stack names none; port 0 takes any free one. Raises RuntimeError if the port is taken.
    """
    provider = Provider(Endpoint(endpoint_url), credentials, region)
    server = grpc.server(
        ThreadPoolExecutor(_WORKERS, "aws-provider"),
        options=[
            ("grpc.max_receive_message_length", _MAX_MESSAGE),
            ("grpc.max_send_message_length", _MAX_MESSAGE),
            ("grpc.so_reuseport", 0),  # a second server on the same port must fail, not share it
        ],
    )
    servicer = provider_pb2_grpc.ResourceProviderServicer()
    for rpc in pb.DESCRIPTOR.services_by_name["ResourceProvider"].methods:
        method = getattr(provider, re.sub(r"(?<!^)(?=[A-Z])", "_", rpc.name).lower(), None)
        if method is not None:  # the rest answer "unimplemented", which the engine understands
            setattr(servicer, rpc.name, _answering(provider, method))
    provider_pb2_grpc.add_ResourceProviderServicer_to_server(servicer, server)
    bound = server.add_insecure_port(f"127.0.0.1:{port}")
    server.start()
    return Server(server, bound)


def _answering(provider: Provider, method: Callable[[Any, Context], Any]) -> Callable[[Any, Context], Any]:
    """The method, with whatever goes wrong in it as one line for the person who runs Pulumi."""

    def call(request: Any, context: Context) -> Any:
        try:
            return method(request, context)
        except PartialFailureError as failure:
            _abort_partial(failure, provider.explain(failure.cause, request), context)
        except (ProviderError, ClientError, BotoCoreError) as error:
            context.abort(grpc.StatusCode.UNKNOWN, provider.explain(error, request))
        except Exception as error:
            # Without the exception's own words, which may hold a secret.
            place = "".join(traceback.format_tb(error.__traceback__))
            log.error("%s of %s: %s\n%s", method.__name__, subject(request), type(error).__name__, place)
            context.abort(
                grpc.StatusCode.INTERNAL,
                f"{subject(request)}: a bug in the emulated provider, not in your program: "
                f"{type(error).__name__} in {method.__name__}; its place is in the sandbox's log",
            )

    return call


def _abort_partial(failure: PartialFailureError, message: str, context: Context) -> NoReturn:
    """Report to the engine that the resource exists but is not as desired, so that it is kept in the state."""
    details = pb.ErrorResourceInitFailed(
        id=failure.state["id"], properties=to_struct(failure.outputs), reasons=[message]
    )
    status = Status(code=grpc.StatusCode.UNKNOWN.value[0], message=message)
    status.details.add().Pack(details)
    context.set_trailing_metadata((("grpc-status-details-bin", status.SerializeToString()),))
    context.abort(grpc.StatusCode.UNKNOWN, message)
    raise AssertionError("abort always raises")

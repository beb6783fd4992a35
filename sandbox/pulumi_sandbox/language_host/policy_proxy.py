"""Stands between the engine and a policy pack, to give the pack its stack before it starts.

The engine names stack and config in a call, ConfigureStack, to a pack that runs already. Packs in Python read them from
environment variables when they start. So the engine first talks to this proxy; the pack is started once the call has
come, and every other call is passed on, byte for byte.
"""

from __future__ import annotations

import json
from concurrent.futures import Future, InvalidStateError, ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import grpc

from pulumi_sandbox.language_host.sdk_messages import analyzer

if TYPE_CHECKING:
    from collections.abc import Callable


UNLIMITED: list[tuple[str, Any]] = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
"""Options of a channel or server: gRPC's own limit is 4 MB, and a stack can be larger."""


class PackError(Exception):
    """There is no policy pack to pass calls on to."""


class PolicyProxy(grpc.GenericRpcHandler):
    """An Analyzer service without a pack; `attach` gives it one."""

    def __init__(self) -> None:
        self.stack: Future[bytes | None] = Future()
        """The ConfigureStack request; None where the engine has no stack (`pulumi policy publish`)."""
        self.pack: Future[grpc.Channel] = Future()
        self.unfinished = b""
        self.server = grpc.server(ThreadPoolExecutor(max_workers=64), handlers=[self], options=UNLIMITED)
        self.port = self.server.add_insecure_port("127.0.0.1:0")
        self.server.start()

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[bytes, bytes]:
        method = handler_call_details.method
        answers: dict[str, Callable[[bytes, grpc.ServicerContext], bytes]] = {
            "Handshake": lambda request, context: b"",  # An empty message, as is the next one.
            "ConfigureStack": self.configure,
        }
        answer = answers.get(method.rpartition("/")[2])
        return grpc.unary_unary_rpc_method_handler(
            answer or (lambda request, context: self.forward(method, request, context))
        )

    def configure(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        self.set_stack(request)
        return b""

    def forward(self, method: str, request: bytes, context: grpc.ServicerContext) -> bytes:
        self.set_stack(None)
        try:
            return self.pack.result().unary_unary(method)(request)
        except PackError as error:
            context.abort(grpc.StatusCode.UNAVAILABLE, str(error))
            raise
        except grpc.RpcError as error:
            context.abort(error.code(), error.details() or "")
            raise

    def set_stack(self, stack: bytes | None) -> None:
        with suppress(InvalidStateError):  # It is set already.
            self.stack.set_result(stack)

    def environment(self) -> dict[str, str]:
        """What a pack in Python looks for when it starts. Waits for the engine's first call."""
        request = self.stack.result()
        if request is None:
            return {}
        stack = analyzer.AnalyzerStackConfigureRequest.FromString(request)
        return {
            "PULUMI_ORGANIZATION": stack.organization or "organization",
            "PULUMI_PROJECT": stack.project,
            "PULUMI_STACK": stack.stack,
            "PULUMI_DRY_RUN": "true" if stack.dry_run else "false",
            "PULUMI_CONFIG": json.dumps(dict(stack.config)),
        }

    def look_for_port(self, stdout: bytes) -> bytes:
        """Takes what the pack prints until its port comes; gives what is not the port, for the person to see."""
        if self.pack.done():
            return stdout
        *lines, self.unfinished = (self.unfinished + stdout).split(b"\n")
        for number, line in enumerate(lines):
            if line.strip().isdigit():
                self.attach(int(line))
                return b"\n".join([*lines[:number], *lines[number + 1 :], self.unfinished])
        return b"".join(line + b"\n" for line in lines)

    def attach(self, port: int) -> None:
        """The pack serves on `port`: gives it the stack too, if it asks for it, and passes on what waits."""
        channel = grpc.insecure_channel(f"127.0.0.1:{port}", options=UNLIMITED)
        request = self.stack.result()
        if request is not None:
            try:
                channel.unary_unary("/pulumirpc.Analyzer/ConfigureStack")(request, wait_for_ready=True)
            except grpc.RpcError as error:
                if error.code() != grpc.StatusCode.UNIMPLEMENTED:
                    self.give_up(error.details() or str(error.code()))
                    return
        self.pack.set_result(channel)

    def give_up(self, reason: str) -> None:
        """The pack is missing or has ended: answers what still waits for it."""
        self.set_stack(None)
        with suppress(InvalidStateError):
            self.pack.set_exception(PackError(f"the policy pack does not answer: {reason}"))
        self.server.stop(grace=1)

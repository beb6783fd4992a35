"""The Python language host: what the Pulumi engine asks to run a program, a policy pack or a component package.

The official download of Pulumi contains one; an engine built from Go modules has none. This one serves the same gRPC
service, `LanguageRuntime`, from the protobufs of the Pulumi SDK, as far as running needs it. Programs run under the
official `pulumi-language-python-exec`, with the arguments, the environment and the exit codes of the official host
(https://github.com/pulumi/pulumi/blob/master/sdk/python/cmd/pulumi-language-python/main.go). Code generation
(`pulumi convert`, typed SDKs) is left to the official download.

The engine starts it as `pulumi-language-python ENGINE_ADDRESS` and reads from its first line of stdout the port to talk
to. What programs print reaches the engine through this process's stdout and stderr. The service is described in the
SDK's language.proto; https://www.pulumi.com/docs/iac/concepts/how-pulumi-works/#language-hosts has the picture.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import queue
import signal
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from io import BufferedReader
from pathlib import Path
from typing import Any

import grpc
from google.protobuf.empty_pb2 import Empty
from google.protobuf.json_format import MessageToDict

from pulumi_sandbox.language_host.interpreter import Interpreter, OptionError, choose, distribution_name
from pulumi_sandbox.language_host.policy_proxy import UNLIMITED, PolicyProxy
from pulumi_sandbox.language_host.sdk_messages import PluginInfo, services
from pulumi_sandbox.language_host.sdk_messages import language as messages

ALREADY_REPORTED = 32
"""Exit code of a program that has reported to the engine what went wrong: nothing is added to that."""

CANCEL_TIMEOUT = 5.0
"""Seconds that a cancelled process has to end by itself."""


class LanguageHost(services.LanguageRuntimeServicer):
    """Serves one engine process: usually one program, and any number of policy packs and component packages."""

    def __init__(self, exec: str, engine: str) -> None:
        """`exec` is the path of Pulumi's script that runs a program, `engine` the engine's address."""
        self.exec, self.engine = exec, engine
        self.children: set[subprocess.Popen[Any]] = set()
        self.cancelled = False

    # -- a program --

    def Run(self, request: messages.RunRequest, context: grpc.ServicerContext) -> messages.RunResponse:  # noqa: N802
        try:
            chosen = choose_for(request.info)
            command = [chosen.python, self.exec]
        except OptionError as error:
            return messages.RunResponse(error=str(error))
        arguments = {
            "monitor": request.monitor_address,
            "engine": self.engine,
            "project": request.project,
            "root_directory": request.info.root_directory,
            "stack": request.stack,
            "pwd": request.pwd,
            "dry_run": str(request.dryRun).lower(),
            "parallel": str(request.parallel),
            "organization": request.organization,
        }
        for name, value in arguments.items():
            command += [f"--{name}", value] if value else []
        config = {
            "PULUMI_CONFIG": json.dumps(dict(request.config)),
            "PULUMI_CONFIG_SECRET_KEYS": json.dumps(list(request.configSecretKeys)),
        }
        child = subprocess.Popen(
            [*command, request.info.entry_point or ".", *request.args],
            stdin=subprocess.DEVNULL,
            env=chosen.environment | config,
        )
        self.children.add(child)
        context.add_callback(lambda: stop(child))
        code = child.wait()
        self.children.discard(child)
        if code == ALREADY_REPORTED or self.cancelled:
            return messages.RunResponse(bail=True)
        return messages.RunResponse(error=f"program exited with {describe(code)}" if code else "")

    # -- a policy pack or a component package --

    def RunPlugin(  # noqa: N802
        self, request: messages.RunPluginRequest, context: grpc.ServicerContext
    ) -> Iterator[messages.RunPluginResponse]:
        folder = request.info.program_directory
        policies = request.kind == "analyzer"
        try:
            chosen = choose_for(request.info, default="" if policies else "venv")
            if policies:
                arguments = ["-m", "pulumi.policy", *request.args, folder]
            elif Path(folder, "__main__.py").is_file():
                arguments = [folder, *request.args]
            elif name := distribution_name(Path(folder)):
                arguments = ["-m", "pulumi.run.plugin", name, *request.args]
            else:
                raise OptionError(
                    f"{folder} has neither a __main__.py nor a pyproject.toml with name and build backend"
                )
            command = [chosen.python, "-u", *arguments]
        except OptionError as error:
            context.abort(grpc.StatusCode.FAILED_PRECONDITION, str(error))
            raise  # abort() has raised already; the type checker does not know it
        environment = dict(entry.split("=", 1) for entry in request.env) | chosen.variables
        if policies:
            outputs = self.run_policies(context, command, folder, environment)
        else:
            outputs = self.stream(context, command, request.pwd, environment)
        for name, data in outputs:
            yield messages.RunPluginResponse(**{name: data})

    def run_policies(
        self, context: grpc.ServicerContext, command: list[str], folder: str, environment: dict[str, str]
    ) -> Iterator[tuple[str, Any]]:
        """As `stream`, behind a proxy that the engine talks to in place of the pack."""
        proxy = PolicyProxy()
        context.add_callback(lambda: proxy.give_up("the engine has stopped it"))
        yield "stdout", f"{proxy.port}\n".encode()
        environment |= proxy.environment()
        if not context.is_active():
            return
        for name, data in self.stream(context, command, folder, environment):
            rest = proxy.look_for_port(data) if name == "stdout" else data
            if rest != b"":
                yield name, rest
        proxy.give_up("it has ended")

    def InstallDependencies(  # noqa: N802
        self, request: messages.InstallDependenciesRequest, context: grpc.ServicerContext
    ) -> Iterator[messages.InstallDependenciesResponse]:
        folder = request.info.program_directory
        try:
            chosen = choose_for(request.info, default="venv" if request.is_plugin else "")
            commands = chosen.installation(Path(folder), request.is_plugin)
        except OptionError as error:
            context.abort(grpc.StatusCode.FAILED_PRECONDITION, str(error))
            raise
        for command in commands:
            for name, data in self.stream(context, command, folder, chosen.environment):
                if name != "exitcode":
                    yield messages.InstallDependenciesResponse(**{name: data})
                elif data != 0:
                    context.abort(grpc.StatusCode.INTERNAL, f"`{' '.join(command)}` ended with {describe(data)}")

    def stream(
        self, context: grpc.ServicerContext, command: list[str], folder: str, environment: dict[str, str]
    ) -> Iterator[tuple[str, Any]]:
        """Runs a command; gives ("stdout" | "stderr", bytes) as they come, then ("exitcode", number)."""
        try:
            child = subprocess.Popen(
                command,
                cwd=folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
            )
        except OSError as error:
            context.abort(grpc.StatusCode.FAILED_PRECONDITION, f"cannot start {command[0]}: {error.strerror}")
            raise
        self.children.add(child)
        context.add_callback(lambda: stop(child))
        chunks: queue.SimpleQueue[tuple[str, bytes]] = queue.SimpleQueue()

        def pump(name: str, pipe: BufferedReader) -> None:
            while data := pipe.read1(65536):
                chunks.put((name, data))
            chunks.put((name, b""))

        for name in ("stdout", "stderr"):
            threading.Thread(target=pump, args=(name, getattr(child, name)), daemon=True).start()
        ended = 0
        while ended < 2:
            name, data = chunks.get()
            if data:
                yield name, data
            else:
                ended += 1
        code = child.wait()
        self.children.discard(child)
        yield "exitcode", code

    # -- questions --

    def Handshake(  # noqa: N802
        self, request: messages.LanguageHandshakeRequest, context: grpc.ServicerContext
    ) -> messages.LanguageHandshakeResponse:
        self.engine = request.engine_address
        return messages.LanguageHandshakeResponse()

    def Cancel(self, request: Empty, context: grpc.ServicerContext) -> Empty:  # noqa: N802
        self.cancelled = True
        for child in list(self.children):
            stop(child)
        return Empty()

    def GetPluginInfo(self, request: Empty, context: grpc.ServicerContext) -> PluginInfo:  # noqa: N802
        return PluginInfo(version=importlib.metadata.version("pulumi"))

    def GetRequiredPackages(  # noqa: N802
        self, request: messages.GetRequiredPackagesRequest, context: grpc.ServicerContext
    ) -> messages.GetRequiredPackagesResponse:
        # Naming the packages would make the engine download their plugins before the program starts. It asks for each
        # plugin again when the program first uses it, and takes the attached provider then.
        return messages.GetRequiredPackagesResponse()

    def About(self, request: messages.AboutRequest, context: grpc.ServicerContext) -> messages.AboutResponse:  # noqa: N802
        try:
            chosen = choose_for(request.info)
            command = [chosen.python, "-c", "import platform; print(platform.python_version())"]
            done = subprocess.run(command, env=chosen.environment, capture_output=True, text=True, check=True)
        except (OptionError, OSError, subprocess.CalledProcessError) as error:
            context.abort(grpc.StatusCode.FAILED_PRECONDITION, str(error))
            raise
        return messages.AboutResponse(executable=chosen.python, version=done.stdout.strip())

    def RuntimeOptionsPrompts(  # noqa: N802
        self, request: messages.RuntimeOptionsRequest, context: grpc.ServicerContext
    ) -> messages.RuntimeOptionsResponse:
        return messages.RuntimeOptionsResponse()

    def close(self) -> None:
        for child in list(self.children):
            child.terminate()


def choose_for(info: messages.ProgramInfo, default: str = "") -> Interpreter:
    return choose(info.root_directory, MessageToDict(info.options), default)


def describe(code: int) -> str:
    if code < 0:
        return f"signal {signal.Signals(-code).name}"
    return f"non-zero exit code: {code}"


def stop(child: subprocess.Popen[Any]) -> None:
    """Ends a process that still runs, by a signal for which Python prints no traceback; kills it if it does not end."""
    if child.poll() is None:
        child.terminate()
        killer = threading.Timer(CANCEL_TIMEOUT, child.kill)
        killer.daemon = True
        killer.start()


def main() -> None:
    parser = argparse.ArgumentParser(prog="pulumi-language-python")
    parser.add_argument("--tracing", help="taken and ignored")
    parser.add_argument("exec")
    parser.add_argument("engine", nargs="?", default="", help="the engine's address")
    arguments, _ = parser.parse_known_args()

    parent = os.getppid()
    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.set())
    host = LanguageHost(arguments.exec, arguments.engine)
    # A program occupies a thread for as long as it runs, a plugin as well.
    server = grpc.server(ThreadPoolExecutor(max_workers=64), options=UNLIMITED)
    services.add_LanguageRuntimeServicer_to_server(host, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    print(port, flush=True)
    # An engine that was killed says nothing; this process then has another parent.
    while not ended.wait(1) and os.getppid() == parent:
        pass
    host.close()
    server.stop(grace=None)


if __name__ == "__main__":
    main()

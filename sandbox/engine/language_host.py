"""The Python language host: what the Pulumi engine asks to run a program, a policy pack or a component package.

The official download of Pulumi carries one; an engine built from Go modules has none. This one serves the same gRPC
service, `LanguageRuntime`, from the protobufs of the Pulumi SDK, as far as running needs it. Code generation
(`pulumi convert`, `pulumi package add`) stays with the official download.

The engine starts it as `pulumi-language-python ENGINE_ADDRESS` and reads from its first line of stdout the port to talk
to. What programs print reaches the engine through this process's stdout and stderr. The service is described in the
SDK's language.proto; https://www.pulumi.com/docs/iac/concepts/how-pulumi-works/#language-hosts has the picture.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path


def start_program(python: str, environment: dict[str, str] | None = None) -> subprocess.Popen[str]:
    """A process that has the SDK imported, or is at it, and waits on stdin for what to run (program.py)."""
    script = str(Path(__file__).resolve().with_name("program.py"))
    return subprocess.Popen([python, script], stdin=subprocess.PIPE, text=True, env=environment)


def main() -> None:
    parser = argparse.ArgumentParser(prog="pulumi-language-python")
    parser.add_argument("--tracing", help="taken and ignored")
    parser.add_argument("engine", nargs="?", default="", help="the engine's address")
    arguments, _ = parser.parse_known_args()

    parent = os.getppid()
    # The engine ends its hosts with SIGINT to all their processes. The one that waits for a program ignores it (it
    # would print a traceback) and ends when its stdin does.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Most commands that start a language host run a program. Its process imports the SDK for a second, and does so
    # while this one imports gRPC and the engine gets ready.
    waiting = start_program(sys.executable)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    from language_service import LanguageHost, serve

    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.set())
    host = LanguageHost(arguments.engine, waiting)
    server, port = serve(host)
    print(port, flush=True)
    # An engine that was killed says nothing; this process then has another parent.
    while not ended.wait(1) and os.getppid() == parent:
        pass
    host.close()
    server.stop(grace=None)


if __name__ == "__main__":
    main()

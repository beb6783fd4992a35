"""Programs that start with their imports done, which are more than half of an update's CPU time.

`start()` gives the folder of a virtual environment. Its `bin/python`, and the language host beside it, ask a process
that has everything loaded for a copy of itself, hand over their arguments, environment and standard streams, pass on
the signals that they get, and end as the copy ends. Whatever else `bin/python` is asked to run, it leaves to the real
one. Arguments and environment are where they would be without this: in the process that the engine started.
"""

import atexit
import functools
import gc
import importlib
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

HOST = "pulumi-language-python"
EXEC = f"{HOST}-exec"
"""Pulumi's script that runs a program, beside the engine."""

LOADED = ("aws_access_keys.programmatic_access", "aws_access_keys.stack_file", "boto3", "botocore.config", "pulumi_aws")


def is_possible(engine: Any) -> bool:
    """Whether this machine and this engine (pulumi_sandbox.engine.Engine) allow it: Pulumi's own language host does
    without the one beside `bin/python`."""
    return sys.platform == "linux" and not engine.has_official_host


@functools.cache
def start(engine: Path) -> Path:
    """Start the process that has everything loaded, once; it ends with this one. `engine` is the folder of `pulumi`."""
    folder = Path(tempfile.mkdtemp(prefix="preloaded-"))  # the path of a socket may have 107 bytes, pytest's are longer
    (folder / "bin").mkdir()
    for name, first in (("python", ""), (HOST, f'"{engine / EXEC}"')):
        script = folder / "bin" / name
        script.write_text(f'#!/bin/sh\nexec "{sys.executable}" -IS "{__file__}" "{folder}" {name} {first} "$@"\n')
        script.chmod(0o755)
    server = subprocess.Popen([sys.executable, __file__, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert server.stdout
    assert server.stdout.readline() == b"ready\n", "everything can be loaded"
    return folder


# ---- the process that the engine starts


def ask(folder: Path, name: str, arguments: list[str]) -> None:
    """Have a copy of the server run the arguments, and end as it does."""
    if name == "python" and not (arguments and arguments[0].endswith(EXEC)):
        os.execv(sys.executable, [sys.executable, *arguments])
    parent = os.getppid()
    text = json.dumps({"name": name, "arguments": arguments, "folder": os.getcwd(), "environment": dict(os.environ)})
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(str(folder / "socket"))
    socket.send_fds(connection, [len(text.encode()).to_bytes(8, "big")], [0, 1, 2])
    connection.sendall(text.encode())

    def forward(number: int, _: object = None) -> None:
        with suppress(OSError):  # the copy has just ended
            connection.send(bytes([number]))

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, forward)
    while not select.select([connection], [], [], 1)[0]:
        if name == HOST and os.getppid() != parent:  # it ends with its engine
            forward(signal.SIGTERM)
    code = int.from_bytes(connection.recv(4), "big", signed=True)
    if code < 0:
        with suppress(OSError):  # SIGKILL has no handler
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    sys.exit(code)


# ---- the process that has everything loaded


def serve(folder: Path) -> None:
    """Give each request a copy of this process, until the tests have ended."""
    import multiprocessing  # the asking process is quicker without

    del sys.path[0]  # this folder
    for name in LOADED:
        importlib.import_module(name)
    gc.collect()
    gc.freeze()  # what is loaded is not looked at again, and the copies share its memory
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(str(folder / "socket"))
    listening.listen(64)
    print("ready", flush=True)
    copies: dict[Any, tuple[Any, socket.socket]] = {}
    while True:
        ready = select.select([0, listening, *copies], [], [])[0]
        if 0 in ready:
            break
        for ended in copies.keys() & ready:
            copy, connection = copies.pop(ended)
            copy.join()
            with suppress(OSError):  # the other side was killed
                connection.send(copy.exitcode.to_bytes(4, "big", signed=True))
            connection.close()
        if listening in ready:
            connection = listening.accept()[0]
            head, streams, _, _ = socket.recv_fds(connection, 8, 3)
            text, length = b"", int.from_bytes(head, "big")
            while len(text) < length and (more := connection.recv(length - len(text))):
                text += more
            if not text or len(text) < length:  # the other side was killed while it asked
                connection.close()
                for stream in streams:
                    os.close(stream)
                continue
            copy = multiprocessing.get_context("fork").Process(
                target=run, args=(connection, streams), kwargs=json.loads(text)
            )
            copy.start()
            copies[copy.sentinel] = copy, connection
            for stream in streams:
                os.close(stream)
    for file in (*folder.glob("bin/*"), folder / "socket"):
        file.unlink()
    (folder / "bin").rmdir()
    folder.rmdir()
    os._exit(0)


def run(
    connection: socket.socket,
    streams: list[int],
    name: str,
    arguments: list[str],
    folder: str,
    environment: dict[str, str],
) -> None:
    """Be the process that was asked for."""
    os.setpgid(0, 0)
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    time.tzset()

    def follow() -> None:
        while received := connection.recv(1):
            os.kill(os.getpid(), received[0])
        os.killpg(0, signal.SIGKILL)  # as the other side was; what this process has started ends with it

    threading.Thread(target=follow, daemon=True).start()
    try:
        if name == HOST:
            sys.argv = [HOST, *arguments]
            # Not loaded before, as it puts empty modules in the place of Pulumi's packages.
            importlib.import_module("pulumi_sandbox.language_host.host").main()
        else:
            sys.argv = arguments
            sys.path.insert(0, os.path.dirname(arguments[0]))
            runpy.run_path(arguments[0], run_name="__main__")
    finally:
        atexit._run_exitfuncs()  # multiprocessing leaves it out before Python 3.13


if __name__ == "__main__":
    if sys.argv[2:]:
        ask(Path(sys.argv[1]), sys.argv[2], sys.argv[3:])
    else:
        serve(Path(sys.argv[1]))

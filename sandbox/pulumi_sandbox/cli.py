"""The command `pulumi-sandbox`."""

import argparse
import errno
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

from pulumi_sandbox import daemon, engine, process
from pulumi_sandbox.aws import call_log, settings
from pulumi_sandbox.aws.control import ControlError
from pulumi_sandbox.environment import enter
from pulumi_sandbox.paths import default_paths
from pulumi_sandbox.process import SandboxError
from pulumi_sandbox.project import stack_environment

SHELLS = ("sh", "dash", "bash", "ksh", "zsh", "fish")
# bash would take the prompt of its start-up files; it runs PROMPT_COMMAND before each prompt.
SHELL_PROMPT = {"PS1": "(sandbox) $ ", "PROMPT_COMMAND": 'PS1="(sandbox) ${PS1#(sandbox) }"'}

Command = Callable[[argparse.Namespace, list[str]], int]


def main() -> NoReturn:
    """Parse, do, exit with the command's code; an error that the user can act on is one message and exit code 1."""
    arguments = sys.argv[1:]
    rest: list[str] = []
    if "--" in arguments:
        cut = arguments.index("--")
        arguments, rest = arguments[:cut], arguments[cut + 1 :]
    parsed = _parser().parse_args(arguments)
    try:
        sys.exit(parsed.command(parsed, rest))
    except (SandboxError, engine.EngineError, ControlError, settings.SettingError) as error:
        sys.exit(f"pulumi-sandbox: {error}")
    except OSError as error:
        where = f": {error.filename}" if error.filename else ""
        folder = default_paths().root
        advice = f" Delete that folder to free the space it uses: {folder}" if error.errno == errno.ENOSPC else ""
        sys.exit(f"pulumi-sandbox: {error.strerror}{where}. The sandbox keeps everything in {folder}.{advice}")
    except KeyboardInterrupt:
        sys.stderr.write("\nInterrupted. Run the command again. Completed work is kept.\n")
        sys.exit(130)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="pulumi-sandbox", description="An AWS account and a Pulumi engine on this machine."
    )
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    def command(name: str, does: Command, text: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=text, description=text)
        sub.set_defaults(command=does)
        return sub

    run = command("run", _run, "run a command in the sandbox: pulumi-sandbox run -- pulumi preview")
    run.add_argument("--stack", help="the stack that pulumi uses in it; its aws:region holds for other commands, too")
    daemon.add_arguments(command("start", _start, "start the sandbox, if it is not running"))
    command("stop", _stop, "stop the sandbox; the content of its AWS account is kept")
    command("status", _status, "show whether the sandbox is running, and where")
    faults = command("faults", _faults, "inject faults into the running sandbox; options that are not given are off")
    settings.add_fault_arguments(faults)
    faults.add_argument("--show", action="store_true", help="show current faults without changing them")
    call_log.add_arguments(command("calls", _calls, "print the calls that the sandbox's AWS received"))
    command("reset", _reset, "empty the sandbox's AWS account; Pulumi's state of it is not touched")
    command("engine", _engine, "find, install or build the Pulumi engine, and print its path")
    command("doctor", _doctor, "show what is installed and what is missing")
    return parser


def _run(arguments: argparse.Namespace, rest: Sequence[str]) -> int:
    if not rest:
        raise SandboxError("The command to run is missing; put it after `--`: pulumi-sandbox run -- pulumi preview")
    environment = enter(default_paths())
    if arguments.stack:
        environment |= stack_environment(arguments.stack, Path.cwd())
    if os.path.basename(rest[0]) in SHELLS and len(rest) == 1:
        region = environment["AWS_REGION"]
        sys.stderr.write(f"A shell in the sandbox, region {region}: no real account is reached. `exit` leaves it.\n")
        environment |= SHELL_PROMPT
    return run_forwarding_signals(rest, environment)


def run_forwarding_signals(command: Sequence[str], environment: dict[str, str]) -> int:
    """Run a command to its end, leaving Ctrl-C to it: pulumi wants to finish what it is doing."""
    try:
        child = subprocess.Popen(command, env=environment)
    except FileNotFoundError:
        raise SandboxError(f"Command not found: {command[0]}") from None
    ignored = signal.signal(signal.SIGINT, signal.SIG_IGN)
    forward = signal.signal(signal.SIGTERM, lambda *_: child.terminate())
    try:
        return child.wait()
    finally:
        signal.signal(signal.SIGINT, ignored)
        signal.signal(signal.SIGTERM, forward)


def _start(_arguments: argparse.Namespace, _rest: Sequence[str]) -> int:
    server = process.start(default_paths(), sys.argv[2:])
    print(f"The sandbox is running (process {server.pid}). AWS: {server.endpoint_url}")
    return 0


def _stop(_arguments: argparse.Namespace, _rest: Sequence[str]) -> int:
    print("The sandbox is stopped." if process.stop(default_paths()) else "No sandbox is running here.")
    return 0


def _status(_arguments: argparse.Namespace, _rest: Sequence[str]) -> int:
    paths = default_paths()
    server = process.find(paths)
    if server is None:
        print("No sandbox is running here. Start one: pulumi-sandbox start")
        return 1
    provider = f"emulated, port {server.provider_port}" if server.provider_port else "real"
    print(f"The sandbox is running (process {server.pid}, since {server.started}).")
    print(f"  AWS            {server.endpoint_url}")
    print(f"  aws provider   {provider}")
    print(f"  options        {' '.join(server.options) or 'none'}")
    print(f"  folder         {paths.root}")
    faults = process.control(paths).faults().to_json()
    failures = len(faults.pop("failures"))
    active = [f"{name.replace('_', '-')} {value:g}" for name, value in faults.items() if value]
    active += [f"{failures} of fail or drop-response (pulumi-sandbox faults --show)"] if failures else []
    print(f"  faults         {', '.join(active) or 'none'}")
    return 0


def _faults(arguments: argparse.Namespace, _rest: Sequence[str]) -> int:
    control = process.control(default_paths())
    if not arguments.show:
        control.set_faults(settings.faults_from_args(arguments))
    print(json.dumps(control.faults().to_json(), indent=2))
    return 0


def _calls(arguments: argparse.Namespace, _rest: Sequence[str]) -> int:
    return call_log.main(default_paths().account, arguments)


def _reset(_arguments: argparse.Namespace, _rest: Sequence[str]) -> int:
    process.control(default_paths()).reset()
    print("The sandbox's AWS account is empty.")
    return 0


def _engine(_arguments: argparse.Namespace, _rest: Sequence[str]) -> int:
    print(engine.ensure().pulumi)
    return 0


def _doctor(_arguments: argparse.Namespace, _rest: Sequence[str]) -> int:
    server = process.find(default_paths())
    checks = [
        engine.Check("Python", True, f"{sys.version.split()[0]}, {sys.executable}"),
        *engine.diagnose(),
        engine.Check("sandbox", True, f"running at {server.endpoint_url}" if server else "stopped"),
    ]
    for what, good, detail in checks:
        print(f"  {'ok     ' if good else 'MISSING'}  {what:<16} {detail}")
    return 0

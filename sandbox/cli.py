"""`python -m sandbox COMMAND`: what people and the Makefile call."""

import argparse
import errno
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import NoReturn

from sandbox import daemon, engine, server
from sandbox.aws import calls
from sandbox.aws import options as aws_options
from sandbox.aws.control import Control, ControlError
from sandbox.environment import inside
from sandbox.folder import default, prepare
from sandbox.server import SandboxError

Command = Callable[[argparse.Namespace, list[str]], int]


def main() -> NoReturn:
    """Parse, do, exit with the command's code; a SandboxError or EngineError becomes one message and exit code 1."""
    arguments = sys.argv[1:]
    rest: list[str] = []
    if "--" in arguments:
        cut = arguments.index("--")
        arguments, rest = arguments[:cut], arguments[cut + 1 :]
    parsed = _parser().parse_args(arguments)
    try:
        sys.exit(parsed.command(parsed, rest))
    except (SandboxError, engine.EngineError, ControlError, aws_options.OptionError) as error:
        sys.exit(f"sandbox: {error}")
    except OSError as error:
        where = f": {error.filename}" if error.filename else ""
        advice = " Old state can go: make clean removes the sandbox." if error.errno == errno.ENOSPC else ""
        sys.exit(f"sandbox: {error.strerror}{where}. The sandbox keeps everything in {default().root}.{advice}")
    except KeyboardInterrupt:
        sys.exit(130)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m sandbox", description="An AWS account and a Pulumi engine on this machine."
    )
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    def command(name: str, does: Command, text: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=text, description=text)
        sub.set_defaults(command=does)
        return sub

    command("run", _run, "run a command in the sandbox: python -m sandbox run -- pulumi preview")
    start = command("start", _start, "start the sandbox, if it does not run")
    daemon.add_arguments(start)
    command("stop", _stop, "stop the sandbox; what its AWS account holds is kept")
    command("status", _status, "say whether the sandbox runs, and where")
    realism = command("realism", _realism, "show or change how the running sandbox behaves; what is not given is off")
    aws_options.add_realism_arguments(realism)
    realism.add_argument("--show", action="store_true", help="change nothing")
    calls.add_arguments(command("calls", _calls, "print the calls that the sandbox's AWS got"))
    command("reset", _reset, "empty the sandbox's AWS account; Pulumi's state of it is not touched")
    down = command("down", _down, "destroy a stack in the sandbox, and stop the sandbox")
    down.add_argument("stack", nargs="?", default="dev")
    command("doctor", _doctor, "say what is installed and what is missing")
    return parser


def _start(arguments: argparse.Namespace, _rest: Sequence[str]) -> int:
    running = server.start(default(), sys.argv[2:])
    print(f"The sandbox runs (process {running.pid}). AWS: {running.endpoint_url}")
    return 0


def _stop(_arguments: argparse.Namespace, _rest: Sequence[str]) -> int:
    print("The sandbox is stopped." if server.stop(default()) else "No sandbox runs here.")
    return 0


def _status(_arguments: argparse.Namespace, _rest: Sequence[str]) -> int:
    running = server.find(default())
    if running is None:
        print("No sandbox runs here. Start one: python -m sandbox start")
        return 1
    provider = "the real plugin" if running.real_plugin else f"the stand-in, port {running.provider_port}"
    print(f"The sandbox runs (process {running.pid}, since {running.started}).")
    print(f"  AWS            {running.endpoint_url}")
    print(f"  aws provider   {provider}")
    print(f"  settings       {' '.join(running.options) or 'none'}")
    print(f"  folder         {default().root}")
    return 0


def _realism(arguments: argparse.Namespace, _rest: Sequence[str]) -> int:
    control = _control()
    if not arguments.show:
        control.set_realism(aws_options.realism_from_args(arguments))
    print(json.dumps(control.realism().to_json(), indent=2))
    return 0


def _calls(arguments: argparse.Namespace, _rest: Sequence[str]) -> int:
    return calls.main(default().account, arguments)


def _reset(_arguments: argparse.Namespace, _rest: Sequence[str]) -> int:
    _control().reset()
    print("The sandbox's AWS account is empty.")
    return 0


def _control() -> Control:
    folder = default()
    return Control(server.start(folder).endpoint_url, prepare(folder).control_token)


def _run(_arguments: argparse.Namespace, rest: Sequence[str]) -> int:
    if not rest:
        raise SandboxError("Say what to run, behind two dashes: python -m sandbox run -- pulumi preview")
    return _run_inside(rest)


def _down(arguments: argparse.Namespace, _rest: Sequence[str]) -> int:
    folder = default()
    if not folder.pulumi_home.exists() or engine.find() is None:
        server.stop(folder)
        print("Nothing is up here.")
        return 0
    stacks = [path.stem for path in folder.state.rglob("stacks/**/*.json")]
    if arguments.stack in stacks:
        stack = ("--stack", arguments.stack)
        guarded = _let_guarded_keys_go(arguments.stack)
        destroy = ("destroy", "--yes", "--skip-preview", *(["--run-program"] if guarded else []))
        for command in (destroy, ("stack", "rm", "--yes", "--preserve-config")):
            code = _run_inside(["pulumi", *command, *stack])
            if code:
                return code
    else:
        print(f"There is no stack '{arguments.stack}' in the sandbox; there is: {', '.join(sorted(stacks)) or 'none'}.")
    server.stop(folder)
    print("The sandbox is stopped.")
    return 0


def _let_guarded_keys_go(stack: str) -> bool:
    """Whether a stack has keys under a retireGuard. They are taken for unused then: `make up` itself has used them, and
    here nobody is harmed."""
    command = ["pulumi", "stack", "export", "--non-interactive", "--stack", stack]
    exported = subprocess.run(command, env=_environment(), capture_output=True, text=True)
    if exported.returncode:
        return False  # what is wrong is for `pulumi destroy` to say
    resources = json.loads(exported.stdout)["deployment"].get("resources", [])
    guarded = [found["id"] for found in resources if "BeforeDelete" in found.get("resourceHooks", {})]
    if guarded:
        _control().forget_uses(guarded)
        text = "Some keys are under a retireGuard. The sandbox forgets that they were used, so that they may go."
        print(text, flush=True)
    return bool(guarded)


def _doctor(_arguments: argparse.Namespace, _rest: Sequence[str]) -> int:
    running = server.find(default())
    findings = [
        engine.Finding("Python", True, f"{sys.version.split()[0]}, {sys.executable}"),
        *engine.examine(),
        engine.Finding("sandbox", True, f"runs at {running.endpoint_url}" if running else "stopped; make up starts it"),
    ]
    for what, found, detail in findings:
        print(f"  {'ok     ' if found else 'MISSING'}  {what:<16} {detail}")
    return 0


def _run_inside(command: Sequence[str]) -> int:
    return run_forwarding_signals(command, _environment())


def _environment() -> dict[str, str]:
    folder = default()
    secrets = prepare(folder)
    return inside(os.environ, folder, secrets, server.start(folder), engine.find())


def run_forwarding_signals(command: Sequence[str], environment: dict[str, str]) -> int:
    """Run a command to its end, leaving Ctrl-C to it: pulumi wants to finish what it is doing."""
    try:
        child = subprocess.Popen(command, env=environment)
    except FileNotFoundError:
        raise SandboxError(f"There is no command '{command[0]}' here.") from None
    ignored = signal.signal(signal.SIGINT, signal.SIG_IGN)
    forward = signal.signal(signal.SIGTERM, lambda *_: child.terminate())
    try:
        return child.wait()
    finally:
        signal.signal(signal.SIGINT, ignored)
        signal.signal(signal.SIGTERM, forward)

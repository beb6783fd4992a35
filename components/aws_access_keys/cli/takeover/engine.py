"""What the engine does for a takeover: it names every resource as the program would, and takes them into the state.

The list of resources that holds secrets goes to `pulumi import` through a pipe: it is in no file.
"""

import json
import os
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from subprocess import PIPE
from typing import IO, Any, cast

from aws_access_keys.cli import STOPS
from aws_access_keys.cli.stack import StackError
from aws_access_keys.rules.takeover import Planned
from aws_access_keys.takeover import VARIABLE

Spec = dict[str, Any]
SECRET = {"4dabf18193072939515e22adb298388d": "1b47061264138c4ac30d75fd1eb44270"}
"""The engine's mark of a secret; beside it, `plaintext` has the value as JSON."""
# Nothing is created, so a run that is killed loses nothing: it is run again. 600 resources: 10 seconds instead of 78.
QUICK = {"PULUMI_SKIP_CHECKPOINTS": "true"}
STREAMING = {"PULUMI_ENABLE_STREAMING_JSON_PREVIEW": "true"}  # else there is one large document


class ImportList:
    """The resources that the program would create with a stack file, as `pulumi import --file` takes them."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self.names: dict[str, str] = dict(document.get("nameTable") or {})
        self.specs: list[Spec] = list(document.get("resources") or [])
        known: dict[str, tuple[str, str]] = {}
        for name, urn in self.names.items():
            _, _, types, logical = urn.split("::", 3)
            known[name] = (types.rpartition("$")[2], logical)
        known |= {spec["name"]: (spec["type"], spec.get("logicalName") or spec["name"]) for spec in self.specs}
        self.planned = [
            Planned(*known[spec["name"]], known[spec["parent"]] if spec.get("parent") else None) for spec in self.specs
        ]

    def document(self, specs: Sequence[Spec]) -> str:
        """The same with these resources only."""
        return json.dumps({"nameTable": self.names, "resources": specs})


def list_resources(stack: str, stack_file: str) -> ImportList:
    """The resources that a stack file would add to a stack. stack_file: its text. Raises StackError."""
    with tempfile.TemporaryDirectory(prefix="access-keys-") as folder:
        config, listed = Path(folder, "Pulumi.yaml"), Path(folder, "import.json")
        config.write_text(stack_file, "utf-8")
        arguments = ("--stack", stack, "--config-file", str(config), "--import-file", str(listed))
        try:
            list(_events(["preview", *arguments, "--json"], {**STREAMING, VARIABLE: "true"}))
        except StackError as error:
            raise StackError(f"{error.message}\nThis is about the new stack file. Nothing was changed.") from None
        return ImportList(json.loads(listed.read_text("utf-8")))


def import_resources(stack: str, document: str, advance: Callable[[], None]) -> None:
    """Take resources into the state of a stack. advance: is called for each. Raises StackError."""
    command = ["import", "--file", "/dev/stdin", "--stack", stack, "--generate-code=false"]
    command += ["--yes", "--skip-preview", "--protect=false", "--json"]
    for event in _events(command, QUICK, document):
        if "resOutputsEvent" in event:
            advance()


def hand_over(stack: str) -> list[str]:
    """Run the update that changes nothing in AWS, and writes the outputs: until then, the stack does not count the keys
    as handed over. Returns what it would change instead, a line for each resource; then it is not run. Raises
    StackError.

    It is held to the plan of its preview: somebody may edit the file in between.
    """
    with tempfile.TemporaryDirectory(prefix="access-keys-") as folder:
        plan = str(Path(folder, "plan.json"))  # secrets in it are encrypted as in the state
        preview = ["preview", "--stack", stack, "--json", "--save-plan", plan]
        steps = [
            event["resourcePreEvent"]["metadata"]
            for event in _events(preview, STREAMING)
            if "resourcePreEvent" in event
        ]
        changes = [step for step in steps if step["op"] not in ("same", "read")]
        if not changes:
            list(_events(["up", "--stack", stack, "--yes", "--skip-preview", "--json", "--plan", plan], {}))
    return [f"{step['op']} {step['urn'].split('::', 2)[2].rpartition('$')[2]}" for step in changes]


def _events(arguments: Sequence[str], environment: Mapping[str, str], document: str = "") -> Iterator[dict[str, Any]]:
    """The events of a `pulumi` command that reads a document. Raises StackError with its words where it fails.

    Ctrl-C reaches the engine, too, which ends in order; so it is waited for, and after any other signal as well.
    """
    interrupted: list[int] = []
    errors: list[str] = []
    before = {number: handler for number in STOPS if (handler := signal.getsignal(number)) != signal.SIG_IGN}
    for number in before:
        signal.signal(number, lambda received, _: interrupted.append(received))
    try:
        with (
            subprocess.Popen(
                ["pulumi", *arguments, "--non-interactive", "--color", "never"],
                stdin=PIPE,
                stdout=PIPE,
                stderr=PIPE,
                text=True,
                env={**os.environ, **environment},
            ) as process,
            ThreadPoolExecutor(2) as pool,
        ):
            stdin, stdout, stderr = cast("tuple[IO[str], ...]", (process.stdin, process.stdout, process.stderr))
            words = pool.submit(stderr.read)
            pool.submit(_send, stdin, document)
            for line in stdout:
                event = _event(line)
                diagnostic: dict[str, str] = event.get("diagnosticEvent") or {}
                if diagnostic.get("severity") == "error":
                    errors.append(diagnostic["message"])
                yield event
            errors.append(words.result())
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if interrupted:
        raise KeyboardInterrupt
    if process.returncode:
        raise StackError("\n".join(dict.fromkeys(text.strip() for text in errors if text.strip())))


def _send(stream: "IO[str]", text: str) -> None:
    with suppress(BrokenPipeError), stream:  # where the engine has ended, its words tell why
        stream.write(text)


def _event(line: str) -> dict[str, Any]:
    try:
        found: Any = json.loads(line)
    except ValueError:
        return {}
    return cast("dict[str, Any]", found) if isinstance(found, dict) else {}

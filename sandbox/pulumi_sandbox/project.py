"""What `pulumi` means in the sandbox: the real engine, on copies of a project's Pulumi.yaml and stack files.

The engine writes the salt of a stack's passphrase into `Pulumi.STACK.yaml`. The sandbox has a passphrase of its own, so
it must not write into the files that a real account is run with. It gets a project folder in the sandbox instead, whose
program is the project's: same code, same config, another salt. An edit of the project's own stack file is taken over
at once; `pulumi config set` in the sandbox changes the copy, until the project's file is edited: then it is kept aside.
"""

import json
import math
import os
import re
import sys
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any, cast

import yaml

from pulumi_sandbox.environment import ENGINE
from pulumi_sandbox.paths import default_paths, project_folder, write_private
from pulumi_sandbox.process import SandboxError

PROJECT = "PULUMI_SANDBOX_PROJECT"
"""The project's own folder, for programs that run something in it."""
_SECRETS_PROVIDER = re.compile(r"^(?:encryptionsalt|secretsprovider|encryptedkey):.*\n?", re.MULTILINE)
_SECRET = re.compile(r"""[^#]*\bsecure["']?:\s*["']?([^\s"'}]+)""")
# Flags whose value is a path, which would otherwise be read from the project folder in the sandbox.
_PATH_FLAGS = {"--file", "--policy-pack", "--policy-pack-config", "--config-file", "--save-plan", "--plan",
               "--event-log", "--import-file", "--out", "--save-update-plan", "--output-file"}  # fmt: skip


def main() -> None:
    """Called by `bin/pulumi` with pulumi's own arguments."""
    engine = os.environ.get(ENGINE)
    if not engine:
        sys.exit("There is no Pulumi engine in this sandbox yet. Get one: pulumi-sandbox engine")
    try:
        restore_cut_states(default_paths().state / ".pulumi")
        arguments = redirected(sys.argv[1:], Path.cwd())
    except OSError as error:
        sys.exit(f"pulumi-sandbox: {error.strerror}. The sandbox keeps everything in {default_paths().root}.")
    os.execv(engine, [engine, *arguments])


def restore_cut_states(backend: Path) -> None:
    """Put back the latest whole state of each stack whose state file was cut off, as by a full disk.

    The engine backs up a cut file over the good backup when it writes again; the history has the state after each run.
    """
    for state in (backend / "stacks").rglob("*.json"):
        if _is_whole(state):
            continue
        history = backend / "history" / state.relative_to(backend / "stacks").with_suffix("")
        older = [state.with_name(f"{state.name}.bak"), *sorted(history.glob("*.checkpoint.json"), reverse=True)]
        found = next(filter(_is_whole, older), None)
        if found:
            write_private(state, found.read_bytes())
            sys.stderr.write(
                f"pulumi-sandbox: the state of stack '{state.stem}' was cut off, as by a full disk. The state before "
                "that is restored. Run `pulumi refresh`, then `pulumi up`.\n"
            )


def _is_whole(state: Path) -> bool:
    try:
        json.loads(state.read_bytes())
    except (FileNotFoundError, ValueError):
        return False
    return True


def redirected(arguments: Sequence[str], cwd: Path) -> list[str]:
    """pulumi's arguments, made to use the sandbox's copy of the project that they mean."""
    arguments = list(arguments)
    for index, argument in enumerate(arguments):
        if argument in ("-C", "--cwd") and index + 1 < len(arguments):
            cwd = cwd / arguments[index + 1]
            del arguments[index : index + 2]
            break
        if argument.startswith("--cwd="):
            cwd = cwd / argument.removeprefix("--cwd=")
            del arguments[index]
            break
    project = project_folder(cwd.resolve())
    if project is None:
        return ["--cwd", str(cwd), *arguments]
    return ["--cwd", str(_copied(project)), *_absolute(arguments, cwd)]


def _absolute(arguments: Sequence[str], cwd: Path) -> list[str]:
    result: list[str] = []
    for previous, argument in zip(["", *arguments], arguments, strict=False):
        flag, equals, value = argument.partition("=")
        if previous in _PATH_FLAGS and not argument.startswith("-"):
            argument = str(cwd / argument)
        elif equals and flag in _PATH_FLAGS:
            argument = f"{flag}={cwd / value}"
        result.append(argument)
    return result


def _copied(project: Path) -> Path:
    """The sandbox's copy of a project folder, brought up to date."""
    os.environ[PROJECT] = str(project)
    copy = default_paths().projects / f"{project.name}-{sha256(str(project).encode()).hexdigest()[:8]}"
    copy.mkdir(mode=0o700, exist_ok=True)
    content = yaml.safe_dump(_with_absolute_paths(_parsed(project / "Pulumi.yaml"), project), sort_keys=False)
    if not (copy / "Pulumi.yaml").exists() or (copy / "Pulumi.yaml").read_text() != content:
        write_private(copy / "Pulumi.yaml", content)
    for source in project.glob("Pulumi.*.yaml"):
        _copy_stack_file(source, copy / source.name)
    return copy


def _with_absolute_paths(settings: "dict[str, Any]", project: Path) -> "dict[str, Any]":
    """Pulumi.yaml with the paths in it as seen from the project's own folder."""
    settings["main"] = str(project / str(settings.get("main", "")))
    runtime = settings.get("runtime")
    if isinstance(runtime, dict) and "virtualenv" in (runtime.get("options") or {}):
        runtime["options"]["virtualenv"] = str(project / runtime["options"]["virtualenv"])
    for plugins in (settings.get("plugins") or {}).values():
        for plugin in plugins:
            plugin["path"] = str(project / plugin["path"])
    packages = settings.get("packages") or {}
    packages |= {name: str(project / source) for name, source in packages.items() if str(source).startswith(".")}
    return settings


def _copy_stack_file(source: Path, copy: Path) -> None:
    """Take over the source where it changed since the last time, and keep the sandbox's own salt."""
    config = _parsed(source).get("config")
    text = source.read_text("utf-8")
    taken_over = copy.with_suffix(".sha256")  # of the source and its config, as they were when the copy was made
    digests = [_digest(text), _digest(yaml.safe_dump(config))]
    current = copy.read_text() if copy.exists() else ""
    before = taken_over.read_text().split() if current and taken_over.exists() else []
    own_config = (yaml.safe_load(current) or {}).get("config")
    if before[:1] == digests[:1]:
        if own_config != config:
            sys.stderr.write(
                f"pulumi-sandbox: the sandbox uses its own modified copy of {source.name}. "
                f"To discard it, edit {source} or delete {copy}.\n"
            )
        return
    if own_config != config and before[1:] and before[1] != _digest(yaml.safe_dump(own_config)):
        write_private(copy.with_name(f"{copy.name}.bak"), current)
        sys.stderr.write(
            f"pulumi-sandbox: {source.name} was edited and replaces the sandbox's own modified copy of it, "
            f"which is kept as {copy.name}.bak in {copy.parent}.\n"
        )
    encrypted = [str(n) for n, line in enumerate(text.splitlines(), 1) if _is_foreign(line, current)]
    if encrypted:
        sys.stderr.write(
            f"pulumi-sandbox: {source.name}, line {', '.join(encrypted)}: encrypted outside of the sandbox, which "
            "cannot read it. To use this stack, set the value in the sandbox: pulumi config set --secret --path 'KEY'\n"
        )
    own = "".join(line if line.endswith("\n") else line + "\n" for line in _SECRETS_PROVIDER.findall(current))
    write_private(copy, _SECRETS_PROVIDER.sub("", text).strip() + "\n" + own)
    write_private(taken_over, "\n".join(digests))


def _is_foreign(line: str, current: str) -> bool:
    """Whether a line of a stack file has a secret that the sandbox's copy does not have."""
    found = _SECRET.match(line)
    return found is not None and found[1] not in current


def _digest(text: str) -> str:
    return sha256(text.encode()).hexdigest()


def stack_environment(stack: str, cwd: Path) -> dict[str, str]:
    """What makes pulumi use a stack, and everything else its region. Raises SandboxError where it has no stack file."""
    project = project_folder(cwd) or cwd
    file = project / f"Pulumi.{stack}.yaml"
    if not file.exists():
        known = ", ".join(sorted(other.name for other in project.glob("Pulumi.*.yaml"))) or "none"
        raise SandboxError(f"{file.name} is missing in {project}. Stack files there: {known}")
    region = _config(_parsed(file)).get("aws:region")
    return {"PULUMI_STACK": stack} | ({"AWS_REGION": region, "AWS_DEFAULT_REGION": region} if region else {})


def _config(settings: "dict[str, Any]") -> "dict[str, Any]":
    found = settings.get("config")
    return cast("dict[str, Any]", found) if isinstance(found, dict) else {}


def _parsed(file: Path) -> "dict[str, Any]":
    try:
        text = file.read_text("utf-8")
        _refuse_unreadable(file, yaml.compose(text, yaml.SafeLoader))
        found = yaml.safe_load(text)
    except RecursionError:
        sys.exit(f"{file.name}: nested too deeply.")
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        sys.exit(f"{file.name}{place}: invalid YAML: {getattr(error, 'problem', None) or error}. Fix it there.")
    except ValueError as error:  # not UTF-8
        sys.exit(f"{file.name}: invalid YAML: {error}. Fix it there.")
    if not isinstance(found, dict | None):
        sys.exit(
            f"{file.name}: expected names with values, such as config:, got a {type(found).__name__}. Fix it there."
        )
    return cast("dict[str, Any]", found or {})


def _refuse_unreadable(file: Path, node: "yaml.Node | None") -> None:
    """What the engine refuses without naming the file. A key that a mapping has twice: PyYAML takes the last one."""
    if isinstance(node, yaml.ScalarNode):
        if why := _unreadable(node):
            sys.exit(f"{file.name}, line {node.start_mark.line + 1}: {why}")
        return
    lines: dict[str, int] = {}
    for key, value in node.value if isinstance(node, yaml.MappingNode) else ():
        line = key.start_mark.line + 1
        if isinstance(key, yaml.ScalarNode) and lines.setdefault(key.value, line) != line:
            sys.exit(
                f"{file.name}, line {line}: '{key.value}' is already on line {lines[key.value]}. Remove one of them."
            )
        _refuse_unreadable(file, key)
        _refuse_unreadable(file, value)
    for value in node.value if isinstance(node, yaml.SequenceNode) else ():
        _refuse_unreadable(file, value)


def _unreadable(node: yaml.ScalarNode) -> str | None:
    """Why the engine, or Python, cannot read a value, and what to do."""
    if re.search("[\ud800-\udfff]", node.value):
        return "an escape such as \\ud83d is only half a character. Write the character itself."
    kind = node.tag.rpartition(":")[2]
    if kind not in ("float", "int", "timestamp"):
        return None
    try:
        value: Any = yaml.SafeLoader("").construct_object(node)  # pyright: ignore[reportUnknownMemberType]
    except ValueError as error:  # a date such as 2027-02-30
        return f"{node.value}: {error}. Correct the value, or put a text in quotes."
    if kind == "float" and not math.isfinite(value):
        return f"{node.value} is not a number that Pulumi can read. Correct the value, or put a text in quotes."
    return None

"""What `pulumi` means inside the sandbox: the real engine, on a copy of this project's stack files.

The engine writes the salt of a stack's passphrase into `Pulumi.STACK.yaml`. The sandbox has a passphrase of its own, so
it must not write into the files that a real account is run with. It sees a project folder inside the sandbox instead,
whose program is the checkout's: same code, same config, another salt. An edit of a stack file in the checkout is taken
over at once; `pulumi config set` inside the sandbox changes the copy, until the checkout's file is edited.

Only commands run in this checkout are redirected; another Pulumi project runs in its own folder.
"""

import os
import re
import sys
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

import yaml

from sandbox.environment import ENGINE
from sandbox.folder import CHECKOUT, default, write_private

_SECRETS_PROVIDER = re.compile(r"^(?:encryptionsalt|secretsprovider|encryptedkey):.*\n?", re.MULTILINE)
# Flags whose value is a path, which would otherwise be read from the project folder inside the sandbox.
_PATHS = {"--file", "--policy-pack", "--policy-pack-config", "--config-file", "--save-plan", "--plan", "--event-log",
          "--import-file", "--out", "--save-update-plan", "--output-file"}  # fmt: skip


def main() -> None:
    """Called by `sandbox/bin/pulumi` with pulumi's own arguments."""
    engine = os.environ.get(ENGINE)
    if not engine:
        sys.exit("There is no Pulumi engine in this sandbox yet. Run: python -m sandbox.engine")
    arguments = redirected(sys.argv[1:], Path.cwd())
    os.execv(engine, [engine, *arguments])


def redirected(arguments: Sequence[str], cwd: Path) -> list[str]:
    """pulumi's arguments, made to use the project folder in the sandbox where they mean this checkout's project."""
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
    if _project_of(cwd.resolve()) != CHECKOUT:
        return ["--cwd", str(cwd), *arguments]
    return ["--cwd", str(_copied()), *_absolute(arguments, cwd)]


def _project_of(folder: Path) -> Path | None:
    return next((above for above in (folder, *folder.parents) if (above / "Pulumi.yaml").exists()), None)


def _absolute(arguments: Sequence[str], cwd: Path) -> list[str]:
    result: list[str] = []
    for before, argument in zip(["", *arguments], arguments, strict=False):
        flag, equals, value = argument.partition("=")
        if before in _PATHS and not argument.startswith("-"):
            argument = str(cwd / argument)
        elif equals and flag in _PATHS:
            argument = f"{flag}={cwd / value}"
        result.append(argument)
    return result


def _copied() -> Path:
    """The project folder in the sandbox, brought up to date with the checkout."""
    target = default().project
    project = yaml.safe_load((CHECKOUT / "Pulumi.yaml").read_text())
    project["main"] = str(CHECKOUT)
    project["runtime"]["options"]["virtualenv"] = sys.prefix
    _write_changed(target / "Pulumi.yaml", yaml.safe_dump(project, sort_keys=False))
    for source in CHECKOUT.glob("Pulumi.*.yaml"):
        _copy_stack_file(source, target / source.name)
    return target


def _copy_stack_file(source: Path, copy: Path) -> None:
    """Take over the source where it changed since the last time, and keep the sandbox's own salt."""
    text = source.read_text()
    _refuse_broken(source, text)
    seen = copy.with_suffix(".seen")  # digest of the source, and of what was made of it
    digest = sha256(text.encode()).hexdigest()
    before = seen.read_text().split() if seen.exists() else []
    current = copy.read_text() if copy.exists() else ""
    if before[:1] == [digest] and current:
        if _config(current) != _config(text):
            sys.stderr.write(
                f"sandbox: {source.name} was changed inside the sandbox, and that copy is used. "
                f"Edit {source.name} in the checkout, or delete {copy}, to go back.\n"
            )
        return
    own = "".join(line if line.endswith("\n") else line + "\n" for line in _SECRETS_PROVIDER.findall(current))
    write_private(copy, _without_provider(text) + "\n" + own)
    write_private(seen, digest)


def _config(text: str) -> object:
    """What a stack file says, however the engine formats it."""
    return (yaml.safe_load(text) or {}).get("config")


def _refuse_broken(source: Path, text: str) -> None:
    """Say in one line where a stack file is no YAML."""
    try:
        yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        sys.exit(f"{source.name}{where}: this is no YAML: {getattr(error, 'problem', None) or error}. Mend it there.")


def _without_provider(text: str) -> str:
    return _SECRETS_PROVIDER.sub("", text).strip()


def _write_changed(path: Path, text: str) -> None:
    if not path.exists() or path.read_text() != text:
        write_private(path, text)

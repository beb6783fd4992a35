"""`access-keys rotate`: request a new access key by raising the user's serial in the stack file.

The file is changed in that one place. `pulumi config set --path` would rewrite all of it, without blank lines, aliases
and some comments; it is the advice where the one place cannot be changed alone.
"""

import os
import stat
from collections.abc import Collection, Generator, Mapping
from difflib import unified_diff
from pathlib import Path
from shlex import quote
from typing import Any, NamedTuple, cast

import yaml

from aws_access_keys.cli.files import locked, write_file
from aws_access_keys.cli.stack import StackError, require_user, stack_keys
from aws_access_keys.rules.problem import NAMESPACE, masked
from aws_access_keys.rules.untyped import mapping


class Entry(NamedTuple):
    """A user in a stack file."""

    path: Path
    text: str
    """What is in the file."""
    data: dict[str, Any]
    """What YAML reads in it."""
    user: str
    """The name in the file."""
    name: str
    """The name in IAM."""
    settings: dict[str, Any]
    """Those in force for the user's key."""
    off: Collection[str]
    """Those in `without`."""

    def way_back(self, values: Mapping[str, int | str | None]) -> str:
        """How an edit of these settings is undone, in the imperative: what else is in the file may not be committed."""
        own = mapping(mapping(self.data["config"][f"{NAMESPACE}:users"].get(self.user)).get("key"))
        old = [f"set {name} to {yaml_of(own[name])}" if name in own else f"remove {name}" for name in values]
        return f"in the key of {self.user} in {self.path}: {', '.join(old)}"


def rotate(stack: str, user: str, dry_run: bool) -> tuple[dict[str, Any], str]:
    """Raise a user's serial in the stack file above that of the current key. Raises StackError.

    Returns what was done, as data and as text. A serial that is above the current key's already is left as it is, so
    that a second call before `pulumi up` requests no second key.
    """
    entry, command = entry_of(stack, user), f"pulumi up --stack {quote(stack)}"
    path, user, settings = entry.path, entry.user, entry.settings
    old: int = settings.get("serial", 1)
    keys: dict[str, Any] = stack_keys(stack)["keys"].get(entry.name) or {}
    if not keys.get("current"):
        raise StackError(
            f"{user} has no access key in stack '{stack}' yet. `{command}` creates the first one, unless `key` is null."
        )
    new = max(old, int(keys["current"]["serial"]) + 1)
    diff = edit(stack, entry, {"serial": new} if new != old else {}, dry_run)
    warnings = list(update_warnings(keys, settings))
    result = {"user": user, "stack": stack, "file": str(path), "changed": bool(diff) and not dry_run}
    result |= {"oldSerial": old, "newSerial": new, "diff": diff, "warnings": warnings, "next": command}
    lines = diff or [f"{path}: the serial of {user} is already {old}, and that key has not been issued yet."]
    if not dry_run:
        lines = [*lines, *(f"Warning: {warning}" for warning in warnings), f"Next: {command}"]
    return result, "\n".join(lines)


def entry_of(stack: str, user: str) -> Entry:
    """A user in the stack file, by its name there or in IAM. Raises StackError."""
    path = stack_file(stack)
    text, data = read_yaml(path) if path.exists() else ("", {})
    config = mapping(data.get("config"))
    if isinstance(config.get(f"{NAMESPACE}:users"), str):
        raise StackError(
            f"{path} has {NAMESPACE}:users as JSON text, which Pulumi accepts but this command cannot edit. Write it "
            f"as a mapping, as in `{NAMESPACE}:users: {{ann: {{groups: [test]}}}}`, and run the command again."
        )
    if f"{NAMESPACE}:users" not in config:
        raise _in_program(stack, user, path)
    users = {str(name): value for name, value in mapping(config.get(f"{NAMESPACE}:users")).items()}
    prefix = str(config.get(f"{NAMESPACE}:namePrefix") or "")
    unprefixed = user.removeprefix(prefix)
    if user != unprefixed and {user, unprefixed} <= users.keys():
        raise StackError(
            f"'{user}' can mean the user {unprefixed} or {user} in {path}, because all names in IAM begin with "
            f"{prefix}. Write {unprefixed} or {prefix}{user}."
        )
    user = user if user in users else unprefixed
    require_user(user, users, str(path))
    own = mapping(mapping(users[user]).get("key"))
    off = [str(one) for one in cast("list[Any]", without)] if isinstance(without := own.get("without"), list) else []
    settings = mapping(config.get(f"{NAMESPACE}:keyDefaults")) | own | dict.fromkeys(off)
    if not isinstance(serial := settings.get("serial", 1), int):
        raise StackError(f"{path}: the serial of {user} is {serial!r}. Use a whole number.")
    return Entry(path, text, data, user, prefix + user, settings, off)


def edit(stack: str, entry: Entry, values: Mapping[str, int | str | None], dry_run: bool) -> list[str]:
    """Set settings of a user's key in the stack file. Returns the difference. Raises StackError."""
    path, edited, data = entry.path, entry.text, entry.data
    for setting, value in values.items():
        if value is not None and setting in entry.off:
            raise StackError(
                f"{path} was not changed: {setting} is in `without` of {entry.user}. Remove it there, and set in the "
                f"key, in addition to what it has: {as_listed(values)}"
            )
        changed = with_setting(edited, data, entry.user, setting, value)
        if changed is None:
            key = f'{NAMESPACE}:users["{entry.user}"].key'
            commands = [
                f"\n  pulumi config set --path {quote(f'{key}.{name}')} {value} --stack {quote(stack)}"
                for name, value in values.items()
            ]
            cure = f"Edit the file, or let Pulumi rewrite it:{''.join(commands)}"
            if None in values.values():  # Pulumi would write it as text
                cure = f"Set there, in addition to what the key has: {as_listed(values)}"
            raise StackError(
                f"{path} was not changed: the {setting} of {entry.user} cannot be set without changing more lines (an "
                f"alias, a merge key or an unusual layout). {cure}"
            )
        edited, data = changed, mapping(yaml.safe_load(changed))
    if edited != entry.text and not dry_run:
        write_stack_file(path, entry.text, edited)
    return difference(path, entry.text, edited)


def write_stack_file(path: Path, old: str, new: str) -> None:
    """Write a stack file, unless it is not as it was read. old: empty if there was none. Raises StackError."""
    file = Path(os.path.realpath(path))
    try:
        with locked(file.parent):
            if (read_yaml(path)[0] if path.exists() else "") != old:
                raise StackError(f"{path} was changed meanwhile. It was not written; run the command again.")
            write_file(file, new.encode(), stat.S_IMODE(file.stat().st_mode) if path.exists() else 0o644)
    except OSError as error:
        raise StackError(f"{path} cannot be written: {error.strerror}. It is as it was.") from None


def difference(path: Path, old: str, new: str) -> list[str]:
    """What an edit changes, as lines of a unified diff, without what may be a secret near it."""
    lines = unified_diff(old.splitlines(), new.splitlines(), str(path), str(path), lineterm="")
    return [masked(line) for line in lines]


def _in_program(stack: str, user: str, path: Path) -> StackError:
    """The error for a stack whose users are not in the stack file, but in a program that uses the component."""
    keys = stack_keys(stack)["keys"]
    require_user(user, keys, f"Stack '{stack}'")
    serial = int(keys[user]["current"]["serial"]) + 1
    return StackError(
        f"{path} has no {NAMESPACE}:users, so the program of stack '{stack}' sets the users itself. Set the serial of "
        f'{user} to {serial} there: key: {{serial: {serial}}} in YAML, "key": {{"serial": {serial}}} in Python. '
        f"Then run `pulumi up --stack {quote(stack)}`. Nothing was changed."
    )


def update_warnings(keys: dict[str, Any], settings: dict[str, Any]) -> Generator[str]:
    """What the next update takes away. keys: the user's in the output `keys`. settings: those of the user's key."""
    if previous := keys.get("previous"):
        which = f"the previous access key {previous['id']} ({previous['status']})"
        yield f"`pulumi up` deletes {which}, because IAM allows two keys per user."
    rotation = mapping(settings.get("rotation"))
    wanted = str(settings.get("previous") or ("inactive" if rotation else None)).lower()
    if wanted in ("deleted", "inactive") and not rotation.get("overlapDays"):
        which = f"the current access key {keys['current']['id']}"
        verb = "deletes" if wanted == "deleted" else "deactivates"
        yield (
            f"`pulumi up` {verb} {which} once the new one works, because `previous` is `{wanted}`. Set it to `active` "
            "to keep both for a while."
        )


def stack_file(stack: str) -> Path:
    """Where Pulumi keeps a stack's config: beside Pulumi.yaml, or in its stackConfigDir. Raises StackError."""
    for folder in (Path(), *Path.cwd().parents):
        for project in (folder / "Pulumi.yaml", folder / "Pulumi.yml"):
            if project.is_file():
                subfolder = str(read_yaml(project)[1].get("stackConfigDir") or "")
                return folder / subfolder / f"Pulumi.{stack.rsplit('/', 1)[-1]}{project.suffix}"
    raise StackError("There is no Pulumi.yaml here. Run this in the folder of the Pulumi program.")


def in_project() -> bool:
    """Whether this runs in the folder of a Pulumi program."""
    try:
        stack_file("any")
    except StackError as error:
        return "no Pulumi.yaml" not in error.message
    return True


def with_setting(text: str, data: dict[str, Any], user: str, setting: str, value: int | str | None) -> str | None:
    """The text of a stack file with a setting of a user's key set, all else as it is; None where that cannot be done.

    data: what YAML reads in the text.
    """
    missing = ["config", f"{NAMESPACE}:users", user, "key", setting]
    name, node = None, cast("Any", yaml).compose(text)
    while missing and isinstance(node, yaml.MappingNode):
        found = next((pair for pair in cast("Any", node).value if pair[0].value == missing[0]), None)
        if found is None:
            break
        name, node = found
        missing.pop(0)
    written = yaml_of(value)
    entry = f"key: {{{setting}: {written}}}" if len(missing) == 2 else f"{setting}: {written}"
    if not missing:
        start, end, new = node.start_mark.index, node.end_mark.index, written
    elif not isinstance(node, yaml.MappingNode) or len(missing) > 2 or name is None:
        return None
    elif not node.value:  # {}
        start = end = node.end_mark.index - 1
        new = entry
    elif node.flow_style:
        start = end = node.value[0][0].start_mark.index
        new = f"{entry}, "
    else:  # on a line below the mapping's name, so that each comment stays above what it is about
        start = end = text.index("\n", name.end_mark.index) + 1
        line_end = "\r\n" if text[:start].endswith("\r\n") else "\n"
        new = f"{' ' * node.value[0][0].start_mark.column}{entry}{line_end}"
    edited = text[:start] + new + text[end:]
    return edited if _differ_in_setting_only(edited, data, user, {setting: value}) else None


def as_listed(values: Mapping[str, int | str | None]) -> str:
    """Settings in a line."""
    return ", ".join(f"{name}: {yaml_of(value)}" for name, value in values.items())


def yaml_of(value: int | str | None) -> str:
    """A setting as a stack file has it."""
    return "null" if value is None else str(value)


def _differ_in_setting_only(edited: str, data: dict[str, Any], user: str, setting: dict[str, int | str | None]) -> bool:
    users = data["config"][f"{NAMESPACE}:users"]
    entry = mapping(users.get(user))
    entry = {**entry, "key": {**mapping(entry.get("key")), **setting}}
    expected = {**data, "config": {**data["config"], f"{NAMESPACE}:users": {**users, user: entry}}}
    try:
        return yaml.safe_load(edited) == expected
    except (yaml.YAMLError, ValueError):
        return False


def read_yaml(path: Path) -> tuple[str, dict[str, Any]]:
    """A YAML file's text, and what it holds. Raises StackError."""
    try:
        text = path.read_bytes().decode()
        return text, mapping(yaml.safe_load(text))
    except OSError as error:
        raise StackError(f"{path} cannot be read: {error.strerror}.") from None
    except (yaml.YAMLError, ValueError) as error:  # ValueError: not UTF-8, or a date such as 2027-02-30
        mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None) or error
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise StackError(f"{path} is not valid YAML: {where}{' '.join(str(problem).split())}") from None

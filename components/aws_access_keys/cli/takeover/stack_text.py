"""Groups and users added to the text of a stack file; every line that is there stays as it is."""

import json
from collections.abc import Mapping
from typing import Any, cast

import yaml

from aws_access_keys.rules.problem import NAMESPACE

_WORDS = {"y", "n", "yes", "no", "on", "off", "true", "false", "null", "nan", "inf", "infinity"}


class _Dumper(yaml.SafeDumper):
    """YAML that every reader takes for the same: text that another one could take for a number has quotes."""


def _text(dumper: Any, value: str) -> Any:
    is_plain = value[:1].isalpha() and value.isascii() and value.isprintable() and value.casefold() not in _WORDS
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=None if is_plain else '"')


_Dumper.add_representer(str, _text)


def with_entries(text: str, sections: Mapping[str, Mapping[str, Any]]) -> str | None:
    """The text of a stack file with entries added to `groups` and `users`; None where that cannot be done.

    sections: `groups` and `users` → name → settings, none of which are in the file.
    """
    expected: dict[str, Any] = dict(yaml.safe_load(text) or {})
    expected["config"] = dict(expected.get("config") or {})
    for section, entries in sections.items():
        if not entries:
            continue
        edited = _with_section(text, f"{NAMESPACE}:{section}", entries)
        if edited is None:
            return None
        text, key = edited, f"{NAMESPACE}:{section}"
        expected["config"][key] = {**(expected["config"].get(key) or {}), **entries}
    try:
        return text if yaml.safe_load(text) == expected else None
    except (yaml.YAMLError, ValueError):
        return None


def as_yaml(data: Mapping[str, Any], indent: int = 0) -> str:
    """A mapping as lines of YAML."""
    made = yaml.dump(dict(data), Dumper=_Dumper, sort_keys=False, default_flow_style=None, width=100)
    return "".join(f"{' ' * indent}{line}" for line in made.splitlines(keepends=True))


def _with_section(text: str, key: str, entries: Mapping[str, Any]) -> str | None:
    root: Any = cast("Any", yaml).compose(text)
    if root is None or (isinstance(root, yaml.MappingNode) and _value(root, "config") is None):
        return _append(text, len(text), as_yaml({"config": {key: dict(entries)}}))
    config = _value(root, "config")
    if isinstance(config, yaml.ScalarNode) and config.value in ("", "~", "null", "{}"):
        return None
    if not isinstance(config, yaml.MappingNode) or config.flow_style or not config.value:
        return None
    section = _value(config, key)
    if section is None:
        column = config.value[0][0].start_mark.column
        return _append(text, _end(config), as_yaml({key: dict(entries)}, column))
    if not isinstance(section, yaml.MappingNode):
        return None
    if section.flow_style:
        close = section.end_mark.index - 1
        listed = ", ".join(f"{json.dumps(name)}: {json.dumps(value)}" for name, value in entries.items())
        return f"{text[:close]}{', ' if section.value else ''}{listed}{text[close:]}"
    return _append(text, _end(section), as_yaml(entries, section.value[0][0].start_mark.column))


def _value(mapping: Any, name: str) -> Any:
    return next((value for key, value in mapping.value if key.value == name), None)


def _end(node: Any) -> int:
    """Where the last value of a block ends: the comments below it may belong to what follows."""
    while isinstance(node, (yaml.MappingNode, yaml.SequenceNode)) and not node.flow_style and node.value:
        last: Any = cast("Any", node).value[-1]
        node = cast("Any", last[1] if isinstance(last, tuple) else last)
    return int(cast("Any", node).end_mark.index)


def _append(text: str, at: int, lines: str) -> str:
    """The text with lines below the line in which a value ends."""
    if at and text[at - 1] != "\n":
        line_end = text.find("\n", at)
        at = len(text) if line_end < 0 else line_end + 1
    before, after = text[:at], text[at:]
    if before and not before.endswith("\n"):
        before += "\n"
    if "\r\n" in text:
        lines = lines.replace("\n", "\r\n")
    return before + lines + after

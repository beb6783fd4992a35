"""`python scripts/configuration_table.py`: write the tables in docs/configuration.md and docs/security.md.

They come from the classes of the settings and from the table of the operator's permissions. `make schema` runs this
script.
"""

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from aws_access_keys.rules import operator_rows
from aws_access_keys.rules.problem import STACK_FILE
from aws_access_keys.setting_types import (
    Choice,
    Day,
    Flag,
    ListOf,
    MapOf,
    Nested,
    NestedOrText,
    Section,
    Setting,
    SettingType,
    WholeNumber,
    settings_of,
)
from aws_access_keys.settings import StackSettings

DOCS = Path(__file__).parent.parent / "docs"
BEGIN = "<!-- Generated from the {} by `make schema`; do not edit. -->\n"
END = "<!-- End of the generated table. -->\n"


def table() -> str:
    """Every setting of a stack file with its type, limits, default and description, as a Markdown table."""
    # A section that is used in several places is described once, at the top level if it is there.
    described = {
        found.type.section: STACK_FILE(name)
        for name, found in settings_of(StackSettings).items()
        if isinstance(found.type, Nested)
    }
    return "\n".join(["| Setting | Value | Meaning |", "|---|---|---|", *_rows(StackSettings, described)]) + "\n"


def _rows(
    section: type[Section], described: dict[type[Section], str], prefix: str = "", inherited: Iterable[str] = ()
) -> Iterator[str]:
    """The rows of a section's settings and of the sections in it, without the inherited ones."""
    for name, found in settings_of(section).items():
        if name in inherited:
            continue
        path, kind = f"{prefix}{STACK_FILE(name)}", found.type
        if isinstance(kind, MapOf) and isinstance(kind.item, Nested):
            path, kind = f"{path}.NAME", kind.item
        if isinstance(kind, ListOf) and isinstance(kind.item, Nested):
            path, kind = f"{path}[]", kind.item
        as_text = "text or " if isinstance(kind, NestedOrText) else ""
        if not isinstance(kind, Nested):
            yield f"| `{path}` | {_value(found)} | {found.description} |"
            continue
        inner = kind.section
        base = next((known for known in described if issubclass(inner, known) and described[known] != path), None)
        yield f"| `{path}` | {as_text}{f'as `{described[base]}`' if base else 'mapping'} | {found.description} |"
        described.setdefault(inner, path)
        yield from _rows(inner, described, f"{path}.", settings_of(base) if base else ())


def _value(found: Setting) -> str:
    """Type, limits and default of a setting."""
    if found.is_required:
        return f"{_type(found.type)}, required"
    default = found.default
    return (
        f"{_type(found.type)}; default `{str(default).lower()}`"
        if isinstance(default, (str, int)) and default != ""
        else _type(found.type)
    )


def _type(kind: SettingType) -> str:
    match kind:
        case Choice():
            return ", ".join(f"`{choice}`" for choice in kind.choices)
        case WholeNumber():
            return f"whole number, {kind.least} {'or more' if kind.most is None else f'to {kind.most}'}"
        case ListOf():
            return f"list of {_type(kind.item)}"
        case MapOf():
            return f"mapping of names to {_type(kind.item)}"
        case Flag():
            return "`true` or `false`"
        case _:
            return "date" if isinstance(kind, Day) else "text"


TABLES = {
    DOCS / "configuration.md": (BEGIN.format("settings' classes"), table),
    DOCS / "security.md": (BEGIN.format("rows in rules/operator_rows.py"), operator_rows.table),
}
"""Document → the line before its table, and what makes the table."""


def document(path: Path) -> str:
    """A document with its table as it is now."""
    begin, made = TABLES[path]
    before, rest = path.read_text("utf-8").split(begin)
    _, after = rest.split(END)
    return f"{before}{begin}\n{made()}\n{END}{after}"


if __name__ == "__main__":
    for path in TABLES:
        path.write_text(document(path), "utf-8")
        sys.stdout.write(f"Wrote the table in {path.name}\n")

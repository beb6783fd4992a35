"""`python scripts/configuration_table.py`: write the table of settings in docs/configuration.md.

The table comes from the classes of the settings. `make schema` runs this script.
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

from aws_access_keys.settings import SettingsModel, StackSettings

DOCUMENT = Path(__file__).parent.parent / "docs" / "configuration.md"
BEGIN = "<!-- Generated from the settings' classes by `make schema`; do not edit. -->\n"
END = "<!-- End of the generated table. -->\n"

Section = type[SettingsModel]


def table() -> str:
    """Every setting of a stack file with its type, limits, default and description, as a Markdown table."""
    fields = StackSettings.model_fields
    # A section that is used in several places is described once, at the top level if it is there.
    described = {
        section: str(field.alias) for field in fields.values() if (section := _section(field.annotation, mapped=False))
    }
    return "\n".join(["| Setting | Value | Meaning |", "|---|---|---|", *_rows(StackSettings, described)]) + "\n"


def _rows(section: Section, described: dict[Section, str], prefix: str = "", inherited: Any = ()) -> Iterator[str]:
    """The rows of a section's settings and of the sections in it, without the inherited ones."""
    schema = section.model_json_schema()
    for name, field in section.model_fields.items():
        if name in inherited:
            continue
        path, inner = f"{prefix}{field.alias}", _section(field.annotation)
        if inner is None:
            value = _value(schema["properties"][field.alias], field.is_required())
            yield f"| `{path}` | {value} | {field.description} |"
            continue
        if _section(field.annotation, mapped=False) is None:
            path += ".NAME"
        base = next((known for known in described if issubclass(inner, known) and described[known] != path), None)
        yield f"| `{path}` | {f'as `{described[base]}`' if base else 'mapping'} | {field.description} |"
        described.setdefault(inner, path)
        yield from _rows(inner, described, f"{path}.", base.model_fields if base else ())


def _section(annotation: Any, *, mapped: bool = True) -> Section | None:
    """The class of the settings below a setting, if there are any. mapped: also where each has a name of its own."""
    if isinstance(annotation, type) and issubclass(annotation, SettingsModel):
        return annotation
    arguments = get_args(annotation) if mapped or not str(annotation).startswith("dict") else ()
    return next((found for argument in arguments if (found := _section(argument))), None)


def _value(schema: dict[str, Any], required: bool) -> str:
    """Type, limits and default of a setting."""
    kind = next((choice for choice in schema.get("anyOf", []) if choice["type"] != "null"), schema)
    default = schema.get("default")
    if required:
        return f"{_type(kind)}, required"
    if default in (None, {}, []):
        return _type(kind)
    return f"{_type(kind)}; default `{str(default).lower()}`"


def _type(schema: dict[str, Any]) -> str:
    if "enum" in schema:
        return ", ".join(f"`{choice}`" for choice in schema["enum"])
    if schema["type"] == "integer":
        limit = f"to {schema['maximum']}" if "maximum" in schema else "or more"
        return f"whole number, {schema['minimum']} {limit}"
    if schema["type"] == "array":
        return f"list of {_type(schema['items'])}"
    if schema["type"] == "object":
        return f"mapping of names to {_type(schema['additionalProperties'])}"
    return {"boolean": "`true` or `false`", "string": "date" if schema.get("format") == "date" else "text"}[
        schema["type"]
    ]


def document(text: str) -> str:
    """A document with the table, as it is now, between the two markers."""
    before, rest = text.split(BEGIN)
    _, after = rest.split(END)
    return f"{before}{BEGIN}\n{table()}\n{END}{after}"


if __name__ == "__main__":
    DOCUMENT.write_text(document(DOCUMENT.read_text("utf-8")), "utf-8")
    sys.stdout.write(f"Wrote the table of settings in {DOCUMENT.name}\n")

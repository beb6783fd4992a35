"""The mistakes in mistakes.yaml: each is refused with the message that the table has, before anything is registered."""

import datetime
import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import pulumi
import pytest
import yaml
from aws_access_keys import ProgrammaticAccess, stack_settings
from aws_access_keys.validation import SettingsError

from tests.unit.recording import PROJECT, deploy

GROUPS = {"test": {"policies": ["AmazonS3FullAccess"]}}
Test = TypeVar("Test", bound=Callable[..., None])
FOLDER = Path(__file__).parent
USERS = {"test-user": {"groups": ["test"]}}
ARGS = {"groups": {"g": {"policies": ["IAMFullAccess"]}}, "users": {"u": {"groups": ["g"]}}}


class Known(NamedTuple):
    """A value that the table marks with `!output`: the program passes it as an Output."""

    value: Any


class Loader(yaml.SafeLoader):
    """YAML with `!output`."""


def _output(loader: Loader, node: yaml.Node) -> Known:
    if isinstance(node, yaml.MappingNode):
        return Known(loader.construct_mapping(node, deep=True))
    if isinstance(node, yaml.SequenceNode):
        return Known(loader.construct_sequence(node, deep=True))
    return Known(node.value)


Loader.add_constructor("!output", _output)
TABLE: dict[str, list[list[Any]]] = yaml.load((FOLDER / "mistakes.yaml").read_text(), Loader)


def rows(kind: str) -> Callable[[Test], Test]:
    """One test for each row of a part of the table."""
    found = TABLE[kind]
    each = pytest.mark.parametrize("row", found, ids=[" ".join(str(row[0]).split())[:70] for row in found])
    return lambda test: pytest.mark.counted(f"mistakes in {kind}")(each(test))


@rows("settings")
def test_a_mistake_in_the_settings_of_a_stack_file_is_refused(row: list[Any]) -> None:
    settings = {"groups": GROUPS, "users": USERS, **row[0]}
    assert problems(lambda: deploy(stack_settings, as_the_engine_passes_it(settings))) == row[1:]


@rows("files")
def test_a_mistake_in_a_whole_stack_file_is_refused(row: list[Any], tmp_path: Path) -> None:
    text: str = row[0]
    (tmp_path / "Pulumi.dev.yaml").write_text(text)
    config = as_the_engine_passes_it(yaml.safe_load(text).get("config", {}))
    assert problems(lambda: deploy(stack_settings, config, folder=str(tmp_path))) == row[1:]


@rows("arguments")
def test_a_mistake_in_the_arguments_is_refused(row: list[Any]) -> None:
    args: Any = ARGS | as_a_program_passes_it(row[0])
    assert problems(lambda: deploy(lambda: ProgrammaticAccess("access", args))) == row[1:]


def test_the_table_is_as_long_as_it_promises() -> None:
    counts = {kind: len(found) for kind, found in TABLE.items()}
    assert counts["settings"] + counts["files"] >= 120
    assert counts["arguments"] >= 40


def problems(run: Callable[[], Any]) -> list[str]:
    """The lines of the refusal, without what is the same in all of them."""
    with pytest.raises(SettingsError) as caught:
        run()
    message = re.sub(r"(?<=Known names: )[^.]*(?=\.)", "...", str(caught.value).replace(str(Path.cwd()), "FOLDER"))
    message = re.sub(r"(?<=added it after )[0-9-]+", "DATE", message)
    of_what = "" if message.startswith("The configuration of stack") else " of this component"
    assert message.endswith(f"Nothing{of_what} was created or changed.")
    return [line[2:].removeprefix(f"{PROJECT}:") for line in message.splitlines() if line.startswith("  ")]


def as_the_engine_passes_it(settings: Mapping[str, Any]) -> dict[str, str]:
    """Every key with its namespace and its value as text, as Pulumi's engine makes them of a stack file."""

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {_text(name): plain(item) for name, item in value.items()}
        if isinstance(value, list):
            return [plain(item) for item in value]
        return _text(value) if isinstance(value, datetime.date) else value

    def text(value: Any) -> str:
        return "" if value is None else value if isinstance(value, str) else json.dumps(plain(value))

    return {key if ":" in key else f"{PROJECT}:{key}": text(value) for key, value in settings.items()}


def _text(value: object) -> str:
    """What the engine makes of a name or a date without quotes."""
    if isinstance(value, datetime.date):
        return f"{value:%Y-%m-%d %H:%M:%S} +0000 UTC"
    return f"{value:g}" if isinstance(value, (int, float)) else str(value)


def as_a_program_passes_it(value: Any) -> Any:
    """The same with Outputs where the table marks them."""
    if isinstance(value, Known):
        return pulumi.Output.from_input(value.value)
    if isinstance(value, dict):
        return {name: as_a_program_passes_it(item) for name, item in value.items()}
    return [as_a_program_passes_it(item) for item in value] if isinstance(value, list) else value

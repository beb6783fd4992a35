"""The component as a package for other languages: its schema, and how it reads the arguments that they give."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from aws_access_keys.provider import schema
from aws_access_keys.rules.problem import OTHER_LANGUAGES
from aws_access_keys.setting_types import read_section
from aws_access_keys.settings import ComponentSettings

COMPONENTS = Path(__file__).parents[2] / "components"


def args(**key: Any) -> dict[str, Any]:
    """Arguments as they arrive from another language, with one user who has such a key."""
    groups = {"readers": {"policies": ["AmazonS3ReadOnlyAccess"]}}
    return {"groups": groups, "users": {"ann": {"groups": ["readers"], "key": key}}}


def test_the_committed_schema_is_the_one_of_the_code() -> None:
    committed = json.loads((COMPONENTS / "schema.json").read_text())
    assert json.loads(schema()) == committed, "run make schema after a change of the component's args or outputs"


def test_whole_numbers_arrive_as_floats_and_are_integers_again() -> None:
    rotation = {"start": "2026-12-01", "everyDays": 90.0, "overlapDays": 7.0}
    settings, problems = read_section(ComponentSettings, args(serial=3.0, rotation=rotation), OTHER_LANGUAGES)
    assert problems == []
    assert settings is not None
    key = settings.effective_key("ann")
    assert (key.serial, type(key.serial)) == (3, int)
    assert key.rotation is not None
    assert (key.rotation.every_days, type(key.rotation.every_days)) == (90, int)


def test_a_fraction_is_refused_with_its_place() -> None:
    _, problems = read_section(ComponentSettings, args(serial=2.5), OTHER_LANGUAGES)
    assert [problem[:2] for problem in problems] == [("users.ann.key.serial", "expected a whole number, got 2.5.")]


def test_an_argument_that_the_schema_does_not_have_is_refused() -> None:
    _, problems = read_section(ComponentSettings, args(retireGard={"idleDays": 30.0}), OTHER_LANGUAGES)
    assert [problem.path for problem in problems] == ["users.ann.key.retireGard"]
    assert "Did you mean 'retireGuard'?" in problems[0].message


def test_what_is_named_under_without_is_switched_off_as_null_does() -> None:
    given = args(without=["rotation", "expires"])
    given["users"]["bob"] = {"groups": ["readers"], "without": ["key", "deliver"]}
    rotation = {"start": "2026-12-01", "everyDays": 90.0, "overlapDays": 7.0}
    given |= {"keyDefaults": {"rotation": rotation, "expires": "2027-01-01"}, "deliver": {"ssm": {}}}
    settings, problems = read_section(ComponentSettings, given, OTHER_LANGUAGES)
    assert problems == []
    assert settings is not None
    key = settings.effective_key("ann")
    assert (key.rotation, key.expires) == (None, None)
    assert settings.users_with_key == ["ann"]
    assert settings.users["bob"].deliver is None
    assert "deliver" in settings.users["bob"].given, "the component's own is not used either"


@pytest.mark.parametrize("file", ["Pulumi.yaml", "components/PulumiPlugin.yaml", "components/template/Pulumi.yaml"])
def test_an_engine_that_is_too_old_is_refused_by_name(file: str) -> None:
    """After-hooks that fail an update came with 3.238.0 (Pulumi's CHANGELOG)."""
    assert yaml.safe_load((COMPONENTS.parent / file).read_text())["requiredPulumiVersion"] == ">=3.238.0"

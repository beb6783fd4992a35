"""The component as a package for other languages: its schema, and what becomes of the args that they give."""

import json
from pathlib import Path
from typing import Any

import pulumi
import pytest
import yaml
from aws_access_keys.provider import AccessKeysProvider, schema

COMPONENTS = Path(__file__).parents[2] / "components"


def args(**user: Any) -> dict[str, Any]:
    """Args as they arrive from another language, with one user."""
    return {"groups": {"readers": {"policies": ["AmazonS3ReadOnlyAccess"]}}, "users": {"ann": user}}


def test_the_committed_schema_is_the_one_of_the_code() -> None:
    committed = json.loads((COMPONENTS / "schema.json").read_text())
    assert json.loads(schema()) == committed, "run make schema after a change of the component's args or outputs"


def test_whole_numbers_arrive_as_integers_and_names_as_pythons() -> None:
    key = {"serial": 3.0, "retireGuardIdleDays": 30.0, "rotation": {"start": "2026-12-01", "everyDays": 90.0}}
    given = args(groups=["readers"], key=key)
    ann = AccessKeysProvider().args(given)["users"]["ann"]
    assert ann["key"] == {
        "serial": 3,
        "retire_guard_idle_days": 30,
        "rotation": {"start": "2026-12-01", "every_days": 90},
    }
    assert isinstance(ann["key"]["serial"], int)
    assert isinstance(ann["key"]["rotation"]["every_days"], int)


def test_a_fraction_is_refused_with_its_place() -> None:
    with pytest.raises(pulumi.RunError, match=r"^users\.ann\.key\.serial: 2\.5 is not a whole number\.$"):
        AccessKeysProvider().args(args(groups=["readers"], key={"serial": 2.5}))


def test_names_that_the_user_chose_are_left_alone() -> None:
    given = {"groups": {"keyDefaults": {"policies": []}}, "users": {"pgpKey": {"groups": [], "tags": {"pgpKey": "x"}}}}
    assert AccessKeysProvider().args(given) == given


def test_an_arg_that_the_schema_does_not_have_is_left_for_the_component_to_refuse() -> None:
    given = args(groups=["readers"], key={"retireGuardIdleDay": 30.0})
    assert AccessKeysProvider().args(given)["users"]["ann"]["key"] == {"retireGuardIdleDay": 30}


@pulumi.runtime.test
def test_what_is_known_later_gets_pythons_names_then() -> "pulumi.Output[None]":
    later = pulumi.Output.from_input({"retireGuardIdleDays": 30.0})
    key: pulumi.Output[Any] = AccessKeysProvider().args(args(groups=["readers"], key=later))["users"]["ann"]["key"]

    def check(known: dict[str, Any]) -> None:
        assert known == {"retire_guard_idle_days": 30}

    return key.apply(check)


@pytest.mark.parametrize("file", ["Pulumi.yaml", "components/PulumiPlugin.yaml", "components/template/Pulumi.yaml"])
def test_an_engine_that_is_too_old_is_refused_by_name(file: str) -> None:
    """After-hooks that fail an update came with 3.238.0 (Pulumi's CHANGELOG)."""
    assert yaml.safe_load((COMPONENTS.parent / file).read_text())["requiredPulumiVersion"] == ">=3.238.0"

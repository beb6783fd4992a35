"""The emulated provider responds as the real one was measured to: provider_measured.json holds the measurements."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from provider_client import UNKNOWN, Connection, Made, Secret, agrees, connected

MEASURED: list[dict[str, Any]] = json.loads(
    Path(__file__).with_name("provider_measured.json").read_text(encoding="utf-8")
)["resources"]
# pulumi-aws 7 is built on provider 6, which has these beyond the measured 5.100.0.
NEWER = {"region", "bucketRegion", "secretArn"}


class World:
    """All measured resources, made one after the other, as each may need the ones before."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.previews: dict[str, dict[str, Any]] = {}
        self.made: dict[str, Made] = {}
        self.created: dict[str, dict[str, Any]] = {}
        for row in MEASURED:
            token, inputs = row["token"], self.filled(row["inputs"])
            self.previews[token] = connection.preview(token, inputs)
            self.made[token] = connection.make(token, inputs)
            self.created[token] = dict(self.made[token].outputs)

    def filled(self, inputs: dict[str, Any]) -> dict[str, Any]:
        """``${token.property}`` replaced by what the resource has."""

        def value(given: Any) -> Any:
            if isinstance(given, dict):
                return {key: value(part) for key, part in given.items()}
            if isinstance(given, list):
                return [value(part) for part in given]
            if isinstance(given, str) and given.startswith("${"):
                token, _, name = given[2:-1].rpartition(".")
                return self.made[token].outputs[name]
            return given

        return {key: value(given) for key, given in inputs.items()}


@pytest.fixture(scope="module")
def world(connection: Connection) -> Iterator[World]:
    with connected(connection.port, region="us-east-1") as measured:
        yield World(measured)


def plain(value: Any) -> Any:
    return value.value if isinstance(value, Secret) else value


rows = pytest.mark.parametrize("row", MEASURED, ids=[row["token"].split(":")[2] for row in MEASURED])
plans = pytest.mark.parametrize(
    ("row", "plan"),
    [(row, plan) for row in MEASURED for plan in row["plans"]],
    ids=lambda given: json.dumps(given.get("change", given.get("token"))),
)


@rows
def test_check_adds_the_defaults_that_the_real_provider_adds(world: World, row: dict[str, Any]) -> None:
    checked = {key: plain(value) for key, value in world.made[row["token"]].inputs.items()}
    for key, value in row["checked"].items():
        assert agrees(value, checked.get(key)), f"input {key} of {row['token']} is {checked.get(key)!r}, not {value!r}"


@rows
def test_create_returns_the_measured_id_and_outputs(world: World, row: dict[str, Any]) -> None:
    token = row["token"]
    assert agrees(row["id"], world.made[token].id), f"the id of {token} is {world.made[token].id!r}, not {row['id']!r}"
    outputs = {
        key: plain(value)
        for key, value in world.created[token].items()
        if key != "id" and (key not in NEWER or key in row["outputs"])
    }
    assert outputs.keys() == row["outputs"].keys(), f"{token} has other outputs than the real one"
    wrong = {key: (outputs[key], value) for key, value in row["outputs"].items() if not agrees(value, outputs[key])}
    assert not wrong, f"{token} differs from the real one: property -> (emulated provider, real) {wrong}"


@rows
def test_exactly_the_secret_outputs_are_marked_secret(world: World, row: dict[str, Any]) -> None:
    marked = sorted(key for key, value in world.created[row["token"]].items() if isinstance(value, Secret))
    assert marked == row["secrets"], f"the secret outputs of {row['token']} are {marked}, not {row['secrets']}"


@rows
def test_preview_leaves_the_measured_outputs_unknown(world: World, row: dict[str, Any]) -> None:
    unknown = {key for key, value in world.previews[row["token"]].items() if plain(value) == UNKNOWN}
    assert unknown - NEWER == set(row["unknownInPreview"]) - NEWER, f"in a preview of {row['token']}"


@rows
def test_refresh_changes_only_what_the_real_provider_changes(world: World, row: dict[str, Any]) -> None:
    made = world.made[row["token"]]
    assert made.refresh(), f"{row['token']} was not found again"
    before = world.created[row["token"]]
    changed = {key: value for key, value in made.outputs.items() if value != before.get(key)}
    measured = dict(row["changedByRead"])
    if row["token"] == "aws:iam/policy:Policy":
        changed.pop("attachmentCount", None)  # other rows may have attached it by now
    if row["token"] == "aws:secretsmanager/secret:Secret":
        changed.pop("policy", None)  # another row has set it by now
    if row["token"] == "aws:s3/bucket:Bucket":
        changed = {key: value for key, value in changed.items() if key not in ("policy", "versioning")}  # other rows
    assert changed == measured, f"a refresh of {row['token']} changes {changed}, not {measured}"


@plans
def test_a_change_of_one_input_is_planned_as_measured(world: World, row: dict[str, Any], plan: dict[str, Any]) -> None:
    made = world.made[row["token"]]
    made.refresh()
    inputs = {key: value for key, value in world.filled(row["inputs"] | plan["change"]).items() if value is not None}
    diff = made.diff(inputs)
    assert sorted(diff.diffs) == sorted(plan["diffs"]), f"{plan['change']} of {row['token']} changes other properties"
    assert sorted(diff.replaces) == plan["replaces"], f"{plan['change']} of {row['token']} replaces otherwise"
    assert diff.deleteBeforeReplace == plan["deleteBeforeReplace"], f"{plan['change']} of {row['token']}: order"
    if "unknown" in plan:
        outputs = made.update(inputs, preview=True)
        unknown = sorted(key for key, value in outputs.items() if plain(value) == UNKNOWN)
        assert unknown == plan["unknown"], f"{plan['change']} of {row['token']} leaves {unknown} unknown"

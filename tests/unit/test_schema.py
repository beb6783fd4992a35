"""The JSON schema that editors check stack files with."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from aws_access_keys.settings.schema import stack_file_schema
from aws_access_keys.settings.shape import StackSettings

COMMITTED: dict[str, Any] = json.loads(Path("stack.schema.json").read_text())


def test_the_committed_schema_is_the_one_of_the_code() -> None:
    assert stack_file_schema() == COMMITTED, "run make schema after a change in settings/shape.py"


@pytest.mark.parametrize("name", ["Pulumi.dev.yaml", "Pulumi.prod.yaml"])
def test_the_stack_files_match_the_schema_and_point_to_it(name: str) -> None:
    text = Path(name).read_text()
    jsonschema.validate(yaml.safe_load(text), COMMITTED)
    assert text.startswith("# yaml-language-server: $schema=./stack.schema.json"), "editors find the schema"


@pytest.mark.parametrize(
    "config",
    [
        {"aws-access-keys:gruops": {}},
        {"aws-access-keys:groups": {"g": {"policies": "one"}}},
        {"aws-access-keys:users": {"u": {"groups": ["g"], "key": {"serial": 0}}}},
        {"aws-access-keys:users": {"u": {"groups": ["g"], "keys": {}}}},
    ],
)
def test_the_schema_refuses_what_the_program_refuses(config: dict[str, Any]) -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"config": config}, COMMITTED)


def test_the_schema_lets_other_namespaces_and_pulumis_own_keys_be() -> None:
    config = {"aws:profile": "x", "pulumi:tags": {"a": "b"}}
    jsonschema.validate({"encryptionsalt": "v1:x", "secretsprovider": "passphrase", "config": config}, COMMITTED)


def test_every_key_is_declared_in_the_project_file_with_type_and_description() -> None:
    declared = yaml.safe_load(Path("Pulumi.yaml").read_text())["config"]
    assert set(declared) == {str(field.alias) for field in StackSettings.model_fields.values()}
    for name, entry in declared.items():
        assert entry["type"] in ("object", "array"), name
        assert len(entry["description"]) > 20, f"{name} says what it is"

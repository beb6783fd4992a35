"""The JSON schema that editors check stack files with."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from aws_access_keys.schema import stack_file_schema

COMMITTED: dict[str, Any] = json.loads(Path("stack.schema.json").read_text())


def test_the_committed_schema_is_the_one_of_the_code() -> None:
    assert stack_file_schema() == COMMITTED, "run make schema after a change in aws_access_keys/settings.py"


@pytest.mark.parametrize("stack", ["dev", "prod"])
def test_the_stack_files_of_the_repository_match_the_schema(stack: str) -> None:
    jsonschema.validate(yaml.safe_load(Path(f"Pulumi.{stack}.yaml").read_text()), COMMITTED)


@pytest.mark.parametrize(
    "file",
    [
        {"config": {"aws-access-keys:gruops": {}}},
        {"config": {"aws-access-keys:groups": {"g": {"policies": "one"}}}},
        {"config": {"aws-access-keys:users": {"u": {"groups": ["g"], "key": {"serial": 0}}}}},
        {"config": {"aws-access-keys:users": {"u": {"groups": ["g"], "key": {"serial": 10**10}}}}},
        {"config": {"aws-access-keys:users": {"u": {"groups": ["g"], "keys": {}}}}},
        {"config": {"aws-access-key:users": {}}},
        {"config": {"aws_access_keys:tags": {}}},
        {"config": {"access-keys:outputs": []}},
        {"config": {"asw-access-keys:keyDefaults": {}}},
        {"config": {}, "aws-access-keys:keyDefaults": {"retireGuard": {"idleDays": 3}}},
        {"config": {}, "users": {}},
        {"confg": {}},
    ],
    ids=str,
)
def test_the_schema_refuses_what_the_program_refuses(file: dict[str, Any]) -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(file, COMMITTED)


def test_the_schema_lets_other_namespaces_and_pulumis_own_keys_be() -> None:
    pulumis = {"encryptionsalt": "v1:x", "secretsprovider": "passphrase", "encryptedkey": "x", "environment": ["dev"]}
    config = {"aws:profile": "x", "pulumi:tags": {"a": "b"}, "my-project:region": "x", "access:tags": {}}
    jsonschema.validate({**pulumis, "config": config}, COMMITTED)


def test_the_schema_takes_a_secret_that_pulumi_encrypted() -> None:
    adopt = {"id": "AKIAIOSFODNN7EXAMPLE", "secret": {"secure": "v1:x"}}
    users = {"u": {"groups": ["g"], "key": {"adopt": adopt}}}
    jsonschema.validate({"config": {"aws-access-keys:users": users}}, COMMITTED)

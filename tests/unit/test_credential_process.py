"""What `access-keys credentials --process` prints and refuses."""

import json
from datetime import datetime, timedelta, timezone
from typing import Any

import boto3
import pytest
from aws_access_keys.cli.commands import access_keys
from aws_access_keys.cli.process import RUNNING, as_process_output, from_store
from aws_access_keys.cli.stack import StackError
from click.testing import CliRunner

from tests.unit.fake_aws import aws_error

KEY = {"aws_access_key_id": "AKIA1", "aws_secret_access_key": "s3cr3t"}


class Stores:
    """boto3's session and its clients: each store holds one text."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.asked: list[tuple[str, Any]] = []
        self.region: str | None = None

    def client(self, service: str) -> "Stores":
        self.asked.append(("client", service))
        return self

    def get_parameter(self, **given: Any) -> dict[str, Any]:
        self.asked.append(("ssm", given["Name"]))
        return {"Parameter": {"Value": self.text}}

    def get_secret_value(self, **given: Any) -> dict[str, Any]:
        self.asked.append(("secretsmanager", given["SecretId"]))
        if not self.text:
            raise aws_error("ResourceNotFoundException")
        return {"SecretString": self.text}


@pytest.fixture
def stores(monkeypatch: pytest.MonkeyPatch) -> Stores:
    found = Stores(json.dumps(KEY))

    def session(**given: Any) -> Stores:
        found.region = given["region_name"]
        return found

    monkeypatch.setattr(boto3, "Session", session)
    return found


def test_the_output_has_the_form_that_aws_documents() -> None:
    output = json.loads(as_process_output(KEY, 30))
    expiration = datetime.fromisoformat(output.pop("Expiration"))
    assert output == {"Version": 1, "AccessKeyId": "AKIA1", "SecretAccessKey": "s3cr3t"}
    assert timedelta(minutes=29) < expiration - datetime.now(timezone.utc) <= timedelta(minutes=30)


def test_a_store_is_read_under_its_default_name_or_another(stores: Stores) -> None:
    assert from_store("ann", "ssm", None, None, None) == KEY
    assert from_store("ann", "secretsManager", "team/key", None, None) == KEY
    assert ("ssm", "/access-keys/ann") in stores.asked
    assert ("secretsmanager", "team/key") in stores.asked


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "'access-keys/ann' in secretsManager cannot be read: ResourceNotFoundException"),
        ('{"expired": "2026-12-01"}', "the access key expired on 2026-12-01"),
        ("[1]", "holds no access key in the form"),
        ('{"aws_access_key_id": "AKIA1"}', "holds no access key in the form"),
        ("not JSON s3cr3t", "holds no access key in the form"),
    ],
)
def test_what_is_not_a_key_is_refused_and_not_shown(stores: Stores, text: str, says: str) -> None:
    stores.text = text
    with pytest.raises(StackError) as caught:
        from_store("ann", "secretsManager", None, None, None)
    assert says in str(caught.value)
    assert "s3cr3t" not in str(caught.value)


def test_an_arn_gives_the_region_and_must_be_complete(stores: Stores) -> None:
    arn = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:team/key-AbCdEf"
    assert from_store("ann", "secretsManager", arn, None, None) == KEY
    assert stores.region == "eu-west-1"
    for wrong in ("arn:", "arn:aws:x", arn.replace("eu-west-1", "")):
        with pytest.raises(StackError, match=r"is not a complete ARN\. Write the whole ARN, or only the name"):
            from_store("ann", "secretsManager", wrong, None, None)


def test_a_profile_that_would_ask_itself_is_refused(stores: Stores, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(RUNNING, "1")
    with pytest.raises(StackError, match="Name another one with --with-profile"):
        from_store("ann", "ssm", None, "ann", None)
    assert not stores.asked


@pytest.mark.parametrize("options", [("--from", "vault"), ("--from", "stack:x"), ("--csv", "f"), ("--profile", "p")])
def test_wrong_options_end_with_exit_code_2(stores: Stores, options: tuple[str, ...]) -> None:
    assert CliRunner().invoke(access_keys, ["credentials", "ann", "--process", *options]).exit_code == 2


def test_a_terminal_is_shown_no_secret(stores: Stores, monkeypatch: pytest.MonkeyPatch) -> None:
    result = CliRunner().invoke(access_keys, ["credentials", "ann", "--process", "--from", "ssm"])
    assert json.loads(result.output)["AccessKeyId"] == "AKIA1"
    monkeypatch.setattr("click.testing._NamedTextIOWrapper.isatty", lambda _: True, raising=False)
    result = CliRunner().invoke(access_keys, ["credentials", "ann", "--process", "--from", "ssm"])
    assert result.exit_code == 2
    assert "s3cr3t" not in result.output

"""The program's own AWS session: roles in a chain, with the credentials of a stack file."""

import json
from pathlib import Path
from typing import Any

import boto3
import botocore.session
import pytest
from aws_access_keys.account import Account, AwsQueryError
from aws_access_keys.cli import stack
from aws_access_keys.cli.stack import StackError
from aws_access_keys.session import session_for
from botocore.exceptions import ClientError

from tests.unit.command import Command

HUB, SPOKE = "arn:aws:iam::123456789012:role/hub", "arn:aws:iam::222222222222:role/spoke"
CONFIG = {"region": "ap-northeast-2", "accessKey": "AKIABASE", "secretKey": "base"}


class Sts:
    """STS as botocore's clients of it are used: who asked for which role with which parameters."""

    def __init__(self, expires: list[str]) -> None:
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self._expires = expires

    def client(self, *_: Any, **given: Any) -> "Sts":
        self._caller = given["aws_access_key_id"]
        return self

    def assume_role(self, **asked: Any) -> dict[str, Any]:
        self.calls.append((self._caller, asked))
        if asked["RoleArn"].endswith("refused"):
            details = {"Error": {"Code": "AccessDenied", "Message": "User: x is not authorized"}}
            raise ClientError(details, "AssumeRole")  # pyright: ignore[reportArgumentType]
        expires = self._expires.pop(0) if self._expires else "2099-01-01T00:00:00Z"
        key = f"ASIA{asked['RoleArn'].rpartition('/')[2].upper()}{len(self.calls)}"
        return {
            "Credentials": {"AccessKeyId": key, "SecretAccessKey": "s", "SessionToken": "t", "Expiration": expires},
            "AssumedRoleUser": {"Arn": asked["RoleArn"], "AssumedRoleId": "AROA:x"},
        }


@pytest.fixture
def sts(monkeypatch: pytest.MonkeyPatch) -> Sts:
    made = Sts([])
    monkeypatch.setattr(botocore.session.Session, "create_client", made.client)
    monkeypatch.delenv("PULUMI_SANDBOX", raising=False)
    return made


def key_of(session: boto3.Session) -> str:
    credentials: Any = session.get_credentials()
    return str(credentials.get_frozen_credentials().access_key)


def test_each_role_is_assumed_by_the_one_before_it(sts: Sts) -> None:
    spoke = {"roleArn": SPOKE, "externalId": "e", "sessionName": "s", "duration": "1h", "tags": {"a": "b"}}
    session = session_for({**CONFIG, "assumeRoles": [{"roleArn": HUB}, spoke]})
    assert sts.calls == [], "nothing is asked before credentials are needed"
    assert key_of(session) == "ASIASPOKE2"
    assert session.region_name == "ap-northeast-2"
    (base, hub), (chained, last) = sts.calls
    assert base == "AKIABASE"
    assert (hub["RoleArn"], hub["RoleSessionName"]) == (HUB, "aws-access-keys")
    assert chained == "ASIAHUB1"
    tags = [{"Key": "a", "Value": "b"}]
    assert last == {"RoleArn": SPOKE, "ExternalId": "e", "RoleSessionName": "s", "Tags": tags}
    assert key_of(session) == "ASIASPOKE2"
    assert len(sts.calls) == 2, "credentials are used until they expire"


def test_credentials_that_expire_are_renewed(sts: Sts) -> None:
    sts._expires[:] = ["2001-01-01T00:00:00Z"]  # pyright: ignore[reportPrivateUsage]
    session = session_for({**CONFIG, "assumeRoles": f'[{{"roleArn": "{SPOKE}"}}]'})
    with pytest.raises(RuntimeError, match="expired"):
        key_of(session)
    assert key_of(session) == "ASIASPOKE2"


def test_a_role_that_is_refused_is_named_with_its_setting(sts: Sts) -> None:
    roles = [{"roleArn": HUB}, {"roleArn": "arn:aws:iam::222222222222:role/refused"}]
    credentials: Any = session_for({**CONFIG, "assumeRoles": roles}).get_credentials()
    with pytest.raises(Exception, match=r"aws:assumeRoles\[1\] \(arn:aws:iam::222222222222:role/refused\): AccessDen"):
        credentials.get_frozen_credentials()


@pytest.mark.parametrize(
    ("roles", "message"),
    [
        ([{"roleArn": HUB, "externalID": "x"}], f"aws:assumeRoles: the role {HUB} has an unknown setting 'externalID'"),
        ([{"roleArn": HUB, "tags": ["team"]}], rf"tags of the role {HUB} must be a mapping, .* got \['team'\]"),
        ([{"roleArn": HUB, "policyArns": "x"}], f"policyArns of the role {HUB} must be a list of ARNs, got 'x'"),
        ([{"roleArn": HUB, "externalId": 7}], f"externalId of the role {HUB} must be text, got 7"),
        ("nonsense", "aws:assumeRoles: expected a list of roles"),
    ],
)
def test_malformed_roles_are_refused_before_aws_is_asked(roles: Any, message: str) -> None:
    with pytest.raises(AwsQueryError, match=message):
        Account(lambda: session_for({**CONFIG, "assumeRoles": roles})).client("iam")


def test_encrypted_values_of_the_aws_config_are_decrypted_for_the_session(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = Command(tmp_path, monkeypatch, {})
    roles = [{"roleArn": SPOKE, "externalId": "e"}]
    engine.config |= {
        "aws:assumeRoles": {"value": json.dumps(roles), "objectValue": roles},
        "aws:secretKey": {"value": "base"},
        "aws-access-keys:users": {"value": "{}", "objectValue": {}},
        "other:token": {"value": "t"},
    }
    assert stack.stack_config("dev", "aws") == {"region": "ap-northeast-2", "assumeRoles": roles, "secretKey": "base"}
    engine.secret = {"aws:assumeRoles", "aws:secretKey", "aws-access-keys:users", "other:token"}
    expected = {"region": "ap-northeast-2", "assumeRoles": roles, "secretKey": "base"}
    assert stack.stack_config("dev", "aws") == stack.aws_config(None) == expected
    assert stack.stack_config("dev", "aws-access-keys") == {}, "nothing else is decrypted"


@pytest.mark.parametrize("named", ["dev", None])
def test_an_encrypted_value_that_cannot_be_decrypted_is_named_and_never_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, named: str | None
) -> None:
    engine = Command(tmp_path, monkeypatch, {})
    engine.config["aws:secretKey"] = {"value": "base"}
    engine.secret = {"aws:secretKey"}

    def pulumi(*arguments: str) -> str:
        if "--show-secrets" in arguments:
            raise StackError("incorrect passphrase")
        return answer(*arguments)

    answer = stack.pulumi
    monkeypatch.setattr(stack, "pulumi", pulumi)
    with pytest.raises(StackError, match=r"cannot decrypt them: aws:secretKey\. incorrect passphrase\. Run this with"):
        stack.aws_config(named)


def test_a_region_that_is_a_list_is_refused_with_the_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = Command(tmp_path, monkeypatch, {"keys": {}})
    engine.config["aws:region"] = {"value": '["a"]', "objectValue": ["a"]}
    expected = (
        "Error: Pulumi.dev.yaml: aws:region is a list or a mapping. Write one value, as in aws:region: us-east-1.\n"
    )
    for command in ("report", "inventory"):
        assert engine(command) == (1, expected)


def test_the_region_of_the_environment_is_the_one_that_the_provider_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-west-2")
    monkeypatch.delenv("AWS_REGION", raising=False)
    assert session_for({}).region_name == "us-west-2"
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    assert session_for({}).region_name == "eu-west-1"
    assert session_for({"region": "ap-northeast-2"}).region_name == "ap-northeast-2"

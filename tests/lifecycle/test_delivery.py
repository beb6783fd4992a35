"""Handing keys over: secret stores, extra outputs, and the search for a secret where none may be."""

import json

import pytest

from tests.lifecycle.helpers import NewStack, config, works
from tests.lifecycle.stack import Sandbox


def read(sandbox: Sandbox, store: str) -> tuple[str, str]:
    """The key that a consumer reads from a store."""
    if store == "secretsManager":
        text = sandbox.client("secretsmanager").get_secret_value(SecretId="access-keys/test-user")["SecretString"]
    else:
        answer = sandbox.client("ssm").get_parameter(Name="/access-keys/test-user", WithDecryption=True)
        assert answer["Parameter"]["Type"] == "SecureString"
        text = answer["Parameter"]["Value"]
    key = json.loads(text)
    return key["aws_access_key_id"], key["aws_secret_access_key"]


@pytest.mark.parametrize("store", ["secretsManager", "ssm"])
def test_a_consumer_reads_the_current_key_from_the_store(new_stack: NewStack, sandbox: Sandbox, store: str) -> None:
    stack = new_stack()
    stack.write({**config(), "deliver": {store: {}}})
    stack.up()
    first = read(sandbox, store)
    assert first == stack.key("test-user")
    assert works(sandbox, first), "the value read back opens S3"
    assert stack.preview("--expect-no-changes").changes == {}
    assert stack.refresh("--expect-no-changes").changes == {}
    for serial in (2, 3):
        stack.write({**config(serial=serial), "deliver": {store: {}}})
        stack.up()
        assert read(sandbox, store) == stack.key("test-user"), "after a rotation the consumer reads the new key"
    assert stack.preview("--expect-no-changes").changes == {}


def test_delivery_uses_the_kms_key_asked_for(new_stack: NewStack, sandbox: Sandbox) -> None:
    kms = sandbox.client("kms")
    key_id = kms.create_key()["KeyMetadata"]["KeyId"]
    kms.create_alias(AliasName="alias/handover", TargetKeyId=key_id)
    stack = new_stack()
    store = {"kmsKey": "alias/handover"}
    stack.write({**config(), "deliver": {"secretsManager": {**store, "name": "team/key"}, "ssm": store}})
    stack.up()
    assert sandbox.client("secretsmanager").describe_secret(SecretId="team/key")["KmsKeyId"] == "alias/handover"
    described = sandbox.client("ssm").describe_parameters()["Parameters"]
    assert [parameter["KeyId"] for parameter in described] == ["alias/handover"]


def test_a_missing_kms_key_is_said_before_anything_is_made(new_stack: NewStack, sandbox: Sandbox) -> None:
    stack = new_stack()
    stack.write({**config(), "deliver": {"ssm": {"kmsKey": "alias/nowhere"}}})
    done = stack.up(check=False)
    assert done.code != 0
    assert "deliver.ssm.kmsKey: the KMS key 'alias/nowhere' could not be checked: NotFoundException" in done.text
    assert "Traceback" not in done.text
    assert sandbox.client("iam").list_users()["Users"] == []


def test_a_user_can_be_left_out_of_the_stacks_delivery(new_stack: NewStack, sandbox: Sandbox) -> None:
    stack = new_stack()
    settings = config()
    settings["users"]["other"] = {"groups": ["test"], "deliver": None}
    stack.write({**settings, "deliver": {"ssm": {}}})
    stack.up()
    names = [parameter["Name"] for parameter in sandbox.client("ssm").describe_parameters()["Parameters"]]
    assert names == ["/access-keys/test-user"]

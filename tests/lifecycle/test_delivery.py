"""Handing keys over: secret stores, extra outputs, and the search for a secret where none may be."""

import base64
import json
import urllib.parse
from collections.abc import Iterator
from typing import Any

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


def test_no_secret_is_anywhere_in_the_clear(new_stack: NewStack, sandbox: Sandbox) -> None:
    stack = new_stack()
    stack.environment["PULUMI_DEBUG_COMMANDS"] = "true"  # the engine hides --event-log behind it
    outputs = ["credentialsCsv", "sesSmtpPasswords"]
    said: list[str] = []
    secrets: set[str] = set()
    for serial in (1, 2, 3):
        stack.write({**config(serial=serial), "outputs": outputs, "deliver": {"ssm": {}, "secretsManager": {}}})
        said.append(stack.up("--event-log", str(stack.folder / "events.log")).text)
        found = stack.outputs()
        secrets |= {found["secretAccessKeys"]["test-user"], found["sesSmtpPasswords"]["test-user"]}
    assert found["credentialsCsv"].splitlines()[0] == "User Name,Access key ID,Secret access key"
    said += [stack.run(*command).text for command in (("stack",), ("stack", "output"), ("stack", "history"))]
    said.append(stack.run("stack", "export").text)
    said.append(stack.preview("--diff").text)
    stack.refresh()
    sandbox.control.save()

    places = [sandbox.folder.root, stack.folder]
    planted = stack.folder / "planted.log"
    planted.write_text(f"debug: {json.dumps({'s': sorted(secrets)[0]})}")
    assert leaks(places, said, secrets) == [str(planted)], "a planted leak is found, and it is the only one"
    planted.unlink()
    stack.destroy()
    assert leaks(places, said, secrets) == []


def leaks(places: list[Any], said: list[str], secrets: set[str]) -> list[str]:
    """Where a secret stands, raw or in the encodings that tools write."""
    needles = [needle for secret in secrets for needle in encodings(secret)]
    found = [f"output {number}" for number, text in enumerate(said) if any(n in text.encode() for n in needles)]
    for place in places:
        for path in sorted(path for path in place.rglob("*") if path.is_file()):
            content = path.read_bytes()
            if any(needle in content for needle in needles):
                found.append(str(path))
    return found


def encodings(secret: str) -> Iterator[bytes]:
    yield secret.encode()
    yield json.dumps(secret)[1:-1].encode()
    yield secret.replace("/", "\\/").encode()
    yield urllib.parse.quote(secret, safe="").encode()
    for shift in range(3):  # a secret inside a longer base64 text starts at any of three offsets
        encoded = base64.b64encode(b"\0" * shift + secret.encode())
        yield encoded[4 if shift else 0 : -4]

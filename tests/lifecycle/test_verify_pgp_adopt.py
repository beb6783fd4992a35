"""What keeps an operator from harm on the real engine: the trial of a new key, pgpKey, descriptions, adoption."""

import base64
import json
from typing import Any

import pysequoia
import pytest

from tests.lifecycle.helpers import NewStack, config, in_days, keys_in_iam, set_adopted_secret, works
from tests.lifecycle.stack import Sandbox


@pytest.mark.long
def test_verify_waits_for_a_key_that_starts_to_work_late(new_stack: NewStack, sandbox: Sandbox) -> None:
    stack = new_stack()
    stack.write(config())
    sandbox.control.change_faults(key_delay=3)
    done = stack.up()
    assert "waiting for AWS to accept the new access key AKIA" in done.text
    assert "AWS accepts the new access key AKIA" in done.text
    assert works(sandbox, stack.key("test-user")), "whoever reads the outputs has a key that works"


@pytest.mark.long
def test_without_verify_nobody_waits(new_stack: NewStack, sandbox: Sandbox) -> None:
    stack = new_stack()
    stack.write(config(verify=False))
    sandbox.control.change_faults(key_delay=300)
    assert "waiting" not in stack.up().text
    assert not works(sandbox, stack.key("test-user"))


@pytest.mark.long
def test_verify_gives_up_clearly_after_a_minute_and_goes_on_at_the_next_up(
    new_stack: NewStack, sandbox: Sandbox
) -> None:
    stack = new_stack()
    stack.write(config())
    stack.up()
    in_use = stack.key("test-user")
    stack.write(config(serial=2, previous="deleted"))
    # The delay holds back the new key, and once that is known to AWS the old one is let through again.
    sandbox.control.change_faults(key_delay=3000)
    failed = stack.up(check=False)
    sandbox.control.clear_faults()
    assert failed.code != 0
    assert "AWS does not accept the new access key AKIA" in failed.text
    assert "the key before it was not touched" in failed.text
    assert "Traceback" not in failed.text
    assert works(sandbox, in_use), "the key in use is as it was"
    assert stack.key("test-user") == in_use, "the outputs still name the key that works"
    stack.up()
    assert works(sandbox, stack.key("test-user"))
    assert not works(sandbox, in_use), "only now the key before goes"


@pytest.mark.long
def test_a_key_that_was_issued_inactive_is_tried_when_it_is_switched_on(new_stack: NewStack, sandbox: Sandbox) -> None:
    stack = new_stack()
    stack.write(config(status="inactive"))
    assert "waiting" not in stack.up().text, "a key that may not work yet is not tried"
    stack.write(config(status="active"))
    sandbox.control.clear_calls()
    stack.up()
    tried = [call for call in sandbox.control.calls() if call.action == "GetCallerIdentity"]
    assert stack.key("test-user")[0] in {call.key for call in tried}, "now it is"


@pytest.fixture(scope="module")
def pgp() -> Any:
    return pysequoia.Tsk.generate("ann <ann@example.org>")


def test_with_pgp_key_the_plaintext_secret_is_in_no_file_at_all(
    new_stack: NewStack, sandbox: Sandbox, pgp: Any
) -> None:
    stack = new_stack()
    (stack.folder / "ann.asc").write_text(str(pgp.extract_certificate()))
    stack.write(config(pgpKey=f"file:{stack.folder / 'ann.asc'}"))
    done = stack.up()
    assert "was not verified because its secret is encrypted to the user's OpenPGP key" in done.text
    outputs = stack.outputs()
    assert outputs["secretAccessKeys"] == {}
    encrypted = outputs["encryptedSecrets"]["test-user"]
    assert encrypted["fingerprint"].lower() == pgp.extract_certificate().fingerprint.lower()
    message = base64.b64decode(encrypted["ciphertext"])
    secret = bytes(pysequoia.decrypt(decryptor=pgp.decryptor(), bytes=message).bytes or b"").decode()
    key = (outputs["accessKeyIds"]["test-user"], secret)
    assert works(sandbox, key), "what the owner decrypts is the secret"
    sandbox.control.save()
    for root in (sandbox.folder.root, stack.folder):
        for path in (path for path in root.rglob("*") if path.is_file()):
            assert secret.encode() not in path.read_bytes(), f"{path} has no plaintext secret"
    assert secret not in stack.run("stack", "export", "--show-secrets").text, "not even the decrypted state has it"


@pytest.mark.long
def test_another_pgp_key_counts_from_the_next_key_on(new_stack: NewStack, sandbox: Sandbox, pgp: Any) -> None:
    stack = new_stack()
    stack.write(config())
    stack.up()
    plain = stack.key("test-user")
    stack.write(config(pgpKey=str(pgp.extract_certificate())))
    assert stack.up().changes == {}, "the key that exists is not replaced"
    assert stack.key("test-user") == plain
    stack.write(config(pgpKey=str(pgp.extract_certificate()), serial=2))
    stack.up()
    assert works(sandbox, plain)
    assert "test-user" in stack.outputs()["encryptedSecrets"]
    fingerprint = stack.outputs()["keys"]["test-user"]["current"]["pgpFingerprint"]
    assert fingerprint.lower() == pgp.extract_certificate().fingerprint.lower(), "it says whose key it is"
    stack.write(config(serial=2))
    assert stack.up().changes == {}
    assert "test-user" in stack.outputs()["encryptedSecrets"], "it is needed as long as the key is in use"
    stack.write(config(serial=3))
    stack.up()
    assert "encryptedSecrets" not in stack.outputs() or stack.outputs()["encryptedSecrets"] == {}
    assert works(sandbox, stack.key("test-user"))


@pytest.mark.long
def test_a_description_is_kept_as_the_console_keeps_it_and_does_not_drift(
    new_stack: NewStack, sandbox: Sandbox
) -> None:
    stack = new_stack()
    ignore = {"aws:ignoreTags": {"keyPrefixes": ["AKIA"]}}

    def tags() -> dict[str, str]:
        listed = sandbox.client("iam").list_user_tags(UserName="test-user")["Tags"]
        return {tag["Key"]: tag["Value"] for tag in listed}

    stack.write({**config(description="nightly report"), "tags": {"env": "dev"}, **ignore})
    stack.up()
    first = stack.key("test-user")[0]
    assert tags() == {"env": "dev", first: "nightly report"}
    assert stack.refresh("--expect-no-changes").changes == {}
    assert stack.preview("--expect-no-changes").changes == {}

    stack.write({**config(description="moved to batch", serial=2), "tags": {"env": "dev"}, **ignore})
    stack.up()
    second = stack.key("test-user")[0]
    assert tags() == {"env": "dev", first: "moved to batch", second: "moved to batch"}
    stack.write({**config(description="moved to batch", serial=3), "tags": {"env": "dev"}, **ignore})
    stack.up()
    assert first not in tags(), "the tag goes with its key"
    stack.write({**config(description="", serial=3), "tags": {"env": "dev"}, **ignore})
    stack.up()
    assert tags() == {"env": "dev"}


@pytest.mark.long
def test_a_description_that_aws_refused_is_written_by_the_next_run(new_stack: NewStack, sandbox: Sandbox) -> None:
    stack = new_stack()
    stack.write({**config(description="nightly report"), "aws:ignoreTags": {"keyPrefixes": ["AKIA"]}})
    sandbox.control.fail("iam:TagUser", "AccessDenied", times=50)
    refused = stack.up(check=False)
    sandbox.control.clear_faults()
    assert refused.code != 0
    assert "the description of test-user's keys cannot be written: AccessDenied" in refused.text
    assert "needs iam:TagUser" in refused.text
    assert "Traceback" not in refused.text
    stack.up()
    listed = sandbox.client("iam").list_user_tags(UserName="test-user")["Tags"]
    assert listed == [{"Key": stack.key("test-user")[0], "Value": "nightly report"}]


@pytest.mark.long
@pytest.mark.parametrize("options", [(), ("--continue-on-error",)])
def test_the_key_in_the_outputs_works_until_an_update_finishes_with_a_description(
    new_stack: NewStack, sandbox: Sandbox, options: tuple[str, ...]
) -> None:
    stack, ignored = new_stack(), {"aws:ignoreTags": {"keyPrefixes": ["AKIA"]}}
    stack.write({**config(), **ignored})
    stack.up()
    first = stack.key("test-user")
    stack.write({**config(serial=2, previous="inactive", description="nightly report"), **ignored})
    sandbox.control.fail("iam:TagUser", "AccessDenied", times=50)
    assert stack.up(*options, check=False).code != 0
    sandbox.control.clear_faults()
    assert works(sandbox, stack.key("test-user")), "whoever reads the outputs has a key that works"
    assert works(sandbox, first), "no key is retired by an update that fails"
    stack.up()
    second = stack.key("test-user")
    assert works(sandbox, second)
    assert keys_in_iam(sandbox) == {first[0]: "Inactive", second[0]: "Active"}
    tags = {tag["Key"]: tag["Value"] for tag in sandbox.client("iam").list_user_tags(UserName="test-user")["Tags"]}
    assert tags == dict.fromkeys([first[0], second[0]], "nightly report")


@pytest.mark.long
def test_an_expired_user_has_no_key_that_works_although_a_description_is_refused(
    new_stack: NewStack, sandbox: Sandbox
) -> None:
    stack, ignored = new_stack(), {"aws:ignoreTags": {"keyPrefixes": ["AKIA"]}}
    for serial in (1, 2):
        stack.write({**config(serial=serial), **ignored})
        stack.up()
    assert [*keys_in_iam(sandbox).values()] == ["Active", "Active"]
    stack.write({**config(serial=2, expires=in_days(-1), description="nightly report"), **ignored})
    sandbox.control.fail("iam:TagUser", "AccessDenied", times=50)
    assert "cannot be written: AccessDenied" in stack.up(check=False).text
    sandbox.control.clear_faults()
    assert [*keys_in_iam(sandbox).values()] == ["Inactive", "Inactive"]
    stack.up()
    assert stack.preview("--expect-no-changes").changes == {}


@pytest.mark.long
def test_a_key_made_by_hand_is_adopted_and_rotated_like_any_other(new_stack: NewStack, sandbox: Sandbox) -> None:
    iam = sandbox.client("iam")
    iam.create_user(UserName="by-hand")
    made = iam.create_access_key(UserName="by-hand")["AccessKey"]
    hand_made = (made["AccessKeyId"], made["SecretAccessKey"])
    stack = new_stack()
    stack.write(config("by-hand", adopt={"id": hand_made[0]}))
    adopted = stack.up()
    assert adopted.changes.get("import") == 2, "the user and its key are taken over, not made"
    assert stack.outputs()["accessKeyIds"] == {"by-hand": hand_made[0]}
    assert stack.outputs()["secretAccessKeys"] == {}, "AWS does not tell the secret again"
    assert "was not verified because its secret is unknown" in adopted.text
    assert works(sandbox, hand_made)
    assert stack.preview("--expect-no-changes").changes == {}

    stack.write(config("by-hand", adopt={"id": hand_made[0]}, serial=2))
    stack.up()
    assert works(sandbox, hand_made)
    assert works(sandbox, stack.key("by-hand"))
    stack.write(config("by-hand", adopt={"id": hand_made[0]}, serial=3))
    stack.up()
    assert not works(sandbox, hand_made), "the second rotation takes the adopted key's slot"
    assert len(keys_in_iam(sandbox, "by-hand")) == 2
    stack.destroy()
    assert iam.list_users()["Users"] == []


@pytest.mark.long
def test_an_adopted_key_with_its_secret_is_handed_on(new_stack: NewStack, sandbox: Sandbox) -> None:
    iam = sandbox.client("iam")
    iam.create_user(UserName="by-hand")
    made = iam.create_access_key(UserName="by-hand")["AccessKey"]
    stack = new_stack()
    stack.write(config("by-hand", adopt={"id": made["AccessKeyId"]}))
    stack.run(
        "config", "set", "--secret", "--path", "aws-access-keys:users.by-hand.key.adopt.secret", made["SecretAccessKey"]
    )
    stack.up()
    assert stack.key("by-hand") == (made["AccessKeyId"], made["SecretAccessKey"])
    assert made["SecretAccessKey"] not in stack.run("stack", "export").text

    gone = f"key.adopt.secret was removed, so the secret of the access key {made['AccessKeyId']} disappears"
    assert "adopt.secret was removed" not in stack.preview().text
    stack.write(config("by-hand", serial=2))
    assert "adopt.secret was removed" not in stack.preview().text, (
        "the stack has the secret of the key that takes its place"
    )
    stack.write(config("by-hand", adopt={"id": made["AccessKeyId"]}))
    for run in (stack.preview, stack.up):
        assert gone in run().text, "its last copy in the stack is not removed without a word"
    assert stack.outputs()["secretAccessKeys"] == {}
    assert "adopt.secret was removed" not in stack.preview().text, "nothing changes any more"


@pytest.mark.long
def test_adopting_says_what_it_would_change(new_stack: NewStack, sandbox: Sandbox) -> None:
    iam = sandbox.client("iam")
    iam.create_user(UserName="by-hand", Path="/team/", Tags=[{"Key": "x", "Value": "y"}])
    key_id = iam.create_access_key(UserName="by-hand")["AccessKey"]["AccessKeyId"]
    iam.update_access_key(UserName="by-hand", AccessKeyId=key_id, Status="Inactive")
    stack = new_stack()
    stack.write(config("by-hand", adopt={"id": key_id}))
    refused = stack.up(check=False).text
    assert "users.by-hand.key.status: the access key" in refused, "a key is not switched on by a default"
    assert "users.by-hand.path: the user to adopt has the path '/team/'" in refused
    assert "users.by-hand.tags: the user to adopt has tags that would be removed. Write them here: {x: y}" in refused
    settings = config("by-hand", adopt={"id": key_id}, status="inactive")
    settings["users"]["by-hand"] |= {"path": "/team/", "tags": {"x": "y"}}
    stack.write(settings)
    assert stack.up().changes.get("import") == 2
    assert keys_in_iam(sandbox, "by-hand") == {key_id: "Inactive"}
    assert iam.get_user(UserName="by-hand")["User"]["Arn"].endswith(":user/team/by-hand")
    assert stack.preview("--expect-no-changes").changes == {}


@pytest.mark.long
def test_a_user_whose_adoption_failed_is_not_deleted_as_if_it_were_the_stacks_own(
    new_stack: NewStack, sandbox: Sandbox
) -> None:
    iam = sandbox.client("iam")
    iam.create_user(UserName="by-hand")
    key_id = iam.create_access_key(UserName="by-hand")["AccessKey"]["AccessKeyId"]
    stack = new_stack()
    stack.write(config("by-hand", adopt={"id": key_id}))
    set_adopted_secret(stack, "x" * 40, "by-hand")
    assert "AWS does not accept it as the secret of the access key" in stack.up(check=False).text
    settings = config("by-hand")  # it shows as imported
    settings["users"]["bob"] = {"groups": ["test"]}
    stack.write(settings)
    for _ in range(2):
        sandbox.control.fail("CreateAccessKey", "AccessDenied")
        assert stack.up(check=False).code != 0
    del settings["users"]["by-hand"]
    stack.write(settings)
    for run in (stack.preview, stack.up):
        assert f"the run that was to adopt the access key {key_id} failed" in run(check=False).text
    assert keys_in_iam(sandbox, "by-hand") == {key_id: "Active"}
    settings["users"]["by-hand"] = {"groups": ["test"]}
    stack.write(settings)
    stack.up()
    assert keys_in_iam(sandbox, "by-hand") == {key_id: "Active"}


def test_a_secret_in_the_clear_is_refused(new_stack: NewStack, sandbox: Sandbox) -> None:
    stack = new_stack()
    stack.write(config("by-hand", adopt={"id": "AKIAIOSFODNN7EXAMPLE", "secret": "wJalrXUtnFEMI"}))
    done = stack.up(check=False)
    assert "users.by-hand.key.adopt.secret: the secret is in this file in clear text" in done.text
    assert "wJalrXUtnFEMI" not in done.text


@pytest.mark.long
@pytest.mark.parametrize("count", [1, 2])
def test_adopting_a_wrong_key_or_one_of_two_is_refused(new_stack: NewStack, sandbox: Sandbox, count: int) -> None:
    iam = sandbox.client("iam")
    iam.create_user(UserName="by-hand")
    ids = [iam.create_access_key(UserName="by-hand")["AccessKey"]["AccessKeyId"] for _ in range(count)]
    stack = new_stack()
    try:
        stack.write(config("by-hand", adopt={"id": "AKIAIOSFODNN7EXAMPLE" if count == 1 else ids[0]}))
        done = stack.up(check=False)
        assert done.code != 0
        says = "is not an access key of 'by-hand', who has: " + ids[0] if count == 1 else f"Delete '{ids[1]}' first"
        assert says in done.text
        assert iam.list_groups()["Groups"] == [], "nothing was made"
    finally:
        for key_id in ids:
            iam.delete_access_key(UserName="by-hand", AccessKeyId=key_id)
        iam.delete_user(UserName="by-hand")


@pytest.mark.long
def test_a_wrong_secret_of_an_adopted_key_reaches_no_store_and_costs_no_key(
    new_stack: NewStack, sandbox: Sandbox
) -> None:
    stack, iam = new_stack(), sandbox.client("iam")
    iam.create_user(UserName="by-hand")
    made = iam.create_access_key(UserName="by-hand")["AccessKey"]
    key, wrong = (made["AccessKeyId"], made["SecretAccessKey"]), "x" * 40
    sandbox.issued.add(key[1])
    settings = {**config("by-hand", adopt={"id": key[0]}), "deliver": {"ssm": {}}}
    path = "aws-access-keys:users.by-hand.key.adopt.secret"

    def up(secret: str) -> str:
        stack.write(settings)
        stack.run("config", "set", "--secret", "--path", path, secret)
        return stack.up(check=False).text

    refused = "users.by-hand.key.adopt.secret: AWS does not accept it as the secret of the access key"
    assert refused in (text := up(wrong))
    assert "delete" not in text, "the key is in use"
    up(key[1])
    assert read_parameter(sandbox) == key
    sandbox.control.clear_calls()
    assert stack.up().changes == {}
    assert key[0] not in {call.key for call in sandbox.control.calls()}, "it was tried before"
    assert refused in up(wrong)
    assert read_parameter(sandbox) == key, "a slip in the file later does not break the store either"
    up(key[1])
    assert stack.preview("--expect-no-changes").changes == {}


def read_parameter(sandbox: Sandbox) -> tuple[str, str]:
    answer = sandbox.client("ssm").get_parameter(Name="/access-keys/by-hand", WithDecryption=True)
    key = json.loads(answer["Parameter"]["Value"])
    return key["aws_access_key_id"], key["aws_secret_access_key"]

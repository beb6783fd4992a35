"""What keeps an operator from harm on the real engine: the guard, the trial of a new key, pgpKey, descriptions."""

import base64
import time
from collections.abc import Callable
from typing import Any

import pysequoia
import pytest

from tests.lifecycle.stack import Sandbox, Stack
from tests.lifecycle.test_keys import GROUPS, config, keys_in_iam, works

NewStack = Callable[..., Stack]


def test_the_guard_refuses_to_delete_a_used_key_and_lets_an_idle_one_go(new_stack: NewStack, sandbox: Sandbox) -> None:
    stack = new_stack()
    guard: dict[str, Any] = {"retireGuard": {"idleDays": 30}, "previous": "deleted"}
    stack.write(config(**guard))
    stack.up()
    old = stack.key("test-user")
    assert works(sandbox, old)
    stack.write(config(serial=2, **guard))

    refused = stack.up(check=False)
    assert refused.code != 0
    assert f"The access key {old[0]} of user test-user is still in use, so it is not deleted" in refused.text
    assert "for s3 in ap-northeast-2, today, and retireGuard asks for 30 idle days" in refused.text
    assert "set users.test-user.key.retireGuard to null" in refused.text, "it says what to do"
    assert works(sandbox, old), "the key was not touched"
    assert len(keys_in_iam(sandbox)) == 2, "the new key is there already"

    day = time.strftime("%Y-%m-%d", time.gmtime(time.time() + 31 * 86400))
    stack.environment["ACCESS_KEYS_TODAY"] = day
    stack.up()
    assert list(keys_in_iam(sandbox)) == [stack.key("test-user")[0]], "after 31 idle days it goes"


def test_the_guard_refuses_to_deactivate_a_used_key_and_the_preview_says_it_first(
    new_stack: NewStack, sandbox: Sandbox
) -> None:
    stack = new_stack()
    stack.write(config(retireGuard={"idleDays": 7}))
    stack.up()
    assert works(sandbox, stack.key("test-user"))
    stack.write(config(retireGuard={"idleDays": 7}, status="inactive"))
    assert "so it is not deactivated" in stack.preview(check=False).text
    refused = stack.up(check=False)
    assert refused.code != 0
    assert "so it is not deactivated" in refused.text
    assert works(sandbox, stack.key("test-user"))
    stack.write(config(retireGuard=None, status="inactive"))
    stack.up()
    assert not works(sandbox, stack.key("test-user")), "without the guard it goes"


def test_the_guard_lets_a_key_go_that_was_never_used(new_stack: NewStack, sandbox: Sandbox) -> None:
    stack = new_stack()
    settings: dict[str, Any] = {"retireGuard": {"idleDays": 30}, "previous": "deleted", "verify": False}
    stack.write(config(**settings))
    stack.up()
    stack.write(config(serial=2, **settings))
    stack.up()
    assert len(keys_in_iam(sandbox)) == 1


def test_the_guard_holds_for_a_user_that_leaves_the_config(new_stack: NewStack, sandbox: Sandbox) -> None:
    stack = new_stack()
    stack.write({**config(), "keyDefaults": {"retireGuard": {"idleDays": 9}}})
    stack.up()
    assert works(sandbox, stack.key("test-user"))
    stack.write({"groups": GROUPS, "users": {}, "keyDefaults": {"retireGuard": {"idleDays": 9}}})
    refused = stack.up(check=False)
    assert refused.code != 0
    assert "still in use, so it is not deleted" in refused.text
    assert "retireGuard asks for 9 idle days" in refused.text
    assert len(keys_in_iam(sandbox)) == 1
    assert "set keyDefaults.retireGuard to null" in refused.text
    stack.write({"groups": GROUPS, "users": {}, "keyDefaults": {"retireGuard": None}})
    stack.up()
    assert sandbox.client("iam").list_users()["Users"] == [], "with the guard off the user goes"


def test_destroy_under_the_guard_needs_the_program_and_an_idle_key(new_stack: NewStack, sandbox: Sandbox) -> None:
    stack = new_stack()
    stack.write(config(retireGuard={"idleDays": 3}))
    stack.up()
    plain = stack.destroy(check=False)
    assert "--run-program" in plain.text
    assert len(keys_in_iam(sandbox)) == 1
    works(sandbox, stack.key("test-user"))
    refused = stack.destroy("--run-program", check=False)
    assert "still in use" in refused.text
    stack.write(config())
    stack.up()
    stack.destroy()
    assert sandbox.client("iam").list_users()["Users"] == []


def test_verify_waits_for_a_key_that_starts_to_work_late(new_stack: NewStack, sandbox: Sandbox) -> None:
    stack = new_stack()
    stack.write(config())
    sandbox.control.change_realism(key_delay=3)
    done = stack.up()
    assert "waiting for AWS to accept the new access key AKIA" in done.text
    assert "AWS accepts the new access key AKIA" in done.text
    assert works(sandbox, stack.key("test-user")), "whoever reads the outputs has a key that works"


def test_without_verify_nobody_waits(new_stack: NewStack, sandbox: Sandbox) -> None:
    stack = new_stack()
    stack.write(config(verify=False))
    sandbox.control.change_realism(key_delay=300)
    assert "waiting" not in stack.up().text
    assert not works(sandbox, stack.key("test-user"))


def test_verify_gives_up_clearly_after_a_minute_and_goes_on_at_the_next_up(
    new_stack: NewStack, sandbox: Sandbox
) -> None:
    stack = new_stack()
    stack.write(config())
    stack.up()
    in_use = stack.key("test-user")
    stack.write(config(serial=2, previous="deleted"))
    # The delay holds back the new key, and once that is known to AWS the old one is let through again.
    sandbox.control.change_realism(key_delay=3000)
    failed = stack.up(check=False)
    sandbox.control.behave()
    assert failed.code != 0
    assert "AWS does not accept the new access key AKIA" in failed.text
    assert "the keys before it were not touched" in failed.text
    assert "Traceback" not in failed.text
    assert works(sandbox, in_use), "the key in use is as it was"
    assert stack.key("test-user") == in_use, "the outputs still name the key that works"
    stack.up()
    assert works(sandbox, stack.key("test-user"))
    assert not works(sandbox, in_use), "only now the key before goes"


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
    assert "was not tried: its secret is encrypted to the user's pgpKey" in done.text
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
    assert "was not tried" in adopted.text
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
        says = "is no key of IAM user 'by-hand'; theirs: " + ids[0] if count == 1 else f"Delete '{ids[1]}' first"
        assert says in done.text
        assert iam.list_groups()["Groups"] == [], "nothing was made"
    finally:
        for key_id in ids:
            iam.delete_access_key(UserName="by-hand", AccessKeyId=key_id)
        iam.delete_user(UserName="by-hand")

"""A secret in Secrets Manager that somebody else edits or deletes, and rotations that fail: the state loads, and a
consumer ends with a key that works."""

from typing import Any

import pytest

from tests.faults.matrix import stored_keys
from tests.lifecycle.helpers import GROUPS, NewStack, config, works
from tests.lifecycle.stack import Sandbox, Stack

SECRET = "access-keys/test-user"
DELIVERED = {"deliver": {"secretsManager": {}}}


def rotation(serial: int, **more: Any) -> dict[str, Any]:
    return {**config(serial=serial), **DELIVERED, **more}


def check_consumer(stack: Stack) -> None:
    """The state loads, nothing is left to do, and the secret has the current key, which works."""
    stack.run("stack", "export")
    assert stack.preview("--expect-no-changes").changes == {}
    assert stored_keys(stack.sandbox) == {SECRET: stack.key("test-user")}
    assert works(stack.sandbox, stack.key("test-user"))


@pytest.mark.parametrize(
    "fails", ["iam:DeleteGroup", pytest.param("secretsmanager:PutSecretValue", marks=pytest.mark.long)]
)
def test_however_often_rotations_of_an_edited_secret_fail_the_state_loads(
    new_stack: NewStack, sandbox: Sandbox, fails: str
) -> None:
    stack = new_stack()
    stack.write(rotation(1, groups={**GROUPS, "leaving": GROUPS["test"]}))
    stack.up()
    sandbox.client("secretsmanager").put_secret_value(SecretId=SECRET, SecretString="mine")
    stack.refresh()
    sandbox.control.fail(fails, "AccessDenied", times=1000)
    for serial in (2, 3, 4):
        stack.write(rotation(serial))  # and a group goes, which is deleted after the new version is there
        done = stack.up(check=False)
        assert done.code != 0
        assert "snapshot integrity failure" not in done.text
        stack.run("stack", "export")
    sandbox.control.clear_faults()
    stack.up(check=False)
    stack.up()
    check_consumer(stack)


@pytest.mark.long
def test_a_rotation_that_stopped_while_it_took_the_old_value_away_goes_on_after_a_refresh(
    new_stack: NewStack, sandbox: Sandbox
) -> None:
    stack, secrets = new_stack(), sandbox.client("secretsmanager")
    stack.write(rotation(1))
    stack.up()
    secrets.put_secret_value(SecretId=SECRET, SecretString="mine")
    stack.refresh()
    stack.write(rotation(2))
    sandbox.control.fail("secretsmanager:GetSecretValue", "AccessDeniedException", times=1000)
    assert stack.up(check=False).code != 0
    sandbox.control.clear_faults()
    assert "Version stage AWSPREVIOUS not found in version" in stack.up(check=False).text
    stack.refresh()
    stack.up()
    check_consumer(stack)


@pytest.mark.long
@pytest.mark.parametrize("is_refreshed", [False, True])
def test_a_secret_that_was_overwritten_by_hand_has_the_new_key_after_the_next_rotation(
    new_stack: NewStack, sandbox: Sandbox, is_refreshed: bool
) -> None:
    stack, secrets = new_stack(), sandbox.client("secretsmanager")
    stack.write(rotation(1))
    stack.up()
    secrets.put_secret_value(SecretId=SECRET, SecretString="mine")
    if is_refreshed:
        stack.refresh()
    assert stack.up().changes == {}
    assert secrets.get_secret_value(SecretId=SECRET)["SecretString"] == "mine", "only a rotation overwrites it"
    for serial in (2, 3):
        stack.write(rotation(serial))
        stack.up()
        check_consumer(stack)


@pytest.mark.long
@pytest.mark.parametrize("is_refreshed", [False, True])
def test_a_secret_that_was_scheduled_for_deletion_by_hand_is_delivered_again(
    new_stack: NewStack, sandbox: Sandbox, is_refreshed: bool
) -> None:
    stack, secrets = new_stack(), sandbox.client("secretsmanager")
    stack.write(rotation(1))
    stack.up()
    secrets.delete_secret(SecretId=SECRET, RecoveryWindowInDays=7)
    if is_refreshed:
        stack.refresh()
        refused = stack.up(check=False)
        assert "InvalidRequestException: You can't create this secret because" in refused.text
        assert "is already scheduled for deletion" in refused.text
        secrets.delete_secret(SecretId=SECRET, ForceDeleteWithoutRecovery=True)
    else:
        stack.write(rotation(2))
        refused = stack.up(check=False)
        assert "InvalidRequestException: You can't perform this operation on the secret because" in refused.text
        secrets.restore_secret(SecretId=SECRET)
    stack.up()
    check_consumer(stack)


@pytest.mark.long
@pytest.mark.parametrize("is_refreshed", [False, True])
def test_a_secret_that_was_deleted_by_hand_is_created_again_after_a_refresh(
    new_stack: NewStack, sandbox: Sandbox, is_refreshed: bool
) -> None:
    stack = new_stack()
    stack.write(rotation(1))
    stack.up()
    sandbox.client("secretsmanager").delete_secret(SecretId=SECRET, ForceDeleteWithoutRecovery=True)
    if not is_refreshed:
        stack.write(rotation(2))
        assert "ResourceNotFoundException: Secrets Manager can't find" in stack.up(check=False).text
    stack.refresh()
    stack.up()
    check_consumer(stack)

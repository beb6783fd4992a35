"""`pulumi up --continue-on-error`, with which the engine continues with its deletions after an error."""

import pytest

from tests.lifecycle.helpers import GROUPS, NewStack, config, keys_in_iam
from tests.lifecycle.stack import Sandbox


@pytest.mark.long
@pytest.mark.parametrize("previous", ["deleted", "inactive"])
def test_a_previous_key_stays_as_it_is_where_its_successor_could_not_be_created(
    new_stack: NewStack, sandbox: Sandbox, previous: str
) -> None:
    stack = new_stack()
    stack.write(config())
    stack.up()
    before = keys_in_iam(sandbox)
    sandbox.control.fail("iam:CreateAccessKey", "AccessDenied", times=50)
    stack.write(config(serial=2, previous=previous))
    failed = stack.up("--continue-on-error", check=False)
    assert failed.code != 0
    assert keys_in_iam(sandbox) == before, "the key in use is neither deleted nor deactivated"
    sandbox.control.clear_faults()
    stack.up()
    (old,) = before
    assert keys_in_iam(sandbox).pop(old, "gone") == {"deleted": "gone", "inactive": "Inactive"}[previous]
    assert stack.preview().changes == {}


def test_another_users_error_keeps_previous_keys_too(new_stack: NewStack, sandbox: Sandbox) -> None:
    stack = new_stack()
    users = {name: {"groups": ["test"], "key": {}} for name in ("ann", "bob")}
    stack.write({"groups": GROUPS, "users": users})
    stack.up()
    (old,) = keys_in_iam(sandbox, "ann")
    sandbox.control.fail("iam:CreateUser", "AccessDenied", times=50)
    users["ann"]["key"] = {"serial": 2, "previous": "deleted"}
    users["eve"] = {"groups": ["test"], "key": {}}
    stack.write({"groups": GROUPS, "users": users})
    failed = stack.up("--continue-on-error", check=False)
    assert failed.code != 0
    assert keys_in_iam(sandbox, "ann")[old] == "Active"


@pytest.mark.long
def test_a_state_that_the_engine_breaks_after_a_failed_attachment_is_repaired_as_documented(
    new_stack: NewStack, sandbox: Sandbox
) -> None:
    """The engine deletes the attachment that the policy replaces, but the state's key still depends on it."""
    stack = new_stack()
    stack.write(config())
    stack.up()
    before = keys_in_iam(sandbox)
    sandbox.control.fail("iam:AttachGroupPolicy", "AccessDenied", times=50)
    stack.write({**config(serial=2, previous="deleted"), "groups": {"test": {"policies": ["IAMFullAccess"]}}})
    failed = stack.up("--continue-on-error", check=False)
    assert "snapshot integrity failure" in failed.text, "if it no longer fails, docs/troubleshooting.md need not say so"
    assert keys_in_iam(sandbox) == before, "no key is lost"
    sandbox.control.clear_faults()
    stack.run("cancel", "--yes")
    stack.run("state", "repair", "--yes")
    stack.write(config(serial=2, previous="deleted"))
    stack.up()
    assert stack.preview().changes == {}
    assert before.keys().isdisjoint(keys_in_iam(sandbox)), "the rotation is complete"

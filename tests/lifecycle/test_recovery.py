"""What a run leaves that failed half-way: no key in use is lost by the next one."""

from collections.abc import Callable

from tests.lifecycle.stack import Sandbox, Stack
from tests.lifecycle.test_keys import GROUPS, config, keys_in_iam, works

NewStack = Callable[..., Stack]


def test_a_user_whose_removal_failed_can_be_put_back_unharmed(new_stack: NewStack, sandbox: Sandbox) -> None:
    stack = new_stack()
    for serial in (1, 2):
        stack.write(config(serial=serial))
        stack.up()
    in_use = stack.key("test-user")
    stack.write({"groups": GROUPS, "users": {}})
    sandbox.control.fail("iam:DeleteAccessKey", "AccessDenied", times=50)
    assert stack.up(check=False).code != 0
    sandbox.control.behave()
    stack.write(config(serial=2))
    stack.up()
    assert works(sandbox, in_use), "the key in use is still the key in use"
    assert stack.key("test-user") == in_use
    assert len(keys_in_iam(sandbox)) == 2


def test_a_rotation_that_failed_leaves_the_current_key_and_converges(new_stack: NewStack, sandbox: Sandbox) -> None:
    stack = new_stack()
    for serial in (1, 2):
        stack.write(config(serial=serial))
        stack.up()
    in_use = stack.key("test-user")
    stack.write(config(serial=3))
    sandbox.control.fail("iam:CreateAccessKey", "ServiceFailure", times=50)
    assert stack.up(check=False).code != 0
    sandbox.control.behave()
    assert works(sandbox, in_use)
    stack.up()
    assert works(sandbox, in_use)
    assert works(sandbox, stack.key("test-user"))
    assert stack.outputs()["keys"]["test-user"]["current"]["serial"] == 3


def test_a_previous_key_that_was_deleted_by_hand_is_not_made_again(new_stack: NewStack, sandbox: Sandbox) -> None:
    stack = new_stack()
    stack.write(config())
    stack.up()
    old = stack.key("test-user")[0]
    stack.write(config(serial=2))
    stack.up()
    sandbox.client("iam").delete_access_key(UserName="test-user", AccessKeyId=old)
    stack.refresh()
    assert "create" not in stack.up().changes, "nobody asked for another credential"
    assert list(keys_in_iam(sandbox)) == [stack.key("test-user")[0]]
    assert stack.preview("--expect-no-changes").changes == {}


def test_one_users_trouble_does_not_forget_what_another_was_issued(new_stack: NewStack, sandbox: Sandbox) -> None:
    stack = new_stack()

    def both(first: int, second: int) -> dict[str, object]:
        users = {name: {"groups": ["test"], "key": {"serial": n}} for name, n in (("one", first), ("two", second))}
        return {"groups": GROUPS, "users": users}

    stack.write(both(1, 1))
    stack.up()
    stack.write(both(2, 1))
    stack.up()
    issued = stack.key("one")
    stack.write(both(2, 2))
    sandbox.control.fail("iam:CreateAccessKey", "ServiceFailure", times=50)
    assert stack.up(check=False).code != 0
    sandbox.control.behave()
    stack.write(both(3, 2))
    stack.up()
    assert works(sandbox, issued), "the key that was in use before the trouble works after it"
    assert works(sandbox, stack.key("one"))
    assert works(sandbox, stack.key("two"))


def test_a_key_whose_deletion_failed_is_not_forgotten(new_stack: NewStack, sandbox: Sandbox) -> None:
    stack = new_stack()
    stack.write(config())
    stack.up()
    old = stack.key("test-user")
    stack.write(config(serial=2, previous="deleted"))
    sandbox.control.fail("iam:DeleteAccessKey", "AccessDenied", times=50)
    assert stack.up(check=False).code != 0
    sandbox.control.behave()
    stack.write(config(serial=2, previous="active"))
    stack.up()
    assert works(sandbox, old), "who changes their mind in time keeps the key"
    assert stack.outputs()["keys"]["test-user"]["previous"]["id"] == old[0]
    stack.write(config(serial=2, previous="deleted"))
    stack.up()
    assert not works(sandbox, old)
    assert stack.preview("--expect-no-changes").changes == {}


def test_a_key_that_the_stack_does_not_know_is_named_before_a_rotation_harms_anyone(
    new_stack: NewStack, sandbox: Sandbox
) -> None:
    stack = new_stack()
    users = {name: {"groups": ["test"], "key": {"serial": 1}} for name in ("ann", "bob")}
    stack.write({"groups": GROUPS, "users": users})
    stack.up()
    anns = stack.key("ann")
    users["ann"]["key"] = {"serial": 2}
    stack.write({"groups": GROUPS, "users": users})
    # Carried out, but the answer is lost, and so is the secret.
    sandbox.control.lose_answer("iam:CreateAccessKey", times=1)
    stack.up(check=False)
    sandbox.control.behave()
    strangers = keys_in_iam(sandbox, "ann").keys() - {anns[0], stack.key("ann")[0]}
    if not strangers:  # the provider asked again and was answered
        sandbox.client("iam").delete_access_key(UserName="ann", AccessKeyId=anns[0])
    users["ann"]["key"] = {"serial": 3}
    users["bob"]["key"] = {"serial": 2}
    stack.write({"groups": GROUPS, "users": users})
    done = stack.up(check=False)
    print(done.text)
    assert strangers
    stranger = strangers.pop()
    assert done.code != 0
    assert f"ann has one that this stack does not know, {stranger} (Active, made on " in done.text
    assert "never used" in done.text
    assert f"aws iam delete-access-key --user-name ann --access-key-id {stranger}" in done.text
    assert works(sandbox, anns)
    assert stack.outputs()["keys"]["bob"]["current"]["serial"] == 2, "bob is not concerned"
    sandbox.client("iam").delete_access_key(UserName="ann", AccessKeyId=stranger)
    stack.up()
    assert stack.outputs()["keys"]["ann"]["current"]["serial"] == 3

"""The guard on keys in use, on the real engine: what waits, what goes on, and what an operator sees."""

import re
from typing import Any

import pytest
from pulumi_sandbox.aws.settings import Faults

from tests.faults.matrix import stored_keys
from tests.lifecycle.helpers import GROUPS, NewStack, config, in_days, keys_in_iam, put_by_hand, works
from tests.lifecycle.stack import Sandbox


def several(**serials: int) -> dict[str, Any]:
    """Users under a guard of 30 days and `previous: deleted`, each with its serial."""
    users = {name: {"groups": ["test"], "key": {"serial": serial}} for name, serial in serials.items()}
    return {"groups": GROUPS, "users": users, "keyDefaults": {"retireGuard": {"idleDays": 30}, "previous": "deleted"}}


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
    assert f"the access key {old[0]} of user test-user is still in use and is not deleted" in refused.text
    assert "for s3 in ap-northeast-2, today; the retire guard requires 30 idle days" in refused.text
    assert "add 'test-user' to aws-access-keys:retireUnguarded for one run" in refused.text, "it says what to do"
    assert refused.text.count("is still in use") == 1, "it says it once"
    assert refused.changes == {"create": 1}, "the new key was issued"
    assert works(sandbox, old), "the key was not touched"
    assert works(sandbox, stack.key("test-user")), "the outputs name the new key"
    assert stack.outputs()["keys"]["test-user"]["previous"]["id"] == old[0], "and the old one, as it is still there"

    stack.environment["ACCESS_KEYS_TODAY"] = in_days(31)
    stack.up()
    assert list(keys_in_iam(sandbox)) == [stack.key("test-user")[0]], "after 31 idle days it goes"
    assert stack.preview("--expect-no-changes").changes == {}


@pytest.mark.long
@pytest.mark.parametrize("is_ours", [True, False])
def test_the_guard_holds_for_a_key_that_only_iam_has_when_its_user_goes_with_force_destroy(
    new_stack: NewStack, sandbox: Sandbox, is_ours: bool
) -> None:
    stack, file = new_stack(), several(ann=1, bob=1)
    file["users"]["ann"]["forceDestroy"] = True
    stack.write(file)
    stack.up()
    if is_ours:
        key = stack.key("ann")
        (urn,) = (urn for urn in stack.resources() if urn.endswith("::access/ann/1"))
        stack.run("state", "delete", urn, "--yes", "--target-dependents")
    else:
        made = sandbox.client("iam").create_access_key(UserName="ann")["AccessKey"]
        key = (made["AccessKeyId"], made["SecretAccessKey"])
        sandbox.issued.add(key[1])
    stack.environment["ACCESS_KEYS_TODAY"] = in_days(60)
    sandbox.control.set_faults(Faults(clock=60 * 86400))
    assert works(sandbox, key)
    stack.write(several(bob=1))
    for refused in (stack.preview(check=False), stack.up(check=False)):
        assert f"the access key {key[0]} of user ann is still in use and is not deleted" in refused.text
    assert works(sandbox, key)
    stack.write({**several(bob=1), "retireUnguarded": ["ann"]})
    stack.up()
    assert [user["UserName"] for user in sandbox.client("iam").list_users()["Users"]] == ["bob"]


@pytest.mark.long
def test_a_key_whose_deletion_was_refused_can_be_kept_for_good(new_stack: NewStack, sandbox: Sandbox) -> None:
    stack = new_stack()
    stack.write(several(ann=1))
    stack.up()
    old = stack.key("ann")
    assert works(sandbox, old)
    stack.write(several(ann=2))
    assert stack.up(check=False).code != 0
    kept = several(ann=2)
    kept["users"]["ann"]["key"]["previous"] = "active"
    stack.write(kept)
    assert stack.up().changes == {}
    assert works(sandbox, old)
    stack.environment["ACCESS_KEYS_TODAY"] = in_days(90)
    assert stack.up().changes == {}, "also when it is idle"
    assert works(sandbox, old)


@pytest.mark.long
def test_one_key_in_use_does_not_hold_up_anybody_else(new_stack: NewStack, sandbox: Sandbox) -> None:
    stack = new_stack()
    stack.write(several(ann=1, bob=1))
    stack.up()
    anns = stack.key("ann")
    stack.environment["ACCESS_KEYS_TODAY"] = in_days(31)  # what verify used is long ago now
    stack.write(several(ann=2, bob=2))
    stack.up()
    assert len(keys_in_iam(sandbox, "ann")) == 1
    assert len(keys_in_iam(sandbox, "bob")) == 1

    del stack.environment["ACCESS_KEYS_TODAY"]
    anns, bobs = stack.key("ann"), stack.key("bob")
    assert works(sandbox, anns)
    sandbox.control.change_faults(clock=31 * 86400)
    assert works(sandbox, anns), "ann's key is used to this day, bob's was not used for a month"
    stack.environment["ACCESS_KEYS_TODAY"] = in_days(31)
    stack.write(several(ann=3, bob=3))
    preview = stack.preview()
    assert "`pulumi up` will skip the following, apply everything else, and exit with an error" in preview.text
    done = stack.up(check=False)
    assert done.code != 0, "a scheduler notices"
    assert "of user ann is still in use" in done.text
    assert "of user bob" not in done.text
    assert works(sandbox, anns)
    assert works(sandbox, stack.key("ann")), "ann has her new key beside the one in use"
    assert list(keys_in_iam(sandbox, "bob")) == [stack.key("bob")[0]], "bob's rotation is complete"
    assert stack.key("bob") != bobs


@pytest.mark.long
def test_a_rotation_waits_that_needs_the_slot_of_a_key_in_use(new_stack: NewStack, sandbox: Sandbox) -> None:
    stack = new_stack()
    guard: dict[str, Any] = {"retireGuard": {"idleDays": 30}}
    for serial in (1, 2):
        stack.write(config(serial=serial, **guard))
        stack.up()
        assert works(sandbox, stack.key("test-user"))
    before = keys_in_iam(sandbox)
    stack.write(config(serial=3, **guard))
    waits = stack.up(check=False)
    assert waits.code != 0
    assert "is still in use and is not deleted" in waits.text
    assert "No new key is issued until this one can be deleted: IAM allows two access keys per user." in waits.text
    assert keys_in_iam(sandbox) == before, "both keys in use are as they were"
    assert stack.outputs()["keys"]["test-user"]["current"]["serial"] == 2
    stack.environment["ACCESS_KEYS_TODAY"] = in_days(31)
    stack.up()
    assert stack.outputs()["keys"]["test-user"]["current"]["serial"] == 3, "the raise was not forgotten"


@pytest.mark.long
def test_the_guard_keeps_a_key_whose_last_use_cannot_be_read(new_stack: NewStack, sandbox: Sandbox) -> None:
    stack = new_stack()
    stack.write(several(ann=1))
    stack.up()
    old = stack.key("ann")[0]
    stack.write(several(ann=2))
    sandbox.control.fail("iam:GetAccessKeyLastUsed", "AccessDenied", times=50)
    done = stack.up(check=False)
    sandbox.control.clear_faults()
    assert done.code != 0
    assert f"{old} of user ann is not deleted, because the last use could not be read (AccessDenied" in done.text
    assert "needs iam:ListAccessKeys and iam:GetAccessKeyLastUsed" in done.text
    assert old in keys_in_iam(sandbox, "ann")


@pytest.mark.long
def test_the_guard_refuses_to_deactivate_a_used_key_and_the_preview_says_it_first(
    new_stack: NewStack, sandbox: Sandbox
) -> None:
    stack = new_stack()
    stack.write(config(retireGuard={"idleDays": 7}))
    stack.up()
    assert works(sandbox, stack.key("test-user"))
    stack.write(config(retireGuard={"idleDays": 7}, status="inactive"))
    assert "is still in use and is not deactivated" in stack.preview().text
    refused = stack.up(check=False)
    assert refused.code != 0
    assert "is still in use and is not deactivated" in refused.text
    assert works(sandbox, stack.key("test-user"))
    stack.write(config(retireGuard=None, status="inactive"))
    stack.up()
    assert not works(sandbox, stack.key("test-user")), "without the guard it goes"


@pytest.mark.long
def test_the_guard_lets_a_key_go_that_only_its_own_trial_has_used(new_stack: NewStack, sandbox: Sandbox) -> None:
    stack = new_stack()
    settings: dict[str, Any] = {"retireGuard": {"idleDays": 30}, "previous": "deleted"}
    stack.write(config(**settings))
    stack.up()
    stack.write(config(serial=2, **settings))
    assert "AWS reports key usage with a delay" in stack.up(check=False).text, "in its first hour nobody can know"
    stack.environment["ACCESS_KEYS_TODAY"] = in_days(1)
    stack.up()
    assert len(keys_in_iam(sandbox)) == 1


@pytest.mark.long
def test_the_guard_holds_for_a_user_that_leaves_the_config(new_stack: NewStack, sandbox: Sandbox) -> None:
    stack = new_stack()
    nine: dict[str, Any] = {"keyDefaults": {"retireGuard": {"idleDays": 9}}}
    stack.write({**config(), **nine})
    stack.up()
    assert works(sandbox, stack.key("test-user"))
    stack.write({"groups": GROUPS, "users": {}, "allowNoUsers": True, **nine})
    for refused in (stack.preview(check=False), stack.up(check=False)):
        assert refused.code != 0
        assert "still in use and is not deleted" in refused.text
        assert "the retire guard requires 9 idle days" in refused.text
        assert "add 'test-user' to aws-access-keys:retireUnguarded for one run" in refused.text
        assert "Nothing was changed" in refused.text
        assert "Traceback" not in refused.text
    assert works(sandbox, stack.key("test-user")), "the user is still in its groups, too"
    stack.write({"groups": GROUPS, "users": {}, "allowNoUsers": True, "keyDefaults": {"retireGuard": None}})
    stack.up()
    assert sandbox.client("iam").list_users()["Users"] == [], "with the guard off the user goes"


@pytest.mark.long
def test_a_user_that_leaves_takes_its_own_idle_days_along(new_stack: NewStack, sandbox: Sandbox) -> None:
    stack = new_stack()
    stack.write(config(retireGuard={"idleDays": 2}))
    stack.up()
    assert works(sandbox, stack.key("test-user"))
    stack.write({"groups": GROUPS, "users": {}, "allowNoUsers": True})
    stack.environment["ACCESS_KEYS_TODAY"] = in_days(1)
    assert "the retire guard requires 2 idle days" in stack.up(check=False).text
    stack.environment["ACCESS_KEYS_TODAY"] = in_days(3)
    stack.up()
    assert sandbox.client("iam").list_users()["Users"] == []


@pytest.mark.long
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
    assert works(sandbox, stack.key("test-user")), "what the key is allowed to do was not taken away either"
    stack.write(config())
    stack.up()
    previewed = stack.run("destroy", "--run-program", "--preview-only").text
    assert re.search(r"the access key \S+ of test-user \(used on .*\) is deleted: the stack is destroyed", previewed)
    assert "is deleted" not in stack.run("up", "--yes").text, "a preview of an update deletes nothing"
    stack.destroy()
    assert sandbox.client("iam").list_users()["Users"] == []


@pytest.mark.long
@pytest.mark.parametrize("serial", [2, 3])
@pytest.mark.parametrize("command", ["destroy", "refresh"])
def test_a_run_of_the_program_that_is_no_update_issues_no_key_and_takes_no_other_for_it(
    new_stack: NewStack, sandbox: Sandbox, command: str, serial: int
) -> None:
    stack = new_stack()
    rules: dict[str, Any] = {"retireGuard": {"idleDays": 3}}
    for earlier in range(1, serial):
        stack.environment["ACCESS_KEYS_TODAY"] = in_days(5 * earlier)
        sandbox.control.change_faults(clock=5 * earlier * 86400)
        stack.write({**config(serial=earlier, **rules), "deliver": {"secretsManager": {}}})
        stack.up()
    outputs, keys = stack.outputs(), keys_in_iam(sandbox)
    assert works(sandbox, in_use := stack.key("test-user"))
    stack.write({**config(serial=serial, **rules), "deliver": {"secretsManager": {}}})
    stack.run(command, "--run-program", "--yes", check=False)
    assert stack.outputs() == outputs, "those of the last update, and no placeholders"
    assert keys_in_iam(sandbox) == keys
    stack.up()
    outputs = stack.outputs()
    assert outputs["keys"]["test-user"]["current"]["serial"] == serial
    assert outputs["accessKeyIds"]["test-user"] not in keys, "now it is issued"
    assert works(sandbox, stack.key("test-user"))
    if command == "destroy":
        assert works(sandbox, in_use), "a key in use stays"


@pytest.mark.long
def test_a_key_that_was_switched_on_again_by_hand_and_is_used_does_not_go(
    new_stack: NewStack, sandbox: Sandbox
) -> None:
    stack = new_stack()
    guard: dict[str, Any] = {"retireGuard": {"idleDays": 30}, "verify": False, "previous": "inactive"}
    stack.write(config(**guard))
    stack.up()
    old = stack.key("test-user")
    stack.write(config(serial=2, **guard))
    stack.environment["ACCESS_KEYS_TODAY"] = in_days(1)  # a key is not retired in its first hour
    stack.up()
    assert not works(sandbox, old)
    sandbox.client("iam").update_access_key(UserName="test-user", AccessKeyId=old[0], Status="Active")
    assert works(sandbox, old), "the state does not know it"
    for step in ({"serial": 3}, {"serial": 2, "previous": "deleted"}):
        stack.write(config("test-user", **{**guard, **step}))
        refused = stack.up(check=False)
        assert f"the access key {old[0]} of user test-user is still in use and is not deleted" in refused.text
        assert works(sandbox, old)
    stack.write({"groups": GROUPS, "users": {}, "allowNoUsers": True})
    assert "still in use" in stack.up(check=False).text
    assert works(sandbox, old)


@pytest.mark.long
def test_a_key_that_was_deleted_by_hand_stands_in_nobodys_way(new_stack: NewStack, sandbox: Sandbox) -> None:
    stack = new_stack()
    guard: dict[str, Any] = {"retireGuard": {"idleDays": 30}}
    stack.write(config(**guard))
    stack.up()
    old = stack.key("test-user")[0]
    stack.write(config(serial=2, **guard))
    stack.up()
    sandbox.client("iam").delete_access_key(UserName="test-user", AccessKeyId=old)
    stack.write(config(serial=3, **guard))
    stack.up()
    assert stack.outputs()["keys"]["test-user"]["current"]["serial"] == 3
    assert stack.preview("--expect-no-changes").changes == {}


@pytest.mark.long
def test_one_user_is_let_go_without_lifting_the_guard_from_anybody_else(new_stack: NewStack, sandbox: Sandbox) -> None:
    stack = new_stack()
    stack.write(several(carol=1, dave=1))
    stack.up()
    carols = stack.key("carol")
    assert works(sandbox, carols)
    assert works(sandbox, stack.key("dave"))
    leaving = several(carol=2)
    stack.write(leaving)
    refused = stack.up(check=False)
    assert "add 'dave' to aws-access-keys:retireUnguarded for one run" in refused.text
    stack.write({**leaving, "retireUnguarded": ["dave"]})
    done = stack.up(check=False)
    assert "of dave (used on" in done.text, "a key that stops working has a line of its own"
    assert "is deleted: the user was removed" in done.text
    assert [user["UserName"] for user in sandbox.client("iam").list_users()["Users"]] == ["carol"]
    assert works(sandbox, carols), "the guard still holds for carol's previous key"


@pytest.mark.long
def test_when_idle_the_previous_key_stays_until_its_users_have_changed_over(
    new_stack: NewStack, sandbox: Sandbox
) -> None:
    stack = new_stack()
    rules: dict[str, Any] = {"previous": "whenIdle", "retireGuard": {"idleDays": 3}}
    stack.write(config(**rules))
    stack.up()
    old = stack.key("test-user")
    assert works(sandbox, old)
    stack.write(config(serial=2, **rules))
    stack.up()
    waits = f"the previous access key {old[0]} of user test-user stays active for now: "

    sandbox.control.change_faults(clock=30 * 86400)
    stack.environment["ACCESS_KEYS_TODAY"] = in_days(30)
    done = stack.up()
    assert f"{waits}the new key has not been used yet." in done.text, "the verification does not count"
    assert done.changes == {}
    new = stack.key("test-user")
    assert works(sandbox, old)
    assert works(sandbox, new)
    today = f"{waits}the previous one was used on {in_days(30)}"
    assert today in stack.preview().text
    assert today in stack.up().text

    sandbox.control.change_faults(clock=33 * 86400 + 60)
    stack.environment["ACCESS_KEYS_TODAY"] = in_days(33)
    assert "everybody has changed over to key 2" in stack.up().text
    assert keys_in_iam(sandbox) == {old[0]: "Inactive", new[0]: "Active"}
    sandbox.control.clear_calls()
    assert stack.up().changes == {}
    assert not [call for call in sandbox.control.calls() if call.service == "iam"], "then AWS is asked nothing"


@pytest.mark.long
@pytest.mark.parametrize("idle_days", [0, 3], ids=["no guard", "guard"])
def test_destroy_is_refused_while_iam_has_a_key_that_the_state_has_not(
    new_stack: NewStack, sandbox: Sandbox, idle_days: int
) -> None:
    stack = new_stack()
    guard: dict[str, Any] = {"retireGuard": {"idleDays": idle_days}} if idle_days else {}
    stack.write({**config(keepSecret=False, **guard), "deliver": {"ssm": {}}})
    stack.up()
    by_hand = put_by_hand(sandbox, "ssm")
    stack.environment["ACCESS_KEYS_TODAY"] = in_days(10)
    previewed = stack.run("destroy", "--run-program", "--preview-only", check=False)
    refused = previewed if not idle_days else stack.destroy("--run-program", check=False)
    for shown in (previewed, refused):
        assert shown.code != 0
        assert by_hand[0] in shown.text
    assert stored_keys(sandbox) == {"/access-keys/test-user": by_hand}
    assert len(keys_in_iam(sandbox)) == 2

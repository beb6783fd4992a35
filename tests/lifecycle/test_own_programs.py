"""The component in programs of one's own: without exports, more than once, taken out again."""

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from tests.faults.matrix import stored_keys
from tests.lifecycle.helpers import NewStack, in_days, keys_in_iam, let_go, put_by_hand, works
from tests.lifecycle.stack import Sandbox, Stack

PROGRAM = Path(__file__).with_name("programs") / "components"
BESIDE = PROGRAM.with_name("beside")
GROUPS = {"readers": {"policies": ["AmazonS3ReadOnlyAccess"]}}


def component(group: str = "readers", **users: dict[str, Any]) -> dict[str, Any]:
    """The arguments of a component. users: name → the user's `key`."""
    groups = {group: {"policies": ["AmazonS3ReadOnlyAccess"]}}
    return {"groups": groups, "users": {name: {"groups": [group], "key": key} for name, key in users.items()}}


def write(stack: Stack, **components: dict[str, Any]) -> None:
    stack.write({"own:components": components})


def secrets_of(stack: Stack) -> dict[str, tuple[str, str]]:
    """Name of each access key in the state → id and secret."""

    exported = json.loads(stack.run("stack", "export", "--show-secrets").text)
    keys = [r for r in exported["deployment"]["resources"] if r["type"] == "aws:iam/accessKey:AccessKey"]
    return {
        key["urn"].rsplit("::", 1)[1]: (key["id"], json.loads(key["outputs"]["secret"]["plaintext"])) for key in keys
    }


@pytest.mark.long
def test_a_program_that_exports_nothing_never_loses_a_key_in_use(new_stack: NewStack, sandbox: Sandbox) -> None:
    stack = new_stack(program=PROGRAM)
    keys: dict[str, tuple[str, str]] = {}
    for serial in (1, 2, 3, 4):
        write(stack, one=component(ann={"serial": serial}))
        stack.up()
        keys |= secrets_of(stack)
        assert works(sandbox, keys[f"one/ann/{serial}"]), "the new key works"
        if serial > 1:
            assert works(sandbox, keys[f"one/ann/{serial - 1}"]), "the key that was in use works on"
        assert stack.preview("--expect-no-changes").changes == {}
    assert len(keys_in_iam(sandbox, "ann")) == 2


def test_a_component_looks_for_its_stores_in_the_region_of_its_own_provider(
    new_stack: NewStack, sandbox: Sandbox
) -> None:
    stack = new_stack(program=PROGRAM)

    def write_with(serial: int, previous: str) -> None:
        args = component(ann={"keep_secret": False}, bob={"serial": serial, "previous": previous})
        args["users"]["ann"]["deliver"], args["users"]["bob"]["deliver"] = {"ssm": {}}, {"secrets_manager": {}}
        stack.write({"own:components": {"one": args}, "own:region": "eu-west-3"})

    write_with(1, "active")
    stack.up()
    parameters, secrets = (sandbox.client(service, region="eu-west-3") for service in ("ssm", "secretsmanager"))
    assert parameters.get_parameter(Name="/access-keys/ann")["Parameter"]["Name"] == "/access-keys/ann"
    old = secrets.get_secret_value(SecretId="access-keys/bob")["SecretString"]
    write_with(2, "active")
    stack.up()
    secrets.put_secret_value(SecretId="access-keys/bob", SecretString=old)
    write_with(2, "deleted")
    refused = stack.up(check=False)
    assert "is not retired, because the secret 'access-keys/bob' in Secrets Manager has it" in refused.text
    assert len(keys_in_iam(sandbox, "bob")) == 2
    write_with(2, "active")
    stack.destroy("--run-program")
    assert parameters.describe_parameters()["Parameters"] == [], "nothing is left behind in the other region"


@pytest.mark.long
def test_the_retire_guard_holds_without_exports_in_the_run_that_introduces_it(
    new_stack: NewStack, sandbox: Sandbox
) -> None:
    stack = new_stack(program=PROGRAM)
    write(stack, one=component(ann={}))
    stack.up()
    old = secrets_of(stack)["one/ann/1"]
    assert works(sandbox, old)
    write(stack, one=component(ann={"serial": 2, "previous": "Deleted", "retire_guard": {"idle_days": 30}}))
    refused = stack.up(check=False)
    assert refused.code != 0, "a refusal makes the update fail, without a word of the program's"
    assert "users.ann.key: the access key" in refused.text, "the place is spelled as in Python"
    assert "add 'ann' to retire_unguarded for one run" in refused.text
    assert works(sandbox, old)
    assert works(sandbox, secrets_of(stack)["one/ann/2"]), "everything else was done"


@pytest.mark.long
def test_two_components_with_one_user_are_refused_before_anything_of_the_second_is_made(
    new_stack: NewStack, sandbox: Sandbox
) -> None:
    stack = new_stack(program=PROGRAM)
    write(stack, one=component(ann={}), two=component("others", ann={}))
    for refused in (stack.preview(check=False), stack.up(check=False)):
        assert refused.code != 0
        assert "users.ann: the component 'one' has a user of this name in the same account" in refused.text
        assert "Traceback" not in refused.text
    assert [group["GroupName"] for group in sandbox.client("iam").list_groups()["Groups"]] in ([], ["readers"])


@pytest.mark.long
def test_two_providers_of_one_account_do_not_hide_that_two_components_write_into_one_secret(
    new_stack: NewStack, sandbox: Sandbox
) -> None:
    stack = new_stack(program=PROGRAM)
    sandbox.client("secretsmanager").create_secret(Name="shared", SecretString="of the team")
    deliver = {"deliver": {"secrets_manager": {"existing": "shared"}}}
    ann, bob = component(ann={}) | deliver, component("others", bob={}) | deliver | {"region": "ap-northeast-2"}
    write(stack, one=ann, two=bob)
    for refused in (stack.preview(check=False), stack.up(check=False)):
        assert "users.bob.deliver.secrets_manager: the component 'one' has a secret of this name" in refused.text


@pytest.mark.long
def test_two_components_do_not_touch_each_others_keys(new_stack: NewStack, sandbox: Sandbox) -> None:
    stack = new_stack(program=PROGRAM)
    write(stack, one=component(ann={}), two=component("others", bob={}))
    stack.up()
    anns = secrets_of(stack)["one/ann/1"]
    for serial in (2, 3):
        write(stack, one=component(ann={}), two=component("others", bob={"serial": serial}))
        stack.up()
        assert stack.preview("--expect-no-changes").changes == {}
    assert works(sandbox, anns)
    assert list(keys_in_iam(sandbox, "ann")) == [anns[0]]


@pytest.mark.long
def test_a_user_is_not_adopted_from_another_component_which_would_delete_it(
    new_stack: NewStack, sandbox: Sandbox
) -> None:
    stack = new_stack(program=PROGRAM)
    write(stack, one=component(ann={}), two=component("others", bob={}))
    stack.up()
    anns = secrets_of(stack)["one/ann/1"]
    adopting = component("others", bob={}, ann={"adopt": {"id": anns[0]}})
    adopting["users"]["ann"]["adopt"] = True
    write(stack, one=component(eve={}), two=adopting)
    for refused in (stack.preview(check=False), stack.up(check=False)):
        assert (
            "users.ann: the component 'one' already has this name in this stack, and a user cannot move" in refused.text
        )
    assert works(sandbox, anns)


@pytest.mark.long
def test_a_component_that_gets_a_parent_does_not_adopt_its_own_users_which_would_delete_them(
    new_stack: NewStack, sandbox: Sandbox
) -> None:
    stack = new_stack(program=PROGRAM)
    write(stack, one=component(ann={}))
    stack.up()
    anns = secrets_of(stack)["one/ann/1"]
    adopting = component(ann={"adopt": {"id": anns[0]}})
    adopting["users"]["ann"]["adopt"] = adopting["groups"]["readers"]["adopt"] = True
    for args in (component(ann={}), adopting):
        stack.write({"own:components": {"one": args}, "own:parent": "team"})
        refused = stack.up(check=False)
        assert refused.code != 0
        assert "users.ann: the component 'one' with another parent already has this name in this stack" in refused.text
        assert "If you changed the component's parent, restore it" in refused.text
    assert works(sandbox, anns)


@pytest.mark.long
def test_a_component_with_an_alias_for_its_former_name_is_told_to_take_it_again(
    new_stack: NewStack, sandbox: Sandbox
) -> None:
    stack = new_stack(program=PROGRAM)
    write(stack, one=component(ann={}))
    stack.up()
    before = secrets_of(stack)
    stack.write({"own:components": {"two": component(ann={})}, "own:alias": "one"})
    for refused in (stack.preview(check=False), stack.up(check=False), stack.up(check=False)):
        assert refused.code != 0
        assert "estore" in refused.text
        assert "pulumi state delete" not in refused.text, "that would take the keys along, and their secrets"
    for alias in ("two", None):
        stack.write({"own:components": {"one": component(ann={})}, **({"own:alias": alias} if alias else {})})
        stack.preview()
        stack.up()
    assert secrets_of(stack) == before
    assert stack.preview("--expect-no-changes").changes == {}


@pytest.mark.long
def test_keys_are_deleted_although_the_components_parent_is_retained_on_delete(
    new_stack: NewStack, sandbox: Sandbox
) -> None:
    stack = new_stack(program=PROGRAM)
    for key in ({}, {"serial": 2}, {"serial": 2, "previous": "Deleted"}):
        args = {"own:components": {"one": component(ann=key)}, "own:parent": "team", "own:retain": "true"}
        stack.write(args)
        stack.up()
    assert len(keys_in_iam(sandbox, "ann")) == 1


@pytest.mark.long
def test_users_and_groups_that_the_program_has_without_a_component_are_adopted_once_the_state_has_let_them_go(
    new_stack: NewStack, sandbox: Sandbox
) -> None:
    stack = new_stack(program=PROGRAM)
    stack.write({"own:components": {}, "own:plain": "ann"})
    stack.up()
    anns = secrets_of(stack)["ann"]
    adopting = component(ann={"adopt": {"id": anns[0]}, "retire_guard": {"idle_days": 30}})
    adopting["groups"]["readers"]["adopt"] = True
    stack.write({"own:components": {"one": adopting}})
    refused = stack.up(check=False)
    assert refused.code != 0
    for place in ("users.ann:", "groups.readers:", "users.ann.key.adopt.id:"):
        assert place in refused.text
    let_go(stack, refused.text)
    assert stack.up().changes.keys() == {"create", "import"}
    assert keys_in_iam(sandbox, "ann").keys() == {anns[0]}
    assert works(sandbox, anns)
    assert stack.preview("--expect-no-changes").changes == {}


@pytest.mark.long
def test_a_policy_that_the_program_gives_without_the_component_is_not_given_twice_which_would_take_it_away(
    new_stack: NewStack, sandbox: Sandbox
) -> None:
    stack, one = new_stack(program=PROGRAM), component(ann={})
    write(stack, one=one)
    stack.up()
    stack.write({"own:components": {"one": one}, "own:given": "AmazonSQSFullAccess"})
    assert stack.up().changes == {"create": 1}
    stack.run("destroy", "--run-program", "--preview-only")  # the policy goes with it, and keeps no user
    one["users"]["ann"]["policies"] = ["AmazonSQSFullAccess"]
    write(stack, one=one)
    refused = stack.up(check=False)
    assert "users.ann.policies: 'urn:pulumi:" in refused.text
    let_go(stack, refused.text)
    assert stack.up().changes == {"create": 1}
    attached = sandbox.client("iam").list_attached_user_policies(UserName="ann")["AttachedPolicies"]
    assert [one["PolicyName"] for one in attached] == ["AmazonSQSFullAccess"]


def beside(plain: str = "", secret: str = "", user: "dict[str, Any] | None" = None, **readers: Any) -> dict[str, Any]:
    """The config of the program `beside`. user: what ann has more. readers: what her group has more."""
    groups = {"readers": {"policies": ["AmazonEC2ReadOnlyAccess"], **readers}}
    args = {"groups": groups, "users": {"ann": {"groups": ["readers"], **(user or {})}}}
    return {"own:args": args, "own:plain": plain, "own:secret": secret}


OWN = "arn:aws:iam::123456789012:policy/own"


@pytest.mark.long
@pytest.mark.parametrize(
    ("before", "after", "place"),
    [
        (beside(policy_arns=["a"]), beside(policy_arns=["b"]), "groups.readers.policy_arns.b:"),
        (beside(policy_arns=["a"]), beside(policies=[OWN]), "groups.readers.policies:"),
        (beside(policies=[OWN]), beside(policy_arns=["a"]), "groups.readers.policy_arns.a:"),
        (beside("attachment"), beside(policy_arns=["a"]), "groups.readers.policy_arns.a:"),
    ],
    ids=["another name", "as ARN", "as Output", "of the program"],
)
def test_a_policy_that_moves_in_the_program_is_not_taken_away_by_its_former_resource(
    new_stack: NewStack, sandbox: Sandbox, before: dict[str, Any], after: dict[str, Any], place: str
) -> None:
    stack = new_stack(program=BESIDE)
    stack.write(before)
    stack.up()
    stack.write(after)
    for refused in (stack.preview(check=False), stack.up(check=False)):
        assert place in refused.text, refused.text
    let_go(stack, refused.text)
    for command in re.findall(r"pulumi (state rename '\S+' '\S+')", refused.text):
        stack.run(*shlex.split(command), "--yes")
    stack.up()
    (anns,) = secrets_of(stack).values()
    assert works(sandbox, anns), "the policy is attached as before"
    assert stack.preview("--expect-no-changes").changes == {}
    stack.refresh()
    assert stack.preview("--expect-no-changes").changes == {}


@pytest.mark.long
def test_one_policy_twice_in_a_group_is_refused(new_stack: NewStack) -> None:
    stack = new_stack(program=BESIDE)
    stack.write(beside(policy_arns=["a", "b"]))
    refused = stack.up(check=False)
    assert f"groups.readers.policy_arns.b: the group has the policy {OWN} already, as 'a'" in refused.text
    stack.write(beside(policy_arns=["a"]))
    stack.up()
    stack.write(beside(policies=[OWN], policy_arns=["a"]))
    refused = stack.up(check=False)
    assert f"groups.readers.policies: the group has {OWN} already, as 'a'. Keep it there" in refused.text


@pytest.mark.long
@pytest.mark.parametrize("keep_secret", [True, False])
def test_a_parameter_of_the_program_is_not_delivered_to_which_would_delete_the_key_in_it(
    new_stack: NewStack, sandbox: Sandbox, keep_secret: bool
) -> None:
    stack = new_stack(program=BESIDE)
    stack.write(beside("parameter"))
    stack.up()
    held = stored_keys(sandbox)
    stack.write(beside(user={"key": {"serial": 2, "keep_secret": keep_secret}, "deliver": {"ssm": {}}}))
    for refused in (stack.preview(check=False), stack.up(check=False)):
        assert "users.ann.deliver.ssm: this stack already has the parameter '/access-keys/ann', as" in refused.text
    assert stored_keys(sandbox) == held
    other = {"key": {"serial": 2, "keep_secret": keep_secret}, "deliver": {"ssm": {"name": "/other/ann"}}}
    stack.write(beside("parameter", user=other) if keep_secret else beside(user=other))
    stack.up()
    key_id, secret = stored_keys(sandbox)["/other/ann"]
    assert key_id in keys_in_iam(sandbox, "ann")
    assert secret


@pytest.mark.long
def test_a_policy_of_a_secret_that_moves_into_readers_is_not_taken_away(new_stack: NewStack, sandbox: Sandbox) -> None:
    stack, manager = new_stack(program=BESIDE), sandbox.client("secretsmanager")
    stack.write(beside(user={"deliver": {"secrets_manager": {}}}))
    stack.up()
    arn = manager.describe_secret(SecretId="access-keys/ann")["ARN"]
    stack.write(beside("policy", arn, user={"deliver": {"secrets_manager": {}}}))
    stack.up()
    stack.write(beside(user={"deliver": {"secrets_manager": {"readers": ["arn:aws:iam::123456789012:root"]}}}))
    refused = stack.up(check=False)
    assert "users.ann.deliver.secrets_manager.readers: 'urn:pulumi:" in refused.text
    let_go(stack, refused.text)
    stack.up()
    assert "123456789012" in manager.get_resource_policy(SecretId=arn)["ResourcePolicy"]
    assert stack.preview("--expect-no-changes").changes == {}


@pytest.mark.long
def test_a_user_leaves_a_group_only_when_the_new_group_has_its_policies(new_stack: NewStack, sandbox: Sandbox) -> None:
    stack = new_stack(program=PROGRAM)
    write(stack, one=component(ann={}))
    stack.up()
    write(stack, one=component(group="writers", ann={}))
    sandbox.control.fail("iam:AttachGroupPolicy", "AccessDenied", times=9)
    assert stack.up(check=False).code != 0
    assert works(sandbox, next(iter(secrets_of(stack).values()))), "the old group still allows it"
    sandbox.control.clear_faults()
    stack.up()
    assert works(sandbox, next(iter(secrets_of(stack).values())))


@pytest.mark.long
def test_a_secret_of_the_program_into_which_a_key_goes_is_to_be_protected(new_stack: NewStack) -> None:
    stack, one = new_stack(program=PROGRAM), component(ann={})
    stack.write({"own:components": {}, "own:secret": "team/ann"})
    stack.up()
    one["deliver"] = {"secrets_manager": {"existing": "team/ann"}}
    stack.write({"own:components": {"one": one}, "own:secret": "team/ann"})
    for done in (stack.preview(), stack.up()):
        assert "deliver.secrets_manager.existing: the secret 'team/ann' is the resource 'urn:pulumi:" in done.text
    assert "Protect that resource" not in stack.up().text, "said once"


@pytest.mark.long
def test_a_component_with_a_guard_can_be_taken_out_of_a_program(new_stack: NewStack, sandbox: Sandbox) -> None:
    stack = new_stack(program=PROGRAM)
    guard = {"retire_guard": {"idle_days": 30}, "verify": False}
    write(stack, one=component(ann={}), two=component("others", bob=guard), three=component("thirds", eve=guard))
    stack.up()
    bobs = secrets_of(stack)["two/bob/1"]
    works(sandbox, bobs)
    write(stack, one=component(ann={}), three=component("thirds", eve=guard))
    refused = stack.up(check=False)
    assert refused.code != 0
    assert f"the access key {bobs[0]} of user bob is still in use and is not deleted" in refused.text
    assert "put the component 'two' back, switch the retire guard off in the key of bob alone" in refused.text
    assert works(sandbox, bobs), "with all its permissions"
    write(stack, one=component(ann={}), two=component("others", bob=guard), three=component("thirds", eve=guard))
    stack.up()
    assert keys_in_iam(sandbox, "bob"), "put back, it is as it was"
    assert keys_in_iam(sandbox, "eve"), "nobody else was affected"
    write(stack, one=component(ann={}), two=component("others", bob=guard))
    stack.environment["ACCESS_KEYS_TODAY"] = in_days(1)
    stack.up()
    users = {user["UserName"] for user in sandbox.client("iam").list_users()["Users"]}
    assert users == {"ann", "bob"}, "a component whose keys are idle goes"
    write(stack, one=component(ann={}), two=component("others", bob={**guard, "retire_guard": None}))
    stack.up()
    write(stack, one=component(ann={}))
    stack.up()
    assert keys_in_iam(sandbox, "ann"), "nobody else was affected"
    users = {user["UserName"] for user in sandbox.client("iam").list_users()["Users"]}
    assert users == {"ann"}, "the way that the message names lets the user go"


@pytest.mark.long
def test_the_last_component_with_a_guard_needs_its_guard_off_first(new_stack: NewStack, sandbox: Sandbox) -> None:
    stack = new_stack(program=PROGRAM)
    write(stack, one=component(ann={"retire_guard": {"idle_days": 30}, "verify": False}))
    stack.up()
    stack.write({"own:components": {}})
    assert 'hook "aws-access-keys retire guard" was not registered' in stack.up(check=False).text
    write(stack, one=component(ann={"verify": False}))
    stack.up()
    stack.write({"own:components": {}})
    stack.up()
    assert sandbox.client("iam").list_users()["Users"] == []


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (component(ann={"status": "of"}), "users.ann.key.status: expected 'active' or 'inactive', got 'of'"),
        (component(ann={"retire_gard": {}}), "users.ann.key.retire_gard: unknown name."),
        ({"groups": GROUPS, "users": {"ann": {"groups": ["reader"]}}}, "Did you mean 'readers'?"),
    ],
)
def test_wrong_arguments_are_refused_with_their_place(
    new_stack: NewStack, sandbox: Sandbox, args: dict[str, Any], message: str
) -> None:
    stack = new_stack(program=PROGRAM)
    write(stack, one=args)
    refused = stack.up(check=False)
    assert refused.code != 0
    assert message in refused.text
    assert "The ProgrammaticAccess 'one' has 1 problem" in refused.text
    assert "Traceback" not in refused.text
    assert sandbox.client("iam").list_groups()["Groups"] == []


@pytest.mark.long
def test_a_component_whose_parameter_only_it_can_delete_is_kept_from_leaving_by_the_preview(
    new_stack: NewStack, sandbox: Sandbox
) -> None:
    stack = new_stack(program=PROGRAM)
    unkept = component("others", ben={"keep_secret": False})
    unkept["users"]["ben"]["deliver"] = {"ssm": {}, "secrets_manager": {}}
    write(stack, one=component(ann={}), two=unkept)
    stack.up()
    before = stored_keys(sandbox)
    write(stack, one=component(ann={}))
    for refused in (stack.preview(check=False), stack.up(check=False)):
        assert refused.code != 0
        assert "Put the component back without its users and with allowNoUsers" in refused.text
    assert "/access-keys/ben" in stored_keys(sandbox), "the parameter keeps the only copy"
    write(stack, one=component(ann={}), two={"groups": unkept["groups"], "users": {}, "allow_no_users": True})
    stack.up()
    write(stack, one=component(ann={}))
    stack.up()
    assert len(before) == 2
    assert stored_keys(sandbox) == {}


@pytest.mark.long
def test_a_guarded_component_does_not_leave_while_iam_has_a_key_that_the_state_has_not(
    new_stack: NewStack, sandbox: Sandbox
) -> None:
    stack = new_stack(program=PROGRAM)
    guarded = component("others", ben={"retire_guard": {"idle_days": 3}})
    guarded["users"]["ben"]["deliver"] = {"secrets_manager": {}}
    write(stack, one=component(ann={}), two=guarded)
    stack.up()
    by_hand = put_by_hand(sandbox, "secretsManager", "ben")
    before = stored_keys(sandbox)
    stack.environment["ACCESS_KEYS_TODAY"] = in_days(10)
    write(stack, one=component(ann={}))
    for refused in (stack.preview(check=False), stack.up(check=False)):
        assert refused.code != 0
        assert by_hand[0] in refused.text
    assert stored_keys(sandbox) == before
    assert len(keys_in_iam(sandbox, "ben")) == 2

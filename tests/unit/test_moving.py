"""What a move makes of two states, and what it refuses. tests/lifecycle/test_move.py moves real ones."""

import json
import re
from collections import Counter
from copy import deepcopy
from typing import Any

import pytest
from aws_access_keys.cli import move as cli
from aws_access_keys.cli.stack import StackError
from aws_access_keys.rules.moving import MOVE, Moved, MoveError, State, interrupted, move_users, protected
from aws_access_keys.rules.resource_types import COMPONENT, GROUP, KEY, MEMBERSHIP, PLANS, USER

STACK = "pulumi:pulumi:Stack"
PROVIDER = "pulumi:providers:aws"


def urn(kinds: str, name: str, stack: str = "a") -> str:
    return f"urn:pulumi:{stack}::p::{kinds}::{name}"


def one(kinds: str, name: str, parent: str | None = None, stack: str = "a", **more: Any) -> dict[str, Any]:
    made = {"urn": urn(kinds, name, stack), "type": kinds.split("$")[-1], "outputs": {}, **more}
    return made | ({"parent": parent} if parent else {})


def stack_with(*users: str, stack: str = "a", groups: dict[str, str] | None = None) -> State:
    """A state. groups: user → its group; `readers` if not named."""
    root = one(STACK, f"p-{stack}", stack=stack)
    component = one(COMPONENT, "access", root["urn"], stack, outputs={"keys": {user: {"of": user} for user in users}})
    plans = one(f"{COMPONENT}${PLANS}", "access", component["urn"], stack)
    plans["outputs"] = {"plans": {user: ["1"] for user in users}, "lost": "not known"}
    provider = one(PROVIDER, "default", root["urn"], stack, id=f"id-{stack}")
    found = [root, component, plans, provider]
    owners = {user: (groups or {}).get(user, "readers") for user in users}
    reference = f"{provider['urn']}::{provider['id']}"
    for group in sorted(set(owners.values())):
        more = {"id": group, "outputs": {"arn": f"arn:aws:iam::123456789012:group/{group}"}, "provider": reference}
        found.append(one(f"{COMPONENT}${GROUP}", f"access/{group}", component["urn"], stack, **more))
    for user, group in owners.items():
        more = {"id": user, "outputs": {"arn": f"arn:aws:iam::123456789012:user/{user}"}, "provider": reference}
        made = one(f"{COMPONENT}${USER}", f"access/{user}", component["urn"], stack, **more)
        on = [urn(f"{COMPONENT}${GROUP}", f"access/{group}", stack), made["urn"]]
        below = f"{COMPONENT}${USER}$"
        member = one(f"{below}{MEMBERSHIP}", f"access/{user}", made["urn"], stack, dependencies=on)
        more = {"id": f"AKIA-{user}-{stack}", "propertyDependencies": {"user": on[1:]}}
        key = one(f"{below}{KEY}", f"access/{user}/1", made["urn"], stack, **more)
        found += [made, member, key]
    return found


def test_a_user_moves_with_its_keys_group_and_records() -> None:
    source, target = stack_with("ann", "bob", groups={"bob": "writers"}), stack_with("carol", "eve", stack="b")
    target = [found for found in target if "eve" not in found["urn"]]
    target = [found | {"urn": found["urn"].replace("readers", "mailers")} for found in target]
    moved = move_users(source, target, "b", ["ann"])
    assert moved.names == {"user": ["ann"], "group": ["readers"], "policy": []}
    urns = {found["urn"]: found for found in moved.target}
    key = urns[urn(f"{COMPONENT}${USER}${KEY}", "access/ann/1", "b")]
    assert key["parent"] == urn(f"{COMPONENT}${USER}", "access/ann", "b")
    assert key["propertyDependencies"] == {"user": [key["parent"]]}
    assert urns[key["parent"]]["provider"].endswith("::id-b"), "the provider is the target's"
    assert urns[urn(COMPONENT, "access", "b")]["outputs"]["keys"]["ann"] == {"of": "ann"}
    left = {found["urn"]: found for found in moved.source}
    assert left[urn(COMPONENT, "access")]["outputs"]["keys"] == {"bob": {"of": "bob"}}
    assert left[urn(f"{COMPONENT}${PLANS}", "access")]["outputs"]["plans"] == {"bob": ["1"]}
    assert not any("ann" in found or "readers" in found for found in left)
    assert len(source) == len(stack_with("ann", "bob", groups={"bob": "writers"})), "the arguments stay as they are"


def test_a_group_that_is_named_like_a_user_who_stays_takes_none_of_the_users_records() -> None:
    source = stack_with("ann", "bob", groups={"ann": "readers", "bob": "ann"})
    tests = {"users.ann": {"allow": []}, "groups.ann": {"deny": []}}
    source[1]["outputs"]["expectations"] = deepcopy(tests)
    changes = {"user ann": {"boundary": ""}, "group ann": {"inline x": ""}}
    source[2]["outputs"]["changes"] = deepcopy(changes)
    moved = move_users(source, stack_with("carol", stack="b", groups={"carol": "mailers"}), "b", ["bob"])
    component, plans = moved.source[1], moved.source[2]
    assert component["outputs"]["keys"] == {"ann": {"of": "ann"}}, "the keys of the user who stays are still recorded"
    assert plans["outputs"]["plans"] == {"ann": ["1"]}
    assert component["outputs"]["expectations"] == {"users.ann": tests["users.ann"]}
    there = next(found for found in moved.target if found["type"] == COMPONENT)
    assert there["outputs"]["expectations"] == {"groups.ann": tests["groups.ann"]}
    assert plans["outputs"]["changes"] == {"user ann": changes["user ann"]}, "what AWS may have is looked up there"
    plans = next(found for found in moved.target if found["type"] == PLANS)
    assert plans["outputs"]["changes"] == {"group ann": changes["group ann"]}
    assert set(there["outputs"]["keys"]) == {"carol", "bob"}


def test_a_users_notices_move_and_are_not_sent_again() -> None:
    source = stack_with("ann", "bob")
    marks = {f"works AKIA-{user}": {"user": user} for user in ("ann", "bob")}
    source[1]["outputs"]["notices"] = {"sns": marks}
    moved = move_users(source, stack_with("carol", stack="b", groups={"carol": "mailers"}), "b", ["ann", "bob"])
    component = next(found for found in moved.target if found["type"] == COMPONENT)
    assert component["outputs"]["notices"] == {"sns": marks}


def test_a_new_stack_gets_the_component_and_the_provider() -> None:
    moved = move_users(stack_with("ann"), [], "b", ["ann"])
    types = [found["type"] for found in moved.target]
    assert types == [STACK, COMPONENT, PLANS, PROVIDER, GROUP, USER, MEMBERSHIP, KEY]
    assert moved.target[0]["urn"] == urn(STACK, "p-b", "b")
    assert {found["parent"] for found in moved.target[1:2]} == {urn(STACK, "p-b", "b")}
    assert [found["type"] for found in moved.source] == [STACK, COMPONENT, PLANS, PROVIDER]


def below(parent: dict[str, Any]) -> State:
    """A state whose component is below a resource."""
    source = stack_with("ann")
    source[1]["parent"] = parent["urn"]
    return [source[0], parent, *source[1:]]


def test_a_component_moves_with_the_components_that_it_is_in() -> None:
    team = one("own:index:Team", "team", urn(STACK, "p-a"), outputs={"secret": "of others"}, custom=False)
    moved = move_users(below(team), [], "b", ["ann"])
    there = {found["urn"]: found for found in moved.target}
    assert there[urn("own:index:Team", "team", "b")]["outputs"] == {}, "what it is for is not moved"
    assert there[urn(COMPONENT, "access", "b")]["parent"] == urn("own:index:Team", "team", "b")
    assert team["urn"] in {found["urn"] for found in moved.source}


def unfinished() -> State:
    source = stack_with("ann")
    return [*source, source[-1] | {"delete": True}]


def elsewhere() -> State:
    found = stack_with("carol", stack="b", groups={"carol": "mailers"})
    found[-3]["outputs"] = {"arn": "arn:aws:iam::222222222222:user/carol"}
    return found


def used_outside() -> State:
    source = stack_with("ann")
    return [*source, one("other:index:Thing", "thing", dependencies=[source[-1]["urn"]])]


@pytest.mark.parametrize(
    ("source", "target", "message"),
    [
        (stack_with("bob"), [], "The state has no user 'ann'. Its users: bob."),
        (stack_with("ann", "bob"), [], "The group 'readers' cannot move: user 'bob' uses it and would stay."),
        (stack_with("ann"), stack_with("ann", stack="b"), "Stack 'b' already has group 'readers'."),
        (
            stack_with("ann"),
            [found for found in stack_with("ann", stack="b") if KEY not in found["type"]],
            "Stack 'b' already has group 'readers'. It is the very same in AWS: a move was interrupted, and 'b' has "
            "been updated since. Run `pulumi refresh --stack a`, then this command again.",
        ),
        (unfinished(), [], "The last update of user 'ann' did not finish. Put its settings back"),
        (stack_with("ann"), elsewhere(), "The stacks are in different AWS accounts: 123456789012, 222222222222."),
        (used_outside(), [], "The user 'ann' cannot move: other:index:Thing 'thing' uses it and would stay."),
        (
            below(one("own:index:Bucket", "data", urn(STACK, "p-a"), custom=True)),
            [],
            f"Users below a resource that is not a component, {urn('own:index:Bucket', 'data')}, cannot move.",
        ),
    ],
)
def test_what_cannot_move_is_refused(source: State, target: State, message: str) -> None:
    with pytest.raises(MoveError) as refused:
        move_users(source, target, "b", ["ann"])
    assert str(refused.value).startswith(message)


def test_a_move_that_was_interrupted_leaves_the_target_as_it_is() -> None:
    source = stack_with("ann", "bob", groups={"bob": "writers"})
    first = move_users(source, [], "b", ["ann"])
    component = next(found for found in first.target if found["type"] == COMPONENT)
    component["outputs"]["keys"]["ann"] = {"of": "ann", "since": "an update of the target"}
    again = move_users(source, first.target, "b", ["ann"])
    assert again == Moved(first.source, first.target, first.names), "only the source's part is left"


def test_a_source_that_was_left_in_the_middle_of_a_move_moves_as_before() -> None:
    source = stack_with("ann", "bob", groups={"bob": "writers"})
    once = move_users(source, [], "b", ["ann"])
    left = protected(source, once, "access-keys move ann")
    for state in (left, protected(left, once, "access-keys move ann")):
        assert move_users(state, [], "b", ["ann"]) == once


def test_in_the_middle_of_a_move_no_update_may_run() -> None:
    source = stack_with("ann", "bob", groups={"bob": "writers"})
    left = protected(source, move_users(source, [], "b", ["ann"]), "access-keys move ann --stack a --to b")
    why = interrupted({found["urn"]: found for found in left})
    assert why
    assert "To complete it, run `access-keys move ann --stack a --to b` again" in why
    assert interrupted({found["urn"]: found for found in source}) is None


Import = tuple[str, list[dict[str, Any]]]


class Engine:
    """Both stacks' states, as `pulumi stack export` and `import` have them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, target_changes: bool = False) -> None:
        target = stack_with("carol", stack="b", groups={"carol": "mailers"})
        self.states: dict[str, State] = {"a": stack_with("ann", "bob", groups={"bob": "writers"}), "b": target}
        self.exports: Counter[str] = Counter()
        self.imports: list[Import] = []
        self.fail: dict[int, BaseException] = {}
        """Number of an import → what it raises."""
        self.target_changes = target_changes
        self.interrupted = ""
        """The stack whose last update was interrupted."""
        monkeypatch.setattr(cli, "pulumi", self.pulumi)
        monkeypatch.setattr(cli, "stack_config", self.config)

    def pulumi(self, *arguments: str, stdin: str | None = None) -> str:
        stack = arguments[-1]
        if arguments[:2] == ("stack", "import"):
            resources: State = json.loads(stdin or "")["deployment"]["resources"]
            self.imports.append((stack, resources))
            if error := self.fail.get(len(self.imports)):
                raise error
            self.states[stack] = resources
            return ""
        assert arguments[:2] == ("stack", "export")
        self.exports[stack] += 1
        manifest = {"time": self.exports[stack] if stack == "b" and self.target_changes else 0}
        deployment = {
            "resources": self.states[stack],
            "secrets_providers": {"type": "passphrase"},
            "manifest": manifest,
            "pending_operations": [{"type": "deleting"}] if stack == self.interrupted else [],
        }
        return json.dumps({"deployment": deployment})

    @staticmethod
    def config(*_: str, **__: bool) -> dict[str, Any]:
        return {}


def test_nothing_is_written_over_an_update_that_ends_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = Engine(monkeypatch, target_changes=True)
    with pytest.raises(StackError, match=r"Stack 'b' is being updated\. .* Nothing was moved\."):
        cli.move(["ann"], "a", "b", dry_run=False)
    assert engine.exports["b"] == 2
    assert engine.imports == []


@pytest.mark.parametrize("stack", ["a", "b"])
def test_after_an_interrupted_update_the_settings_are_put_back_before_the_stack_is_updated(
    monkeypatch: pytest.MonkeyPatch, stack: str
) -> None:
    engine = Engine(monkeypatch)
    engine.interrupted = stack
    advice = f"back where they were, run `pulumi refresh --clear-pending-creates --stack {stack}` and `pulumi up"
    with pytest.raises(StackError, match=re.escape(advice)):  # an update would delete who is not in the file any more
        cli.move(["ann"], "a", "b", dry_run=False)
    assert engine.imports == []


def test_what_moves_is_protected_in_the_source_until_both_states_are_written(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = Engine(monkeypatch)
    cli.move(["ann"], "a", "b", dry_run=False)
    assert [stack for stack, _ in engine.imports] == ["a", "b", "a"]
    protected = {one["urn"] for one in engine.imports[0][1] if one.get("protect")}
    left = {one["urn"] for one in engine.states["a"]}
    assert protected == {one["urn"] for one in engine.imports[0][1] if one["type"] != MOVE} - left
    assert len(protected) == 4, "the group, and the user with its membership and key"
    assert not any(one.get("protect") for stack in "ab" for one in engine.states[stack])


@pytest.mark.parametrize("number", [1, 2, 3])
@pytest.mark.parametrize("error", [StackError("the disk is full"), KeyboardInterrupt()])
def test_a_move_that_fails_or_is_interrupted_restores_both_states(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], number: int, error: BaseException
) -> None:
    engine = Engine(monkeypatch)
    before = dict(engine.states)
    engine.fail = {number: error}
    with pytest.raises((StackError, KeyboardInterrupt)) as raised:
        cli.move(["ann"], "a", "b", dry_run=False)
    assert engine.states == before
    assert "Nothing was moved" in (
        raised.value.message if isinstance(raised.value, StackError) else capsys.readouterr().err
    )


def test_a_state_that_cannot_be_restored_is_named_with_the_command_that_completes_the_move(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    engine = Engine(monkeypatch)
    engine.fail = {3: KeyboardInterrupt(), 4: StackError("the stack is locked")}
    with pytest.raises(
        StackError, match=r"stack 'b' cannot be restored: the stack is locked\. .* run this command again"
    ):
        cli.move(["ann"], "a", "b", dry_run=False)
    assert any(one.get("protect") for one in engine.states["a"]), "no update of the source can delete what moved"
    cli.move(["ann"], "a", "b", dry_run=False)
    assert not any("ann" in one["urn"] or one.get("protect") for one in engine.states["a"])
    assert any("ann" in one["urn"] for one in engine.states["b"])

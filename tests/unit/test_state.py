"""What the component reads from the state: its own users and keys, whatever else or whatever half of them is there."""

import json
from dataclasses import replace
from datetime import date
from typing import Any

import pytest
from aws_access_keys.other_resources import other_givers
from aws_access_keys.rules.resource_types import RESOURCE_POLICY, SECRET_POLICY
from aws_access_keys.rules.rotation import Key, KeyName
from aws_access_keys.state import ComponentState, UserState
from aws_access_keys.state_reading import parse_state
from aws_access_keys.urns import component_of

from tests.unit.made_up_state import USER, MadeUpState

UNKNOWN = "04da6b54-80e4-46f7-96ec-b56ff0331ba9"
"""The engine's mark for a value that did not become known."""


def test_an_empty_state_has_nothing_of_the_component() -> None:
    urn = MadeUpState().urn
    assert parse_state(urn, {}) == ComponentState(urn, True, {}, frozenset(), components=frozenset({urn}))
    assert parse_state(urn, {}).user("ann") == UserState()


def test_keys_are_read_from_the_names_of_the_resources_newest_first() -> None:
    made_up = MadeUpState().group("g").user("ann", "2.2027-03-01", "2", "10", inactive=["2"], idle_days=3.0)
    state = made_up.parsed
    assert not state.is_new
    assert state.groups == {"g"}
    assert state.user("ann").keys == (
        Key(KeyName(10), "AKIA-ann-10", True, date(2026, 11, 1)),
        Key(KeyName(2, date(2027, 3, 1)), "AKIA-ann-2.2027-03-01", True, date(2026, 11, 1)),
        Key(KeyName(2), "AKIA-ann-2", False, date(2026, 11, 1)),
    )
    assert state.user("ann").exists
    assert state.user("ann").idle_days == 3, "numbers come back as floats"
    assert isinstance(state.user("ann").idle_days, int)


@pytest.mark.parametrize(
    "other",
    [MadeUpState("other"), MadeUpState(parent="my:index:Team$"), MadeUpState("access2"), MadeUpState("access/ann")],
)
def test_another_components_user_of_the_same_name_is_not_mixed_up(other: MadeUpState) -> None:
    mine = MadeUpState().user("ann", "1")
    theirs = other.user("ann", "5", "4").user("bob", "1").group("g")
    for made_up in (mine, theirs):
        parsed = parse_state(made_up.urn, mine.resources | theirs.resources)
        for urn in parsed.in_stack.values():
            assert component_of(urn, parsed.components) == (mine if urn in mine.resources else theirs).urn
        of_stack: dict[str, Any] = {"in_stack": {}, "components": frozenset()}
        assert replace(parsed, **of_stack) == replace(made_up.parsed, **of_stack)
    assert [key.id for key in mine.parsed.user("ann").keys] == ["AKIA-ann-1"]


@pytest.mark.parametrize("name", ["key", "team/key", "a/b/c/d/e", "/a/b/c/d/e/f"])
@pytest.mark.parametrize("other", [("access/ann",), ("other",), ("access", "my:index:Team$")])
def test_the_resource_policy_of_a_secret_belongs_to_its_component_however_many_slashes_the_names_have(
    name: str, other: tuple[str, ...]
) -> None:
    mine, theirs = MadeUpState().user("ann", "1"), MadeUpState(*other).user("bob", "1")
    for made_up in (mine, theirs):
        policy = f"{USER}${SECRET_POLICY}"
        made_up.add(policy, f"{made_up.name}/{name}", {"secretArn": f"arn of {made_up.urn}"})
    for made_up in (mine, theirs):
        state = parse_state(made_up.urn, mine.resources | theirs.resources)
        others = list(other_givers(state, "secret", f"arn of {made_up.urn}", RESOURCE_POLICY))
        assert not others, "the component's own policy is not somebody else's"


def test_a_finished_run_is_certain_and_its_keys_are_handed_over() -> None:
    ann = MadeUpState().user("ann", "2", "1").parsed.user("ann")
    assert ann.is_certain
    assert all(ann.was_handed_over(key) for key in ann.keys)


@pytest.mark.parametrize(
    ("what", "made_up"),
    [
        ("issued by a run that failed", MadeUpState().user("ann", "2", "1", handed_over=["1"])),
        ("planned and not carried out", MadeUpState().user("ann", "1", planned=["2", "1"])),
        ("lost from the state", MadeUpState().user("ann", handed_over=["1"], planned=["1"])),
        ("not deleted yet", MadeUpState().user("ann", "3", "2", "1", handed_over=["3", "2"], planned=["3", "2"])),
    ],
)
def test_a_run_that_did_not_finish_leaves_doubt(what: str, made_up: MadeUpState) -> None:
    assert not made_up.parsed.user("ann").is_certain, f"a key that was {what} is to be compared with IAM"


def test_a_user_without_keys_is_certain_to_have_none() -> None:
    assert MadeUpState().user("ann").parsed.user("ann").is_certain


def test_users_that_were_removed_from_the_settings_are_still_known() -> None:
    made_up = MadeUpState().user("ann", "1", idle_days=9)
    assert set(made_up.parsed.users) == {"ann"}
    made_up.add(f"{USER}$aws:iam/accessKey:AccessKey", "access/gone/1", {"id": "AKIA-gone-1", "status": "Active"})
    assert made_up.parsed.user("gone").keys, "a key whose user was deleted already is not forgotten"
    assert not made_up.parsed.user("gone").exists


def test_half_written_resources_and_unknown_values_are_no_error() -> None:
    made_up = MadeUpState().user("ann", "1")
    key = f"{USER}$aws:iam/accessKey:AccessKey"
    made_up.add(key, "access/ann/2", {})
    made_up.add(key, "access/ann/nonsense", {"id": "AKIA-nonsense"})
    assert [found.name for found in made_up.parsed.user("ann").keys] == [KeyName(1)], "a key without an id is not there"
    for keys in (UNKNOWN, None, {"ann": UNKNOWN}, {"ann": {"current": UNKNOWN}}, {"ann": {"current": {"id": UNKNOWN}}}):
        made_up.outputs["keys"] = keys
        ann = made_up.parsed.user("ann")
        assert ann.handed_over == ()
        assert not ann.is_certain, "what the last run handed over is not known, so IAM is asked"


@pytest.mark.parametrize("created", [{}, {"createDate": None}, {"createDate": UNKNOWN}])
def test_a_key_without_a_known_date_is_taken_for_the_newest(created: dict[str, str]) -> None:
    made_up = MadeUpState()
    made_up.add(f"{USER}$aws:iam/accessKey:AccessKey", "access/ann/1", {"id": "AKIA-1", "status": "Active", **created})
    (key,) = made_up.parsed.user("ann").keys
    assert key.created == date(2999, 12, 31), "nothing is due for it, and a calendar can still add to the date"


def test_a_key_whose_secret_is_encrypted_is_told_from_others() -> None:
    made_up = MadeUpState().user("ann", "1")
    assert not made_up.parsed.user("ann").is_encrypted
    outputs = {"id": "AKIA-ann-2", "keyFingerprint": "fingerprint"}
    made_up.add(f"{USER}$aws:iam/accessKey:AccessKey", "access/ann/2", outputs)
    assert made_up.parsed.user("ann").is_encrypted


def test_a_key_that_the_program_delivered_itself_is_not_kept_though_the_record_of_that_is_gone() -> None:
    made_up = MadeUpState().user("ann", "1")
    outputs = {"id": "AKIA-ann-2", "keyFingerprint": "of one run"}
    made_up.add(f"{USER}$aws:iam/accessKey:AccessKey", "access/ann/2", outputs)
    record = {"content": "AKIA-ann-2", "to": {"ssm": "/ann"}}
    made_up.add(f"{USER}$pulumi:index:Stash", "access/ann/delivery", {"input": record})
    ann = made_up.parsed.user("ann")
    assert (ann.unkept, ann.is_encrypted) == ({"AKIA-ann-2"}, False)


@pytest.mark.parametrize(
    ("kind", "output"),
    [("aws:ssm/parameter:Parameter", "value"), ("aws:secretsmanager/secretVersion:SecretVersion", "secretString")],
)
def test_a_delivered_key_is_handed_over_though_its_run_failed(kind: str, output: str) -> None:
    state = MadeUpState().user("ann", "2", "1", handed_over=["1"])
    new = state.parsed.users["ann"].keys[0]
    for text in ("not JSON", "[]", "{}", json.dumps({"expired": "2027-01-01"}), json.dumps({"id": 1, "secret": "s"})):
        state.add(f"{USER}${kind}", "access/of-bob", {output: text})
        assert not state.parsed.users["ann"].delivered, f"{text} has no key in it"
    assert not state.parsed.users["ann"].was_handed_over(new)
    state.add(f"{USER}${kind}", "access/of-ann", {output: json.dumps({"username": new.id, "password": "s3cr3t"})})
    assert state.parsed.users["ann"].was_handed_over(new)


@pytest.mark.parametrize(
    ("stages", "is_overtaken"),
    [(["AWSCURRENT"], False), (["AWSPREVIOUS"], True), ([], True), (None, True)],
    ids=["current", "previous", "older", "gone"],
)
def test_a_secret_without_the_current_version_is_known_by_its_user(
    stages: "list[str] | None", is_overtaken: bool
) -> None:
    made_up = MadeUpState().user("ann", "1").user("bob", "1")
    kind = f"{USER}$aws:secretsmanager/secret"
    made_up.add(f"{kind}:Secret", "access/keys/ann", {"name": "keys/ann", "description": "Access key of IAM user ann"})
    if stages is not None:
        held = json.dumps({"aws_access_key_id": "AKIA-ann-1", "aws_secret_access_key": "x"})
        version = {"secretString": held, "versionStages": stages}
        made_up.add(f"{kind}Version:SecretVersion", "access/keys/ann", version)
    assert made_up.parsed.user("ann").overtaken == (("keys/ann",) if is_overtaken else ())
    assert made_up.parsed.user("bob").overtaken == ()

"""What the rules plan is compared with AWS only where it matters; AWS is a fake that counts the questions."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import date, datetime, timedelta, timezone
from typing import Any, Literal

import pulumi
import pytest
from aws_access_keys.account import Account
from aws_access_keys.clock import moment_of
from aws_access_keys.delivery_check import Handling, KeyLimitError
from aws_access_keys.key_endings import removed_in_use, still_active
from aws_access_keys.planning import UserPlan, plan_users
from aws_access_keys.retire_guard import RetireGuard, UserGuard
from aws_access_keys.rules.problem import PYTHON
from aws_access_keys.rules.rotation import Calendar, KeyName, KeyRules, Retired
from aws_access_keys.state import Delivered, regions_of_stores
from botocore.exceptions import NoCredentialsError

from tests.unit.fake_aws import CREATED, USED, FakeAws, aws_error
from tests.unit.made_up_state import MadeUpState

TODAY = date(2026, 11, 24)
GUARD = UserGuard(30, "set users.ann.key.retire_guard to None for one run")
DELETE = "aws iam delete-access-key --user-name ann --access-key-id"


def session(aws: FakeAws) -> Any:
    return lambda: aws


def planned(
    aws: FakeAws,
    state: MadeUpState,
    rules: Mapping[str, KeyRules],
    adopted: Mapping[str, str] | None = None,
    guard: bool = True,
    handling: Mapping[str, Handling] | None = None,
) -> dict[str, UserPlan]:
    account = Account(session(aws))
    guards = dict.fromkeys(rules, GUARD) if guard else {}
    retire_guard = RetireGuard(TODAY, account, guards)
    return plan_users(rules, adopted or {}, state.parsed.users, TODAY, retire_guard, account, handling=handling or {})


def ann(aws: FakeAws, state: MadeUpState, rules: KeyRules, adopted: str | None = None, guard: bool = True) -> UserPlan:
    return planned(aws, state, {"ann": rules}, {"ann": adopted} if adopted else {}, guard)["ann"]


def names(plan: UserPlan) -> tuple[str, str | None]:
    """The names of the current and the previous key."""
    current, previous = plan.plan.current, plan.plan.previous
    return str(current.name), str(previous.name) if previous else None


# ---- what AWS is asked


def test_where_nothing_is_to_do_aws_is_asked_nothing(aws: FakeAws) -> None:
    state = MadeUpState().user("ann", "2", "1").user("bob", "1.2026-10-01", inactive=["1.2026-10-01"]).user("eve", "1")
    rules = {"ann": KeyRules(serial=2), "bob": KeyRules(rotation=Calendar(date(2026, 10, 1), 90, 7)), "eve": KeyRules()}
    plans = planned(aws, state, rules)
    assert not aws.asked
    assert not any(plan.skipped or plan.plan.is_new for plan in plans.values())


def test_a_new_user_costs_no_question(aws: FakeAws) -> None:
    plan = ann(aws, MadeUpState(), KeyRules(serial=3))
    assert names(plan) == ("3", None)
    assert not aws.asked


def test_a_new_key_costs_one_question(aws: FakeAws) -> None:
    aws.keys = {"ann": ["AKIA-ann-1"], "bob": ["AKIA-bob-1"]}
    state = MadeUpState().user("ann", "1").user("bob", "1")
    plans = planned(aws, state, {"ann": KeyRules(serial=2), "bob": KeyRules()})
    assert names(plans["ann"]) == ("2", "1")
    assert plans["ann"].plan.replaced is None
    assert aws.asked == {"list_access_keys": 1}


def test_a_key_that_stops_working_costs_two_questions(aws: FakeAws) -> None:
    aws.keys = {"ann": ["AKIA-ann-1", "AKIA-ann-2"]}
    plan = ann(aws, MadeUpState().user("ann", "2", "1"), KeyRules(serial=3))
    assert names(plan) == ("3", "2")
    assert plan.plan.replaced == KeyName(1)
    assert aws.asked == {"list_access_keys": 1, "get_access_key_last_used": 1}


# ---- keys in use


@pytest.mark.parametrize("previous", ["inactive", "deleted"])
def test_a_key_in_use_stays_and_everything_else_is_planned(aws: FakeAws, previous: Any) -> None:
    aws.keys = {"ann": ["AKIA-ann-1", "AKIA-ann-2"], "bob": ["AKIA-bob-1", "AKIA-bob-2"]}
    aws.used = {"AKIA-ann-1": USED}
    rules = KeyRules(serial=2, previous=previous)
    plans = planned(aws, MadeUpState().user("ann", "2", "1").user("bob", "2", "1"), {"ann": rules, "bob": rules})
    assert names(plans["ann"]) == ("2", "1")
    assert plans["ann"].plan.previous is not None
    assert plans["ann"].plan.previous.status is None, "it stays as it is"
    (why,) = plans["ann"].skipped
    assert "used on 2026-11-23 08:00 UTC for s3 in us-east-1, 1 day ago; the retire guard requires 30 idle days" in why
    assert why.endswith("or, to retire it anyway, set users.ann.key.retire_guard to None for one run.")
    assert not plans["bob"].skipped
    assert names(plans["bob"]) == ("2", "1" if previous == "inactive" else None)


def test_a_new_key_waits_for_the_place_of_a_key_in_use(aws: FakeAws) -> None:
    aws.keys, aws.used = {"ann": ["AKIA-ann-1", "AKIA-ann-2"]}, {"AKIA-ann-1": USED}
    plan = ann(aws, MadeUpState().user("ann", "2", "1"), KeyRules(serial=3))
    assert names(plan) == ("2", "1")
    assert not plan.plan.is_new
    assert plan.skipped[0].endswith(
        "No new key is issued until this one can be deleted: IAM allows two access keys per user."
    )


def test_without_a_guard_a_key_in_use_goes_and_is_named(aws: FakeAws) -> None:
    aws.keys, aws.used = {"ann": ["AKIA-ann-1", "AKIA-ann-2"]}, {"AKIA-ann-1": USED}
    plan = ann(aws, MadeUpState().user("ann", "2", "1"), KeyRules(serial=3), guard=False)
    assert names(plan) == ("3", "2")
    assert plan.retired == (
        "the access key AKIA-ann-1 of ann (used on 2026-11-23 08:00 UTC for s3 in us-east-1) is deleted: it makes room "
        "for key 3",
    )


def test_the_verification_of_a_new_key_is_not_taken_for_a_use(aws: FakeAws) -> None:
    aws.keys, aws.service = {"ann": ["AKIA-ann-1", "AKIA-ann-2"]}, "sts"
    aws.used = {"AKIA-ann-1": CREATED + timedelta(minutes=1)}
    state = MadeUpState().user("ann", "2", "1")
    (line,) = ann(aws, state, KeyRules(serial=3), guard=False).retired
    assert "AKIA-ann-1 of ann (not used since its verification) is deleted" in line
    aws.used = {"AKIA-ann-1": CREATED + timedelta(minutes=3)}
    (line,) = ann(aws, state, KeyRules(serial=3), guard=False).retired
    assert "(used on 2026-11-01 00:03 UTC for sts" in line


def test_a_key_whose_last_use_aws_does_not_tell_is_named_all_the_same(aws: FakeAws) -> None:
    aws.keys = {"ann": ["AKIA-ann-1", "AKIA-ann-2"]}
    aws.errors = {"get_access_key_last_used": aws_error("AccessDenied")}
    plan = ann(aws, MadeUpState().user("ann", "2", "1"), KeyRules(serial=3), guard=False)
    (line,) = plan.retired
    assert line == "the access key AKIA-ann-1 of ann (last use unknown) is deleted: it makes room for key 3"


@pytest.mark.parametrize(
    ("rules", "why"),
    [
        (
            KeyRules(serial=2, previous="inactive"),
            "1 of ann (never used) is deactivated: it is the previous key, and",
        ),
        (
            KeyRules(serial=2, previous="deleted"),
            "1 of ann (never used) is deleted: it is the previous key, and",
        ),
        (KeyRules(serial=2, status="inactive"), "2 of ann (never used) is deactivated: its status is set to inactive"),
        (
            KeyRules(serial=2, rotation=Calendar(date(2026, 1, 1), 365, 7)),
            "1 of ann (never used) is deactivated: its overlap with key 2 ended on 2026-11-08",
        ),
    ],
)
def test_each_key_that_stops_working_is_named_with_the_reason(aws: FakeAws, rules: KeyRules, why: str) -> None:
    aws.keys = {"ann": ["AKIA-ann-1", "AKIA-ann-2"]}
    (line,) = ann(aws, MadeUpState().user("ann", "2", "1"), rules, guard=False).retired
    assert why in line


@pytest.mark.parametrize("inactive", [True, False])
def test_a_key_that_is_inactive_or_gone_in_iam_is_not_in_use(aws: FakeAws, inactive: bool) -> None:
    aws.keys, aws.used = {"ann": ["AKIA-ann-2", "AKIA-ann-1"][: 2 if inactive else 1]}, {"AKIA-ann-1": USED}
    aws.inactive = {"AKIA-ann-1"}
    plan = ann(aws, MadeUpState().user("ann", "2", "1"), KeyRules(serial=2, previous="deleted"))
    assert names(plan) == ("2", None)
    assert not plan.skipped


@pytest.mark.parametrize(("hour", "retired"), [(23, False), (1, True)])
def test_a_key_that_is_too_young_for_aws_to_report_its_use_stays(aws: FakeAws, hour: int, retired: bool) -> None:
    aws.keys = {"ann": ["AKIA-ann-1", "AKIA-ann-2"]}
    aws.created = datetime(2026, 11, 24, hour, 30, tzinfo=timezone.utc)
    plan = ann(aws, MadeUpState().user("ann", "2", "1"), KeyRules(serial=2, previous="deleted"))
    assert names(plan) == ("2", None if retired else "1")
    assert retired or "it was created less than an hour ago, and AWS reports key usage with a delay" in plan.skipped[0]


@pytest.mark.parametrize(("service", "minutes", "retired"), [("sts", 1, True), ("s3", 1, False), ("sts", 600, False)])
def test_the_verification_of_a_new_key_does_not_count_as_a_use(
    aws: FakeAws, service: str, minutes: int, retired: bool
) -> None:
    aws.keys, aws.service = {"ann": ["AKIA-ann-1", "AKIA-ann-2"]}, service
    aws.created = datetime(2026, 11, 20, tzinfo=timezone.utc)
    aws.used = {"AKIA-ann-1": aws.created + timedelta(minutes=minutes)}
    plan = ann(aws, MadeUpState().user("ann", "2", "1"), KeyRules(serial=2, previous="deleted"))
    assert names(plan) == ("2", None if retired else "1")


@pytest.mark.parametrize("error", [NoCredentialsError(), aws_error("AccessDenied")])
def test_without_an_answer_the_key_stays(aws: FakeAws, error: Exception) -> None:
    aws.errors = {"list_access_keys": error}
    plan = ann(aws, MadeUpState().user("ann", "2", "1"), KeyRules(serial=2, previous="deleted"))
    assert names(plan) == ("2", "1")
    assert "because the last use could not be read" in plan.skipped[0]
    assert "needs iam:ListAccessKeys and iam:GetAccessKeyLastUsed" in plan.skipped[0]


def test_without_an_answer_no_new_key_is_issued(aws: FakeAws) -> None:
    aws.errors = {"list_access_keys": aws_error("AccessDenied")}
    plan = ann(aws, MadeUpState().user("ann", "1"), KeyRules(serial=2))
    assert names(plan) == ("1", None)
    assert (
        "no new key is issued: could not list the access keys of ann (AccessDenied: AccessDenied it is)"
        in plan.skipped[0]
    )


def test_keys_in_use_of_removed_users_are_problems(aws: FakeAws) -> None:
    aws.keys = {"ann": ["AKIA-ann-1"], "bob": ["AKIA-bob-1"], "eve": ["AKIA-eve-1"]}
    aws.used = {"AKIA-ann-1": USED, "AKIA-bob-1": USED}
    account = Account(session(aws))
    guard = RetireGuard(TODAY, account, {"ann": GUARD, "bob": UserGuard(1, ""), "eve": GUARD})
    state = MadeUpState().user("ann", "1").user("bob", "1").user("eve", "1")
    (problem,) = removed_in_use(state.parsed.users, ["ann", "bob"], ["eve"], guard, account)
    assert problem.path == "users.ann", "bob's key was idle long enough, eve's was never used"
    assert "AKIA-ann-1 of user ann is still in use and is not deleted" in problem.message
    assert "access-keys report --who AKIA-ann-1" in problem.message, "the command that finds out who is named"


# ---- what IAM has and the state has not, and the other way round


def test_an_unmanaged_key_takes_the_place_of_a_new_one(aws: FakeAws) -> None:
    aws.keys = {"ann": ["AKIA-ann-1", "AKIA-other"]}
    plan = ann(aws, MadeUpState().user("ann", "1"), KeyRules(serial=2))
    assert names(plan) == ("1", None)
    assert "AKIA-other (active, created on 2026-11-01, never used)" in plan.skipped[0]
    assert plan.skipped[0].endswith(f"delete it and run `pulumi up` again: {DELETE} AKIA-other")


def test_an_unmanaged_key_beside_which_there_is_room_is_reported(aws: FakeAws) -> None:
    aws.keys = {"ann": ["AKIA-other"]}
    plan = ann(aws, MadeUpState().user("ann"), KeyRules())
    assert names(plan) == ("1", None)
    assert plan.warnings[0].endswith(f"If nobody uses it, delete it: {DELETE} AKIA-other")


def test_a_user_without_a_key_and_without_room_for_one_stops_the_run(aws: FakeAws) -> None:
    aws.keys = {"ann": ["AKIA-one", "AKIA-two"]}
    with pytest.raises(KeyLimitError, match=r"AKIA-one \(.*\) and AKIA-two \(.*Nothing was changed\.$"):
        ann(aws, MadeUpState().user("ann"), KeyRules())


def test_a_key_whose_secret_could_not_be_encrypted_takes_no_other_keys_place(aws: FakeAws) -> None:
    aws.keys = {"ann": ["AKIA-ann-1", "AKIA-ann-2"]}
    state = MadeUpState().user("ann", "2", "1", handed_over=["1"], lost_secrets=["2"])
    for serial in (1, 2, 3):
        with pytest.raises(KeyLimitError, match=rf"AKIA-ann-2 of ann, so nobody has it.*{DELETE} AKIA-ann-2\."):
            ann(aws, state, KeyRules(serial=serial))


def test_a_current_key_that_was_lost_from_the_state_is_never_replaced_by_a_first_key(aws: FakeAws) -> None:
    aws.keys = {"ann": ["AKIA-ann-1"]}
    with pytest.raises(
        KeyLimitError, match=r"set adopt to \{id: AKIA-ann-1, secret: ...\} .* or, if nobody uses it, delete it: aws"
    ):
        ann(aws, MadeUpState().user("ann", handed_over=["1"], planned=["1"]), KeyRules())


def test_a_lost_key_can_be_adopted(aws: FakeAws) -> None:
    aws.keys = {"ann": ["AKIA-ann-1"]}
    state = MadeUpState().user("ann", handed_over=["1"], planned=["1"])
    plan = ann(aws, state, KeyRules(), adopted="AKIA-ann-1")
    assert names(plan) == ("1", None)
    assert plan.takes_over == "AKIA-ann-1"
    assert not plan.skipped
    assert not plan.warnings


def test_a_previous_key_that_was_lost_from_the_state_is_reported(aws: FakeAws) -> None:
    aws.keys = {"ann": ["AKIA-ann-2", "AKIA-ann-1"]}
    state = MadeUpState().user("ann", "2", handed_over=["2", "1"], planned=["2", "1"])
    plan = ann(aws, state, KeyRules(serial=2))
    assert names(plan) == ("2", None)
    (warning,) = plan.warnings
    assert "the state no longer has the access key AKIA-ann-1 of ann, but IAM does" in warning


def test_a_current_key_that_was_deleted_in_iam_is_replaced_once_the_state_knows(aws: FakeAws) -> None:
    aws.keys = {"ann": ["AKIA-ann-1"]}
    before = ann(aws, MadeUpState().user("ann", "2", "1", planned=["3", "2"]), KeyRules(serial=2))
    assert not before.plan.is_new
    assert "IAM no longer has the current access key AKIA-ann-2 of ann. Run `pulumi refresh`" in before.skipped[0]
    refreshed = MadeUpState().user("ann", "1", handed_over=["2", "1"], planned=["2", "1"])
    for serial in (1, 2, 3):
        plan = ann(aws, refreshed, KeyRules(serial=serial))
        assert names(plan) == (str(max(serial, 2)), "1")
        assert plan.plan.is_new
        assert "IAM no longer has the current access key AKIA-ann-2 of ann; another one is due." in plan.warnings


def test_a_user_that_is_gone_from_iam_is_left_to_a_refresh(aws: FakeAws) -> None:
    plan = ann(aws, MadeUpState().user("ann", "1"), KeyRules(serial=2))
    assert names(plan) == ("1", None)
    assert plan.skipped == (
        "IAM has no user ann, or has none of the keys recorded in the state. Run `pulumi refresh`, then `pulumi up`.",
    )


def test_credentials_of_another_account_are_named_before_a_refresh_drops_everything(aws: FakeAws) -> None:
    account = Account(session(aws))
    for _ in range(2):
        with pytest.raises(pulumi.RunError) as refused:
            account.check_account("222222222222")
        text = "the users of this stack are in the AWS account 222222222222, but the credentials are for 123456789012."
        assert text in str(refused.value)
    account.check_account("123456789012")
    assert aws.asked == {"get_caller_identity": 1}
    aws.errors = {"get_caller_identity": aws_error("Throttling")}
    Account(session(aws)).check_account("222222222222")


def test_stores_are_in_the_region_of_the_provider_except_what_was_written_elsewhere() -> None:
    def found(*delivered: Delivered) -> tuple[str, str]:
        regions = regions_of_stores(delivered, "own", "session")
        return regions["secretsmanager"], regions["ssm"]

    assert found(Delivered()) == ("own", "own")
    assert found(Delivered(to={"command": ["vault"]}), Delivered(to={"secretsManager": "s"})) == ("own", "own")
    assert found(Delivered(to={"ssm": "/p"})) == ("own", "session"), "an older record"
    assert found(Delivered(to={"ssm": "/p"}), Delivered(to={"ssm": "/q"}, region="there")) == ("own", "there")
    assert found(Delivered(to={"existingSecret": "s"}, region="there")) == ("there", "there")


# ---- runs that did not finish


def test_a_key_issued_by_a_failed_run_is_completed_before_another_one_is_issued(aws: FakeAws) -> None:
    aws.keys = {"ann": ["AKIA-ann-1", "AKIA-ann-2"]}
    state = MadeUpState().user("ann", "2", "1", handed_over=["1"])
    again = ann(aws, state, KeyRules(serial=2))
    assert names(again) == ("2", "1")
    assert (again.skipped, again.warnings) == ((), ())
    assert aws.asked == {"list_access_keys": 1}, "the state may be wrong, so IAM is asked"
    further = ann(aws, state, KeyRules(serial=3))
    assert names(further) == ("2", "1")
    assert "AKIA-ann-2 was issued by a run that failed; this run completes it" in further.skipped[0]


def test_a_key_that_only_the_state_has_makes_room(aws: FakeAws) -> None:
    aws.keys = {"ann": ["AKIA-ann-2"]}
    half_replaced = MadeUpState().user("ann", "2", "1", planned=["3", "2"])
    plan = ann(aws, half_replaced, KeyRules(serial=3))
    assert names(plan) == ("3", "2")
    assert plan.plan.replaced == KeyName(1), "the list may be older than the key"
    assert aws.asked == {"list_access_keys": 1, "get_access_key_last_used": 1}, "IAM may not list it yet"


def test_a_key_that_iam_does_not_list_yet_is_not_taken_for_gone(aws: FakeAws) -> None:
    aws.keys, aws.unlisted = {"ann": ["AKIA-ann-1", "AKIA-ann-2"]}, {"AKIA-ann-2"}
    plan = ann(aws, MadeUpState().user("ann", "2", "1"), KeyRules(serial=3), guard=False)
    assert names(plan) == ("3", "2")
    assert plan.plan.replaced == KeyName(1), "the oldest key makes room, and not the newest"
    assert plan.retired, "and is named"
    half_done = MadeUpState().user("ann", "2", "1", handed_over=["1"])
    assert names(ann(aws, half_done, KeyRules(serial=2))) == ("2", "1"), "the key of a failed run is completed"


def test_an_adopted_key_takes_the_place_of_one_that_is_gone_and_not_of_one_that_works(aws: FakeAws) -> None:
    aws.keys = {"ann": ["AKIA-ann-1", "AKIA-other"]}
    state = MadeUpState().user("ann", "2", "1", inactive=["2"])
    plan = ann(aws, state, KeyRules(serial=2), adopted="AKIA-other", guard=False)
    assert names(plan) == ("3", "1")
    assert plan.retired == ()


def test_a_half_replaced_key_is_forgotten_when_no_new_one_is_asked_for_any_more(aws: FakeAws) -> None:
    aws.keys = {"ann": ["AKIA-ann-2"]}
    plan = ann(aws, MadeUpState().user("ann", "2", "1", planned=["3", "2"]), KeyRules(serial=2))
    assert names(plan) == ("2", None)
    assert not plan.plan.is_new, "nothing is issued that nobody asked for"
    assert not plan.skipped


def test_a_key_whose_creation_was_not_recorded_is_reported(aws: FakeAws) -> None:
    aws.keys = {"ann": ["AKIA-ann-1", "AKIA-lost"]}
    lowered_again = ann(aws, MadeUpState().user("ann", "1", planned=["2", "1"]), KeyRules())
    assert names(lowered_again) == ("1", None)
    assert "AKIA-lost" in lowered_again.warnings[0]
    asked_again = ann(aws, MadeUpState().user("ann", "1", planned=["2", "1"]), KeyRules(serial=2))
    assert "AKIA-lost" in asked_again.skipped[0]


# ---- adopting


@pytest.mark.parametrize(("rotation", "name"), [(None, "1"), (Calendar(date(2026, 1, 1), 90, 7), "1.2026-11-24")])
def test_an_adopted_key_is_the_first_one(aws: FakeAws, rotation: Calendar | None, name: str) -> None:
    plan = ann(aws, MadeUpState(), KeyRules(rotation=rotation), adopted="AKIA-old")
    assert names(plan) == (name, None)
    assert plan.takes_over == "AKIA-old"
    assert not aws.asked, "the preflight checks have asked"
    later = ann(aws, MadeUpState().user("ann", "1"), KeyRules(), adopted="AKIA-old")
    assert not later.plan.is_new, "adopting is done once"


def test_a_lost_key_is_taken_back_under_its_own_name(aws: FakeAws) -> None:
    aws.keys = {"ann": ["AKIA-ann-2", "AKIA-ann-1"]}
    state = MadeUpState().user("ann", "1", handed_over=["2", "1"], planned=["2", "1"])
    plan = ann(aws, state, KeyRules(serial=2), adopted="AKIA-ann-2")
    assert names(plan) == ("2", "1")
    assert plan.takes_over == "AKIA-ann-2"


def test_a_key_that_becomes_active_again_is_named(aws: FakeAws) -> None:
    aws.keys = {"ann": ["AKIA-ann-1"]}
    aws.keys["ann"].append("AKIA-ann-2")
    state = MadeUpState().user("ann", "2", "1", inactive=["1"], retired="1")
    plan = ann(aws, state, KeyRules(serial=2, previous="active"))
    assert any("AKIA-ann-1 is inactive and becomes active again" in warning for warning in plan.warnings)
    plan = ann(aws, state, KeyRules(serial=2))
    assert not any("becomes active again" in warning for warning in plan.warnings), "a default revives no key"


def test_a_key_that_only_a_failed_run_was_to_retire_does_not_become_active_again(aws: FakeAws) -> None:
    aws.keys = {"ann": ["AKIA-ann-1", "AKIA-ann-2"]}
    state = MadeUpState().user("ann", "2", "1", inactive=["1"], retired="1")
    state.outputs["keys"]["ann"]["previous"]["status"] = "Active"
    plan = ann(aws, state, KeyRules(serial=2, previous="active"))
    assert plan.plan.previous is not None
    assert plan.plan.previous.status is None, "somebody may have deactivated it since"


def test_a_retired_key_is_remembered_until_it_is_active_again(aws: FakeAws) -> None:
    aws.keys = {"ann": ["AKIA-ann-1", "AKIA-ann-2"]}
    plan = ann(aws, MadeUpState().user("ann", "2", "1"), KeyRules(serial=2, previous="inactive"), guard=False)
    assert plan.retired_key is not None
    assert plan.retired_key.id == "AKIA-ann-1"
    retired = MadeUpState().user("ann", "2", "1", inactive=["1"], retired="1")
    assert ann(aws, retired, KeyRules(serial=2)).retired_key is not None, "also where the settings no longer ask for it"
    plan = ann(aws, retired, KeyRules(serial=2, previous="active"))
    assert plan.retired_key is None, "if that run fails, somebody may deactivate the key again"
    active = MadeUpState().user("ann", "2", "1", retired="1")
    assert ann(aws, active, KeyRules(serial=2, previous="active")).retired_key is None


def test_a_key_that_somebody_deactivated_stays_inactive_as_the_previous_one(aws: FakeAws) -> None:
    aws.keys = {"ann": ["AKIA-ann-1"]}
    plan = ann(aws, MadeUpState().user("ann", "1", inactive=["1"]), KeyRules(serial=2, previous="active"))
    assert plan.plan.previous is not None
    assert plan.plan.previous.status is None
    assert any("AKIA-ann-1 is inactive and stays inactive" in warning for warning in plan.warnings)


@pytest.mark.parametrize(("inactive", "lines"), [(set[str](), 1), ({"AKIA-ann-1"}, 0)])
def test_a_deleted_key_is_listed_if_somebody_activated_it_again(aws: FakeAws, inactive: set[str], lines: int) -> None:
    aws.keys, aws.inactive = {"ann": ["AKIA-ann-1", "AKIA-ann-2"]}, inactive
    state = MadeUpState().user("ann", "2", "1", inactive=["1"])
    plan = ann(aws, state, KeyRules(serial=2, previous="deleted"), guard=False)
    assert len(plan.retired) == lines


def test_a_key_is_not_deactivated_while_a_store_to_be_deleted_holds_it(aws: FakeAws) -> None:
    aws.keys = {"ann": ["AKIA-ann-1", "AKIA-ann-2"]}
    state, account = MadeUpState().user("ann", "2", "1"), Account(session(aws))
    guard, rules = RetireGuard(TODAY, account, {}), {"ann": KeyRules(serial=2, previous="inactive")}
    plan = plan_users(rules, {}, state.parsed.users, TODAY, guard, account, held={"AKIA-ann-1"})["ann"]
    assert plan.plan.previous is not None
    assert plan.plan.previous.status is None
    assert any("stays active until the next `pulumi up`" in warning for warning in plan.warnings)


def test_an_older_key_does_not_become_current_where_a_lost_one_cannot_be_replaced(aws: FakeAws) -> None:
    aws.keys = {"ann": ["AKIA-ann-1", "AKIA-theirs"]}
    refreshed = MadeUpState().user("ann", "1", handed_over=["2", "1"], planned=["2", "1"])
    with pytest.raises(
        KeyLimitError, match=r"no longer has the current access key AKIA-ann-2 .* AKIA-theirs .* Nothing"
    ):
        ann(aws, refreshed, KeyRules(serial=2), guard=False)
    not_refreshed = MadeUpState().user("ann", "2", "1", planned=["3", "2"])
    plan = ann(aws, not_refreshed, KeyRules(serial=3, previous="deleted"), guard=False)
    assert names(plan) == ("2", "1"), "without a refresh, everything stays as it is"
    assert not plan.plan.is_new
    assert not plan.retired


def test_a_lost_previous_key_is_not_adopted_as_the_current_one(aws: FakeAws) -> None:
    aws.keys = {"ann": ["AKIA-ann-1", "AKIA-ann-2"]}
    state = MadeUpState().user("ann", "2", handed_over=["2", "1"], planned=["2", "1"])
    plan = ann(aws, state, KeyRules(serial=2), adopted="AKIA-ann-1")
    assert names(plan) == ("2", None)
    assert plan.takes_over is None
    assert any("the state no longer has the access key AKIA-ann-1" in warning for warning in plan.warnings)


def test_a_guard_that_is_lifted_for_one_run_stays_known(aws: FakeAws) -> None:
    aws.keys, aws.used = {"ann": ["AKIA-ann-1"]}, {"AKIA-ann-1": USED}
    guard = RetireGuard(TODAY, Account(session(aws)), {"ann": UserGuard(3, "", is_lifted=True)})
    assert guard.refusal("ann", "AKIA-ann-1", "deleted") is None
    assert guard.idle_days("ann") == 3, "the next run and a plain destroy are guarded again"


def test_a_key_that_somebody_deactivated_is_not_taken_for_a_retired_one(aws: FakeAws) -> None:
    aws.keys = {"ann": ["AKIA-ann-1", "AKIA-ann-2"]}
    state = MadeUpState().user("ann", "2", "1", inactive=["1"])
    plan = ann(aws, state, KeyRules(serial=2, previous="inactive"), guard=False)
    assert plan.retired_key is None, "previous: active would make it work again"
    expired = ann(aws, MadeUpState().user("ann", "2", "1"), KeyRules(serial=2, expires=TODAY), guard=False)
    assert expired.expired_on == TODAY
    assert expired.retired_key is None, "nor is one that expired"


def test_an_expired_key_is_not_delivered_again_because_of_a_later_day_alone(aws: FakeAws) -> None:
    aws.keys = {"ann": ["AKIA-ann-1"]}
    state = MadeUpState().user("ann", "1", inactive=["1"], expired="2026-11-20")
    later = TODAY + timedelta(days=9)
    assert ann(aws, state, KeyRules(expires=later)).expired_on == date(2026, 11, 20)
    assert ann(aws, state, KeyRules(expires=later, status="active")).expired_on is None
    assert ann(aws, state, KeyRules(serial=2, expires=later)).expired_on is None


def test_no_key_is_issued_in_place_of_an_expired_one_that_was_deleted(aws: FakeAws) -> None:
    aws.keys = {"ann": ["AKIA-ann-1"]}
    refreshed = MadeUpState().user("ann", "1", inactive=["1"], handed_over=["2", "1"], planned=["2", "1"])
    plan = ann(aws, refreshed, KeyRules(serial=2, expires=TODAY), guard=False)
    assert not plan.plan.is_new
    assert names(plan) == ("1", None)


def test_an_expired_key_stays_active_while_a_store_that_goes_holds_it(aws: FakeAws) -> None:
    aws.keys = {"ann": ["AKIA-ann-1"]}
    state, account = MadeUpState().user("ann", "1"), Account(session(aws))
    guard, rules = RetireGuard(TODAY, account, {}), {"ann": KeyRules(expires=TODAY)}
    plan = plan_users(rules, {}, state.parsed.users, TODAY, guard, account, held={"AKIA-ann-1"})["ann"]
    assert plan.plan.current.status is None
    assert plan.expired_on == TODAY, "no other store gets the key"


def test_a_key_that_works_although_its_user_is_to_have_none_is_named_until_it_does_not(aws: FakeAws) -> None:
    aws.keys, why = {"ann": ["AKIA-ann-1", "AKIA-theirs"]}, {"ann": "it expired on 2026-11-24"}
    aws.used = {"AKIA-theirs": USED}
    lost = MadeUpState().user("ann", handed_over=["1"], planned=["1"])
    problems, warnings = still_active(lost.parsed.users, why, PYTHON, Account(session(aws)))
    assert [(where, problem.path) for where, problem in problems.items()] == [(("ann", "AKIA-ann-1"), "users.ann.key")]
    assert "--access-key-id AKIA-ann-1 --status Inactive" in problems["ann", "AKIA-ann-1"].message
    (warning,) = warnings
    assert "AKIA-theirs (active, created on 2026-11-01, used on 2026-11-23 08:00 UTC for s3" in warning
    aws.errors = {"get_access_key_last_used": aws_error("AccessDenied")}
    (warning,) = still_active(lost.parsed.users, why, PYTHON, Account(session(aws)))[1]
    assert "AKIA-theirs (active, created on 2026-11-01, last use unknown)" in warning
    aws.errors = {}
    again = MadeUpState().user("ann", lost=["AKIA-ann-1"])
    assert still_active(again.parsed.users, why, PYTHON, Account(session(aws)))[0].keys() == problems.keys()
    aws.inactive = {"AKIA-ann-1"}
    assert still_active(again.parsed.users, why, PYTHON, Account(session(aws)))[0] == {}
    aws.asked.clear()
    finished = MadeUpState().user("ann", "1", inactive=["1"])
    assert still_active(finished.parsed.users, why, PYTHON, Account(session(aws))) == ({}, [])
    assert not aws.asked


@pytest.mark.parametrize(("in_iam", "inactive"), [(["AKIA-ann-1"], ""), (["AKIA-ann-1", "AKIA-ann-2"], "AKIA-ann-2")])
@pytest.mark.parametrize("previous", ["inactive", "deleted"])
def test_a_previous_key_is_not_retired_while_the_current_one_does_not_work(
    aws: FakeAws, in_iam: list[str], inactive: str, previous: Retired
) -> None:
    aws.keys, aws.inactive = {"ann": in_iam}, {inactive}
    state, rules = MadeUpState().user("ann", "2", "1"), KeyRules(serial=2, previous=previous)
    plan = ann(aws, state, rules, guard=False)
    assert plan.plan.previous is not None
    assert plan.plan.previous.status is None
    assert "because the current one, AKIA-ann-2, does not work" in plan.skipped[0]
    assert not plan.retired
    suspended = ann(aws, state, replace(rules, status="inactive"), guard=False)
    assert not suspended.skipped, "the settings suspend it"


@pytest.mark.parametrize(
    ("inactive", "rules", "is_held"),
    [
        ("AKIA-ann-2", KeyRules(serial=3), True),
        ("AKIA-ann-2", KeyRules(serial=2, rotation=Calendar(date(2026, 11, 1), 20, 7)), True),
        ("AKIA-ann-2", KeyRules(serial=3, status="inactive"), True),
        ("AKIA-ann-1", KeyRules(serial=3), False),
        ("", KeyRules(serial=3), False),
    ],
)
def test_the_only_key_that_works_makes_no_room_for_a_new_one(
    aws: FakeAws, inactive: str, rules: KeyRules, is_held: bool
) -> None:
    aws.keys, aws.inactive = {"ann": ["AKIA-ann-1", "AKIA-ann-2"]}, {inactive}
    plan = ann(aws, MadeUpState().user("ann", "2", "1"), rules, guard=False)
    assert plan.plan.is_new is not is_held
    assert bool(plan.skipped) is is_held
    if is_held:
        assert names(plan) == ("2", "1"), "nothing is deleted"
        assert "but the newer key, AKIA-ann-2, does not work" in plan.skipped[0]


@pytest.mark.parametrize("status", ["active", "inactive", None])
@pytest.mark.parametrize("previous", ["active", "inactive", "deleted"])
@pytest.mark.parametrize("is_known", [True, False])
def test_a_key_that_is_to_be_replaced_is_not_activated_where_no_new_one_can_be_issued(
    aws: FakeAws, status: Any, previous: Any, is_known: bool
) -> None:
    aws.keys, aws.inactive = {"ann": ["AKIA-ann-1", "AKIA-ann-2"]}, {"AKIA-ann-2"}
    rules = KeyRules(serial=3, status=status, previous=previous)
    plan = ann(aws, MadeUpState().user("ann", "2", "1", inactive=["2"] if is_known else []), rules, guard=False)
    assert [key.status for key in plan.plan.keys] == [None, None], "it may have leaked, and the other one is in use"
    assert len(plan.skipped) == 1
    assert not plan.retired
    expired = ann(aws, MadeUpState().user("ann", "2", "1"), replace(rules, expires=TODAY), guard=False)
    assert [key.status for key in expired.plan.keys] == ["inactive", "inactive"], "expired keys are not kept"


@pytest.mark.parametrize("previous", ["inactive", "deleted"])
def test_a_key_of_a_failed_run_that_is_inactive_and_not_activated_retires_no_other(aws: FakeAws, previous: Any) -> None:
    aws.keys, aws.inactive = {"ann": ["AKIA-ann-1", "AKIA-ann-2"]}, {"AKIA-ann-2"}
    state = MadeUpState().user("ann", "2", "1", handed_over=["1"], inactive=["2"])
    plan = ann(aws, state, KeyRules(serial=3, status="active", previous=previous), guard=False)
    assert [key.status for key in plan.plan.keys] == [None, None], "the older one is the only one that works"
    assert "AKIA-ann-2 was issued by a run that failed" in plan.skipped[0]
    assert "the previous access key is not retired, because the current one, AKIA-ann-2," in plan.skipped[1]


@pytest.mark.parametrize("previous", ["inactive", "deleted"])
@pytest.mark.parametrize("handling", [Handling(parameter="urn"), Handling(missing="vault")])
def test_an_inactive_key_that_cannot_be_replaced_retires_no_other(
    aws: FakeAws, previous: Any, handling: Handling
) -> None:
    aws.keys, aws.inactive = {"ann": ["AKIA-ann-1", "AKIA-ann-2"]}, {"AKIA-ann-2"}
    state = MadeUpState().user("ann", "2", "1", inactive=["2"])
    rules = {"ann": KeyRules(serial=3, status="active", previous=previous)}
    plan = planned(aws, state, rules, guard=False, handling={"ann": handling})["ann"]
    assert [key.status for key in plan.plan.keys] == [None, None]
    assert not plan.retired


def test_the_overlap_counts_from_the_run_that_hands_a_key_over(aws: FakeAws) -> None:
    aws.keys = {"ann": ["AKIA-ann-1", "AKIA-ann-1.2026-10-30"]}
    rules = KeyRules(rotation=Calendar(date(2026, 8, 1), 90, 7))
    keys = ("1.2026-10-30", "1")
    late = ann(aws, MadeUpState().user("ann", *keys, handed_over=["1"]), rules, guard=False)
    assert (late.plan.handed_over_on, late.plan.previous_until) == (TODAY, TODAY + timedelta(days=7))
    assert late.plan.previous is not None
    assert late.plan.previous.status is None, "nobody had the new key until now"
    state = MadeUpState().user("ann", *keys)
    state.outputs["keys"]["ann"]["current"]["handedOver"] = str(TODAY - timedelta(days=6))
    assert ann(aws, state, rules, guard=False).plan.previous_until == TODAY + timedelta(days=1)
    state.outputs["keys"]["ann"]["current"]["handedOver"] = str(TODAY - timedelta(days=7))
    ended = ann(aws, state, rules, guard=False)
    assert ended.plan.previous is not None
    assert ended.plan.previous.status == "inactive"


@pytest.mark.parametrize(("is_active", "status"), [(True, "inactive"), (False, "active"), (True, "active")])
def test_what_the_settings_do_to_a_key_as_it_is_taken_over_is_said(
    aws: FakeAws, is_active: bool, status: Literal["active", "inactive"]
) -> None:
    aws.keys, aws.inactive = {"ann": ["AKIA-theirs"]}, set() if is_active else {"AKIA-theirs"}
    aws.used = {"AKIA-theirs": USED}
    plan = ann(aws, MadeUpState(), KeyRules(status=status), adopted="AKIA-theirs", guard=False)
    retired, warnings = " ".join(plan.retired), " ".join(plan.warnings)
    is_deactivated = is_active and status == "inactive"
    assert ("AKIA-theirs of ann (used on" in retired and "its status is set to inactive" in retired) is is_deactivated
    assert ("AKIA-theirs is inactive and becomes active again" in warnings) is not is_active
    assert "the new key is created inactive" not in warnings


def test_a_lowered_serial_does_not_undo_what_a_failed_run_began_and_the_way_back_is_named(aws: FakeAws) -> None:
    aws.keys = {"ann": ["AKIA-ann-1", "AKIA-ann-2"]}
    plan = ann(aws, MadeUpState().user("ann", "2", "1", handed_over=["1"]), KeyRules(serial=1), guard=False)
    assert "AKIA-ann-2, issued by an update that failed, becomes the current one, although serial" in plan.warnings[1]
    assert f"{DELETE} AKIA-ann-2" in plan.warnings[1]
    assert len(ann(aws, MadeUpState().user("ann", "2", "1"), KeyRules(serial=1), guard=False).warnings) == 1
    taken_over = MadeUpState().user("ann", "2", "1", handed_over=["1"], adopts="AKIA-ann-2")
    assert len(ann(aws, taken_over, KeyRules(serial=1), guard=False).warnings) == 1, "nobody asked for another key"


@pytest.mark.parametrize("is_active", [True, False])
def test_a_key_that_does_not_work_and_takes_anothers_place_in_a_store_is_named(aws: FakeAws, is_active: bool) -> None:
    aws.keys, aws.inactive = {"ann": ["AKIA-ann-1"]}, set() if is_active else {"AKIA-ann-1"}
    handling = {"ann": Handling(to={"ssm": "/own/bob"}, others={"ssm": "/own/bob"})}
    plan = planned(aws, MadeUpState().user("ann", "1"), {"ann": KeyRules()}, handling=handling)["ann"]
    text = "the access key AKIA-ann-1 takes the place of another user's in the parameter '/own/bob' in SSM, but it is"
    assert any(text in warning for warning in plan.warnings) is not is_active
    aws.errors = {"list_access_keys": aws_error("AccessDenied")}
    plan = planned(aws, MadeUpState().user("ann", "1"), {"ann": KeyRules()}, handling=handling)["ann"]
    assert any("Whether it works could not be checked" in warning for warning in plan.warnings)


def test_without_an_update_that_finished_a_parameter_in_the_state_is_not_taken_for_that_of_a_key_that_is_gone(
    aws: FakeAws,
) -> None:
    aws.keys = {"ann": ["AKIA-ann-1"]}
    state = MadeUpState().user("ann", "1", handed_over=[])
    handling = {"ann": Handling(parameter="urn:of-a-parameter")}
    (why,) = planned(aws, state, {"ann": KeyRules(serial=2)}, handling=handling)["ann"].skipped
    assert "but the state has the SSM parameter with its value. Remove the parameter from the state" in why


@pytest.mark.parametrize("asked", [{"missing": "deliver.sh"}, {"parameter": "urn:of-a-parameter"}])
def test_what_keeps_a_new_key_from_being_issued_does_so_where_the_current_one_is_gone(
    aws: FakeAws, asked: dict[str, Any]
) -> None:
    aws.keys = {"ann": []}
    state = MadeUpState().user("ann", handed_over=["1"])
    with pytest.raises(KeyLimitError, match="no new key is issued: "):
        planned(aws, state, {"ann": KeyRules(serial=1)}, handling={"ann": Handling(**asked)})
    aws.keys = {"ann": ["AKIA-ann-1"]}
    state = MadeUpState().user("ann", "1", handed_over=["2", "1"])
    for serial in (1, 2):
        with pytest.raises(
            KeyLimitError, match=r"no new key is issued: .* (correct deliver|Set .*keep_secret to true)"
        ):
            planned(aws, state, {"ann": KeyRules(serial=serial)}, handling={"ann": Handling(**asked)})


def test_a_key_that_somebody_deactivated_since_the_last_refresh_is_not_taken_for_a_retired_one(aws: FakeAws) -> None:
    aws.keys, aws.inactive = {"ann": ["AKIA-ann-1", "AKIA-ann-2"]}, {"AKIA-ann-1"}
    plan = ann(aws, MadeUpState().user("ann", "2", "1"), KeyRules(serial=2, previous="inactive"), guard=False)
    assert plan.retired_key is None
    assert not plan.retired, "it stopped working before"


def test_status_activates_no_key_that_is_older_than_one_that_the_state_does_not_have(aws: FakeAws) -> None:
    aws.keys, aws.inactive = {"ann": ["AKIA-ann-1", "AKIA-newer"]}, {"AKIA-ann-1"}
    aws.created_on = {"AKIA-newer": CREATED + timedelta(days=1)}
    plan = ann(aws, MadeUpState().user("ann", "1", inactive=["1"]), KeyRules(status="active"))
    assert plan.plan.current.status is None
    assert "IAM has a newer key that the state does not have, AKIA-newer (active, created" in plan.skipped[0]
    assert f"if nobody uses it, delete it: {DELETE} AKIA-newer" in plan.skipped[0]


# ---- whenIdle

WHEN_IDLE = KeyRules(serial=2, previous="whenIdle")


def test_when_idle_asks_aws_only_about_a_previous_key_that_is_active(aws: FakeAws) -> None:
    state = MadeUpState().user("ann", "2", "1", inactive=["1"]).user("bob", "2")
    plans = planned(aws, state, {"ann": WHEN_IDLE, "bob": WHEN_IDLE})
    assert not aws.asked
    assert plans["ann"].plan.previous is not None
    assert plans["ann"].plan.previous.status is None


@pytest.mark.parametrize(
    ("used", "waits"),
    [
        ({}, "the new key has not been used yet"),
        (
            {"AKIA-ann-1": USED, "AKIA-ann-2": USED},
            "the previous one was used on 2026-11-23 08:00 UTC for s3 in us-east-1",
        ),
    ],
)
def test_when_idle_waits_for_the_users_of_the_keys(aws: FakeAws, used: dict[str, datetime], waits: str) -> None:
    aws.keys, aws.used = {"ann": ["AKIA-ann-1", "AKIA-ann-2"]}, used
    plan = ann(aws, MadeUpState().user("ann", "2", "1"), WHEN_IDLE)
    line = f"the previous access key AKIA-ann-1 of user ann stays active for now: {waits}."
    assert plan.waits == (line,)
    assert plan.not_retired == {"AKIA-ann-1": line}
    assert plan.plan.previous is not None
    assert plan.plan.previous.status is None
    assert not plan.skipped, "that is no reason to fail"


def test_when_idle_retires_a_key_that_is_idle_once_the_new_one_is_used(aws: FakeAws) -> None:
    aws.keys, aws.used = {"ann": ["AKIA-ann-1", "AKIA-ann-2"]}, {"AKIA-ann-2": USED}
    plan = ann(aws, MadeUpState().user("ann", "2", "1"), WHEN_IDLE)
    assert plan.plan.previous is not None
    assert plan.plan.previous.status == "inactive"
    assert not plan.waits
    assert plan.retired[0].endswith("is deactivated: previous is whenIdle, and everybody has changed over to key 2")


def test_when_idle_waits_for_a_previous_key_whose_use_aws_may_not_know_yet(aws: FakeAws) -> None:
    now = moment_of(TODAY)
    aws.created = now - timedelta(minutes=30)
    aws.keys, aws.used = {"ann": ["AKIA-ann-1", "AKIA-ann-2"]}, {"AKIA-ann-2": now}
    plan = ann(aws, MadeUpState().user("ann", "2", "1"), WHEN_IDLE)
    assert "the previous one was created less than an hour ago" in plan.waits[0]
    assert not plan.skipped, "that is no reason to fail"


def test_when_idle_a_later_verification_of_the_new_key_is_no_use_either(aws: FakeAws) -> None:
    aws.keys, aws.service = {"ann": ["AKIA-ann-1", "AKIA-ann-2"]}, "sts"
    aws.used = {"AKIA-ann-2": CREATED + timedelta(days=2, minutes=1)}
    state = MadeUpState().user("ann", "2", "1")
    state.tried("ann", CREATED + timedelta(days=2))
    plan = ann(aws, state, WHEN_IDLE)
    assert plan.waits[0].endswith("stays active for now: the new key has not been used yet.")
    state.tried("ann", CREATED + timedelta(days=3))
    assert ann(aws, state, WHEN_IDLE).waits, "AWS may show the verification of the run before"
    state.tried("ann", CREATED + timedelta(days=1))
    assert not ann(aws, state, WHEN_IDLE).waits, "that use was somebody else's"


def test_when_idle_the_verification_of_the_new_key_is_no_use(aws: FakeAws) -> None:
    aws.keys, aws.service = {"ann": ["AKIA-ann-1", "AKIA-ann-2"]}, "sts"
    aws.used = {"AKIA-ann-2": CREATED + timedelta(seconds=20)}
    plan = ann(aws, MadeUpState().user("ann", "2", "1"), WHEN_IDLE)
    assert plan.waits[0].endswith("stays active for now: the new key has not been used yet.")


def test_when_idle_a_third_key_waits_for_the_hand_over_of_the_second(aws: FakeAws) -> None:
    aws.keys = {"ann": ["AKIA-ann-1", "AKIA-ann-2"]}
    plan = ann(aws, MadeUpState().user("ann", "2", "1"), replace(WHEN_IDLE, serial=3))
    assert names(plan) == ("2", "1")
    assert not plan.waits, "it is reported once"
    (why,) = plan.skipped
    assert why.startswith("the previous access key AKIA-ann-1 of user ann stays active for now: the new key")
    assert "No new key is issued until this one can be deleted" in why


def test_when_idle_a_last_use_that_cannot_be_read_keeps_the_key_and_fails_the_update(aws: FakeAws) -> None:
    aws.keys = {"ann": ["AKIA-ann-1", "AKIA-ann-2"]}
    aws.errors["get_access_key_last_used"] = aws_error("AccessDenied")
    plan = ann(aws, MadeUpState().user("ann", "2", "1"), WHEN_IDLE)
    assert names(plan) == ("2", "1")
    assert plan.skipped[0].startswith("the access key AKIA-ann-1 of user ann is not deactivated, because the last use")


def test_when_idle_the_override_of_the_guard_retires_at_once(aws: FakeAws) -> None:
    aws.keys, aws.used = {"ann": ["AKIA-ann-1", "AKIA-ann-2"]}, {"AKIA-ann-1": USED}
    account = Account(session(aws))
    guard = RetireGuard(TODAY, account, {"ann": GUARD._replace(is_lifted=True)})
    users = MadeUpState().user("ann", "2", "1").parsed.users
    plan = plan_users({"ann": WHEN_IDLE}, {}, users, TODAY, guard, account)["ann"]
    assert plan.retired[0].endswith("is deactivated: previous is whenIdle, and the retire guard is lifted")
    assert plan.plan.previous is not None
    assert plan.plan.previous.status == "inactive"

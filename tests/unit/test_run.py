"""What the components of a program share in a run: how it ends, whose users are whose, and the retire guard's hook."""

import asyncio
import subprocess
import sys
from collections.abc import Callable
from datetime import date
from typing import Any, cast

import pulumi
import pulumi_aws
import pytest
from aws_access_keys import ProgrammaticAccess, programmatic_access
from aws_access_keys.retire_guard import InUseError
from aws_access_keys.rules.problem import STACK_FILE, Problem, as_lines, masked
from aws_access_keys.run import Run, _exit
from aws_access_keys.validation import SettingsError

from tests.unit.fake_aws import USED, FakeAws
from tests.unit.made_up_state import MadeUpState
from tests.unit.recording import deploy

GROUPS = {"g": {"policies": ["IAMFullAccess"]}}


def component(name: str, *users: str, opts: pulumi.ResourceOptions | None = None, **key: Any) -> ProgrammaticAccess:
    group = f"of-{name}"
    args: Any = {"groups": {group: GROUPS["g"]}, "users": {user: {"groups": [group], "key": key} for user in users}}
    return ProgrammaticAccess(name, args, opts, today=date(2026, 11, 24))


# ---- how a run ends


@pytest.fixture
def exits(monkeypatch: pytest.MonkeyPatch) -> list[Callable[[], None]]:
    """What the program registered to run at its exit."""
    registered: list[Callable[[], None]] = []
    monkeypatch.setattr("atexit.register", registered.append)
    return registered


REFUSED = [Problem("users.ann.key", "the key is in use.")]


def test_an_update_that_skipped_something_reports_it_and_fails_at_its_exit(
    exits: list[Any], caplog: pytest.LogCaptureFixture
) -> None:
    deploy(lambda: Run.current().report(REFUSED, STACK_FILE))
    assert caplog.messages == [
        "1 change was skipped; everything else is applied:\n  aws-access-keys:users.ann.key: the key is in use."
    ]
    assert caplog.records[0].levelname == "ERROR"
    assert exits == [_exit]


def test_a_preview_only_warns(exits: list[Any], caplog: pytest.LogCaptureFixture) -> None:
    deploy(lambda: Run.current().report(REFUSED, STACK_FILE), preview=True)
    assert caplog.messages[0].startswith("`pulumi up` will skip the following, apply everything else, and exit with an")
    assert caplog.records[0].levelname == "WARNING"
    assert not exits


def test_a_run_that_skipped_nothing_says_nothing(exits: list[Any], caplog: pytest.LogCaptureFixture) -> None:
    deploy(lambda: Run.current().report([], STACK_FILE))
    assert not exits
    assert not caplog.messages


def test_two_components_that_skip_something_both_report_it_and_the_run_fails_once(
    exits: list[Any], caplog: pytest.LogCaptureFixture, aws: FakeAws
) -> None:
    aws.keys = {user: [f"AKIA-{user}-1", f"AKIA-{user}-2"] for user in ("ann", "bob")}
    aws.used = {"AKIA-ann-1": USED, "AKIA-bob-1": USED}
    state = MadeUpState("one").user("ann", "2", "1").resources | MadeUpState("two").user("bob", "2", "1").resources
    key: dict[str, Any] = {"serial": 2, "previous": "deleted", "retire_guard": {"idle_days": 3}}
    recording = deploy(lambda: (component("one", "ann", **key), component("two", "bob", **key)), state=state)
    errors = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert [error.splitlines()[1].split(":")[0] for error in errors] == ["  users.ann.key", "  users.bob.key"]
    assert len(exits) == 1
    assert recording.keys == ["one/ann/1", "one/ann/2", "two/bob/1", "two/bob/2"], "everything else is applied"


def test_the_exit_code_tells_the_language_host_that_the_error_is_reported() -> None:
    program = """
import atexit
from aws_access_keys.run import _exit
atexit.register(print, "the engine is done")
atexit.register(_exit)
print("the program is done")
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 32, done.stderr
    assert done.stdout == "the program is done\n", "all output is written before the process ends"


# ---- whose users are whose


def refusal(program: Callable[[], Any]) -> str:
    with pytest.raises(SettingsError) as caught:
        deploy(program)
    return str(caught.value)


def test_two_components_with_one_user_are_refused(aws: FakeAws) -> None:
    message = refusal(lambda: (component("one", "ann", "bob"), component("two", "Ann")))
    assert "ProgrammaticAccess 'two' has 1 problem:" in message
    assert "users.Ann: the component 'one' has a user of this name in the same account. Rename or remove one" in message


def test_two_components_share_no_group_policy_or_store(aws: FakeAws) -> None:
    document = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:ListBucket", "Resource": "*"}]}

    def both() -> None:
        for name in ("one", "two"):
            args: Any = {
                "groups": {"g": {"policies": ["own"], "s3": [{"bucket": "data", "access": "read"}]}},
                "policy_documents": {"own": document},
                "users": {name: {"groups": ["g"]}},
                "deliver": {"secrets_manager": {"name": "team/key"}, "ssm": {"name": "/team/key"}},
            }
            ProgrammaticAccess(name, args, today=date(2026, 11, 24))

    message = refusal(both)
    for place, kind in (
        ("groups.g", "group"),
        ("policy_documents.own", "policy"),
        ("groups.g.s3", "policy"),
        ("users.two.deliver.secrets_manager", "secret"),
        ("users.two.deliver.ssm", "parameter"),
    ):
        assert f"{place}: the component 'one' has a {kind} of this name in the same account" in message


def test_two_components_of_one_name_are_two_components_all_the_same() -> None:
    def program() -> None:
        component("access", "ann")
        team = pulumi.ComponentResource("my:index:Team", "team")
        component("access", "ann", opts=pulumi.ResourceOptions(parent=team))

    assert "users.ann: the component 'access' has a user of this name in the same account" in refusal(program)


def test_two_accounts_can_have_users_of_one_name() -> None:
    def program() -> None:
        for account in ("dev", "prod"):
            provider = pulumi_aws.Provider(account, region="ap-northeast-2")
            component(account, "ann", opts=pulumi.ResourceOptions(provider=provider))

    assert deploy(program).keys == ["dev/ann/1", "prod/ann/1"]


def test_two_providers_of_one_account_do_not_hide_that_two_components_have_one_user_or_store(
    aws: FakeAws, monkeypatch: pytest.MonkeyPatch
) -> None:
    def program(user: str, *regions: str) -> Callable[[], None]:
        found = {f"c{index}": region for index, region in enumerate(regions)}
        # The mocks report the same region for every provider.
        monkeypatch.setattr(programmatic_access, "provider_region", lambda one: found[one._name])

        def run() -> None:
            for index, name in enumerate(found):
                provider = pulumi_aws.Provider(name)
                args: Any = {
                    "groups": {f"of-{name}": GROUPS["g"]},
                    "users": {user.format(index): {"groups": [f"of-{name}"]}},
                    "deliver": {"secrets_manager": {"name": "team/key"}},
                }
                opts = pulumi.ResourceOptions(provider=provider)
                ProgrammaticAccess(name, args, opts, session=cast("Any", lambda: aws), today=date(2026, 11, 24))

        return run

    message = refusal(program("ann", "eu-west-1", "us-east-1"))
    assert "users.ann: the component 'c0' has a user of this name in the same account" in message
    assert "secret of this name" not in message, "each region has secrets of its own"
    assert "'c0' has a secret of this name" in refusal(program("ann{}", "eu-west-1", "eu-west-1"))
    deploy(program("ann{}", "eu-west-1", "us-east-1"))


def test_the_next_run_in_the_same_process_starts_from_nothing() -> None:
    for _ in range(2):
        deploy(lambda: component("one", "ann"))
    deploy(lambda: component("two", "ann"))


# ---- the retire guard's hook


def guarded(aws: FakeAws, state: MadeUpState, **key: Any) -> Run:
    """The run of a program with a guarded user ann; `state` may have more components."""
    aws.keys = {"ann": ["AKIA-ann-1"], "bob": ["AKIA-bob-1"]}
    runs: list[Run] = []

    def program() -> None:
        component("access", "ann", **(key or {"retire_guard": {"idle_days": 3}}))
        runs.append(Run.current())

    resources = MadeUpState().user("ann", "1").resources | state.resources
    deploy(program, state=resources)
    return runs[0]


def deletion(state: MadeUpState, user: str, **inputs: Any) -> pulumi.ResourceHookArgs:
    """What the engine passes to the hook before it deletes a key, or before it updates it (`inputs`)."""
    (urn,) = (urn for urn in state.resources if urn.endswith(f"::{state.name}/{user}/1"))
    kind = "aws:iam/accessKey:AccessKey"
    return pulumi.ResourceHookArgs(urn, f"AKIA-{user}-1", f"{user}/1", kind, new_inputs=inputs or None)


def test_a_key_in_use_is_neither_deleted_nor_deactivated(aws: FakeAws) -> None:
    state = MadeUpState().user("ann", "1")
    run = guarded(aws, state)
    aws.used = {"AKIA-ann-1": USED}
    with pytest.raises(InUseError, match=r"AKIA-ann-1 of user ann is still in use and is not deleted: it was used"):
        asyncio.run(run._check(deletion(state, "ann")))
    with pytest.raises(InUseError, match=r"is not deactivated"):
        asyncio.run(run._check(deletion(state, "ann", status="Inactive")))
    asyncio.run(run._check(deletion(state, "ann", status="Active")))


def test_a_key_that_is_not_in_use_goes(aws: FakeAws) -> None:
    state = MadeUpState().user("ann", "1")
    asyncio.run(guarded(aws, state)._check(deletion(state, "ann")))


def test_the_hook_names_the_key_of_a_user_without_a_guard_and_lets_it_go(
    aws: FakeAws, monkeypatch: pytest.MonkeyPatch
) -> None:
    state, lines = MadeUpState().user("ann", "1"), list[str]()
    run = guarded(aws, state, verify=False)
    aws.used = {"AKIA-ann-1": USED}
    monkeypatch.setattr(pulumi.log, "info", lines.append)
    asyncio.run(run._check(deletion(state, "ann")))
    (line,) = lines
    assert line.startswith("the access key AKIA-ann-1 of ann (used on ")
    assert line.endswith(" is deleted: the stack is destroyed")


def test_a_text_is_shown_without_what_may_be_a_secret() -> None:
    secret = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
    problem = Problem(f"users.{secret}", f"'{secret}' is not a user")
    assert as_lines([problem]) == "  users.[secret]: '[secret]' is not a user"
    for harmless in ("arn:aws:iam::123456789012:policy/team/ReadTheReportsOfTheLastYear", "a" * 40, f"{secret}x"):
        assert masked(harmless) == harmless


def test_a_component_that_was_removed_from_the_program_is_still_guarded(aws: FakeAws) -> None:
    removed = MadeUpState("old").user("bob", "1", idle_days=3.0)
    run = guarded(aws, removed)
    asyncio.run(run._check(deletion(removed, "bob")))
    del aws.keys["bob"]
    run = guarded(aws, removed)
    aws.used = {"AKIA-bob-1": USED}
    with pytest.raises(InUseError, match=r"AKIA-bob-1 of user bob is still in use.* in the key of bob alone, run"):
        asyncio.run(run._check(deletion(removed, "bob")))
    run = guarded(aws, removed)
    aws.keys = {}
    with pytest.raises(InUseError, match=r"it is not in the account that this run uses, so its last use is unknown"):
        asyncio.run(run._check(deletion(removed, "bob")))


def test_a_removed_component_without_a_guard_asks_nothing(aws: FakeAws) -> None:
    removed = MadeUpState("old").user("bob", "1")
    run = guarded(aws, removed)
    aws.used = {"AKIA-bob-1": USED}
    asyncio.run(run._check(deletion(removed, "bob")))

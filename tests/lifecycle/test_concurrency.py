"""Several commands at once: the second one is refused or waits, no key is lost, and the state loads."""

import json
import os
import time
from pathlib import Path

import pytest

from tests.lifecycle.helpers import NewStack, config, keys_in_iam, works
from tests.lifecycle.stack import Sandbox, Stack
from tests.lifecycle.test_operations import operate

pytestmark = pytest.mark.counted("several commands at once")

DELIVERED = {"deliver": {"ssm": {}, "secretsManager": {}}}
UP = ("up", "--yes", "--skip-preview")


def wait_for_call(sandbox: Sandbox, action: str) -> None:
    """Return when an update has made an API call."""
    deadline = time.monotonic() + 60
    while not any(call.action == action for call in sandbox.control.calls()):
        assert time.monotonic() < deadline, f"{action} is called"
        time.sleep(0.05)


def rotating(new_stack: NewStack) -> tuple[Stack, tuple[str, str]]:
    """A stack whose next update rotates, slowly; and the key in use."""
    stack: Stack = new_stack()
    stack.write({**config(), **DELIVERED})
    stack.up()
    in_use = stack.key("test-user")
    stack.write({**config(serial=2), **DELIVERED})
    stack.sandbox.control.clear_calls()
    stack.sandbox.control.change_faults(latency=0.5)
    return stack, in_use


def check_rotated(stack: Stack, in_use: tuple[str, str]) -> None:
    """Nothing was lost, and everything is as asked."""
    stack.sandbox.control.clear_faults()
    stack.run("stack", "export")
    stack.up()
    assert stack.preview("--expect-no-changes").changes == {}
    assert works(stack.sandbox, in_use)
    assert works(stack.sandbox, stack.key("test-user"))
    assert keys_in_iam(stack.sandbox).keys() == {in_use[0], stack.key("test-user")[0]}


@pytest.mark.parametrize(
    "second", ["up", *(pytest.param(command, marks=pytest.mark.long) for command in ("refresh", "destroy"))]
)
def test_the_second_of_two_concurrent_updates_is_refused_with_the_holder_of_the_lock(
    new_stack: NewStack, sandbox: Sandbox, second: str
) -> None:
    stack, in_use = rotating(new_stack)
    first = stack.start(*UP)
    wait_for_call(sandbox, "ListAccessKeys")
    refused = stack.run(second, *UP[1:], check=False)
    assert first.poll() is None, "both run at once"
    assert refused.code != 0
    assert "the stack is currently locked by 1 lock(s)" in refused.text
    assert f"(pid {first.pid})" in refused.text, "whose lock it is"
    assert "Traceback" not in refused.text
    first.communicate()
    assert first.returncode == 0, "the first one finishes"
    check_rotated(stack, in_use)


@pytest.mark.long
def test_the_report_reads_while_an_update_writes(new_stack: NewStack, sandbox: Sandbox) -> None:
    stack, in_use = rotating(new_stack)
    update = stack.start(*UP)
    wait_for_call(sandbox, "ListAccessKeys")
    reports = 0
    while update.poll() is None or not reports:
        done = operate(stack, "report", "--output", "json")
        assert done.returncode == 0, done.stderr
        assert in_use[0] in json.dumps(json.loads(done.stdout)), "the key in use is in each report"
        reports += 1
    update.communicate()
    assert update.returncode == 0
    check_rotated(stack, in_use)


@pytest.mark.long
def test_a_sandbox_that_is_stopped_during_an_update_costs_no_key_here_or_elsewhere(
    new_stack: NewStack, sandbox: Sandbox, tmp_path: Path
) -> None:
    stack, in_use = rotating(new_stack)
    root = tmp_path / "other"
    other = Sandbox(root)
    try:
        folder = tmp_path / "others-project"
        folder.mkdir()
        others, others_key = rotating(lambda: Stack(other, folder, secrets_provider="passphrase"))
        updates = [stack.start(*UP), others.start(*UP)]
        wait_for_call(other, "CreateAccessKey")
        other.stop()
        texts = ["".join(update.communicate()) for update in updates]
        assert updates[0].returncode == 0, f"the other sandbox is not affected: {texts[0]}"
        assert updates[1].returncode != 0
        others.sandbox = other = Sandbox(root)
        assert works(other, others_key)
        others.run("stack", "export")
        done = others.up(check=False)
        if done.code != 0:  # AWS's response to CreateAccessKey got lost
            assert "does not manage" in done.text
        assert works(other, others_key)
        for unknown in keys_in_iam(other).keys() - {others_key[0], others.outputs()["accessKeyIds"]["test-user"]}:
            assert unknown in done.text, "no unknown key is unmentioned"
            other.client("iam").delete_access_key(UserName="test-user", AccessKeyId=unknown)
        check_rotated(others, others_key)
    finally:
        other.stop()
    check_rotated(stack, in_use)


@pytest.mark.long
def test_many_updates_at_once_leave_a_state_that_loads(new_stack: NewStack) -> None:
    stack, in_use = rotating(new_stack)
    updates = [stack.start(*UP) for _ in range(4)]
    texts = ["".join(update.communicate()) for update in updates]
    for update, text in zip(updates, texts, strict=True):
        assert update.returncode == 0 or "currently locked by" in text, text
    locks = list((stack.sandbox.folder.state / ".pulumi" / "locks").rglob("*.json"))
    assert locks == [], f"no lock is left behind: {[os.fspath(lock) for lock in locks]}"
    check_rotated(stack, in_use)

"""The life of a key on the real engine: rotation, retirement, calendar, guard, verification."""

import re
from typing import Any

import pytest

from tests.lifecycle.helpers import GROUPS, NewStack, by_hand, config, in_days, keys_in_iam, works
from tests.lifecycle.stack import Sandbox


@pytest.mark.long
def test_ten_rotations_in_a_row_always_leave_a_working_key_and_never_a_third(
    new_stack: NewStack, sandbox: Sandbox
) -> None:
    stack = new_stack()
    issued: list[tuple[str, str]] = []
    for serial in range(1, 12):
        stack.write(config(serial=serial))
        done = stack.up()
        issued.append(stack.key("test-user"))
        assert len({key_id for key_id, _ in issued}) == serial, "each raise issues a new key"
        assert set(keys_in_iam(sandbox)) == {key_id for key_id, _ in issued[-2:]}, "the last two keys are there"
        assert all(works(sandbox, key) for key in issued[-2:]), "both keys work"
        if serial > 2:
            assert not works(sandbox, issued[-3]), "the key before them is gone"
            assert done.changes == {"create": 1, "delete": 1}, "the new key takes the place of the oldest one"
    outputs = stack.outputs()["keys"]["test-user"]
    assert (outputs["current"]["serial"], outputs["previous"]["serial"]) == (11, 10)
    assert outputs["current"]["id"] == issued[-1][0]
    assert outputs["previous"]["id"] == issued[-2][0]
    assert stack.preview("--expect-no-changes").changes == {}


@pytest.mark.long
def test_keys_make_room_for_more_new_ones_at_once_than_the_program_has_threads(
    new_stack: NewStack, sandbox: Sandbox
) -> None:
    stack, users = new_stack(), [f"user{number}" for number in range(5)]
    for serial in (1, 2, 3):
        asked = {user: {"groups": ["test"], "key": {"serial": serial, "verify": False}} for user in users}
        stack.write({"groups": GROUPS, "users": asked})
        update = stack.start("up", "--yes", "--skip-preview", "--parallel=1")
        try:
            output, _ = update.communicate(timeout=120)
        finally:
            update.kill()
        assert update.returncode == 0, f"the update to serial {serial} ends and succeeds:\n{output}"
    current = stack.outputs()["accessKeyIds"]
    assert all(list(keys_in_iam(sandbox, user))[-1] == current[user] for user in users), "each user has the third key"


@pytest.mark.long
def test_the_key_in_use_works_at_every_moment_of_a_rotation(new_stack: NewStack, sandbox: Sandbox) -> None:
    stack = new_stack()
    for serial in (1, 2):
        stack.write(config(serial=serial))
        stack.up()
    in_use = stack.key("test-user")
    stack.write(config(serial=3))
    import threading

    outcomes: list[bool] = []
    over = threading.Event()

    def use() -> None:
        while not over.wait(0.02):
            outcomes.append(works(sandbox, in_use))

    user = threading.Thread(target=use)
    user.start()
    try:
        stack.up()
    finally:
        over.set()
        user.join()
    assert len(outcomes) > 10, "the key was tried all the time"
    assert all(outcomes), "and it worked all the time"


@pytest.mark.long
@pytest.mark.parametrize(("previous", "status"), [("active", "Active"), ("inactive", "Inactive"), ("deleted", None)])
def test_previous_decides_what_becomes_of_the_key_before(
    new_stack: NewStack, sandbox: Sandbox, previous: str, status: str | None
) -> None:
    stack = new_stack()
    stack.write(config())
    stack.up()
    old = stack.key("test-user")
    stack.write(config(serial=2, previous=previous))
    done = stack.up()
    assert "does not manage" not in done.text, "the key before is nobody else's"
    assert keys_in_iam(sandbox).get(old[0]) == status
    assert works(sandbox, old) == (previous == "active")
    assert works(sandbox, stack.key("test-user"))
    assert stack.preview("--expect-no-changes").changes == {}
    stack.write(config(serial=3, previous=previous))
    stack.up()
    assert works(sandbox, stack.key("test-user")), "the next rotation works from each of the three"
    assert len(keys_in_iam(sandbox)) == (1 if previous == "deleted" else 2)


@pytest.mark.long
def test_an_inactive_previous_key_can_be_brought_back(new_stack: NewStack, sandbox: Sandbox) -> None:
    stack = new_stack()
    stack.write(config())
    stack.up()
    old = stack.key("test-user")
    stack.write(config(serial=2, previous="inactive"))
    stack.up()
    stack.write(config(serial=2, previous="active"))
    assert stack.up().changes == {"update": 1}
    assert works(sandbox, old), "nobody had to copy a secret again"


@pytest.mark.long
def test_a_raise_by_more_than_one_issues_one_key_and_the_preview_says_so(new_stack: NewStack, sandbox: Sandbox) -> None:
    stack = new_stack()
    stack.write(config(serial=2))
    stack.up()
    in_use = stack.key("test-user")
    stack.write(config(serial=7))
    assert "that issues one new key" in stack.preview().text
    stack.up()
    assert works(sandbox, in_use), "the key in use is not touched"
    assert stack.outputs()["keys"]["test-user"]["current"]["serial"] == 7


@pytest.mark.long
def test_a_lowered_serial_changes_nothing_and_the_preview_says_so(new_stack: NewStack) -> None:
    stack = new_stack()
    for serial in (1, 2):
        stack.write(config(serial=serial))
        stack.up()
    stack.write(config(serial=1))
    done = stack.preview("--expect-no-changes")
    assert "a deleted key cannot come back" in done.text
    assert "Raise it to 3" in done.text


@pytest.mark.long
def test_a_suspended_key_is_refused_and_comes_back(new_stack: NewStack, sandbox: Sandbox) -> None:
    stack = new_stack()
    stack.write(config())
    stack.up()
    key = stack.key("test-user")
    stack.write(config(status="inactive"))
    assert stack.up().changes == {"update": 1}
    assert not works(sandbox, key)
    stack.write(config(status="active"))
    stack.up()
    assert works(sandbox, key)
    assert stack.key("test-user") == key


@pytest.mark.long
def test_a_new_user_under_an_old_calendar_gets_one_key(new_stack: NewStack, sandbox: Sandbox) -> None:
    stack = new_stack()
    stack.write(config(rotation={"start": "2020-01-01", "everyDays": 30, "overlapDays": 3}))
    stack.up()
    assert len(keys_in_iam(sandbox)) == 1, "a key that nobody ever had is not made"


@pytest.mark.long
def test_the_calendar_rotates_three_times_with_an_overlap_each(new_stack: NewStack, sandbox: Sandbox) -> None:
    stack = new_stack()
    stack.write(config(rotation={"start": "2027-01-01", "everyDays": 30, "overlapDays": 5}))

    def on(day: str) -> dict[str, Any]:
        stack.environment["ACCESS_KEYS_TODAY"] = day
        stack.up()
        return stack.outputs()["keys"]["test-user"]

    first = on("2027-01-01")
    assert first["nextRotation"] == "2027-01-31"
    assert on("2027-01-30")["current"] == first["current"], "not before its time"
    keys = [stack.key("test-user")]
    for rotation, over in (("2027-01-31", "2027-02-05"), ("2027-03-02", "2027-03-07"), ("2027-04-01", "2027-04-06")):
        stack.environment["ACCESS_KEYS_TODAY"] = rotation
        before = stack.outputs()
        assert stack.preview().changes, "the day can be rehearsed"
        assert stack.outputs() == before, "a rehearsal changes nothing"
        rotated = on(rotation)
        keys.append(stack.key("test-user"))
        assert rotated["previousUntil"] == over
        assert works(sandbox, keys[-1])
        assert works(sandbox, keys[-2]), "the key before is active for the overlap"
        assert on(over)["previous"]["status"] == "Inactive"
        assert works(sandbox, keys[-1])
        assert not works(sandbox, keys[-2]), "after the overlap it is switched off"
        assert len(keys_in_iam(sandbox)) == 2


@pytest.mark.long
def test_a_rehearsed_day_is_refused_for_up_outside_the_sandbox(new_stack: NewStack) -> None:
    stack = new_stack()
    stack.write(config())
    stack.environment |= {"ACCESS_KEYS_TODAY": "2027-03-01", "PULUMI_SANDBOX": ""}
    # Without the sandbox's variable the program takes itself to be outside; the endpoint is still the sandbox's.
    done = stack.up(check=False)
    assert done.code != 0
    assert "rehearses another day" in done.text
    assert "Traceback" not in done.text
    stack.preview()
    stack.environment["ACCESS_KEYS_TODAY"] = "first of March"
    assert "is not a valid date. Use YYYY-MM-DD" in stack.preview(check=False).text


@pytest.mark.parametrize(
    ("key", "says"),
    [
        ({"serial": 0}, "users.test-user.key.serial: expected 1 or more, got 0"),
        ({"serial": -1}, "users.test-user.key.serial: expected 1 or more, got -1"),
        ({"serial": "two"}, "users.test-user.key.serial: expected a whole number, got 'two'"),
        (
            {"rotation": {"start": "2026-01-01", "everyDays": 5, "overlapDays": 6}},
            "users.test-user.key.rotation.overlapDays: an overlap of 6 days is longer than the period of 5 days",
        ),
        (
            {"rotation": {"start": "soon", "everyDays": 5, "overlapDays": 1}},
            "users.test-user.key.rotation.start: expected a date such as 2026-12-01 (YYYY-MM-DD), got 'soon'",
        ),
        (
            {"pgpKey": "no key at all!"},
            "users.test-user.key.pgpKey: this is not an OpenPGP public key, armored or base64",
        ),
        ({"pgpKey": "file:nowhere.asc"}, "cannot read 'nowhere.asc' in "),
        ({"adopt": {"id": "AKIAIOSFODNN7EXAMPLE"}}, "IAM has no user 'test-user', so there is no key to adopt"),
        ({"description": "for x"}, "aws:ignoreTags: {keyPrefixes: [AKIA]}"),
    ],
)
def test_bad_key_settings_are_refused_and_nothing_is_made(
    new_stack: NewStack, sandbox: Sandbox, key: dict[str, Any], says: str
) -> None:
    stack = new_stack()
    stack.write(config(**key))
    done = stack.up(check=False)
    assert done.code != 0
    assert says in done.text
    assert "Traceback" not in done.text
    assert sandbox.client("iam").list_users()["Users"] == []


@pytest.mark.parametrize(
    "refresh",
    [
        pytest.param(["refresh"], id="refresh, then up"),
        pytest.param(["up", "--refresh"], id="up --refresh", marks=pytest.mark.long),
    ],
)
def test_a_key_that_somebody_switched_off_stays_off_until_the_stack_file_asks(
    new_stack: NewStack, sandbox: Sandbox, refresh: list[str]
) -> None:
    stack = new_stack()
    stack.write(config())
    stack.up()
    key = stack.key("test-user")
    sandbox.client("iam").update_access_key(UserName="test-user", AccessKeyId=key[0], Status="Inactive")
    stack.run(*refresh, "--yes", "--skip-preview")
    done = stack.up()
    assert f"the current access key {key[0]} is inactive and will stay inactive" in done.text
    assert keys_in_iam(sandbox) == {key[0]: "Inactive"}
    stack.write(config(status="Active"))
    assert stack.up().changes == {"update": 1}
    assert works(sandbox, key), "AWS's spelling is understood, and the word is enough"
    sandbox.client("iam").update_access_key(UserName="test-user", AccessKeyId=key[0], Status="Inactive")
    stack.write(config(serial=2))
    stack.up()
    assert works(sandbox, stack.key("test-user")), "a new serial gives the user a working key"


@pytest.mark.long
def test_a_previous_key_is_not_retired_while_the_current_one_does_not_work(
    new_stack: NewStack, sandbox: Sandbox
) -> None:
    """As after an incident in the overlap: the nightly update must not take the only key that works."""
    stack = new_stack()
    rotation = {"start": in_days(0), "everyDays": 30, "overlapDays": 5}
    stack.write(config(rotation=rotation))
    stack.up()
    (first,) = keys_in_iam(sandbox)
    stack.environment["ACCESS_KEYS_TODAY"] = in_days(30)
    stack.up()
    (second,) = keys_in_iam(sandbox).keys() - {first}
    sandbox.client("iam").update_access_key(UserName="test-user", AccessKeyId=second, Status="Inactive")
    stack.environment["ACCESS_KEYS_TODAY"] = in_days(36)
    failed = stack.up(check=False)
    assert failed.code != 0
    assert f"because the current one, {second}, does not work" in failed.text
    assert keys_in_iam(sandbox)[first] == "Active"
    stack.write(config(rotation=rotation, serial=2))
    refused = stack.up(check=False)
    assert f"the newer key, {second}, does not work" in refused.text, "the key that works makes no room"
    (command,) = re.findall(r"Delete that one: (aws iam delete-access-key [^;]+);", refused.text)
    by_hand(sandbox, command)
    stack.refresh()
    stack.up()
    (third,) = keys_in_iam(sandbox).keys() - {first, second}
    assert keys_in_iam(sandbox) == {first: "Active", third: "Active"}

"""Keys that expire on a day."""

import json
from typing import Any

import pytest

from tests.lifecycle.helpers import NewStack, config, in_days, keys_in_iam
from tests.lifecycle.stack import Sandbox
from tests.lifecycle.test_operations import report

STORES = {"deliver": {"ssm": {}, "secretsManager": {}}}


def copies(sandbox: Sandbox) -> list[dict[str, str]]:
    """What the two stores hold; nothing for one that is gone."""
    secrets, ssm = sandbox.client("secretsmanager"), sandbox.client("ssm")
    texts = [
        secrets.get_secret_value(SecretId=found["Name"])["SecretString"]
        for found in secrets.list_secrets()["SecretList"]
    ]
    for found in ssm.describe_parameters()["Parameters"]:
        texts.append(ssm.get_parameter(Name=found["Name"], WithDecryption=True)["Parameter"]["Value"])
    return [json.loads(text) for text in texts]


def order(sandbox: Sandbox, *actions: str) -> list[str]:
    """The calls among these actions, in the order in which they were made."""
    return [call.action for call in sandbox.control.calls() if call.action in actions]


@pytest.mark.long
def test_an_expired_key_is_deactivated_after_its_copies_were_replaced(new_stack: NewStack, sandbox: Sandbox) -> None:
    stack, day = new_stack(), in_days(30)
    rotation = {"start": in_days(0), "everyDays": 90, "overlapDays": 60}
    stack.write({**config(expires=day, serial=1), **STORES})
    stack.up()
    stack.write({**config(expires=day, serial=2, rotation=rotation), **STORES})
    stack.up()
    stack.environment["ACCESS_KEYS_TODAY"] = in_days(29)
    assert stack.preview().changes == {}
    stack.environment["ACCESS_KEYS_TODAY"] = day
    assert f"is deactivated: it expired on {day}" in stack.preview().text
    sandbox.control.clear_calls()
    stack.up()
    assert set(keys_in_iam(sandbox).values()) == {"Inactive"}, "the previous key does not outlive the current one"
    assert copies(sandbox) == [{"expired": day}, {"expired": day}]
    calls = order(sandbox, "PutSecretValue", "PutParameter", "UpdateAccessKey")
    assert sorted(calls[:2]) == ["PutParameter", "PutSecretValue"], "no store ever holds a key that does not work"
    assert stack.preview().changes == {}
    key_id = stack.outputs()["accessKeyIds"]["test-user"]
    sandbox.client("iam").update_access_key(UserName="test-user", AccessKeyId=key_id, Status="Active")
    assert [finding["rule"] for key in report(stack)["keys"] for finding in key["overdue"]] == ["reactivated"]
    stack.refresh()
    stack.up()
    assert set(keys_in_iam(sandbox).values()) == {"Inactive"}, "what the report says deactivates it again"
    stack.write({**config(expires=in_days(60), serial=3), **STORES})
    stack.up()
    assert "Active" in keys_in_iam(sandbox).values(), "a later day and a new serial give the user a key again"
    assert copies(sandbox)[0]["aws_access_key_id"] in keys_in_iam(sandbox)


@pytest.mark.long
def test_an_expired_key_is_deleted_where_the_settings_say_so(new_stack: NewStack, sandbox: Sandbox) -> None:
    stack, day = new_stack(), in_days(30)
    stack.write({**config(expires=day, previous="deleted"), **STORES})
    stack.up()
    stack.environment["ACCESS_KEYS_TODAY"] = day
    assert f"is deleted: it expired on {day}" in stack.preview().text
    sandbox.control.clear_calls()
    stack.up()
    assert keys_in_iam(sandbox) == {}
    assert copies(sandbox) == []
    assert order(sandbox, "DeleteSecret", "DeleteParameter", "DeleteAccessKey")[-1] == "DeleteAccessKey"
    assert stack.preview().changes == {}


@pytest.mark.parametrize("previous", ["deleted", pytest.param("inactive", marks=pytest.mark.long)])
def test_the_guard_keeps_an_expired_key_that_is_in_use(new_stack: NewStack, sandbox: Sandbox, previous: str) -> None:
    stack, day = new_stack(), in_days(2)
    guarded = config(expires=day, previous=previous, retireGuard={"idleDays": 30})
    stack.write({**guarded, **STORES})
    stack.up()
    (key,) = copies(sandbox)[:1]
    sandbox.client("s3", (key["aws_access_key_id"], key["aws_secret_access_key"])).list_buckets()
    stack.environment["ACCESS_KEYS_TODAY"] = day
    failed = stack.up(check=False)
    assert failed.code != 0
    assert "is still in use and is not deactivated" in failed.text
    assert set(keys_in_iam(sandbox).values()) == {"Active"}
    assert copies(sandbox)[0] == key, "its consumers still find it"


@pytest.mark.long
@pytest.mark.parametrize("is_kept", [True, False])
def test_a_key_in_use_keeps_its_copy_when_it_expires_before_the_next_one_is_delivered(
    new_stack: NewStack, sandbox: Sandbox, is_kept: bool
) -> None:
    stack, deliver = new_stack(), {"deliver": {"ssm": {}}}
    guarded: dict[str, Any] = {"retireGuard": {"idleDays": 5}, "keepSecret": is_kept}
    stack.write({**config(**guarded), **deliver})
    stack.up()
    held = copies(sandbox)
    sandbox.client("s3", (held[0]["aws_access_key_id"], held[0]["aws_secret_access_key"])).list_buckets()
    sandbox.control.fail("ssm:PutParameter", "AccessDenied", times=50)
    stack.write({**config(serial=2, **guarded), **deliver})
    assert stack.up(check=False).code != 0
    sandbox.control.clear_faults()
    stack.environment["ACCESS_KEYS_TODAY"] = in_days(2)
    stack.write({**config(serial=2, expires=in_days(1), **guarded), **deliver})
    for _ in range(2):
        assert "is still in use and is not deactivated" in stack.up(check=False).text
        assert copies(sandbox) == held
        assert sorted(keys_in_iam(sandbox).values()) == ["Active", "Inactive"]
    stack.environment["ACCESS_KEYS_TODAY"] = in_days(9)
    stack.up()
    assert set(keys_in_iam(sandbox).values()) == {"Inactive"}
    assert copies(sandbox) == [{"expired": in_days(1)}]


@pytest.mark.long
def test_a_user_whose_key_has_expired_before_it_was_issued_gets_none(new_stack: NewStack, sandbox: Sandbox) -> None:
    stack = new_stack()
    stack.write({**config(expires="2020-01-01"), **STORES})
    stack.up()
    assert keys_in_iam(sandbox) == {}
    assert stack.preview().changes == {}

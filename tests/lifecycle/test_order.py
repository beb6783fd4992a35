"""The sandbox catches what AWS forbids: things deleted before what hangs on them."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.lifecycle.stack import Sandbox, Stack

CARELESS = Path(__file__).parent / "programs" / "order"


@pytest.mark.long
@pytest.mark.parametrize(
    ("without", "says"),
    [
        ("user", "DeleteConflict: Cannot delete entity, must delete access keys first."),
        ("group", "DeleteConflict: Cannot delete entity, must detach all policies first."),
    ],
)
def test_deleting_in_an_order_that_aws_forbids_fails_as_on_aws(
    new_stack: Callable[..., Stack], sandbox: Sandbox, without: str, says: str
) -> None:
    stack = new_stack(program=CARELESS)
    stack.write({})
    stack.up()
    stack.write({"aws-access-keys:all": "true"})
    stack.up()
    stack.write({"aws-access-keys:all": "true", "aws-access-keys:without": without})
    failed = stack.up(check=False)
    assert failed.code != 0
    assert says in failed.text, "the error has AWS's code and words"
    assert f'"{without}"' in failed.text, "and names the resource"
    iam = sandbox.client("iam")
    assert len(iam.list_access_keys(UserName="careless")["AccessKeyMetadata"]) == 1, "nothing was lost"
    assert len(iam.list_attached_group_policies(GroupName="careless")["AttachedPolicies"]) == 1


def test_the_program_itself_keeps_the_order(new_stack: Callable[..., Stack], sandbox: Sandbox) -> None:
    stack = new_stack()
    users = {f"user-{number}": {"groups": ["a", "b"]} for number in range(8)}
    groups = {name: {"policies": ["AmazonS3FullAccess", "IAMFullAccess"]} for name in ("a", "b")}
    stack.write({"groups": groups, "users": users})
    stack.up()
    sandbox.control.clear_calls()
    stack.destroy()
    refused = [call for call in sandbox.control.calls() if call.outcome != "ok"]
    assert [call for call in refused if call.outcome == "DeleteConflict"] == []
    assert sandbox.client("iam").list_users()["Users"] == []

"""Permission tests: decided before anything is made, again afterwards, and not at all where nothing changes."""

from typing import Any

from tests.lifecycle.helpers import NewStack
from tests.lifecycle.stack import Sandbox

READERS: dict[str, Any] = {"s3": [{"bucket": "data", "prefix": "in/", "access": "read"}]}
USERS: dict[str, Any] = {"ann": {"groups": ["readers"]}}
SIMULATIONS = {"SimulateCustomPolicy", "SimulatePrincipalPolicy", "GetPolicy", "GetPolicyVersion"}


def calls(sandbox: Sandbox) -> list[str]:
    """The calls that expectations need, since the log was cleared."""
    found = [call.action for call in sandbox.control.calls() if call.action in SIMULATIONS]
    sandbox.control.clear_calls()
    return found


def test_an_expectation_is_proved_before_and_after(new_stack: NewStack, sandbox: Sandbox) -> None:
    stack = new_stack()

    def write(**expect: Any) -> None:
        stack.write({"groups": {"readers": READERS | {"expect": expect}}, "users": USERS})

    write(allow=["s3:GetObject arn:aws:s3:::data/*"])
    refused = stack.up(check=False)
    assert refused.code != 0
    assert "groups.readers.expect.allow[0]: s3:GetObject on 'arn:aws:s3:::data/*' should be allowed" in refused.text
    assert sandbox.client("iam").list_groups()["Groups"] == []

    write(allow=["s3:GetObject arn:aws:s3:::data/in/*"], deny=["iam:*"])
    sandbox.control.clear_calls()
    stack.up()
    print(calls(sandbox))
    assert stack.preview("--expect-no-changes").changes == {}
    assert sandbox.control.calls() == []

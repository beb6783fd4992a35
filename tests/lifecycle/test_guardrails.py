"""The policy pack under the real engine: in a preview, and offline on an exported state."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.lifecycle.helpers import NewStack
from tests.lifecycle.stack import CHECKOUT, Done, Stack

PACK = CHECKOUT / "policy"


def under(stack: Stack, level: str, *command: str) -> Done:
    """`pulumi COMMAND` under the pack, with its configuration file for dev or prod."""
    return stack.run(
        *command, "--policy-pack", str(PACK), "--policy-pack-config", str(PACK / f"{level}.json"), check=False
    )


def example(name: str) -> dict[str, Any]:
    """The config of a stack file in the checkout."""
    return yaml.safe_load((CHECKOUT / f"Pulumi.{name}.yaml").read_text())["config"]


@pytest.mark.long
def test_the_pack_stops_a_preview_in_prod_and_lets_the_example_for_prod_pass(new_stack: NewStack) -> None:
    stack = new_stack()
    stack.write(example("dev"))
    stopped = under(stack, "prod", "preview")
    assert stopped.code != 0, "a mandatory rule stops the preview"
    for found in ("no-administrator  (aws:iam:GroupPolicyAttachment: access/test/IAMFullAccess)", "required-tags"):
        assert f"[mandatory]  {found}" in stopped.text
    assert "has 7 rules" in stopped.text

    stack.write(example("prod"))
    passed = under(stack, "prod", "preview")
    assert passed.code == 0, f"policies whose ARN is not known yet are checked by their documents:\n{passed.text}"
    assert "✅ aws-access-keys" in passed.text
    assert "[mandatory]" not in passed.text


def test_the_pack_checks_an_exported_state_offline(new_stack: NewStack, tmp_path: Path) -> None:
    resources = [
        ("aws:iam/user:User", {"name": "ann", "tags": {"environment": "prod"}, "forceDestroy": True}),
        ("aws:iam/accessKey:AccessKey", {"user": "ann", "status": "Active", "createDate": "2020-01-01T00:00:00Z"}),
    ]
    state = {
        "version": 3,
        "deployment": {
            "manifest": {"time": "2026-11-26T00:00:00Z", "magic": "", "version": ""},
            "resources": [
                {
                    "urn": f"urn:pulumi:prod::project::{token}::ann",
                    "custom": True,
                    "id": "ann",
                    "type": token,
                    "inputs": {},
                    "outputs": outputs,
                }
                for token, outputs in resources
            ],
        },
    }
    file = tmp_path / "state.json"
    file.write_text(json.dumps(state))
    checked = under(new_stack(), "prod", "policy", "analyze", "--file", str(file))
    assert checked.code != 0, "mandatory rules make the command fail"
    for rule in ("key-age", "no-force-destroy", "permissions-boundary", "user-in-group"):
        assert f"[mandatory]  {rule}" in checked.text
    assert "required-tags" not in checked.text, "what passes is not reported"

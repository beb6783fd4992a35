"""The AWS account that a stack is in, reached as its own `aws:` config says."""

import json
from typing import Any

from aws_access_keys.cli.stack import pulumi


def aws_config(stack: str) -> dict[str, Any]:
    """The stack's config under `aws:`, without the encrypted values. Raises StackError."""
    said: dict[str, dict[str, Any]] = json.loads(pulumi("config", "--json", "--stack", stack))
    return {
        name.removeprefix("aws:"): entry.get("objectValue", entry.get("value"))
        for name, entry in said.items()
        if name.startswith("aws:") and not entry.get("secret")
    }

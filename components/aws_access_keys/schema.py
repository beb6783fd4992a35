"""`python -m aws_access_keys.schema`: the JSON schema of the stack files, for editors."""

import json
import sys
from typing import Any

from aws_access_keys.rules.problem import NAMESPACE
from aws_access_keys.setting_types import Nested
from aws_access_keys.settings import StackSettings
from aws_access_keys.stack_file import PULUMI_NAMES

# Names that come close to ours: `aws-access-key:users`, `aws_access_keys:tags`, `acess-keys:deliver`, `backup:users`.
_NEARLY_OURS = "^(aws[-_]?)?acc?ess?[-_]?keys?:|:(users|groups|keyDefaults|deliver|allowNoUsers)$"


def stack_file_schema() -> dict[str, Any]:
    """The schema of `Pulumi.STACK.yaml`: ours for our own keys, free for those of Pulumi and the aws provider."""
    ours = Nested(section=StackSettings).schema()["properties"]
    secure = {
        "type": "object",
        "properties": {"secure": {"type": "string"}},
        "required": ["secure"],
        "description": "A value that `pulumi config set --secret` encrypted.",
    }
    key = ours["users"]["additionalProperties"]["properties"]["key"]["anyOf"][0]
    key["properties"]["adopt"]["anyOf"][0]["properties"]["secret"]["anyOf"].append(secure)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Stack file of aws-access-keys",
        "type": "object",
        "additionalProperties": False,
        "properties": {
            **{name: {} for name in PULUMI_NAMES},
            "config": {
                "type": "object",
                "properties": {
                    "aws:region": {"type": "string", "description": "AWS region, for example ap-northeast-2."},
                    **{f"{NAMESPACE}:{name}": value for name, value in ours.items()},
                },
                "propertyNames": {
                    "anyOf": [
                        {"not": {"pattern": _NEARLY_OURS}},
                        {"enum": [f"{NAMESPACE}:{name}" for name in ours]},
                    ]
                },
            },
        },
    }


if __name__ == "__main__":
    sys.stdout.write(json.dumps(stack_file_schema(), indent=2) + "\n")

"""What the stack's `aws:` configuration sets for the aws provider, for the program's own questions and checks."""

import json
import os
from typing import Any

import pulumi


def region() -> str:
    """The AWS region; empty where neither the stack nor AWS_REGION names one."""
    return pulumi.Config("aws").get("region") or os.environ.get("AWS_REGION", "")


def ignored_tags() -> list[str]:
    """The key prefixes under `aws:ignoreTags`. Whatever has another type is the provider's to refuse."""
    try:
        ignored: Any = json.loads(pulumi.Config("aws").get("ignoreTags") or "{}")
        prefixes: list[Any] = ignored["keyPrefixes"] if isinstance(ignored["keyPrefixes"], list) else []
        return [prefix for prefix in prefixes if isinstance(prefix, str) and prefix]
    except (json.JSONDecodeError, KeyError, TypeError):
        return []


def is_sandbox() -> bool:
    """Whether this runs in the sandbox, where no update touches a real account."""
    return bool(os.environ.get("PULUMI_SANDBOX"))

"""What the stack's `aws:` configuration sets for the aws provider, for the program's own questions and checks."""

import json
import os
from collections.abc import Iterator, Mapping
from typing import Any

import pulumi

from aws_access_keys.rules.problem import Problem

_DEFAULT_PROVIDER = "pulumi:providers:aws::default_"


def region() -> str:
    """The AWS region; empty where neither the stack nor AWS_REGION names one."""
    return pulumi.Config("aws").get("region") or os.environ.get("AWS_REGION", "")


def region_problems(resources: Mapping[str, Any]) -> Iterator[Problem]:
    """A region other than that of the default provider in the state: Pulumi would replace the provider, and with it
    every user and key.

    resources: URN → `outputs` of each resource of the stack.
    """
    before = {found["outputs"].get("region") for urn, found in resources.items() if _DEFAULT_PROVIDER in urn} - {None}
    if before and region() and region() not in before:
        old = " or ".join(sorted(before))
        yield Problem(
            "aws:region",
            f"the region is '{region()}', but this stack was created in '{old}'. Pulumi would replace every user and "
            f"key. Restore aws:region: {old}; for another region, create another stack.",
            is_absolute=True,
        )


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

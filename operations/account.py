"""The AWS account that a stack is in, reached as its own `aws:` config says."""

import json
import os
from collections.abc import Mapping
from typing import Any

import boto3

from operations.stack import pulumi

SANDBOX = "ACCESS_KEYS_SANDBOX"  # set for every command that runs in the sandbox


def aws_config(stack: str) -> dict[str, Any]:
    """The stack's config under `aws:`, without the encrypted values. Raises StackError."""
    said: dict[str, dict[str, Any]] = json.loads(pulumi("config", "--json", "--stack", stack))
    return {
        name.removeprefix("aws:"): entry.get("objectValue", entry.get("value"))
        for name, entry in said.items()
        if name.startswith("aws:") and not entry.get("secret")
    }


def session(config: Mapping[str, Any]) -> Any:
    """A boto3 session with the region, profile and roles of the config, else with AWS's default credential chain.

    In the sandbox only the region counts, as for the provider there. Raises botocore's errors.
    """
    region = config.get("region")
    if SANDBOX in os.environ:
        return boto3.Session(region_name=region)
    made: Any = boto3.Session(region_name=region, profile_name=config.get("profile"))
    roles: list[dict[str, str]] = config.get("assumeRoles", [])
    for role in roles:
        made = _assumed(made, role, region)
    return made


def _assumed(caller: Any, role: Mapping[str, str], region: str | None) -> Any:
    asked = {"RoleArn": role["roleArn"], "RoleSessionName": role.get("sessionName", "aws-access-keys")}
    if "externalId" in role:
        asked["ExternalId"] = role["externalId"]
    got = caller.client("sts").assume_role(**asked)["Credentials"]
    return boto3.Session(
        region_name=region,
        aws_access_key_id=got["AccessKeyId"],
        aws_secret_access_key=got["SecretAccessKey"],
        aws_session_token=got["SessionToken"],
    )

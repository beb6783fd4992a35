"""The AWS session that the stack's own `aws:` config gives, so that the program and the provider are one caller."""

import json
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import boto3


def aws_session() -> "boto3.Session":
    """The session of the running stack. Raises botocore's errors, and RunError for malformed roles."""
    import pulumi  # not needed, and slow to load, for the operators' commands that share session_for

    config = pulumi.Config("aws")
    given: dict[str, Any] = {
        name: config.get(name) for name in ("region", "profile", "accessKey", "secretKey", "token")
    }
    try:
        return session_for(given | {"assumeRoles": _roles(config.get("assumeRoles"))})
    except ValueError as error:
        raise pulumi.RunError(f"{error} Nothing was created or changed.") from None


def session_for(config: Mapping[str, Any]) -> "boto3.Session":
    """A boto3 session with the region, profile, keys and roles of a stack's `aws:` config.

    What is not given comes from AWS's default credential chain. In the sandbox only the region counts, as for the
    provider there. Raises botocore's errors, and ValueError for malformed roles.
    """
    import boto3

    region = config.get("region")
    if is_sandbox():
        return boto3.Session(region_name=region)
    session: Any = boto3.Session(
        region_name=region,
        profile_name=config.get("profile"),
        aws_access_key_id=config.get("accessKey"),
        aws_secret_access_key=config.get("secretKey"),
        aws_session_token=config.get("token"),
    )
    for role in _roles(config.get("assumeRoles")):
        asked = {"RoleArn": role["roleArn"], "RoleSessionName": role.get("sessionName", "aws-access-keys")}
        if role.get("externalId"):
            asked["ExternalId"] = role["externalId"]
        got = session.client("sts").assume_role(**asked)["Credentials"]
        session = boto3.Session(
            region_name=region,
            aws_access_key_id=got["AccessKeyId"],
            aws_secret_access_key=got["SecretAccessKey"],
            aws_session_token=got["SessionToken"],
        )
    return session


def is_sandbox() -> bool:
    """Whether this runs in the sandbox, where nothing touches a real account."""
    return bool(os.environ.get("PULUMI_SANDBOX"))


def _roles(given: Any) -> list[dict[str, str]]:
    """The roles in `aws:assumeRoles`, which a stack file can have as a list or as JSON text."""
    try:
        roles: Any = json.loads(given) if isinstance(given, str) else given or []
        if all(isinstance(role["roleArn"], str) for role in roles):
            return roles
    except (ValueError, TypeError, KeyError):
        pass
    raise ValueError(
        "aws:assumeRoles is not a list of roles, for example [{roleArn: arn:aws:iam::123456789012:role/deploy}]."
    )

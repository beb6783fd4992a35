"""The AWS session that the stack's own `aws:` config gives, so that the program and the provider are one caller."""

import os
from typing import TYPE_CHECKING, Any

import pulumi

if TYPE_CHECKING:
    import boto3


def aws_session() -> "boto3.Session":
    """A boto3 session with the region, profile, keys and roles that the aws provider is configured with.

    Raises botocore's ProfileNotFound and its like. In the sandbox only the region counts, as for the provider there.
    """
    import boto3

    config = pulumi.Config("aws")
    region = config.get("region")
    if os.environ.get("ACCESS_KEYS_SANDBOX"):
        return boto3.Session(region_name=region)
    session: Any = boto3.Session(
        region_name=region,
        profile_name=config.get("profile"),
        aws_access_key_id=config.get("accessKey"),
        aws_secret_access_key=config.get("secretKey"),
        aws_session_token=config.get("token"),
    )
    roles: Any = config.get_object("assumeRoles") or []
    for role in roles:
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

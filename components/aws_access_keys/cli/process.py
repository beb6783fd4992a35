"""`access-keys credentials --process`: the current key for `credential_process` in an AWS profile, which then holds a
command and no secret, and follows every rotation.

Source: https://docs.aws.amazon.com/sdkref/latest/guide/feature-process-credentials.html
"""

import json
import os
import re
from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from typing import Any, cast

from aws_access_keys.cli.credentials import CredentialsError, current_key
from aws_access_keys.credentials import stored_key
from aws_access_keys.iam import format_error, sdk_errors
from aws_access_keys.rules.names import stored_name

STORES = {"secretsManager": "secrets_manager", "ssm": "ssm"}
RUNNING = "ACCESS_KEYS_CREDENTIAL_PROCESS"
"""Set while a store is asked: a profile that asks for itself would never end."""


def from_stack(stack: str, user: str) -> dict[str, str]:
    """The user's key in the stack's outputs. Raises StackError."""
    key = current_key(stack, user)
    if not key.active:
        raise CredentialsError(f"The access key {key.id} of {key.user} is inactive.")
    return {"aws_access_key_id": key.id, "aws_secret_access_key": key.secret}


def from_store(user: str, store: str, name: str | None, profile: str | None, region: str | None) -> dict[str, str]:
    """The user's key in a store. name: of the secret or parameter, None for the default. Raises CredentialsError.

    profile: whose credentials may read it; None for AWS's default credential chain without AWS_PROFILE, which names the
    profile that this command serves.
    """
    import boto3

    if os.environ.get(RUNNING):
        raise CredentialsError(
            "The profile that is to read the store gets its own credentials from this command. Name another one with "
            "--with-profile."
        )
    stored = stored_name(user, name, STORES[store])
    arn = re.fullmatch(r"arn:[\w-]+:(?:secretsmanager|ssm):([a-z0-9-]+):\d{12}:.+", stored)
    if stored.startswith("arn:") and not arn:
        raise CredentialsError(f"'{stored}' in {store} is not a complete ARN. Write the whole ARN, or only the name.")
    kept = {variable: os.environ.pop(variable, None) for variable in ("AWS_PROFILE", "AWS_DEFAULT_PROFILE")}
    os.environ[RUNNING] = "1"
    try:
        session: Any = boto3.Session(profile_name=profile, region_name=region or (arn and arn[1]))
        if store == "ssm":
            found = session.client("ssm").get_parameter(Name=stored, WithDecryption=True)["Parameter"]["Value"]
        else:
            found = session.client("secretsmanager").get_secret_value(SecretId=stored).get("SecretString") or ""
    except (*sdk_errors(), ValueError) as error:  # ValueError: AWS_ENDPOINT_URL is not a URL
        raise CredentialsError(f"'{stored}' in {store} cannot be read: {format_error(error)}.") from None
    finally:
        del os.environ[RUNNING]
        os.environ.update({variable: value for variable, value in kept.items() if value is not None})
    return _key(found, f"'{stored}' in {store}")


def _key(text: str, place: str) -> dict[str, str]:
    try:
        content: Any = json.loads(text)
    except ValueError:
        content = None
    found = cast("dict[str, Any]", content) if isinstance(content, dict) else {}
    if "expired" in found:
        raise CredentialsError(f"{place}: the access key expired on {found['expired']}.")
    key_id, secret = stored_key(text) or ("", "")
    if not secret or not key_id.startswith("AKIA"):
        raise CredentialsError(f"{place} holds no access key in the form in which this program delivers one.")
    return {"aws_access_key_id": key_id, "aws_secret_access_key": secret}


def as_process_output(key: Mapping[str, str], minutes: int) -> str:
    """What `credential_process` is to print. minutes: after which a tool asks again."""
    expiration = datetime.now(timezone.utc) + timedelta(minutes=minutes)
    return json.dumps(
        {
            "Version": 1,
            "AccessKeyId": key["aws_access_key_id"],
            "SecretAccessKey": key["aws_secret_access_key"],
            "Expiration": expiration.isoformat(timespec="seconds"),
        }
    )

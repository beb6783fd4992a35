"""Stack files and questions that several lifecycle tests share."""

import json
import re
import shlex
import time
from collections.abc import Callable
from typing import Any

from botocore.exceptions import ClientError

from tests.lifecycle.stack import Sandbox, Stack

NewStack = Callable[..., Stack]

GROUPS = {"test": {"policies": ["AmazonS3FullAccess"]}}


def config(user: str = "test-user", **key: Any) -> dict[str, Any]:
    return {"groups": GROUPS, "users": {user: {"groups": ["test"], "key": key}}}


def let_go(stack: Stack, text: str) -> None:
    """Take out of the state what a message advises to; one resource takes along what depends on it."""
    for command in sorted(re.findall(r"pulumi (state delete '\S+' --target-dependents)", text)):
        stack.run(*shlex.split(command), "--yes", check=False)


def by_hand(sandbox: Sandbox, command: str) -> None:
    """Run `aws SERVICE OPERATION --NAME VALUE ...`."""
    service, operation, *options = shlex.split(command)[1:]
    arguments: dict[str, Any] = {}
    region = "ap-northeast-2"
    for option, value in zip(options[::2], options[1::2], strict=True):
        if option == "--region":
            region = value
            continue
        name = "".join(part.capitalize() for part in option.strip("-").split("-"))
        arguments[name] = [value] if name.endswith("Regions") else value
    getattr(sandbox.client(service, region=region), operation.replace("-", "_"))(**arguments)


def works(sandbox: Sandbox, key: tuple[str, str]) -> bool:
    """Whether S3 takes the key."""
    try:
        sandbox.client("s3", key).list_buckets()
    except ClientError as error:
        if error.response["Error"]["Code"] != "InvalidAccessKeyId":
            raise
        return False
    return True


def keys_in_iam(sandbox: Sandbox, user: str = "test-user") -> dict[str, str]:
    listed = sandbox.client("iam").list_access_keys(UserName=user)["AccessKeyMetadata"]
    return {key["AccessKeyId"]: key["Status"] for key in listed}


def put_by_hand(sandbox: Sandbox, store: str, user: str = "test-user") -> tuple[str, str]:
    """A key that somebody creates for a user and puts into the user's secret or parameter. Returns id and secret."""
    made = sandbox.client("iam").create_access_key(UserName=user)["AccessKey"]
    sandbox.issued.add(made["SecretAccessKey"])
    put_into_store(sandbox, store, (made["AccessKeyId"], made["SecretAccessKey"]), user)
    return made["AccessKeyId"], made["SecretAccessKey"]


def put_into_store(sandbox: Sandbox, store: str, key: tuple[str, str], user: str = "test-user") -> None:
    """Put a key into a user's secret or parameter."""
    put_text(sandbox, store, json.dumps({"aws_access_key_id": key[0], "aws_secret_access_key": key[1]}), user)


def text_in_store(sandbox: Sandbox, store: str, user: str = "test-user") -> str:
    """What a consumer reads from a user's secret or parameter."""
    if store == "secretsManager":
        return sandbox.client("secretsmanager").get_secret_value(SecretId=f"access-keys/{user}")["SecretString"]
    found = sandbox.client("ssm").get_parameter(Name=f"/access-keys/{user}", WithDecryption=True)["Parameter"]
    assert found["Type"] == "SecureString"
    return found["Value"]


def put_text(sandbox: Sandbox, store: str, text: str, user: str = "test-user") -> None:
    """Put a text into a user's secret or parameter."""
    if store == "ssm":
        sandbox.client("ssm").put_parameter(Name=f"/access-keys/{user}", Value=text, Overwrite=True)
    else:
        sandbox.client("secretsmanager").put_secret_value(SecretId=f"access-keys/{user}", SecretString=text)


def set_adopted_secret(stack: Stack, secret: str, user: str = "test-user") -> None:
    """Write the secret of the key to adopt into the stack file, encrypted, as the documentation says."""
    stack.run("config", "set", "--secret", "--path", f"aws-access-keys:users.{user}.key.adopt.secret", secret)


def in_days(days: int) -> str:
    """The date in some days, as ACCESS_KEYS_TODAY takes it."""
    return time.strftime("%Y-%m-%d", time.gmtime(time.time() + days * 86400))

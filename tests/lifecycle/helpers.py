"""Stack files and questions that several lifecycle tests share."""

import time
from collections.abc import Callable
from typing import Any

from botocore.exceptions import ClientError

from tests.lifecycle.stack import Sandbox, Stack

NewStack = Callable[..., Stack]

GROUPS = {"test": {"policies": ["AmazonS3FullAccess"]}}


def config(user: str = "test-user", **key: Any) -> dict[str, Any]:
    return {"groups": GROUPS, "users": {user: {"groups": ["test"], "key": key}}}


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


def in_days(days: int) -> str:
    """The date in some days, as ACCESS_KEYS_TODAY takes it."""
    return time.strftime("%Y-%m-%d", time.gmtime(time.time() + days * 86400))

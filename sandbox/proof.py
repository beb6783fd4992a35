"""The proof that an issued key works: AWS's own SDK uses it, for what its policies allow and for what they do not.

Runs inside the sandbox only; on a real account it would leave a bucket behind.
"""

import os
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

BUCKET = "sandbox-proof"
BODY = b"written with the issued key"


class Step(NamedTuple):
    """One call made with an issued key: what was tried, what came of it, and whether that is as it must be."""

    text: str
    good: bool


def prove(key_id: str, secret: str, policies: set[str]) -> Iterator[Step]:
    """Use a key for S3 and for EC2. Where the policies decide (S3 full access, no EC2) the outcome must match them."""
    session = boto3.Session(aws_access_key_id=key_id, aws_secret_access_key=secret, region_name="ap-northeast-2")
    root = boto3.client("s3", endpoint_url=_endpoint(), config=_config())
    if BUCKET not in {bucket["Name"] for bucket in root.list_buckets()["Buckets"]}:
        root.create_bucket(Bucket=BUCKET)

    def client(service: str) -> Any:
        return session.client(service, endpoint_url=_endpoint(), config=_config())

    error, identity = _tried(lambda: client("sts").get_caller_identity()["Arn"])
    yield Step(f"AWS knows the key as {identity}" if not error else f"AWS does not know the key: {error}", not error)

    def write_and_read() -> Any:
        client("s3").put_object(Bucket=BUCKET, Key=key_id, Body=BODY)
        return client("s3").get_object(Bucket=BUCKET, Key=key_id)["Body"].read()

    error, body = _tried(write_and_read)
    if error:
        yield Step(f"S3 refuses to write an object: {error}", "AmazonS3FullAccess" not in policies)
    else:
        yield Step(f"wrote s3://{BUCKET}/{key_id} and read it back", body == BODY)

    error, _ = _tried(lambda: client("ec2").describe_instances())
    may = bool(policies & {"AdministratorAccess", "PowerUserAccess", "ReadOnlyAccess", "ViewOnlyAccess"}) or any(
        "EC2" in policy for policy in policies
    )
    yield Step(f"EC2 refuses to list instances: {error}" if error else "EC2 lists instances", may or bool(error))


def _tried(call: Callable[[], Any]) -> tuple[str, Any]:
    try:
        return "", call()
    except ClientError as error:
        return error.response["Error"]["Code"], None


def _endpoint() -> str:
    return os.environ["AWS_ENDPOINT_URL"]


def _config() -> Config:
    return Config(retries={"max_attempts": 2}, s3={"addressing_style": "path"})

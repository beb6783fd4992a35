"""Whether an issued key works: AWS's own SDK uses it, for what its policies allow and for what they do not.

For the sandbox only; on a real account it would leave a bucket behind.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

BUCKET = "smoke-test"
PREDICTED = {"AmazonS3FullAccess", "AmazonS3ReadOnlyAccess", "IAMFullAccess", "IAMReadOnlyAccess"}
"""Policies of which it is known here what S3 and EC2 do with a key; of others every outcome is right."""
BODY = b"written with the issued key"


class Step(NamedTuple):
    """One call made with an issued key: what was tried, what came of it, and whether that is as it must be."""

    text: str
    good: bool


def smoke_test(
    key_id: str, secret: str, policies: set[str], grants: Sequence[Mapping[str, Any]], environment: Mapping[str, str]
) -> Iterator[Step]:
    """Use a key for what its grants open and for what they do not; without grants, for S3 and for EC2. The outcome must
    match the policies where it can be predicted.

    environment: the sandbox's; it holds the root key that makes the bucket.
    """
    config = Config(retries={"max_attempts": 2}, s3={"addressing_style": "path"})

    def client(service: str, key_id: str = key_id, secret: str = secret) -> Any:
        return boto3.client(
            service,
            region_name="us-east-1",
            endpoint_url=environment["AWS_ENDPOINT_URL"],
            aws_access_key_id=key_id,
            aws_secret_access_key=secret,
            config=config,
        )

    root = client("s3", environment["AWS_ACCESS_KEY_ID"], environment["AWS_SECRET_ACCESS_KEY"])
    if BUCKET not in {bucket["Name"] for bucket in root.list_buckets()["Buckets"]}:
        root.create_bucket(Bucket=BUCKET)

    predicted = policies <= PREDICTED
    error, identity = _tried(lambda: client("sts").get_caller_identity()["Arn"])
    yield Step(
        f"AWS accepts the key as {identity}" if not error else f"AWS does not accept the key: {error}", not error
    )
    for grant in grants:
        yield from _grant_steps(grant, key_id, root, client("s3"))
    if grants:
        return

    def write_and_read() -> Any:
        client("s3").put_object(Bucket=BUCKET, Key=key_id, Body=BODY)
        return client("s3").get_object(Bucket=BUCKET, Key=key_id)["Body"].read()

    error, body = _tried(write_and_read)
    if error:
        yield Step(f"S3 denies PutObject: {error}", not (predicted and "AmazonS3FullAccess" in policies))
    else:
        yield Step(f"wrote s3://{BUCKET}/{key_id} and read it back", body == BODY)

    error, _ = _tried(lambda: client("ec2").describe_instances())
    denied = f"EC2 denies DescribeInstances{', as expected' if predicted else ''}: {error}"
    yield Step(denied if error else "EC2 allows DescribeInstances", bool(error) or not predicted)


def _grant_steps(grant: Mapping[str, Any], name: str, root: Any, own: Any) -> Iterator[Step]:
    """Read and write an object in what a grant opens, and one outside."""
    bucket, prefix, access = grant["bucket"], grant.get("prefix", ""), grant["access"]
    if bucket not in {found["Name"] for found in root.list_buckets()["Buckets"]}:
        root.create_bucket(Bucket=bucket)
    for place in (prefix, "elsewhere/") if prefix else ("",):
        where, allowed = {"Bucket": bucket, "Key": f"{place}{name}"}, access if place == prefix else ""
        root.put_object(**where, Body=BODY)
        calls: tuple[tuple[str, bool, Callable[[], Any]], ...] = (
            ("read", allowed in ("read", "readWrite"), lambda where=where: own.get_object(**where)),
            ("write", allowed in ("write", "readWrite"), lambda where=where: own.put_object(**where, Body=BODY)),
        )
        for verb, is_allowed, call in calls:
            error, _ = _tried(call)
            outcome = f"S3 does not let it {verb} {{}}: {error}" if error else f"S3 lets it {verb} {{}}"
            yield Step(outcome.format(f"s3://{bucket}/{where['Key']}"), is_allowed == (not error))


def _tried(call: Callable[[], Any]) -> tuple[str, Any]:
    try:
        return "", call()
    except ClientError as error:
        return error.response["Error"]["Code"], None

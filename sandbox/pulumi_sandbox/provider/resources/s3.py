"""S3: buckets, without the settings that have resources of their own."""

from typing import Any

from botocore.exceptions import ClientError

from pulumi_sandbox.provider import input_rules, policy_documents, tags
from pulumi_sandbox.provider.clients import Aws, all_pages, is_gone
from pulumi_sandbox.provider.schema import TAGS, Property, ResourceType, output
from pulumi_sandbox.provider.unique_ids import prefix_of, unique_id
from pulumi_sandbox.provider.values import ProviderError, State


def _client(aws: Aws) -> Any:
    return aws.client("s3")


def _create(aws: Aws, desired: State, state: State) -> None:
    bucket = desired.get("bucket") or unique_id(desired.get("bucketPrefix") or "terraform-")
    if aws.region == "us-east-1" and _exists(aws, bucket):  # only there S3 takes one's own bucket as a new one
        raise ProviderError(f"creating S3 Bucket ({bucket}): BucketAlreadyExists")
    where = {} if aws.region == "us-east-1" else {"CreateBucketConfiguration": {"LocationConstraint": aws.region}}
    _client(aws).create_bucket(
        Bucket=bucket, **where, **({"ObjectLockEnabledForBucket": True} if desired.get("objectLockEnabled") else {})
    )
    state["id"] = bucket
    _client(aws).head_bucket(Bucket=bucket)
    _tag(aws, bucket, {}, aws.tagging.all(desired["tags"]))


def _exists(aws: Aws, bucket: str) -> bool:
    try:
        _client(aws).head_bucket(Bucket=bucket)
    except ClientError as error:
        if not is_gone(error):
            raise
        return False
    return True


def _tag(aws: Aws, bucket: str, old: State, new: State) -> None:
    """Set the tags this provider sees; S3 takes only the whole set, so those it does not see are sent along."""
    if old == new:
        return
    foreign = {key: value for key, value in _all_tags(aws, bucket).items() if not aws.tagging.seen(key)}
    everything = {key: value for key, value in foreign.items() if not key.startswith("aws:")} | new
    if everything:
        _client(aws).put_bucket_tagging(Bucket=bucket, Tagging={"TagSet": tags.to_list(everything)})
    else:
        _client(aws).delete_bucket_tagging(Bucket=bucket)


def _all_tags(aws: Aws, bucket: str) -> State:
    found = _if_set(lambda: _client(aws).get_bucket_tagging(Bucket=bucket), "NoSuchTagSet")
    return tags.from_list(found.get("TagSet"))


def _if_set(ask: Any, absent: str) -> Any:
    """The answer, or {} where S3 has no such setting."""
    try:
        return ask()
    except ClientError as error:
        if error.response["Error"]["Code"] == absent:
            return {}
        raise


def _grant(grant: Any) -> State:
    grantee = grant["Grantee"]
    return {
        "id": grantee.get("ID", ""),
        "type": grantee["Type"],
        "uri": grantee.get("URI", ""),
        "permissions": [grant["Permission"]],
    }


# What the real provider also reads, with S3's code where it is not set. None of it is an input here.
_OTHER_SETTINGS = {
    "cors": "NoSuchCORSConfiguration",
    "website": "NoSuchWebsiteConfiguration",
    "accelerate_configuration": "",
    "request_payment": "",
    "logging": "",
    "lifecycle_configuration": "NoSuchLifecycleConfiguration",
    "replication": "ReplicationConfigurationNotFoundError",
    "encryption": "ServerSideEncryptionConfigurationNotFoundError",
}


def _read(aws: Aws, state: State) -> State | None:
    client, bucket = _client(aws), state["id"]
    region = client.head_bucket(Bucket=bucket)["BucketRegion"]
    for setting, absent in _OTHER_SETTINGS.items():
        _if_set(lambda: getattr(client, f"get_bucket_{setting}")(Bucket=bucket), absent)  # noqa: B023
    client.head_bucket(Bucket=bucket)
    versioning = client.get_bucket_versioning(Bucket=bucket)
    policy = _if_set(lambda: client.get_bucket_policy(Bucket=bucket), "NoSuchBucketPolicy").get("Policy", "")
    lock = _if_set(
        lambda: client.get_object_lock_configuration(Bucket=bucket), "ObjectLockConfigurationNotFoundError"
    ).get("ObjectLockConfiguration", {})
    own, everything = aws.tagging.split(_all_tags(aws, bucket), state.get("tags"))
    return {
        "bucket": bucket,
        "bucketPrefix": prefix_of(bucket),
        "arn": f"arn:{aws.partition}:s3:::{bucket}",
        "bucketDomainName": f"{bucket}.s3.amazonaws.com",
        "bucketRegionalDomainName": f"{bucket}.s3.{region}.amazonaws.com",
        "bucketRegion": region,
        "hostedZoneId": _HOSTED_ZONES.get(region, ""),
        "objectLockEnabled": bool(lock),
        "objectLockConfiguration": {"objectLockEnabled": lock["ObjectLockEnabled"]} if lock else None,
        "policy": policy_documents.compact(policy) if policy else "",
        "grants": [_grant(grant) for grant in client.get_bucket_acl(Bucket=bucket)["Grants"]],
        "versioning": {
            "enabled": versioning.get("Status") == "Enabled",
            "mfaDelete": versioning.get("MFADelete") == "Enabled",
        },
        "accelerationStatus": "",
        "requestPayer": "",
        "corsRules": [],
        "lifecycleRules": [],
        "tags": own,
        "tagsAll": everything,
    }


def _update(aws: Aws, desired: State, state: State) -> None:
    _tag(aws, state["id"], state.get("tagsAll") or {}, desired["tagsAll"])


def _delete(aws: Aws, state: State) -> None:
    bucket = state["id"]
    if state.get("forceDestroy"):
        _empty(aws, bucket)
    _client(aws).delete_bucket(Bucket=bucket)
    _exists(aws, bucket)  # the real provider makes sure of it


def _empty(aws: Aws, bucket: str) -> None:
    versions = [
        {"Key": item["Key"], "VersionId": item["VersionId"]}
        for kind in ("Versions", "DeleteMarkers")
        for item in all_pages(_client(aws), "list_object_versions", kind, Bucket=bucket)
    ]
    for start in range(0, len(versions), 1000):  # as many as DeleteObjects takes at once
        answer = _client(aws).delete_objects(Bucket=bucket, Delete={"Objects": versions[start : start + 1000]})
        for failure in answer.get("Errors", []):
            raise ProviderError(
                f"cannot delete {failure['Key']} from the bucket {bucket}: {failure['Code']}: "
                f"{failure.get('Message', '')}"
            )


# The Route 53 zones of S3's website endpoints, from the AWS General Reference.
_HOSTED_ZONES = {
    "af-south-1": "Z83WF9RJE8B12",
    "ap-east-1": "ZNB98KWMFR0R6",
    "ap-northeast-1": "Z2M4EHUR26P7ZW",
    "ap-northeast-2": "Z3W03O7B5YMIYP",
    "ap-northeast-3": "Z2YQB5RD63NC85",
    "ap-south-1": "Z11RGJOFQNVJUP",
    "ap-southeast-1": "Z3O0J2DXBE1FTB",
    "ap-southeast-2": "Z1WCIGYICN2BYD",
    "ca-central-1": "Z1QDHH18159H29",
    "eu-central-1": "Z21DNDUVLTQW6Q",
    "eu-north-1": "Z3BAZG2TWCNX0D",
    "eu-west-1": "Z1BKCTXD74EZPE",
    "eu-west-2": "Z3GKZC51ZF0DB4",
    "eu-west-3": "Z3R1K369G5AVDG",
    "me-south-1": "Z1MPMWCPA7YB62",
    "sa-east-1": "Z7KQH4QJS55SO",
    "us-east-1": "Z3AQBSTGFYJSTF",
    "us-east-2": "Z2O1EMRO9K5GLX",
    "us-gov-east-1": "Z2NIFVYYW2VKV1",
    "us-gov-west-1": "Z31GFT0UA1I2HV",
    "us-west-1": "Z2F56UZL2M1ACD",
    "us-west-2": "Z3BJ6K6RIION7M",
}

BUCKET = ResourceType(
    "aws:s3/bucket:Bucket",
    {
        "bucket": Property(computed=True, replaces=True, rule=input_rules.at_most(63), conflicts=("bucketPrefix",)),
        "bucketPrefix": Property(computed=True, replaces=True, rule=input_rules.at_most(37), conflicts=("bucket",)),
        "forceDestroy": Property("bool", default=False),
        "objectLockEnabled": Property("bool", computed=True, replaces=True),
        "arn": output(),
        "bucketDomainName": output(),
        "bucketRegionalDomainName": output(),
        "bucketRegion": output(),
        "hostedZoneId": output(),
        "accelerationStatus": output(),
        "acl": output(),
        "policy": output("document"),
        "requestPayer": output(),
        "websiteDomain": output(),
        "websiteEndpoint": output(),
        "corsRules": output("blocks"),
        "grants": output("blocks"),
        "lifecycleRules": output("blocks"),
        "logging": output("blocks"),
        "objectLockConfiguration": output("blocks"),
        "replicationConfiguration": output("blocks"),
        "serverSideEncryptionConfiguration": output("blocks"),
        "versioning": output("blocks"),
        "website": output("blocks"),
        **TAGS,
    },
    _create,
    _read,
    _delete,
    _update,
    autoname="bucket",
    autoname_lower=True,
    autoname_limit=63,
    regional=True,
)

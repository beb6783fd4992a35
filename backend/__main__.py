"""Where a team keeps its Pulumi state: a versioned, encrypted S3 bucket, and the KMS key for it and for the secrets."""

from typing import Any

import pulumi
from pulumi_aws import iam, kms, s3

config = pulumi.Config()
name = config.require("bucket")
alias = config.get("alias") or "pulumi-state"
days = config.get_int("keepOldVersionsDays") or 90
region = pulumi.Config("aws").require("region")

# Without the key, every secret in every state is lost; without the bucket, every state.
keep = pulumi.ResourceOptions(protect=True)

key = kms.Key(
    "state",
    description="Pulumi: state in S3, and the secrets of the stacks",
    enable_key_rotation=True,
    deletion_window_in_days=30,
    opts=keep,
)
kms.Alias("state", name=f"alias/{alias}", target_key_id=key.key_id)

bucket = s3.Bucket("state", bucket=name, opts=keep)
s3.BucketVersioning("state", bucket=bucket.bucket, versioning_configuration={"status": "Enabled"})
s3.BucketServerSideEncryptionConfiguration(
    "state",
    bucket=bucket.bucket,
    rules=[
        {
            "apply_server_side_encryption_by_default": {"sse_algorithm": "aws:kms", "kms_master_key_id": key.arn},
            "bucket_key_enabled": True,  # fewer requests to KMS
        }
    ],
)
public_access = s3.BucketPublicAccessBlock(
    "state",
    bucket=bucket.bucket,
    block_public_acls=True,
    block_public_policy=True,
    ignore_public_acls=True,
    restrict_public_buckets=True,
)
objects = pulumi.Output.concat(bucket.arn, "/*")


def document(*statements: dict[str, Any]) -> pulumi.Output[str]:
    return pulumi.Output.json_dumps({"Version": "2012-10-17", "Statement": list(statements)})


tls_only = {
    "Effect": "Deny",
    "Principal": "*",
    "Action": "s3:*",
    "Resource": [bucket.arn, objects],
    "Condition": {"Bool": {"aws:SecureTransport": "false"}},
}
s3.BucketPolicy(
    "state",
    bucket=bucket.bucket,
    policy=document(tls_only),
    opts=pulumi.ResourceOptions(depends_on=[public_access]),  # S3 refuses to change both at once
)
s3.BucketLifecycleConfiguration(
    "state",
    bucket=bucket.bucket,
    rules=[
        {
            "id": "old-versions",  # they hold the secrets of old keys
            "status": "Enabled",
            "filter": {},
            "noncurrent_version_expiration": {"noncurrent_days": days},
            "expiration": {"expired_object_delete_marker": True},
            "abort_incomplete_multipart_upload": {"days_after_initiation": 7},
        }
    ],
)


def allow(actions: str, resource: pulumi.Input[str], **more: object) -> dict[str, Any]:
    return {"Effect": "Allow", "Action": actions.split(), "Resource": resource, **more}


# For people and pipelines, without what the resources of their stacks need.
operator = iam.Policy(
    "operator",
    name=f"{alias}-operator",
    description="Pulumi: use the state and the secrets in it, and restore an older state",
    policy=document(
        allow("s3:ListBucket s3:ListBucketVersions", bucket.arn),
        allow("s3:GetObject s3:GetObjectVersion s3:PutObject s3:DeleteObject", objects),
        allow("kms:Encrypt kms:Decrypt kms:GenerateDataKey", key.arn),
    ),
)
# S3 decrypts the files for the reader; the secrets in them are encrypted once more, and stay so.
through_s3 = {"StringEquals": {"kms:ViaService": f"s3.{region}.amazonaws.com"}}
reader = iam.Policy(
    "reader",
    name=f"{alias}-reader",
    description="Pulumi: read the state, without the secrets in it",
    policy=document(
        allow("s3:ListBucket", bucket.arn),
        allow("s3:GetObject", objects),
        allow("kms:Decrypt", key.arn, Condition=through_s3),
    ),
)

pulumi.export("operatorPolicyArn", operator.arn)
pulumi.export("readerPolicyArn", reader.arn)
pulumi.export("loginUrl", f"s3://{name}?region={region}")
pulumi.export("secretsProvider", f"awskms://alias/{alias}?region={region}")

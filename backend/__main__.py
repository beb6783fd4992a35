"""Where a team keeps its Pulumi state: a versioned, encrypted S3 bucket, and the KMS key for it and for the secrets."""

import pulumi
from pulumi_aws import kms, s3

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
s3.BucketPolicy(
    "state",
    bucket=bucket.bucket,
    policy=bucket.arn.apply(
        lambda arn: {
            "Version": "2012-10-17",
            "Statement": [
                {
                    "Sid": "TlsOnly",
                    "Effect": "Deny",
                    "Principal": "*",
                    "Action": "s3:*",
                    "Resource": [arn, f"{arn}/*"],
                    "Condition": {"Bool": {"aws:SecureTransport": "false"}},
                }
            ],
        }
    ),
    opts=pulumi.ResourceOptions(depends_on=[public_access]),  # S3 refuses concurrent changes of both
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

pulumi.export("keyArn", key.arn)
pulumi.export("loginUrl", f"s3://{name}?region={region}")
pulumi.export("secretsProvider", f"awskms://alias/{alias}?region={region}")

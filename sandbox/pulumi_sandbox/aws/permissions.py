"""The permissions that a request needs: IAM actions, each with the ARN of the resource that it is about.

Source: service authorization reference, "Actions, resources, and condition keys for AWS services".
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote

from pulumi_sandbox.aws import account
from pulumi_sandbox.aws.authentication import Caller
from pulumi_sandbox.aws.request import ApiRequest

# S3 operations whose IAM action has another name than the operation.
S3_ACTIONS = {
    "ListBuckets": "ListAllMyBuckets",
    "HeadBucket": "ListBucket",
    "ListObjects": "ListBucket",
    "ListObjectsV2": "ListBucket",
    "ListObjectVersions": "ListBucketVersions",
    "ListMultipartUploads": "ListBucketMultipartUploads",
    "ListParts": "ListMultipartUploadParts",
    "HeadObject": "GetObject",
    "GetObjectAttributes": "GetObject",
    "CopyObject": "PutObject",
    "CreateMultipartUpload": "PutObject",
    "UploadPart": "PutObject",
    "UploadPartCopy": "PutObject",
    "CompleteMultipartUpload": "PutObject",
    "DeleteObjects": "DeleteObject",
    "PutBucketLifecycleConfiguration": "PutLifecycleConfiguration",
    "GetBucketLifecycleConfiguration": "GetLifecycleConfiguration",
    "DeleteBucketLifecycle": "PutLifecycleConfiguration",
    "PutBucketEncryption": "PutEncryptionConfiguration",
    "GetBucketEncryption": "GetEncryptionConfiguration",
    "DeleteBucketEncryption": "PutEncryptionConfiguration",
    "GetBucketCors": "GetBucketCORS",
    "PutBucketCors": "PutBucketCORS",
    "DeleteBucketCors": "PutBucketCORS",
    "GetPublicAccessBlock": "GetBucketPublicAccessBlock",
    "PutPublicAccessBlock": "PutBucketPublicAccessBlock",
    "DeletePublicAccessBlock": "PutBucketPublicAccessBlock",
    "DeleteBucketTagging": "PutBucketTagging",
    "GetBucketNotificationConfiguration": "GetBucketNotification",
    "PutBucketNotificationConfiguration": "PutBucketNotification",
    "GetObjectLockConfiguration": "GetBucketObjectLockConfiguration",
    "PutObjectLockConfiguration": "PutBucketObjectLockConfiguration",
    "GetBucketReplication": "GetReplicationConfiguration",
    "PutBucketReplication": "PutReplicationConfiguration",
    "DeleteBucketReplication": "PutReplicationConfiguration",
}


def needed(request: ApiRequest, caller: Caller) -> Iterator[tuple[str, str]]:
    """The (IAM action, resource ARN) pairs that a request needs; `*` where it is about no single resource."""
    action = request.action or ""
    if request.service == "s3":
        yield from _s3(request, action)
    elif request.service == "iam":
        yield f"iam:{action}", _iam_resource(request, caller)
    elif request.service == "sts":
        yield f"sts:{action}", request.form.get("RoleArn", "*")
    else:
        yield f"{request.service}:{action}", _json_resource(request)


def _arn(request: ApiRequest, resource: str) -> str:
    partition = account.partition(request.region)
    return f"arn:{partition}:{request.service}:{request.region}:{account.ACCOUNT_ID}:{resource}"


def _s3(request: ApiRequest, action: str) -> Iterator[tuple[str, str]]:
    prefix = f"arn:{account.partition(request.region)}:s3:::"
    bucket, key = request.parameters.get("Bucket"), request.parameters.get("Key")
    if action == "DeleteObjects":
        key = "*"
    resource = f"{prefix}{bucket}/{key}" if key else f"{prefix}{bucket}"
    yield f"s3:{S3_ACTIONS.get(action, action)}", resource if bucket else "*"
    if action in ("CopyObject", "UploadPartCopy"):
        source = unquote(request.header("x-amz-copy-source")).lstrip("/").partition("?")[0]
        yield "s3:GetObject", f"{prefix}{source}"


def _iam_resource(request: ApiRequest, caller: Caller) -> str:
    form, store = request.form, account.iam(request.region)
    action = request.action or ""
    prefix = f"arn:{store.partition}:iam::{account.ACCOUNT_ID}:"
    path = form.get("Path") or "/"
    if "GroupName" in form:
        group = store.groups.get(form["GroupName"])
        return group.arn if group else f"{prefix}group{path}{form['GroupName']}"
    if "UserName" in form:
        user = store.users.get(form["UserName"])
        return user.arn if user else f"{prefix}user{path}{form['UserName']}"
    if "RoleName" in form:
        role = next((role for role in store.roles.values() if role.name == form["RoleName"]), None)
        return role.arn if role else f"{prefix}role{path}{form['RoleName']}"
    if "PolicyArn" in form:
        return form["PolicyArn"]
    if "PolicyName" in form:
        return f"{prefix}policy{path}{form['PolicyName']}"
    if caller.user and any(word in action for word in ("AccessKey", "MFADevice", "GetUser", "LoginProfile")):
        return caller.arn
    return "*"


def _json_resource(request: ApiRequest) -> str:
    """The ARN a Secrets Manager, SSM or KMS request is about; `*` where it names none."""
    if request.service not in ("secretsmanager", "ssm", "kms"):
        return "*"
    body = request.parameters
    member = {"secretsmanager": "SecretId", "ssm": "Name", "kms": "KeyId"}[request.service]
    name: Any = body.get(member) or (body.get("Name") if request.service == "secretsmanager" else None)
    if not isinstance(name, str):
        return "*"
    if name.startswith("arn:"):
        return name
    kind = {"secretsmanager": "secret:", "ssm": "parameter/", "kms": "" if name.startswith("alias/") else "key/"}
    suffix = "-??????" if request.service == "secretsmanager" else ""
    return _arn(request, f"{kind[request.service]}{name.lstrip('/')}{suffix}")

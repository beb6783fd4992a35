"""What a caller may do: the IAM actions and resources behind an API request, and the policies that decide on them.

Root may do everything. A user's policies are its own and those of its groups, bounded by its permissions boundary; an
assumed role's are the role's. Resource-based policies (bucket policies, key policies) are not evaluated.
Source of the S3 actions: service authorization reference, "Actions, resources, and condition keys for Amazon S3".
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote

from pulumi_sandbox.aws import account
from pulumi_sandbox.aws.authentication import Caller
from pulumi_sandbox.aws.policy_evaluation import AccessRequest, Verdict, evaluate
from pulumi_sandbox.aws.request import EC2, JSON, REST, S3, ApiRequest
from pulumi_sandbox.aws.response import AwsError

ALWAYS_ALLOWED = {"sts:GetCallerIdentity", "sts:GetSessionToken"}

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


def authorize(request: ApiRequest, caller: Caller, now: str) -> None:
    """Raise AwsError, in the words of the service, unless the caller may do what `request` asks. `now`: ISO 8601."""
    if caller.is_root:
        return
    policies, boundary = _documents(request, caller)
    context = _context(request, caller, now)
    for action, resource in needed(request, caller):
        if action in ALWAYS_ALLOWED:
            continue
        access = AccessRequest(action, resource, context)
        verdict = evaluate(policies, access)
        if verdict is Verdict.ALLOWED and boundary is not None:
            if evaluate([boundary], access) is not Verdict.ALLOWED:
                raise _refusal(request, caller, access, f"because no permissions boundary allows the {action} action")
        elif verdict is Verdict.SILENT:
            raise _refusal(request, caller, access, f"because no identity-based policy allows the {action} action")
        elif verdict is Verdict.DENIED:
            raise _refusal(request, caller, access, "with an explicit deny in an identity-based policy")


def needed(request: ApiRequest, caller: Caller) -> Iterator[tuple[str, str]]:
    """The (IAM action, resource ARN) pairs that a request needs."""
    partition = account.partition(request.region)
    if request.service == "s3":
        yield f"s3:{S3_ACTIONS.get(request.action or '', request.action)}", _s3_resource(request, partition)
        if request.action in ("CopyObject", "UploadPartCopy"):
            source = unquote(request.header("x-amz-copy-source")).lstrip("/").partition("?")[0]
            yield "s3:GetObject", f"arn:{partition}:s3:::{source}"
    elif request.service == "iam":
        yield f"iam:{request.action}", _iam_resource(request, caller)
    elif request.service == "sts":
        yield f"sts:{request.action}", request.form.get("RoleArn", "*")
    else:
        yield f"{request.service}:{request.action}", _json_resource(request, partition)


def _s3_resource(request: ApiRequest, partition: str) -> str:
    bucket, key = request.parameters.get("Bucket"), request.parameters.get("Key")
    if not bucket:
        return "*"
    if request.action == "DeleteObjects":
        key = "*"
    return f"arn:{partition}:s3:::{bucket}/{key}" if key else f"arn:{partition}:s3:::{bucket}"


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


def _json_resource(request: ApiRequest, partition: str) -> str:
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
    resource = f"{kind[request.service]}{name.lstrip('/')}{suffix}"
    return f"arn:{partition}:{request.service}:{request.region}:{account.ACCOUNT_ID}:{resource}"


def _documents(request: ApiRequest, caller: Caller) -> tuple[list[str], str | None]:
    """The policy documents of the caller, and that of its permissions boundary if it has one."""
    store = account.iam(request.region)
    if caller.user is not None:
        holders: list[Any] = [caller.user, *store.get_groups_for_user(caller.user.name)]
    else:
        assumed = caller.role.role_arn if caller.role else ""
        holders = [role for role in store.roles.values() if role.arn == assumed]
    documents: list[str] = []
    for holder in holders:
        documents += holder.policies.values()
        documents += [_default_document(policy) for policy in holder.managed_policies.values()]
    boundary: str | None = None
    if holders and (limit := getattr(holders[0], "permissions_boundary", None)):
        policy = store.managed_policies.get(limit["PermissionsBoundaryArn"])
        boundary = _default_document(policy) if policy else '{"Statement": []}'
    return documents, boundary


def _default_document(policy: Any) -> str:
    return next(version.document for version in policy.versions if version.is_default)


def _context(request: ApiRequest, caller: Caller, now: str) -> dict[str, tuple[str, ...]]:
    """The global condition keys. Long-lived keys carry no aws:MultiFactorAuthPresent; loopback counts as TLS."""
    context = {
        "aws:principalarn": (caller.arn,),
        "aws:principalaccount": (account.ACCOUNT_ID,),
        "aws:principaltype": ("User" if caller.user else "AssumedRole",),
        "aws:requestedregion": (request.region,),
        "aws:sourceip": (request.environ.get("REMOTE_ADDR", "127.0.0.1"),),
        "aws:securetransport": ("true",),
        "aws:currenttime": (now,),
        "aws:useragent": (request.header("user-agent"),),
    }
    if caller.user:
        context["aws:username"] = (caller.user.name,)
        context["aws:userid"] = (caller.user.id,)
        for tag in caller.user.tags or []:
            context[f"aws:principaltag/{tag['Key'].lower()}"] = (tag["Value"],)
    for name, key in (("PolicyArn", "iam:policyarn"), ("PermissionsBoundary", "iam:permissionsboundary")):
        if name in request.form:
            context[key] = (request.form[name],)
    if request.service == "s3":
        context |= {
            f"s3:{name}": (request.form[name],) for name in ("prefix", "delimiter", "max-keys") if name in request.form
        }
    return context


def _refusal(request: ApiRequest, caller: Caller, access: AccessRequest, reason: str) -> AwsError:
    what = f"User: {caller.arn} is not authorized to perform: {access.action}"
    if request.protocol == EC2:
        return AwsError("UnauthorizedOperation", f"You are not authorized to perform this operation. {what} {reason}")
    if access.resource != "*":
        resource = f'"{access.resource}"' if request.protocol == S3 else access.resource
        what = f"{what} on resource: {resource}"
    if request.protocol == JSON:
        return AwsError("AccessDeniedException", f"{what} {reason}", 400)
    if request.protocol == REST:
        return AwsError("AccessDeniedException", f"{what} {reason}", 403)
    return AwsError("AccessDenied", f"{what} {reason}")

"""The permissions that a request needs: IAM actions, each with the ARN of the resource that it is about.

Source: service authorization reference, "Actions, resources, and condition keys for AWS services".
"""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Iterator
from contextlib import suppress
from typing import Any
from urllib.parse import unquote
from xml.etree import ElementTree

from pulumi_sandbox.aws import account
from pulumi_sandbox.aws.authentication import Caller
from pulumi_sandbox.aws.request import ApiRequest
from pulumi_sandbox.aws.response import AwsError

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


# What S3 asks KMS for, on behalf of the caller, in a bucket that is encrypted with a key of the account's own.
# Source: "Using server-side encryption with AWS KMS keys", S3 user guide.
S3_KMS_ACTIONS = {
    "GetObject": "kms:Decrypt",
    "PutObject": "kms:GenerateDataKey",
    "CopyObject": "kms:GenerateDataKey",
    "CreateMultipartUpload": "kms:GenerateDataKey",
    "UploadPart": "kms:Decrypt",
    "UploadPartCopy": "kms:Decrypt",
    "CompleteMultipartUpload": "kms:Decrypt",
}

# What S3 asks for instead where the request names a version of the object.
S3_VERSION_ACTIONS = {
    "s3:GetObject": "s3:GetObjectVersion",
    "s3:GetObjectAttributes": "s3:GetObjectVersionAttributes",
    "s3:GetObjectTagging": "s3:GetObjectVersionTagging",
    "s3:PutObjectTagging": "s3:PutObjectVersionTagging",
    "s3:DeleteObjectTagging": "s3:DeleteObjectVersionTagging",
    "s3:DeleteObject": "s3:DeleteObjectVersion",
}

# The further action that a request needs where it makes something with tags.
TAGGING_ACTIONS = {
    "iam:CreateUser": "iam:TagUser",
    "iam:CreateRole": "iam:TagRole",
    "iam:CreatePolicy": "iam:TagPolicy",
    "secretsmanager:CreateSecret": "secretsmanager:TagResource",
    "ssm:PutParameter": "ssm:AddTagsToResource",
    "kms:CreateKey": "kms:TagResource",
}


def needed(request: ApiRequest, caller: Caller) -> Iterator[tuple[str, str]]:
    """The (IAM action, resource ARN) pairs that a request needs; `*` where it is about no single resource."""
    for action, resource in _actions(request, caller):
        yield action, resource
        if action in TAGGING_ACTIONS and request.parameters.get("Tags"):
            yield TAGGING_ACTIONS[action], resource
    key, actions = {"secretsmanager": _kms_of_secret, "ssm": _kms_of_parameter}.get(request.service, _no_kms)(request)
    # Everybody in the account may use an AWS managed key through its service.
    if key and not key.rpartition(":")[2].startswith("alias/aws/"):
        yield from ((f"kms:{action}", _key(request, key)) for action in actions)


def _actions(request: ApiRequest, caller: Caller) -> Iterator[tuple[str, str]]:
    action = request.action or ""
    if request.service == "s3":
        yield from _s3(request, action)
    elif request.service == "kms":
        yield from _kms(request, action)
    elif request.service == "iam":
        yield f"iam:{action}", _iam_resource(request, caller)
        if action in ("UpdateUser", "UpdateGroup"):
            yield f"iam:{action}", _new_arn(request, action.removeprefix("Update"))
    elif request.service == "sts":
        yield f"sts:{action}", request.form.get("RoleArn", "*")
    else:
        kinds = {"ssm": _parameters, "secretsmanager": _secrets, "sns": _topics}
        resources = kinds.get(request.service, lambda _: [])(request)
        if action == "CreateSecret" and request.parameters.get("AddReplicaRegions"):
            yield "secretsmanager:ReplicateSecretToRegions", resources[0]
        yield from ((f"{request.service}:{action}", resource) for resource in resources or ["*"])


def _arn(request: ApiRequest, resource: str) -> str:
    partition = account.partition(request.region)
    return f"arn:{partition}:{request.service}:{request.region}:{account.current()}:{resource}"


def _s3(request: ApiRequest, action: str) -> Iterator[tuple[str, str]]:
    prefix = f"arn:{account.partition(request.region)}:s3:::"
    bucket, key = request.parameters.get("Bucket"), request.parameters.get("Key")
    if action == "DeleteObjects":  # AWS answers for each object; the sandbox refuses all where one is not allowed
        for listed in _xml(request.body).iter():
            if listed.tag.endswith("Object"):
                of = {child.tag.rpartition("}")[2]: child.text or "" for child in listed}
                yield _s3_action("s3:DeleteObject", of.get("VersionId")), f"{prefix}{bucket}/{of.get('Key')}"
        return
    resource = f"{prefix}{bucket}/{key}" if key else f"{prefix}{bucket}"
    version = request.form.get("versionId")
    yield _s3_action(f"s3:{S3_ACTIONS.get(action, action)}", version), resource if bucket else "*"
    if action == "GetObjectAttributes":
        yield _s3_action("s3:GetObjectAttributes", version), resource
    if request.header("x-amz-tagging") and action in ("PutObject", "CopyObject", "CreateMultipartUpload"):
        yield "s3:PutObjectTagging", resource
    kms_key = _kms_key_of_bucket(request, bucket) if action in S3_KMS_ACTIONS else None
    if kms_key:
        yield S3_KMS_ACTIONS[action], _key(request, kms_key)
    if action in ("CopyObject", "UploadPartCopy"):
        source, _, query = request.header("x-amz-copy-source").lstrip("/").partition("?")
        yield _s3_action("s3:GetObject", query.removeprefix("versionId=")), f"{prefix}{unquote(source)}"


def _kms_key_of_bucket(request: ApiRequest, bucket: str | None) -> str | None:
    """The KMS key of the account's own that a bucket encrypts its objects with, if it has one.

    Not looked at: a key that the request names, and what objects were encrypted with before the bucket had this one.
    """
    from moto.s3.models import s3_backends

    found: Any = s3_backends[account.current()][account.partition(request.region)].buckets.get(bucket or "")
    rules: Any = (found.encryption or {}).get("Rule") if found else None
    rule: Any = rules[0] if isinstance(rules, list) and rules else rules or {}
    return rule.get("ApplyServerSideEncryptionByDefault", {}).get("KMSMasterKeyID")


def _xml(body: bytes) -> ElementTree.Element:
    try:
        return ElementTree.fromstring(body)
    except ElementTree.ParseError:
        text = "The XML you provided was not well-formed or did not validate against our published schema"
        raise AwsError("MalformedXML", text, 400) from None


def _s3_action(action: str, version: str | None) -> str:
    return S3_VERSION_ACTIONS.get(action, action) if version else action


def _new_arn(request: ApiRequest, kind: str) -> str:
    """The ARN that a user or group has after its update."""
    form, store = request.form, account.iam(request.region)
    name: str = form.get(f"{kind}Name", "")
    present: Any = (store.users if kind == "User" else store.groups).get(name)
    path = form.get("NewPath") or (present.path if present else "/")
    prefix = f"arn:{store.partition}:iam::{account.current()}:{kind.lower()}"
    return f"{prefix}{path}{form.get(f'New{kind}Name') or name}"


def _parameters(request: ApiRequest) -> list[str]:
    """SSM parameters are named singly, in a list, by their path, or as what is tagged. A name may end in `:version`."""
    body = request.parameters
    names = [body.get("Name"), body.get("Path"), *body.get("Names", [])]
    if body.get("ResourceType") == "Parameter":
        names.append(body.get("ResourceId"))
    return [
        name if name.startswith("arn:") else _arn(request, f"parameter/{name.lstrip('/').partition(':')[0]}")
        for name in names
        if name
    ]


def _topics(request: ApiRequest) -> list[str]:
    return [arn for arn in [request.form.get("TopicArn") or request.form.get("TargetArn")] if arn]


def _secrets(request: ApiRequest) -> list[str]:
    """A secret has six further characters in its ARN, which are not known before it is made."""
    from moto.secretsmanager.models import secretsmanager_backends

    name = request.parameters.get("SecretId") or request.parameters.get("Name")
    if not name:
        return []
    secret: Any = secretsmanager_backends[account.current()][request.region].secrets.get(name)
    if secret is not None:
        return [secret.arn]
    return [name if name.startswith("arn:") else _arn(request, f"secret:{name}-??????")]


# What Secrets Manager and SSM do with a customer managed key, they do with the caller's permissions.
# Sources: the "Required permissions" of each action in the Secrets Manager API reference; Systems Manager user guide,
# "AWS KMS encryption for AWS Systems Manager Parameter Store SecureString parameters".


def _no_kms(_: ApiRequest) -> tuple[str | None, list[str]]:
    return None, []


def _kms_of_secret(request: ApiRequest) -> tuple[str | None, list[str]]:
    """The key of the secret that a request is about, and the KMS actions on it that the request needs."""
    from moto.secretsmanager.models import secretsmanager_backends

    body = request.parameters
    secrets = secretsmanager_backends[account.current()][request.region].secrets
    secret: Any = secrets.get(body["SecretId"]) if "SecretId" in body else None
    key = body.get("KmsKeyId") or getattr(secret, "kms_key_id", None)
    if request.action == "UpdateSecret" and "KmsKeyId" in body:
        return key, ["GenerateDataKey", "Encrypt", "Decrypt"]
    if request.action in ("CreateSecret", "PutSecretValue") or "SecretString" in body or "SecretBinary" in body:
        return key, ["GenerateDataKey", "Decrypt"]
    return key, ["Decrypt"] if request.action == "GetSecretValue" else []


def _kms_of_parameter(request: ApiRequest) -> tuple[str | None, list[str]]:
    """The same for a parameter; of GetParameters, for the first one that is encrypted."""
    from moto.ssm.models import ssm_backends

    body = request.parameters
    if request.action == "PutParameter":
        if body.get("Type") != "SecureString":
            return None, []
        return body.get("KeyId"), ["Encrypt"] + (["GenerateDataKey"] if body.get("Tier") == "Advanced" else [])
    if request.action not in ("GetParameter", "GetParameters") or not body.get("WithDecryption"):
        return None, []
    store = ssm_backends[account.current()][request.region]
    found = [store.get_parameter(name) for name in body.get("Names", [body.get("Name")])]
    return next((one.keyid for one in found if one and one.parameter_type == "SecureString" and one.keyid), None), [
        "Decrypt"
    ]


def _kms(request: ApiRequest, action: str) -> Iterator[tuple[str, str]]:
    """It is always the key's ARN that counts, also where an alias or only the ciphertext names the key; to make, change
    or delete an alias needs a permission on the alias, too."""
    body = request.parameters
    alias: str = body.get("AliasName", "")
    if action == "ReEncrypt":
        yield "kms:ReEncryptFrom", _key(request, body.get("SourceKeyId") or _key_of(body["CiphertextBlob"]))
        yield "kms:ReEncryptTo", _key(request, body["DestinationKeyId"])
        return
    keys = [body.get("KeyId"), body.get("TargetKeyId")]
    if action in ("UpdateAlias", "DeleteAlias"):
        keys.append(alias)
    if not any(keys) and "CiphertextBlob" in body:
        keys.append(_key_of(body["CiphertextBlob"]))
    resources = {_key(request, key) for key in keys if key} | ({_arn(request, alias)} if alias else set())
    yield from ((f"kms:{action}", resource) for resource in sorted(resources) or ["*"])


def _key(request: ApiRequest, name: str) -> str:
    """The ARN of the key that an id, an ARN or an alias names; where there is none, an ARN of that name."""
    from moto.kms.models import kms_backends

    backend = kms_backends[account.current()][request.region]
    with suppress(AttributeError, KeyError):  # what moto raises for an unknown alias, and for an unknown key
        return backend.keys[backend.any_id_to_key_id(name)].arn
    return name if name.startswith("arn:") else _arn(request, name if name.startswith("alias/") else f"key/{name}")


def _key_of(ciphertext: str) -> str:
    """The id of the key that a ciphertext of moto's was made with; empty where it was not made by moto."""
    try:
        return b64decode(ciphertext)[:36].decode()
    except ValueError:
        return ""


def _iam_resource(request: ApiRequest, caller: Caller) -> str:
    form, store = request.form, account.iam(request.region)
    action = request.action or ""
    prefix = f"arn:{store.partition}:iam::{account.current()}:"
    path = form.get("Path") or "/"
    if action == "GetAccessKeyLastUsed":
        key = store.access_keys.get(form.get("AccessKeyId", ""))
        owner = store.users.get(key.user_name) if key and key.user_name else None
        return owner.arn if owner else "*"
    if action == "SimulatePrincipalPolicy":
        return form.get("PolicySourceArn", "*")
    if action.endswith("VirtualMFADevice"):
        return form.get("SerialNumber") or f"{prefix}mfa{path}{form.get('VirtualMFADeviceName')}"
    if action == "ListVirtualMFADevices":
        return "*"
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

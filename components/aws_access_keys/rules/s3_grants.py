"""From grants (`read` on a prefix of a bucket) to IAM policy documents that allow this and nothing else.

Sources: actions, their resources and condition keys, https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazons3.html;
the permissions that each S3 operation needs, https://docs.aws.amazon.com/AmazonS3/latest/userguide/using-with-s3-policy-actions.html;
KMS for S3, https://docs.aws.amazon.com/AmazonS3/latest/userguide/UsingKMSEncryption.html; bucket names,
https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Literal, NamedTuple

from aws_access_keys.rules.documents import VERSION, compact
from aws_access_keys.rules.limits import POLICY_LENGTH
from aws_access_keys.rules.problem import Problem

Condition = dict[str, dict[str, Any]]
Access = Literal["list", "read", "write", "readWrite"]

# What each access level includes.
_PARTS: dict[Access, frozenset[str]] = {
    "list": frozenset({"list"}),
    "read": frozenset({"list", "get"}),
    "write": frozenset({"put"}),
    "readWrite": frozenset({"list", "get", "put"}),
}
_ON_OBJECTS = {
    "get": (
        "s3:GetObject",
        "s3:GetObjectAttributes",
        "s3:GetObjectTagging",
        "s3:GetObjectVersion",
        "s3:GetObjectVersionAttributes",
        "s3:GetObjectVersionTagging",
    ),
    # Not s3:DeleteObjectVersion: in a versioned bucket, what a leaked key overwrites or deletes can be restored.
    "put": (
        "s3:AbortMultipartUpload",
        "s3:DeleteObject",
        "s3:ListMultipartUploadParts",
        "s3:PutObject",
        "s3:PutObjectTagging",
    ),
}
_ON_LISTINGS = ("s3:ListBucket", "s3:ListBucketVersions")
_ON_BUCKETS = {
    "locate": ("s3:GetBucketLocation",),  # clients ask for the region to send the request to
    # AWS has no condition for its prefix, so only a grant of a whole bucket has it.
    "put": ("s3:ListBucketMultipartUploads",),
}
# A multipart upload reads its own parts when it is completed, so it decrypts.
_ON_KMS_KEYS = {"get": ("kms:Decrypt",), "put": ("kms:Decrypt", "kms:GenerateDataKey")}
_TLS: Condition = {"Bool": {"aws:SecureTransport": "true"}}

_BUCKET = re.compile(r"[a-z0-9](?:[a-z0-9-]|\.(?!\.)){1,61}[a-z0-9]")
_RESERVED = re.compile(r"(xn--|sthree-|amzn-s3-demo-).*|.*(-s3alias|--ol-s3|\.mrap|--x-s3|--table-s3)")
_ADDRESS = re.compile(r"\d+\.\d+\.\d+\.\d+")
_KMS_KEY = re.compile(r"arn:(?P<partition>[a-z-]+):kms:(?P<region>[a-z0-9-]+):\d{12}:key/[A-Za-z0-9-]+")
_KEY_BYTES = 1024  # of an object's key in UTF-8


class S3Grant(NamedTuple):
    """One access level on a bucket, or on the objects whose keys begin with a prefix."""

    bucket: str
    prefix: str
    access: Access
    kms_key: str | None = None
    """ARN of the KMS key that the bucket is encrypted with."""


POLICY_KEY = r"s3(-\d+)?"
"""A pattern of the keys of `grant_policies`."""


def grant_policies(grants: Iterable[S3Grant], partition: str) -> dict[str, str]:
    """The policies for all grants of a group: `s3`, and `s3-2` and so on where one would be too long → the document as
    compact JSON."""
    documents: list[str] = []
    together: list[S3Grant] = []
    for grant in sorted(grants, key=lambda grant: (grant.bucket, grant.prefix, grant.access)):
        longer = _document([*together, grant], partition)
        if together and len(longer) > POLICY_LENGTH:
            together, longer = [grant], _document([grant], partition)
            documents.append(longer)
        else:
            together.append(grant)
            documents[-1:] = [longer]
    return {f"s3-{number}" if number > 1 else "s3": document for number, document in enumerate(documents, 1)}


def _document(grants: Sequence[S3Grant], partition: str) -> str:
    """One policy document for some grants, without white space, which IAM's limit does not count."""
    statements = [*_s3_statements(grants, partition), *_kms_statements(grants)]
    return compact({"Version": VERSION, "Statement": statements})


def _s3_statements(grants: Sequence[S3Grant], partition: str) -> Iterator[dict[str, Any]]:
    def arn(resource: str) -> str:
        return f"arn:{partition}:s3:::{resource}"

    for part, actions in _ON_OBJECTS.items():
        objects = [arn(f"{grant.bucket}/{grant.prefix}*") for grant in grants if part in _PARTS[grant.access]]
        yield from _statement(actions, objects, _TLS)
    buckets_of: dict[tuple[str, ...], list[str]] = defaultdict(list)
    prefixes: dict[str, list[str]] = defaultdict(list)
    for grant in grants:
        if "list" in _PARTS[grant.access]:
            prefixes[grant.bucket].append(grant.prefix)
    for bucket, found in prefixes.items():
        buckets_of[() if "" in found else tuple(dict.fromkeys(found))].append(bucket)
    for found, buckets in buckets_of.items():
        # A request that names no prefix has no such key, and is not allowed.
        limit: Condition = {"StringLike": {"s3:prefix": [f"{prefix}*" for prefix in found]}} if found else {}
        yield from _statement(_ON_LISTINGS, map(arn, buckets), _TLS | limit)
    yield from _statement(_ON_BUCKETS["locate"], (arn(grant.bucket) for grant in grants), _TLS)
    whole = (arn(grant.bucket) for grant in grants if not grant.prefix and "put" in _PARTS[grant.access])
    yield from _statement(_ON_BUCKETS["put"], whole, _TLS)


def _kms_statements(grants: Sequence[S3Grant]) -> Iterator[dict[str, Any]]:
    """Statements that let S3 use KMS keys in the key's region on behalf of the caller, and not the caller itself."""
    parts: dict[str, set[str]] = defaultdict(set)
    for grant in grants:
        if grant.kms_key:
            parts[grant.kms_key] |= _PARTS[grant.access]
    used: dict[tuple[str, tuple[str, ...]], list[str]] = defaultdict(list)
    for key in sorted(parts):
        actions = tuple(sorted({action for part in parts[key] for action in _ON_KMS_KEYS.get(part, ())}))
        used[key.split(":")[3], actions].append(key)
    for (region, actions), keys in used.items():
        service = f"s3.{region}.amazonaws.com"
        # In China, AWS uses both forms of a service's name.
        services = [service, f"{service}.cn"] if region.startswith("cn-") else service
        yield from _statement(actions, keys, {"StringEquals": {"kms:ViaService": services}})


def _statement(actions: Sequence[str], resources: Iterable[str], condition: Condition) -> Iterator[dict[str, Any]]:
    """A statement that allows actions; none where there is nothing to allow."""
    distinct = list(dict.fromkeys(resources))
    if actions and distinct:
        yield {"Effect": "Allow", "Action": list(actions), "Resource": distinct, "Condition": condition}


def grant_problems(where: str, grants: Sequence[S3Grant]) -> Iterator[Problem]:
    """Problems of a group's grants. where: the setting that lists them."""
    for index, grant in enumerate(grants):
        place = f"{where}[{index}]"
        yield from _bucket_problems(f"{place}.bucket", grant.bucket)
        yield from _prefix_problems(f"{place}.prefix", grant.prefix)
        yield from _overlaps(place, where, grant, grants[:index])


def kms_key_problems(where: str, kms_key: str, access: Access, partition: str) -> Iterator[Problem]:
    """Problems of the KMS key of a grant."""
    match = _KMS_KEY.fullmatch(kms_key)
    if match is None:
        yield Problem(
            where,
            f"'{kms_key}' is not the ARN of a KMS key. A policy accepts neither key ids nor aliases: write "
            f"arn:{partition}:kms:REGION:ACCOUNT:key/ID, which `aws kms describe-key --key-id alias/NAME` shows.",
        )
    elif match["partition"] != partition:
        text = f"'{kms_key}' belongs to partition {match['partition']}, but this stack is in partition {partition}"
        yield Problem(where, f"{text}. Use a key of this partition.")
    elif access == "list":
        yield Problem(where, "object names are not encrypted, so access: list needs no KMS key. Remove this setting.")


def _bucket_problems(where: str, bucket: str) -> Iterator[Problem]:
    if bucket.startswith("arn:") or "/" in bucket:
        yield Problem(
            where,
            f"expected a bucket name, got '{bucket}'. Write only the name here, and what follows it under prefix.",
        )
    elif "*" in bucket or "?" in bucket:
        yield Problem(where, f"'{bucket}' contains a wildcard. Write one grant for each bucket, with its name.")
    elif not _BUCKET.fullmatch(bucket) or _ADDRESS.fullmatch(bucket):
        yield Problem(
            where,
            f"'{bucket}' is not a valid bucket name. Bucket names have 3 to 63 lowercase letters, digits, hyphens and "
            "single dots, and start and end with a letter or digit.",
        )
    elif _RESERVED.fullmatch(bucket):
        yield Problem(
            where,
            f"'{bucket}' is not the name of a general purpose bucket. For access points, directory buckets and table "
            "buckets, write a policy of your own.",
        )


def _prefix_problems(where: str, prefix: str) -> Iterator[Problem]:
    if not prefix:
        return
    if prefix.startswith("/"):
        cure = f"Write '{rest}'." if (rest := prefix.lstrip("/")) else "Remove it to grant the whole bucket."
        yield Problem(where, f"'{prefix}' starts with '/', but object keys normally do not. {cure}")
    elif "${" in prefix:
        yield Problem(where, f"'{prefix}' contains a policy variable. Write a policy of your own for that.")
    elif "*" in prefix or "?" in prefix:
        begin = re.split(r"[*?]", prefix)[0]
        cure = f"write '{begin}'." if begin else "remove it to grant the whole bucket."
        yield Problem(where, f"'{prefix}' contains a wildcard. Everything below a prefix is included: {cure}")
    elif not prefix.endswith("/"):
        yield Problem(
            where,
            f"'{prefix}' does not end with '/', so it would include '{prefix}-other/' as well. Write '{prefix}/'.",
        )
    elif len(prefix.encode()) > _KEY_BYTES or not prefix.isprintable():
        text = f"a prefix can have at most {_KEY_BYTES} bytes and no control characters"
        yield Problem(where, f"{text}. Shorten or correct it.")


def _overlaps(place: str, where: str, grant: S3Grant, earlier: Sequence[S3Grant]) -> Iterator[Problem]:
    """Grants that add nothing, or that are one grant in two parts."""
    for index, other in enumerate(earlier):
        if other.bucket != grant.bucket:
            continue
        mine, theirs = _PARTS[grant.access], _PARTS[other.access]
        if mine <= theirs and grant.prefix.startswith(other.prefix):
            text = f"{where}[{index}] allows this already, with access: {other.access} on {_shown(other)}"
            yield Problem(place, f"{text}. Remove this grant.")
        elif theirs <= mine and other.prefix.startswith(grant.prefix):
            text = f"this includes {where}[{index}], which has access: {other.access} on {_shown(other)}"
            yield Problem(place, f"{text}. Remove that one.")
        elif grant.prefix == other.prefix and (both := mine | theirs) in _PARTS.values():
            level = next(level for level, parts in _PARTS.items() if parts == both)
            yield Problem(place, f"{where}[{index}] is also for {_shown(other)}. Write one grant with access: {level}.")


def _shown(grant: S3Grant) -> str:
    return f"'{grant.bucket}/{grant.prefix}'"

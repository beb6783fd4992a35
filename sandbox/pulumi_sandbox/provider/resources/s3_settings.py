"""S3: the settings of a bucket that have resources of their own. The id of each is the bucket's name."""

from collections.abc import Callable
from typing import Any

from pulumi_sandbox.provider import input_rules, policy_documents
from pulumi_sandbox.provider.clients import Aws
from pulumi_sandbox.provider.schema import Property, ResourceType, output
from pulumi_sandbox.provider.values import State


def _client(aws: Aws) -> Any:
    return aws.client("s3")


def _setting(
    name: str,
    properties: dict[str, Property],
    put: Callable[[Aws, State, State], State | None],
    read: Callable[[Aws, State], State | None],
    delete: Callable[[Aws, State], None],
    reads: int = 1,
) -> ResourceType:
    """A setting that is created and changed by the same call. reads: how often the real provider reads in between."""

    def create(aws: Aws, desired: State, state: State) -> None:
        state["id"] = desired["bucket"]
        put(aws, desired, state)
        for _ in range(reads):
            read(aws, state)

    token = f"aws:s3/{name[0].lower()}{name[1:]}:{name}"
    inputs = {"bucket": Property(required=True, replaces=True)}
    return ResourceType(token, inputs | properties, create, read, delete, put, regional=True)


# ---- nested blocks: the provider's names of members, and S3's

_ACRONYMS = {"id": "ID", "mfaDelete": "MFADelete", "sseAlgorithm": "SSEAlgorithm", "kmsMasterKeyId": "KMSMasterKeyID"}
_NAMES = {theirs: ours for ours, theirs in _ACRONYMS.items()}


def _for_s3(value: Any) -> Any:
    """A block as S3 names its members, without those that are empty."""
    if isinstance(value, dict):
        filled = {name: part for name, part in value.items() if part not in ("", None, [])}
        return {_ACRONYMS.get(name, name[0].upper() + name[1:]): _for_s3(part) for name, part in filled.items()}
    return [_for_s3(part) for part in value] if isinstance(value, list) else value


def _from_s3(value: Any) -> Any:
    if isinstance(value, dict):
        return {_NAMES.get(name, name[0].lower() + name[1:]): _from_s3(part) for name, part in value.items()}
    return [_from_s3(part) for part in value] if isinstance(value, list) else value


_OWNER = {"expectedBucketOwner": Property(is_output=True)}  # as an input it is deprecated


# ---- versioning


def _put_versioning(aws: Aws, desired: State, state: State) -> None:
    configuration = _for_s3(desired["versioningConfiguration"])
    _client(aws).put_bucket_versioning(Bucket=state["id"], VersioningConfiguration=configuration)


def _read_versioning(aws: Aws, state: State) -> State | None:
    found: State = {}
    for _ in range(3):  # the real provider reads until it has seen the same so many times
        found = _client(aws).get_bucket_versioning(Bucket=state["id"])
    if "Status" not in found:
        return None
    configuration = {"status": found["Status"], "mfaDelete": found.get("MFADelete", "")}
    return {"bucket": state["id"], "versioningConfiguration": configuration, "expectedBucketOwner": ""}


def _suspend(aws: Aws, state: State) -> None:
    """All that S3 allows: a bucket never becomes unversioned."""
    _client(aws).put_bucket_versioning(Bucket=state["id"], VersioningConfiguration={"Status": "Suspended"})


_VERSIONING = Property("blocks", required=True, rule=input_rules.members("status", "mfaDelete"))

VERSIONING = _setting(
    "BucketVersioning",
    {"versioningConfiguration": _VERSIONING, **_OWNER},
    _put_versioning,
    _read_versioning,
    _suspend,
    reads=0,
)

# ---- encryption


def _put_encryption(aws: Aws, desired: State, state: State) -> None:
    configuration = {"Rules": _for_s3(desired["rules"])}
    _client(aws).put_bucket_encryption(Bucket=state["id"], ServerSideEncryptionConfiguration=configuration)


def _read_encryption(aws: Aws, state: State) -> State:
    found = _client(aws).get_bucket_encryption(Bucket=state["id"])["ServerSideEncryptionConfiguration"]
    rules = _from_s3(found["Rules"])
    for rule in rules:
        rule["applyServerSideEncryptionByDefault"].setdefault("kmsMasterKeyId", "")
    return {"bucket": state["id"], "rules": rules, "expectedBucketOwner": ""}


def _delete_encryption(aws: Aws, state: State) -> None:
    _client(aws).delete_bucket_encryption(Bucket=state["id"])


_ENCRYPTION = input_rules.members(
    "applyServerSideEncryptionByDefault", "sseAlgorithm", "kmsMasterKeyId", "bucketKeyEnabled"
)

ENCRYPTION = _setting(
    "BucketServerSideEncryptionConfiguration",
    {"rules": Property("blocks", required=True, rule=_ENCRYPTION), **_OWNER},
    _put_encryption,
    _read_encryption,
    _delete_encryption,
)

# ---- public access

_BLOCKS = ("blockPublicAcls", "blockPublicPolicy", "ignorePublicAcls", "restrictPublicBuckets")


def _put_block(aws: Aws, desired: State, state: State) -> State:
    blocks = {name: bool(desired.get(name)) for name in _BLOCKS}
    _client(aws).put_public_access_block(Bucket=state["id"], PublicAccessBlockConfiguration=_for_s3(blocks))
    return blocks  # not read after an update


def _read_block(aws: Aws, state: State) -> State:
    found = _client(aws).get_public_access_block(Bucket=state["id"])["PublicAccessBlockConfiguration"]
    return {"bucket": state["id"]} | _from_s3(found)


def _delete_block(aws: Aws, state: State) -> None:
    _client(aws).delete_public_access_block(Bucket=state["id"])
    _read_block(aws, state)  # the real provider makes sure that it is gone, here and below


PUBLIC_ACCESS_BLOCK = _setting(
    "BucketPublicAccessBlock", {name: Property("bool") for name in _BLOCKS}, _put_block, _read_block, _delete_block
)

# ---- policy


def _put_policy(aws: Aws, desired: State, state: State) -> None:
    _client(aws).put_bucket_policy(Bucket=state["id"], Policy=desired["policy"])


def _read_policy(aws: Aws, state: State) -> State:
    policy = policy_documents.kept(state.get("policy"), _client(aws).get_bucket_policy(Bucket=state["id"])["Policy"])
    return {"bucket": state["id"], "policy": policy_documents.compact(policy)}


def _delete_policy(aws: Aws, state: State) -> None:
    _client(aws).delete_bucket_policy(Bucket=state["id"])
    _read_policy(aws, state)


_POLICY = Property("document", required=True, rule=input_rules.document, normalize=policy_documents.compact)

POLICY = _setting("BucketPolicy", {"policy": _POLICY}, _put_policy, _read_policy, _delete_policy)

# ---- lifecycle

_SIZE = {"transitionDefaultMinimumObjectSize": "all_storage_classes_128K"}


def _put_lifecycle(aws: Aws, desired: State, state: State) -> None:
    rules = [_for_s3(rule) for rule in desired["rules"]]
    for rule in rules:
        rule["Filter"] = rule.get("Filter") or {"Prefix": ""}  # all objects
    _client(aws).put_bucket_lifecycle_configuration(Bucket=state["id"], LifecycleConfiguration={"Rules": rules})
    for _ in range(4):
        _read_lifecycle(aws, state)


def _read_lifecycle(aws: Aws, state: State) -> State:
    found: State = {}
    for _ in range(2):
        found = _client(aws).get_bucket_lifecycle_configuration(Bucket=state["id"])
    empty = {"prefix": "", "transitions": [], "noncurrentVersionTransitions": []}
    rules = [empty | _from_s3(rule) for rule in found["Rules"]]
    for rule in rules:
        if "expiration" in rule:
            rule["expiration"] = {"days": 0, "expiredObjectDeleteMarker": False} | rule["expiration"]
    return {"bucket": state["id"], "rules": rules, "expectedBucketOwner": ""} | _SIZE


def _delete_lifecycle(aws: Aws, state: State) -> None:
    _client(aws).delete_bucket_lifecycle(Bucket=state["id"])
    _client(aws).get_bucket_lifecycle_configuration(Bucket=state["id"])


_RULES = input_rules.members(
    *("id", "status", "filter", "prefix"),
    *("expiration", "days", "expiredObjectDeleteMarker"),
    *("noncurrentVersionExpiration", "noncurrentDays", "newerNoncurrentVersions"),
    *("abortIncompleteMultipartUpload", "daysAfterInitiation"),
)

LIFECYCLE = _setting(
    "BucketLifecycleConfiguration",
    {
        "rules": Property("blocks", required=True, rule=_RULES),
        "expectedBucketOwner": output(),
        **{name: Property(is_output=True, default=size) for name, size in _SIZE.items()},
    },
    _put_lifecycle,
    _read_lifecycle,
    _delete_lifecycle,
    reads=0,
)

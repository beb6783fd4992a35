"""Secrets Manager: secrets and their versions."""

import base64
from typing import Any

from botocore.exceptions import ClientError

from pulumi_sandbox.provider import input_rules, policy_documents, tags
from pulumi_sandbox.provider.clients import Aws
from pulumi_sandbox.provider.schema import TAGS, Property, ResourceType, output
from pulumi_sandbox.provider.unique_ids import prefix_of, unique_id
from pulumi_sandbox.provider.values import ProviderError, State

_CURRENT = "AWSCURRENT"


def _client(aws: Aws) -> Any:
    return aws.client("secretsmanager")


# ---- secrets


def _create(aws: Aws, desired: State, state: State) -> None:
    tagged = aws.tagging.all(desired["tags"])
    secret = _client(aws).create_secret(
        Name=desired.get("name") or unique_id(desired.get("namePrefix") or "terraform-"),
        ForceOverwriteReplicaSecret=desired["forceOverwriteReplicaSecret"],
        **({"Description": desired["description"]} if desired.get("description") else {}),
        **({"KmsKeyId": desired["kmsKeyId"]} if desired.get("kmsKeyId") else {}),
        **({"AddReplicaRegions": _regions(desired)} if desired.get("replicas") else {}),
        **({"Tags": tags.to_list(tagged)} if tagged else {}),
    )
    state["id"] = secret["ARN"]
    _client(aws).describe_secret(SecretId=state["id"])
    if desired.get("policy"):
        _client(aws).put_resource_policy(SecretId=state["id"], ResourcePolicy=desired["policy"])


def _regions(secret: State) -> list[dict[str, str]]:
    """The replicas as AWS takes them."""
    return [
        {"Region": replica["region"], **({"KmsKeyId": replica["kmsKeyId"]} if replica.get("kmsKeyId") else {})}
        for replica in secret.get("replicas") or ()
    ]


def _read(aws: Aws, state: State) -> State | None:
    secret = _client(aws).describe_secret(SecretId=state["id"])
    if "DeletedDate" in secret:
        return None
    policy = _client(aws).get_resource_policy(SecretId=state["id"]).get("ResourcePolicy") or ""
    own, everything = aws.tagging.split(tags.from_list(secret.get("Tags")), state.get("tags"))
    return {
        "id": secret["ARN"],
        "arn": secret["ARN"],
        "name": secret["Name"],
        "namePrefix": prefix_of(secret["Name"]),
        "description": secret.get("Description", ""),
        "kmsKeyId": secret.get("KmsKeyId", ""),
        "policy": policy_documents.compact(policy_documents.kept(state.get("policy"), policy)) if policy else "",
        "replicas": [
            {
                "region": replica["Region"],
                "kmsKeyId": replica.get("KmsKeyId", ""),
                "lastAccessedDate": "",
                "status": replica.get("Status", ""),
                "statusMessage": replica.get("StatusMessage", ""),
            }
            for replica in secret.get("ReplicationStatus", ())
        ],
        "tags": own,
        "tagsAll": everything,
    }


def _update(aws: Aws, desired: State, state: State) -> None:
    client, secret = _client(aws), state["id"]
    removed, new = tags.difference(state.get("tagsAll"), desired["tagsAll"])
    if removed:
        client.untag_resource(SecretId=secret, TagKeys=removed)
    if new:
        client.tag_resource(SecretId=secret, Tags=tags.to_list(new))
    if any((desired.get(key) or "") != (state.get(key) or "") for key in ("description", "kmsKeyId")):
        # Like the real provider this cannot take a key away: AWS would go on using it.
        client.update_secret(
            SecretId=secret,
            Description=desired.get("description") or "",
            **({"KmsKeyId": desired["kmsKeyId"]} if desired.get("kmsKeyId") else {}),
        )
    wanted, present = _regions(desired), _regions(state)
    if gone := [replica["Region"] for replica in present if replica not in wanted]:
        client.remove_regions_from_replication(SecretId=secret, RemoveReplicaRegions=gone)
    if new := [replica for replica in wanted if replica not in present]:
        client.replicate_secret_to_regions(
            SecretId=secret, AddReplicaRegions=new, ForceOverwriteReplicaSecret=desired["forceOverwriteReplicaSecret"]
        )
    if policy_documents.meaning(desired.get("policy")) != policy_documents.meaning(state.get("policy")):
        if desired.get("policy"):
            client.put_resource_policy(SecretId=secret, ResourcePolicy=desired["policy"])
        else:
            client.delete_resource_policy(SecretId=secret)


def _delete(aws: Aws, state: State) -> None:
    if regions := [replica["Region"] for replica in _regions(state)]:
        _client(aws).remove_regions_from_replication(SecretId=state["id"], RemoveReplicaRegions=regions)
    window = state.get("recoveryWindowInDays", 30)
    _client(aws).delete_secret(
        SecretId=state["id"], **({"RecoveryWindowInDays": window} if window else {"ForceDeleteWithoutRecovery": True})
    )
    _client(aws).describe_secret(SecretId=state["id"])


def _in_order(replicas: Any) -> Any:
    """What a program gives of replicas; the rest is AWS's."""
    return sorted((replica["region"], replica.get("kmsKeyId") or "") for replica in replicas or ())


_CHARACTERS = ("made of ASCII letters, digits and /_+=.@- only", r"[\w/+=.@-]+")

SECRET = ResourceType(
    "aws:secretsmanager/secret:Secret",
    {
        "name": Property(
            computed=True, replaces=True, rule=input_rules.text(*_CHARACTERS, 512), conflicts=("namePrefix",)
        ),
        "namePrefix": Property(
            computed=True, replaces=True, rule=input_rules.text(*_CHARACTERS, 486), conflicts=("name",)
        ),
        "description": Property(),
        "kmsKeyId": Property(),
        "policy": Property("document", computed=True, rule=input_rules.document, normalize=policy_documents.compact),
        "recoveryWindowInDays": Property("int", default=30, rule=input_rules.between(7, 30, 0)),
        "forceOverwriteReplicaSecret": Property("bool", default=False),
        "arn": output(),
        "replicas": Property("blocks", computed=True, normalize_for_diff=_in_order),
        **TAGS,
    },
    _create,
    _read,
    _delete,
    _update,
    autoname="name",
    regional=True,
)

# ---- resource policies


def _put_policy(aws: Aws, desired: State, state: State) -> None:
    _client(aws).put_resource_policy(
        SecretId=desired["secretArn"],
        ResourcePolicy=desired["policy"],
        **({"BlockPublicPolicy": True} if desired.get("blockPublicPolicy") else {}),
    )
    if "id" not in state:
        _client(aws).get_resource_policy(SecretId=desired["secretArn"])  # the real one waits until it is there
    state["id"] = desired["secretArn"]


def _read_policy(aws: Aws, state: State) -> State | None:
    policy = _client(aws).get_resource_policy(SecretId=state["id"]).get("ResourcePolicy")
    if not policy:
        return {"secretArn": state["id"], "policy": ""}  # the real one keeps it, too
    kept = policy_documents.compact(policy_documents.kept(state.get("policy"), policy))
    return {"secretArn": state["id"], "policy": kept}


def _delete_policy(aws: Aws, state: State) -> None:
    _client(aws).delete_resource_policy(SecretId=state["id"])
    _client(aws).get_resource_policy(SecretId=state["id"])  # the real one waits until it is gone


SECRET_POLICY = ResourceType(
    "aws:secretsmanager/secretPolicy:SecretPolicy",
    {
        "secretArn": Property(required=True, replaces=True),
        "policy": Property("document", required=True, rule=input_rules.document, normalize=policy_documents.compact),
        "blockPublicPolicy": Property("bool"),
    },
    _put_policy,
    _read_policy,
    _delete_policy,
    _put_policy,
    regional=True,
)

# ---- versions of a secret's value


def _create_version(aws: Aws, desired: State, state: State) -> None:
    if desired.get("secretBinary"):
        value: dict[str, Any] = {"SecretBinary": base64.b64decode(desired["secretBinary"])}
    else:
        value = {"SecretString": desired["secretString"]} if desired.get("secretString") else {}
    if desired.get("versionStages"):
        value["VersionStages"] = desired["versionStages"]
    version = _client(aws).put_secret_value(SecretId=desired["secretId"], ClientRequestToken=unique_id(), **value)
    state["id"] = f"{desired['secretId']}|{version['VersionId']}"
    _client(aws).get_secret_value(**_of(state["id"]))


def _of(version_id: str) -> dict[str, str]:
    secret, bar, version = version_id.rpartition("|")
    if not (secret and bar and version):
        raise ProviderError(f"the id of a SecretVersion is secret-arn|version-id, not {version_id!r}")
    return {"SecretId": secret, "VersionId": version}


def _read_version(aws: Aws, state: State) -> State | None:
    try:
        found = _client(aws).get_secret_value(**_of(state["id"]))
    except ClientError as error:
        if _is_marked(error):
            return None
        raise
    return {
        "arn": found["ARN"],
        "secretArn": found["ARN"],
        "secretId": _of(state["id"])["SecretId"],
        "versionId": found["VersionId"],
        "versionStages": sorted(found.get("VersionStages", [])),
        "secretString": found.get("SecretString", ""),
        "secretBinary": base64.b64encode(found.get("SecretBinary", b"")).decode(),
    }


def _is_marked(error: ClientError) -> bool:
    """Whether AWS refuses a call because the secret is marked for deletion: then its versions count as gone."""
    return error.response["Error"]["Code"] == "InvalidRequestException" and "marked for deletion" in str(error)


def _update_version(aws: Aws, desired: State, state: State) -> None:
    version = _of(state["id"])
    # Neither is known where the version was created and could not be read.
    wanted, present = set[str](desired.get("versionStages") or ()), set[str](state.get("versionStages") or ())
    for stage in sorted(wanted - present):
        holder = _holder(aws, version["SecretId"]) if stage == _CURRENT else None
        _client(aws).update_secret_version_stage(
            SecretId=version["SecretId"],
            VersionStage=stage,
            MoveToVersionId=version["VersionId"],
            **({"RemoveFromVersionId": holder} if holder else {}),
        )
    _remove_stages(aws, version, present - wanted)


def _holder(aws: Aws, secret: str) -> str | None:
    """The current version."""
    versions = _client(aws).describe_secret(SecretId=secret).get("VersionIdsToStages", {})
    return next((version for version, stages in versions.items() if _CURRENT in stages), None)


def _remove_stages(aws: Aws, version: dict[str, str], stages: set[str]) -> None:
    for stage in sorted(stages - {_CURRENT}):  # AWSCURRENT can be moved, never removed
        _client(aws).update_secret_version_stage(
            SecretId=version["SecretId"], VersionStage=stage, RemoveFromVersionId=version["VersionId"]
        )


def _delete_version(aws: Aws, state: State) -> None:
    try:
        _remove_stages(aws, _of(state["id"]), set(state.get("versionStages") or ()))
        _client(aws).get_secret_value(**_of(state["id"]))
    except ClientError as error:
        if not _is_marked(error):
            raise


SECRET_VERSION = ResourceType(
    "aws:secretsmanager/secretVersion:SecretVersion",
    {
        "secretId": Property(required=True, replaces=True),
        "secretString": Property(replaces=True, secret=True, conflicts=("secretBinary",)),
        "secretBinary": Property(replaces=True, secret=True, rule=input_rules.base64_text, conflicts=("secretString",)),
        "versionStages": Property("set", computed=True),
        "arn": output(),
        "secretArn": output(),
        "versionId": output(),
        "hasSecretStringWo": output("bool"),
    },
    _create_version,
    _read_version,
    _delete_version,
    _update_version,
    regional=True,
)

"""Secrets Manager: secrets and their versions."""

import base64
from typing import Any

from botocore.exceptions import ClientError

from . import documents, limits, tags
from .aws import Aws
from .schema import TAGS, Property, Resource, output
from .unique import prefix_of, unique_id
from .values import ProviderError, State

_CURRENT = "AWSCURRENT"


def _client(aws: Aws) -> Any:
    return aws.client("secretsmanager")


# ---- secrets


def _create(aws: Aws, want: State, state: State) -> None:
    tagged = aws.tagging.all(want["tags"])
    secret = _client(aws).create_secret(
        Name=want.get("name") or unique_id(want.get("namePrefix") or "terraform-"),
        ForceOverwriteReplicaSecret=want["forceOverwriteReplicaSecret"],
        **({"Description": want["description"]} if want.get("description") else {}),
        **({"KmsKeyId": want["kmsKeyId"]} if want.get("kmsKeyId") else {}),
        **({"Tags": tags.to_list(tagged)} if tagged else {}),
    )
    state["id"] = secret["ARN"]
    if want.get("policy"):
        _client(aws).put_resource_policy(SecretId=state["id"], ResourcePolicy=want["policy"])


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
        "policy": documents.compact(documents.kept(state.get("policy"), policy)) if policy else "",
        "replicas": [],
        "tags": own,
        "tagsAll": everything,
    }


def _update(aws: Aws, want: State, state: State) -> None:
    client, secret = _client(aws), state["id"]
    if any((want.get(key) or "") != (state.get(key) or "") for key in ("description", "kmsKeyId")):
        # Like the real provider this cannot take a key away: AWS would go on using it.
        client.update_secret(
            SecretId=secret,
            Description=want.get("description") or "",
            **({"KmsKeyId": want["kmsKeyId"]} if want.get("kmsKeyId") else {}),
        )
    if documents.meaning(want.get("policy")) != documents.meaning(state.get("policy")):
        if want.get("policy"):
            client.put_resource_policy(SecretId=secret, ResourcePolicy=want["policy"])
        else:
            client.delete_resource_policy(SecretId=secret)
    gone, new = tags.difference(state.get("tagsAll"), want["tagsAll"])
    if gone:
        client.untag_resource(SecretId=secret, TagKeys=gone)
    if new:
        client.tag_resource(SecretId=secret, Tags=tags.to_list(new))


def _delete(aws: Aws, state: State) -> None:
    window = state.get("recoveryWindowInDays", 30)
    _client(aws).delete_secret(
        SecretId=state["id"], **({"RecoveryWindowInDays": window} if window else {"ForceDeleteWithoutRecovery": True})
    )


_CHARACTERS = ("made of ASCII letters, digits and /_+=.@- only", r"[\w/+=.@-]+")

SECRET = Resource(
    "aws:secretsmanager/secret:Secret",
    {
        "name": Property(computed=True, replaces=True, rule=limits.text(*_CHARACTERS, 512), conflicts=("namePrefix",)),
        "namePrefix": Property(computed=True, replaces=True, rule=limits.text(*_CHARACTERS, 486), conflicts=("name",)),
        "description": Property(),
        "kmsKeyId": Property(),
        "policy": Property("document", computed=True, rule=limits.document, kept_as=documents.compact),
        "recoveryWindowInDays": Property("int", default=30, rule=limits.between(7, 30, 0)),
        "forceOverwriteReplicaSecret": Property("bool", default=False),
        "arn": output(),
        "replicas": output("blocks"),
        **TAGS,
    },
    _create,
    _read,
    _delete,
    _update,
    autoname="name",
    regional=True,
)

# ---- versions of a secret's value


def _create_version(aws: Aws, want: State, state: State) -> None:
    if want.get("secretBinary"):
        value: dict[str, Any] = {"SecretBinary": base64.b64decode(want["secretBinary"])}
    else:
        value = {"SecretString": want["secretString"]} if want.get("secretString") else {}
    if want.get("versionStages"):
        value["VersionStages"] = want["versionStages"]
    version = _client(aws).put_secret_value(SecretId=want["secretId"], ClientRequestToken=unique_id(), **value)
    state["id"] = f"{want['secretId']}|{version['VersionId']}"


def _of(version_id: str) -> dict[str, str]:
    secret, bar, version = version_id.rpartition("|")
    if not (secret and bar and version):
        raise ProviderError(f"the id of a SecretVersion is secret-arn|version-id, not {version_id!r}")
    return {"SecretId": secret, "VersionId": version}


def _read_version(aws: Aws, state: State) -> State | None:
    try:
        found = _client(aws).get_secret_value(**_of(state["id"]))
    except ClientError as error:
        if error.response["Error"]["Code"] == "InvalidRequestException":  # the secret is marked for deletion
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


def _update_version(aws: Aws, want: State, state: State) -> None:
    version = _of(state["id"])
    wanted, present = set(want["versionStages"]), set(state["versionStages"])
    for stage in sorted(wanted - present):
        holder = _holder(aws, version["SecretId"], stage)
        _client(aws).update_secret_version_stage(
            SecretId=version["SecretId"],
            VersionStage=stage,
            MoveToVersionId=version["VersionId"],
            **({"RemoveFromVersionId": holder} if holder else {}),
        )
    _remove_stages(aws, version, present - wanted)


def _holder(aws: Aws, secret: str, stage: str) -> str | None:
    versions = _client(aws).describe_secret(SecretId=secret).get("VersionIdsToStages", {})
    return next((version for version, stages in versions.items() if stage in stages), None)


def _remove_stages(aws: Aws, version: dict[str, str], stages: set[str]) -> None:
    for stage in sorted(stages - {_CURRENT}):  # AWSCURRENT can be moved, never removed
        _client(aws).update_secret_version_stage(
            SecretId=version["SecretId"], VersionStage=stage, RemoveFromVersionId=version["VersionId"]
        )


def _delete_version(aws: Aws, state: State) -> None:
    _remove_stages(aws, _of(state["id"]), set(state.get("versionStages") or ()))


SECRET_VERSION = Resource(
    "aws:secretsmanager/secretVersion:SecretVersion",
    {
        "secretId": Property(required=True, replaces=True),
        "secretString": Property(replaces=True, secret=True, conflicts=("secretBinary",)),
        "secretBinary": Property(replaces=True, secret=True, rule=limits.base64_text, conflicts=("secretString",)),
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

"""KMS: keys and aliases."""

from typing import Any

from . import documents, limits, tags
from .aws import Aws, all_pages
from .schema import TAGS, Property, Resource, output
from .unique import prefix_of, unique_id
from .values import State


def _client(aws: Aws) -> Any:
    return aws.client("kms")


# ---- keys


def _create(aws: Aws, want: State, state: State) -> None:
    tagged = aws.tagging.all(want["tags"])
    optional = {
        "Description": want.get("description"),
        "Policy": want.get("policy"),
        "CustomKeyStoreId": want.get("customKeyStoreId"),
        "XksKeyId": want.get("xksKeyId"),
        "Tags": [{"TagKey": key, "TagValue": value} for key, value in tagged.items()],
    }
    key = _client(aws).create_key(
        KeySpec=want["customerMasterKeySpec"],
        KeyUsage=want["keyUsage"],
        MultiRegion=bool(want.get("multiRegion")),
        BypassPolicyLockoutSafetyCheck=want["bypassPolicyLockoutSafetyCheck"],
        **{name: value for name, value in optional.items() if value},
    )
    state["id"] = key["KeyMetadata"]["KeyId"]
    if want["enableKeyRotation"]:
        _rotate(aws, state["id"], want)
    if not want["isEnabled"]:
        _client(aws).disable_key(KeyId=state["id"])


def _rotate(aws: Aws, key: str, want: State) -> None:
    period = want.get("rotationPeriodInDays")
    _client(aws).enable_key_rotation(KeyId=key, **({"RotationPeriodInDays": period} if period else {}))


def _read(aws: Aws, state: State) -> State | None:
    client, key = _client(aws), state["id"]
    about = client.describe_key(KeyId=key)["KeyMetadata"]
    if about["KeyState"] in ("PendingDeletion", "PendingReplicaDeletion"):
        return None
    policy = client.get_key_policy(KeyId=key, PolicyName="default")["Policy"]
    can_rotate = about["KeySpec"] == "SYMMETRIC_DEFAULT" and about["Origin"] == "AWS_KMS"
    rotation = client.get_key_rotation_status(KeyId=key) if can_rotate else {}
    rotates = bool(rotation.get("KeyRotationEnabled"))
    listed = all_pages(client, "list_resource_tags", "Tags", KeyId=key)
    own, everything = aws.tagging.split({tag["TagKey"]: tag["TagValue"] for tag in listed}, state.get("tags"))
    return {
        "arn": about["Arn"],
        "keyId": about["KeyId"],
        "description": about.get("Description", ""),
        "customerMasterKeySpec": about["KeySpec"],
        "keyUsage": about["KeyUsage"],
        "isEnabled": about["Enabled"],
        "customKeyStoreId": about.get("CustomKeyStoreId", ""),
        "multiRegion": bool(about.get("MultiRegion")),
        "xksKeyId": about.get("XksKeyConfiguration", {}).get("Id", ""),
        "enableKeyRotation": rotates,
        "rotationPeriodInDays": rotation.get("RotationPeriodInDays", 0) if rotates else 0,
        "policy": documents.compact(documents.kept(state.get("policy"), policy)),
        "tags": own,
        "tagsAll": everything,
    }


def _update(aws: Aws, want: State, state: State) -> None:
    client, key = _client(aws), state["id"]
    if want["isEnabled"] and not state["isEnabled"]:  # a disabled key takes no other changes
        client.enable_key(KeyId=key)
    turning = (want["enableKeyRotation"], want.get("rotationPeriodInDays"))
    if turning != (state.get("enableKeyRotation"), state.get("rotationPeriodInDays")):
        if want["enableKeyRotation"]:
            _rotate(aws, key, want)
        else:
            client.disable_key_rotation(KeyId=key)
    if (want.get("description") or "") != state.get("description"):
        client.update_key_description(KeyId=key, Description=want.get("description") or "")
    if documents.meaning(want.get("policy")) != documents.meaning(state.get("policy")):
        client.put_key_policy(
            KeyId=key,
            PolicyName="default",
            Policy=want["policy"],
            BypassPolicyLockoutSafetyCheck=want["bypassPolicyLockoutSafetyCheck"],
        )
    gone, new = tags.difference(state.get("tagsAll"), want["tagsAll"])
    if gone:
        client.untag_resource(KeyId=key, TagKeys=gone)
    if new:
        client.tag_resource(KeyId=key, Tags=[{"TagKey": name, "TagValue": value} for name, value in new.items()])
    if state["isEnabled"] and not want["isEnabled"]:
        client.disable_key(KeyId=key)


def _delete(aws: Aws, state: State) -> None:
    window = state.get("deletionWindowInDays")
    _client(aws).schedule_key_deletion(KeyId=state["id"], **({"PendingWindowInDays": window} if window else {}))


def _key_id(key: str | None) -> str | None:
    """A key's id, also out of its ARN: both name the same key."""
    return key.rsplit("key/", 1)[-1] if key else key


_SPECS = (
    "SYMMETRIC_DEFAULT",
    "RSA_2048",
    "RSA_3072",
    "RSA_4096",
    "ECC_NIST_P256",
    "ECC_NIST_P384",
    "ECC_NIST_P521",
    "ECC_SECG_P256K1",
    "HMAC_224",
    "HMAC_256",
    "HMAC_384",
    "HMAC_512",
    "SM2",
)

KEY = Resource(
    "aws:kms/key:Key",
    {
        "description": Property(computed=True, rule=limits.at_most(8192)),
        "customerMasterKeySpec": Property(default="SYMMETRIC_DEFAULT", replaces=True, rule=limits.one_of(*_SPECS)),
        "keyUsage": Property(
            default="ENCRYPT_DECRYPT",
            replaces=True,
            rule=limits.one_of("ENCRYPT_DECRYPT", "SIGN_VERIFY", "GENERATE_VERIFY_MAC", "KEY_AGREEMENT"),
        ),
        "isEnabled": Property("bool", default=True),
        "enableKeyRotation": Property("bool", default=False),
        "rotationPeriodInDays": Property(
            "int", computed=True, rule=limits.between(90, 2560), needs=("enableKeyRotation",)
        ),
        "deletionWindowInDays": Property("int", rule=limits.between(7, 30)),
        "multiRegion": Property("bool", computed=True, replaces=True),
        "policy": Property("document", computed=True, rule=limits.document, kept_as=documents.compact),
        "bypassPolicyLockoutSafetyCheck": Property("bool", default=False),
        "customKeyStoreId": Property(replaces=True),
        "xksKeyId": Property(replaces=True),
        "arn": output(),
        "keyId": output(),
        **TAGS,
    },
    _create,
    _read,
    _delete,
    _update,
    regional=True,
)

# ---- aliases


def _create_alias(aws: Aws, want: State, state: State) -> None:
    name = want.get("name") or unique_id(want.get("namePrefix") or "alias/")
    _client(aws).create_alias(AliasName=name, TargetKeyId=want["targetKeyId"])
    state["id"] = name


def _read_alias(aws: Aws, state: State) -> State | None:
    for alias in all_pages(_client(aws), "list_aliases", "Aliases"):
        if alias["AliasName"] == state["id"] and "TargetKeyId" in alias:
            key_arn = alias["AliasArn"].rsplit(":", 1)[0] + f":key/{alias['TargetKeyId']}"
            return {
                "arn": alias["AliasArn"],
                "name": alias["AliasName"],
                "namePrefix": prefix_of(alias["AliasName"]),
                "targetKeyArn": key_arn,
                "targetKeyId": alias["TargetKeyId"],
            }
    return None


def _update_alias(aws: Aws, want: State, state: State) -> None:
    _client(aws).update_alias(AliasName=state["id"], TargetKeyId=want["targetKeyId"])


def _delete_alias(aws: Aws, state: State) -> None:
    _client(aws).delete_alias(AliasName=state["id"])


_ALIAS = limits.text("alias/ and then ASCII letters, digits and /_- (not alias/aws/)", r"alias/(?!aws/)[\w/-]*")

ALIAS = Resource(
    "aws:kms/alias:Alias",
    {
        "name": Property(computed=True, replaces=True, rule=_ALIAS, conflicts=("namePrefix",)),
        "namePrefix": Property(computed=True, replaces=True, rule=_ALIAS, conflicts=("name",)),
        "targetKeyId": Property(required=True, alike=_key_id),
        "arn": output(),
        "targetKeyArn": output(),
    },
    _create_alias,
    _read_alias,
    _delete_alias,
    _update_alias,
    autoname="name",
    regional=True,
)

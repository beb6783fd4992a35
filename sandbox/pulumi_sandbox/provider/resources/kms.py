"""KMS: keys and aliases."""

from typing import Any

from pulumi_sandbox.provider import input_rules, policy_documents, tags
from pulumi_sandbox.provider.clients import Aws, all_pages
from pulumi_sandbox.provider.schema import TAGS, Property, ResourceType, output
from pulumi_sandbox.provider.unique_ids import prefix_of, unique_id
from pulumi_sandbox.provider.values import State


def _client(aws: Aws) -> Any:
    return aws.client("kms")


# ---- keys


def _create(aws: Aws, desired: State, state: State) -> None:
    tagged = aws.tagging.all(desired["tags"])
    optional = {
        "Description": desired.get("description"),
        "Policy": desired.get("policy"),
        "CustomKeyStoreId": desired.get("customKeyStoreId"),
        "XksKeyId": desired.get("xksKeyId"),
        "Tags": [{"TagKey": key, "TagValue": value} for key, value in tagged.items()],
    }
    key = _client(aws).create_key(
        KeySpec=desired["customerMasterKeySpec"],
        KeyUsage=desired["keyUsage"],
        MultiRegion=bool(desired.get("multiRegion")),
        BypassPolicyLockoutSafetyCheck=desired["bypassPolicyLockoutSafetyCheck"],
        **{name: value for name, value in optional.items() if value},
    )
    state["id"] = key["KeyMetadata"]["KeyId"]
    if desired["enableKeyRotation"]:
        _rotate(aws, state["id"], desired)
    if not desired["isEnabled"]:
        _enable(aws, state["id"], False)


# After a change the real provider reads until it has seen the new value so many times in a row.
_SEEN, _SEEN_STATE = 5, 15


def _rotate(aws: Aws, key: str, desired: State) -> None:
    period = desired.get("rotationPeriodInDays")
    if desired["enableKeyRotation"]:
        _client(aws).enable_key_rotation(KeyId=key, **({"RotationPeriodInDays": period} if period else {}))
    else:
        _client(aws).disable_key_rotation(KeyId=key)
    for _ in range(_SEEN):
        _client(aws).get_key_rotation_status(KeyId=key)


def _enable(aws: Aws, key: str, enabled: bool) -> None:
    (_client(aws).enable_key if enabled else _client(aws).disable_key)(KeyId=key)
    for _ in range(_SEEN_STATE):
        _client(aws).describe_key(KeyId=key)


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
        "policy": policy_documents.compact(policy_documents.kept(state.get("policy"), policy)),
        "tags": own,
        "tagsAll": everything,
    }


def _update(aws: Aws, desired: State, state: State) -> None:
    client, key = _client(aws), state["id"]
    if desired["isEnabled"] and not state["isEnabled"]:  # a disabled key takes no other changes
        _enable(aws, key, True)
    turning = (desired["enableKeyRotation"], desired.get("rotationPeriodInDays"))
    if turning != (state.get("enableKeyRotation"), state.get("rotationPeriodInDays")):
        _rotate(aws, key, desired)
    if (desired.get("description") or "") != state.get("description"):
        client.update_key_description(KeyId=key, Description=desired.get("description") or "")
        for _ in range(_SEEN):
            client.describe_key(KeyId=key)
    if policy_documents.meaning(desired.get("policy")) != policy_documents.meaning(state.get("policy")):
        client.put_key_policy(
            KeyId=key,
            PolicyName="default",
            Policy=desired["policy"],
            BypassPolicyLockoutSafetyCheck=desired["bypassPolicyLockoutSafetyCheck"],
        )
        for _ in range(_SEEN):
            client.get_key_policy(KeyId=key, PolicyName="default")
    removed, new = tags.difference(state.get("tagsAll"), desired["tagsAll"])
    if removed:
        client.untag_resource(KeyId=key, TagKeys=removed)
    if new:
        client.tag_resource(KeyId=key, Tags=[{"TagKey": name, "TagValue": value} for name, value in new.items()])
    if removed or new:
        for _ in range(_SEEN):
            client.list_resource_tags(KeyId=key)
    if state["isEnabled"] and not desired["isEnabled"]:
        _enable(aws, key, False)


def _delete(aws: Aws, state: State) -> None:
    window = state.get("deletionWindowInDays")
    _client(aws).schedule_key_deletion(KeyId=state["id"], **({"PendingWindowInDays": window} if window else {}))
    _client(aws).describe_key(KeyId=state["id"])


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

KEY = ResourceType(
    "aws:kms/key:Key",
    {
        "description": Property(computed=True, rule=input_rules.at_most(8192)),
        "customerMasterKeySpec": Property(default="SYMMETRIC_DEFAULT", replaces=True, rule=input_rules.one_of(*_SPECS)),
        "keyUsage": Property(
            default="ENCRYPT_DECRYPT",
            replaces=True,
            rule=input_rules.one_of("ENCRYPT_DECRYPT", "SIGN_VERIFY", "GENERATE_VERIFY_MAC", "KEY_AGREEMENT"),
        ),
        "isEnabled": Property("bool", default=True),
        "enableKeyRotation": Property("bool", default=False),
        "rotationPeriodInDays": Property(
            "int", computed=True, rule=input_rules.between(90, 2560), needs=("enableKeyRotation",)
        ),
        "deletionWindowInDays": Property("int", rule=input_rules.between(7, 30)),
        "multiRegion": Property("bool", computed=True, replaces=True),
        "policy": Property("document", computed=True, rule=input_rules.document, normalize=policy_documents.compact),
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


def _create_alias(aws: Aws, desired: State, state: State) -> None:
    name = desired.get("name") or unique_id(desired.get("namePrefix") or "alias/")
    _client(aws).create_alias(AliasName=name, TargetKeyId=desired["targetKeyId"])
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


def _update_alias(aws: Aws, desired: State, state: State) -> None:
    _client(aws).update_alias(AliasName=state["id"], TargetKeyId=desired["targetKeyId"])


def _delete_alias(aws: Aws, state: State) -> None:
    _client(aws).delete_alias(AliasName=state["id"])


_ALIAS = input_rules.text("alias/ and then ASCII letters, digits and /_- (not alias/aws/)", r"alias/(?!aws/)[\w/-]*")

ALIAS = ResourceType(
    "aws:kms/alias:Alias",
    {
        "name": Property(computed=True, replaces=True, rule=_ALIAS, conflicts=("namePrefix",)),
        "namePrefix": Property(computed=True, replaces=True, rule=_ALIAS, conflicts=("name",)),
        "targetKeyId": Property(required=True, normalize_for_diff=_key_id),
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

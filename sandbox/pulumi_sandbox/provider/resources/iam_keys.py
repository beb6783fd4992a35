"""IAM access keys: the secret exists once, at creation, and is only ever kept in the stack's state."""

import base64
import hashlib
import hmac
from typing import Any

from pulumi_sandbox.provider import input_rules, pgp
from pulumi_sandbox.provider.clients import Aws, all_pages
from pulumi_sandbox.provider.schema import Property, ResourceType, output
from pulumi_sandbox.provider.values import ProviderError, State


def ses_smtp_password_v4(secret_access_key: str, region: str) -> str:
    """The password for SES's SMTP interface in a region, as the SES developer guide derives it from a key."""
    signature = f"AWS4{secret_access_key}".encode()
    for part in ("11111111", region, "ses", "aws4_request", "SendRawEmail"):
        signature = hmac.new(signature, part.encode(), hashlib.sha256).digest()
    return base64.b64encode(b"\x04" + signature).decode()


def _create(aws: Aws, desired: State, state: State) -> State:
    key = aws.iam.create_access_key(UserName=desired["user"])["AccessKey"]
    state["id"] = key["AccessKeyId"]
    secret = key["SecretAccessKey"]
    smtp_password = ses_smtp_password_v4(secret, aws.region)
    if desired["pgpKey"]:
        recipient = pgp.certificate(desired["pgpKey"])
        state |= {
            "keyFingerprint": recipient.fingerprint,
            "encryptedSecret": pgp.encrypted(secret, recipient),
            "encryptedSesSmtpPasswordV4": pgp.encrypted(smtp_password, recipient),
        }
    else:
        state |= {"secret": secret, "sesSmtpPasswordV4": smtp_password}
    if desired["status"] == "Inactive":
        _set_status(aws, desired, state)
    return _properties(key) | {"status": desired["status"]}


def _set_status(aws: Aws, desired: State, state: State) -> None:
    aws.iam.update_access_key(UserName=state["user"], AccessKeyId=state["id"], Status=desired["status"])


def _read(aws: Aws, state: State) -> State | None:
    for key in all_pages(aws.iam, "list_access_keys", "AccessKeyMetadata", UserName=state["user"]):
        if key["AccessKeyId"] == state["id"]:
            return _properties(key)
    return None


def _properties(key: Any) -> State:
    return {
        "user": key["UserName"],
        "status": key["Status"],
        "createDate": f"{key['CreateDate']:%Y-%m-%dT%H:%M:%SZ}",
    }


def _delete(aws: Aws, state: State) -> None:
    aws.iam.delete_access_key(UserName=state["user"], AccessKeyId=state["id"])


def _locate(aws: Aws, import_id: str) -> State:
    user = aws.iam.get_access_key_last_used(AccessKeyId=import_id).get("UserName")
    if not user:
        raise ProviderError(f"AWS knows no user of the access key {import_id}")
    return {"user": user}


ACCESS_KEY = ResourceType(
    "aws:iam/accessKey:AccessKey",
    {
        "user": Property(required=True, replaces=True),
        "pgpKey": Property(replaces=True, rule=pgp.usable),
        "status": Property(default="Active", rule=input_rules.one_of("Active", "Inactive")),
        "createDate": output(),
        "secret": output(secret=True),
        "sesSmtpPasswordV4": output(secret=True),
        "encryptedSecret": output(),
        "encryptedSesSmtpPasswordV4": output(),
        "keyFingerprint": output(),
    },
    _create,
    _read,
    _delete,
    _set_status,
    locate=_locate,
)

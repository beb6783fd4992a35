"""Delivery of a user's current key into a secret store, where consumers read it anew after each rotation."""

import json

import pulumi
from pulumi_aws import secretsmanager, ssm
from typing_extensions import NotRequired, TypedDict

from aws_access_keys.rules.names import stored_name


class StoreArgs(TypedDict):
    """Where in a store the key is put."""

    name: NotRequired[str]
    """Name in the store. Default `access-keys/USER`, with a leading `/` in SSM."""
    kms_key: NotRequired[pulumi.Input[str]]
    """KMS key (id, ARN or `alias/NAME`) instead of AWS's own."""


class DeliverArgs(TypedDict):
    """The stores of one user; each gets JSON with `aws_access_key_id` and `aws_secret_access_key`."""

    secrets_manager: NotRequired[StoreArgs]
    """AWS Secrets Manager; a rotation makes a new version, which becomes AWSCURRENT."""
    ssm: NotRequired[StoreArgs]
    """SSM Parameter Store, as SecureString."""


def deliver(
    component: str,
    user: str,
    key_id: pulumi.Output[str],
    secret: "pulumi.Output[str | None]",
    args: DeliverArgs,
    parent: pulumi.Resource,
) -> list[pulumi.Resource]:
    """Put a user's current key into the stores asked for, once AWS accepts it. Returns what the key lies in.

    The resources are named after their names in the store: a name that goes from one user to another is an update.
    """
    child = pulumi.ResourceOptions(parent=parent)

    def content(both: list[str | None]) -> str:
        if both[1] is None:
            raise pulumi.RunError(
                f"users.{user}.deliver: the secret of the access key {both[0]} is not known here (it was adopted "
                "without one, or is encrypted to a pgpKey), so it cannot be delivered; what was delivered before is "
                "left as it is. Raise the user's key serial for a key that can be delivered, or set deliver to null."
            )
        return json.dumps({"aws_access_key_id": both[0], "aws_secret_access_key": both[1]})

    value = pulumi.Output.secret(pulumi.Output.all(key_id, secret).apply(content))
    made: list[pulumi.Resource] = []
    if "secrets_manager" in args:
        store = args["secrets_manager"]
        stored = stored_name(user, store.get("name"), "secretsManager")
        name = f"{component}/{stored}"
        holder = secretsmanager.Secret(
            name,
            name=stored,
            description=f"Access key of IAM user {user}",
            kms_key_id=store.get("kms_key"),
            recovery_window_in_days=0,  # the key it holds is gone with it; a kept name would only block the next
            opts=child,
        )
        made.append(secretsmanager.SecretVersion(name, secret_id=holder.id, secret_string=value, opts=child))
    if "ssm" in args:
        store = args["ssm"]
        stored = stored_name(user, store.get("name"), "ssm")
        made.append(
            ssm.Parameter(
                f"{component}/{stored.removeprefix('/')}",
                name=stored,
                type="SecureString",
                description=f"Access key of IAM user {user}",
                key_id=store.get("kms_key"),
                value=value,
                opts=child,
            )
        )
    return made

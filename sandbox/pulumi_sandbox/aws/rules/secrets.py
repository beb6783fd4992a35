"""AWS's rules for secrets that await their deletion, which moto lets be changed; which version of a secret is current;
and the size of parameters."""

from __future__ import annotations

from typing import Any

from pulumi_sandbox.aws import account
from pulumi_sandbox.aws.response import AwsError
from pulumi_sandbox.aws.rules.rule import Context, rule

_STANDARD_PARAMETER = 4096
"""Characters in the value."""


@rule(
    "DeleteSecret",
    "GetSecretValue",
    "PutResourcePolicy",
    "PutSecretValue",
    "RotateSecret",
    "TagResource",
    "UntagResource",
    "UpdateSecret",
    "UpdateSecretVersionStage",
    service="secretsmanager",
)
def marked_for_deletion(context: Context) -> None:
    """Until RestoreSecret such a secret can only be looked at, and be deleted at once.

    Source: InvalidRequestException in the Secrets Manager API reference of each action.
    """
    if _is_marked(context, context.given["SecretId"]) and not context.given.get("ForceDeleteWithoutRecovery"):
        text = "You can't perform this operation on the secret because it was marked for deletion."
        raise AwsError("InvalidRequestException", text)


@rule("CreateSecret", service="secretsmanager")
def name_of_one_marked_for_deletion(context: Context) -> None:
    if _is_marked(context, context.given["Name"]):
        text = "You can't create this secret because a secret with this name is already scheduled for deletion."
        raise AwsError("InvalidRequestException", text)


@rule("GetSecretValue", "PutSecretValue", service="secretsmanager")
def current_version(context: Context) -> None:
    """The version with the label AWSCURRENT, which moto takes for another one after UpdateSecretVersionStage."""
    if secret := _secret(context, context.given["SecretId"]):
        source = getattr(secret, "source", secret)  # of a replica
        for version, one in source.versions.items():
            if "AWSCURRENT" in one["version_stages"]:
                source.set_default_version_id(version)


@rule("PutParameter", service="ssm")
def parameter_size(context: Context) -> None:
    """Source: "Managing parameter tiers" in the Systems Manager user guide."""
    is_standard = context.given.get("Tier", "Standard") == "Standard"
    if is_standard and len(context.given["Value"]) > _STANDARD_PARAMETER:
        raise AwsError(
            "ValidationException",
            f"Standard tier parameters support a maximum parameter value of {_STANDARD_PARAMETER} characters. To create"
            " a larger parameter value, upgrade the parameter to use the advanced-parameter tier.",
        )


def _secret(context: Context, name: str) -> Any:
    """moto's secret or replica; None if there is none."""
    from moto.secretsmanager.models import secretsmanager_backends

    return secretsmanager_backends[account.current()][context.request.region].secrets.get(name)


def _is_marked(context: Context, name: str) -> bool:
    secret = _secret(context, name)
    return secret is not None and secret.is_deleted()

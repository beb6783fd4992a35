"""AWS's rules for secrets that await their deletion: moto lets them be changed."""

from __future__ import annotations

from typing import Any

from pulumi_sandbox.aws import account
from pulumi_sandbox.aws.response import AwsError
from pulumi_sandbox.aws.rules.rule import Context, rule


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


def _is_marked(context: Context, name: str) -> bool:
    from moto.secretsmanager.models import secretsmanager_backends

    secret: Any = secretsmanager_backends[account.current()][context.request.region].secrets.get(name)
    return secret is not None and secret.is_deleted()

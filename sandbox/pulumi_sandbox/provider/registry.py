"""Everything the emulated provider knows, by token."""

from difflib import get_close_matches

from pulumi_sandbox.provider import functions
from pulumi_sandbox.provider.resources import (
    iam_identities,
    iam_keys,
    iam_policies,
    kms,
    s3,
    s3_settings,
    secretsmanager,
    ssm,
)
from pulumi_sandbox.provider.schema import Function, ResourceType
from pulumi_sandbox.provider.values import ProviderError

RESOURCES: dict[str, ResourceType] = {
    resource.token: resource
    for resource in (
        iam_identities.GROUP,
        iam_identities.USER,
        iam_identities.USER_GROUP_MEMBERSHIP,
        iam_keys.ACCESS_KEY,
        iam_policies.POLICY,
        iam_policies.GROUP_POLICY,
        iam_policies.USER_POLICY,
        iam_policies.GROUP_POLICY_ATTACHMENT,
        iam_policies.USER_POLICY_ATTACHMENT,
        secretsmanager.SECRET,
        secretsmanager.SECRET_POLICY,
        secretsmanager.SECRET_VERSION,
        ssm.PARAMETER,
        kms.KEY,
        kms.ALIAS,
        s3.BUCKET,
        s3_settings.VERSIONING,
        s3_settings.ENCRYPTION,
        s3_settings.PUBLIC_ACCESS_BLOCK,
        s3_settings.POLICY,
        s3_settings.LIFECYCLE,
    )
}
FUNCTIONS: dict[str, Function] = {function.token: function for function in functions.FUNCTIONS}


def resource(token: str) -> ResourceType:
    """The description of a resource type; ProviderError lists the known ones."""
    if token not in RESOURCES:
        raise ProviderError(_unknown("resource type", token, RESOURCES))
    return RESOURCES[token]


def function(token: str) -> Function:
    """The description of a function; ProviderError lists the known ones."""
    if token not in FUNCTIONS:
        raise ProviderError(_unknown("function", token, FUNCTIONS))
    return FUNCTIONS[token]


def _unknown(what: str, token: str, known: dict[str, ResourceType] | dict[str, Function]) -> str:
    near = get_close_matches(token, known, 1, 0.8)
    return (
        f"the emulated provider does not know the {what} {token}"
        + (f" (did you mean {near[0]}?)" if near else "")
        + f". It knows {', '.join(sorted(known))}. For anything else use the real provider: "
        "pulumi-sandbox start --real-provider"
    )

"""Items in IAM of removed users that this stack does not manage: IAM deletes no user who still has any.

Source: DeleteUser in the IAM API reference.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

from aws_access_keys.account import Account, AwsQueryError
from aws_access_keys.planning import in_parallel
from aws_access_keys.rules.problem import Problem, Spelling
from aws_access_keys.state import UserState

_QUARANTINE = "AWSCompromisedKeyQuarantine"

_Found = Callable[[Any], Iterator[str]]
_ATTACHED: dict[str, _Found] = {
    "get_login_profile": lambda _: iter(["a console password"]),
    "list_mfa_devices": lambda found: (f"the MFA device {device['SerialNumber']}" for device in found["MFADevices"]),
    "list_user_policies": lambda found: (f"the inline policy '{name}'" for name in found["PolicyNames"]),
    "list_attached_user_policies": lambda found: (_attached(p["PolicyName"]) for p in found["AttachedPolicies"]),
    "list_signing_certificates": lambda found: (
        f"the signing certificate {certificate['CertificateId']}" for certificate in found["Certificates"]
    ),
    "list_ssh_public_keys": lambda found: (f"the SSH key {key['SSHPublicKeyId']}" for key in found["SSHPublicKeys"]),
    "list_service_specific_credentials": lambda found: (
        f"a credential of {credential['ServiceName']}" for credential in found["ServiceSpecificCredentials"]
    ),
}
"""IAM operation for one user → what its response has, in words."""


def removal_problems(
    removed: Sequence[str], states: Mapping[str, UserState], spell: Spelling, account: Account
) -> tuple[list[Problem], list[str]]:
    """What keeps removed users from being deleted, and a line for each one that is deleted with what is listed."""
    found = in_parallel(lambda user: list(_unmanaged(user, states[user], account)), removed)
    problems: list[Problem] = []
    lines: list[str] = []
    for user, things in zip(removed, found, strict=True):
        listed = ", ".join(things)
        if things and states[user].force_destroy:
            lines.append(f"the user {user} is deleted with everything that this stack does not manage: {listed}")
        elif things:
            problems.append(
                Problem(
                    spell("users.{}", user),
                    f"the user cannot be removed, because {user} still has items in IAM that this stack does not "
                    f"manage: {listed}. Remove them in IAM, or restore the user with {spell('force_destroy')}: true, "
                    "run `pulumi up`, then remove the user.",
                )
            )
    return problems, lines


def _unmanaged(user: str, state: UserState, account: Account) -> Iterator[str]:
    known = {key.id for key in state.keys}
    with suppress(AwsQueryError):
        yield from (f"the access key {key.id}" for key in account.list_access_keys(user) if key.id not in known)
    for operation, describe in _ATTACHED.items():
        try:
            response = account.ask("iam", operation, UserName=user)
        except AwsQueryError:
            continue  # without the permission, IAM refuses when the user is deleted
        if response is not None:
            yield from describe(_without(response, state.policies))


def _without(response: Mapping[str, Any], own: Collection[str]) -> dict[str, Any]:
    """A response without the policies that the stack itself gave the user, and deletes first."""
    kept = dict(response)
    if "PolicyNames" in kept:
        kept["PolicyNames"] = [name for name in kept["PolicyNames"] if name not in own]
    if "AttachedPolicies" in kept:
        kept["AttachedPolicies"] = [policy for policy in kept["AttachedPolicies"] if policy["PolicyArn"] not in own]
    return kept


def _attached(policy: str) -> str:
    if policy.startswith(_QUARANTINE):
        return f"the policy {policy}, which AWS attaches when it finds one of the user's keys exposed publicly"
    return f"the attached policy {policy}"

"""AWS managed policies: from the name that people use to the ARN that IAM wants, offline.

The names and paths come from `managed_policies.txt`; `scripts/refresh_managed_policies.py` rewrites that file.
Sources: https://docs.aws.amazon.com/aws-managed-policy/latest/reference/about-managed-policy-reference.html (names
and paths) and https://docs.aws.amazon.com/IAM/latest/UserGuide/reference-arns.html (partitions).
"""

import re
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files

from aws_access_keys.rules.documents import Document, is_administrative
from aws_access_keys.rules.problem import did_you_mean

_ARN = re.compile(
    r"arn:(?P<partition>[a-z-]+):iam::(?P<owner>aws|\d{12}):policy/(?P<path>(?:[!-~]+/)?)(?P<name>[\w+=,.@-]+)"
)
_LINKED_ROLE_PATH = "aws-service-role/"


class PolicyError(ValueError):
    """A policy that cannot be attached to a group; its text explains why and what to do."""


def partition_of(region: str) -> str:
    """The AWS partition of a region: `cn-north-1` → `aws-cn`, `us-gov-west-1` → `aws-us-gov`, else `aws`."""
    if region.startswith("cn-"):
        return "aws-cn"
    return "aws-us-gov" if region.startswith("us-gov-") else "aws"


@cache
def managed_policies() -> dict[str, str]:
    """AWS managed policies known offline: name → path with name (`ViewOnlyAccess` → `job-function/ViewOnlyAccess`)."""
    lines = files("aws_access_keys.rules").joinpath("managed_policies.txt").read_text("utf-8").splitlines()
    return {line.rsplit("/", 1)[-1]: line for line in lines if line and not line.startswith("#")}


def attachable_policies() -> list[str]:
    """The names of the AWS managed policies known offline, without those of service-linked roles."""
    return [name for name, path in managed_policies().items() if not path.startswith(_LINKED_ROLE_PATH)]


def policy_arn(policy: str, partition: str = "aws", own: Sequence[str] = ()) -> str:
    """The ARN of a managed policy given by name or by ARN. own: further names that could have been meant.

    `AmazonS3FullAccess` → `arn:aws:iam::aws:policy/AmazonS3FullAccess`. An ARN is taken as it is, so that a policy
    newer than this program's list can be used. Raises PolicyError.
    """
    if policy.startswith("arn:"):
        return _checked_arn(policy, partition)
    known = managed_policies()
    path = known.get(policy)
    if path is None:
        raise PolicyError(
            f"'{policy}' is not a known AWS managed policy.{did_you_mean(policy, [*known, *own], _without_vendor)} "
            "Specify one that exists in your account, or is newer than this program, by its ARN; to create one, add "
            "its policy document to this stack."
        )
    if path.startswith(_LINKED_ROLE_PATH):
        raise PolicyError(
            f"'{policy}' is reserved for a service-linked role and cannot be attached. Choose another policy."
        )
    return f"arn:{partition}:iam::aws:policy/{path}"


def _without_vendor(name: str) -> str:
    """People leave out `Amazon` or `AWS`: S3FullAccess for AmazonS3FullAccess."""
    return name.casefold().removeprefix("amazon").removeprefix("aws")


def _checked_arn(arn: str, partition: str) -> str:
    match = _ARN.fullmatch(arn)
    if match is None:
        raise PolicyError(
            f"'{arn}' is not the ARN of an IAM managed policy, which is arn:{partition}:iam::aws:policy/NAME for AWS's "
            f"and arn:{partition}:iam::123456789012:policy/NAME for yours."
        )
    if match["partition"] != partition:
        raise PolicyError(
            f"'{arn}' belongs to partition {match['partition']}, but this stack is in partition {partition}. "
            f"Write arn:{partition}:..., or only the name of an AWS managed policy."
        )
    if match["owner"] == "aws" and match["path"] == _LINKED_ROLE_PATH:
        raise PolicyError(
            f"'{arn}' is reserved for a service-linked role and cannot be attached. Choose another policy."
        )
    return arn


_ADMINISTRATOR = {
    "AdministratorAccess": "allows everything",
    "IAMFullAccess": "lets its holder grant any permission, so it is as strong as AdministratorAccess",
    "PowerUserAccess": "allows everything except IAM and Organizations",
}


def administrator_warning(policies: Mapping[str, Document | None]) -> str | None:
    """Why policies amount to an administrator's; None where none does.

    policies: name or ARN → document, None where only the name is known.
    """
    found: list[str] = []
    for policy, document in policies.items():
        name = policy.rsplit("/", 1)[-1]
        if document is None and name in _ADMINISTRATOR:
            found.append(f"{name} {_ADMINISTRATOR[name]}")
        elif document is not None and is_administrative(document):
            found.append(f"{name} allows nearly everything, or lets its holder grant any permission")
    return f"{'; '.join(found)}. Anyone with a leaked key could do all of this." if found else None


def only_denies(arn: str) -> bool:
    """Whether this is one of AWS's managed policies that allow nothing."""
    return is_quarantine(arn) or re.fullmatch(r"arn:[a-z-]+:iam::aws:policy/AWSDenyAll", arn) is not None


def is_quarantine(arn: str) -> bool:
    """Whether AWS attaches this policy to a user of whom it found a key exposed."""
    return re.fullmatch(r"arn:[a-z-]+:iam::aws:policy/AWSCompromisedKeyQuarantine(V\d+)?", arn) is not None


def customer_policy(arn: str) -> str | None:
    """The name of a customer managed policy; None for one of AWS's, and for what is not the ARN of a policy."""
    return arn.rpartition("/")[2] if ":policy/" in arn and ":iam::aws:" not in arn else None


def policy_key(arn: str) -> str:
    """A short text that is the same for a policy given by name and by ARN, and has no `/`.

    It names the attachment in the Pulumi state: `AmazonS3FullAccess`, `job-function:ViewOnlyAccess`,
    `123456789012:policy:team:Own`.
    """
    return arn.split(":iam::", 1)[1].removeprefix("aws:policy/").replace("/", ":")

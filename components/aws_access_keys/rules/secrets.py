"""Secrets in AWS Secrets Manager: who may read one, in which regions it is, which one it is.

Sources: CreateSecret, PutResourcePolicy and ReplicateSecretToRegions in the Secrets Manager API reference,
"Resource-based policies" and "What's in a Secrets Manager secret" in its user guide.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import cast

from aws_access_keys.rules.documents import VERSION, allowing_statements, listed
from aws_access_keys.rules.problem import Problem
from aws_access_keys.rules.untyped import mapping

_ARN = re.compile(r"arn:([\w-]+):secretsmanager:[a-z0-9-]+:\d{12}:secret:([A-Za-z0-9/_+=.@-]+)-[A-Za-z0-9]{6}")
_PRINCIPAL = re.compile(r"arn:([\w-]+):(iam::\d{12}:(root|(user|role)/[!-~]+)|sts::\d{12}:assumed-role/[!-~]+/[!-~]+)")
_READ = ("secretsmanager:DescribeSecret", "secretsmanager:GetSecretValue")
_REGION = re.compile(r"[a-z]{2,3}(-[a-z]+)+-\d")


def secret_name(given: str) -> str:
    """The name of a secret that is given by its name or ARN. AWS appends six characters to the name in an ARN."""
    arn = _ARN.fullmatch(given)
    return arn[2] if arn else given


def existing_problems(where: str, given: str, partition: str) -> Iterator[Problem]:
    """Problems of the name or ARN of a secret that exists; those of a name are found with all others."""
    arn = _ARN.fullmatch(given)
    if given.startswith("arn:") and (arn is None or arn[1] != partition):
        text = f"'{given}' is not the complete ARN of a secret in the partition {partition}"
        yield Problem(where, f"{text}. Write the name, or the ARN that `aws secretsmanager describe-secret` shows.")


def reader_problems(where: str, readers: Sequence[str], partition: str) -> Iterator[Problem]:
    """Problems of the principals that may read a secret."""
    if not readers:
        yield Problem(where, "no readers. List the ARN of at least one, or remove the setting.")
    for index, reader in enumerate(readers):
        principal = _PRINCIPAL.fullmatch(reader)
        if principal is None or principal[1] != partition or "*" in reader:
            yield Problem(
                f"{where}[{index}]",
                f"'{reader}' is not the ARN of a user, role or account in the partition {partition}. Write it like "
                f"arn:{partition}:iam::123456789012:role/app; a secret's resource policy allows no wildcards in it.",
            )


def replica_problems(where: str, regions: Sequence[str]) -> Iterator[Problem]:
    """Problems of the regions to which a secret is replicated."""
    for index, region in enumerate(regions):
        if not _REGION.fullmatch(region):
            yield Problem(f"{where}[{index}]", f"'{region}' is not an AWS region. Write it like ap-northeast-2.")
        elif region in regions[:index]:
            yield Problem(f"{where}[{index}]", f"'{region}' is listed twice. Remove one of the two.")


def readers_policy(readers: Sequence[str]) -> str:
    """The resource policy with which these principals can read a secret, and nobody else can do more than before.

    Without any, it only denies anonymous requests, which nothing allows anyway. A secret that had readers keeps such a
    policy, because a deletion comes last in an update, and those who were removed could read the new key until then.
    """
    statement: dict[str, object] = {"Sid": "Readers", "Effect": "Allow", "Principal": {"AWS": sorted(readers)}}
    statement["Action"] = [*_READ]
    if not readers:
        statement |= {"Sid": "NoReaders", "Effect": "Deny", "Principal": "*"}
        statement["Condition"] = {"StringEquals": {"aws:PrincipalType": "Anonymous"}}
    return json.dumps({"Version": VERSION, "Statement": [{**statement, "Resource": "*"}]})


def is_covered(policy: str, readers: Sequence[str]) -> bool:
    """Whether nothing is lost of a secret's policy with one for these readers: `readers_policy` wrote it, or it allows
    them no more than that does."""
    statements = [mapping(one) for one in listed(mapping(json.loads(policy)).get("Statement"))]
    if json.loads(policy) == json.loads(readers_policy([])):
        return True
    allows = {"Sid", "Effect", "Principal", "Action", "Resource"}
    is_plain = all(
        one.get("Effect") == "Allow" and one.keys() <= allows and {*map(str, listed(one.get("Action")))} <= {*_READ}
        for one in statements
    )
    is_ours = [one.get("Sid") for one in statements] == ["Readers"]
    return is_plain and (is_ours or readers_in(policy) <= set(readers))


def readers_in(policy: str | None) -> set[str]:
    """Whom a resource policy allows something, also one that somebody changed; nobody without one."""
    found: set[str] = set()
    for statement in allowing_statements(mapping(json.loads(policy or "{}"))):
        principal = statement.get("Principal", "everybody")  # it has NotPrincipal then
        named = cast("Mapping[str, object]", principal) if isinstance(principal, Mapping) else {"": principal}
        found |= {str(reader) for readers in named.values() for reader in listed(readers)}
    return found

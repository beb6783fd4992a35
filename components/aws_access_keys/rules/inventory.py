"""What the authorization details of an account say of its users, and why to act on a key or a user."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple, get_args

from aws_access_keys.rules.documents import Document, is_administrative
from aws_access_keys.rules.findings import Finding, Rule
from aws_access_keys.rules.policies import administrator_warning, is_quarantine, only_denies

RULES: tuple[Rule, ...] = get_args(Rule)
"""What to act on, the most urgent first."""


class Policy(NamedTuple):
    """A policy that a user has, by itself or through a group."""

    label: str
    """Its name and where it comes from: `own (inline)`, `AdministratorAccess (group admins)`."""
    arn: str | None
    """None for an inline policy."""
    document: Document | None
    """None for a managed policy, whose document is with the managed policies."""


class AccountUser(NamedTuple):
    """A user of the account."""

    name: str
    arn: str
    policies: tuple[Policy, ...]
    boundary: str | None
    """ARN of the permissions boundary."""

    @property
    def quarantine(self) -> str | None:
        """The policy that AWS attached because it found a key of the user exposed; its newest version."""
        return max((policy.label for policy in self.policies if policy.arn and is_quarantine(policy.arn)), default=None)


class Authorization(NamedTuple):
    """What GetAccountAuthorizationDetails has."""

    users: tuple[AccountUser, ...]
    documents: Mapping[str, Document]
    """ARN of a managed policy → the document of its default version."""

    @property
    def unknown_policies(self) -> set[str]:
        """ARNs of managed policies that users have or that limit them, and whose documents are not there."""
        held = {policy.arn for user in self.users for policy in user.policies if policy.arn}
        held |= {user.boundary for user in self.users if user.boundary}
        named = (arn for arn in held if administrator_warning({arn: None}) or only_denies(arn))
        return held - set(self.documents) - set(named)


def parse_authorization(details: Iterable[Mapping[str, Any]]) -> Authorization:
    """The pages of GetAccountAuthorizationDetails, read. Source: https://docs.aws.amazon.com/IAM/latest/APIReference/API_GetAccountAuthorizationDetails.html"""
    pages = list(details)
    groups = {
        group["GroupName"]: tuple(_policies(group, "Group", f"group {group['GroupName']}"))
        for page in pages
        for group in page.get("GroupDetailList", ())
    }
    users = tuple(
        AccountUser(
            name=user["UserName"],
            arn=user["Arn"],
            policies=(
                *_policies(user, "User", ""),
                *(policy for name in user.get("GroupList", ()) for policy in groups.get(name, ())),
            ),
            boundary=user.get("PermissionsBoundary", {}).get("PermissionsBoundaryArn"),
        )
        for page in pages
        for user in page.get("UserDetailList", ())
    )
    documents = {
        policy["Arn"]: version["Document"]
        for page in pages
        for policy in page.get("Policies", ())
        for version in policy.get("PolicyVersionList", ())
        if version.get("IsDefaultVersion") and isinstance(version.get("Document"), dict)
    }
    return Authorization(users, documents)


def _policies(holder: Mapping[str, Any], kind: str, origin: str) -> Iterator[Policy]:
    for inline in holder.get(f"{kind}PolicyList", ()):
        found = inline.get("PolicyDocument")
        words = ", ".join(filter(None, ("inline", origin)))
        yield Policy(f"{inline['PolicyName']} ({words})", None, found if isinstance(found, dict) else {})
    for attached in holder.get("AttachedManagedPolicies", ()):
        where = f" ({origin})" if origin else ""
        yield Policy(f"{attached['PolicyName']}{where}", attached["PolicyArn"], None)


def administrator_policies(user: AccountUser, documents: Mapping[str, Document]) -> tuple[str, ...]:
    """The policies that make a user as strong as an administrator, unless its permissions boundary prevents that.

    Conditions and denying statements are not considered. A boundary whose document is not known limits nothing.
    """
    if user.boundary and not _is_administrative(user.boundary, documents.get(user.boundary, {"Statement": _ALL})):
        return ()
    return tuple(
        dict.fromkeys(
            policy.label
            for policy in user.policies
            if _is_administrative(policy.arn, policy.document or documents.get(policy.arn or "", {}))
        )
    )


_ALL = {"Effect": "Allow", "Action": "*", "Resource": "*"}


def _is_administrative(arn: str | None, document: Document) -> bool:
    """By the document, or by the name of one of AWS's policies."""
    by_name = arn is not None and ":iam::aws:" in arn and administrator_warning({arn: None}) is not None
    return by_name or is_administrative(document)


def risk_findings(
    *,
    is_root: bool,
    active: bool,
    quarantine: str | None,
    administrator: tuple[str, ...],
    has_second: bool,
    password: bool | None,
    mfa: bool | None,
) -> list[Finding]:
    """Why to act on a key that is not overdue, or on a user without one.

    active: whether there is a key that works. has_second: whether the user has another one that does, and not both
    belong to one rotation.
    """
    found: list[Finding] = []
    if is_root:
        found.append(Finding(rule="root", text="the root user, who may do everything, has an access key: delete it"))
    if active and quarantine:
        text = f"AWS found a key of this user exposed, and attached {quarantine}: replace the key and delete it"
        found.append(Finding(rule="quarantine", text=text))
    if active and administrator:
        text = f"as strong as an administrator, by {', '.join(administrator)}: grant less, or use a role"
        found.append(Finding(rule="administrator", text=text))
    if active and has_second:
        text = "the user has another active key: deactivate the one that is not needed"
        found.append(Finding(rule="second", text=text))
    if password and mfa is False:
        text = "the user can sign in to the console without MFA: enable MFA, or remove the password"
        found.append(Finding(rule="mfa", text=text))
    return found


def urgency(reasons: Iterable[Finding], age_days: int | None, name: str) -> tuple[Any, ...]:
    """The sort key of a row: root first, then by the most urgent reason, then by the next one, then the oldest key."""
    rules = {finding.rule for finding in reasons}
    return (*(rule not in rules for rule in RULES), -(age_days or 0), name)

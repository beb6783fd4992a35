"""What every rule of AWS's is made of. The rules themselves are in the other modules of this folder.

A rule looks at one request before moto does. It raises AwsError where AWS refuses, returns the response where it has
carried the request out itself (because moto does it wrongly), or returns None to let moto do it. All run under the
account's lock. Messages are those seen on AWS, unless a comment says otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pulumi_sandbox.aws import account
from pulumi_sandbox.aws.authentication import Caller
from pulumi_sandbox.aws.call_log import CallLog
from pulumi_sandbox.aws.faults import FaultInjector
from pulumi_sandbox.aws.request import ApiRequest
from pulumi_sandbox.aws.response import ApiResponse, AwsError, success_response
from pulumi_sandbox.aws.settings import Quotas, aws_name
from pulumi_sandbox.credentials import Credentials

if TYPE_CHECKING:
    from moto.iam.models import Group, IAMBackend, ManagedPolicy, User


@dataclass(frozen=True)
class Context:
    """One request with all that rules need to decide on it. `given` are its parameters by model name."""

    request: ApiRequest
    caller: Caller
    root: Credentials
    quotas: Quotas
    faults: FaultInjector
    calls: CallLog

    @property
    def given(self) -> dict[str, Any]:
        return self.request.parameters

    @property
    def store(self) -> IAMBackend:
        return account.iam(self.request.region)

    def user(self) -> User:
        """The user that UserName names. Raises NoSuchEntity."""
        return self.holder("User")[1]

    def group(self) -> Group:
        """The group that GroupName names. Raises NoSuchEntity."""
        return self.holder("Group")[1]

    def holder(self, *kinds: str) -> tuple[str, Any]:
        """Which of the kinds (User, Group, Role) the request names, and the one that it names. Raises NoSuchEntity."""
        kind = next(kind for kind in kinds or ("User", "Group", "Role") if f"{kind}Name" in self.given)
        name, store = self.given[f"{kind}Name"], self.store
        found = {"User": store.users, "Group": store.groups, "Role": store.roles}[kind]
        holder = next((one for one in found.values() if one.name == name), None) if kind == "Role" else found.get(name)
        if holder is None or (kind == "User" and self.request.reads and self.faults.is_stale(name)):
            raise AwsError("NoSuchEntity", f"The {kind.lower()} with name {name} cannot be found.")
        return kind, holder

    def policy(self, absent: str = "was not found.") -> ManagedPolicy:
        """The managed policy that PolicyArn names. Raises NoSuchEntity, worded with `absent`."""
        arn = self.given["PolicyArn"]
        if not arn.startswith("arn:") or len(arn.split(":")) < 6:
            raise AwsError("ValidationError", "Invalid ARN:  Could not be parsed!")
        policy = self.store.managed_policies.get(arn)
        if policy is None:
            raise AwsError("NoSuchEntity", f"Policy {arn} {absent}")
        return policy

    def success(self, content: dict[str, Any] | None = None) -> ApiResponse:
        """Success, with the members of the action's output."""
        return success_response(self.request, content or {})


Rule = Callable[[Context], "ApiResponse | None"]
RULES: dict[tuple[str, str], list[Rule]] = {}
"""Service and action → its rules, in the order in which they are applied."""


def rule(*actions: str, service: str = "iam") -> Callable[[Rule], Rule]:
    """Register a function as a rule for these actions."""

    def register(function: Rule) -> Rule:
        for action in actions:
            RULES.setdefault((service, action), []).append(function)
        return function

    return register


# Actions in which UserName may be left out and then means the user who calls.
_OWN_USER = {
    "CreateAccessKey",
    "UpdateAccessKey",
    "DeleteAccessKey",
    "ListAccessKeys",
    "GetUser",
    "ListMFADevices",
    "ListSSHPublicKeys",
    "ListSigningCertificates",
    "UploadSigningCertificate",
    "UpdateSigningCertificate",
    "DeleteSigningCertificate",
}


def apply(context: Context) -> ApiResponse | None:
    """Apply the rules for a request: raise what AWS refuses, respond to what moto gets wrong, else None."""
    request = context.request
    if request.service == "iam":
        _imply_user(context)
        for kind in ("User", "Group", "Role"):
            if f"{kind}Name" in context.given and request.action != f"Create{kind}":
                context.holder(kind)
    for function in RULES.get((request.service, request.action or ""), ()):
        if (response := function(context)) is not None:
            return response
    return None


def _imply_user(context: Context) -> None:
    if context.request.action not in _OWN_USER or "UserName" in context.given:
        return
    if context.caller.user is not None:
        context.request.set_parameter("UserName", context.caller.user.name)
    elif context.caller.role is not None:
        raise AwsError("ValidationError", "Must specify userName when calling with non-User credentials")


# ---- words and shapes that several rules share


def conflict(what: str) -> AwsError:
    """DeleteConflict: `what` must happen first."""
    return AwsError("DeleteConflict", f"Cannot delete entity, must {what} first.")


def check_quota(quotas: Quotas, name: str, used: int) -> None:
    """Raise LimitExceeded if one more than `used` is too many."""
    limit: int = getattr(quotas, name)
    if used >= limit:
        raise AwsError("LimitExceeded", f"Cannot exceed quota for {aws_name(name)}: {limit}")


def taken(name: str, names: Iterable[str]) -> bool:
    """Whether one of `names` is `name` regardless of case: AWS does not distinguish names by case."""
    lower = name.lower()
    return any(other.lower() == lower for other in names)


def user_summary(user: User) -> dict[str, Any]:
    """A user as lists show it: without tags and permissions boundary."""
    return {
        "Path": user.path,
        "UserName": user.name,
        "UserId": user.id,
        "Arn": user.arn,
        "CreateDate": user.create_date,
    }


def user_details(user: User) -> dict[str, Any]:
    """A user as CreateUser and GetUser show it."""
    return {
        **user_summary(user),
        "PermissionsBoundary": getattr(user, "permissions_boundary", None),
        "Tags": user.tags or None,
    }


def group_summary(group: Group) -> dict[str, Any]:
    """A group as every response shows it."""
    return {
        "Path": group.path,
        "GroupName": group.name,
        "GroupId": group.id,
        "Arn": group.arn,
        "CreateDate": group.create_date,
    }


def groups_of(context: Context, user: User) -> list[Group]:
    return [group for group in context.store.groups.values() if user in group.users]


def boundary(context: Context) -> dict[str, str]:
    """The permissions boundary that a request sets. Raises NoSuchEntity where there is no such policy."""
    arn = context.given["PermissionsBoundary"]
    if arn not in context.store.managed_policies:
        raise AwsError("NoSuchEntity", f"Scope ARN: {arn} does not exist or is not attachable.")
    return {"PermissionsBoundaryType": "Policy", "PermissionsBoundaryArn": arn}


def size(document: str) -> int:
    """A policy document's size as AWS counts it: characters without white space."""
    return sum(not letter.isspace() for letter in document)

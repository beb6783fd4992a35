"""The rules of the policy pack, one function each, without I/O.

A rule gets one resource, its stack and the rule's settings, and yields what is wrong with the resource. No message
contains the value of a property. Reading a property that is not known before the update raises UnknownValueError;
Pulumi itself would only warn about that, so `violations` turns it into a violation of the rule.

Docstrings name the rules of public benchmarks to which a rule corresponds, and Pulumi shows them with each violation:
CIS is the CIS AWS Foundations Benchmark 3.0; the others are AWS Security Hub, checkov and Prowler.
"""

import inspect
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from typing import Any, Protocol, cast

from aws_access_keys.rules.documents import Document, allowing_statements, is_administrative
from aws_access_keys.rules.policies import administrator_warning, only_denies
from aws_access_keys.rules.resource_types import (
    GROUP_MEMBERSHIP,
    GROUP_POLICY,
    GROUP_POLICY_ATTACHMENT,
    KEY,
    MEMBERSHIP,
    POLICY,
    POLICY_ATTACHMENT,
    USER,
    USER_POLICY,
    USER_POLICY_ATTACHMENT,
)
from pulumi_policy.proxy import UnknownValueError

Settings = Mapping[str, Any]


class Resource(Protocol):
    """A resource as pulumi_policy shows it to a policy. Reading a value in `props` may raise UnknownValueError."""

    resource_type: str
    urn: str
    props: Mapping[str, Any]
    property_dependencies: "dict[str, list[Resource]]"


@dataclass(frozen=True)
class Stack:
    """All resources of a stack, as they will be after the update, and the day of the update."""

    resources: Sequence[Resource]
    today: date

    @cached_property
    def users_in_groups(self) -> set[str]:
        """The names of the users that this stack adds to a group."""
        found: set[str] = set()
        for resource in self.resources:
            if resource.resource_type == MEMBERSHIP and len(resource.props["groups"]):
                found.add(resource.props["user"])
            if resource.resource_type == GROUP_MEMBERSHIP:
                found.update(resource.props["users"])
        return found


Check = Callable[[Resource, Stack, Settings], Iterator[str]]


@dataclass(frozen=True)
class Rule:
    """A rule. types: the resources that it looks at. settings: name → JSON schema with a default."""

    types: Sequence[str]
    settings: Mapping[str, dict[str, Any]]
    check: Check

    @property
    def name(self) -> str:
        return self.check.__name__.replace("_", "-")

    @property
    def description(self) -> str:
        return " ".join((inspect.getdoc(self.check) or "").split())


RULES: list[Rule] = []


def rule(*types: str, **settings: dict[str, Any]) -> Callable[[Check], Check]:
    """Adds a function to the list of rules, under its own name."""

    def add(check: Check) -> Check:
        RULES.append(Rule(types, settings, check))
        return check

    return add


class UnreadableError(Exception):
    """A property is known, but a rule cannot make sense of it."""


def violations(rule: Rule, stack: Stack, given: Settings) -> Iterator[tuple[str, str]]:
    """What breaks a rule: message and URN. given: the settings from the configuration file."""
    settings = {name: schema["default"] for name, schema in rule.settings.items()} | dict(given)
    for name in sorted(given.keys() - rule.settings.keys()):  # Pulumi itself ignores it
        yield f"The rule has no setting '{name}'. Its settings: {', '.join(rule.settings) or 'none'}.", ""
    for resource in stack.resources:
        if resource.resource_type not in rule.types:
            continue
        try:
            for message in rule.check(resource, stack, settings):
                yield message, resource.urn
        except UnknownValueError as error:
            place = ".".join(error.props)
            yield (
                f"This cannot be checked before the update: {place} is not known yet. Set it to a known value, or"
                " create the resource that it comes from in an earlier update.",
                resource.urn,
            )
        except UnreadableError as error:
            yield str(error), resource.urn


@rule(USER_POLICY, USER_POLICY_ATTACHMENT, POLICY_ATTACHMENT)
def no_policy_on_user_in_group(resource: Resource, stack: Stack, _: Settings) -> Iterator[str]:
    """A user in a group has no policy of its own that allows anything
    (CIS 1.15, Security Hub IAM.2, checkov CKV_AWS_40, Prowler iam_policy_attached_only_to_group_or_roles).
    """
    if stack.users_in_groups.intersection(_users(resource)) and not _only_denies(resource, stack):
        yield "The user is in a group, but this policy gives it more permissions. Attach the policy to a group instead."


@rule(USER_POLICY, GROUP_POLICY, USER_POLICY_ATTACHMENT, GROUP_POLICY_ATTACHMENT, POLICY_ATTACHMENT)
def no_administrator(resource: Resource, stack: Stack, _: Settings) -> Iterator[str]:
    """No policy gives the permissions of an administrator
    (CIS 1.16, Security Hub IAM.1, checkov CKV_AWS_62, CKV_AWS_274, CKV_AWS_286,
    Prowler iam_{aws_attached,customer_attached,inline}_policy_no_administrative_privileges).
    """
    document = _document_of(resource, stack)
    if document is None and administrator_warning({resource.props["policyArn"]: None}):
        yield (
            "This attaches AdministratorAccess, IAMFullAccess or PowerUserAccess. Attach policies that allow only what"
            " is needed."
        )
    if document is not None and is_administrative(document):
        yield (
            "The document allows everything, or lets its holder grant any permission. Allow only the actions and"
            " resources that are needed."
        )


@rule(USER, exempt={"type": "array", "items": {"type": "string"}, "default": []})
def user_in_group(resource: Resource, stack: Stack, settings: Settings) -> Iterator[str]:
    """Every user is in a group, so that permissions are granted to groups
    (CIS 1.15, checkov CKV2_AWS_21, AWS Config iam-user-group-membership-check).
    """
    if resource.props["name"] not in {*settings["exempt"], *stack.users_in_groups}:
        yield "The user is not in a group. Add it to one, or list its name under `exempt` in the rule's settings."


@rule(KEY, maxDays={"type": "integer", "minimum": 1, "default": 90})
def key_age(resource: Resource, stack: Stack, settings: Settings) -> Iterator[str]:
    """Active access keys are at most 90 days old
    (CIS 1.14, Security Hub IAM.3, Prowler iam_rotate_access_key_90_days).
    """
    days = int(settings["maxDays"])
    created = _created(resource)
    if created is None or (stack.today - created).days <= days:
        return
    # The update that issues the next key must not be refused because of the key that it replaces.
    keys = (other for other in stack.resources if other.resource_type == KEY)
    newest = [_created(other) for other in keys if other.props["user"] == resource.props["user"]]
    if None not in newest and stack.today not in newest and resource.props["status"] != "Inactive":
        yield f"The key is active and more than {days} days old. Rotate it, then retire it."


@rule(USER)
def permissions_boundary(resource: Resource, _stack: Stack, _: Settings) -> Iterator[str]:
    """Every user has a permissions boundary
    (AWS Well-Architected SEC03-BP05; CIS, Security Hub, checkov and Prowler have no such rule).
    """
    try:
        boundary = resource.props.get("permissionsBoundary")
    except UnknownValueError:
        boundary = _policy_that_gives(resource, "permissionsBoundary")
        if boundary is None:
            raise
    if not boundary:
        yield "The user has no permissions boundary. Set permissionsBoundary."


@rule(USER)
def no_force_destroy(resource: Resource, _stack: Stack, _: Settings) -> Iterator[str]:
    """Removing a user does not delete what others created for it in IAM
    (the rule is this project's own; CIS, Security Hub, checkov and Prowler have no such rule).
    """
    if resource.props.get("forceDestroy"):
        yield "With forceDestroy, removing the user also deletes its keys and devices that this stack does not manage."


@rule(USER, tags={"type": "array", "items": {"type": "string"}, "default": []})
def required_tags(resource: Resource, _stack: Stack, settings: Settings) -> Iterator[str]:
    """Every user has the required tags, or at least one tag if none is required (Security Hub IAM.25)."""
    required, tags, note = set(settings["tags"]), _names(resource.props.get("tags")), ""
    if not tags or required - tags:
        try:  # Those that the provider adds from its defaultTags are only in tagsAll.
            tags |= _names(resource.props.get("tagsAll"))
        except UnknownValueError:
            note = "; whether the provider adds them cannot be checked before the update: tagsAll is not known yet"
    if required - tags:
        yield f"Tags are missing: {', '.join(sorted(required - tags))}{note}."
    elif not tags:
        yield f"The user has no tags{note}."


def _names(tags: Mapping[str, str] | None) -> set[str]:
    return set(tags or ())


def _users(resource: Resource) -> list[str]:
    """The names of the users that a policy is attached to."""
    if resource.resource_type == POLICY_ATTACHMENT:
        return list(resource.props.get("users") or ())
    return [resource.props["user"]]


def _only_denies(resource: Resource, stack: Stack) -> bool:
    document = _document_of(resource, stack)
    if document is None:
        return only_denies(resource.props["policyArn"])
    return not any(allowing_statements(document))


def _document_of(resource: Resource, stack: Stack) -> Document | None:
    """The document that a resource attaches; None for a managed policy that this stack does not create."""
    if resource.resource_type in (USER_POLICY, GROUP_POLICY):
        return _document(resource)
    try:
        arn = resource.props["policyArn"]
    except UnknownValueError:
        policy = _policy_that_gives(resource, "policyArn")
        if policy is None:
            raise
    else:
        created = (other for other in stack.resources if other.resource_type == POLICY)
        policy = next((other for other in created if _known(other, "arn") == arn), None)
    return _document(policy) if policy else None


def _document(resource: Resource) -> Document:
    try:
        document = json.loads(resource.props["policy"])
    except (ValueError, TypeError, KeyError):
        document = None
    if not isinstance(document, dict):
        raise UnreadableError("This cannot be checked: the policy document is not a JSON object.") from None
    return cast("Document", document)


def _policy_that_gives(resource: Resource, name: str) -> Resource | None:
    """The policy of this stack that a property, unknown before the update, is the ARN of."""
    sources = resource.property_dependencies.get(name, [])
    return sources[0] if [source.resource_type for source in sources] == [POLICY] else None


def _created(key: Resource) -> date | None:
    """The day when a key was created; None for one that this update creates."""
    try:
        return date.fromisoformat(key.props["createDate"][:10])
    except UnknownValueError:
        return None
    except (ValueError, TypeError, KeyError):
        raise UnreadableError("This cannot be checked: the key has no createDate.") from None


def _known(resource: Resource, name: str) -> Any:
    """A property, or None where it is not known before the update."""
    try:
        return resource.props.get(name)
    except UnknownValueError:
        return None

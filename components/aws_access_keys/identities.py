"""IAM groups, users and what allows or limits them: policies, attachments, memberships, networks, boundaries."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import cast

import pulumi
from pulumi_aws import iam

from aws_access_keys.other_resources import other_givers
from aws_access_keys.rules.documents import compact
from aws_access_keys.rules.names import path_problems, tag_value_problems
from aws_access_keys.rules.networks import ALLOW_FROM, allow_from_document
from aws_access_keys.rules.policies import policy_arn, policy_key
from aws_access_keys.rules.problem import Problem, Spelling
from aws_access_keys.rules.s3_grants import grant_policies
from aws_access_keys.settings import AccessSettings
from aws_access_keys.state import ComponentState
from aws_access_keys.validation import arn_problems, refuse

Check = Callable[[str, str], Iterator[Problem]]
"""The problems of a value at a place in the settings: (place, value) → problems."""


class Identities:
    """Registers the groups and users of a component."""

    def __init__(
        self,
        component: pulumi.ComponentResource,
        name: str,
        settings: AccessSettings,
        spell: Spelling,
        partition: str,
        state: ComponentState,
    ) -> None:
        self._component, self._name, self._settings = component, name, settings
        self._spell, self._partition, self._state = spell, partition, state
        self.groups: dict[str, iam.Group] = {}
        self.users: dict[str, iam.User] = {}
        self.allowed: dict[str, list[pulumi.Resource]] = {}
        """User → everything that must exist before a key, and is deleted after it."""
        self._limits: dict[str, list[pulumi.Resource]] = {}
        self._permissions: dict[str, list[pulumi.Resource]] = {}
        for group in sorted(settings.groups):
            self._register_group(group)
        self._policies = {policy: self._policy(policy) for policy in sorted(settings.policy_documents)}
        for group in sorted(settings.groups):
            self._permit(group)
        for user in sorted(settings.users):
            self._register_user(user)

    @property
    def deciding(self) -> dict[tuple[str, str], list[pulumi.Resource]]:
        """(`groups` or `users`, name) → the resources that decide what it may do."""
        found: dict[tuple[str, str], list[pulumi.Resource]] = {}
        for group, made in self.groups.items():
            found["groups", group] = [made, *self._limits[group], *self._permissions[group]]
        for user, made in self.users.items():
            found["users", user] = [made, *self.allowed[user], *self._of_groups(user, self._limits)]
        return found

    def _register_group(self, group: str) -> None:
        """An IAM group and what limits it."""
        settings, name = self._settings.groups[group], f"{self._name}/{group}"
        path = self._once_known(settings.path, self._spell("groups.{}.path", group), path_problems)
        is_adopted = settings.adopt and group not in self._state.groups
        opts = pulumi.ResourceOptions(parent=self._component, import_=group if is_adopted else None)
        made = iam.Group(name, name=group, path=path, opts=opts)
        child = _options(made)
        limits: list[pulumi.Resource] = []
        if settings.allow_from is not None:
            document = compact(allow_from_document(settings.allow_from))
            policy = iam.GroupPolicy(
                f"{name}/{ALLOW_FROM}", group=made.name, name=ALLOW_FROM, policy=document, opts=child
            )
            limits.append(policy)
        self.groups[group], self._limits[group] = made, limits

    def _policy(self, policy: str) -> iam.Policy:
        """A customer managed policy. It allows nothing new before the limits of the groups that it is attached to."""
        groups = [group for group, found in self._settings.groups.items() if policy in found.policies]
        limits = [limit for group in groups for limit in self._limits[group]]
        document = compact(self._settings.policy_documents[policy])
        opts = pulumi.ResourceOptions(parent=self._component, depends_on=limits)
        return iam.Policy(f"{self._name}/{policy}", name=policy, policy=document, opts=opts)

    def _permit(self, group: str) -> None:
        """What gives a group permissions: inline policies, and attachments of managed ones."""
        settings, name, spell = self._settings.groups[group], f"{self._name}/{group}", self._spell
        made, limits = self.groups[group], self._limits[group]
        arns = self._arns(settings.policies)
        attached = {arn: key for key, arn in [*arns.items(), *settings.policy_arns.items()] if isinstance(arn, str)}
        stays = {*arns, *settings.policy_arns}

        def check(key: str, where: str, arn: str) -> Iterator[Problem]:
            yield from arn_problems(where, arn, self._partition)
            if (other := attached.setdefault(arn, key)) != key:
                yield Problem(where, f"the group has the policy {arn} already, as '{other}'. Remove one of the two.")
            for why in other_givers(self._state, "group", group, arn, key, stays):
                yield Problem(where, why)

        for key, later in settings.policy_arns.items():
            arns[key] = self._once_known(later, spell("groups.{}.policy_arns.{}", group, key), partial(check, key))
        # Nothing is allowed before the limit is there, or after it is gone.
        child = _options(made, limits)
        permissions: list[pulumi.Resource] = [
            iam.GroupPolicyAttachment(f"{name}/{key}", group=made.name, policy_arn=arn, opts=child)
            for key, arn in arns.items()
        ]
        permissions += self._grant(group, limits)
        for key, document in settings.inline.items():
            policy = compact(document)
            permissions.append(iam.GroupPolicy(f"{name}/{key}", group=made.name, name=key, policy=policy, opts=child))
        self._permissions[group] = permissions

    def _grant(self, group: str, limits: Sequence[pulumi.Resource]) -> list[pulumi.Resource]:
        """The attachments of the policies for a group's S3 grants. A grant that moves to another one of them is there
        before it leaves its own: added grants move others to later policies, removed ones to earlier policies."""
        name, made = f"{self._name}/{group}", self.groups[group]
        documents = grant_policies([asked.grant() for asked in self._settings.groups[group].s3], self._partition)
        had = sum(len(self._state.policies.get(f"{group}-{key}", "")) for key in documents)
        is_longer = sum(map(len, documents.values())) > had
        attached: list[pulumi.Resource] = []
        for key in reversed(documents) if is_longer else documents:
            opts = _options(made, [*limits, *attached])
            policy = iam.Policy(f"{name}/{key}", name=f"{group}-{key}", policy=documents[key], opts=opts)
            attachment = iam.GroupPolicyAttachment(f"{name}/{key}", group=made.name, policy_arn=policy.arn, opts=opts)
            attached.append(attachment)
        return attached

    def _register_user(self, user: str) -> None:
        """An IAM user, with what limits it and what allows it something: its groups, or policies of its own."""
        settings, name, spell = self._settings.users[user], f"{self._name}/{user}", self._spell
        is_new = not self._state.user(user).exists
        made = iam.User(
            name,
            name=user,
            path=self._once_known(settings.path, spell("users.{}.path", user), path_problems),
            tags={
                key: self._once_known(value, self._settings.tag_place(spell, user, key), tag_value_problems)
                for key, value in self._settings.effective_tags(user).items()
            },
            force_destroy=settings.force_destroy,
            permissions_boundary=self._boundary(user),
            # An adopted key belongs to an existing user.
            opts=pulumi.ResourceOptions(
                parent=self._component, import_=user if self._settings.adopts(user) and is_new else None
            ),
        )
        allowed: list[pulumi.Resource] = []
        child = _options(made)
        if settings.allow_from is not None:
            document = compact(allow_from_document(settings.allow_from))
            policy = iam.UserPolicy(
                f"{name}/{ALLOW_FROM}", user=made.name, name=ALLOW_FROM, policy=document, opts=child
            )
            allowed.append(policy)
        child = _options(made, [*allowed, *self._of_groups(user, self._limits)])
        allowed += [
            iam.UserPolicyAttachment(f"{name}/{key}", user=made.name, policy_arn=arn, opts=child)
            for key, arn in self._arns(settings.policies).items()
        ]
        for key, document in settings.inline.items():
            allowed.append(
                iam.UserPolicy(f"{name}/{key}", user=made.name, name=key, policy=compact(document), opts=child)
            )
        permissions = self._of_groups(user, self._permissions)
        if settings.groups:
            # Not exclusive: memberships that somebody else added are left alone. Sorted, as IAM keeps no order. A user
            # leaves a group only after everything that is new to it is allowed.
            groups = [self.groups[group].name for group in sorted(settings.groups)]
            opts = _options(made, [*allowed, *self._of_groups(user, self._limits), *permissions])
            allowed.append(iam.UserGroupMembership(name, user=made.name, groups=groups, opts=opts))
        self.users[user], self.allowed[user] = made, [*allowed, *permissions]

    def _of_groups(self, user: str, resources: Mapping[str, list[pulumi.Resource]]) -> list[pulumi.Resource]:
        """The resources of the groups that a user is in."""
        return [resource for group in self._settings.users[user].groups for resource in resources[group]]

    def _boundary(self, user: str) -> "pulumi.Input[str] | None":
        """The ARN of a user's permissions boundary."""
        given = self._settings.users[user].permissions_boundary
        if given is None or isinstance(given, str):
            return None if given is None else next(iter(self._arns([given]).values()))
        place = self._spell("users.{}.permissions_boundary", user)
        return self._once_known(given, place, lambda where, arn: arn_problems(where, arn, self._partition))

    def _arns(self, policies: Sequence[str]) -> "dict[str, pulumi.Input[str]]":
        """Managed policies as settings name them: name of the attachment → ARN."""
        arns: dict[str, pulumi.Input[str]] = {}
        for policy in policies:
            arn = self._policies[policy].arn if policy in self._policies else policy_arn(policy, self._partition)
            arns[policy_key(arn) if isinstance(arn, str) else policy] = arn
        return arns

    def _once_known(self, value: "pulumi.Input[str]", place: str, check: Check) -> "pulumi.Input[str]":
        return once_known(value, place, check, self._spell, self._name)


def _options(parent: pulumi.Resource, depends_on: Sequence[pulumi.Resource] = ()) -> pulumi.ResourceOptions:
    """Of what belongs to a group or user. To IAM, a policy or membership that replaces one (`--replace`, `state taint`)
    is the same one: deleting the old one last would delete it."""
    return pulumi.ResourceOptions(parent=parent, depends_on=[*depends_on], delete_before_replace=True)


def once_known(
    value: "pulumi.Input[str]", place: str, check: Check, spell: Spelling, component: str
) -> "pulumi.Input[str]":
    """The value; an Output is checked when it becomes known, and fails the run with a SettingsError."""
    if isinstance(value, str):
        return value  # was checked with all the others

    def checked(known: object) -> str:
        text = isinstance(known, str)
        problems = check(place, known) if text else [Problem(place, "expected text, got an Output that is not text.")]
        refuse(list(problems), spell, component, "What depends on it was not created or changed.")
        return cast("str", known)

    return pulumi.Output.from_input(value).apply(checked)

"""What would exceed a quota of IAM, checked before anything is created: IAM itself refuses it half-way.

Source: IAM and AWS STS quotas, https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html
"""

from collections.abc import Iterator, Mapping
from typing import Any

from aws_access_keys.account import Account, AwsQueryError
from aws_access_keys.rules.limits import (
    GROUPS_PER_ACCOUNT,
    GROUPS_PER_USER,
    POLICIES_PER_ACCOUNT,
    POLICIES_PER_GROUP,
    POLICIES_PER_USER,
    USERS_PER_ACCOUNT,
)
from aws_access_keys.rules.policies import policy_arn, policy_key
from aws_access_keys.rules.problem import Problem, Spelling
from aws_access_keys.rules.s3_grants import grant_policies
from aws_access_keys.settings import AccessSettings
from aws_access_keys.state import ComponentState

_DEFAULTS = {
    "UsersQuota": USERS_PER_ACCOUNT,
    "GroupsQuota": GROUPS_PER_ACCOUNT,
    "PoliciesQuota": POLICIES_PER_ACCOUNT,
    "AttachedPoliciesPerGroupQuota": POLICIES_PER_GROUP,
    "AttachedPoliciesPerUserQuota": POLICIES_PER_USER,
    "GroupsPerUserQuota": GROUPS_PER_USER,
}
"""Quota, as GetAccountSummary names it → its value unless AWS has raised it."""
_CURE = "Delete some that nobody needs, or ask AWS to raise it."


def quota_problems(
    settings: AccessSettings,
    spell: Spelling,
    state: ComponentState,
    policies: Mapping[str, str],
    partition: str,
    account: Account,
) -> Iterator[Problem]:
    """Quotas that the update would exceed. policies: name of each customer managed policy → its place in the settings.

    Old entities count as well: an update deletes last. Where AWS does not answer, it is left to IAM to refuse.
    """
    new = {
        "user": [user for user in settings.users if not state.user(user).exists],
        "group": [group for group in settings.groups if group not in state.groups],
        "policy": [policy for policy in policies if policy not in state.policies],
    }
    for kind, names in new.items():
        kinds = "policies" if kind == "policy" else f"{kind}s"
        try:
            count = len(account.entities(kind)) if names else 0
            quota = _quota(f"{kinds.capitalize()}Quota", count + len(names), account)
        except AwsQueryError:
            continue
        if count + len(names) > quota:
            text = f"the account has {count} {kinds}, and {len(names)} more would be created; its quota is {quota}"
            yield Problem(policies[names[0]] if kind == "policy" else kinds, f"{text}. {_CURE}")
    yield from _attachment_problems(settings, spell, state, partition, account)
    yield from _membership_problems(settings, spell, state, account)


def _attachment_problems(
    settings: AccessSettings, spell: Spelling, state: ComponentState, partition: str, account: Account
) -> Iterator[Problem]:
    """Managed policies on groups and users that exist, where some are new."""
    for name, group in settings.groups.items():
        had = state.attached.get(name, {})
        wanted = {
            policy if policy in settings.policy_documents else policy_key(policy_arn(policy, partition))
            for policy in group.policies
        }
        wanted |= {*grant_policies([asked.grant() for asked in group.s3], partition), *group.policy_arns}
        if name in state.groups and (new := wanted - had.keys()):
            where = spell("groups.{}.policies", name)
            yield from _attached(where, "group", name, len(new), set(had.values()), account)
    for name, user in settings.users.items():
        arns = {
            policy if policy in settings.policy_documents else policy_arn(policy, partition) for policy in user.policies
        }
        if state.user(name).exists and (new := arns - state.user(name).policies):
            where = spell("users.{}.policies", name)
            yield from _attached(where, "user", name, len(new), state.user(name).policies, account)


def _attached(
    where: str, kind: str, name: str, new: int, own: "set[str] | frozenset[str]", account: Account
) -> Iterator[Problem]:
    try:
        listed = account.attached_policies(kind, name)
        quota = _quota(f"AttachedPoliciesPer{kind.capitalize()}Quota", len(listed) + new, account)
    except AwsQueryError:
        return
    if len(listed) + new > quota:
        others = [arn for arn in listed if arn not in own]
        foreign = f" ({', '.join(others)} not attached by this stack)" if others else ""
        yield Problem(
            where,
            f"in IAM the {kind} has {len(listed)} managed policies{foreign}, and {new} more would be attached before "
            f"others are detached; the quota is {quota}. Detach some; or remove some here, run `pulumi up`, and add "
            "the new ones after that.",
        )


def _membership_problems(
    settings: AccessSettings, spell: Spelling, state: ComponentState, account: Account
) -> Iterator[Problem]:
    """Users that exist, may also be in groups of others, and are added to more groups."""
    for name, user in settings.users.items():
        if not state.user(name).exists or not set(user.groups) - state.user(name).groups:
            continue
        try:
            others = sorted(account.groups_of(name) - state.user(name).groups - set(user.groups))
            count = len(others) + len(user.groups)
            quota = _quota("GroupsPerUserQuota", count, account)
        except AwsQueryError:
            continue
        if count > quota:
            yield Problem(
                spell("users.{}.groups", name),
                f"the user is also in groups that this stack does not manage ({', '.join(others)}), so it would be in "
                f"{count} groups; IAM allows at most {quota}. Remove the user from some of them.",
            )


def _quota(name: str, count: int, account: Account) -> int:
    """A quota; AWS is asked only if the count would exceed its default."""
    if count <= _DEFAULTS[name]:
        return _DEFAULTS[name]
    try:
        response: Mapping[str, Any] = account.ask("iam", "get_account_summary") or {}
    except AwsQueryError:
        return _DEFAULTS[name]
    return response.get("SummaryMap", {}).get(name, _DEFAULTS[name])

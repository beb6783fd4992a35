"""The rules that a set of groups and users must obey as a whole, checked before AWS is asked anything."""

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence

from aws_access_keys.rules.limits import (
    GROUPS_PER_ACCOUNT,
    GROUPS_PER_USER,
    POLICIES_PER_GROUP,
    POLICIES_PER_USER,
    USERS_PER_ACCOUNT,
)
from aws_access_keys.rules.names import name_problems
from aws_access_keys.rules.policies import PolicyError, policy_arn
from aws_access_keys.rules.problem import Problem, did_you_mean


def access_problems(
    policies: Mapping[str, Sequence[str]],
    groups: Mapping[str, Sequence[str]],
    partition: str = "aws",
    own: Sequence[str] = (),
    of_users: Mapping[str, Sequence[str]] | None = None,
    others: Collection[str] = (),
    may_be_empty: bool = False,
) -> Iterator[Problem]:
    """Everything that is wrong with a set of groups and users.

    policies: group name → its managed policies, by name or ARN. own: names of policies that the stack creates.
    of_users: user name → its own managed policies.
    groups: user name → the names of the user's groups. others: users who need neither groups nor managed policies.
    may_be_empty: whether there may be no users, and then no groups.
    """
    of_users = of_users or {}
    is_meant = may_be_empty and not groups
    if not policies and not any(of_users.values()) and not others and not is_meant:
        yield Problem(
            "groups", "no groups. Define at least one, for example: groups: {test: {policies: [AmazonS3FullAccess]}}"
        )
    yield from _too_many("groups", "groups", len(policies), GROUPS_PER_ACCOUNT, "in an account")
    yield from _too_many("users", "users", len(groups), USERS_PER_ACCOUNT, "in an account")
    yield from name_problems("group", policies)
    yield from name_problems("user", groups)
    for group, names in policies.items():
        yield from _policy_problems(f"groups.{group}.policies", names, POLICIES_PER_GROUP, "on a group", partition, own)
    for user, names in groups.items():
        yield from _membership_problems(f"users.{user}.groups", names, list(policies))
        if not names and not of_users.get(user) and user not in others:
            text = "neither groups nor policies, so the user could do nothing. List at least one."
            yield Problem(f"users.{user}.groups", text)
    for user, names in of_users.items():
        yield from _policy_problems(f"users.{user}.policies", names, POLICIES_PER_USER, "on a user", partition, own)


def _policy_problems(
    where: str, policies: Sequence[str], limit: int, scope: str, partition: str, own: Sequence[str]
) -> Iterator[Problem]:
    yield from _too_many(where, "managed policies", len(policies), limit, scope)
    places: dict[str, list[int]] = defaultdict(list)
    for index, policy in enumerate(policies):
        try:
            places[policy if policy in own else policy_arn(policy, partition, own)].append(index)
        except PolicyError as error:
            yield Problem(f"{where}[{index}]", str(error))
    for arn, indexes in places.items():
        if len(indexes) > 1:
            yield Problem(f"{where}[{indexes[1]}]", f"'{arn}' is listed twice. Remove one of the two.")


def _membership_problems(where: str, names: Sequence[str], known: Sequence[str]) -> Iterator[Problem]:
    yield from _too_many(where, "groups", len(names), GROUPS_PER_USER, "for a user")
    for index, name in enumerate(names):
        if name not in known:
            choices = ", ".join(sorted(known)[:20]) or "none"
            yield Problem(
                f"{where}[{index}]",
                f"there is no group '{name}'. Known groups: {choices}.{did_you_mean(name, known)}",
            )
        elif name in names[:index]:
            yield Problem(f"{where}[{index}]", f"'{name}' is listed twice. Remove one of the two.")


def _too_many(where: str, what: str, count: int, limit: int, scope: str) -> Iterator[Problem]:
    if count > limit:
        yield Problem(where, f"{count} {what}; AWS allows at most {limit} {scope}. Remove {count - limit} of them.")

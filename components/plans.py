"""Which keys each user shall have: the pure plan, held back where AWS knows a reason.

What the rules plan is put to AWS before anything is registered, and only where it costs something: a key that would
stop working (is it in use?), and a new key for a user that has one (does IAM have room for it?). What must not be done
waits, for this user alone; everybody else's plan is carried out.
"""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from typing import Any, NamedTuple

from components.aws import PARALLEL, Account, KeyFacts, UnansweredError
from components.guard import RetireGuard
from components.issued import issued_to, key_ids
from rules.problem import Problem
from rules.rotation import KeyPlan, KeyRules, plan_key, retirements


class UserPlan(NamedTuple):
    """One user's plan, and what the config asks for that waits."""

    plan: KeyPlan
    refused: tuple[Problem, ...]


def plan_keys(
    rules: Mapping[str, KeyRules], issued: Mapping[str, Any], today: date, guard: RetireGuard, account: Account
) -> dict[str, UserPlan]:
    """User → plan. rules: user → what is asked. issued: what `issued_keys()` says."""
    users = sorted(rules)

    def plan(user: str) -> UserPlan:
        return _plan_user(user, rules[user], issued.get(user) or {}, today, guard, account)

    with ThreadPoolExecutor(PARALLEL) as pool:
        return dict(zip(users, pool.map(plan, users), strict=True))


def leaving_refused(issued: Mapping[str, Any], left: Mapping[str, int], guard: RetireGuard) -> list[Problem]:
    """Keys in use of users that have left the config. left: these users; see `RetireGuard.left`."""
    asked = [(user, key_id) for user in sorted(left) for key_id in key_ids(issued[user], active=True).values()]

    def ask(key: tuple[str, str]) -> str | None:
        return guard.refusal(*key, "deleted")

    with ThreadPoolExecutor(PARALLEL) as pool:
        answers = list(pool.map(ask, asked))
    return [Problem(f"users.{user}", why) for (user, _), why in zip(asked, answers, strict=True) if why]


def _plan_user(
    user: str, rules: KeyRules, record: Mapping[str, Any], today: date, guard: RetireGuard, account: Account
) -> UserPlan:
    issued = issued_to(record)
    keep: set[str] = set()
    may_issue = True
    refused: list[Problem] = []
    while True:  # at most a round per slot and one for the room: each round holds back one thing more
        plan = plan_key(rules, issued, today, keep, may_issue)
        if issued is None:
            return UserPlan(plan, ())
        if plan.is_new and (problem := _no_room(user, record, account)):
            may_issue = False
            refused.append(Problem(f"users.{user}.key", problem))
            continue
        ids = key_ids(record)
        in_use = {
            slot: why
            for slot, action in retirements(plan, issued).items()
            if slot in ids and (why := guard.refusal(user, ids[slot], action))
        }
        if not in_use:
            return UserPlan(plan, tuple(refused))
        keep |= in_use.keys()
        refused += [Problem(f"users.{user}.key", why) for why in in_use.values()]


def _no_room(user: str, record: Mapping[str, Any], account: Account) -> str | None:
    """Why IAM would refuse a new key: a key that this stack does not know takes the room. None where it would not."""
    known = set(record.get("ids") or key_ids(record).values())
    try:
        strangers = [key for key in account.keys_of(user) if key.id not in known]
    except UnansweredError as error:
        return f"no new key is issued, because AWS does not say which keys {user} has ({error})."
    if not strangers:
        return None
    return (
        f"no new key is issued: IAM takes two keys per user, and {user} has one that this stack does not know, "
        f"{' and '.join(_described(key, account) for key in strangers)}. It was made by hand, or AWS's answer got lost "
        "in an earlier run. If nobody uses it, delete it and run pulumi up again: aws iam delete-access-key "
        f"--user-name {user} --access-key-id {strangers[0].id}"
    )


def _described(key: KeyFacts, account: Account) -> str:
    try:
        used = account.last_use(key.id)
    except UnansweredError:
        use = ""
    else:
        use = f", {used.text}" if used else ", never used"
    return f"{key.id} ({key.status}, made on {key.created:%Y-%m-%d}{use})"

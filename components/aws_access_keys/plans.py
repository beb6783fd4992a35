"""Which keys each user shall have: the pure plan, held back where AWS knows a reason.

What the rules plan is put to AWS before anything is registered, and only where it costs something: a key that would
go (is it in use?), and a new key for a user that has one (does IAM have room for it?). What must not be done waits, for
this user alone; everybody else's plan is carried out.
"""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import date
from typing import Any, NamedTuple

import pulumi

from aws_access_keys.aws import PARALLEL, Account, KeyFacts, UnansweredError
from aws_access_keys.guard import RetireGuard
from aws_access_keys.issued import issued_to, key_ids
from aws_access_keys.rules.limits import KEYS_PER_USER
from aws_access_keys.rules.problem import Problem
from aws_access_keys.rules.rotation import KeyPlan, KeyRules, other_slot, plan_key, retirements


class NoRoomError(pulumi.RunError):
    """A key must be made and IAM has no room for it; its text names what takes the room, and what to do."""


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
    asked = [(user, key_id) for user in sorted(left) for key_id in key_ids(issued[user]).values()]

    def ask(key: tuple[str, str]) -> str | None:
        return guard.refusal(*key, "deleted")

    with ThreadPoolExecutor(PARALLEL) as pool:
        answers = list(pool.map(ask, asked))
    return [Problem(f"users.{user}", why) for (user, _), why in zip(asked, answers, strict=True) if why]


def _plan_user(
    user: str, rules: KeyRules, record: Mapping[str, Any], today: date, guard: RetireGuard, account: Account
) -> UserPlan:
    issued, ids = issued_to(record), key_ids(record)
    keep: set[str] = set()
    may_issue = True
    refused: list[Problem] = []

    def refuse(why: str) -> None:
        refused.append(Problem(f"users.{user}.key", why))

    while True:  # at most a round per slot and two for a new key: each round holds back one thing more
        plan = plan_key(rules, issued, today, keep, may_issue)
        if issued is None:
            return UserPlan(plan, ())
        if plan.is_new:
            if not record.get("handedOver", True):
                may_issue = False
                refuse(_not_handed_over(ids[issued.slot]))
                continue
            try:
                there = account.keys_of(user)
            except UnansweredError as error:
                may_issue = False
                refuse(f"no new key is issued, because AWS does not say which keys {user} has ({error}).")
                continue
            if issued.previous_serial is not None and ids[other_slot(issued.slot)] not in {key.id for key in there}:
                issued = replace(issued, previous_serial=None)  # deleted by hand, or by a run that did not get further
                continue
            if problem := _no_room(user, record, there, account):
                may_issue = False
                refuse(problem)
                continue
            if plan.previous and ids[issued.slot] not in {key.id for key in there}:
                plan = replace(plan, previous=None)  # the current key was deleted by hand; it needs no retirement
        elif plan.current.name not in record["slots"] and len(there := _keys_of(user, account)) >= KEYS_PER_USER:
            raise NoRoomError(
                f"users.{user}.key: the current access key {ids[issued.slot]} was deleted by hand, and IAM has no room "
                f"for a new one in its place. {user} has {' and '.join(_described(key, account) for key in there)}. "
                f"Delete one that nobody uses (aws iam delete-access-key --user-name {user} --access-key-id ID) and "
                "run pulumi up again. Nothing was changed."
            )
        in_use = {
            slot: why
            for slot, action in retirements(plan, issued).items()
            if slot not in keep and (why := guard.refusal(user, ids[slot], action))
        }
        if not in_use:
            return UserPlan(plan, tuple(refused))
        keep |= in_use.keys()
        for slot, why in in_use.items():
            needed = plan.is_new and slot == plan.current.name
            refuse(f"{why} The new key that was asked for needs its place and waits for that." if needed else why)


def _keys_of(user: str, account: Account) -> list[KeyFacts]:
    try:
        return account.keys_of(user)
    except UnansweredError:
        return []  # then it is for AWS to refuse


def _not_handed_over(key_id: str) -> str:
    return (
        f"no new key is issued yet: the access key {key_id} was issued by a run that failed, and is not in the stack's "
        "outputs before this run. Hand it over, or run pulumi up again for another one."
    )


def _no_room(user: str, record: Mapping[str, Any], there: list[KeyFacts], account: Account) -> str | None:
    """Why IAM would refuse a new key: a key that this stack does not know takes the room. None where it would not."""
    strangers = [key for key in there if key.id not in record["slots"].values()]
    if not there and record["slots"]:
        return f"no new key is issued: IAM has no user {user}, or none of its keys. See what is there: pulumi refresh"
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

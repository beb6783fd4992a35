"""What is reported of keys that stop working, and of keys that work although they should not."""

from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import Context, copy_context
from datetime import datetime
from typing import TypeVar

import pulumi

from aws_access_keys.account import MAX_WORKERS, AccessKeyMetadata, Account, AwsQueryError
from aws_access_keys.direct_delivery import text_in_store
from aws_access_keys.iam import was_trial
from aws_access_keys.retire_guard import RetireGuard
from aws_access_keys.rules.keys import delete_command, status_command
from aws_access_keys.rules.problem import PYTHON, Problem, Spelling
from aws_access_keys.rules.rotation import Key, KeyRules, Retirement
from aws_access_keys.state import UserState

UNKNOWN_KEY = (
    "Somebody or another stack created it, AWS's response to an earlier run got lost, or the state is older than the "
    "key."
)
"""How a key comes about that IAM has and the stack does not know."""

Item = TypeVar("Item")
Result = TypeVar("Result")


def in_parallel(ask: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
    """What each item gives, in order. In a plugin, the stack's configuration is known only in the caller's context."""

    def ask_in(context: Context, item: Item) -> Result:
        return context.run(ask, item)

    contexts = [copy_context() for _ in items]
    with ThreadPoolExecutor(MAX_WORKERS) as pool:
        return list(pool.map(ask_in, contexts, items))


def removed_in_use(
    states: Mapping[str, UserState],
    removed: Collection[str],
    keyless: Collection[str],
    guard: RetireGuard,
    account: Account,
    spell: Spelling = PYTHON,
) -> list[Problem]:
    """Keys in use of users that were removed from the settings, or whose keys were (keyless)."""

    def ask(user: str) -> list[str | None]:
        ids = [key.id for key in states[user].keys]
        if user in removed and states[user].force_destroy and guard.is_on(user):
            try:
                ids += [key.id for key in account.list_access_keys(user) if key.id not in ids]
            except AwsQueryError as error:
                return [guard.unreadable(user, None, "deleted", error)]
        return [guard.refusal(user, key_id, "deleted") for key_id in ids]

    users = sorted({*removed, *keyless})
    refusals = in_parallel(ask, users)
    return [
        Problem(spell("users.{}", user), why)
        for user, found in zip(users, refusals, strict=True)
        for why in found
        if why
    ]


def removed_keys(states: Mapping[str, UserState], removed: Mapping[str, str], account: Account) -> list[str]:
    """A line about each key that is deleted with its user, or because the user is to have none. removed: user → why."""
    keys = [(user, key) for user in removed for key in states[user].keys]
    lines = in_parallel(lambda key: retired_line(account, *key, "deleted", removed[key[0]]), keys)
    return [line for line in lines if line]


def stray_keys(
    states: Mapping[str, UserState],
    adopted: Mapping[str, str],
    changing: Mapping[str, Sequence[tuple[str, str]]],
    removed: Collection[str],
    spell: Spelling,
    account: Account,
) -> list[Problem]:
    """Keys that IAM and a secret or parameter of the stack have, and its state has not: it is older than they are, as
    one that was restored. The store would get an older key, or go. adopted: user → id of the key that is taken over
    with its secret. changing: user → kind and name of each store that goes, or gets something else than it has.
    removed: users that are no longer in the settings.
    """
    users = sorted(
        user
        for user, state in states.items()
        if state.exists and (state.strays or state.overtaken or changing.get(user))
    )
    problems: list[Problem] = []

    def ask(user: str) -> "list[str] | AwsQueryError":
        return _strays(user, states[user], account, changing.get(user, ()))

    for user, found in zip(users, in_parallel(ask, users), strict=True):
        place = spell("users.{}.key", user)
        if isinstance(found, AwsQueryError) and found.is_denied and pulumi.runtime.is_dry_run():
            continue  # who may only preview reads no store; the update does
        if isinstance(found, AwsQueryError):
            cure = found.cure("iam:ListAccessKeys, and to read the user's secrets and parameters")
            text = f"could not check whether a secret or parameter of this stack holds a key of {user}"
            problems.append(Problem(place, f"{text} that the state does not have ({found}). {cure}"))
            continue
        problems += [
            Problem(
                place,
                f"the state does not have the access key {key_id} of {user}, but IAM does, and a secret or parameter "
                "of this stack holds it: the state is older than the key, and the store would get an older one, or be "
                f"deleted. {_cure(key_id, states[user], user in removed, spell)}; or, if nobody uses the key, delete "
                f"it{'' if user in removed else ' and raise serial, so that no store keeps it'}: "
                f"{delete_command(user, key_id)}",
            )
            for key_id in found
            if adopted.get(user) != key_id
        ]
    return problems


def _cure(key_id: str, state: UserState, is_removed: bool, spell: Spelling) -> str:
    if state.keys and key_id not in state.strays and not state.overtaken and not state.unkept:
        return "Restore a newer state, or run `pulumi refresh` (docs/teams.md)"
    return take_back(key_id, state.lacks_copy, spell, is_removed)


def take_back(key_id: str, is_unkept: bool, spell: Spelling, is_removed: bool = False) -> str:
    """What takes a key into the state again that it lacks. is_unkept: whether its secret is not kept. is_removed:
    whether the settings do not have its user any more.
    """
    first = "restore the user here, " if is_removed else ""
    kept = f"{spell('keep_secret')} to true and " if is_unkept else ""
    return (
        f"To take the key back, {first}set {kept}adopt to {{id: {key_id}, secret: ...}} in this key (without secret if "
        "neither a store nor `pulumi stack output --show-secrets` has it) and run `pulumi up`"
    )


def _strays(
    user: str, state: UserState, account: Account, changing: Sequence[tuple[str, str]]
) -> "list[str] | AwsQueryError":
    known = {key.id for key in state.keys}
    try:
        unknown = [key.id for key in account.list_access_keys(user) if key.id not in known]
        held = set(state.strays)
        if unknown:
            stores = dict.fromkeys([*changing, *(("secretsManager", name) for name in state.overtaken)])
            texts = [text_in_store(account, *place) or "" for place in stores]
            held |= {key_id for key_id in unknown if any(key_id in text for text in texts)}
    except AwsQueryError as error:
        return error
    return [key_id for key_id in unknown if key_id in held]


def still_active(
    states: Mapping[str, UserState], ended: Mapping[str, str], spell: Spelling, account: Account
) -> tuple[dict[tuple[str, str], Problem], list[str]]:
    """Keys that work in IAM although their user is to have none that does, and that the stack cannot retire: user and
    id of those that its state lost → the problem, and a warning for each one that it never had.

    ended: user → why. AWS is asked where a key ends in this run, or the state lacks one that was handed over.
    """
    problems: dict[tuple[str, str], Problem] = {}
    warnings: list[str] = []
    for user, why in sorted(ended.items()):
        state = states.get(user, UserState())
        known, handed_over = (
            {key.id for key in state.keys},
            {key.id for key in state.handed_over} | state.lost | state.strays,
        )
        if not state.exists or not (handed_over - known or any(key.active for key in state.keys)):
            continue
        try:
            found = [key for key in account.list_access_keys(user) if key.active and key.id not in known]
        except AwsQueryError as error:
            cure = error.cure("iam:ListAccessKeys")
            warnings.append(f"could not check whether {user} has other access keys that work ({error}). {cure}")
            continue
        for key in found:
            if key.id in handed_over:
                text = f"an access key of {user} still works, although {why}: {described(key, account)}."
                cure = (
                    f"The state lost it. If nobody uses it, deactivate it: {status_command(user, key.id, 'Inactive')}"
                )
                problems[user, key.id] = Problem(spell("users.{}.key", user), f"{text} {cure}")
            else:
                warnings.append(unmanaged_key(user, key, account))
    return problems, warnings


def retired_line(account: Account, user: str, key: Key, action: Retirement, why: str) -> str | None:
    """A line about a key that stops working: whose it is, when it was last used, and why it is retired. None for one
    that does not work; somebody may have activated a key that is inactive in the state.
    """
    try:
        if not {found.id: found.active for found in account.list_access_keys(user)}.get(key.id, key.active):
            return None
        if not account.has_user(user):
            return f"the access key {key.id} leaves the state: IAM has no user {user}. If it was renamed, the key works"
        created = {found.id: found.created for found in account.list_access_keys(user)}
        use = _use(key.id, created.get(key.id), account)
    except AwsQueryError:
        use = "last use unknown"
    return f"the access key {key.id} of {user} ({use}) is {action}: {why}"


def expiry(rules: KeyRules) -> str:
    """Why a key that has expired is retired."""
    return f"it expired on {rules.expires}"


def unmanaged_key(user: str, key: AccessKeyMetadata, account: Account) -> str:
    """The warning about a key that IAM has and the stack does not know."""
    return (
        f"IAM has an access key of {user} that this stack does not manage: {described(key, account)}. {UNKNOWN_KEY} If "
        f"nobody uses it, delete it: {delete_command(user, key.id)}"
    )


def described(key: AccessKeyMetadata, account: Account) -> str:
    """`AKIA... (active, created on 2026-11-23, never used)`."""
    try:
        use = _use(key.id, key.created, account)
    except AwsQueryError:
        use = "last use unknown"
    return f"{key.id} ({'active' if key.active else 'inactive'}, created on {key.created:%Y-%m-%d}, {use})"


def _use(key_id: str, created: datetime | None, account: Account) -> str:
    """When a key was last used, in words. Raises AwsQueryError."""
    used = account.last_use(key_id)
    if used and created and was_trial(created, used):
        return "not used since its verification"
    return used.text if used else "never used"

"""Which keys each user is to have: what the rules plan, held back where AWS has a reason against it.

AWS is asked before anything is registered, and only where it matters: when a key would be retired (is it in use?), when
a user who has a key gets another (is there room for it?), and where the last run did not finish (what is there?). What
must not be done is skipped for that user; everybody else's plan is carried out.
"""

from collections.abc import Callable, Mapping, Sequence, Set
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import date
from typing import NamedTuple, TypeVar

import pulumi

from aws_access_keys.account import MAX_WORKERS, AccessKeyMetadata, Account, AwsQueryError
from aws_access_keys.iam import was_trial
from aws_access_keys.retire_guard import RetireGuard
from aws_access_keys.rules.limits import KEYS_PER_USER
from aws_access_keys.rules.problem import PYTHON, Problem, Spelling
from aws_access_keys.rules.rotation import (
    Key,
    KeyName,
    KeyPlan,
    KeyRules,
    PlannedKey,
    Retirement,
    due_key,
    notes,
    plan_keys,
    retirements,
)
from aws_access_keys.state import HandedOver, UserState

Item = TypeVar("Item")
Result = TypeVar("Result")


class KeyLimitError(pulumi.RunError):
    """A user cannot have the keys that are planned; the message names what is in the way, and what to do."""


class UserPlan(NamedTuple):
    """One user's plan."""

    plan: KeyPlan
    skipped: tuple[str, ...] = ()
    """What the settings ask for and this run does not do, each with the reason and the cure."""
    warnings: tuple[str, ...] = ()
    retired: tuple[str, ...] = ()
    """A line about each key that stops working."""
    takes_over: str | None = None
    """The id of an existing key that becomes the current one."""
    expired_on: date | None = None
    """The day from which the keys do not work; None where they do."""
    retired_key: Key | None = None
    """The previous key, if the settings make or made it inactive."""


def plan_users(
    rules: Mapping[str, KeyRules],
    adopted: Mapping[str, str],
    states: Mapping[str, UserState],
    today: date,
    guard: RetireGuard,
    account: Account,
    held: Set[str] = frozenset(),
    spell: Spelling = PYTHON,
) -> dict[str, UserPlan]:
    """User → plan. rules: what is asked of each user. adopted: user → id of the key to take over. held: ids of the keys
    in secrets and parameters that this run deletes.
    """

    def plan(user: str) -> UserPlan:
        state = states.get(user, UserState())
        place = spell("users.{}.key", user)
        return _Planner(user, place, rules[user], adopted.get(user), state, today, guard, account, held).plan()

    users = sorted(rules)
    return dict(zip(users, in_parallel(plan, users), strict=True))


def removed_in_use(
    states: Mapping[str, UserState], removed: Sequence[str], guard: RetireGuard, spell: Spelling = PYTHON
) -> list[Problem]:
    """Keys in use of users that were removed from the settings, or whose keys were."""
    keys = [(user, key.id) for user in sorted(removed) for key in states[user].keys]
    refusals = in_parallel(lambda key: guard.refusal(*key, "deleted"), keys)
    return [Problem(spell("users.{}", user), why) for (user, _), why in zip(keys, refusals, strict=True) if why]


def removed_keys(states: Mapping[str, UserState], removed: Mapping[str, str], account: Account) -> list[str]:
    """A line about each key that is deleted with its user, or because the user is to have none. removed: user → why."""
    keys = [(user, key) for user in removed for key in states[user].keys]
    lines = in_parallel(lambda key: _retired_key(account, *key, "deleted", removed[key[0]]), keys)
    return [line for line in lines if line]


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
        known, handed_over = {key.id for key in state.keys}, {key.id for key in state.handed_over} | state.lost
        if not state.exists or not (handed_over - known or any(key.active for key in state.keys)):
            continue
        try:
            found = [key for key in account.list_access_keys(user) if key.active and key.id not in known]
        except AwsQueryError as error:
            cure = error.cure("iam:ListAccessKeys")
            warnings.append(f"whether {user} has other access keys that work is unknown ({error}). {cure}")
            continue
        for key in found:
            if key.id in handed_over:
                text = f"the access key {key.id} of {user} still works, although {why}: the state lost it. Deactivate"
                command = f"aws iam update-access-key --user-name {user} --access-key-id {key.id} --status Inactive"
                problems[user, key.id] = Problem(spell("users.{}.key", user), f"{text} it: {command}")
            else:
                warnings.append(unmanaged_key(user, key.describe(None), key.id))
    return problems, warnings


def _retired_key(account: Account, user: str, key: Key, action: Retirement, why: str) -> str | None:
    """A line about a key that stops working: whose it is, when it was last used, and why it is retired. None for one
    that does not work; somebody may have activated a key that is inactive in the state.
    """
    try:
        if not {found.id: found.active for found in account.list_access_keys(user)}.get(key.id, key.active):
            return None
        used = account.last_use(key.id)
        use = used.text if used else "never used"
        if used and used.service == "sts":
            in_iam = {found.id: found.created for found in account.list_access_keys(user)}
            if key.id in in_iam and was_trial(in_iam[key.id], used):
                use = "not used since its verification"
    except AwsQueryError:
        use = "last use unknown"
    return f"the access key {key.id} of {user} ({use}) is {action}: {why}"


def expiry(rules: KeyRules) -> str:
    """Why a key that has expired is retired."""
    return f"it expired on {rules.expires}"


def in_parallel(ask: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
    """What each item gives, in order."""
    with ThreadPoolExecutor(MAX_WORKERS) as pool:
        return list(pool.map(ask, items))


@dataclass
class _Planner:
    """Makes the plan of one user."""

    user: str
    place: str
    """Where the user's key is in the settings."""
    rules: KeyRules
    adopted: str | None
    state: UserState
    today: date
    guard: RetireGuard
    account: Account
    held: Set[str]
    skipped: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    keeps_all: bool = False
    """Whether every key stays as it is."""
    blocking: KeyName | None = None
    """A key in use that keeps a new one from being issued; that was reported."""

    def plan(self) -> UserPlan:
        """The plan. Raises KeyLimitError."""
        takes_over = self.adopted if self.state.takes_over(self.adopted) else None
        keys = self.state.keys
        new = self._adopted_name() if takes_over else due_key(self.rules, keys, self.today)
        replaced: KeyName | None = None
        if self.state.exists and not takes_over and (new or not self.state.is_certain):
            try:
                in_iam = self.account.list_access_keys(self.user)
            except AwsQueryError as error:
                if not self.state.is_certain:  # a key of the state may be gone; to register it would issue it again
                    raise KeyLimitError(
                        f"{self.place}: the last update did not finish, and the access keys of {self.user} "
                        f"could not be listed ({error}). {error.cure('iam:ListAccessKeys')} Nothing was changed."
                    ) from None
                new = self._skip(
                    f"no new key is issued: could not list the access keys of {self.user} ({error}). "
                    f"{error.cure('iam:ListAccessKeys')}"
                )
            else:
                keys, new, replaced = self._compare(in_iam, new)
        if not keys and not new:
            raise KeyLimitError(f"{self.place}: {' '.join(self.skipped)} Nothing was changed.")
        self.warnings += notes(self.rules, keys, self.today)
        if new and self.rules.status == "inactive":
            self.warnings.append("status is inactive, so the new key is created inactive, and nobody can use it yet.")
        plan = plan_keys(self.rules, keys, self.today, new, replaced)
        wanted = {key.name: key.status for key in (plan.current, plan.previous) if key}
        self.warnings += [
            f"the access key {key.id} is inactive and becomes active again, because the settings ask for it. If it was "
            f"deactivated because it is not to be used, {_undo(key.name == plan.current.name)}."
            for key in keys
            if not key.active and wanted.get(key.name) == "active"
        ]
        if self.rules.previous == "active" and plan.previous and plan.previous.status is None:
            self.warnings += [
                f"the previous access key {key.id} is inactive and stays inactive, although previous is active: only "
                "keys that this stack deactivated become active again."
                for key in keys
                if key.name == plan.previous.name and not key.active
            ]
        in_use = {
            name: why
            for name, action in retirements(plan, keys).items()
            if name != replaced and (why := self._in_use(keys, name, action))
        }
        self.skipped += [why for name, why in in_use.items() if name != self.blocking]
        keep = {key.name for key in keys} if self.keeps_all else set(in_use) | self._held(plan, keys)
        if not new and not self.keeps_all:
            keep |= self._kept_for_current(plan, keys)
        if keep:
            plan = plan_keys(self.rules, keys, self.today, new, replaced, keep)
        actions = retirements(plan, keys)
        retired = [self._retired(plan, key, actions[key.name]) for key in keys if key.name in actions]
        lines = tuple(line for line in retired if line)
        previous = next((key for key in keys if plan.previous and key.name == plan.previous.name), None)
        retires = plan.previous and plan.previous.status == "inactive" and previous and previous.active
        retires = retires and previous and self._works(previous)  # or somebody deactivated it before
        is_retired = previous and (previous.is_retired or (retires and not self._has_expired))
        retired_key = previous if is_retired else None
        expired_on = self.rules.expires if self._has_expired and plan.current.status == "inactive" else None
        if not self._has_expired and not new and not keys[0].active and plan.current.status != "active":
            expired_on = self.state.expired_on  # a later day alone does not put an inactive key into the stores again
        return UserPlan(plan, tuple(self.skipped), tuple(self.warnings), lines, takes_over, expired_on, retired_key)

    @property
    def _has_expired(self) -> bool:
        return self.rules.have_expired(self.today)

    def _works(self, key: Key) -> bool | None:
        """Whether IAM has a key, and it is active; None where IAM does not tell."""
        try:
            found = self.account.list_access_keys(self.user)
        except AwsQueryError:
            return None
        return any(one.id == key.id and one.active for one in found)

    def _kept_for_current(self, plan: KeyPlan, keys: Sequence[Key]) -> set[KeyName]:
        """Previous keys that would be retired although the current one does not work and is not suspended."""
        retired = {name for name in retirements(plan, keys) if name != plan.current.name}
        current = next(key for key in keys if key.name == plan.current.name)
        is_activated = plan.current.status == "active" and not current.active
        if not retired or plan.current.status == "inactive" or is_activated or self._works(current) is not False:
            return set()
        self._skip(
            f"the previous access key is not retired, because the current one, {current.id}, does not work: it is "
            f"inactive, or IAM no longer has it. Run `pulumi refresh`, then `pulumi up`; if it is inactive, set status "
            f"to active, or raise serial to {current.name.serial + 1} for a new key."
        )
        return retired

    def _held(self, plan: KeyPlan, keys: Sequence[Key]) -> set[KeyName]:
        """Keys that are deactivated in the next run: this one deletes a store that holds them, which comes last.

        No store holds a key that does not work, unless the settings suspend it.
        """
        ends = [plan.previous, plan.current if self._has_expired else None]
        held = [key for key in keys if key.id in self.held and key.active]
        found = {key.name for key in held if PlannedKey(key.name, "inactive") in ends}
        for key in keys:
            if key.name in found:
                self.warnings.append(
                    f"the access key {key.id} stays active until the next `pulumi up`, because a secret or parameter "
                    "that this update deletes still holds it."
                )
        return found

    def _retired(self, plan: KeyPlan, key: Key, action: Retirement) -> str | None:
        """The line about a key that stops working."""
        if self._has_expired:
            why = expiry(self.rules)
        elif key.name == plan.replaced:
            why = f"it makes room for key {plan.current.name}"
        elif key.name == plan.current.name:
            why = "its status is set to inactive"
        elif plan.previous_until and action == "deactivated":
            why = f"its overlap with key {plan.current.name} ended on {plan.previous_until}"
        else:
            why = f"it is the previous key, and previous is {'deleted' if action == 'deleted' else 'inactive'}"
        return _retired_key(self.account, self.user, key, action, why)

    def _adopted_name(self) -> KeyName:
        """The name of a key that is taken over: its own, or under a schedule one that serves from this day on."""
        own = next((key.name for key in self.state.handed_over if key.id == self.adopted), None)
        return own or KeyName(self.rules.serial, self.today if self.rules.rotation else date.min)

    def _compare(
        self, in_iam: Sequence[AccessKeyMetadata], new: KeyName | None
    ) -> tuple[tuple[Key, ...], KeyName | None, KeyName | None]:
        """The keys that exist, the new key if it can be issued, and the key that is deleted for it."""
        ids = {key.id for key in in_iam}
        existing = tuple(key for key in self.state.keys if key.id in ids)
        if self.state.keys and not existing:
            why = (
                f"IAM has no user {self.user}, or has none of the keys recorded in the state. Run `pulumi refresh`, "
                "then `pulumi up`."
            )
            if not self.state.is_certain:
                raise KeyLimitError(f"{self.place}: {why} Nothing was changed.")
            self._skip(why)
            return self.state.keys, None, None
        self._check_lost_keys(ids)
        unmanaged = [key for key in in_iam if key.id not in self._state_ids()]
        current = self.state.handed_over[0] if self.state.handed_over else None
        is_lost = current is not None and not any(key.name >= current.name for key in existing)
        is_lost = is_lost and not (self._has_expired and existing)
        if current and is_lost:
            new = self._in_place_of(current, new)
        if new is None:
            if is_lost:
                return self._without_current(), None, None
            self._warn_of(unmanaged)
            return existing, new, None
        gone = [key.name for key in self.state.keys if key not in existing]
        oldest = existing[-1] if len(existing) == KEYS_PER_USER else None
        replaced = gone[-1] if gone else oldest.name if oldest else None
        if unmanaged and len(in_iam) >= KEYS_PER_USER:
            new = self._skip(
                f"no new key is issued: IAM allows two access keys per user, and {self.user} has one that this stack "
                f"does not manage, {' and '.join(map(self._describe, unmanaged))}. Somebody created it, or AWS's "
                "response got lost in an earlier run. If nobody uses it, delete it and run `pulumi up` again: "
                f"{self._delete_command(unmanaged[0].id)}"
            )
        elif existing and not self.state.was_handed_over(existing[0]):
            new = self._skip(
                f"no new key is issued yet: the access key {existing[0].id} was issued by a run that failed; this run "
                "completes it. To issue another key, run `pulumi up` again."
            )
        elif oldest and (why := self._in_use(existing, oldest.name, "deleted")):
            self.blocking = oldest.name
            new = self._skip(
                f"{why} No new key is issued until this one can be deleted: IAM allows two access keys per user."
            )
        else:
            self._warn_of(unmanaged)
        if is_lost and new is None:
            return self._without_current(), None, None
        return existing, new, replaced if new else None

    def _without_current(self) -> tuple[Key, ...]:
        """The keys where the current one is gone and no other can be issued: an older one does not become current."""
        if any(key.name == self.state.handed_over[0].name for key in self.state.keys):
            self.keeps_all = True
            return self.state.keys
        raise KeyLimitError(f"{self.place}: {' '.join([*self.warnings, *self.skipped])} Nothing was changed.")

    def _check_lost_keys(self, ids: Set[str]) -> None:
        """Keys that were handed over and that IAM has, but not the state. Raises KeyLimitError for the current one."""
        for index, key in enumerate(self.state.handed_over):
            if key.id in ids - self._state_ids():
                text = f"the state no longer has the access key {key.id} of {self.user}, but IAM does. It may be in use"
                delete = f"delete it: {self._delete_command(key.id)}"
                if index == 0:
                    raise KeyLimitError(
                        f"{self.place}: {text}, so no other key is issued. To take it back, set adopt to "
                        f"{{id: {key.id}}} in this key and run `pulumi up`; or, if nobody uses it, {delete}. Nothing "
                        "was changed."
                    )
                self.warnings.append(f"{text}; if not, {delete}")

    def _in_place_of(self, current: HandedOver, new: KeyName | None) -> KeyName | None:
        """The name of the new key where the current one was deleted in IAM."""
        gone = f"IAM no longer has the current access key {current.id} of {self.user}"
        if all(key.name != current.name for key in self.state.keys):
            self.warnings.append(f"{gone}; another one is issued.")
            return new or current.name
        return new or self._skip(f"{gone}. Run `pulumi refresh`, then `pulumi up` for another one.")

    def _skip(self, why: str) -> None:
        self.skipped.append(why)

    def _in_use(self, keys: Sequence[Key], name: KeyName, action: Retirement) -> str | None:
        return self.guard.refusal(self.user, next(key.id for key in keys if key.name == name), action)

    def _state_ids(self) -> set[str]:
        return {key.id for key in self.state.keys}

    def _warn_of(self, unmanaged: Sequence[AccessKeyMetadata]) -> None:
        for key in unmanaged:
            if key.id not in {handed_over.id for handed_over in self.state.handed_over}:
                self.warnings.append(unmanaged_key(self.user, self._describe(key), key.id))

    def _describe(self, key: AccessKeyMetadata) -> str:
        try:
            return key.describe(self.account.last_use(key.id))
        except AwsQueryError:
            return key.id

    def _delete_command(self, key_id: str) -> str:
        return delete_command(self.user, key_id)


def _undo(is_current: bool) -> str:
    return "remove status and raise serial" if is_current else "set previous to inactive or deleted"


def unmanaged_key(user: str, described: str, key_id: str) -> str:
    """The warning about a key that IAM has and the stack does not know."""
    return (
        f"IAM has an access key of {user} that this stack does not manage: {described}. Somebody created it, or AWS's "
        f"response to an earlier run got lost. If nobody uses it, delete it: {delete_command(user, key_id)}"
    )


def delete_command(user: str, key_id: str) -> str:
    """The command that deletes an access key."""
    return f"aws iam delete-access-key --user-name {user} --access-key-id {key_id}"

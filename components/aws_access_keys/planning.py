"""Which keys each user is to have: what the rules plan, held back where AWS has a reason against it.

AWS is asked before anything is registered, and only where it matters: when a key would be retired (is it in use?), when
a user who has a key gets another (is there room for it?), and where the last run did not finish (what is there?). What
must not be done is skipped for that user; everybody else's plan is carried out.
"""

from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from datetime import date
from types import MappingProxyType
from typing import Any, NamedTuple

import pulumi

from aws_access_keys.account import AccessKeyMetadata, Account, AwsQueryError
from aws_access_keys.direct_delivery import stored_secret
from aws_access_keys.iam import use_by_others
from aws_access_keys.key_endings import delete_command, expiry, in_parallel, retired_line, unmanaged_key
from aws_access_keys.retire_guard import RetireGuard
from aws_access_keys.rules.limits import KEYS_PER_USER
from aws_access_keys.rules.names import in_words
from aws_access_keys.rules.problem import PYTHON, Spelling
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
from aws_access_keys.state import HandedOver, UserState, aws_stores


class KeyLimitError(pulumi.RunError):
    """A user cannot have the keys that are planned; the message names what is in the way, and what to do."""


class Handling(NamedTuple):
    """What is asked of the delivery of one user's key."""

    to: Mapping[str, Any] = MappingProxyType({})
    """Where it is delivered to, as state.Delivered has it."""
    fields: Mapping[str, Any] = MappingProxyType({})
    """And under which names of the fields."""
    parameter: str | None = None
    """The URN of a parameter in the state, whose content is not to be there from the next key on."""
    missing: str | None = None
    """The program that delivers it, if there is none."""
    new: Mapping[str, Any] = MappingProxyType({})
    """Those of the destinations that get a key for the first time, if the current key's secret is kept."""
    holds: Mapping[str, str | None] = MappingProxyType({})
    """Destination → id of the key that it has."""


class UserPlan(NamedTuple):
    """One user's plan."""

    plan: KeyPlan
    skipped: tuple[str, ...] = ()
    """What the settings ask for and this run does not do, each with the reason and the cure."""
    warnings: tuple[str, ...] = ()
    retired: tuple[str, ...] = ()
    """A line about each key that stops working."""
    waits: tuple[str, ...] = ()
    """A line about each key that is not retired yet, with `previous: whenIdle`."""
    not_retired: Mapping[str, str] = MappingProxyType({})
    """Id of each key that is not retired although the settings ask for it → why."""
    takes_over: str | None = None
    """The id of an existing key that becomes the current one."""
    expired_on: date | None = None
    """The day from which the keys do not work; None where they do."""
    retired_key: Key | None = None
    """The previous key, if the settings make or made it inactive."""
    undelivered: str | None = None
    """The id of a key that this run replaces or deletes because nobody has its secret."""
    recovered: str | None = None
    """The secret of the current key, where it is not kept and was read from a store for those that do not have it."""
    is_moved: bool = False
    """Whether such a key is delivered to those that do not have it; in a preview, if a store tells its secret."""
    is_withheld: bool = False
    """Whether the current key goes to no store or command that it was not delivered to before: it does not work."""
    undecided: str | None = None
    """The id of the current key, where it is not known whether it was delivered. No key changes then."""


def plan_users(
    rules: Mapping[str, KeyRules],
    adopted: Mapping[str, str],
    states: Mapping[str, UserState],
    today: date,
    guard: RetireGuard,
    account: Account,
    held: Set[str] = frozenset(),
    spell: Spelling = PYTHON,
    handling: Mapping[str, Handling] = MappingProxyType({}),
    is_listing: bool = False,
) -> dict[str, UserPlan]:
    """User → plan. rules: what is asked of each user. adopted: user → id of the key to take over. held: ids of the keys
    in secrets and parameters that this run deletes. handling: what is asked of the delivery. is_listing: whether the
    keys exist already (takeover.py).
    """

    def plan(user: str) -> UserPlan:
        state = states.get(user, UserState())
        place = f"{spell.prefix}{spell('users.{}.key', user)}"
        asked = handling.get(user, Handling())
        adopts = adopted.get(user)
        planner = _Planner(user, place, rules[user], adopts, state, today, guard, account, held, asked, is_listing)
        return planner.plan()

    users = sorted(rules)
    return dict(zip(users, in_parallel(plan, users), strict=True))


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
    asked: Handling
    is_listing: bool
    skipped: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    waits: dict[KeyName, str] = field(default_factory=dict[KeyName, str])
    not_retired: dict[str, str] = field(default_factory=dict[str, str])
    keeps_all: bool = False
    """Whether every key stays as it is."""
    blocking: KeyName | None = None
    """A key in use that keeps a new one from being issued; that was reported."""
    undelivered: Key | None = None
    recovered: str | None = None
    is_moved: bool = False
    is_withheld: bool = False
    undecided: str | None = None
    """As in UserPlan."""
    is_decided: bool = False
    """Whether the settings decide that the newest key was delivered, which is not recorded."""

    def plan(self) -> UserPlan:
        """The plan. Raises KeyLimitError."""
        takes_over = self.adopted if self.state.takes_over(self.adopted) else None
        self._find_undelivered()
        keys = self._usable_keys
        due = None if self.keeps_all else due_key(self.rules, keys, self.today)
        new = self._adopted_name() if takes_over or self.is_listing else due
        issues = new and not self.is_listing
        if issues and self.asked.parameter:
            # In the state, a previous key depends on what the current one is delivered to, and would go with it.
            first = "Retire the previous key first: set previous to deleted and run `pulumi up`. Then remove"
            new = self._skip(
                "no new key is issued: its secret must not be in the state, but the state has the SSM parameter with "
                f"its value. {first if len(keys) > 1 else 'Remove'} the parameter from the state, which leaves it "
                f"unchanged in SSM: `pulumi state delete '{self.asked.parameter}' --target-dependents`. Then run "
                "`pulumi up` again."
            )
        elif issues and self.asked.missing:
            new = self._skip(
                f"no new key is issued: the program '{self.asked.missing}', which delivers it, is neither on PATH nor "
                "in the project's folder. Install it, or correct deliver.command."
            )
        replaced: KeyName | None = None
        if takes_over and len(keys) > 1:
            keys = self._without_gone(keys)
        if self.state.exists and not takes_over and (new or not self.state.is_certain):
            try:
                ids = self._ids_in_iam()
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
                keys, new, replaced = self._compare(ids, new)
        if not keys and not new:
            raise KeyLimitError(f"{self.place}: {' '.join(self.skipped)} Nothing was changed.")
        plan = plan_keys(self.rules, keys, self.today, new, replaced)
        if leaked := self._leaked(plan, keys):
            plan = plan_keys(self.rules, keys, self.today, new, replaced, leaked)
        if keep := self._kept(plan, keys) | leaked:
            plan = plan_keys(self.rules, keys, self.today, new, replaced, keep)
        self._warn(plan, [key for key in keys if key.name not in leaked])
        current = next((key for key in keys if key.name == plan.current.name), None)
        is_activated = current and not current.active and plan.current.status == "active"
        if current and self.asked.new and not plan.is_new and not is_activated and not self._has_expired:
            self._withhold(current, self.asked.new)
        actions = retirements(plan, keys)
        lines = [self._retired(plan, key, actions[key.name]) for key in keys if key.name in actions]
        if self.undelivered:
            what = "is replaced" if plan.is_new else "is deleted"
            tried = self.state.attempted == self.undelivered.id
            why = "the command that was to deliver it failed" if tried else "no store got its secret"
            lines.append(f"the access key {self.undelivered.id} of {self.user} {what}: {why}")
        return UserPlan(
            plan,
            tuple(self.skipped),
            tuple(self.warnings),
            tuple(line for line in lines if line),
            tuple(why for name, why in self.waits.items() if name != self.blocking),
            self.not_retired,
            takes_over,
            self._expired_on(plan, keys),
            self._retired_key(plan, keys),
            self.undelivered.id if self.undelivered else None,
            self.recovered,
            self.is_moved,
            self.is_withheld,
            self.undecided,
        )

    @property
    def _usable_keys(self) -> tuple[Key, ...]:
        """The keys in the state, without one whose secret nobody has."""
        return tuple(key for key in self.state.keys if key != self.undelivered)

    def _find_undelivered(self) -> None:
        """Find out whether the newest key was delivered everywhere, if its secret is not kept. Raises KeyLimitError."""
        newest, found = next(iter(self.state.keys), None), self.state.delivered_directly
        if newest is None or newest.id not in self.state.unkept or self._has_expired:
            return
        is_recorded, was_handed_over = found.content == newest.id, newest.id in self.state.handed_over_ids
        # A key of a finished run was delivered, whatever the record is about now: its users may have it.
        was_delivered = was_handed_over and newest.id != self.state.undecided
        if not is_recorded and self.state.expired_on and self.rules.status != "active":
            return  # a later day alone does not put an inactive key into the stores again
        missing = found.missing(self.asked.to, self.asked.fields) if is_recorded else dict(self.asked.to)
        # Where the older key would make room, those that still have it get this one first.
        is_complete = was_handed_over or len(self.state.keys) < KEYS_PER_USER
        is_somewhere = is_recorded or was_delivered
        if is_somewhere and (not missing or (is_complete and due_key(self.rules, self.state.keys, self.today))):
            return  # the next one goes everywhere
        is_activated = not newest.active and self.rules.status == "active"
        if is_somewhere and not is_activated and self._withhold(newest, missing):
            return
        if pulumi.runtime.is_dry_run() and is_somewhere:  # a preview reads no secret
            self.is_moved = True
            return
        stores = [*aws_stores(self.asked.to).items(), *aws_stores(found.to).items()]
        if not pulumi.runtime.is_dry_run():
            self.recovered = self._recovered(newest, stores)
        doubt = None if was_delivered or self.recovered is not None else self._doubt(newest)
        if self.recovered is not None or (pulumi.runtime.is_dry_run() and doubt and stores):
            self.is_moved = True
        elif was_delivered:
            self._skip(
                f"the access key {newest.id} is not delivered to {in_words(missing)}: its secret is not kept, and no "
                f"store has it. Raise serial to {newest.name.serial + 1} for a key that can be delivered."
            )
        elif doubt:
            self.keeps_all, self.undecided = True, newest.id
            self._skip(doubt)
        elif not self.is_decided:
            self.undelivered = newest

    def _recovered(self, key: Key, stores: Iterable[tuple[str, str]]) -> str | None:
        """The secret of a key, from a store that has it. stores: kind and name. Raises KeyLimitError."""
        try:
            return stored_secret(self.account, dict.fromkeys(stores), key.id)
        except AwsQueryError as error:
            raise KeyLimitError(
                f"{self.place}: the last update did not finish, and whether a store has the access key {key.id} of "
                f"{self.user} could not be checked ({error}). Nothing was changed."
            ) from None

    def _doubt(self, key: Key) -> str | None:
        """Why a key whose delivery is not recorded may have been delivered; None if it was not, or if the settings
        decide that it was, by a higher serial."""
        delete = f"delete it, and run `pulumi refresh` and `pulumi up`: {self._delete_command(key.id)}"
        why = None
        has_failed = self.state.delivered_directly.failed == key.id
        if self.state.attempted == key.id and not has_failed:
            why = f"the command was interrupted while it delivered the access key {key.id}"
        else:
            try:
                if self._was_used(key):
                    why = f"the access key {key.id} was used, but its delivery is not recorded"
            except AwsQueryError as error:
                return (
                    f"the access key {key.id} was not delivered, and whether it was used nevertheless could not be "
                    f"checked ({error}). {error.cure('iam:ListAccessKeys and iam:GetAccessKeyLastUsed')} Or, if nobody "
                    f"uses it, {delete}"
                )
        if why and self.rules.serial > key.name.serial:
            self.is_decided = True
            return None
        if why:
            cure = f"If all its users have this key, raise serial to {key.name.serial + 1}; otherwise {delete}"
            return f"{why}, and its secret is not kept. {cure}"
        others = tuple(other for other in self.state.keys if other != key)
        if has_failed and not due_key(self.rules, others, self.today):  # else the command runs again, with another key
            return (
                f"the command failed with the access key {key.id}, and your store may have it. For another key in its "
                f"place, set serial to {key.name.serial + 1}; if your store does not have it, {delete}"
            )
        return None

    def _withhold(self, key: Key, to: Mapping[str, Any]) -> bool:
        """Whether a key that stays goes nowhere else, because it does not work and the settings do not suspend it.

        Raises KeyLimitError where that is not known: another store that has the key may go in this run.
        """
        if self.rules.status == "inactive":
            return False
        try:
            self.is_withheld = not (key.active and self._works(key))
        except AwsQueryError as error:
            raise KeyLimitError(
                f"{self.place}: the access key {key.id} is to be delivered to {in_words(to)}, but whether it works "
                f"could not be checked ({error}). {error.cure('iam:ListAccessKeys')} Nothing was changed."
            ) from None
        if self.is_withheld:
            self.warnings.append(
                f"the access key {key.id} is not delivered to {in_words(to)}, because it is inactive, or IAM no longer "
                f"has it. Raise serial to {key.name.serial + 1} for a key that can be delivered; or, if the key may be "
                "used again, run `pulumi refresh`, set status to active, and run `pulumi up`."
            )
        return self.is_withheld

    def _was_used(self, key: Key) -> bool:
        """Whether somebody has used a key. Raises AwsQueryError."""
        created = {one.id: one.created for one in self.account.list_access_keys(self.user)}.get(key.id)
        return created is not None and use_by_others(created, self.account.last_use(key.id)) is not None

    def _warn(self, plan: KeyPlan, keys: Sequence[Key]) -> None:
        """Settings that do less, or more, than they seem to."""
        self.warnings += notes(self.rules, keys, self.today)
        if plan.is_new and self.rules.status == "inactive":
            self.warnings.append("status is inactive, so the new key is created inactive, and nobody can use it yet.")
        wanted = {key.name: key.status for key in plan.keys}
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

    def _leaked(self, plan: KeyPlan, keys: Sequence[Key]) -> set[KeyName]:
        """The keys that the settings would activate, and that `access-keys leak` deactivated; each is reported."""
        found: set[KeyName] = set()
        for key in keys:
            if key.active or PlannedKey(key.name, "active") not in plan.keys:
                continue
            stays = (
                f"the access key {key.id} of {self.user} stays inactive, although the settings ask for an active one"
            )
            remove = _undo(key.name == plan.current.name)
            try:
                newer = self._newer_than(key)
                is_leaked = self.account.has_leaked(self.user, key.id)
            except AwsQueryError as error:
                cure = error.cure("iam:GetUserPolicy")
                self._skip(f"{stays}: whether it has leaked could not be checked ({error}). {cure} Or {remove}.")
                found.add(key.name)
                continue
            if newer:
                self._skip(
                    f"{stays}: IAM has a newer key, {newer}, that the state does not have. If an older state was "
                    f"restored, restore a newer one, or set adopt to {{id: {newer}}}; otherwise delete that key: "
                    f"{self._delete_command(newer)}"
                )
                found.add(key.name)
            elif is_leaked:
                self._skip(
                    f"{stays}: `access-keys leak` recorded that it has leaked. If that was a false alarm, run "
                    f"`access-keys leak {key.id} --undo`, `pulumi refresh` and `pulumi up`; otherwise {remove}."
                )
                found.add(key.name)
        return found

    def _newer_than(self, key: Key) -> str | None:
        """The id of a key that was created after another one, and that the state does not have."""
        created = {one.id: one.created for one in self.account.list_access_keys(self.user)}
        known = {*self._state_ids(), self.adopted}
        newer = [one for one in created if one not in known and key.id in created and created[one] > created[key.id]]
        return newer[0] if newer else None

    def _kept(self, plan: KeyPlan, keys: Sequence[Key]) -> set[KeyName]:
        """The keys that stay as they are, whatever the plan is; each is reported."""
        in_use = {
            name: why
            for name, action in retirements(plan, keys).items()
            if name != plan.replaced and (why := self._in_use(keys, name, action))
        }
        self.skipped += [why for name, why in in_use.items() if name != self.blocking and name not in self.waits]
        if self.keeps_all:
            return {key.name for key in keys}
        in_stores = {key.name for key in keys if key.id in self.asked.holds.values()}
        if self._has_expired and in_stores & in_use.keys():  # the guard keeps a key together with its copies
            self.is_withheld = True
            return in_use.keys() | in_stores
        kept = set(in_use) | self._held(plan, keys)
        return kept if plan.is_new else kept | self._kept_for_current(plan, keys)

    def _expired_on(self, plan: KeyPlan, keys: Sequence[Key]) -> date | None:
        if self._has_expired:
            return self.rules.expires if plan.current.status == "inactive" else None
        if not plan.is_new and not keys[0].active and plan.current.status != "active":
            return self.state.expired_on  # a later day alone does not put an inactive key into the stores again
        return None

    def _retired_key(self, plan: KeyPlan, keys: Sequence[Key]) -> Key | None:
        """The previous key, if the settings make or made it inactive."""
        previous = next((key for key in keys if plan.previous and key.name == plan.previous.name), None)
        if plan.previous is None or plan.previous.status == "active":
            return None  # once it may have been activated, somebody else may deactivate it
        if previous is None or previous.is_retired:
            return previous
        retires = plan.previous.status == "inactive" and previous.active
        # Otherwise it expires, or somebody deactivated it before.
        if not retires or self._has_expired:
            return None
        try:
            return previous if self._works(previous) else None
        except AwsQueryError:
            return None

    @property
    def _has_expired(self) -> bool:
        return self.rules.have_expired(self.today)

    def _works(self, key: Key) -> bool:
        """Whether IAM has a key, and it is active; of one that IAM does not list yet, the state has the status. Raises
        AwsQueryError."""
        listed = {one.id: one.active for one in self.account.list_access_keys(self.user)}
        return listed[key.id] if key.id in listed else key.active and self.account.is_unlisted(self.user, key.id)

    def _kept_for_current(self, plan: KeyPlan, keys: Sequence[Key]) -> set[KeyName]:
        """Previous keys that would be retired although the current one does not work and is not suspended."""
        retired = {name for name in retirements(plan, keys) if name != plan.current.name}
        current = next(key for key in keys if key.name == plan.current.name)
        is_activated = plan.current.status == "active" and not current.active
        if not retired or plan.current.status == "inactive" or is_activated:
            return set()
        stays = f"the previous access key is not retired, because the current one, {current.id},"
        try:
            if self._works(current):
                return set()
        except AwsQueryError as error:
            cure = error.cure("iam:ListAccessKeys")
            self._skip(f"{stays} may not work: the access keys of {self.user} could not be listed ({error}). {cure}")
        else:
            self._skip(
                f"{stays} does not work: it is inactive, or IAM no longer has it. Run `pulumi refresh`, then `pulumi "
                f"up`; if it is inactive, set status to active, or raise serial to {current.name.serial + 1} for a new "
                "key."
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
        elif self.rules.previous == "whenIdle":
            why = f"previous is whenIdle, and everybody has changed over to key {plan.current.name}"
        elif plan.previous_until and action == "deactivated":
            why = f"its overlap with key {plan.current.name} ended on {plan.previous_until}"
        else:
            why = f"it is the previous key, and previous is {'deleted' if action == 'deleted' else 'inactive'}"
        return retired_line(self.account, self.user, key, action, why)

    def _adopted_name(self) -> KeyName:
        """The name of a key that is taken over: its own, or under a schedule one that serves from this day on."""
        own = next((key.name for key in self.state.handed_over if key.id == self.adopted), None)
        after = max((key.name.serial + 1 for key in self.state.keys), default=0)
        serial = max(self.rules.serial, after)
        return own or KeyName(serial, self.today if self.rules.rotation else date.min)

    def _compare(self, ids: Set[str], new: KeyName | None) -> tuple[tuple[Key, ...], KeyName | None, KeyName | None]:
        """The keys that exist, the new key if it can be issued, and the key that is deleted for it. ids: of those in
        IAM."""
        in_iam = self.account.list_access_keys(self.user)
        existing = tuple(key for key in self._usable_keys if key.id in ids)
        if self._usable_keys and not existing:
            why = (
                f"IAM has no user {self.user}, or has none of the keys recorded in the state. Run `pulumi refresh`, "
                "then `pulumi up`."
            )
            if not self.state.is_certain:
                raise KeyLimitError(f"{self.place}: {why} Nothing was changed.")
            self._skip(why)
            return self._usable_keys, None, None
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
        # One that is not listed may still be there: the list can be older than the key.
        gone = [self.undelivered] if self.undelivered else [key for key in self.state.keys if key not in existing]
        oldest = existing[-1] if len(existing) == KEYS_PER_USER else None
        replaced = oldest.name if oldest else gone[-1].name if gone else None
        if unmanaged and len(in_iam) >= KEYS_PER_USER:
            new = self._skip(
                f"no new key is issued: IAM allows two access keys per user, and {self.user} has one that this stack "
                f"does not manage, {' and '.join(map(self._describe, unmanaged))}. Somebody created it, or AWS's "
                "response got lost in an earlier run. If nobody uses it, delete it and run `pulumi up` again: "
                f"{self._delete_command(unmanaged[0].id)}"
            )
        elif existing and not self.is_decided and self._completes(existing, oldest):
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

    def _completes(self, existing: Sequence[Key], oldest: Key | None) -> bool:
        """Whether this run completes the delivery of the newest key. oldest: what would make room for another one."""
        newest = existing[0]
        if not self.state.was_handed_over(newest):
            return True
        if oldest is None or newest.id in self.state.handed_over_ids:
            return False
        return self.is_moved or (newest.id not in self.state.unkept and oldest.id in self.asked.holds.values())

    def _without_gone(self, keys: tuple[Key, ...]) -> tuple[Key, ...]:
        """The keys that IAM has, as far as it can be asked: one that is gone takes no other key's place."""
        try:
            ids = self._ids_in_iam()
        except AwsQueryError:
            return keys
        return tuple(key for key in keys if key.id in ids)

    def _ids_in_iam(self) -> set[str]:
        """The ids of the user's keys in IAM, also of those that it does not list yet. Raises AwsQueryError."""
        listed = {key.id for key in self.account.list_access_keys(self.user)}
        return listed | {key.id for key in self.state.keys if self.account.is_unlisted(self.user, key.id)}

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
        """Why a key is not retired yet; None where it is."""
        key = next(key for key in keys if key.name == name)
        why = self._waits_for(keys[0], key, action) or self.guard.refusal(self.user, key.id, action)
        if why:
            self.not_retired[key.id] = why
        return why

    def _waits_for(self, current: Key, key: Key, action: Retirement) -> str | None:
        if self.rules.previous != "whenIdle" or self._has_expired or key == current or not key.active:
            return None
        try:
            why = self.guard.waits_for(self.user, current.id, key.id, self.state.tried)
        except AwsQueryError as error:
            return self.guard.unreadable(self.user, key.id, action, error)
        if why is None:
            return None
        text = f"the previous access key {key.id} of user {self.user} stays active for now: {why}."
        self.waits[key.name] = text
        return text

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

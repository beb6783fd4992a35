"""Which keys each user is to have: what the rules plan, held back where AWS has a reason against it.

AWS is asked before anything is registered, and only where it matters: when a key would be retired (is it in use?), when
a user who has a key gets another (is there room for it?), and where the last run did not finish (what is there?). What
must not be done is skipped for that user; everybody else's plan is carried out.
"""

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from datetime import date
from functools import cached_property
from types import MappingProxyType
from typing import NamedTuple

from aws_access_keys.account import AccessKeyMetadata, Account, AwsQueryError
from aws_access_keys.delivery_check import DeliveryCheck, Handling, KeyLimitError, works
from aws_access_keys.key_endings import (
    UNKNOWN_KEY,
    described,
    expiry,
    in_parallel,
    retired_line,
    take_back,
    unmanaged_key,
)
from aws_access_keys.renamed import renamed
from aws_access_keys.retire_guard import RetireGuard
from aws_access_keys.rules.keys import delete_command, status_command
from aws_access_keys.rules.limits import KEYS_PER_USER
from aws_access_keys.rules.problem import PYTHON, Spelling
from aws_access_keys.rules.rotation import (
    RETIRE,
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
    is_untouched: bool = False
    """Whether an interrupted run may have overwritten what was delivered of it, and has not."""
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
        delivery = DeliveryCheck(user, place, rules[user], state, today, account, asked)
        planner = _Planner(
            user, spell, rules[user], adopts, state, today, guard, account, held, asked, delivery, is_listing
        )
        return planner.plan()

    users = sorted(rules)
    return dict(zip(users, in_parallel(plan, users), strict=True))


@dataclass
class _Planner:
    """Makes the plan of one user."""

    user: str
    spell: Spelling
    rules: KeyRules
    adopted: str | None
    state: UserState
    today: date
    guard: RetireGuard
    account: Account
    held: Set[str]
    asked: Handling
    delivery: DeliveryCheck
    is_listing: bool
    skipped: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    waits: dict[KeyName, str] = field(default_factory=dict[KeyName, str])
    not_retired: dict[str, str] = field(default_factory=dict[str, str])
    keeps_all: bool = False
    """Whether every key stays as it is."""
    stays_in_store: set[KeyName] = field(default_factory=set[KeyName])
    """Keys that stay active until the next run, because this one deletes a store that holds them."""
    only_working: KeyName | None = None
    """A key that makes no room for a new one because the newer one does not work."""
    blocking: KeyName | None = None
    """A key that keeps a new one from being issued: it is in use, or in a store. That was reported."""

    def plan(self) -> UserPlan:
        """The plan. Raises KeyLimitError."""
        takes_over = self.adopted if self.state.takes_over(self.adopted) else None
        self._check_secret()
        self.delivery.check()
        self.skipped += self.delivery.skipped
        self.warnings += self.delivery.warnings
        self.keeps_all = self.delivery.undecided is not None
        keys = self._usable_keys
        if self.delivery.is_held_back and (why := self._obstacle(keys)):
            self._skip(why)
        new = self._new_key(keys, takes_over)
        replaced: KeyName | None = None
        if takes_over and len(keys) > 1:
            keys = self._without_gone(keys)
        if self.state.exists and not takes_over and (new or not self.state.is_certain):
            keys, new, replaced = self._list_and_compare(keys, new)
        if not keys and not new:
            raise KeyLimitError(f"{self.delivery.place}: {' '.join(self.skipped)} Nothing was changed.")
        plan = plan_keys(self.rules, keys, self.today, new, replaced)
        leaked = self._leaked(plan, keys)
        if stays := leaked | self._kept_for_new(keys, new):  # a key that stays inactive retires no other one
            plan = plan_keys(self.rules, keys, self.today, new, replaced, stays)
        if keep := self._kept(plan, keys) | stays:
            plan = plan_keys(self.rules, keys, self.today, new, replaced, keep)
        taken = self._taken_over(takes_over, plan)
        self._warn(plan, [key for key in keys if key.name not in leaked], taken)
        current = next((key for key in keys if key.name == plan.current.name), None)
        is_activated = current and not current.active and plan.current.status == "active"
        if current and not plan.is_new and not is_activated and not self._has_expired:
            withheld = self.delivery.withhold(current, self.asked.new) if self.asked.new else None
            self.warnings += filter(None, [withheld, self.delivery.takes_anothers_place(current)])
        actions = retirements(plan, [*keys, *taken])
        lines = [self._retired(plan, key, actions[key.name]) for key in (*keys, *taken) if key.name in actions]
        lines.append(self.delivery.line(plan.is_new))
        return UserPlan(
            plan,
            skipped=tuple(self.skipped),
            warnings=tuple(self.warnings),
            retired=tuple(line for line in lines if line),
            waits=tuple(why for name, why in self.waits.items() if name != self.blocking),
            not_retired=self.not_retired,
            takes_over=takes_over,
            expired_on=self._expired_on(plan, keys),
            retired_key=self._retired_key(plan, keys),
            undelivered=self.delivery.undelivered.id if self.delivery.undelivered else None,
            recovered=self.delivery.recovered,
            is_moved=self.delivery.is_moved,
            is_untouched=self.delivery.is_untouched,
            is_withheld=self.delivery.is_withheld,
            undecided=self.delivery.undecided,
        )

    def _check_secret(self) -> None:
        """Raises KeyLimitError where nobody has the secret of the newest key."""
        newest = next(iter(self.state.keys), None)
        if newest and newest.id in self.state.lost_secrets - self.state.handed_over_ids and not self._has_expired:
            raise KeyLimitError(
                f"{self.delivery.place}: an earlier update could not encrypt the secret of the access key {newest.id} "
                f"of {self.user}, so nobody has it. Correct {self.spell('pgp_key')}, delete the key, and run `pulumi "
                f"refresh` and `pulumi up` for another one: {self._delete_command(newest.id)}. Nothing was changed."
            )

    def _new_key(self, keys: Sequence[Key], takes_over: str | None) -> KeyName | None:
        """The key that is to be issued or taken over; None if there is none, or if what is in the way was reported."""
        due = None if self.keeps_all else due_key(self.rules, keys, self.today)
        new = self._adopted_name() if takes_over or self.is_listing else due
        if not new or self.is_listing:
            return new
        why = self._obstacle(keys)
        return self._skip(why) if why else new

    def _obstacle(self, keys: Sequence[Key]) -> str | None:
        """Why no new key can be delivered; None if it can."""
        if self.asked.parameter:
            # In the state, a previous key depends on what the current one is delivered to, and would go with it.
            remove = (
                f"the parameter from the state, which leaves it unchanged in SSM: `pulumi state delete "
                f"'{self.asked.parameter}' --target-dependents`. Then run `pulumi up` again."
            )
            before = self.state.handed_over[:1]
            if keys and before and all(key.name < before[0].name for key in keys):  # the current one is gone
                keep = self.spell("users.{}.key.keep_secret", self.user)
                cure = f"Set {keep} to true for this key; before the next one, retire the previous key: {RETIRE}."
            elif len(keys) > 1:
                serial = keys[0].name.serial
                back = f"set serial back to {serial}, and retire" if self.rules.serial > serial else "retire"
                cure = f"First {back} the previous key: {RETIRE}. Then remove {remove}"
            else:
                cure = f"Remove {remove}"
            return (
                "no new key is issued: its secret must not be in the state, but the state has the SSM parameter with "
                f"its value. {cure}"
            )
        if self.asked.missing:
            return (
                f"no new key is issued: the program '{self.asked.missing}', which delivers it, is neither on PATH nor "
                "in the project's folder. Install it, or correct deliver.command."
            )
        return None

    def _list_and_compare(
        self, keys: tuple[Key, ...], new: KeyName | None
    ) -> tuple[tuple[Key, ...], KeyName | None, KeyName | None]:
        """The keys that IAM has, the new key if there is room for it, and the one that makes room."""
        try:
            ids = self._ids_in_iam()
        except AwsQueryError as error:
            cure = error.cure("iam:ListAccessKeys")
            if not self.state.is_certain:  # a key of the state may be gone; to register it would issue it again
                raise KeyLimitError(
                    f"{self.delivery.place}: the last update did not finish, and the access keys of {self.user} could "
                    f"not be listed ({error}). {cure} Nothing was changed."
                ) from None
            why = f"no new key is issued: could not list the access keys of {self.user} ({error}). {cure}"
            return keys, self._skip(why), None
        return self._compare(ids, new)

    @property
    def _usable_keys(self) -> tuple[Key, ...]:
        """The keys in the state, without one whose secret nobody has."""
        return tuple(
            key if key.id in self.state.handed_over_ids else replace(key, handed_over_on=self.today)
            for key in self.state.keys
            if key != self.delivery.undelivered
        )

    def _taken_over(self, key_id: str | None, plan: KeyPlan) -> list[Key]:
        """The existing key that becomes the current one, if the settings may change its status; else none."""
        if key_id is None or self.rules.status is None:
            return []
        listed = self.account.list_access_keys(self.user)
        return [Key(plan.current.name, one.id, one.active, one.created.date()) for one in listed if one.id == key_id]

    def _warn(self, plan: KeyPlan, keys: Sequence[Key], taken: Sequence[Key]) -> None:
        """Settings that do less, or more, than they seem to. taken: the key that is taken over."""
        self.warnings += notes(self.rules, keys, self.today)
        is_pending = len(keys) > 1 and not self.state.was_handed_over(keys[0])
        is_issued = keys and keys[0].id not in (self.adopted, self.state.adopted)
        if is_pending and is_issued and self.rules.serial < keys[0].name.serial:
            self.warnings.append(
                f"the access key {keys[0].id}, issued by an update that failed, becomes the current one, although "
                f"serial was lowered since. To go back to the previous one, delete it, and run `pulumi refresh` and "
                f"`pulumi up`: {self._delete_command(keys[0].id)}"
            )
        if plan.is_new and not taken and self.rules.status == "inactive":
            self.warnings.append("status is inactive, so the new key is created inactive, and nobody can use it yet.")
        wanted = {key.name: key.status for key in plan.keys}
        self.warnings += [
            f"the access key {key.id} is inactive and becomes active again, because the settings ask for it. If it was "
            f"deactivated because it is not to be used, {_undo(key.name == plan.current.name)}."
            for key in (*keys, *taken)
            if not key.active and wanted.get(key.name) == "active"
        ]
        if self.rules.previous == "active" and plan.previous and plan.previous.status is None:
            self.warnings += [
                f"the previous access key {key.id} is inactive and stays inactive, although previous is active: no "
                "update that finished has recorded that this stack deactivated it. If it has not leaked and may be "
                f"used again, run `{status_command(self.user, key.id, 'Active')}` and `pulumi refresh`."
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
                    f"{stays}: IAM has a newer key that the state does not have, {described(newer, self.account)}. If "
                    f"an older state was restored, restore a newer one. If that key is in use, set adopt to {{id: "
                    f"{newer.id}}}; if nobody uses it, delete it: {self._delete_command(newer.id)}"
                )
                found.add(key.name)
            elif is_leaked:
                self._skip(
                    f"{stays}: `access-keys leak` recorded that it has leaked. If that was a false alarm, run "
                    f"`access-keys leak {key.id} --undo`, `pulumi refresh` and `pulumi up`; otherwise {remove}."
                )
                found.add(key.name)
        return found

    def _newer_than(self, key: Key) -> AccessKeyMetadata | None:
        """A key that was created after another one, and that the state does not have."""
        listed = self.account.list_access_keys(self.user)
        created = next((one.created for one in listed if one.id == key.id), None)
        known = {*self._state_ids(), self.adopted}
        return next((one for one in listed if one.id not in known and created and one.created > created), None)

    def _kept(self, plan: KeyPlan, keys: Sequence[Key]) -> set[KeyName]:
        """The keys that stay as they are, whatever the plan is; each is reported."""
        retired = dict(retirements(plan, keys))
        if retired and self._renamed and not self.keeps_all:
            self._skip(self._renamed)
            return {key.name for key in keys}
        in_use = {
            name: why
            for name, action in retired.items()
            if name != plan.replaced and (why := self._in_use(keys, name, action))
        }
        self.skipped += [why for name, why in in_use.items() if name != self.blocking and name not in self.waits]
        if self.keeps_all:
            return {key.name for key in keys}
        in_stores = {key.name for key in keys if key.id in self.asked.holds.values()}
        if self._has_expired and in_stores & in_use.keys():  # the guard keeps a key together with its copies
            self.delivery.is_withheld = True
            return in_use.keys() | in_stores
        # One that is in use stays anyway, and was reported.
        self.stays_in_store = self._held(plan, [key for key in keys if key.name not in in_use])
        kept = set(in_use) | self.stays_in_store
        kept |= set() if plan.is_new else self._kept_for_current(plan, keys, retired.keys() - {plan.current.name})
        left = retired.keys() - kept - {plan.current.name, plan.replaced}
        for key in (key for key in keys if key.name in left):
            if key.name == self.blocking:
                kept.add(key.name)
            elif why := self.delivery.put_back(keys, key):
                self.not_retired[key.id] = why
                self._skip(why)
                kept.add(key.name)
        return kept

    def _kept_for_new(self, keys: Sequence[Key], new: KeyName | None) -> set[KeyName]:
        """The keys that stay as they are where a new one is asked for and cannot be issued: the one that it was to
        replace is not activated, because it may have leaked, and the only one that works is not retired."""
        if new or self._has_expired:
            return set()
        if self.only_working:
            return {self.only_working, keys[0].name}
        is_replaced = self.rules.serial > keys[0].name.serial and self.rules.status == "active" and not keys[0].active
        return {keys[0].name} if is_replaced else set()

    def _expired_on(self, plan: KeyPlan, keys: Sequence[Key]) -> date | None:
        if self._has_expired:
            # Also where the key stays for one more run: the stores that are new do not get it.
            is_ending = plan.current.status == "inactive" or plan.current.name in self.stays_in_store
            return self.rules.expires if is_ending else None
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
            return previous if works(self.account, self.user, previous) else None
        except AwsQueryError:
            return None

    @property
    def _has_expired(self) -> bool:
        return self.rules.have_expired(self.today)

    def _kept_for_current(self, plan: KeyPlan, keys: Sequence[Key], retired: set[KeyName]) -> set[KeyName]:
        """Previous keys that would be retired although the current one does not work and is not suspended."""
        current = next(key for key in keys if key.name == plan.current.name)
        is_activated = plan.current.status == "active" and not current.active
        if not retired or plan.current.status == "inactive" or is_activated:
            return set()
        stays = f"the previous access key is not retired, because the current one, {current.id},"
        try:
            if works(self.account, self.user, current):
                return set()
        except AwsQueryError as error:
            cure = error.cure("iam:ListAccessKeys")
            self._skip(f"{stays} may not work: the access keys of {self.user} could not be listed ({error}). {cure}")
        else:
            self._skip(
                f"{stays} does not work: it is inactive, or IAM no longer has it. Run `pulumi refresh`, then `pulumi "
                f"up`; if it is inactive and may be used again, set status to active (the same update then retires the "
                f"previous one, unless previous is active); for a new key, raise serial to "
                f"{current.name.serial + 1} and delete it: {self._delete_command(current.id)}"
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
            done = f"everybody has changed over to key {plan.current.name}"
            why = f"previous is whenIdle, and {done if self.guard.is_on(self.user) else 'the retire guard is lifted'}"
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
            why = self._renamed or (
                f"IAM has no user {self.user}, or has none of the keys recorded in the state. Run `pulumi refresh`, "
                "then `pulumi up`."
            )
            if not self.state.is_certain:
                raise KeyLimitError(f"{self.delivery.place}: {why} Nothing was changed.")
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
        undelivered = self.delivery.undelivered
        gone = [undelivered] if undelivered else [key for key in self.state.keys if key not in existing]
        oldest = existing[-1] if len(existing) == KEYS_PER_USER else None
        replaced = oldest.name if oldest else gone[-1].name if gone else None
        if unmanaged and len(in_iam) >= KEYS_PER_USER:
            stored = self.delivery.holding({key.id for key in unmanaged})
            cure = "; ".join(
                f"{where} has {key_id}. {take_back(key_id, self.state.lacks_copy, self.spell)}"
                for where, key_id in stored.items()
            ) or (
                f"{UNKNOWN_KEY} If nobody uses it, and no store has it, delete it and run `pulumi up` again: "
                f"{self._delete_command(unmanaged[0].id)}"
            )
            new = self._skip(
                f"no new key is issued: IAM allows two access keys per user, and {self.user} has one that this stack "
                f"does not manage, {' and '.join(described(key, self.account) for key in unmanaged)}. {cure}"
            )
        elif self.delivery.completes(existing, oldest):
            new = self._skip(
                f"no new key is issued yet: the access key {existing[0].id} was issued by a run that failed; this run "
                "completes it. To issue another key, run `pulumi up` again."
            )
        elif oldest and (why := self.delivery.keeps_both(existing[0], oldest)):
            self.only_working, new = oldest.name, self._skip(why)
        elif oldest and (why := self.delivery.needs(existing[0], oldest)):
            new = self._skip(why)
        elif oldest and oldest.active and oldest.id in self.held:
            new = None
            self.warnings.append(  # an error would keep a program in YAML from the deletion
                f"no new key is issued yet: this run deletes a secret or parameter that has the access key {oldest.id}"
                ", and that key makes room for it after that. For the new key, run `pulumi up` again."
            )
        elif oldest and (
            why := self.delivery.put_back(existing, oldest) or self._in_use(existing, oldest.name, "deleted")
        ):
            self.blocking = oldest.name
            new = self._skip(
                f"{why} No new key is issued until this one can be deleted: IAM allows two access keys per user."
            )
        else:
            self._warn_of(unmanaged)
        if is_lost and new is None:
            return self._without_current(), None, None
        return existing, new, replaced if new else None

    @cached_property
    def _renamed(self) -> str | None:
        return renamed(self.user, self.state.keys, self.account)

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
        raise KeyLimitError(f"{self.delivery.place}: {' '.join([*self.warnings, *self.skipped])} Nothing was changed.")

    def _check_lost_keys(self, ids: Set[str]) -> None:
        """Keys that were handed over and that IAM has, but not the state. Raises KeyLimitError for the current one."""
        for index, key in enumerate(self.state.handed_over):
            if key.id in ids - self._state_ids():
                text = f"the state no longer has the access key {key.id} of {self.user}, but IAM does. It may be in use"
                delete = f"delete it: {self._delete_command(key.id)}"
                if index == 0:
                    back = take_back(key.id, self.state.lacks_copy, self.spell)
                    raise KeyLimitError(
                        f"{self.delivery.place}: {text}, so no other key is issued. {back}; or, if nobody uses it, "
                        f"{delete}. Nothing was changed."
                    )
                self.warnings.append(f"{text}; if not, {delete}")

    def _in_place_of(self, current: HandedOver, new: KeyName | None) -> KeyName | None:
        """The name of the new key where the current one was deleted in IAM."""
        gone = f"IAM no longer has the current access key {current.id} of {self.user}"
        if all(key.name != current.name for key in self.state.keys):
            self.warnings.append(f"{gone}; another one is due.")
            if new is None and (why := self._obstacle(self.state.keys)):
                return None if why in self.skipped else self._skip(why)
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
        known = {handed_over.id for handed_over in self.state.handed_over}
        unknown = [key for key in unmanaged if key.id not in known]
        stored = self.delivery.holding({key.id for key in unknown}) if unknown else {}
        for key in unknown:
            places = [where for where, key_id in stored.items() if key_id == key.id]
            self.warnings.append(
                f"{' and '.join(places)} has the access key {key.id}, which the state does not have. It may be in use. "
                f"{take_back(key.id, self.state.lacks_copy, self.spell)}"
                if places
                else unmanaged_key(self.user, key, self.account)
            )

    def _delete_command(self, key_id: str) -> str:
        return delete_command(self.user, key_id)


def _undo(is_current: bool) -> str:
    return "remove status and raise serial" if is_current else "set previous to inactive until that key is deleted"

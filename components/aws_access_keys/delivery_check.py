"""Which stores and commands have a user's keys: what a failed run leaves, and what somebody puts there by hand.

If the secret of the newest key is not kept: where its delivery is recorded, or a store or the key's last use tells it,
the delivery is completed, or the key is issued again. Where nobody can know it, no key of that user changes. A previous
key that a store has again is not retired.
"""

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import date
from types import MappingProxyType
from typing import Any, NamedTuple

import pulumi

from aws_access_keys.account import Account, AwsQueryError
from aws_access_keys.credentials import stored_id
from aws_access_keys.direct_delivery import stored_secret, text_in_store
from aws_access_keys.iam import use_by_others
from aws_access_keys.renamed import renamed
from aws_access_keys.rules.keys import delete_command, status_command
from aws_access_keys.rules.limits import KEYS_PER_USER
from aws_access_keys.rules.names import in_words
from aws_access_keys.rules.rotation import Key, KeyRules, due_key
from aws_access_keys.settings import USUAL_FIELDS
from aws_access_keys.state import Delivered, UserState, aws_stores


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
    others: Mapping[str, Any] = MappingProxyType({})
    """Those of the destinations that have another user's key."""


@dataclass
class DeliveryCheck:
    """Checks the delivery of one user's keys; `check` sets what it found of the newest."""

    user: str
    place: str
    """Where the user's key is in the settings."""
    rules: KeyRules
    state: UserState
    today: date
    account: Account
    asked: Handling
    undelivered: Key | None = None
    """A key whose secret nobody has: this run replaces or deletes it."""
    recovered: str | None = None
    """The secret of the newest key, read from a store for those that do not have it."""
    is_moved: bool = False
    """Whether such a key is delivered to those that do not have it; in a preview, if a store tells its secret."""
    is_withheld: bool = False
    """Whether the newest key goes to no store or command that it was not delivered to before: it does not work."""
    undecided: str | None = None
    """The id of the newest key, where nobody can know whether it was delivered."""
    is_untouched: bool = False
    """Whether an interrupted run may have overwritten what is recorded of the older key, and has not."""
    is_decided: bool = False
    """Whether the settings decide that it was delivered, which is not recorded."""
    is_held_back: bool = False
    """Whether it stays until another key can be issued in its place: its delivery failed."""
    skipped: tuple[str, ...] = ()
    """What is not done, with the reason and the cure."""
    warnings: tuple[str, ...] = ()

    def check(self) -> None:
        """Find out whether the newest key was delivered everywhere, if its secret is not kept. Raises KeyLimitError."""
        newest, found = next(iter(self.state.keys), None), self.state.delivered_directly
        if newest is None or newest.id not in self.state.unkept or self.rules.have_expired(self.today):
            return
        is_recorded, was_handed_over = found.content == newest.id, newest.id in self.state.handed_over_ids
        # A key of a finished run was delivered, whatever the record is about now: its users may have it.
        was_delivered = was_handed_over and newest.id != self.state.undecided
        if not is_recorded and self.state.expired_on and not newest.active and self.rules.status != "active":
            return  # a later day alone does not put an inactive key into the stores again
        missing = found.missing(self.asked.to, self.asked.fields) if is_recorded else dict(self.asked.to)
        # Where the older key would make room, those that still have it get this one first.
        is_complete = was_handed_over or len(self.state.keys) < KEYS_PER_USER
        is_somewhere = is_recorded or was_delivered
        is_next = is_complete and due_key(self.rules, self.state.keys, self.today)
        if is_somewhere and (not missing or is_next):
            return  # the next one goes everywhere
        is_activated = not newest.active and self.rules.status == "active"
        if is_somewhere and not is_activated and (why := self.withhold(newest, missing)):
            self.warnings = (why,)
            return
        # A preview reads no secret. Where only a command had the key, no store can tell it.
        by_command = (
            is_recorded and was_delivered and not aws_stores(found.to) and "existingSecret" not in self.asked.to
        )
        if pulumi.runtime.is_dry_run() and is_somewhere and not by_command:
            self.is_moved = True
            return
        stores = [*aws_stores(self.asked.to).items(), *aws_stores(found.to).items()]
        if not pulumi.runtime.is_dry_run():
            self.recovered = self._recovered(newest, stores)
        doubt = None if was_delivered or self.recovered is not None else self._doubt(newest)
        if self.recovered is not None or (pulumi.runtime.is_dry_run() and doubt and stores):
            self.is_moved = True
        elif was_delivered:
            self.skipped = (
                f"the access key {newest.id} is not delivered to {in_words(missing)}: its secret is not kept, and no "
                f"store has it. Raise serial to {newest.name.serial + 1} for a key that can be delivered.",
            )
        elif doubt:
            self.undecided, self.skipped = newest.id, (doubt,)
        elif not self.is_decided:
            self.undelivered = newest
            self.is_untouched = found.is_uncertain and not pulumi.runtime.is_dry_run() and self._have(found)

    def withhold(self, key: Key, to: Mapping[str, Any]) -> str | None:
        """Decide whether a key that stays goes nowhere else, and return why: it does not work, and the settings do not
        suspend it.

        Raises KeyLimitError where that is not known: another store that has the key may go in this run.
        """
        if self.rules.status == "inactive":
            return None
        try:
            self.is_withheld = not (key.active and works(self.account, self.user, key))
        except AwsQueryError as error:
            raise KeyLimitError(
                f"{self.place}: the access key {key.id} is to be delivered to {in_words(to)}, but whether it works "
                f"could not be checked ({error}). {error.cure('iam:ListAccessKeys')} Nothing was changed."
            ) from None
        if not self.is_withheld:
            return None
        if why := renamed(self.user, self.state.keys, self.account):
            return f"the access key {key.id} is not delivered to {in_words(to)}: {why}"
        return (
            f"the access key {key.id} is not delivered to {in_words(to)}, because it is inactive, or IAM no longer "
            f"has it. Raise serial to {key.name.serial + 1} for a key that can be delivered; or, if the key may be "
            "used again, run `pulumi refresh`, set status to active, and run `pulumi up`."
        )

    def takes_anothers_place(self, key: Key) -> str | None:
        """Why readers of a store that comes from another user should know of a key that does not work; None if they
        need not."""
        if not self.asked.others or self.rules.status == "inactive":
            return None
        gets = f"the access key {key.id} takes the place of another user's in {in_words(self.asked.others)}"
        try:
            if key.active and works(self.account, self.user, key):
                return None
        except AwsQueryError as error:
            return f"{gets}. Whether it works could not be checked ({error}). {error.cure('iam:ListAccessKeys')}"
        return (
            f"{gets}, but it is inactive, or IAM no longer has it: whoever reads it there is refused. Raise serial to "
            f"{key.name.serial + 1} for a key that works."
        )

    def holding(self, ids: Collection[str]) -> dict[str, str]:
        """The stores, in words, that are asked for and have one of these keys → its id. A preview reads none."""
        found: dict[str, str] = {}
        stores = dict[str, str]() if pulumi.runtime.is_dry_run() else aws_stores(self.asked.to)
        for kind, name in stores.items():
            with suppress(AwsQueryError):
                text = text_in_store(self.account, kind, name) or ""
                found |= {in_words({kind: name}): held for held in ids if held in text}
        return found

    def completes(self, existing: Sequence[Key], oldest: Key | None) -> bool:
        """Whether this run completes the delivery of the newest key before it issues another one. oldest: what would
        make room for that."""
        if not existing or self.is_decided:
            return False
        newest = existing[0]
        if not self.state.was_handed_over(newest):
            return True
        if oldest is None or newest.id in self.state.handed_over_ids:
            return False
        return self.is_moved or (newest.id not in self.state.unkept and oldest.id in self.asked.holds.values())

    def put_back(self, keys: Sequence[Key], key: Key) -> str | None:
        """Why a previous key is not retired that a store has, although the stack put a later one there; None if none
        has it. A preview does not look."""
        others = {other.id for other in keys if other != key}
        # A store that has this key in the state as well is written first.
        stores = {
            kind: name for kind, name in aws_stores(self.asked.to).items() if self.asked.holds.get(kind) in others
        }
        if pulumi.runtime.is_dry_run() or self.rules.have_expired(self.today) or not stores:
            return None
        stays = f"the access key {key.id} of {self.user} is not retired"
        for kind, name in stores.items():
            place, later = in_words({kind: name}), self.asked.holds[kind]
            try:
                if not works(self.account, self.user, key):
                    return None
                text = text_in_store(self.account, kind, name) or ""
            except AwsQueryError as error:
                cure = error.cure("permission to read it")
                return f"{stays}, because {place} may have it, which could not be checked ({error}). {cure}"
            if key.id in text:  # in whatever form somebody wrote it
                return (
                    f"{stays}, because {place} has it, although this stack put {later} there. Put {later} back "
                    "(docs/delivery.md, 'A key put back by hand'), then run `pulumi up` again."
                )
        return None

    def needs(self, newest: Key, oldest: Key) -> str | None:
        """Why a key does not make room for a new one: a store has it, in the state as well, and gets the newer key in
        this run. None if none has it."""
        if not (places := self._places(oldest)):
            return None
        has = f"{places} has the access key {oldest.id}"
        try:
            if not works(self.account, self.user, oldest):
                return None
        except AwsQueryError as error:
            cure = error.cure("iam:ListAccessKeys")
            return f"no new key is issued: {has}, which could not be listed ({error}). {cure}"
        return (
            f"no new key is issued yet: {has}, which would make room for it; this run puts {newest.id} there. To issue "
            "another key, run `pulumi up` again."
        )

    def keeps_both(self, newest: Key, oldest: Key) -> str | None:
        """Why a key makes no room for a new one: it is the only one that works. None if it is not."""
        places = self._places(oldest)
        has = f"{places} has the access key {oldest.id}" if places else f"the access key {oldest.id} works"
        try:
            if not works(self.account, self.user, oldest) or works(self.account, self.user, newest):
                return None
        except AwsQueryError as error:
            cure = error.cure("iam:ListAccessKeys")
            return f"no new key is issued: whether {newest.id} works could not be checked ({error}). {cure}"
        delete, activate = delete_command(self.user, newest.id), status_command(self.user, newest.id, "Active")
        is_raised = self.rules.serial > newest.name.serial
        back = "set serial back, and " if is_raised else ""
        then = "" if is_raised else f" The new key then takes the place of {oldest.id}."
        overlap = self.rules.rotation.overlap_days if self.rules.rotation else 0
        is_retired = self.rules.previous in ("inactive", "deleted") or (self.rules.rotation and not self.rules.previous)
        if is_raised and not overlap and is_retired:
            then = f" To keep {oldest.id} for a while, set previous to active first: `pulumi up` retires it otherwise."
        return (
            f"no new key is issued: {has} and would make room for it, but the newer key, {newest.id}, does not work. "
            f"Delete that one: {delete}; or, if it has not leaked and may be used again, {back}activate it: {activate}."
            f"{then} Run `pulumi refresh` and `pulumi up` after that."
        )

    def _places(self, key: Key) -> str:
        """The stores that have a key, by the state, in words."""
        places = {kind: to for kind, to in aws_stores(self.asked.to).items() if self.asked.holds.get(kind) == key.id}
        return in_words(places) if places else ""

    def line(self, is_replaced: bool) -> str | None:
        """The line about a key whose secret nobody has; None if there is none."""
        if self.undelivered is None:
            return None
        tried = self.state.attempted == self.undelivered.id
        why = "its delivery failed" if tried else "no store has its secret"
        what = "replaced" if is_replaced else "deleted"
        return f"the access key {self.undelivered.id} of {self.user} is {what}: {why}"

    def _recovered(self, key: Key, stores: Iterable[tuple[str, str]]) -> str | None:
        """The secret of a key, from a store that has it. stores: kind and name. Raises KeyLimitError."""
        try:
            return stored_secret(self.account, dict.fromkeys(stores), key.id)
        except AwsQueryError as error:
            raise KeyLimitError(
                f"{self.place}: whether a store has the access key {key.id} of {self.user} could not be checked "
                f"({error}). {error.cure('permission to read the store')} Nothing was changed."
            ) from None

    def _have(self, delivered: Delivered) -> bool:
        """Whether the stores have what was delivered, under the same names of the fields."""
        for kind, name in aws_stores(delivered.to).items():
            try:
                text = text_in_store(self.account, kind, name)
            except AwsQueryError:
                return False
            names = delivered.fields.get(kind, USUAL_FIELDS)
            if stored_id(text) != delivered.content or list(json.loads(text or "{}")) != names:
                return False
        return True

    def _doubt(self, key: Key) -> str | None:
        """Why a key whose delivery is not recorded may have been delivered; None if it was not, or if the settings
        decide that it was, by a higher serial."""
        delete = f"delete it, and run `pulumi refresh` and `pulumi up`: {delete_command(self.user, key.id)}"
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
        if not has_failed:
            return None
        others = tuple(other for other in self.state.keys if other != key)
        begin = f"the delivery of the access key {key.id} failed, and your store may have it"
        if not due_key(self.rules, others, self.today):
            return (
                f"{begin}. For another key in its place, set serial to {key.name.serial + 1}; if your store does not "
                f"have it, {delete}"
            )
        # The command runs again, with another key.
        self.is_held_back = bool(self.asked.parameter or self.asked.missing)
        return f"{begin}, so it stays until another key can be issued in its place." if self.is_held_back else None

    def _was_used(self, key: Key) -> bool:
        """Whether somebody has used a key. Raises AwsQueryError."""
        created = {one.id: one.created for one in self.account.list_access_keys(self.user)}.get(key.id)
        return created is not None and use_by_others(created, self.account.last_use(key.id)) is not None


def works(account: Account, user: str, key: Key) -> bool:
    """Whether IAM has a key, and it is active; of one that IAM does not list yet, the state has the status. Raises
    AwsQueryError."""
    listed = {one.id: one.active for one in account.list_access_keys(user)}
    return listed[key.id] if key.id in listed else key.active and account.is_unlisted(user, key.id)

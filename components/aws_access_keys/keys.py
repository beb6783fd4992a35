"""A user's access keys: the current one and the one before it, each in a slot of its own."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import pulumi
from pulumi_aws import iam
from typing_extensions import NotRequired, TypedDict

from aws_access_keys.aws import Account, UnansweredError, wait_until_accepted
from aws_access_keys.description import DescriptionTags
from aws_access_keys.guard import RetireGuard
from aws_access_keys.issued import RECORD
from aws_access_keys.rules.pgp import public_key
from aws_access_keys.rules.rotation import Calendar, KeyPlan, KeyRules, Slot, other_slot


class RotationArgs(TypedDict):
    """New keys by the calendar."""

    start: str
    """First day of the first period, `YYYY-MM-DD`."""
    every_days: int
    """Length of a period in days."""
    overlap_days: int
    """Days for which the key before stays active after a new one was issued."""


class AdoptArgs(TypedDict):
    """An access key that exists already."""

    id: str
    """The access key id."""
    secret: NotRequired[pulumi.Input[str]]
    """Its secret, where it is known."""


class KeyArgs(TypedDict):
    """The life of one user's key."""

    serial: NotRequired[int]
    """Raise it by one for a new key. Default 1."""
    previous: NotRequired[str]
    """What becomes of the key before: `active`, `inactive` or `deleted`. Default `inactive` under a calendar, else
    `active`."""
    rotation: NotRequired[RotationArgs]
    """New keys by the calendar. Default: none."""
    status: NotRequired[str]
    """`active` (default) or `inactive`, which suspends the current key."""
    description: NotRequired[str]
    """Shown in the AWS console beside the key; needs the provider to ignore tags that start with AKIA."""
    pgp_key: NotRequired[str]
    """An OpenPGP public key, armored or base64: the secret of the next key is only kept encrypted to it."""
    verify: NotRequired[bool]
    """Wait until AWS accepts a new key. Default true."""
    retire_guard_idle_days: NotRequired[int]
    """Refuse to deactivate or delete a key that was used within so many days. Default: no guard."""
    adopt: NotRequired[AdoptArgs]
    """Take an existing key of an existing user instead of making the first."""


@dataclass(frozen=True)
class Surroundings:
    """What all users of a component share."""

    today: date
    account: Account
    guard: RetireGuard
    descriptions: DescriptionTags


class UserKeys:
    """The keys of one user, registered below `parent`."""

    def __init__(
        self,
        name: str,
        user: iam.User,
        args: KeyArgs,
        plan: KeyPlan,
        issued: Mapping[str, Any],
        around: Surroundings,
        parent: pulumi.Resource,
        depends_on: Sequence[pulumi.Resource],
    ) -> None:
        """issued: this user's part of what `issued_keys()` says, empty before the first run."""
        self._args = args
        self._name, self._user, self._parent = name, user, parent
        self._depends_on = depends_on
        self._issued = issued
        self._around = around
        self.plan = plan
        self.current = self._key(plan.current, is_new=plan.is_new)
        self.id = self.current.id
        accepted: pulumi.Output[str | None] = pulumi.Output.secret(self._secret_once_accepted(user))
        self.record = self._record(accepted)
        child = pulumi.ResourceOptions(parent=parent)
        self._recorded = pulumi.Stash(f"{name}/{RECORD}", input=self.record, opts=child)
        # Nobody gets the new key before it is known to work and that is written down.
        self.secret = pulumi.Output.all(accepted, self._recorded.id).apply(lambda both: both[0])
        self.previous: iam.AccessKey | None = None

    def retire_previous(self, after: Sequence[pulumi.Resource]) -> None:
        """Do with the key before what is planned, once the new one is where its users get it. To be called once.

        after: what the new key is delivered into.
        """
        if self.plan.previous:
            self.previous = self._key(self.plan.previous, is_new=False, after=[self._recorded, *after])
        if "description" in self._args:
            ids = [key.id for key in (self.current, self.previous) if key is not None]
            self._around.descriptions.stash(
                f"{self._name}/descriptions", self._user.name, ids, self._args["description"], self._parent
            )

    def _key(self, slot: Slot, is_new: bool, after: Sequence[pulumi.Resource] = ()) -> iam.AccessKey:
        pgp_key = self._args.get("pgp_key")
        adopt = self._adopted_in(slot)
        return iam.AccessKey(
            f"{self._name}/{slot.name}",
            user=self._user.name,
            status=slot.status.capitalize(),
            pgp_key=public_key(pgp_key) if pgp_key else None,
            opts=pulumi.ResourceOptions(
                parent=self._parent,
                # IAM takes two keys per user: what was in the slot goes before the new key comes. It is the oldest.
                replacement_trigger=slot.serial,
                delete_before_replace=True,
                # Another pgpKey counts from the next key on; a key that exists is never replaced for it.
                ignore_changes=None if is_new else ["pgpKey"],
                hooks=self._around.guard.binding(self._name.rsplit("/", 1)[-1]),
                depends_on=[*self._depends_on, *after],
                import_=adopt,
                additional_secret_outputs=["secret", "sesSmtpPasswordV4"],
            ),
        )

    def _adopted_in(self, slot: Slot) -> str | None:
        """The id of the adopted key, where it is (to be) in this slot; the first key of a user, and no later one."""
        adopt = self._args.get("adopt")
        if adopt is None:
            return None
        if not self._issued:
            return adopt["id"]
        known: list[dict[str, Any]] = [self._issued.get(which) or {} for which in ("current", "previous")]
        mine = any(key.get("id") == adopt["id"] and int(key["serial"]) == slot.serial for key in known)
        return adopt["id"] if mine else None

    def _secret_once_accepted(self, user: iam.User) -> "pulumi.Output[str | None]":
        adopt = self._args.get("adopt")
        known = pulumi.Output.from_input(adopt.get("secret") if adopt else None)
        current: dict[str, Any] = self._issued.get("current") or {}
        # A key that was inactive so far may never have been tried, and AWS takes a moment to switch one on.
        verified = self._issued.get("recorded") if current.get("status") == "Active" else None
        wanted = self._args.get("verify", True) and self.plan.current.status == "active"

        async def accepted(name: str, key_id: str, secret: str | None, adopted_secret: str | None) -> str | None:
            if secret is None and adopt is not None and key_id == adopt["id"]:
                secret = adopted_secret
            if wanted and key_id != verified:
                if secret:
                    await wait_until_accepted(self._around.account, name, key_id, secret)
                else:
                    reason = "its secret was not given" if adopt else "its secret is encrypted to the user's pgpKey"
                    pulumi.log.info(f"the access key {key_id} of user {name} was not tried: {reason}")
                if not self._issued and adopt is None:
                    await self._warn_of_strangers(name, key_id)
            return secret

        def start(values: "list[Any]") -> "asyncio.Future[str | None]":
            return asyncio.ensure_future(accepted(*values))

        return pulumi.Output.all(user.name, self.current.id, self.current.secret, known).apply(start)

    async def _warn_of_strangers(self, user: str, key_id: str) -> None:
        """A new user has one key. If AWS's answer got lost when it was made, there is another that works."""
        try:
            there = await asyncio.to_thread(self._around.account.keys_of, user)
        except UnansweredError:
            return
        for key in there:
            if key.id != key_id:
                pulumi.log.warn(
                    f"IAM has an access key of the new user {user} that this stack does not know: {key.id}. Probably "
                    f"AWS's answer got lost. Delete it: aws iam delete-access-key --user-name {user} --access-key-id "
                    f"{key.id}"
                )

    def state(self) -> pulumi.Output[dict[str, Any]]:
        """Where the user stands, for people and for the report. No secret is in it."""
        plan = self.plan

        def shown(values: "list[Any]") -> dict[str, Any]:
            current, previous, _ = values
            return {
                "current": current,
                "previous": previous,
                "issuedOn": plan.issued_on.isoformat(),
                "askedSerial": plan.asked,
                "nextRotation": plan.next_rotation.isoformat() if plan.next_rotation else None,
                "previousUntil": plan.previous_until.isoformat() if plan.previous_until else None,
            }

        # With the secret's proof among the values the state is only written once the new key is known to work.
        proof = pulumi.Output.unsecret(self.secret.apply(lambda _: True))
        return pulumi.Output.all(_facts(self.current, plan.current), _facts(self.previous, plan.previous), proof).apply(
            shown
        )

    def _record(self, accepted: "pulumi.Output[str | None]") -> pulumi.Output[dict[str, Any]]:
        """What the next run must know, once the current key is accepted. See components/issued.py."""
        plan = self.plan
        before = {"slot": other_slot(plan.current.name), "serial": plan.before} if plan.before is not None else None

        def written(key_id: str) -> dict[str, Any]:
            return {
                "current": {"id": key_id, "slot": plan.current.name, "serial": plan.current.serial},
                # One that is gone stays in the record: a run that does nothing should not have to write.
                "previous": before or self._issued.get("before"),
                "issuedOn": plan.issued_on.isoformat(),
                "askedSerial": plan.asked,
                "guardIdleDays": self._args.get("retire_guard_idle_days"),
            }

        known: str | None = None if plan.is_new else self._issued.get("slots", {}).get(plan.current.name)
        if known and known == self._issued["recorded"]:
            return pulumi.Output.from_input(written(known))  # a preview would not know a secret that is not there
        proof = pulumi.Output.unsecret(accepted.apply(lambda _: True))
        return pulumi.Output.all(self.current.id, proof).apply(lambda both: written(both[0]))


def _facts(key: iam.AccessKey | None, slot: Slot | None) -> pulumi.Output[dict[str, Any] | None]:
    if key is None or slot is None:
        return pulumi.Output.from_input(None)

    def facts(values: "list[Any]") -> dict[str, Any]:
        key_id, status, created, fingerprint = values
        found = {"id": key_id, "serial": slot.serial, "slot": slot.name, "status": status, "created": created}
        return {**found, "pgpFingerprint": fingerprint} if fingerprint else found

    return pulumi.Output.all(key.id, key.status, key.create_date, key.key_fingerprint).apply(facts)


def key_rules(args: KeyArgs) -> KeyRules:
    """The rules of a user's key as the pure functions take them."""
    rotation = args.get("rotation")
    return KeyRules(
        serial=args.get("serial", 1),
        status="inactive" if args.get("status") == "inactive" else "active",
        previous=args.get("previous"),  # pyright: ignore[reportArgumentType] - checked where it comes in
        rotation=Calendar(date.fromisoformat(rotation["start"]), rotation["every_days"], rotation["overlap_days"])
        if rotation
        else None,
    )

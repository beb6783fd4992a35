"""The access keys of one user: the current one and, for as long as it is kept, the previous one."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import pulumi
from pulumi_aws import iam

from aws_access_keys.account import Account, AwsQueryError
from aws_access_keys.delivery import Delivery, expired_content, key_content
from aws_access_keys.descriptions import KeyDescriptions
from aws_access_keys.direct_delivery import DirectDelivery, OneTimeKey
from aws_access_keys.key_endings import unmanaged_key
from aws_access_keys.planning import UserPlan
from aws_access_keys.rules.documents import text_digest
from aws_access_keys.rules.pgp import public_key
from aws_access_keys.rules.problem import Spelling
from aws_access_keys.rules.rotation import Key, PlannedKey
from aws_access_keys.settings import KeySettings
from aws_access_keys.state import UserState
from aws_access_keys.stores import held_key
from aws_access_keys.validation import pgp_text
from aws_access_keys.verification import NotAcceptedError, wait_until_accepted


@dataclass(frozen=True)
class RegisteredKeys:
    """What other parts of the program need of a user's keys."""

    current: iam.AccessKey
    secret: "pulumi.Output[str | None]"
    """The secret of the current key, once AWS accepts the key; None where it is not known, or not kept."""
    without_copy: bool
    """Whether it is not kept."""
    status: "pulumi.Output[dict[str, Any]]"
    """What people and reports want to know of the keys, once the current one is accepted. No secret is in it."""


@dataclass(frozen=True, kw_only=True)
class UserKeys:
    """Registers the keys of one user as children of the user, named `COMPONENT/USER/SERIAL`."""

    user: iam.User
    name: str
    """Of the user's resource: `COMPONENT/USER`."""
    settings: KeySettings
    plan: UserPlan
    state: UserState
    account: Account
    hooks: pulumi.ResourceHookBinding
    allowed: Sequence[pulumi.Resource]
    """What the keys are allowed to do. A key comes after that and goes before it, so that a key that the guard keeps
    keeps its permissions, too."""
    descriptions: KeyDescriptions
    user_name: str
    spell: Spelling
    deliver: Delivery
    direct: DirectDelivery
    one_time_key: OneTimeKey
    tried: str | None
    """When the last run began that tried the current key; see RunRecord."""
    proofs: "list[pulumi.Output[Any]]"
    """Of every user of the component: known when the current key is accepted and delivered, and has its description."""
    issued: "list[pulumi.Output[bool]]"
    """Of every user of the component: see updating.py."""
    all_accepted: "pulumi.Output[bool]"
    """Known after all proofs, see `all_accepted`."""
    outputs_stay: bool
    """Whether the engine will not write the stack's outputs: previous keys that these may have are not deactivated."""

    def register(self) -> RegisteredKeys:
        """Register the current key, what it is delivered into, and after these the previous key, retired as planned."""
        plan = self.plan.plan
        retires: pulumi.Output[bool] = self.all_accepted
        if self.plan.expired_on:  # the copies go first
            delivered = self.deliver(partial(expired_content, self.plan.expired_on), [], False)
            retires = self._no_failure(delivered)
            current = self._key(plan.current, False, delivered, retires)
            secret = self._accepted_secret(current)
        else:
            current = self._key(plan.current, plan.is_new)
            secret = self._accepted_secret(current)
            content = partial(key_content, current, secret, self.user_name, self.spell, self.direct.without_copy)
            delivered = self.deliver(content, [current], self._is_off(plan.current))
        self.direct.ready.append(secret)
        if plan.is_new:
            known = {key.id for key in self.state.keys}
            self.issued.append(current.id.apply(lambda key_id: key_id not in known))
        held = pulumi.Output.all(secret, *map(held_key, delivered))
        self.proofs.append(held.apply(lambda found: self._hold(found[1:])))
        if self.outputs_stay and not self.plan.expired_on and plan.previous and plan.previous.status == "inactive":
            retires = pulumi.Output.from_input(False)
        if self.settings.description is not None:
            before = plan.previous and self.state.key(plan.previous.name)
            ids = [current.id, *([pulumi.Output.from_input(before.id)] if before else [])]
            described = self.descriptions.describe(
                f"{self.name}/descriptions", self.user, self.user.name, ids, self.settings.description
            )
            self.proofs.append(described.id)
        previous = self._key(plan.previous, False, [current, *delivered], retires) if plan.previous else None
        kept = {key.name for key in plan.keys}
        self.all_accepted.apply(
            lambda done: None if done else self._restore([key for key in self.state.keys if key.name not in kept])
        )
        status = self._status(current, previous, secret)
        without_copy = self.direct.without_copy
        shown = pulumi.Output.secret(None) if without_copy else secret  # the stack's outputs are in the state
        return RegisteredKeys(current, shown, without_copy, status)

    def _hold(self, held: "Sequence[str | None]") -> bool:
        """Whether the stores hold nothing that is to be retired. With --target or --exclude, the engine leaves out what
        would write to them. held: ids of the keys in them."""
        plan = self.plan.plan
        kept = {key.name for key in plan.keys}
        if plan.previous and plan.previous.status == "inactive":
            kept.remove(plan.previous.name)
        going = {key.id for key in self.state.keys if key.name not in kept and key.active}
        if self.plan.expired_on or not (left := going & set(held)):
            return True
        if not pulumi.runtime.is_dry_run() and not self.direct.failures:  # these say why
            pulumi.log.warn(
                f"the access key {', '.join(left)} of {self.user_name} stays as it is, because a store still holds it: "
                "this run does not write the current key there, as with --target or --exclude. Run `pulumi up` without."
            )
        return False

    def _no_failure(self, delivered: Sequence[pulumi.Resource]) -> "pulumi.Output[bool]":
        """Whether what takes the place of an expired key is in every store, once that is known."""
        if not self.direct.without_copy:
            return pulumi.Output.from_input(True)  # the engine knows
        urns = pulumi.Output.all(*(resource.urn for resource in delivered))
        return urns.apply(lambda _: not self.direct.failures)

    def _is_off(self, planned: PlannedKey) -> bool:
        """Whether a key was deactivated, though not by the settings: it takes no other key's place in a store."""
        key = self.state.key(planned.name)
        return bool(planned.status is None and key and not key.active)

    def _restore(self, keys: Sequence[Key]) -> None:
        """Register keys that were to be deleted: the engine deletes what the program does not register."""
        for key in keys:
            self._key(PlannedKey(key.name, None), False)

    def _key(
        self,
        planned: PlannedKey,
        is_new: bool,
        after: Sequence[pulumi.Resource] = (),
        accepted: "pulumi.Input[bool]" = True,
    ) -> iam.AccessKey:
        status = (planned.status or "active").capitalize()
        known = self.state.key(planned.name)
        before = status if known is None else "Active" if known.active else "Inactive"
        pgp_key = self.settings.pgp_key
        if is_new and self.direct.without_copy:
            pgp_key = self.one_time_key.public
        ignored = [] if is_new else ["pgpKey"]  # another pgpKey counts from the next key on
        if planned.status is None and not is_new:
            ignored.append("status")
        return iam.AccessKey(
            f"{self.name}/{planned.name}",
            user=self.user.name,
            status=pulumi.Output.from_input(accepted).apply(lambda done: status if done else before)
            if planned.status
            else status,
            pgp_key=pulumi.Output.from_input(pgp_key).apply(lambda text: public_key(pgp_text(text)))
            if pgp_key
            else None,
            opts=pulumi.ResourceOptions(
                parent=self.user,
                # Of a key that was never delivered; not for one that stays: `--replace` would delete it before the hook
                # refuses to issue another one.
                delete_before_replace=is_new and self.plan.plan.is_reissue,
                ignore_changes=ignored or None,
                hooks=self.hooks,
                depends_on=[*self.allowed, *after],
                import_=self.plan.takes_over if is_new else None,
                additional_secret_outputs=["secret", "sesSmtpPasswordV4"],
            ),
        )

    def _accepted_secret(self, key: iam.AccessKey) -> "pulumi.Output[str | None]":
        """The secret of the current key, once AWS accepts the key; None where it is not known."""
        adopt = self.settings.adopt

        def start(values: "list[Any]") -> "asyncio.Future[str | None]":
            return asyncio.ensure_future(self._accept(*values))

        # A secret that the state does not have would, to a preview, be one that is not known yet.
        is_adopted = adopt is not None and any(
            of_state.id == adopt.id and of_state.name == self.plan.plan.current.name for of_state in self.state.keys
        )
        if self.state.adopted_secret and not (adopt and adopt.secret is not None):
            self._warn_of_removed_secret()
        given = key.encrypted_secret if self.direct.without_copy else key.secret
        issued = pulumi.Output.from_input(None) if is_adopted else given
        secret = pulumi.Output.all(self.user.name, key.id, issued, key.status, self._given_secret).apply(start)
        return pulumi.Output.secret(secret)

    def _warn_of_removed_secret(self) -> None:
        """Unless another key is the current one now."""
        current = next((key.id for key in self.state.keys if key.name == self.plan.plan.current.name), None)
        if current not in {key.id for key in self.state.handed_over[:1]}:
            return
        where = f"{self.spell.prefix}{self.spell('users.{}.key.adopt.secret', self.user_name)}"
        pulumi.log.warn(
            f"{where} was removed, so the secret of the access key {current} disappears from the outputs. Put it back, "
            "or raise the key's serial for a new key."
        )

    @property
    def _given_secret(self) -> "pulumi.Output[str | None]":
        """The secret of an adopted key, if the settings have it."""
        return pulumi.Output.from_input(self.settings.adopt.secret if self.settings.adopt else None)

    async def _accept(
        self, user: str, key_id: str, secret: str | None, status: str, adopted_secret: str | None
    ) -> str | None:
        adopt = self.settings.adopt
        if self.direct.without_copy:
            return await self._accept_unkept(user, key_id, status, secret)
        if secret is None and adopt is not None and key_id == adopt.id:
            secret = adopted_secret
        was_changed = secret is not None and secret == adopted_secret and _digest(secret) != self.state.adopted_secret
        if pulumi.runtime.is_dry_run() or (self.state.is_proven(key_id) and not was_changed):
            return secret
        if self.settings.verify and status == "Active":
            if secret:
                place = f"{self.spell.prefix}{self.spell('users.{}.key.adopt.secret', self.user_name)}"
                given = place if secret == adopted_secret else None
                is_new = key_id not in self.state.handed_over_ids | self.state.delivered
                await wait_until_accepted(self.account, user, key_id, secret, given=given, is_new=is_new)
            else:
                reason = "is encrypted to the user's OpenPGP key" if self.settings.pgp_key else "is unknown"
                pulumi.log.info(f"the access key {key_id} of user {user} was not verified because its secret {reason}")
        if self.plan.plan.is_new and not self.state.keys and adopt is None:
            await self._warn_of_unmanaged(user, key_id)
        return secret

    async def _accept_unkept(self, user: str, key_id: str, status: str, encrypted_secret: str | None) -> str | None:
        """The secret of a key that is not kept: of a new one, or of one that only some of the stores have."""
        secret = self.plan.recovered
        if pulumi.runtime.is_dry_run():
            return None
        # A destroy that runs the program issues no key: this is the one that a new one would replace.
        is_issued = self.plan.plan.is_new and all(key.id != key_id for key in self.state.keys)
        if is_issued and encrypted_secret:
            secret = self.one_time_key.decrypt(encrypted_secret)
        if secret and self.settings.verify and status == "Active" and not self.state.is_proven(key_id):
            try:
                await wait_until_accepted(self.account, user, key_id, secret, is_kept=False)
            except NotAcceptedError as error:
                self.direct.failures.append(str(error))
                secret = None
        if self.plan.plan.is_new and not self.state.keys:
            await self._warn_of_unmanaged(user, key_id)
        return secret

    async def _warn_of_unmanaged(self, user: str, key_id: str) -> None:
        """The user has one key now. If AWS's response got lost when it was created, there is another one that works."""
        try:
            found = await asyncio.to_thread(self.account.list_access_keys_now, user)
        except AwsQueryError:
            return
        for key in found:
            if key.id != key_id and not any(key.id in warning for warning in self.plan.warnings):
                pulumi.log.warn(unmanaged_key(user, key, self.account))

    def _status(
        self, current: iam.AccessKey, previous: iam.AccessKey | None, accepted: "pulumi.Output[str | None]"
    ) -> "pulumi.Output[dict[str, Any]]":
        """What people and reports want to know of the keys, once the current one is accepted. No secret is in it.

        The next run reads from it which keys were handed over (state.py).
        """
        plan = self.plan.plan
        delivered = {"deliveredTo": self.direct.destinations} if self.direct.without_copy else {}
        late = {"handedOver": plan.handed_over_on.isoformat()} if plan.handed_over_on else {}

        def shown(values: "list[Any]") -> dict[str, Any]:
            guard = self.settings.retire_guard if self.settings.previous == "whenIdle" else None
            return {
                "current": {**values[0], **late},
                "previous": values[1],
                **({"whenIdle": guard.idle_days} if guard else {}),
                "nextRotation": plan.next_rotation.isoformat() if plan.next_rotation else None,
                "expires": self.settings.expires.isoformat() if self.settings.expires else None,
                "previousUntil": plan.previous_until.isoformat() if plan.previous_until else None,
                **({"tried": self.tried} if guard and self.tried else {}),
                **({"adoptedSecret": values[2]} if values[2] else {}),
                **delivered,
            }

        # Not secret, though it waits for the secret.
        both = pulumi.Output.all(accepted, self._given_secret)
        proof = pulumi.Output.unsecret(both.apply(lambda found: _digest(found[0]) if found[0] == found[1] else None))
        return pulumi.Output.all(
            self._facts(current, plan.current, self.direct.without_copy), self._facts(previous, plan.previous), proof
        ).apply(shown)

    def _facts(
        self, key: iam.AccessKey | None, planned: PlannedKey | None, without_copy: bool = False
    ) -> "pulumi.Output[dict[str, Any] | None]":
        if key is None or planned is None:
            return pulumi.Output.from_input(None)
        known = self.state.key(planned.name)
        status = key.status
        if known and not known.active and planned.status == "active" and not pulumi.runtime.is_dry_run():
            activated = pulumi.Output.all(self.user.name, key.id, status)
            status = activated.apply(lambda found: asyncio.to_thread(self._unless_leaked, *found))

        def facts(values: "list[Any]") -> dict[str, Any]:
            key_id, status, created, fingerprint = values
            name = {"name": str(planned.name), "serial": planned.name.serial}
            found = {"id": key_id, **name, "status": status, "created": created}
            return {**found, "pgpFingerprint": fingerprint} if fingerprint and not without_copy else found

        return pulumi.Output.all(key.id, status, key.create_date, key.key_fingerprint).apply(facts)

    def _unless_leaked(self, user: str, key_id: str, status: str) -> str:
        """The status of a key that was activated. If `access-keys leak` recorded it at the same moment, the run fails:
        of the two, at least one sees what the other did."""
        try:
            has_leaked = self.account.has_leaked(user, key_id)
        except AwsQueryError as error:
            raise pulumi.RunError(f"whether {key_id} of {user} has leaked could not be checked ({error}).") from None
        if has_leaked:
            raise pulumi.RunError(
                f"the access key {key_id} of {user} was activated at the moment when `access-keys leak` recorded that "
                f"it has leaked. Run `access-keys leak {key_id}` again, then `pulumi refresh` and `pulumi up`."
            )
        return status


async def all_accepted(
    proofs: "Sequence[pulumi.Output[Any]]", failures: Sequence[str], is_update: "pulumi.Output[bool]"
) -> bool:
    """Whether the current keys of all users are accepted and delivered, once that is known; in a preview they are.

    Until then no previous key is retired, and no output is registered: the engine does not write the stack's outputs if
    one of them fails, and for some users they are the only copy of the key. If a proof fails, the run ends here, except
    with --continue-on-error. failures: what was not delivered, and why, for all users; read when all proofs are known.
    Awaited, so that the engine does not take a previous key for one that depends on other users' keys. is_update: see
    updating.py.
    """
    await asyncio.sleep(0)  # until all users are registered
    holds = [await proof.future() is not False for proof in proofs]
    if failures:  # of deliveries; those of the other users are complete and recorded by now
        raise pulumi.RunError("\n".join(failures))
    is_known = [await proof.is_known() for proof in proofs]
    return pulumi.runtime.is_dry_run() or all([*holds, *is_known, await is_update.future()])


def _digest(secret: str | None) -> str | None:
    """By which the next run sees that the settings have another secret for an adopted key."""
    return text_digest(secret) if secret else None

"""Delivery of a user's current key into a secret store, from which its consumers read it after each rotation."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date
from typing import Any

import pulumi
from pulumi_aws import iam

from aws_access_keys.account import Account, AwsQueryError
from aws_access_keys.command import exists, project_folder
from aws_access_keys.credentials import expired_text, stored_id
from aws_access_keys.delivery_check import Handling
from aws_access_keys.direct_delivery import DirectDelivery, not_ours, stored_secret
from aws_access_keys.key_endings import in_parallel
from aws_access_keys.passing_stores import PassingStores
from aws_access_keys.planning import UserPlan
from aws_access_keys.retire_guard import RetireGuard
from aws_access_keys.rules.names import described_user, in_words
from aws_access_keys.rules.problem import Problem, Spelling
from aws_access_keys.rules.resource_types import AWS_KEYS, PARAMETER
from aws_access_keys.rules.rotation import due_key
from aws_access_keys.run import Run
from aws_access_keys.settings import USUAL_FIELDS, AccessSettings, DeliverSettings, StoreSettings
from aws_access_keys.state import KINDS, ComponentState, UserState, aws_stores, known_ids, stored_in
from aws_access_keys.state_reading import STORED
from aws_access_keys.stores import Content, Stores
from aws_access_keys.urns import component_of

Delivery = Callable[[Content, list[pulumi.Resource], bool], list[pulumi.Resource]]
"""Puts a value into the user's stores. Takes what makes it, what is deleted after the stores, and whether only a new
store gets it; returns the resources that hold the value."""


def key_content(
    key: iam.AccessKey,
    secret: "pulumi.Output[str | None]",
    user: str,
    spell: Spelling,
    without_copy: bool,
    store: StoreSettings,
) -> "pulumi.Output[Any]":
    """What a store holds for a key: JSON, as a Pulumi secret. Fails the run if the key's secret is not known.

    without_copy: whether the secret is not kept; None then where it is not known.
    """

    def content(values: list[str | None]) -> str | None:
        if values[1] is None and without_copy:
            return None
        if values[1] is None:
            where = f"{spell.prefix}{spell('users.{}.deliver', user)}"
            raise pulumi.RunError(f"{where}: {_unknown(values[0], spell)} The stores were not changed.")
        return json.dumps({store.fields.id: values[0], store.fields.secret: values[1]})  # in the order of `stored_key`

    return pulumi.Output.secret(pulumi.Output.all(key.id, secret).apply(content))


def _unknown(key_id: str | None, spell: Spelling) -> str:
    return (
        f"the secret of the access key {key_id} is not known (the key was adopted without it, or it is encrypted to an "
        "OpenPGP key), so it cannot be delivered. Raise the key's serial for a key that can be delivered, or "
        f"{spell.off('deliver')} for this user."
    )


def expired_content(day: date, _: StoreSettings) -> "pulumi.Output[str]":
    """What a store holds in place of a key that has expired."""
    return pulumi.Output.secret(expired_text(day))


class Deliveries:
    """The delivery of the keys of a component's users in one run."""

    def __init__(
        self,
        name: str,
        settings: AccessSettings,
        spell: Spelling,
        state: ComponentState,
        account: Account,
        run: Run,
        guard: RetireGuard,
    ) -> None:
        """name: of the component."""
        self._name, self._settings, self._spell, self._state = name, settings, spell, state
        self._account, self._run, self._guard = account, run, guard
        self._passing = PassingStores(settings, state, run)
        self.failures: list[str] = []
        """What was not delivered, and why. Nothing older is retired then, and the run fails."""
        self._ready: list[pulumi.Output[Any]] = []
        self._copies: dict[str, list[tuple[str, str]]] = {}
        """Id of each key in the stores → these, as in ComponentState.copies."""
        for place, key_id in state.copies.items():
            self._copies.setdefault(key_id, []).append(place)

    def handling(self, user: str) -> Handling:
        """What the plan of a user must know of the delivery of a key whose secret is not kept."""
        deliver = self._settings.effective_deliver(user)
        to = self._settings.destinations(user)
        program = deliver.command[0] if deliver and deliver.command else None
        missing = program if program and not exists(program, project_folder()) else None
        urn = self._state.store_urn(PARAMETER, to.get("ssm", ""))
        others = self._passing.held_by_others(user, to)
        parameter = urn if not self.keeps(user) and urn in self._run.resources and "ssm" not in others else None
        direct = self._state.user(user).delivered_directly
        holds = {kind: self._state.copies.get(stored_in({kind: name})[0]) for kind, name in aws_stores(to).items()}
        holds |= {"command": direct.key_id} if "command" in direct.to.keys() & to.keys() else {}
        return Handling(
            to,
            deliver.fields if deliver else {},
            parameter,
            missing,
            self._new(user, to),
            holds,
            others,
        )

    def _new(self, user: str, to: Mapping[str, Any]) -> dict[str, Any]:
        """Those of the destinations in which the state has nothing, if the secret of the user's current key is kept."""
        state = self._state.user(user)
        if not state.keys or state.keys[0].id in state.unkept:
            return {}

        def is_new(kind: str, where: Any) -> bool:
            if kind == "command":
                return state.delivered_directly.to.get(kind) != where
            if self._state.store_urn(STORED[KINDS[kind]][0], where) not in self._run.resources:
                return True
            # That of another user, whose key has expired.
            return not state.expired_on and stored_in({kind: where})[0] not in self._state.copies

        return {kind: where for kind, where in to.items() if is_new(kind, where)}

    def note(self, user: str, plan: UserPlan) -> None:
        """Says where this program will deliver a new key; and once, that `keep_secret` applies from the next key on."""
        keep, deliver, state = self.keeps(user), self._settings.effective_deliver(user), self._state.user(user)
        place = f"{self._spell.prefix}{self._settings.key_place(self._spell, user, 'keep_secret')}"
        to = self._settings.destinations(user)
        to = to if not keep else {kind: where for kind, where in to.items() if kind == "command"}
        if plan.plan.is_new and to and pulumi.runtime.is_dry_run():
            only = "" if keep else "; its secret is kept nowhere else"
            pulumi.log.info(f"the new access key of {user} will be delivered to {in_words(to)}{only}")
        elif not plan.plan.is_new and keep != state.keep_secret and state.keys:
            what = f"the secret of {user}'s current access key stays {'as it is' if keep else 'in the state'}"
            pulumi.log.info(f"{place}: this applies from the next key on; {what}. For a new key, raise serial.")
        before = state.delivered_directly
        if (
            plan.is_moved
            and deliver
            and pulumi.runtime.is_dry_run()
            and (missing := before.missing(deliver.destinations(user), deliver.fields))
        ):
            pulumi.log.info(f"the access key {state.keys[0].id} of {user} will be delivered to {in_words(missing)}")

    def unkept(self, user: str, plan: UserPlan | None) -> list[str]:
        """The keys of a user whose secret is not kept: ids of those in the state, and the name of a new one."""
        new = [str(plan.plan.current.name)] if plan and plan.plan.is_new and not self.keeps(user) else []
        return sorted(self._state.user(user).unkept) + new

    def writing(self, user: str, plan: UserPlan | None) -> int | None:
        """See RunRecord; None where nothing is written. plan: None for a user who is to have no key."""
        found = self._state.user(user).delivered_directly
        is_written = found.is_uncertain and not (plan and plan.is_untouched)
        if plan:
            is_written |= plan.is_moved or plan.plan.is_new or self._expires(user, plan)
        return found.writes + 1 if is_written and aws_stores(found.to) else None

    def _expires(self, user: str, plan: UserPlan) -> bool:
        """Whether this program writes into a store that a key has expired."""
        direct, found = self.direct(user, plan), self._state.user(user).delivered_directly
        to, fields = aws_stores(direct.destinations), direct.settings.fields
        is_other = found.content != f"expired {plan.expired_on}" or bool(found.missing(to, fields))
        return bool(plan.expired_on and to) and is_other and not plan.is_withheld

    def acts(self, user: str, plan: UserPlan) -> bool:
        """Whether this program delivers something of a user itself in this run."""
        direct, found = self.direct(user, plan), self._state.user(user).delivered_directly
        to, current = direct.destinations, direct.state.key(plan.plan.current.name)
        if plan.expired_on:
            return self._expires(user, plan)
        if plan.is_withheld or not to:
            return False
        if plan.plan.is_new or plan.is_moved:
            return True
        if direct.without_copy or current is None:
            return False
        is_off = plan.plan.current.status is None and not current.active and found.content
        return not is_off and (found.content != current.id or bool(found.missing(to, {})))

    def direct(self, user: str, plan: UserPlan, is_update: "pulumi.Input[bool]" = True) -> DirectDelivery:
        """What this program delivers itself of a user's keys. is_update: see updating.py."""
        deliver = self._settings.effective_deliver(user) or DeliverSettings()
        return DirectDelivery(
            self._state.urn,
            user,
            deliver,
            self._is_unkept(user, plan),
            self._state.user(user),
            self._account,
            self._spell,
            self.failures,
            self._run.copied,
            pulumi.Output.from_input(is_update),
            self._ready,
        )

    def _is_unkept(self, user: str, plan: UserPlan) -> bool:
        """Whether the secret of the user's current key, as planned, is not kept."""
        if plan.plan.is_new:
            return not self.keeps(user)
        state = self._state.user(user)
        current = state.key(plan.plan.current.name)
        return current is not None and current.id in state.unkept

    def into_stores(self, user: str, plan: UserPlan, direct: DirectDelivery, parent: iam.User) -> Delivery:
        """Puts a user's current key, or what replaces it, into the user's stores; does nothing without stores."""
        is_asked = self._settings.effective_deliver(user) is not None
        # The key of another user, who leaves or has other stores now, does not stay in what was that user's store.
        others = self._passing.held_by_others(user, direct.settings.destinations(user)) if is_asked else {}

        def put(content: Content, after: list[pulumi.Resource], keeps: bool) -> list[pulumi.Resource]:
            if not is_asked and not direct.without_copy:
                self._run.copied.add((self._state.urn, user))
                return []
            return Stores(
                self._name,
                direct,
                self._state,
                self._run,
                parent,
                content,
                after,
                keeps=keeps or plan.is_withheld,
                others=others.keys(),
                is_withheld=plan.is_withheld,
                is_guarded=bool(self._guard.idle_days(user)),
            ).put()

        return put

    def changing(self, user: str, today: date) -> list[tuple[str, str]]:
        """Kind and name of each store that goes, or may get something else than the user's key that it has. Where the
        state is older than the store, that has another key."""
        state, has_key = self._state.user(user), user in self._settings.users_with_key
        rules = self._settings.effective_key(user).rules() if has_key else None
        is_due = rules and due_key(rules, state.keys, today)
        deliver = self._settings.effective_deliver(user) if rules and not rules.have_expired(today) else None
        wanted, own = (deliver.destinations(user), deliver.fields) if deliver else ({}, {})
        direct = state.delivered_directly
        is_written = direct.missing(wanted, own) or direct.gone(wanted) or is_due or not state.is_certain
        found = list(aws_stores(direct.to).items()) if is_written else []
        existing = {kind: name for kind, name in wanted.items() if kind == "existingSecret"}
        if state.handed_over and not self._state.secrets_written & {name for _, name in stored_in(existing)}:
            found += existing.items()
        fields = {stored_in({kind: to})[0]: own.get(kind, USUAL_FIELDS) for kind, to in aws_stores(wanted).items()}
        for kind, path in (place for key in state.keys for place in self._copies.get(key.id, ())):
            holder, content = STORED[kind]
            held = self._run.outputs(self._state.store_urn(holder, path))
            if content in held and (
                is_due
                or not state.is_certain
                or fields.get((kind, path)) != list(json.loads(held[content]))
                or self._encrypts_anew(deliver, held)
            ):
                found.append(("ssm", held["name"]) if kind == PARAMETER else ("secretsManager", path))
        return found

    def _encrypts_anew(self, deliver: DeliverSettings | None, held: Mapping[str, Any]) -> bool:
        """Whether a parameter gets another KMS key, for which its value is written again. held: what the state has of
        it. A KMS key that the program itself creates is not known yet, and a secret has none here."""
        asked = deliver.ssm.kms_key if deliver and deliver.ssm else None
        kms_key = AWS_KEYS[PARAMETER] if asked is None else asked
        return isinstance(kms_key, str) and held.get("keyId", kms_key) != kms_key

    def taken(self, changing: Mapping[str, Sequence[tuple[str, str]]]) -> list[Problem]:
        """Parameters that are resources, that are about to be overwritten or deleted, and that now belong to another
        stack: the provider does not look. changing: user → what `changing` returns."""
        state, users = self._state, self._state.users
        known, going = known_ids(users), {place for stores in changing.values() for place in stores}
        wanted = {self._settings.destinations(user).get("ssm"): user for user in self._settings.users_with_key}
        asked: dict[str, str] = {}
        for urn, found in self._run.resources.items():
            if f"${PARAMETER}::" not in urn or component_of(urn, state.components) != state.urn:
                continue
            name, held = found["outputs"].get("name"), stored_id(found["outputs"].get("value"))
            if ("ssm", name) in going or (held and held not in known):
                user = wanted.get(name) or described_user(found["outputs"], users)
                asked[name] = self._spell("users.{}.deliver", user) if user else self._spell("users")

        found = in_parallel(lambda name: self._why_not(name, users), list(asked))
        return [Problem(asked[name], why) for name, why in zip(asked, found, strict=True) if why]

    def _why_not(self, parameter: str, users: Mapping[str, UserState]) -> str | None:
        """Why a parameter is not to be written or deleted, and what to do. users: those to whom it belongs."""
        cure = (
            "This run would overwrite or delete it. Store that key elsewhere, delete the parameter, and run `pulumi "
            "refresh`, then this command again."
        )
        return not_ours(self._account, "ssm", parameter, users, cure)

    def problems(self, plans: Mapping[str, UserPlan]) -> Iterator[Problem]:
        """Secrets that cannot be delivered; and those that are not kept, and that this run would delete or overwrite
        where they were delivered."""
        for user, plan in plans.items():
            wanted = self._settings.destinations(user)
            lost = (*self._lost(user, plan, wanted), *self._passing.problems(user, plans, self._is_unkept(user, plan)))
            others = (*self._respelled(wanted), *self._anothers(user, plan, wanted))
            for text in (*lost, *others, *self._undeliverable(user, plan, wanted)):
                yield Problem(self._spell("users.{}.deliver", user), text)

    def _respelled(self, wanted: Mapping[str, Any]) -> Iterator[str]:
        """A parameter whose name only gains or loses its leading /: the old one would be deleted, and is the same.

        Source: https://docs.aws.amazon.com/systems-manager/latest/userguide/sysman-parameter-name-constraints.html
        """
        if (name := wanted.get("ssm")) is None:
            return
        had = name.removeprefix("/") if name.startswith("/") else f"/{name}"
        resource = self._run.outputs(self._state.store_urn(PARAMETER, name)).get("name")
        if had == resource or had in self._state.recorded_parameters:
            yield (
                f"'{name}' differs from '{had}', which the stack has, only in the leading '/': AWS treats both as "
                f"the same parameter. Keep '{had}', or choose another name."
            )

    def _lost(self, user: str, plan: UserPlan, wanted: Mapping[str, Any]) -> Iterator[str]:
        """The only copy of the secret of a user's key that stays, which goes with a store."""
        state = self._state.user(user)
        current, direct = state.key(plan.plan.current.name), state.delivered_directly
        lost = direct.gone(wanted)
        if not lost or plan.expired_on:
            return
        if plan.plan.is_new or current is None or current.id not in state.unkept:
            if not wanted:
                yield from self._lost_of_previous(user, plan, lost)
            return
        left = {kind: to for kind, to in direct.to.items() if wanted.get(kind) == to}
        if not plan.is_moved and not self._have(left, current.id):
            yield (
                f"the secret of the access key {current.id} was not kept, so its only copy would be deleted with "
                f"{in_words(lost)}, and this run delivers neither it nor a new key elsewhere"
                f"{''.join(f': {why}' for why in plan.skipped) or '.'} Restore deliver as it was, also to destroy the "
                f"stack; to change it, raise serial to {current.name.serial + 1}, and do so once that key is issued."
            )

    def _lost_of_previous(self, user: str, plan: UserPlan, lost: Mapping[str, str]) -> Iterator[str]:
        """The same of a previous key, where the one after it is delivered nowhere. lost: the stores that go."""
        state, planned = self._state.user(user), {key.name for key in plan.plan.keys}
        settings = self._settings.effective_key(user)
        for key in state.keys:
            if key.id == state.delivered_directly.key_id and key.id in state.unkept and key.name in planned:
                without = f" and remove {self._spell('pgp_key')}" if settings.pgp_key else ""
                goes = f" Or, if nobody uses {key.id}, set previous to deleted, so that it goes together with its copy."
                yield (
                    f"the access key {key.id} stays, and its secret was not kept, so its only copy would be deleted "
                    f"with {in_words(lost)}, while the key after it is delivered nowhere. Restore deliver as it was"
                    f"{without}, and run `pulumi up`, which delivers that key there; then change deliver."
                    f"{'' if settings.rotation else goes}"
                )

    def _anothers(self, user: str, plan: UserPlan, wanted: Mapping[str, Any]) -> Iterator[str]:
        """A parameter that this program wrote, that becomes a resource, and that now belongs to another stack."""
        state, name = self._state.user(user), wanted.get("ssm")
        if not name or name != state.delivered_directly.to.get("ssm") or self._is_unkept(user, plan):
            return
        is_resource = self._state.store_urn(PARAMETER, name) in self._run.resources
        if not is_resource and (why := self._why_not(name, {user: state})):
            yield why

    def _undeliverable(self, user: str, plan: UserPlan, wanted: Mapping[str, Any]) -> Iterator[str]:
        """A current key that stays and is to be delivered, although nobody here knows its secret."""
        state, adopt = self._state.user(user), self._settings.effective_key(user).adopt
        current = state.key(plan.plan.current.name)
        is_withheld = plan.is_withheld and not self._passing.held_by_others(user, wanted)
        is_unneeded = not wanted or plan.expired_on or is_withheld or (adopt and adopt.secret is not None)
        if current is None or is_unneeded or current.id in state.unkept:
            return
        if not self._run.outputs(self._state.key_urn(user, current.name)).get("secret"):
            yield " ".join((_unknown(current.id, self._spell), *plan.skipped))

    def _have(self, to: Mapping[str, Any], key_id: str) -> bool:
        """Whether destinations have a key that was delivered to them. A preview reads no store, and a command's store
        cannot be read."""
        stores = aws_stores(to)
        if "command" in to or (stores and pulumi.runtime.is_dry_run()):
            return True
        try:
            return stored_secret(self._account, stores.items(), key_id) is not None
        except AwsQueryError:
            return False

    def keeps(self, user: str) -> bool:
        """Whether the secret of the user's next key is kept; of one who is to have none, as it was."""
        if user in self._settings.users_with_key:
            return self._settings.effective_key(user).keep_secret
        return self._state.user(user).keep_secret

"""Delivery of a user's current key into a secret store, from which its consumers read it after each rotation."""

import json
from collections.abc import Callable, Iterator, Mapping
from datetime import date
from typing import Any

import pulumi
from pulumi_aws import iam, secretsmanager, ssm

from aws_access_keys.account import Account, AwsQueryError
from aws_access_keys.command import exists, project_folder
from aws_access_keys.direct_delivery import DirectDelivery, stored_secret
from aws_access_keys.planning import Handling, UserPlan
from aws_access_keys.retire_guard import RetireGuard
from aws_access_keys.rules.names import DESCRIPTION, in_words
from aws_access_keys.rules.problem import Problem, Spelling
from aws_access_keys.rules.resource_types import PARAMETER, SECRET, SECRET_VERSION, STASH
from aws_access_keys.rules.rotation import due_key
from aws_access_keys.rules.secrets import readers_policy
from aws_access_keys.run import Run
from aws_access_keys.settings import AccessSettings, DeliverSettings, StoreSettings
from aws_access_keys.state import KINDS, STORED, ComponentState, aws_stores, name_below

Content = Callable[[StoreSettings], "pulumi.Output[Any]"]
"""Makes what a store gets."""
Delivery = Callable[[Content, list[pulumi.Resource], bool], list[pulumi.Resource]]
"""Puts a value into the user's stores. Takes what makes it, what is deleted after the stores, and whether only a new
store gets it; returns the resources that hold the value."""
AWS_KEYS = {SECRET: "alias/aws/secretsmanager", PARAMETER: "alias/aws/ssm"}
REPLICA_KEY = AWS_KEYS[SECRET]  # every region has it; AWS reports it, so the provider must know it, too


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
        "OpenPGP key), so it cannot be delivered. Raise the key's serial for a key that can be delivered, or set "
        f"deliver to {spell.null} for this user."
    )


def expired_content(day: date, _: StoreSettings) -> "pulumi.Output[str]":
    """What a store holds in place of a key that has expired."""
    return pulumi.Output.secret(json.dumps({"expired": day.isoformat()}))


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
        self.failures: list[str] = []
        """What was not delivered, and why. Nothing older is retired then, and the run fails."""

    def handling(self, user: str) -> Handling:
        """What the plan of a user must know of the delivery of a key whose secret is not kept."""
        deliver = self._settings.effective_deliver(user)
        to = deliver.destinations(user) if deliver else {}
        program = deliver.command[0] if deliver and deliver.command else None
        missing = program if program and not exists(program, project_folder()) else None
        urn = self._state.store_urn(PARAMETER, to.get("ssm", ""))
        parameter = urn if not self._keeps(user) and urn in self._run.resources else None
        return Handling(to, deliver.fields if deliver else {}, parameter, missing, self._new(user, to))

    def _new(self, user: str, to: Mapping[str, Any]) -> dict[str, Any]:
        """Those of the destinations in which the state has nothing, if the secret of the user's current key is kept."""
        state = self._state.user(user)
        if not state.keys or state.keys[0].id in state.unkept:
            return {}
        command = state.delivered_directly.to.get("command")
        return {
            kind: where
            for kind, where in to.items()
            if (command != where if kind == "command" else not self._is_there(STORED[KINDS[kind]][0], where))
        }

    def _is_there(self, kind: str, name: str) -> bool:
        """Whether the state has a resource of a store. kind: its type. name: in the store."""
        return self._state.store_urn(kind, name) in self._run.resources

    def note(self, user: str, plan: UserPlan) -> None:
        """Says where this program will deliver a new key; and once, that `keep_secret` applies from the next key on."""
        keep, deliver, state = self._keeps(user), self._settings.effective_deliver(user), self._state.user(user)
        place = f"{self._spell.prefix}{self._settings.key_place(self._spell, user, 'keep_secret')}"
        to = deliver.destinations(user) if deliver else {}
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
            pulumi.log.info(f"the access key {before.key_id} of {user} will be delivered to {in_words(missing)}")

    def unkept(self, user: str, plan: UserPlan | None) -> list[str]:
        """The keys of a user whose secret is not kept: ids of those in the state, and the name of a new one."""
        new = [str(plan.plan.current.name)] if plan and plan.plan.is_new and not self._keeps(user) else []
        return sorted(self._state.user(user).unkept) + new

    def direct(self, user: str, plan: UserPlan) -> DirectDelivery:
        """What this program delivers itself of a user's keys."""
        state = self._state.user(user)
        current = state.key(plan.plan.current.name)
        without_copy = not self._keeps(user) if plan.plan.is_new else bool(current and current.id in state.unkept)
        deliver = self._settings.effective_deliver(user) or DeliverSettings()
        return DirectDelivery(
            self._state.urn,
            user,
            deliver,
            without_copy,
            state,
            self._account,
            self._spell,
            self.failures,
            self._run.copied,
        )

    def into_stores(self, user: str, plan: UserPlan, direct: DirectDelivery, parent: pulumi.Resource) -> Delivery:
        """Puts a user's current key, or what replaces it, into the user's stores; does nothing without stores."""
        is_asked = self._settings.effective_deliver(user) is not None
        # The key of another user, who leaves or has other stores now, does not stay in what was that user's store.
        holds_anothers = is_asked and any(self._state.held_by(user, direct.settings.destinations(user)))

        def put(content: Content, after: list[pulumi.Resource], keeps: bool) -> list[pulumi.Resource]:
            if not is_asked and not direct.without_copy:
                self._run.copied.add((self._state.urn, user))
                return []
            keeps = plan.is_withheld or (keeps and not holds_anothers)
            return self._put(user, direct, parent, content, after, keeps, plan.is_withheld)

        return put

    def loses_copy(self, user: str, today: date) -> bool:
        """Whether a store goes, or gets something else, that may have a user's key without a copy in the state."""
        state, has_key = self._state.user(user), user in self._settings.users_with_key
        if has_key and state.unkept and due_key(self._settings.effective_key(user).rules(), state.keys, today):
            return True  # where the state is older than the store, that has another key
        deliver = self._settings.effective_deliver(user) if has_key else None
        stays = deliver and not self._settings.effective_key(user).rules().have_expired(today)
        wanted = deliver.destinations(user) if deliver and stays else {}
        return bool(state.delivered_directly.gone(wanted))

    def problems(self, plans: Mapping[str, UserPlan]) -> Iterator[Problem]:
        """Secrets that cannot be delivered; and those that are not kept, and that this run would delete or overwrite
        where they were delivered."""
        for user, plan in plans.items():
            deliver = self._settings.effective_deliver(user)
            wanted = deliver.destinations(user) if deliver else {}
            lost = (*self._lost(user, plan, wanted), *self._overwritten(user, wanted))
            for text in (*lost, *self._undeliverable(user, plan, wanted)):
                yield Problem(self._spell("users.{}.deliver", user), text)

    def _lost(self, user: str, plan: UserPlan, wanted: Mapping[str, Any]) -> Iterator[str]:
        """The only copy of the secret of a user's key that stays, which goes with a store."""
        state = self._state.user(user)
        current = state.key(plan.plan.current.name)
        lost = state.delivered_directly.gone(wanted)
        if not lost or current is None or current.id not in state.unkept or plan.is_moved or plan.expired_on:
            return
        left = {kind: to for kind, to in state.delivered_directly.to.items() if wanted.get(kind) == to}
        if not self._have(left, current.id):
            yield (
                f"the secret of the access key {current.id} was not kept, so its only copy would be deleted with "
                f"{in_words(lost)}, and this run delivers neither it nor a new key elsewhere"
                f"{''.join(f': {why}' for why in plan.skipped) or '.'} Restore deliver as it was, also to destroy the "
                f"stack; to change it, raise serial to {current.name.serial + 1}, and do so once that key is issued."
            )

    def _undeliverable(self, user: str, plan: UserPlan, wanted: Mapping[str, Any]) -> Iterator[str]:
        """A current key that stays and is to be delivered, although nobody here knows its secret."""
        state, adopt = self._state.user(user), self._settings.effective_key(user).adopt
        current = state.key(plan.plan.current.name)
        is_unneeded = not wanted or plan.expired_on or plan.is_withheld or (adopt and adopt.secret is not None)
        if current is None or is_unneeded or current.id in state.unkept:
            return
        if not self._run.outputs(self._state.key_urn(user, current.name)).get("secret"):
            yield _unknown(current.id, self._spell)

    def _overwritten(self, user: str, wanted: Mapping[str, Any]) -> Iterator[str]:
        """The only copies of the secrets of other users' keys, in stores that this user is to have."""
        for kind, owner, key_id in self._state.held_by(user, wanted):
            if key_id in self._state.user(owner).unkept:
                yield (
                    f"{in_words({kind: wanted[kind]})} has the only copy of the secret of {owner}'s access key "
                    f"{key_id}. Choose another name; or give {owner} another store first, run `pulumi up`, and then "
                    "change this one."
                )

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

    def _kms_key(self, store: StoreSettings, kind: str, name: str, output: str) -> "pulumi.Input[str] | None":
        """The KMS key of a store: AWS's own where the settings no longer name one, or AWS would keep that."""
        had, own = self._run.outputs(self._state.store_urn(kind, name)).get(output), AWS_KEYS[kind]
        return own if store.kms_key is None and had and (kind == SECRET or had != own) else store.kms_key

    def _keeps(self, user: str) -> bool:
        return self._settings.effective_key(user).keep_secret

    def _put(
        self,
        user: str,
        direct: DirectDelivery,
        parent: pulumi.Resource,
        content: Content,
        after: list[pulumi.Resource],
        keeps: bool,
        is_withheld: bool,
    ) -> list[pulumi.Resource]:
        """Put a value into a user's stores. Returns the resources that hold it.

        direct: delivers what must not be in the state, and to a command. content: makes the value for one store. after:
        what is deleted after the stores. keeps: whether a store that exists keeps its value. is_withheld: whether no
        store is created.

        The resources are named after their names in the store, so a name that moves from one user to another is an
        update.
        """

        def registered(store: str) -> None:
            self._run.stores[store] = (self._state.urn, user)

        def is_made(kind: str, name: str) -> bool:
            return not is_withheld or self._is_there(kind, name)

        def copied(holder: pulumi.CustomResource) -> None:
            holder.id.apply(lambda _: self._run.copied.add((self._state.urn, user)))

        made: list[pulumi.Resource] = []
        secret_id: pulumi.Input[str] | None = None
        parameter_id: pulumi.Input[str] | None = None
        guard = [self._run.hook] if self._guard.idle_days(user) else []
        hooks = pulumi.ResourceHookBinding(before_update=[self._run.state_hook], before_delete=[*guard])
        if store := direct.settings.secrets_manager:
            stored = store.stored_name(user, "secrets_manager")
            name = f"{self._name}/{stored}"
            secret_id = store.existing
            if secret_id is None and is_made(SECRET, stored):
                holder = secretsmanager.Secret(
                    name,
                    name=stored,
                    description=DESCRIPTION.format(user),
                    kms_key_id=self._kms_key(store, SECRET, stored, "kmsKeyId"),
                    recovery_window_in_days=0,  # the key is gone, too; a kept name would only block the next one
                    replicas=[{"region": region, "kms_key_id": REPLICA_KEY} for region in store.replicas],
                    opts=pulumi.ResourceOptions(parent=parent, depends_on=after, hooks=hooks),
                )
                holder.urn.apply(registered)
                secret_id = holder.id
                if store.readers:
                    readers = secretsmanager.SecretPolicy(
                        name,
                        secret_arn=holder.arn,
                        policy=readers_policy(store.readers),
                        opts=pulumi.ResourceOptions(
                            parent=parent, hooks=pulumi.ResourceHookBinding(before_delete=[*guard])
                        ),
                    )
                    readers.urn.apply(registered)
            if not direct.without_copy and secret_id is not None and is_made(SECRET_VERSION, stored):
                version = secretsmanager.SecretVersion(
                    name,
                    secret_id=secret_id,
                    secret_string=content(store),
                    # The same order as that of the keys: a mixture of both lets the engine destroy its state, see
                    # https://github.com/pulumi/pulumi/issues/13848. AWS keeps the old value until the new one is there.
                    opts=pulumi.ResourceOptions(
                        parent=parent, delete_before_replace=True, ignore_changes=["secretString"] if keeps else None
                    ),
                )
                copied(version)
                made.append(version)
        store = direct.settings.ssm
        stored = store.stored_name(user, "ssm") if store else ""
        if store and is_made(*((STASH, f"ssm:{stored}") if direct.without_copy else (PARAMETER, stored))):
            if direct.without_copy:
                own_hooks = pulumi.ResourceHookBinding(
                    before_create=[self._run.new_parameter_hook], before_delete=[*guard, self._run.parameter_hook]
                )
                parameter = pulumi.Stash(
                    f"{self._name}/ssm:{stored}",  # no user has a : in the name
                    input={"parameter": stored},
                    opts=pulumi.ResourceOptions(parent=parent, depends_on=after, hooks=own_hooks),
                )
                parameter_id = parameter.id
                made.append(parameter)
            else:
                parameter = ssm.Parameter(
                    f"{self._name}/{name_below(PARAMETER, stored)}",
                    name=stored,
                    type="SecureString",
                    description=DESCRIPTION.format(user),
                    key_id=self._kms_key(store, PARAMETER, stored, "keyId"),
                    value=content(store),
                    overwrite=True if direct.state.delivered_directly.to.get("ssm") == stored else None,
                    opts=pulumi.ResourceOptions(
                        parent=parent, hooks=hooks, ignore_changes=["overwrite", *(["value"] if keeps else [])]
                    ),
                )
                copied(parameter)
                parameter.id.apply(lambda _: self._run.parameters.add((direct.component, stored)))
                made.append(parameter)
            parameter.urn.apply(registered)
        if (direct.without_copy or direct.settings.command) and is_made(STASH, f"{user}/delivery"):
            # The record goes first in a destroy, and is kept with the stores.
            before_delete = pulumi.ResourceHookBinding(before_delete=[*guard])
            opts = pulumi.ResourceOptions(parent=parent, depends_on=[*after, *made], hooks=before_delete)
            is_kept = keeps and direct.state.delivered_directly.content
            # Under the usual names; the stores get them under their own.
            given = pulumi.Output.from_input(None) if is_kept else content(StoreSettings())
            record = direct.record(f"{self._name}/{user}/delivery", given, [secret_id, parameter_id], opts)
            record.urn.apply(registered)
            made.append(record)
        return made

"""The resources of the stores into which a user's current key is delivered.

They are named after their names in the store, so a name that moves from one user to another is an update.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

import pulumi
from pulumi_aws import iam, secretsmanager, ssm

from aws_access_keys.credentials import stored_id
from aws_access_keys.direct_delivery import DirectDelivery
from aws_access_keys.rules.names import DESCRIPTION
from aws_access_keys.rules.resource_types import AWS_KEYS, PARAMETER, SECRET, SECRET_VERSION, STASH
from aws_access_keys.rules.secrets import readers_policy
from aws_access_keys.rules.untyped import mapping
from aws_access_keys.run import Run
from aws_access_keys.settings import SecretSettings, StoreSettings
from aws_access_keys.state import ComponentState
from aws_access_keys.urns import name_below

Content = Callable[[StoreSettings], "pulumi.Output[Any]"]
"""Makes what a store gets."""


@dataclass(frozen=True)
class Stores:
    """The stores of one user."""

    name: str
    """The name of the component."""
    direct: DirectDelivery
    """Delivers what must not be in the state, and to a command."""
    state: ComponentState
    run: Run
    parent: iam.User
    content: Content
    after: Sequence[pulumi.Resource]
    """What is deleted after the stores."""
    keeps: bool
    """Whether a store that exists keeps its value, unless that is another user's key."""
    others: Collection[str]
    """Kinds of the stores that have another user's key."""
    is_withheld: bool
    """Whether no store is created."""
    is_guarded: bool

    def put(self) -> list[pulumi.Resource]:
        """Put the content into each store. Returns the resources that hold it."""
        made: list[pulumi.Resource] = []
        asked, without_copy = self.direct.settings, self.direct.without_copy
        secret_id = self._secret_id(asked.secrets_manager) if asked.secrets_manager else None
        if asked.secrets_manager and secret_id is not None and not without_copy:
            made += self._version(asked.secrets_manager, secret_id)
        parameters: list[pulumi.CustomResource] = []
        if asked.ssm:
            parameters = self._unkept_parameter(asked.ssm) if without_copy else self._parameter(asked.ssm)
        made += parameters
        self.direct.ready.extend(holder.urn for holder in made)
        if without_copy or asked.command:
            # A parameter that is a resource has its value already, and the record need not wait for it.
            waits_for = parameters[0].id if parameters and without_copy else None
            made += self._record([*self.after, *made], [secret_id, waits_for])
        return made

    def _secret_id(self, store: SecretSettings) -> "pulumi.Input[str] | None":
        """The id of the secret, with who may read it; None where there is none and none is created."""
        stored = store.stored_name(self.direct.user, "secrets_manager")
        if store.existing is not None or not self._is_made(SECRET, stored):
            return store.existing
        secret = secretsmanager.Secret(
            f"{self.name}/{stored}",
            name=stored,
            description=DESCRIPTION.format(self.direct.user),
            kms_key_id=self._kms_key(store, SECRET, stored, "kmsKeyId"),
            recovery_window_in_days=0,  # the key is gone, too; a kept name would only block the next one
            replicas=[{"region": region, "kms_key_id": AWS_KEYS[SECRET]} for region in store.replicas],
            opts=pulumi.ResourceOptions(parent=self.parent, depends_on=self.after, hooks=self._hooks),
        )
        self._registered(secret)
        readers, had_policy = store.readers or (), stored in self.state.secret_policies
        if not readers and not had_policy:
            return secret.id
        policy = secretsmanager.SecretPolicy(
            f"{self.name}/{stored}",
            secret_arn=secret.arn,
            policy=readers_policy(readers),
            opts=pulumi.ResourceOptions(
                parent=self.parent,
                hooks=pulumi.ResourceHookBinding(before_delete=self._guard),
                delete_before_replace=True,  # A secret has one policy: deleting the old one last would delete it.
            ),
        )
        self._registered(policy)
        # A removed reader goes first. If the policy could not be changed, what it has is not known, unlike its URN; but
        # where --target leaves out a new one, only the URN is known.
        after = policy.policy if had_policy else policy.urn
        return pulumi.Output.all(secret.id, after).apply(lambda known: known[0])

    def _version(self, store: SecretSettings, secret_id: "pulumi.Input[str]") -> list[secretsmanager.SecretVersion]:
        stored = store.stored_name(self.direct.user, "secrets_manager")
        if not self._is_made(SECRET_VERSION, stored):
            return []
        kind = "secretsManager" if store.existing is None else "existingSecret"
        version = secretsmanager.SecretVersion(
            f"{self.name}/{stored}",
            secret_id=secret_id,
            secret_string=self.content(store),
            # The same order as that of the keys: a mixture of both lets the engine destroy its state, see
            # https://github.com/pulumi/pulumi/issues/13848. AWS keeps the old value until the new one is there.
            opts=pulumi.ResourceOptions(
                parent=self.parent,
                delete_before_replace=True,
                ignore_changes=["secretString"] if self._keeps(kind) else None,
            ),
        )
        self._copied(version)
        return [version]

    def _parameter(self, store: StoreSettings) -> list[pulumi.CustomResource]:
        stored = store.stored_name(self.direct.user, "ssm")
        if not self._is_made(PARAMETER, stored):
            return []
        parameter = ssm.Parameter(
            f"{self.name}/{name_below(PARAMETER, stored)}",
            name=stored,
            type="SecureString",
            description=DESCRIPTION.format(self.direct.user),
            key_id=self._kms_key(store, PARAMETER, stored, "keyId"),
            value=self.content(store),
            overwrite=True if self.direct.state.delivered_directly.to.get("ssm") == stored else None,
            opts=pulumi.ResourceOptions(
                parent=self.parent,
                hooks=self._hooks,
                ignore_changes=["overwrite", *(["value"] if self._keeps("ssm") else [])],
            ),
        )
        self._copied(parameter)
        parameter.id.apply(lambda _: self.run.parameters.add((self.direct.component, stored)))
        self._registered(parameter)
        return [parameter]

    def _unkept_parameter(self, store: StoreSettings) -> list[pulumi.CustomResource]:
        """What stands for a parameter that must not be in the state."""
        stored = store.stored_name(self.direct.user, "ssm")
        if not self._is_made(STASH, f"ssm:{stored}"):
            return []
        hooks = pulumi.ResourceHookBinding(
            before_create=[self.run.new_parameter_hook], before_delete=[*self._guard, self.run.parameter_hook]
        )
        parameter = pulumi.Stash(
            f"{self.name}/ssm:{stored}",  # no user has a : in the name
            input={"parameter": stored},
            opts=pulumi.ResourceOptions(parent=self.parent, depends_on=self.after, hooks=hooks),
        )
        self._registered(parameter)
        return [parameter]

    def _record(
        self, after: Sequence[pulumi.Resource], ids: "Sequence[pulumi.Input[str | None]]"
    ) -> list[pulumi.Resource]:
        """What this program delivers itself. The record of it goes first in a destroy, and is kept with the stores."""
        user = self.direct.user
        if not self._is_made(STASH, f"{user}/delivery"):
            return []
        is_recorded = self.direct.state.delivered_directly.content
        is_kept = self.is_withheld or (self.keeps and not self.others and is_recorded)
        # Under the usual names; the stores get them under their own.
        given = pulumi.Output.from_input(None) if is_kept else self.content(StoreSettings())
        opts = pulumi.ResourceOptions(
            parent=self.parent, depends_on=after, hooks=pulumi.ResourceHookBinding(before_delete=self._guard)
        )
        attempts: list[pulumi.Stash] = []
        if self.direct.without_copy and (self.direct.settings.command or self.direct.state.attempted):
            attempts = [self.direct.attempt(f"{self.name}/{user}/attempt", given, opts)]
        attempted = [
            pulumi.Output.all(attempt.id, attempt.input).apply(lambda found: mapping(found[1]).get("key"))
            for attempt in attempts
        ]
        record = self.direct.record(f"{self.name}/{user}/delivery", given, self.parent.arn, [*ids, *attempted], opts)
        self._registered(record)
        return [*attempts, record]

    @property
    def _guard(self) -> list[pulumi.ResourceHook]:
        return [self.run.hook] if self.is_guarded else []

    @property
    def _hooks(self) -> pulumi.ResourceHookBinding:
        return pulumi.ResourceHookBinding(before_update=[self.run.state_hook], before_delete=self._guard)

    def _keeps(self, kind: str) -> bool:
        return self.keeps and kind not in self.others

    def _is_made(self, kind: str, name: str) -> bool:
        return not self.is_withheld or self.state.store_urn(kind, name) in self.run.resources

    def _kms_key(self, store: StoreSettings, kind: str, name: str, output: str) -> "pulumi.Input[str] | None":
        """The KMS key of a store: AWS's own where the settings no longer name one, or AWS would keep that."""
        had, own = self.run.outputs(self.state.store_urn(kind, name)).get(output), AWS_KEYS[kind]
        return own if store.kms_key is None and had and (kind == SECRET or had != own) else store.kms_key

    def _registered(self, holder: pulumi.Resource) -> None:
        owner = (self.direct.component, self.direct.user)
        holder.urn.apply(lambda urn: self.run.stores.__setitem__(urn, owner))

    def _copied(self, holder: pulumi.CustomResource) -> None:
        owner = (self.direct.component, self.direct.user)
        holder.id.apply(lambda _: self.run.copied.add(owner))


def held_key(resource: pulumi.Resource) -> "pulumi.Output[str | None]":
    """The id of the key that a store holds, once it exists. resource: what stands for it in the state. Not known where
    the engine leaves out what is to be new, as a refresh does: what the program gave would count as held."""

    def of(value: "pulumi.Output[Any]", parse: Callable[[Any], str | None]) -> "pulumi.Output[str | None]":
        assert isinstance(resource, pulumi.CustomResource)
        return pulumi.Output.all(resource.id, value).apply(lambda found: parse(found[1]))

    if isinstance(resource, secretsmanager.SecretVersion):
        return of(resource.secret_string, lambda text: stored_id(text or ""))
    if isinstance(resource, ssm.Parameter):
        return of(resource.value, stored_id)
    if isinstance(resource, pulumi.Stash):
        return of(resource.input, lambda found: mapping(found).get("content"))
    return resource.urn.apply(lambda _: None)

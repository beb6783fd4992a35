"""Delivery of a user's current key into a secret store, from which its consumers read it after each rotation."""

import json
from collections.abc import Callable
from datetime import date
from typing import Any

import pulumi
from pulumi_aws import iam, secretsmanager, ssm

from aws_access_keys.direct_delivery import DirectDelivery
from aws_access_keys.rules.problem import Spelling
from aws_access_keys.rules.secrets import readers_policy
from aws_access_keys.run import Run
from aws_access_keys.settings import DeliverSettings, StoreSettings

REPLICA_KEY = "alias/aws/secretsmanager"  # every region has it; AWS reports it, so the provider must know it, too


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
            raise pulumi.RunError(
                f"{spell.prefix}{spell('users.{}.deliver', user)}: the secret of the access key {values[0]} is not "
                "known (the key was adopted without it, or it is encrypted to an OpenPGP key), so it cannot be "
                "delivered; the stores were not changed. Raise the key's serial for a key that can be delivered, or "
                f"set deliver to {spell.null} for this user."
            )
        return json.dumps({store.fields.id: values[0], store.fields.secret: values[1]})  # in the order of `stored_key`

    return pulumi.Output.secret(pulumi.Output.all(key.id, secret).apply(content))


def expired_content(day: date, _: StoreSettings) -> "pulumi.Output[str]":
    """What a store holds in place of a key that has expired."""
    return pulumi.Output.secret(json.dumps({"expired": day.isoformat()}))


def deliver(
    component: str,
    user: str,
    content: "Callable[[StoreSettings], pulumi.Output[Any]]",
    settings: DeliverSettings,
    parent: pulumi.Resource,
    after: list[pulumi.Resource],
    keeps: bool,
    guard: list[pulumi.ResourceHook],
    registered: Callable[[str], None],
    direct: DirectDelivery,
    run: Run,
) -> list[pulumi.Resource]:
    """Put a value into a user's stores. Returns the resources that hold it.

    content: makes the value for one store. after: what is deleted after the stores. keeps: whether a store that exists
    keeps its value. guard: hooks before the secret or parameter is deleted. registered: is called with the URN of each.
    direct: delivers what must not be in the state, and to a command.

    The resources are named after their names in the store, so a name that moves from one user to another is an update.
    """
    made: list[pulumi.Resource] = []
    secret_id: pulumi.Input[str] | None = None
    hooks = pulumi.ResourceHookBinding(before_update=[run.state_hook], before_delete=[*guard])
    if store := settings.secrets_manager:
        stored = store.stored_name(user, "secrets_manager")
        name = f"{component}/{stored}"
        secret_id = store.existing
        if secret_id is None:
            holder = secretsmanager.Secret(
                name,
                name=stored,
                description=f"Access key of IAM user {user}",
                kms_key_id=store.kms_key,
                recovery_window_in_days=0,  # the key is gone, too; a name that is kept would only block the next one
                replicas=[{"region": region, "kms_key_id": REPLICA_KEY} for region in store.replicas],
                opts=pulumi.ResourceOptions(parent=parent, depends_on=after, hooks=hooks),
            )
            holder.urn.apply(registered)
            secret_id = holder.id
            if store.readers:
                secretsmanager.SecretPolicy(
                    name,
                    secret_arn=holder.arn,
                    policy=readers_policy(store.readers),
                    opts=pulumi.ResourceOptions(parent=parent),
                )
        if not direct.without_copy:
            version = secretsmanager.SecretVersion(
                name,
                secret_id=secret_id,
                secret_string=content(store),
                # The same order as that of the keys: a mixture of both orders lets the engine destroy its state
                # (https://github.com/pulumi/pulumi/issues/13848). AWS keeps the old value until the new one is there.
                opts=pulumi.ResourceOptions(
                    parent=parent, delete_before_replace=True, ignore_changes=["secretString"] if keeps else None
                ),
            )
            made.append(version)
    if store := settings.ssm:
        stored = store.stored_name(user, "ssm")
        if direct.without_copy:
            before_delete = pulumi.ResourceHookBinding(before_delete=[*guard, run.parameter_hook])
            parameter = pulumi.Stash(
                f"{component}/ssm:{stored}",  # no user has a : in the name
                input={"parameter": stored},
                opts=pulumi.ResourceOptions(parent=parent, depends_on=after, hooks=before_delete),
            )
            made.append(parameter)
        else:
            parameter = ssm.Parameter(
                f"{component}/{stored.removeprefix('/')}",
                name=stored,
                type="SecureString",
                description=f"Access key of IAM user {user}",
                key_id=store.kms_key,
                value=content(store),
                overwrite=True if direct.state.delivered_directly.to.get("ssm") == stored else None,
                opts=pulumi.ResourceOptions(
                    parent=parent, hooks=hooks, ignore_changes=["overwrite", *(["value"] if keeps else [])]
                ),
            )
            parameter.id.apply(lambda _: run.parameters.add((direct.component, stored)))
            made.append(parameter)
        parameter.urn.apply(registered)
    if direct.without_copy or settings.command:
        opts = pulumi.ResourceOptions(parent=parent, depends_on=[*after, *made])
        is_kept = keeps and direct.state.delivered_directly.content
        # Under the usual names; the stores get them under their own.
        given = pulumi.Output.from_input(None) if is_kept else content(StoreSettings())
        made.append(direct.record(f"{component}/{user}/delivery", given, secret_id, opts))
    return made

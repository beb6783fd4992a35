"""From checked settings to the component's args."""

from collections.abc import Mapping
from typing import Any

from aws_access_keys import GroupArgs, ProgrammaticAccessArgs, UserArgs
from aws_access_keys.delivery import DeliverArgs, StoreArgs
from aws_access_keys.keys import AdoptArgs, KeyArgs, RotationArgs
from aws_access_keys.settings.check import Environment, pgp_text
from aws_access_keys.settings.shape import DeliverSettings, KeySettings, StackSettings, StoreSettings


def component_args(
    settings: StackSettings, environment: Environment, issued: Mapping[str, Any]
) -> ProgrammaticAccessArgs:
    """The args of ProgrammaticAccess for a stack. issued: what `issued_keys()` says."""
    args: ProgrammaticAccessArgs = {
        "groups": {
            name: GroupArgs(policies=group.policies, path=group.path) for name, group in settings.groups.items()
        },
        "users": {name: _user(settings, name) for name in settings.users},
        "tags": settings.tags,
        "partition": environment.partition,
        "today": environment.today.isoformat(),
        "issued": issued,
    }
    if "retire_guard" in settings.key_defaults.model_fields_set:
        guard = settings.key_defaults.retire_guard
        args["retire_guard_idle_days"] = guard.idle_days if guard else 0
    return args


def has_encrypted_secrets(settings: StackSettings, issued: Mapping[str, Any]) -> bool:
    """Whether a user's secret is, or will be, encrypted to a pgpKey. issued: what `issued_keys()` says."""
    return any(
        settings.key_of(user).pgp_key or issued.get(user, {}).get("current", {}).get("pgpFingerprint")
        for user in settings.users
    )


def _user(settings: StackSettings, name: str) -> UserArgs:
    user = settings.users[name]
    args = UserArgs(groups=user.groups, path=user.path, tags=user.tags, key=_key(settings.key_of(name)))
    deliver = settings.deliver_of(name)
    if deliver:
        args["deliver"] = _deliver(deliver)
    return args


def _key(key: KeySettings) -> KeyArgs:
    args = KeyArgs(serial=key.serial, status=key.status, verify=key.verify)
    if key.previous:
        args["previous"] = key.previous
    if key.rotation:
        args["rotation"] = RotationArgs(
            start=key.rotation.start.isoformat(),
            every_days=key.rotation.every_days,
            overlap_days=key.rotation.overlap_days,
        )
    if key.description is not None:
        args["description"] = key.description
    if key.pgp_key is not None:
        args["pgp_key"] = pgp_text(key.pgp_key)
    if key.retire_guard:
        args["retire_guard_idle_days"] = key.retire_guard.idle_days
    if key.adopt:
        args["adopt"] = AdoptArgs(id=key.adopt.id)
        if key.adopt.secret is not None:
            args["adopt"]["secret"] = key.adopt.secret
    return args


def _deliver(deliver: DeliverSettings) -> DeliverArgs:
    args = DeliverArgs()
    if deliver.secrets_manager:
        args["secrets_manager"] = _store(deliver.secrets_manager)
    if deliver.ssm:
        args["ssm"] = _store(deliver.ssm)
    return args


def _store(store: StoreSettings) -> StoreArgs:
    args = StoreArgs()
    if store.name:
        args["name"] = store.name
    if store.kms_key:
        args["kms_key"] = store.kms_key
    return args

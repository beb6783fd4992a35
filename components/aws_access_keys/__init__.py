"""A Pulumi component for IAM groups, and users with access keys that rotate safely.

The names are loaded when they are first used: the operators' command does without Pulumi's SDK.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from aws_access_keys.args import (
        AdoptArgs,
        DeliverArgs,
        ExpectArgs,
        FieldArgs,
        GroupArgs,
        KeyArgs,
        KeyDefaultsArgs,
        NotifyArgs,
        ProgrammaticAccessArgs,
        RetireGuardArgs,
        RotationArgs,
        S3GrantArgs,
        SecretArgs,
        StoreArgs,
        UserArgs,
    )
    from aws_access_keys.programmatic_access import ProgrammaticAccess
    from aws_access_keys.stack_file import stack_settings

__all__ = [
    "AdoptArgs",
    "DeliverArgs",
    "ExpectArgs",
    "FieldArgs",
    "GroupArgs",
    "KeyArgs",
    "KeyDefaultsArgs",
    "NotifyArgs",
    "ProgrammaticAccess",
    "ProgrammaticAccessArgs",
    "RetireGuardArgs",
    "RotationArgs",
    "S3GrantArgs",
    "SecretArgs",
    "StoreArgs",
    "UserArgs",
    "stack_settings",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    module = "args" if name.endswith("Args") else "stack_file" if name == "stack_settings" else "programmatic_access"
    return getattr(import_module(f"{__name__}.{module}"), name)

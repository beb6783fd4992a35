"""Pulumi components: IAM groups with managed policies, and users with access keys."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from aws_access_keys.ending import finish
    from aws_access_keys.issued import issued_keys
    from aws_access_keys.programmatic_access import GroupArgs, ProgrammaticAccess, ProgrammaticAccessArgs, UserArgs

__all__ = ["GroupArgs", "ProgrammaticAccess", "ProgrammaticAccessArgs", "UserArgs", "finish", "issued_keys"]

_MODULES = {"finish": "ending", "issued_keys": "issued"}


def __getattr__(name: str) -> Any:
    """Import a component when it is first named: the command access-keys starts without Pulumi's SDK (0.8 s)."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES.get(name, 'programmatic_access')}"), name)

"""Pulumi components: IAM groups with managed policies, and users with access keys."""

from components.ending import finish
from components.issued import issued_keys
from components.programmatic_access import GroupArgs, ProgrammaticAccess, ProgrammaticAccessArgs, UserArgs

__all__ = ["GroupArgs", "ProgrammaticAccess", "ProgrammaticAccessArgs", "UserArgs", "finish", "issued_keys"]

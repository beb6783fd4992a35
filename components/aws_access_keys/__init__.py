"""Pulumi components: IAM groups with managed policies, and users with access keys."""

from aws_access_keys.ending import finish
from aws_access_keys.issued import issued_keys
from aws_access_keys.programmatic_access import GroupArgs, ProgrammaticAccess, ProgrammaticAccessArgs, UserArgs

__all__ = ["GroupArgs", "ProgrammaticAccess", "ProgrammaticAccessArgs", "UserArgs", "finish", "issued_keys"]

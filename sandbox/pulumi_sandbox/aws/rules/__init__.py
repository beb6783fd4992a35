"""AWS's rules for IAM, STS, Secrets Manager and CloudTrail that moto does not have, by subject."""

# Each registers its rules when imported.
from pulumi_sandbox.aws.rules import access_keys, account_reports, events, lists, policies, secrets, simulation, users
from pulumi_sandbox.aws.rules.rule import RULES, Context, apply

__all__ = [
    "RULES",
    "Context",
    "access_keys",
    "account_reports",
    "apply",
    "events",
    "lists",
    "policies",
    "secrets",
    "simulation",
    "users",
]

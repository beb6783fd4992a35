"""AWS's rules for IAM and STS that moto does not have, by subject."""

from pulumi_sandbox.aws.rules import access_keys, lists, policies, users  # each registers its rules when imported
from pulumi_sandbox.aws.rules.rule import RULES, Context, apply

__all__ = ["RULES", "Context", "access_keys", "apply", "lists", "policies", "users"]

"""The policy pack: gives the rules in rules.py to Pulumi's engine. See docs/guardrails.md.

Without a configuration file every rule is mandatory, so that forgetting the file does not weaken a rule.
"""

import os
import sys
from pathlib import Path

from pulumi_policy import (
    EnforcementLevel,
    PolicyConfigSchema,
    PolicyPack,
    ReportViolation,
    StackValidationArgs,
    StackValidationPolicy,
)

# The IAM rules belong to the product, which cannot be installed in this environment: it needs another protobuf.
sys.path.append(str(Path(__file__).resolve().parent.parent / "components"))

from aws_access_keys import clock
from rules import RULES, Rule, Stack, violations


def policy(rule: Rule) -> StackValidationPolicy:
    """A rule as a policy of the pack. It sees the whole stack as it will be after the update."""

    def validate(args: StackValidationArgs, report: ReportViolation) -> None:
        stack = Stack(args.resources, clock.today(os.environ))
        for message, urn in violations(rule, stack, args.get_config()):
            report(message, urn)

    return StackValidationPolicy(
        name=rule.name,
        description=rule.description,
        validate=validate,
        config_schema=PolicyConfigSchema(dict(rule.settings)),
    )


sys.stderr.write(f"The policy pack aws-access-keys has {len(RULES)} rules.\n")
PolicyPack(
    name="aws-access-keys",
    policies=[policy(rule) for rule in RULES],
    enforcement_level=EnforcementLevel.MANDATORY,
)

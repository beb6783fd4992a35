"""The program of the checkout under a provider whose credentials are those of the environment.

The default provider of the sandbox takes its own, so that no stack file can lead out of it.
"""

import os
from typing import Any, cast

import pulumi
import pulumi_aws as aws
from aws_access_keys import ProgrammaticAccess, stack_settings
from aws_access_keys.rules.problem import STACK_FILE

config = pulumi.Config("aws")
operator = aws.Provider(
    "operator",
    region=cast("Any", config.require("region")),
    access_key=os.environ["AWS_ACCESS_KEY_ID"],
    secret_key=os.environ["AWS_SECRET_ACCESS_KEY"],
    default_tags=config.get_object("defaultTags"),
    ignore_tags=aws.ProviderIgnoreTagsArgs(key_prefixes=["AKIA"]),
)
access = ProgrammaticAccess(
    "access", cast("Any", stack_settings()), pulumi.ResourceOptions(provider=operator), spell=STACK_FILE
)
pulumi.export("keys", access.keys)

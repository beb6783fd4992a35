"""A program that loses track of what hangs on what: names are written out, so the engine sees no dependency.

Config `without`: the resource that is left out although others still hang on it.
"""

import pulumi
from pulumi_aws import iam

without = pulumi.Config().get("without")

if without != "user":
    user = iam.User("user", name="careless")
if without != "group":
    group = iam.Group("group", name="careless")
if pulumi.Config().get_bool("all"):
    iam.AccessKey("key", user="careless")
    iam.GroupPolicyAttachment("attachment", group="careless", policy_arn="arn:aws:iam::aws:policy/IAMFullAccess")

"""IAM groups, users and their access keys."""

import pulumi
from aws_access_keys import ProgrammaticAccess

access = ProgrammaticAccess(
    "access",
    {
        "groups": {"readers": {"policies": ["AmazonS3ReadOnlyAccess"]}},
        "users": {"ann": {"groups": ["readers"]}},
    },
)

pulumi.export("accessKeyIds", access.access_key_ids)
pulumi.export("secretAccessKeys", access.secret_access_keys)

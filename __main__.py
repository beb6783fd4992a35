"""AWS access keys as code: read the stack's settings, make what they ask for, export what the operator needs."""

import pulumi

from components import GroupArgs, ProgrammaticAccess, UserArgs
from settings import read_settings

settings, environment = read_settings()

access = ProgrammaticAccess(
    "access",
    {
        "groups": {
            name: GroupArgs(policies=group.policies, path=group.path) for name, group in settings.groups.items()
        },
        "users": {
            name: UserArgs(groups=user.groups, path=user.path, tags=user.tags) for name, user in settings.users.items()
        },
        "tags": settings.tags,
        "partition": environment.partition,
    },
)

pulumi.export("accessKeyIds", access.access_key_ids)
pulumi.export("secretAccessKeys", access.secret_access_keys)
pulumi.export("credentialsFile", access.credentials_file)
pulumi.export("userArns", access.user_arns)
pulumi.export("groupArns", access.group_arns)

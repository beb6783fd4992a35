"""ProgrammaticAccess: groups, users and access keys as one reusable component."""

from collections.abc import Mapping
from typing_extensions import NotRequired, TypedDict

import pulumi

from components.group import AccessGroup, GroupArgs
from components.user import AccessUser, UserArgs
from rules.access import access_problems
from rules.credentials import credentials_file


class ProgrammaticAccessArgs(TypedDict):
    """What `ProgrammaticAccess` makes."""

    groups: Mapping[str, GroupArgs]
    """Groups by name. The keys name both the IAM groups and the Pulumi resources."""
    users: Mapping[str, UserArgs]
    """Users by name. The keys name both the IAM users and the Pulumi resources."""
    tags: NotRequired[Mapping[str, pulumi.Input[str]]]
    """Tags put on every user. IAM groups and access keys take none."""
    partition: NotRequired[str]
    """AWS partition in which policy names are resolved: `aws` (default), `aws-cn` or `aws-us-gov`."""


class ProgrammaticAccess(pulumi.ComponentResource):
    """IAM groups with managed policies, users in these groups, and an access key for each user.

    Children are parented to the component and named `NAME/GROUP`, `NAME/GROUP/POLICY`, `NAME/USER` and
    `NAME/USER/SLOT`; no IAM name has a `/`, so two components never collide. Raises ValueError, with every problem
    in one message, before any child is registered.
    """

    access_key_ids: pulumi.Output[dict[str, str]]
    """User → access key id."""
    secret_access_keys: pulumi.Output[dict[str, str]]
    """User → secret access key; a secret."""
    credentials_file: pulumi.Output[str]
    """An AWS shared-credentials file with one profile per user; a secret."""
    user_arns: pulumi.Output[dict[str, str]]
    """User → ARN."""
    group_arns: pulumi.Output[dict[str, str]]
    """Group → ARN."""

    def __init__(
        self, name: str, args: ProgrammaticAccessArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        partition = args.get("partition", "aws")
        _refuse_problems(name, args, partition)
        super().__init__("aws-access-keys:index:ProgrammaticAccess", name, None, opts)
        child = pulumi.ResourceOptions(parent=self)
        # Not annotated on the class, where they would count as outputs: the children, for programs that need them.
        self.groups = {
            group: AccessGroup(f"{name}/{group}", group, group_args, partition, child)
            for group, group_args in sorted(args["groups"].items())
        }
        iam_groups = {group: made.group for group, made in self.groups.items()}
        self.users = {
            user: AccessUser(f"{name}/{user}", user, user_args, iam_groups, args.get("tags", {}), child)
            for user, user_args in sorted(args["users"].items())
        }
        keys = {user: made.key for user, made in self.users.items()}
        self.access_key_ids = pulumi.Output.all(**{user: key.id for user, key in keys.items()})
        self.secret_access_keys = pulumi.Output.secret(
            pulumi.Output.all(**{user: key.secret for user, key in keys.items()})
        )
        self.credentials_file = pulumi.Output.secret(
            pulumi.Output.all(self.access_key_ids, self.secret_access_keys).apply(lambda both: credentials_file(*both))
        )
        self.user_arns = pulumi.Output.all(**{user: made.user.arn for user, made in self.users.items()})
        self.group_arns = pulumi.Output.all(**{group: made.group.arn for group, made in self.groups.items()})
        self.register_outputs(
            {
                "accessKeyIds": self.access_key_ids,
                "secretAccessKeys": self.secret_access_keys,
                "credentialsFile": self.credentials_file,
                "userArns": self.user_arns,
                "groupArns": self.group_arns,
            }
        )


def _refuse_problems(name: str, args: ProgrammaticAccessArgs, partition: str) -> None:
    problems = list(
        access_problems(
            {group: group_args["policies"] for group, group_args in args["groups"].items()},
            {user: user_args["groups"] for user, user_args in args["users"].items()},
            partition,
        )
    )
    if problems:
        lines = "\n".join(f"  {where}: {what}" for where, what in problems)
        raise ValueError(f"ProgrammaticAccess '{name}' cannot be made as asked:\n{lines}")

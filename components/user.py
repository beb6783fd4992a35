"""An IAM user in its groups, with an access key."""

from collections.abc import Mapping, Sequence
from typing_extensions import NotRequired, TypedDict

import pulumi
from pulumi_aws import iam


class UserArgs(TypedDict):
    """One IAM user with an access key."""

    groups: Sequence[str]
    """Names of groups of the same component."""
    path: NotRequired[pulumi.Input[str]]
    """IAM path, default `/`."""
    tags: NotRequired[Mapping[str, pulumi.Input[str]]]
    """Tags of this user, on top of the component's."""


class AccessUser(pulumi.ComponentResource):
    """One user, its membership in the groups named, and its access key."""

    user: iam.User
    membership: iam.UserGroupMembership
    key: iam.AccessKey

    def __init__(
        self,
        name: str,
        user_name: str,
        args: UserArgs,
        groups: Mapping[str, iam.Group],
        tags: Mapping[str, pulumi.Input[str]],
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__("aws-access-keys:index:AccessUser", name, None, opts)
        child = pulumi.ResourceOptions(parent=self)
        self.user = iam.User(
            name, name=user_name, path=args.get("path", "/"), tags={**tags, **args.get("tags", {})}, opts=child
        )
        # Not exclusive: groups that somebody else put the user into are left alone. Sorted, as IAM keeps no order.
        self.membership = iam.UserGroupMembership(
            name, user=self.user.name, groups=[groups[group].name for group in sorted(args["groups"])], opts=child
        )
        self.key = iam.AccessKey(f"{name}/a", user=self.user.name, opts=child)
        self.register_outputs({"name": self.user.name, "arn": self.user.arn, "accessKeyId": self.key.id})

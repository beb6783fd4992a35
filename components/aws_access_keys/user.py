"""An IAM user in its groups, with its access keys and their delivery."""

from collections.abc import Mapping, Sequence
from typing import Any

import pulumi
from pulumi_aws import iam
from typing_extensions import NotRequired, TypedDict

from aws_access_keys.delivery import DeliverArgs, deliver
from aws_access_keys.group import AccessGroup
from aws_access_keys.keys import KeyArgs, Surroundings, UserKeys
from aws_access_keys.rules.rotation import KeyPlan


class UserArgs(TypedDict):
    """One IAM user with an access key."""

    groups: Sequence[str]
    """Names of groups of the same component."""
    path: NotRequired[pulumi.Input[str]]
    """IAM path, default `/`."""
    tags: NotRequired[Mapping[str, pulumi.Input[str]]]
    """Tags of this user, on top of the component's."""
    key: NotRequired[KeyArgs]
    """The life of this user's key."""
    deliver: NotRequired[DeliverArgs]
    """Secret stores into which the current key is put."""


class AccessUser(pulumi.ComponentResource):
    """One user, its membership in the groups named, its access keys, and where they are delivered."""

    def __init__(
        self,
        name: str,
        user_name: str,
        args: UserArgs,
        groups: Mapping[str, AccessGroup],
        tags: Mapping[str, pulumi.Input[str]],
        plan: KeyPlan,
        issued: Mapping[str, Any],
        around: Surroundings,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__("aws-access-keys:index:AccessUser", name, None, opts)
        child = pulumi.ResourceOptions(parent=self)
        key_args = args.get("key", {})
        self.user = iam.User(
            name,
            name=user_name,
            path=args.get("path", "/"),
            tags={**tags, **args.get("tags", {})},
            # An adopted key belongs to a user that exists; after the first run the option says nothing new.
            opts=pulumi.ResourceOptions(parent=self, import_=user_name if "adopt" in key_args else None),
        )
        # Not exclusive: groups that somebody else put the user into are left alone. Sorted, as IAM keeps no order.
        mine = [groups[group] for group in sorted(args["groups"])]
        self.membership = iam.UserGroupMembership(
            name, user=self.user.name, groups=[made.group.name for made in mine], opts=child
        )
        # A key comes after what it is allowed to do, and goes before it: a key in use that the guard keeps, as in a
        # destroy, keeps its permissions, too.
        allowed = [self.membership, *(attachment for made in mine for attachment in made.attachments.values())]
        self.keys = UserKeys(name, self.user, key_args, plan, issued, around, parent=self, depends_on=allowed)
        asked = args.get("deliver")
        delivered = (
            deliver(name.rsplit("/", 1)[0], user_name, self.keys.id, self.keys.secret, asked, self) if asked else []
        )
        self.keys.retire_previous(after=delivered)
        # The record's copy; see components/issued.py.
        self.register_outputs({"name": self.user.name, "arn": self.user.arn, "record": self.keys.record})

"""An IAM group with its managed policies."""

from collections.abc import Mapping, Sequence

import pulumi
from pulumi_aws import iam
from typing_extensions import NotRequired, TypedDict

from aws_access_keys.rules.policies import policy_arn, policy_key


class GroupArgs(TypedDict):
    """One IAM group."""

    policies: Sequence[str]
    """Managed policies: AWS's by name (`AmazonS3FullAccess`), any by ARN. Plain text, as they name the attachments."""
    policy_arns: NotRequired[Mapping[str, pulumi.Input[str]]]
    """Further managed policies whose ARN is known only later, for example one made in the same program: a key of your
    choice, which names the attachment, → ARN."""
    path: NotRequired[pulumi.Input[str]]
    """IAM path, default `/`."""


class AccessGroup(pulumi.ComponentResource):
    """One group and the attachments of its policies."""

    group: iam.Group
    attachments: Mapping[str, iam.GroupPolicyAttachment]

    def __init__(
        self, name: str, group_name: str, args: GroupArgs, partition: str, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("aws-access-keys:index:AccessGroup", name, None, opts)
        child = pulumi.ResourceOptions(parent=self)
        self.group = iam.Group(name, name=group_name, path=args.get("path", "/"), opts=child)
        arns: dict[str, pulumi.Input[str]] = {}
        for policy in args["policies"]:
            arn = policy_arn(policy, partition)
            arns[policy_key(arn)] = arn
        arns.update(args.get("policy_arns", {}))
        self.attachments = {
            key: iam.GroupPolicyAttachment(f"{name}/{key}", group=self.group.name, policy_arn=arn, opts=child)
            for key, arn in arns.items()
        }
        self.register_outputs({"name": self.group.name, "arn": self.group.arn})

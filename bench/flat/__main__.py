"""What one would write without the component: the same groups, users, keys and outputs, as resources side by side."""

import pulumi
from pulumi_aws import iam

config = pulumi.Config()
users: dict[str, int] = config.require_object("users")  # user → serial of the key
group_name = config.require("group")

group = iam.Group(group_name, name=group_name)
for policy in ("AmazonS3FullAccess", "IAMFullAccess"):
    arn = f"arn:aws:iam::aws:policy/{policy}"
    iam.GroupPolicyAttachment(f"{group_name}/{policy}", group=group.name, policy_arn=arn)

keys: dict[str, iam.AccessKey] = {}
arns: dict[str, pulumi.Output[str]] = {}
for name, serial in users.items():
    user = iam.User(name, name=name)
    iam.UserGroupMembership(name, user=user.name, groups=[group.name])
    keys[name] = iam.AccessKey(
        f"{name}/{int(serial)}", user=user.name, opts=pulumi.ResourceOptions(delete_before_replace=True)
    )
    arns[name] = user.arn


def profile(name: str, key: iam.AccessKey) -> pulumi.Output[str]:
    return pulumi.Output.format(
        "[{0}]\naws_access_key_id = {1}\naws_secret_access_key = {2}\n", name, key.id, key.secret
    )


pulumi.export("accessKeyIds", {name: key.id for name, key in keys.items()})
pulumi.export("secretAccessKeys", {name: key.secret for name, key in keys.items()})
pulumi.export("credentialsFile", pulumi.Output.all(*(profile(*item) for item in keys.items())).apply("\n".join))
pulumi.export("userArns", arns)
pulumi.export("groupArns", {group_name: group.arn})
pulumi.export("keys", {name: {"status": key.status, "created": key.create_date} for name, key in keys.items()})

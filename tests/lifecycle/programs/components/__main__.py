"""A program of one's own: the components that `own:components` describes, below the one that `own:parent` names, if it
names one (retained on delete, if `own:retain` is set), with a provider as the role in `own:role` or in the region in
`own:region`, or each with one in its own `region`, and the former name in `own:alias`; the user that `own:plain` names,
with a key, as resources without a component; `own:given`, the policy of AWS that such a resource gives to user ann; and
`own:secret`, the name of such a secret. It exports nothing."""

import json

import pulumi
import pulumi_aws as aws
from aws_access_keys import ProgrammaticAccess

config = pulumi.Config("own")
if plain := config.get("plain"):
    user = aws.iam.User(plain, name=plain)
    aws.iam.AccessKey(plain, user=user.name)
    group = aws.iam.Group("readers", name="readers")
    aws.iam.UserGroupMembership(plain, user=user.name, groups=[group.name])
if given := config.get("given"):
    aws.iam.UserPolicyAttachment("given", user="ann", policy_arn=f"arn:aws:iam::aws:policy/{given}")
if secret := config.get("secret"):
    aws.secretsmanager.Secret("mine", name=secret)
name = config.get("parent")
retained = pulumi.ResourceOptions(retain_on_delete=config.get_bool("retain"))
parent = pulumi.ComponentResource("own:index:Team", name, None, retained) if name else None
aliases = [pulumi.Alias(name=alias)] if (alias := config.get("alias")) else None
role, aws_config = config.get("role"), pulumi.Config("aws")
provider = role and aws.Provider(
    "other",
    region="ap-northeast-2",
    access_key=aws_config.require("accessKey"),
    secret_key=aws_config.require("secretKey"),
    assume_roles=[aws.ProviderAssumeRoleArgs(role_arn=role)],
)
if region := config.get("region"):
    provider = aws.Provider("other", region=region)
for name, args in json.loads(config.require("components")).items():
    own = aws.Provider(name, region=args.pop("region")) if "region" in args else provider or None
    ProgrammaticAccess(name, args, pulumi.ResourceOptions(parent=parent, provider=own, aliases=aliases))

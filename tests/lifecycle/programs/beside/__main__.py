"""A component with the arguments in `own:args`, and a policy of the program's own, which a group gets under each name
in its `policy_arns`. `own:plain` is what a resource beside the component gives: an `attachment` of that policy to the
group readers, the `parameter` of user ann, or the `policy` of ann's secret, whose ARN is `own:secret`."""

import json

import pulumi
import pulumi_aws as aws
from aws_access_keys import ProgrammaticAccess

config = pulumi.Config("own")


def document(action: str, **more: object) -> str:
    """A policy document that allows an action."""
    statement = {"Effect": "Allow", "Action": action, "Resource": "*", **more}
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


own = aws.iam.Policy("own", name="own", policy=document("s3:ListAllMyBuckets"))
args = json.loads(config.require("args"))
for group in args["groups"].values():
    group["policy_arns"] = dict.fromkeys(group.get("policy_arns", ()), own.arn)
access = ProgrammaticAccess("access", args)
after = pulumi.ResourceOptions(depends_on=[access])
plain = config.get("plain")
if plain == "attachment":
    aws.iam.GroupPolicyAttachment("mine", group="readers", policy_arn=own.arn, opts=after)
elif plain == "parameter":
    key = {"aws_access_key_id": access.access_key_ids["ann"], "aws_secret_access_key": access.secret_access_keys["ann"]}
    text = pulumi.Output.json_dumps(key)
    aws.ssm.Parameter("mine", name="/access-keys/ann", type="SecureString", value=text)
elif plain == "policy":
    allow = document("secretsmanager:GetSecretValue", Principal={"AWS": "arn:aws:iam::123456789012:root"})
    aws.secretsmanager.SecretPolicy("mine", secret_arn=config.require("secret"), policy=allow, opts=after)

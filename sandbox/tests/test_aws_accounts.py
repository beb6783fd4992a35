"""Member accounts: entered by a role, apart from each other, and kept over a restart."""

import json
from pathlib import Path
from typing import Any

import pytest
from aws_support import REGION, ROOT, Strict, refusal, strict_aws
from provider_client import ProviderFaultError, connected
from pulumi_sandbox.credentials import Credentials
from pulumi_sandbox.provider.server import serve

MAIN, MEMBER = "123456789012", "222222222222"
ENTRY = f"arn:aws:iam::{MEMBER}:role/OrganizationAccountAccessRole"
DEPLOY = f"arn:aws:iam::{MEMBER}:role/deploy"
CALLER = "aws:index/getCallerIdentity:getCallerIdentity"


def assumed(aws: Strict, key: Credentials, role: str, **given: str) -> Credentials:
    """The credentials of a role that the holder of a key assumes."""
    sts = session_client(aws, "sts", key)
    made = sts.assume_role(RoleArn=role, RoleSessionName="test", **given)["Credentials"]
    return Credentials(made["AccessKeyId"], made["SecretAccessKey"], made["SessionToken"])


def session_client(aws: Strict, service: str, key: Credentials) -> Any:
    import boto3

    return boto3.client(
        service,
        region_name=REGION,
        endpoint_url=aws.url,
        aws_access_key_id=key.access_key_id,
        aws_secret_access_key=key.secret_access_key,
        aws_session_token=key.session_token,
    )


def deploy_role(aws: Strict, operator: Credentials, external_id: str = "team-a") -> None:
    """A role in the member account that the management account may assume with an external id."""
    statement = {
        "Effect": "Allow",
        "Principal": {"AWS": f"arn:aws:iam::{MAIN}:root"},
        "Action": "sts:AssumeRole",
        "Condition": {"StringEquals": {"sts:ExternalId": external_id}},
    }
    iam = session_client(aws, "iam", assumed(aws, operator, ENTRY))
    iam.create_role(
        RoleName="deploy", AssumeRolePolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    )
    iam.attach_role_policy(RoleName="deploy", PolicyArn="arn:aws:iam::aws:policy/IAMFullAccess")


@pytest.mark.long
def test_a_member_account_is_entered_by_its_role_and_is_apart_from_the_others(tmp_path: Path) -> None:
    with strict_aws(tmp_path) as aws:
        operator = aws.user_with_key("operator", "AdministratorAccess")
        member = assumed(aws, operator, ENTRY)
        iam = session_client(aws, "iam", member)
        assert session_client(aws, "sts", member).get_caller_identity()["Account"] == MEMBER
        assert iam.create_user(UserName="operator")["User"]["Arn"] == f"arn:aws:iam::{MEMBER}:user/operator"
        key = iam.create_access_key(UserName="operator")["AccessKey"]
        own = Credentials(key["AccessKeyId"], key["SecretAccessKey"])
        assert aws.client("sts", own).get_caller_identity()["Arn"] == f"arn:aws:iam::{MEMBER}:user/operator"
        assert refusal(aws.client("iam", own).list_users)[0] == "AccessDenied"
        assert len(aws.client("iam").list_access_keys(UserName="operator")["AccessKeyMetadata"]) == 1
    with strict_aws(tmp_path) as aws:
        assert aws.client("sts", own).get_caller_identity()["Account"] == MEMBER, "it is kept over a restart"
        assert session_client(aws, "iam", member).list_users()["Users"][0]["Arn"].split(":")[4] == MEMBER


@pytest.mark.long
def test_a_role_of_another_account_checks_the_caller_and_the_external_id(tmp_path: Path) -> None:
    with strict_aws(tmp_path) as aws:
        operator = aws.user_with_key("operator", "AdministratorAccess")
        nobody = aws.user_with_key("nobody")
        deploy_role(aws, operator)
        sts = aws.client("sts", operator)
        asked = {"RoleArn": DEPLOY, "RoleSessionName": "test"}
        assert refusal(sts.assume_role, **asked)[0] == "AccessDenied"
        assert refusal(sts.assume_role, **asked, ExternalId="other")[0] == "AccessDenied"
        assert refusal(aws.client("sts", nobody).assume_role, **asked, ExternalId="team-a")[0] == "AccessDenied"
        assert refusal(aws.client("sts").assume_role, **asked, ExternalId="team-a")[0] == "AccessDenied", "root"
        deployer = assumed(aws, operator, DEPLOY, ExternalId="team-a")
        assert session_client(aws, "iam", deployer).list_users()["Users"] == []
        assert refusal(session_client(aws, "s3", deployer).list_buckets)[0] == "AccessDenied"
        refused = refusal(sts.assume_role, RoleArn=DEPLOY.replace("2", "3"), RoleSessionName="test")
        assert refused[0] == "AccessDenied", "another account has no such role"


@pytest.mark.long
def test_a_provider_assumes_roles_one_after_the_other(tmp_path: Path) -> None:
    with strict_aws(tmp_path) as aws:
        operator = aws.user_with_key("operator", "AdministratorAccess")
        deploy_role(aws, operator)
        iam = aws.client("iam")
        trust = {"Effect": "Allow", "Principal": {"AWS": f"arn:aws:iam::{MAIN}:root"}, "Action": "sts:AssumeRole"}
        hub = iam.create_role(RoleName="hub", AssumeRolePolicyDocument=json.dumps({"Statement": [trust]}))["Role"]
        iam.attach_role_policy(RoleName="hub", PolicyArn="arn:aws:iam::aws:policy/AdministratorAccess")
        deploy = {"roleArn": DEPLOY, "externalId": "team-a", "sessionName": "by-pulumi"}
        key = {"accessKey": operator.access_key_id, "secretKey": operator.secret_access_key}
        allowed = {"allowedAccountIds": json.dumps([MEMBER])}
        roles = {"assumeRoles": json.dumps([{"roleArn": hub["Arn"]}, deploy])}
        provider = serve(aws.url, ROOT, region=REGION)
        try:
            with connected(provider.port, **key, **roles, **allowed) as connection:
                caller = connection.invoke(CALLER, {})
            assert caller["arn"] == f"arn:aws:sts::{MEMBER}:assumed-role/deploy/by-pulumi"
            for wrong, message in (
                ({**key, **roles, "allowedAccountIds": json.dumps([MAIN])}, f"AWS account ID not allowed: {MEMBER}"),
                (
                    {**key, "assumeRoles": json.dumps([{"roleArn": DEPLOY}])},
                    rf"IAM Role \({DEPLOY}\) cannot be assumed",
                ),
            ):
                with pytest.raises(ProviderFaultError, match=message), connected(provider.port, **wrong):
                    pass
        finally:
            provider.stop()

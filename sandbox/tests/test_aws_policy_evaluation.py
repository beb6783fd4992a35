"""The evaluation of policy documents: each operator and element, as the IAM user guide has it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pulumi_sandbox.aws.policy_evaluation import AccessRequest, Verdict, evaluate

CONTEXT = {
    "aws:username": ("anna",),
    "aws:currenttime": ("2026-03-01T12:00:00.000Z",),
    "aws:sourceip": ("10.1.2.3",),
    "aws:tagkeys": ("Team", "Cost"),
    "s3:max-keys": ("10",),
    "aws:securetransport": ("true",),
    "aws:principalarn": ("arn:aws:iam::123456789012:user/team/anna",),
}


def verdict(*statements: dict[str, Any], action: str = "s3:GetObject", resource: str = "arn:aws:s3:::b/k") -> Verdict:
    document = json.dumps({"Version": "2012-10-17", "Statement": list(statements)})
    return evaluate([document], AccessRequest(action, resource, CONTEXT))


def allow(**more: Any) -> dict[str, Any]:
    return {"Effect": "Allow", "Action": "*", "Resource": "*", **more}


@pytest.mark.parametrize(
    ("condition", "holds"),
    [
        ({"StringEquals": {"aws:username": "anna"}}, True),
        ({"StringEquals": {"aws:username": ["bob", "anna"]}}, True),
        ({"StringEquals": {"aws:username": "Anna"}}, False),
        ({"StringEquals": {"AWS:UserName": "anna"}}, True),
        ({"StringEqualsIgnoreCase": {"aws:username": "ANNA"}}, True),
        ({"StringNotEquals": {"aws:username": "anna"}}, False),
        ({"StringNotEquals": {"aws:nothing": "x"}}, True),
        ({"StringNotEquals": {"aws:username": ["bob", "anna"]}}, False),
        ({"StringLike": {"aws:username": "a*a"}}, True),
        ({"StringLike": {"aws:username": "an?a"}}, True),
        ({"StringLike": {"aws:username": "an.a"}}, False),
        ({"StringNotLike": {"aws:username": "b*"}}, True),
        ({"NumericLessThan": {"s3:max-keys": "11"}}, True),
        ({"NumericLessThanEquals": {"s3:max-keys": 10}}, True),
        ({"NumericGreaterThan": {"s3:max-keys": "10"}}, False),
        ({"NumericEquals": {"aws:username": "10"}}, False),
        ({"NumericNotEquals": {"s3:max-keys": "10"}}, False),
        ({"DateLessThan": {"aws:CurrentTime": "2026-03-02T00:00:00Z"}}, True),
        ({"DateGreaterThan": {"aws:CurrentTime": "2026-03-02T00:00:00Z"}}, False),
        ({"Bool": {"aws:SecureTransport": "true"}}, True),
        ({"Bool": {"aws:SecureTransport": True}}, True),
        ({"Bool": {"aws:MultiFactorAuthPresent": "false"}}, False),
        ({"BoolIfExists": {"aws:MultiFactorAuthPresent": "false"}}, True),
        ({"IpAddress": {"aws:SourceIp": ["192.168.0.0/16", "10.0.0.0/8"]}}, True),
        ({"NotIpAddress": {"aws:SourceIp": "10.0.0.0/8"}}, False),
        ({"IpAddress": {"aws:SourceIp": "nonsense"}}, False),
        ({"ArnLike": {"aws:PrincipalArn": "arn:aws:iam::*:user/team/*"}}, True),
        ({"ArnNotLike": {"aws:PrincipalArn": "arn:aws:iam::*:user/team/*"}}, False),
        ({"Null": {"aws:MultiFactorAuthPresent": "true"}}, True),
        ({"Null": {"aws:username": "true"}}, False),
        ({"ForAllValues:StringEquals": {"aws:TagKeys": ["Team", "Cost", "Owner"]}}, True),
        ({"ForAllValues:StringEquals": {"aws:TagKeys": ["Team"]}}, False),
        ({"ForAnyValue:StringEquals": {"aws:TagKeys": ["Team"]}}, True),
        ({"ForAllValues:StringEquals": {"aws:nothing": ["x"]}}, True),
        ({"ForAnyValue:StringEquals": {"aws:nothing": ["x"]}}, False),
        ({"StringEquals": {"aws:username": "anna"}, "Bool": {"aws:SecureTransport": "false"}}, False),
        ({"StringEquals": {"aws:username": "anna", "aws:sourceip": "1.1.1.1"}}, False),
        ({"StringResembles": {"aws:username": "anna"}}, False),
    ],
)
def test_conditions(condition: dict[str, Any], holds: bool) -> None:
    assert verdict(allow(Condition=condition)) is (Verdict.ALLOWED if holds else Verdict.SILENT)


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        (allow(), Verdict.ALLOWED),
        (allow(Action="s3:getobject"), Verdict.ALLOWED),
        (allow(Action=["iam:*", "s3:Get*"]), Verdict.ALLOWED),
        (allow(Action="s3:Get"), Verdict.SILENT),
        (allow(Action="s3.GetObject"), Verdict.SILENT),
        (allow(Resource="arn:aws:s3:::b/*"), Verdict.ALLOWED),
        (allow(Resource="arn:aws:s3:::B/*"), Verdict.SILENT),
        (allow(Resource="arn:aws:s3:::b"), Verdict.SILENT),
        ({"Effect": "Allow", "NotAction": "iam:*", "Resource": "*"}, Verdict.ALLOWED),
        ({"Effect": "Allow", "NotAction": "s3:*", "Resource": "*"}, Verdict.SILENT),
        ({"Effect": "Allow", "Action": "*", "NotResource": "arn:aws:s3:::b/*"}, Verdict.SILENT),
        ({"Effect": "Deny", "Action": "s3:*", "Resource": "*"}, Verdict.DENIED),
    ],
)
def test_actions_and_resources(statement: dict[str, Any], expected: Verdict) -> None:
    assert verdict(statement) is expected


def test_a_deny_wins_wherever_it_stands() -> None:
    deny = {"Effect": "Deny", "Action": "s3:GetObject", "Resource": "*"}
    assert verdict(allow(), deny) is Verdict.DENIED
    assert verdict(deny, allow()) is Verdict.DENIED


def test_variables_stand_for_the_caller() -> None:
    own = allow(Resource="arn:aws:s3:::b/${aws:username}/*")
    assert verdict(own, resource="arn:aws:s3:::b/anna/file") is Verdict.ALLOWED
    assert verdict(own, resource="arn:aws:s3:::b/bob/file") is Verdict.SILENT
    default = allow(Resource="arn:aws:s3:::b/${aws:nothing, 'public'}/*")
    assert verdict(default, resource="arn:aws:s3:::b/public/file") is Verdict.ALLOWED


def test_a_single_statement_needs_no_list() -> None:
    assert evaluate([json.dumps({"Statement": allow()})], AccessRequest("s3:GetObject")) is Verdict.ALLOWED

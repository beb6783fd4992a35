"""The three accounts of docs/accounts.md, with its stack files, its trust policy and its commands."""

import csv
import json
import os
import re
import subprocess
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from io import StringIO
from typing import Any

import boto3
import pytest
import yaml

from tests.lifecycle.helpers import NewStack
from tests.lifecycle.stack import CHECKOUT, Sandbox, Stack

TEXT = (CHECKOUT / "docs" / "accounts.md").read_text()
FILES = dict(re.findall(r"`Pulumi\.(\w+)\.yaml`\n\n```yaml\n(.*?)```", TEXT, re.DOTALL))
TRUST = re.search(r"```json\n(.*?)```", TEXT, re.DOTALL)
ACCOUNTS = {"tools": "123456789012", "shop": "111111111111", "data": "222222222222"}


def client(sandbox: Sandbox, service: str, key: dict[str, str]) -> Any:
    """A client with the credentials of a session."""
    return boto3.client(
        service,
        region_name="ap-northeast-2",
        endpoint_url=sandbox.running.endpoint_url,
        aws_access_key_id=key["AccessKeyId"],
        aws_secret_access_key=key["SecretAccessKey"],
        aws_session_token=key.get("SessionToken"),
    )


@dataclass
class Estate:
    """The project with its three stacks, and the operator who runs it."""

    stacks: dict[str, Stack]
    operator: dict[str, str]

    @property
    def sandbox(self) -> Sandbox:
        return self.stacks["tools"].sandbox

    @property
    def plain(self) -> dict[str, str]:
        """For the engine itself. The sandbox's own `pulumi` copies stack files, and restores a damaged state."""
        return {"PATH": f"{self.sandbox.engine.pulumi.parent}{os.pathsep}{self.sandbox.environment['PATH']}"}

    def iam(self, name: str) -> Any:
        """IAM of a stack's account, as its administrator."""
        if name == "tools":
            return self.sandbox.client("iam")
        sts = client(self.sandbox, "sts", self.operator)
        role = f"arn:aws:iam::{ACCOUNTS[name]}:role/OrganizationAccountAccessRole"
        return client(self.sandbox, "iam", sts.assume_role(RoleArn=role, RoleSessionName="admin")["Credentials"])

    def write(self, name: str, **changes: Any) -> None:
        """Write a stack file of the document. Root, who the sandbox's default provider is, may assume no role."""
        config = yaml.safe_load(FILES[name])["config"] | changes
        if "aws:assumeRoles" in config:
            config |= {
                "aws:accessKey": self.operator["AccessKeyId"],
                "aws:secretKey": self.operator["SecretAccessKey"],
            }
        self.stacks[name].write(config)

    def access_keys(self, *arguments: str, env: Mapping[str, str] | None = None) -> "subprocess.CompletedProcess[str]":
        done = subprocess.run(
            ["access-keys", *arguments],
            cwd=self.stacks["tools"].folder,
            env=self.sandbox.environment | dict(env or {}),
            capture_output=True,
            text=True,
        )
        assert "Traceback" not in done.stderr, done.stderr
        return done

    def create_role(self, name: str) -> None:
        """Steps 1 to 4 of the document."""
        assert TRUST is not None
        trust = TRUST[1].replace("keys-of-shop", f"keys-of-{name}")
        iam = self.iam(name)
        iam.create_role(RoleName="access-keys", AssumeRolePolicyDocument=trust)
        for command in ("up", "inventory"):
            document = self.access_keys("permissions", "--stack", name, "--for", command).stdout
            made = iam.create_policy(PolicyName=f"access-keys-{command}", PolicyDocument=document)
            iam.attach_role_policy(RoleName="access-keys", PolicyArn=made["Policy"]["Arn"])


@pytest.fixture
def estate(sandbox: Sandbox, new_stack: NewStack) -> Iterator[Estate]:
    folder = new_stack().folder  # of this project, which has the three stacks besides
    iam = sandbox.client("iam")
    iam.create_user(UserName="operator")
    statement = {"Effect": "Allow", "Action": "sts:AssumeRole", "Resource": "arn:aws:iam::*:role/*"}
    document = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    iam.put_user_policy(UserName="operator", PolicyName="assume", PolicyDocument=document)
    key = iam.create_access_key(UserName="operator")["AccessKey"]
    stacks = {name: Stack(sandbox, folder, name=name, environment={"PULUMI_STACK": name}) for name in ACCOUNTS}
    made = Estate(stacks, key)
    for name in ACCOUNTS:
        made.write(name)
    with ThreadPoolExecutor() as pool:
        list(pool.map(made.create_role, ("shop", "data")))
    yield made
    for stack in stacks.values():
        stack.run("stack", "rm", "--yes", "--force", check=False)


def rows(estate: Estate, command: str) -> list[dict[str, str]]:
    done = estate.access_keys(command, "--all-stacks", "--output", "csv")
    assert done.returncode == 0, done.stderr
    return list(csv.DictReader(StringIO(done.stdout)))


@pytest.mark.long
def test_one_project_issues_keys_in_three_accounts_as_the_role_of_each(estate: Estate) -> None:
    sandbox, stacks = estate.sandbox, estate.stacks
    sandbox.control.clear_calls()
    with ThreadPoolExecutor() as pool:
        list(pool.map(Stack.up, stacks.values()))
    assert stacks["shop"].preview().changes == {}
    for name, stack in stacks.items():
        keys = stack.outputs()["keys"]
        (user,) = keys
        (in_iam,) = estate.iam(name).list_access_keys(UserName=user)["AccessKeyMetadata"]
        assert in_iam["AccessKeyId"] == keys[user]["current"]["id"]
    callers = {call.caller for call in sandbox.control.calls() if call.action in ("CreateAccessKey", "ListUsers")}
    roles = {f"arn:aws:sts::{ACCOUNTS[name]}:assumed-role/access-keys/access-keys" for name in ("shop", "data")}
    assert callers == {"arn:aws:iam::123456789012:root", *roles}, "provider and program are one caller in each account"

    listed = rows(estate, "report")
    assert {(row["stack"], row["account"], row["user"]) for row in listed} == {
        ("tools", ACCOUNTS["tools"], "backup-tool"),
        ("shop", ACCOUNTS["shop"], "shop-mailer"),
        ("data", ACCOUNTS["data"], "nightly-report"),
    }
    html = estate.access_keys("report", "--all-stacks", "--file", "keys.html")
    assert html.returncode == 0
    assert "3 access keys for 3 users, nothing overdue" in html.stderr
    page = (stacks["tools"].folder / "keys.html").read_text()
    assert all(f"<td>{name}</td>" in page for name in ACCOUNTS)
    assert all(row["lastUsedKnown"] == "True" for row in listed), "each stack's role may ask for last uses"

    document = json.loads(estate.access_keys("inventory", "--all-stacks", "--output", "json").stdout)
    found = {(row["arn"].split(":")[4], row["user"], row["stack"]) for row in document["items"] if row["role"]}
    assert {("111111111111", "shop-mailer", "shop"), ("222222222222", "nightly-report", "data")} <= found
    assert {("123456789012", "operator", None), ("123456789012", "backup-tool", "tools")} <= found
    assert [one["account"] for one in document["accounts"]] == sorted(ACCOUNTS.values()), "each account once"
    _encrypted(estate)
    _refusals(estate)


def _encrypted(estate: Estate) -> None:
    """Encrypted values of `aws:` count, too: without them, commands would ask the account of another caller."""
    secrets = {"aws:assumeRoles[0].externalId": "keys-of-data", "aws:secretKey": estate.operator["SecretAccessKey"]}
    for name, value in secrets.items():
        estate.stacks["data"].run("config", "set", "--secret", "--path", name, value)
    for command in ("report", "inventory"):
        done = estate.access_keys(command, "--stack", "data", env=estate.plain)
        assert done.returncode == 0, done.stderr
        assert f"AWS account {ACCOUNTS['data']}" in done.stdout
        assert not any(value in done.stdout + done.stderr for value in secrets.values()), "and they are not shown"


def _refusals(estate: Estate) -> None:
    """A stack whose role is refused, and one whose state is damaged, are named; the others are shown."""
    roles = yaml.safe_load(FILES["data"])["config"]["aws:assumeRoles"]
    estate.write("data", **{"aws:assumeRoles": [{**roles[0], "externalId": "another"}]})
    refused = estate.stacks["data"].up(check=False)
    assert "IAM Role (arn:aws:iam::222222222222:role/access-keys) cannot be assumed" in refused.text
    inventory = estate.access_keys("inventory", "--all-stacks")
    assert inventory.returncode == 1
    assert "AWS accounts 111111111111, 123456789012" in inventory.stdout
    assert "Stack 'data' could not be read: AWS does not answer: " in inventory.stdout
    sandbox = estate.sandbox
    states = {path: path.read_text() for path in sandbox.folder.state.glob(".pulumi/stacks/*/shop.json*")}
    try:
        for path in states:
            path.write_text("{")
        report = estate.access_keys("report", "--all-stacks", env=estate.plain)
    finally:
        for path, text in states.items():
            path.write_text(text)
    assert report.returncode == 1
    assert ", not read: shop" in report.stdout
    assert "Stack 'shop' could not be read: " in report.stdout
    assert (
        "retrieving credentials from aws:assumeRoles[0] (arn:aws:iam::222222222222:role/access-keys)" in report.stdout
    )
    assert re.search(r"backup-tool +AKIA\w+ +tools ", report.stdout), "the other stacks are shown"

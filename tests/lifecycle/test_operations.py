"""The operators' command `access-keys` on the real engine: the report, handing a key over, and rotating one."""

import csv
import json
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pysequoia
import pytest

from tests.lifecycle.helpers import keys_in_iam
from tests.lifecycle.stack import Sandbox, Stack

NewStack = Callable[..., Stack]

GROUPS = {"s3": {"policies": ["AmazonS3FullAccess"]}, "iam": {"policies": ["IAMReadOnlyAccess"]}}


def operate(stack: Stack, *arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    """`access-keys ARGUMENTS --stack STACK`, as a person in the sandbox runs it."""
    done = subprocess.run(
        ["access-keys", *arguments, *([] if "--stack" in arguments else ["--stack", stack.name])],
        cwd=stack.folder,
        env=stack.sandbox.environment | environment,
        capture_output=True,
        text=True,
    )
    assert "Traceback" not in done.stderr
    return done


def report(stack: Stack, *arguments: str, **environment: str) -> dict[str, Any]:
    """The report as JSON."""
    done = operate(stack, "report", "--output", "json", *arguments, **environment)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


class HandOver:
    """`access-keys credentials` for one stack; remembers all that it prints."""

    def __init__(self, stack: Stack, **environment: str) -> None:
        self.stack = stack
        self.environment = environment
        self.printed = ""

    def __call__(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        done = operate(self.stack, "credentials", *arguments, **self.environment)
        self.printed += done.stdout + done.stderr
        return done


def aws(stack: Stack, *arguments: str, **environment: str) -> Any:
    """What the real AWS CLI says in the sandbox, without the root key that commands have there."""
    plain = {name: value for name, value in stack.sandbox.environment.items() if not name.startswith("AWS_ACCESS_KEY")}
    done = subprocess.run(
        [str(Path(sys.executable).with_name("aws")), *arguments, "--output", "json"],
        env=plain | environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_key_that_only_a_failed_update_issued_is_not_called_unmanaged(new_stack: NewStack, sandbox: Sandbox) -> None:
    stack = new_stack()
    users = {"ann": {"groups": ["s3"]}, "bob": {"groups": ["s3"], "deliver": {"ssm": {}}}}
    config: dict[str, Any] = {"groups": GROUPS, "deliver": {"secretsManager": {}}}
    stack.write({**config, "users": users})
    stack.up()
    first = stack.key("bob")[0]
    sandbox.control.fail("PutParameter", "AccessDeniedException", times=50)
    stack.write({**config, "users": users, "keyDefaults": {"serial": 2}})
    assert stack.up(check=False).code != 0
    sandbox.control.clear_faults()
    (issued,) = keys_in_iam(sandbox, "bob").keys() - {first}
    done = operate(stack, "report")
    assert f"{issued} of bob" in done.stdout + done.stderr
    assert "run `pulumi up`" in done.stdout + done.stderr
    assert "not managed" not in done.stdout, "nobody is told to delete a key that a store may have"
    rows = json.loads(operate(stack, "report", "--output", "json").stdout)["keys"]
    assert [row["name"] for row in rows if row["id"] == issued] == ["2"], "it is judged as every other key"
    stack.up()
    assert "run `pulumi up`" not in operate(stack, "report").stdout


@pytest.mark.long
def test_the_report_shows_every_key_as_aws_has_it(new_stack: NewStack, sandbox: Sandbox) -> None:
    stack = new_stack()
    config: dict[str, Any] = {"groups": GROUPS, "users": {user: {"groups": ["s3"]} for user in ("ann", "bob")}}
    stack.write(config)
    stack.up()
    first = stack.key("ann")
    sandbox.client("s3", first, region="eu-west-1").list_buckets()
    config["users"]["ann"]["key"] = {"serial": 2}
    stack.write(config)
    stack.up()

    sandbox.control.clear_calls()
    document = report(stack)
    calls = [(call.action, call.outcome) for call in sandbox.control.calls()]
    asked = [("ListAccessKeys", "ok")] * 2 + [("GetAccessKeyLastUsed", "ok")] * 3
    asked.append(("GetAccountAuthorizationDetails", "ok"))
    assert calls == asked, "AWS is asked once for each user and each key, and once for the account"
    summary = {"users": 2, "keys": 3, "inactive": 0, "overdue": 0, "unknown": 0, "unmanaged": 0}
    assert document["summary"] == summary
    assert document["problem"] is None
    keys = {(found["user"], found["role"]): found for found in document["keys"]}
    previous = keys["ann", "previous"]
    assert previous["id"] == first[0]
    assert (previous["serial"], previous["status"]) == (1, "Active")
    assert (previous["lastUsedService"], previous["lastUsedRegion"], previous["idleDays"]) == ("s3", "eu-west-1", 0)
    assert keys["ann", "current"]["id"] == stack.key("ann")[0]
    assert keys["ann", "current"]["serial"] == 2
    assert document["account"] == "123456789012"
    assert {found["ageDays"] for found in document["keys"]} == {0}

    listed = {
        key["AccessKeyId"]: key for key in sandbox.client("iam").list_access_keys(UserName="ann")["AccessKeyMetadata"]
    }
    assert previous["created"] == listed[first[0]]["CreateDate"].strftime("%Y-%m-%dT%H:%M:%SZ"), "as AWS has it"

    other = sandbox.client("iam").create_access_key(UserName="bob")["AccessKey"]["AccessKeyId"]
    document = report(stack)
    assert document["summary"] == summary | {"keys": 4, "unmanaged": 1}
    assert [key["id"] for key in document["keys"] if key["role"] == "unmanaged"] == [other]
    assert document["foreign"] == []
    iam = sandbox.client("iam")
    iam.create_user(UserName="eve")
    iam.add_user_to_group(GroupName="s3", UserName="eve")
    iam.attach_group_policy(GroupName="iam", PolicyArn="arn:aws:iam::aws:policy/AmazonSNSFullAccess")
    iam.attach_user_policy(UserName="eve", PolicyArn="arn:aws:iam::aws:policy/AmazonSNSFullAccess")
    document = report(stack)
    assert [(one["owner"], one["what"]) for one in document["foreign"]] == [
        ("group iam", "the policy arn:aws:iam::aws:policy/AmazonSNSFullAccess"),
        ("user eve", "the membership in the group s3"),
    ], "of a foreign user, only the membership in a group of the stack"
    for one in document["foreign"]:
        command = [str(Path(sys.executable).with_name("aws")), *one["removal"].split()[1:]]
        subprocess.run(command, env=sandbox.environment, check=True)
    assert report(stack)["foreign"] == [], "the commands remove it"


@pytest.mark.long
def test_the_report_of_another_day_shows_what_is_overdue_then(new_stack: NewStack) -> None:
    today = datetime.now(timezone.utc).date()
    rotation = {"start": today.isoformat(), "everyDays": 60, "overlapDays": 7}
    stack = new_stack()
    stack.write(
        {
            "groups": GROUPS,
            "users": {
                "calm": {"groups": ["s3"], "key": {"status": "inactive"}},
                "idle": {"groups": ["s3"]},
                "rotating": {"groups": ["s3"], "key": {"rotation": rotation}},
            },
        }
    )
    stack.up()
    for days, code, overdue in (
        (40, 0, {"calm": [], "idle": [], "rotating": []}),
        (95, 3, {"calm": [], "idle": ["age", "unused"], "rotating": ["age", "unused", "rotation"]}),
    ):
        day = (today + timedelta(days=days)).isoformat()
        done = operate(stack, "report", "--output", "json", "--fail-on-overdue", ACCESS_KEYS_TODAY=day)
        assert done.returncode == code, "a scheduled check fails once something is overdue"
        keys = json.loads(done.stdout)["keys"]
        assert {key["user"]: [found["rule"] for found in key["overdue"]] for key in keys} == overdue
    strict = operate(stack, "report", "--fail-on-overdue", "--max-age-days", "30", ACCESS_KEYS_TODAY=day)
    assert "95 days old; the limit is 30" in strict.stdout
    wrong = operate(stack, "report", ACCESS_KEYS_TODAY="soon")
    assert (wrong.returncode, wrong.stdout) == (1, "")
    assert wrong.stderr.startswith("Error: ACCESS_KEYS_TODAY=soon is not a valid date. Use YYYY-MM-DD ")


@pytest.mark.long
def test_without_an_answer_of_aws_the_report_has_the_rest(new_stack: NewStack) -> None:
    stack = new_stack()
    stack.write({"groups": GROUPS, "users": {user: {"groups": ["s3"]} for user in ("ann", "bob")}})
    stack.up()
    key_id, secret = stack.key("ann")
    unable = {"AWS_ACCESS_KEY_ID": key_id, "AWS_SECRET_ACCESS_KEY": secret}
    nobody = {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}
    nowhere = {"AWS_ENDPOINT_URL": "http://127.0.0.1:9"}
    for environment, reason in ((unable, "AccessDenied: "), (nobody, "credentials"), (nowhere, "connect")):
        done = operate(stack, "report", "--fail-on-overdue", **environment)
        assert done.returncode == 0, "keys this young are in order whenever they were used"
        lines = [line for line in done.stdout.splitlines() if line.startswith("The last use of all keys is unknown: ")]
        assert len(lines) == 1, f"one line, not one per key: {done.stdout}"
        assert reason in lines[0]
        assert sum(line.startswith(("ann", "bob")) and "unknown" in line for line in done.stdout.splitlines()) == 2
        assert key_id in done.stdout
        assert secret not in done.stdout + done.stderr

    later = (datetime.now(timezone.utc) + timedelta(days=50)).date().isoformat()
    done = operate(stack, "report", "--output", "json", "--fail-on-overdue", ACCESS_KEYS_TODAY=later, **unable)
    assert done.returncode == 1, "a check that could not be made is not passed"
    assert "AccessDenied" in done.stderr, "where the report is for a program, a person is informed as well"
    assert "AccessDenied" in json.loads(done.stdout)["problem"]


@pytest.mark.long
def test_a_key_that_iam_no_longer_has_is_named_with_what_to_do(new_stack: NewStack, sandbox: Sandbox) -> None:
    stack = new_stack()
    stack.write({"groups": GROUPS, "users": {user: {"groups": ["s3"]} for user in ("ann", "bob")}})
    stack.up()
    key_id, _ = stack.key("ann")
    sandbox.client("iam").delete_access_key(UserName="ann", AccessKeyId=key_id)
    document = report(stack)
    assert document["problem"] == (
        f"The last use of {key_id} is unknown: IAM has no such key in the account of these credentials; if it is the "
        "stack's, run `pulumi refresh`."
    )
    assert [key["lastUsedKnown"] for key in document["keys"]] == [False, True]


@pytest.mark.long
def test_the_report_is_written_where_it_is_wanted(new_stack: NewStack, sandbox: Sandbox) -> None:
    stack = new_stack()
    done = operate(stack, "report")
    assert (done.returncode, done.stdout) == (1, "")
    assert (
        done.stderr
        == f"Error: Stack '{stack.name}' has no access keys yet: run `pulumi up --stack {stack.name}` first, or again "
        "if it failed.\n"
    )
    stack.write({"groups": GROUPS, "users": {"ann": {"groups": ["s3"]}}})
    stack.up()
    key_id, secret = stack.key("ann")
    done = operate(stack, "report", "--file", "keys.html")
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert done.stderr == "1 access key for 1 user, nothing overdue. The report is in keys.html\n"
    page = (stack.folder / "keys.html").read_text()
    assert page.startswith("<!DOCTYPE html>"), "the ending of the name decides"
    assert key_id in page
    assert secret not in page
    for arguments, message in (
        (("--file", "no/such/folder.html"), "Error: The report cannot be written to no/such/folder.html: "),
        (("--stack", "nope"), "Error: no stack named 'nope' found"),
    ):
        done = operate(stack, "report", *arguments)
        assert (done.returncode, done.stdout) == (1, "")
        assert message in done.stderr
    for command in (["pulumi", "stack", "select", stack.name], ["access-keys", "report"]):
        selected = subprocess.run(command, cwd=stack.folder, env=sandbox.environment, capture_output=True, text=True)
    assert f"Access keys of stack {stack.name}, AWS account 123456789012, on " in selected.stdout


@pytest.mark.long
def test_two_hundred_users_with_two_keys_each_are_reported_in_seconds(new_stack: NewStack, sandbox: Sandbox) -> None:
    stack = new_stack()
    stack.write({"groups": GROUPS, "users": {"ann": {"groups": ["s3"]}}})
    stack.up()
    iam = sandbox.client("iam")

    def make(number: int) -> tuple[str, dict[str, Any]]:
        """A user with two keys in AWS, and what the program would register of them."""
        user = f"user-{number:03}"
        iam.create_user(UserName=user)
        keys = [iam.create_access_key(UserName=user)["AccessKey"] for _ in "ab"]
        facts = [
            {"id": key["AccessKeyId"], "serial": 2 - index, "name": str(2 - index), "status": key["Status"]}
            | {"created": key["CreateDate"].strftime("%Y-%m-%dT%H:%M:%SZ")}
            for index, key in enumerate(keys)
        ]
        return user, {"current": facts[0], "previous": facts[1]}

    with ThreadPoolExecutor(4) as pool:
        made = dict(pool.map(make, range(200)))
    state = json.loads(stack.run("stack", "export").text)
    component = next(found for found in state["deployment"]["resources"] if found["urn"].endswith("Access::access"))
    component["outputs"]["keys"] |= made
    (stack.folder / "state.json").write_text(json.dumps(state))
    stack.run("stack", "import", "--file", "state.json")

    began = time.monotonic()
    document = report(stack)
    took = time.monotonic() - began
    assert document["summary"]["keys"] == 401
    assert document["problem"] is None
    assert all(found["lastUsedKnown"] for found in document["keys"]), "AWS was asked for each of them"
    assert took < 15, f"it took {took:.1f} seconds"

    sandbox.control.change_faults(throttle=100)
    document = report(stack)
    assert document["problem"] is None, "an AWS that throttles is asked more slowly"
    assert all(found["lastUsedKnown"] for found in document["keys"])


@pytest.mark.long
def test_a_profile_is_written_that_the_real_aws_cli_works_with(new_stack: NewStack, tmp_path: Path) -> None:
    stack = new_stack()
    users: dict[str, Any] = {"ann": {"groups": ["s3"]}, "bob": {"groups": ["s3"]}}
    stack.write({"groups": GROUPS, "users": users})
    stack.up()
    file = tmp_path / "home" / "credentials"
    place = {"AWS_SHARED_CREDENTIALS_FILE": str(file)}
    hand_over = HandOver(stack, **place)
    assert hand_over("ann").returncode == 0, hand_over.printed
    file.write_text("# mine\n[other]\nregion = eu-west-1\n\n" + file.read_text())
    assert hand_over("bob", "--profile", "robot").returncode == 0, hand_over.printed
    for profile, user in (("ann", "ann"), ("robot", "bob")):
        identity = aws(stack, "sts", "get-caller-identity", "--profile", profile, **place)
        assert identity["Arn"] == f"arn:aws:iam::123456789012:user/{user}"
    before = file.read_text()
    old = stack.key("ann")

    users["ann"]["key"] = {"serial": 2, "previous": "deleted"}
    stack.write({"groups": GROUPS, "users": users})
    stack.up()
    new = stack.key("ann")
    done = hand_over("ann")
    assert done.returncode == 1, "the old key is deleted, so the stack does not know it any more"
    assert f"its profile 'ann' has the access key {old[0]}, which stack '{stack.name}' does not know" in done.stderr
    done = hand_over("ann", "--force")
    assert f"Updated profile 'ann' in {file}" in done.stdout
    assert f"replaced {old[0]}" in done.stdout
    assert file.read_text() == before.replace(old[0], new[0]).replace(old[1], new[1]), "nothing else changed"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    [backup] = (path for path in file.parent.iterdir() if path != file)
    assert (backup.read_text(), stat.S_IMODE(backup.stat().st_mode)) == (before, 0o600)
    assert "\nNext: aws sts get-caller-identity --profile ann --region ap-northeast-2\n" in done.stdout

    users["ann"]["key"] = {"serial": 3}
    stack.write({"groups": GROUPS, "users": users})
    stack.up()
    newest = stack.key("ann")[0]
    stack.sandbox.client("iam").update_access_key(UserName="ann", AccessKeyId=newest, Status="Inactive")
    done = hand_over("ann")
    assert done.returncode == 1, "the state does not know it, but IAM does"
    assert f"ann's current key {newest} is inactive or gone" in done.stderr
    assert new[0] in file.read_text(), "the profile keeps the key that works"
    aws(stack, "s3api", "list-buckets", "--profile", "ann", "--region", "ap-northeast-2", **place)
    for secret in (old[1], new[1], stack.key("bob")[1]):
        assert secret not in hand_over.printed, "no secret is shown"


@pytest.mark.long
def test_in_the_sandbox_a_profile_goes_into_the_sandboxs_own_file(new_stack: NewStack, tmp_path: Path) -> None:
    stack = new_stack()
    stack.write({"groups": GROUPS, "users": {"ann": {"groups": ["s3"]}}})
    stack.up()
    done = HandOver(stack, HOME=str(tmp_path))("ann")
    assert f"Created profile 'ann' in {stack.sandbox.folder.aws / 'credentials'}" in done.stdout
    assert not (tmp_path / ".aws").exists()
    assert aws(stack, "sts", "get-caller-identity", "--profile", "ann")["Arn"].endswith(":user/ann")


@pytest.mark.long
def test_a_csv_is_written_as_aws_configure_import_takes_it(new_stack: NewStack, sandbox: Sandbox) -> None:
    """AWS CLI 2, which alone has `aws configure import`, splits lines at commas and compares headers in lower case."""
    stack = new_stack()
    stack.write({"groups": GROUPS, "users": {"ann": {"groups": ["s3"]}}})
    stack.up()
    hand_over = HandOver(stack)
    assert hand_over("ann", "--csv", "ann.csv").returncode == 0, hand_over.printed
    file = stack.folder / "ann.csv"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    header, *rows = (line.split(",") for line in file.read_text().splitlines())
    assert [name.lower() for name in header] == ["user name", "access key id", "secret access key"]
    assert [header, *rows] == list(csv.reader(file.read_text().splitlines())), "with or without quotes the same"
    [(user, key_id, secret)] = rows
    assert user == "ann"
    assert sandbox.client("sts", (key_id, secret)).get_caller_identity()["Arn"].endswith(":user/ann")
    again = hand_over("ann", "--csv", "ann.csv")
    assert again.returncode == 1
    assert "ann.csv exists" in again.stderr
    assert secret not in hand_over.printed


@pytest.mark.long
def test_a_key_that_cannot_be_handed_over_is_refused_with_advice(new_stack: NewStack, tmp_path: Path) -> None:
    stack = new_stack()
    hand_over = HandOver(stack, AWS_SHARED_CREDENTIALS_FILE=str(tmp_path / "credentials"))
    assert "has no outputs: run" in hand_over("ann").stderr
    pgp: Any = pysequoia.Tsk.generate("ann <ann@example.org>").extract_certificate()
    stack.write(
        {
            "groups": GROUPS,
            "users": {
                "ann": {"groups": ["s3"], "key": {"pgpKey": str(pgp)}},
                "bob": {"groups": ["s3"], "key": {"status": "inactive"}},
            },
        }
    )
    stack.up()
    for arguments, message in (
        (("ann",), f"encrypted to the PGP key {pgp.fingerprint}"),
        (("bop",), "has no user 'bop'. Its users: ann, bob. Did you mean 'bob'?"),
        (("bob", "--profile", "a]"), "'a]' is not a valid profile name"),
    ):
        done = hand_over(*arguments)
        assert (done.returncode, done.stdout) == (1, ""), f"{arguments} is refused"
        assert message.lower() in done.stderr.lower()
    assert not (tmp_path / "credentials").exists(), "nothing is written"
    assert "the key is inactive" in hand_over("bob").stdout
    assert stack.key("bob")[1] not in hand_over.printed


@pytest.mark.long
def test_a_rotation_is_requested_in_the_stack_file_and_the_next_update_issues_the_key(new_stack: NewStack) -> None:
    stack = new_stack()
    stack.write({"groups": GROUPS, "users": {user: {"groups": ["s3"]} for user in ("ann", "b.c@d")}})
    stack.file.write_text(stack.file.read_text().replace("    b.c@d:\n", "\n    b.c@d: # the robot\n"))
    stack.up()
    old, other = stack.key("b.c@d"), stack.key("ann")
    before = stack.file.read_text()
    done = operate(stack, "rotate", "b.c@d")
    assert done.returncode == 0, done.stderr
    assert "+      key: {serial: 2}" in done.stdout
    assert done.stdout.endswith(f"Next: pulumi up --stack {stack.name}\n")
    header = "    b.c@d: # the robot\n"
    assert stack.file.read_text() == before.replace(header, f"{header}      key: {{serial: 2}}\n")
    stack.up()
    assert stack.key("b.c@d")[0] != old[0]
    assert stack.key("ann") == other
    again = json.loads(operate(stack, "rotate", "b.c@d", "--dry-run", "--output", "json").stdout)
    assert (again["oldSerial"], again["newSerial"], again["changed"]) == (2, 3, False)
    assert old[0] in again["warnings"][0], "its previous key gives way"
    assert "Did you mean 'ann'?" in operate(stack, "rotate", "an").stderr

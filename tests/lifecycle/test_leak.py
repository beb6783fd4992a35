"""The leak drill: after `access-keys leak`, neither the key nor a session that it made opens S3."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import boto3
import pytest
import yaml
from aws_access_keys.rules.leak import deny_name
from botocore.config import Config
from botocore.exceptions import ClientError

from tests.lifecycle.helpers import NewStack, config, keys_in_iam, works
from tests.lifecycle.stack import Sandbox, Stack

ACCESS_KEYS = Path(sys.executable).with_name("access-keys")
ALLOW = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": ["s3:*", "sts:*"], "Resource": "*"}]}
TRUST = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": "sts:AssumeRole"}],
}


def leak(sandbox: Sandbox, folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """`access-keys leak ARGUMENTS` in a folder, as the account's root."""
    return subprocess.run(
        [ACCESS_KEYS, "leak", *arguments], cwd=folder, env=sandbox.environment, capture_output=True, text=True
    )


class Session:
    """Temporary credentials, as STS gives them."""

    def __init__(self, sandbox: Sandbox, answer: dict[str, Any]) -> None:
        self.sandbox, self.made = sandbox, answer["Credentials"]

    @property
    def id(self) -> str:
        return self.made["AccessKeyId"]

    def client(self, service: str) -> Any:
        return boto3.client(
            service,
            region_name="ap-northeast-2",
            endpoint_url=self.sandbox.running.endpoint_url,
            aws_access_key_id=self.id,
            aws_secret_access_key=self.made["SecretAccessKey"],
            aws_session_token=self.made["SessionToken"],
            config=Config(s3={"addressing_style": "path"}, retries={"total_max_attempts": 1}, proxies={}),
        )

    def opens_s3(self) -> bool:
        try:
            self.client("s3").list_buckets()
        except ClientError as error:
            if error.response["Error"]["Code"] != "AccessDenied":
                raise
            return False
        return True


def sessions_of(sandbox: Sandbox, key: tuple[str, str]) -> list[Session]:
    """A session of each kind that a user's key makes, and not of a role."""
    sts = sandbox.client("sts", key)
    return [
        Session(sandbox, sts.get_session_token()),
        Session(sandbox, sts.get_federation_token(Name="eve", Policy=json.dumps(ALLOW))),
    ]


@pytest.fixture
def stack(new_stack: NewStack, sandbox: Sandbox) -> Stack:
    """A stack with one user, who may use S3 and STS."""
    made = new_stack()
    made.write({**config(previous="active"), "groups": {"test": {"inline": {"own": ALLOW}}}})
    made.up()
    return made


def test_after_it_neither_key_nor_session_opens_s3_and_no_update_revives_them(sandbox: Sandbox, stack: Stack) -> None:
    key = stack.key("test-user")
    iam = sandbox.client("iam")
    iam.create_role(RoleName="deploy", AssumeRolePolicyDocument=json.dumps(TRUST))
    iam.put_role_policy(RoleName="deploy", PolicyName="own", PolicyDocument=json.dumps(ALLOW))
    role = "arn:aws:iam::123456789012:role/deploy"
    sessions = sessions_of(sandbox, key)
    assumed = Session(sandbox, sessions[0].client("sts").assume_role(RoleArn=role, RoleSessionName="by-session"))
    assert works(sandbox, key)
    assert all(session.opens_s3() for session in [*sessions, assumed])
    text = stack.file.read_text()
    dry = leak(sandbox, stack.folder, key[0], "--new-key", "--dry-run")
    assert dry.returncode == 0, dry.stdout + dry.stderr
    assert works(sandbox, key), "a dry run changes nothing"
    assert stack.file.read_text() == text

    done = leak(sandbox, stack.folder, key[0], "--new-key")
    print(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr
    assert not works(sandbox, key)
    assert [session.opens_s3() for session in sessions] == [False, False]
    command = next(line.strip() for line in done.stdout.splitlines() if "put-role-policy" in line)
    assert assumed.opens_s3(), "a role's session is not the user's"
    document = command.partition("--policy-document ")[2].strip("'")
    iam.put_role_policy(RoleName="deploy", PolicyName="AWSRevokeOlderSessions", PolicyDocument=document)
    assert not assumed.opens_s3(), "the command that is printed revokes it"

    hint = leak(sandbox, stack.folder, key[0], "--undo", "--dry-run").stdout
    assert f"It has serial: 2, previous: inactive, with which `pulumi up --stack {stack.name}` replaces" in hint
    assert f"Undo: in the key of test-user in {stack.file.name}: remove serial, set previous to active" in done.stdout
    settings = yaml.safe_load(stack.file.read_text())["config"]["aws-access-keys:users"]["test-user"]["key"]
    assert settings == {"serial": 2, "previous": "inactive"}
    stack.up()
    assert keys_in_iam(sandbox)[key[0]] == "Inactive"
    assert works(sandbox, stack.key("test-user")), "the new key works, the deny is about sessions only"
    hint = leak(sandbox, stack.folder, key[0], "--undo", "--dry-run").stdout
    assert "It has previous: inactive, with which" in hint
    assert "Set previous to active, and keep the serial" in hint, "the file as it was would ask for the former key"
    assert not works(sandbox, key)
    assert stack.up().changes == {}


def deny(sandbox: Sandbox, user: str) -> list[str]:
    """The keys on account of which a user's sessions are denied."""
    begin = "AccessKeysLeakDeny-"
    names = sandbox.client("iam").list_user_policies(UserName=user)["PolicyNames"]
    return [name.removeprefix(begin) for name in names if name.startswith(begin)]


@pytest.fixture
def ann(sandbox: Sandbox, tmp_path: Path) -> Iterator[tuple[str, str]]:
    """The key of a user that no stack has ever seen."""
    iam = sandbox.client("iam")
    iam.create_user(UserName="ann")
    iam.put_user_policy(UserName="ann", PolicyName="own", PolicyDocument=json.dumps(ALLOW))
    key = iam.create_access_key(UserName="ann")["AccessKey"]
    yield key["AccessKeyId"], key["SecretAccessKey"]
    sandbox.control.clear_faults()
    sandbox.control.reset()


@pytest.mark.long
def test_it_works_with_no_stack_can_be_run_again_and_undone(
    sandbox: Sandbox, ann: tuple[str, str], tmp_path: Path
) -> None:
    sessions = sessions_of(sandbox, ann)
    done = leak(sandbox, tmp_path, ann[0], "--new-key")
    assert done.returncode == 0, done.stdout + done.stderr
    assert not works(sandbox, ann)
    assert not any(session.opens_s3() for session in sessions)
    assert "aws iam create-access-key --user-name ann" in done.stdout, "it never prints a secret itself"
    before = sandbox.client("iam").get_user_policy(UserName="ann", PolicyName=f"AccessKeysLeakDeny-{ann[0]}")
    again = leak(sandbox, tmp_path, ann[0], "--output", "json")
    assert [step["status"] for step in json.loads(again.stdout)["steps"]] == ["already done", "already done"]
    after = sandbox.client("iam").get_user_policy(UserName="ann", PolicyName=f"AccessKeysLeakDeny-{ann[0]}")
    assert after["PolicyDocument"] == before["PolicyDocument"], "the time of a deny stays while the key is off"

    other = sandbox.client("iam").create_access_key(UserName="ann")["AccessKey"]["AccessKeyId"]
    leak(sandbox, tmp_path, other)
    assert sorted(deny(sandbox, "ann")) == sorted([ann[0], other])
    undone = leak(sandbox, tmp_path, other, "--undo")
    assert undone.returncode == 0, undone.stdout + undone.stderr
    assert deny(sandbox, "ann") == [ann[0]], "one leak is undone without the other"
    assert keys_in_iam(sandbox, "ann") == {ann[0]: "Inactive", other: "Active"}
    leak(sandbox, tmp_path, ann[0], "--undo")
    assert deny(sandbox, "ann") == []
    assert works(sandbox, ann)
    assert all(session.opens_s3() for session in sessions)
    again = leak(sandbox, tmp_path, ann[0], "--undo", "--output", "json")
    assert [step["status"] for step in json.loads(again.stdout)["steps"]] == ["already done", "already done"]


@pytest.mark.parametrize(
    "output", ["> /dev/full", *(pytest.param(one, marks=pytest.mark.long) for one in ("| head -0", "| head -1"))]
)
def test_the_key_is_stopped_even_if_the_output_cannot_be_written(
    sandbox: Sandbox, ann: tuple[str, str], tmp_path: Path, output: str
) -> None:
    command = f"'{ACCESS_KEYS}' leak {ann[0]} {output}; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(
        ["bash", "-c", command], cwd=tmp_path, env=sandbox.environment, capture_output=True, text=True
    )
    assert keys_in_iam(sandbox, "ann") == {ann[0]: "Inactive"}
    assert deny(sandbox, "ann") == [ann[0]], "the sessions are denied, too"
    is_full = "full" in output
    error = "Error: the output cannot be written: No space left on device\n" if is_full else ""
    assert (done.returncode, done.stderr) == (1, error)


@pytest.mark.long
def test_a_key_that_a_program_has_without_the_component_is_named_with_what_would_activate_it(
    new_stack: NewStack, sandbox: Sandbox, ann: tuple[str, str]
) -> None:
    stack = new_stack()
    stack.write(config())
    stack.run(
        "import", "aws:iam/accessKey:AccessKey", "old", ann[0], "--yes", "--protect=false", "--generate-code=false"
    )
    done = leak(sandbox, stack.folder, ann[0], "--stack", stack.name)
    assert not works(sandbox, ann)
    told = f"Stack {stack.name} has the key outside ProgrammaticAccess, as urn:pulumi:{stack.name}::"
    assert told in done.stdout
    assert "Set its status to Inactive in the program" in done.stdout
    assert done.returncode == 1, "there is something left to do"
    assert "Set its status to Active in the program" in leak(sandbox, stack.folder, ann[0], "--undo").stdout


@pytest.mark.long
def test_undo_activates_no_key_that_was_inactive_before(sandbox: Sandbox, ann: tuple[str, str], tmp_path: Path) -> None:
    sandbox.client("iam").update_access_key(UserName="ann", AccessKeyId=ann[0], Status="Inactive")
    leak(sandbox, tmp_path, ann[0])
    assert deny(sandbox, "ann") == [ann[0]]
    undone = leak(sandbox, tmp_path, ann[0], "--undo")
    assert undone.returncode == 0, undone.stdout + undone.stderr
    assert "the key was inactive when its sessions were denied, and stays so" in undone.stdout
    assert f"To activate it: aws iam update-access-key --user-name ann --access-key-id {ann[0]}" in undone.stdout
    assert (deny(sandbox, "ann"), keys_in_iam(sandbox, "ann")) == ([], {ann[0]: "Inactive"})


@pytest.mark.long
def test_an_undo_that_cannot_activate_the_key_keeps_the_record_for_the_next_one(
    sandbox: Sandbox, ann: tuple[str, str], tmp_path: Path
) -> None:
    leak(sandbox, tmp_path, ann[0])
    sandbox.control.fail("iam:UpdateAccessKey", "AccessDenied", times=50)
    failed = leak(sandbox, tmp_path, ann[0], "--undo", "--output", "json")
    sandbox.control.clear_faults()
    assert failed.returncode == 1
    assert [step["status"] for step in json.loads(failed.stdout)["steps"]] == ["FAILED", "not done"]
    assert deny(sandbox, "ann") == [ann[0]]
    assert leak(sandbox, tmp_path, ann[0], "--undo").returncode == 0
    assert (deny(sandbox, "ann"), keys_in_iam(sandbox, "ann")) == ([], {ann[0]: "Active"})


@pytest.mark.long
def test_no_setting_activates_a_leaked_key(sandbox: Sandbox, stack: Stack) -> None:
    key = stack.key("test-user")
    leak(sandbox, stack.folder, key[0])
    stack.refresh()
    stack.write({**config(status="active"), "groups": {"test": {"inline": {"own": ALLOW}}}})
    refused = stack.up(check=False)
    assert refused.code != 0
    assert "`access-keys leak` recorded that it has leaked. If that was a false alarm, run" in refused.text
    assert keys_in_iam(sandbox) == {key[0]: "Inactive"}
    leak(sandbox, stack.folder, key[0], "--undo")
    stack.refresh()
    stack.up()
    assert works(sandbox, key)


@pytest.mark.long
@pytest.mark.parametrize(
    ("at", "says", "status"),
    [
        ("GetUserPolicy", "is not activated: `access-keys leak` recorded during this run", "Inactive"),
        (
            "UpdateAccessKey",
            "was activated at the moment when `access-keys leak` recorded that it has leaked",
            "Active",
        ),
    ],
)
def test_an_update_under_way_that_is_to_activate_a_key_fails_if_it_leaks_meanwhile(
    sandbox: Sandbox, stack: Stack, at: str, says: str, status: str
) -> None:
    stack.write(config(status="inactive"))
    stack.up()
    (key,) = keys_in_iam(sandbox, "test-user")
    stack.write(config(status="active"))
    sandbox.control.clear_calls()
    sandbox.control.fail("iam:UpdateAccessKey", "Throttling", times=2)  # the provider tries again
    sandbox.control.change_faults(latency=0.5)
    update = stack.start("up", "--yes", "--skip-preview")
    while at not in {call.action for call in sandbox.control.calls()}:
        assert update.poll() is None, update.communicate()
        time.sleep(0.02)
    # Nobody has found a record yet; this is the one that `leak` makes.
    record = {"UserName": "test-user", "PolicyName": deny_name(key), "PolicyDocument": json.dumps(ALLOW)}
    sandbox.client("iam").put_user_policy(**record)
    text = "".join(update.communicate())
    assert update.returncode != 0
    assert f"the access key {key} of test-user {says}" in text
    assert keys_in_iam(sandbox, "test-user") == {key: status}
    leak(sandbox, stack.folder, key)
    stack.refresh()
    stack.up()
    assert keys_in_iam(sandbox, "test-user") == {key: "Inactive"}


@pytest.mark.long
def test_a_key_that_something_activates_in_the_meantime_is_named(
    sandbox: Sandbox, ann: tuple[str, str], tmp_path: Path
) -> None:
    sandbox.control.clear_calls()
    sandbox.control.change_faults(latency=0.5)
    with ThreadPoolExecutor() as pool:
        answer = pool.submit(leak, sandbox, tmp_path, ann[0])
        while "PutUserPolicy" not in {call.action for call in sandbox.control.calls()}:
            time.sleep(0.02)
        sandbox.client("iam").update_access_key(UserName="ann", AccessKeyId=ann[0], Status="Active")
    done = answer.result()
    assert done.returncode == 1
    assert "Problem: The key is active again: an update may have been running. Run this command again." in done.stdout
    sandbox.control.clear_faults()
    assert leak(sandbox, tmp_path, ann[0]).returncode == 0
    assert keys_in_iam(sandbox, "ann") == {ann[0]: "Inactive"}


@pytest.mark.long
def test_a_leaked_current_key_does_not_cost_the_previous_one(sandbox: Sandbox, stack: Stack) -> None:
    previous = stack.key("test-user")
    groups = {"test": {"inline": {"own": ALLOW}}}
    stack.write({**config(serial=2), "groups": groups})
    stack.up()
    current = stack.key("test-user")
    leak(sandbox, stack.folder, current[0])
    stack.write({**config(serial=2, status="active"), "groups": groups})
    refused = stack.up("--refresh", check=False)
    assert "Run `pulumi refresh`, then `pulumi up` without --refresh" in refused.text, "its plan knows the old state"
    assert keys_in_iam(sandbox) == {previous[0]: "Active", current[0]: "Inactive"}
    stack.refresh()
    stack.write({**config(serial=2, status="active", previous="deleted"), "groups": groups})
    refused = stack.up(check=False)
    assert refused.code != 0
    assert works(sandbox, previous), "the only key that works is not deleted"
    assert keys_in_iam(sandbox)[current[0]] == "Inactive"


@pytest.mark.long
@pytest.mark.parametrize("is_recorded", [True, False])
@pytest.mark.parametrize("status", ["active", "inactive"])
def test_a_new_key_in_place_of_a_leaked_one_leaves_the_previous_one_alone(
    sandbox: Sandbox, stack: Stack, is_recorded: bool, status: str
) -> None:
    first = stack.key("test-user")
    settings: dict[str, Any] = {**config(serial=2, status="active"), "groups": {"test": {"inline": {"own": ALLOW}}}}
    stack.write(settings)
    stack.up()
    leaked = stack.key("test-user")
    settings["users"]["test-user"]["key"]["status"] = status
    stack.write(settings)
    if not is_recorded:
        sandbox.control.fail("PutUserPolicy", "AccessDenied", times=9)
    done = leak(sandbox, stack.folder, leaked[0], "--new-key")
    sandbox.control.clear_faults()
    assert (done.returncode == 0) is is_recorded
    assert f"The previous key, {first[0]}, works." in done.stdout
    for _ in range(2):
        refused = stack.up(check=False)
        assert "but the newer key" in refused.text
        assert keys_in_iam(sandbox) == {first[0]: "Active", leaked[0]: "Inactive"}
        stack.refresh()
    sandbox.client("iam").delete_access_key(UserName="test-user", AccessKeyId=leaked[0])
    stack.refresh()
    stack.up()
    assert works(sandbox, first)
    assert works(sandbox, stack.key("test-user"))


@pytest.mark.long
def test_the_record_of_one_leaked_key_outlives_the_leak_of_another(
    sandbox: Sandbox, ann: tuple[str, str], tmp_path: Path
) -> None:
    other = sandbox.client("iam").create_access_key(UserName="ann")["AccessKey"]["AccessKeyId"]
    leak(sandbox, tmp_path, ann[0])
    sandbox.control.fail("iam:GetUserPolicy", "AccessDenied", times=50)
    leak(sandbox, tmp_path, other)
    sandbox.control.clear_faults()
    assert sorted(deny(sandbox, "ann")) == sorted([ann[0], other])


@pytest.mark.long
@pytest.mark.parametrize("action", ["PutUserPolicy", "GetAccessKeyInfo", "UpdateAccessKey", "LookupEvents"])
def test_killed_at_any_step_and_run_again_it_ends_the_same(sandbox: Sandbox, stack: Stack, action: str) -> None:
    key = stack.key("test-user")
    sessions = sessions_of(sandbox, key)
    sandbox.control.hold(action)
    command = [ACCESS_KEYS, "leak", key[0], "--new-key", "--stack", stack.name]
    running = subprocess.Popen(command, cwd=stack.folder, env=sandbox.environment, stdout=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 30
        while not sandbox.control.held():
            assert running.poll() is None, "it is under way when it is killed"
            assert time.monotonic() < deadline, f"{action} is called within 30 seconds"
            time.sleep(0.05)
    finally:
        running.kill()
        running.wait()
    sandbox.control.clear_faults()
    done = leak(sandbox, stack.folder, key[0], "--new-key", "--stack", stack.name)
    assert done.returncode == 0, done.stdout + done.stderr
    assert not works(sandbox, key)
    assert not any(session.opens_s3() for session in sessions)
    assert deny(sandbox, "test-user") == [key[0]]
    users = yaml.safe_load(stack.file.read_text())["config"]["aws-access-keys:users"]
    assert users["test-user"]["key"] == {"serial": 2, "previous": "inactive"}
    assert keys_in_iam(sandbox) == {key[0]: "Inactive"}


def test_a_quarantine_of_awss_is_named_with_the_command_that_ends_it(
    sandbox: Sandbox, ann: tuple[str, str], tmp_path: Path
) -> None:
    arn = "arn:aws:iam::aws:policy/AWSCompromisedKeyQuarantineV3"
    sandbox.client("iam").attach_user_policy(UserName="ann", PolicyArn=arn)
    done = leak(sandbox, tmp_path, ann[0], "--dry-run")
    assert f"aws iam detach-user-policy --user-name ann --policy-arn {arn}" in done.stdout


def test_what_it_cannot_do_is_named_and_the_rest_is_done(
    sandbox: Sandbox, ann: tuple[str, str], tmp_path: Path
) -> None:
    iam = sandbox.client("iam")
    iam.create_user(UserName="the-responder")
    key = iam.create_access_key(UserName="the-responder")["AccessKey"]
    allowed = ["iam:GetAccessKeyLastUsed", "iam:ListAccessKeys", "iam:UpdateAccessKey", "iam:GetUserPolicy"]
    statement = {"Effect": "Allow", "Action": allowed, "Resource": "*"}
    document = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    iam.put_user_policy(UserName="the-responder", PolicyName="own", PolicyDocument=document)
    credentials = {"AWS_ACCESS_KEY_ID": key["AccessKeyId"], "AWS_SECRET_ACCESS_KEY": key["SecretAccessKey"]}
    done = subprocess.run(
        [ACCESS_KEYS, "leak", ann[0]],
        cwd=tmp_path,
        env={**sandbox.environment, **credentials},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert not works(sandbox, ann), "the key is off, whatever else failed"
    for permission in ("PutUserPolicy", "GetAccessKeyInfo", "ListAttachedUserPolicies", "LookupEvents"):
        assert permission in done.stdout, done.stdout
    command = next(line for line in done.stdout.splitlines() if "aws iam put-user-policy" in line)
    printed = command.partition("--policy-document ")[2].partition("}'")[0].lstrip("'") + "}"
    assert json.loads(printed)["Statement"][0]["Sid"] == "LeakOfActiveKey"
    assert "Traceback" not in done.stdout + done.stderr


@pytest.mark.long
def test_keys_that_it_cannot_stop_are_named_with_what_to_do(
    sandbox: Sandbox, ann: tuple[str, str], tmp_path: Path
) -> None:
    root = sandbox.secrets.root_access_key_id
    cases = {
        "ASIAY34FZKBOKMUTVV7A": "cannot be switched off one by one",
        "AKIAY34FZKBOKMUTVV7A": "belongs to the AWS account 609629065308",
        f"{ann[0][:-4]}ZZZZ": "sign in as the root user",
        root: "is the key that this command would use itself",
        "AIDAY34FZKBOKMUTVV7A": "is not an access key id",
    }
    sandbox.control.clear_calls()
    for key_id, text in cases.items():
        done = leak(sandbox, tmp_path, key_id)
        assert done.returncode == 1
        assert text in done.stdout + done.stderr, done.stdout + done.stderr
        assert "Traceback" not in done.stderr
    named = leak(sandbox, tmp_path, ann[0], "--user", "eve")
    assert "does not have the access key" in named.stderr, named.stdout + named.stderr
    called = {call.action for call in sandbox.control.calls()}
    reading = {"GetCallerIdentity", "GetAccessKeyInfo", "GetAccessKeyLastUsed", "GetAccountSummary", "ListAccessKeys"}
    assert called <= reading, "nothing is changed"


@pytest.mark.long
def test_who_uses_the_keys_of_a_user_is_reported(sandbox: Sandbox, stack: Stack) -> None:
    key = stack.key("test-user")
    sandbox.client("sts", key).get_caller_identity()
    sandbox.client("s3", key, region="eu-west-1").list_buckets()
    for named in ("test-user", key[0]):
        done = subprocess.run(
            [ACCESS_KEYS, "report", "--stack", stack.name, "--who", named, "--output", "json"],
            cwd=stack.folder,
            env=sandbox.environment,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        document = json.loads(done.stdout)
        assert document["regions"] == ["us-east-1", "ap-northeast-2"]
        (found,) = document["keys"]
        assert found["id"] == key[0]
        assert [action["name"] for action in found["actions"]] == ["GetCallerIdentity"]
        assert found["sources"][0]["address"] == "127.0.0.1"
    more = subprocess.run(
        [ACCESS_KEYS, "report", "--stack", stack.name, "--who", "test-user", "--regions", "eu-west-1"],
        cwd=stack.folder,
        env=sandbox.environment,
        capture_output=True,
        text=True,
    )
    assert "s3:ListBuckets" in more.stdout
    assert "data events" in more.stdout


@pytest.mark.long
def test_where_there_is_no_room_for_the_deny_another_way_is_named(
    sandbox: Sandbox, ann: tuple[str, str], tmp_path: Path
) -> None:
    padding = [
        {"Effect": "Allow", "Action": "s3:ListBucket", "Resource": f"arn:aws:s3:::{'x' * 68}{n}"} for n in range(13)
    ]
    full = json.dumps({"Version": "2012-10-17", "Statement": padding}, separators=(",", ":"))
    sandbox.client("iam").put_user_policy(UserName="ann", PolicyName="padding", PolicyDocument=full)
    done = leak(sandbox, tmp_path, ann[0])
    assert done.returncode == 1
    assert not works(sandbox, ann)
    assert "attach-user-policy --user-name ann --policy-arn arn:aws:iam::aws:policy/AWSDenyAll" in done.stdout

"""`credential_process`: profiles that hold a command and no secret, used by the AWS CLI and boto3 through rotations."""

import json
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.lifecycle.helpers import NewStack, config, keys_in_iam
from tests.lifecycle.stack import Sandbox, Stack

BIN = Path(sys.executable).parent
SOURCES = ("stack", "secretsManager", "ssm")
STORES = {
    "deliver": {
        "secretsManager": {"fields": {"id": "username", "secret": "password"}},
        "ssm": {"fields": {"id": "key"}},
    }
}


def consumer(stack: Stack, folder: Path, minutes: int = 30) -> dict[str, str]:
    """The environment of a consumer with a profile for each source, all without a secret."""
    lines: list[str] = []
    for source in SOURCES:
        command = f"{BIN}/access-keys credentials test-user --process --from {source} --minutes {minutes}"
        where = f"cd {stack.folder} && {command} --stack {stack.name}" if source == "stack" else command
        run = f'sh -c "{where}"' if source == "stack" else f"{command} --region ap-northeast-2"
        lines += [f"[profile {source}]", "region = ap-northeast-2", f"credential_process = {run}"]
    (folder / "config").write_text("\n".join(lines) + "\n")
    return {**stack.sandbox.environment, **stack.environment, "AWS_CONFIG_FILE": str(folder / "config")}


def list_buckets(environment: Mapping[str, str], profile: str) -> "subprocess.CompletedProcess[str]":
    """The AWS CLI with a profile, which is also the one in the environment."""
    command = [BIN / "aws", "s3api", "list-buckets", "--profile", profile]
    return subprocess.run(command, env={**environment, "AWS_PROFILE": profile}, capture_output=True, text=True)


@pytest.mark.long
def test_the_aws_cli_follows_a_rotation_without_a_secret_in_a_file(
    new_stack: NewStack, sandbox: Sandbox, tmp_path: Path
) -> None:
    stack = new_stack()
    environment = consumer(stack, tmp_path)
    for serial in (1, 2):
        stack.write({**config(serial=serial, previous="deleted"), **STORES})
        stack.up()
        (key,) = keys_in_iam(sandbox)
        for source in SOURCES:
            sandbox.control.clear_calls()
            done = list_buckets(environment, source)
            assert done.returncode == 0, done.stderr
            used = {call.key for call in sandbox.control.calls() if call.action == "ListBuckets"}
            assert used == {key}, f"the profile that reads from {source} has the current key"
    stack.write({**config(serial=2, status="inactive"), **STORES})
    stack.up()
    refused = list_buckets(environment, "stack")
    assert f"The access key {key} of test-user is inactive" in refused.stderr
    assert "Traceback" not in refused.stderr


@pytest.mark.long
def test_a_consumer_needs_one_permission_and_neither_pulumi_nor_a_project(
    new_stack: NewStack, sandbox: Sandbox, tmp_path: Path
) -> None:
    stack = new_stack()
    stack.write({**config(), "deliver": {"secretsManager": {"fields": {"id": "username", "secret": "password"}}}})
    stack.up()
    arn = sandbox.client("secretsmanager").list_secrets()["SecretList"][0]["ARN"]
    iam = sandbox.client("iam")
    iam.create_user(UserName="consumer")
    consumer_key = iam.create_access_key(UserName="consumer")["AccessKey"]
    environment = {
        **{name: value for name, value in sandbox.environment.items() if not name.startswith("PULUMI")},
        "PATH": "/usr/bin:/bin",
        "AWS_ACCESS_KEY_ID": consumer_key["AccessKeyId"],
        "AWS_SECRET_ACCESS_KEY": consumer_key["SecretAccessKey"],
        "AWS_CONFIG_FILE": str(tmp_path / "config"),
    }
    command = f"{BIN}/access-keys credentials test-user --process --from secretsManager:{arn}"
    (tmp_path / "config").write_text(f"[profile app]\nregion = ap-northeast-2\ncredential_process = {command}\n")
    denied = subprocess.run(command.split(), env=environment, cwd=tmp_path, capture_output=True, text=True)
    assert (denied.returncode, denied.stdout) == (1, "")
    assert "cannot be read: AccessDeniedException" in denied.stderr
    assert "Traceback" not in denied.stderr
    statement = {"Effect": "Allow", "Action": "secretsmanager:GetSecretValue", "Resource": arn}
    document = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    iam.put_user_policy(UserName="consumer", PolicyName="read", PolicyDocument=document)
    sandbox.control.clear_calls()
    done = list_buckets(environment, "app")
    assert done.returncode == 0, done.stderr
    assert {call.key for call in sandbox.control.calls() if call.action == "ListBuckets"} == set(keys_in_iam(sandbox))


CLIENT = """
import json, os, sys, time
import boto3
from botocore.config import Config
session = boto3.Session(profile_name=sys.argv[1])
config = Config(retries={"total_max_attempts": 1}, s3={"addressing_style": "path"})
made, keys, latest = 0, set(), time.time() + 120
while not os.path.exists(sys.argv[2]) or (len(keys) < 2 and time.time() < latest):
    key = session.get_credentials().get_frozen_credentials()
    keys.add(key.access_key)
    print("has a key", flush=True) if not made else None
    own = {"aws_access_key_id": key.access_key, "aws_secret_access_key": key.secret_key}
    s3 = session.client("s3", config=config, **own)
    for _ in range(5):
        s3.list_buckets()
        made += 1
    time.sleep(float(sys.argv[3]))
print(json.dumps([made, sorted(keys)]))
"""


def follow(new_stack: NewStack, sandbox: Sandbox, folder: Path, rotations: int, clients: int, fresh: int) -> int:
    """Long-lived boto3 clients and fresh processes of the AWS CLI, while keys are rotated. Returns the calls made."""
    stack = new_stack()
    stack.write({**config(), **STORES})
    stack.up()
    # AWS's SDK for Python renews what expires in less than 15 minutes whenever it is asked for it.
    environment = consumer(stack, folder, minutes=14)
    environment = {name: value for name, value in environment.items() if name != "AWS_PROFILE"}
    end = folder / "end"
    running = [
        subprocess.Popen(
            [sys.executable, "-c", CLIENT, ("ssm", "secretsManager")[number % 2], end, "0.05"],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in range(clients)
    ]
    for process in running:
        assert process.stdout
        process.stdout.readline()
    failed: list[str] = []

    def once() -> None:
        for number in range(fresh):
            done = list_buckets(environment, SOURCES[1 + number % 2])
            if done.returncode:
                failed.append(done.stderr)

    thread = threading.Thread(target=once)
    thread.start()
    for serial in range(2, rotations + 2):
        stack.write({**config(serial=serial), **STORES})
        stack.up()
        time.sleep(2)
    thread.join()
    end.touch()
    ended = [process.communicate() for process in running]
    assert failed == [], "fresh processes always get a key that works"
    assert [process.returncode for process in running] == [0] * clients, "\n".join(err for _, err in ended)
    found: list[Any] = [json.loads(out) for out, _ in ended]
    assert all(len(keys) > 1 for _, keys in found), "each client changed to a new key on its own"
    return sum(made for made, _ in found) + fresh


@pytest.mark.long
def test_clients_follow_a_rotation(new_stack: NewStack, sandbox: Sandbox, tmp_path: Path) -> None:
    made = follow(new_stack, sandbox, tmp_path, rotations=1, clients=2, fresh=2)
    print(f"credential_process: {made} calls through 1 rotation")


@pytest.mark.long
def test_a_thousand_calls_through_three_rotations(new_stack: NewStack, sandbox: Sandbox, tmp_path: Path) -> None:
    made = follow(new_stack, sandbox, tmp_path, rotations=3, clients=4, fresh=50)
    print(f"credential_process: {made} calls through 3 rotations")
    assert made >= 1000

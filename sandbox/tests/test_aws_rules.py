"""The rules of the real IAM and STS that moto does not have, a row each.

Every row of the table in aws_rows.py is a request that AWS refuses. It goes to the strict sandbox, which must answer
AWS's error, and to a plain moto, which lets it pass (so that the row earns its place) or, where marked, refuses it too.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from aws_rows import ALL_ROWS, ROWS, S3_FULL, Row, check_strict, clients_of, perform
from aws_support import REGION, ROOT, Strict, client, plain_moto
from botocore.exceptions import ClientError
from pulumi_sandbox.credentials import Credentials


@pytest.fixture(scope="module")
def moto() -> Iterator[str]:
    with plain_moto() as url:
        yield url


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.rule)
def test_the_sandbox_refuses_what_aws_refuses(row: Row, strict: Strict) -> None:
    check_strict(row, strict.url, f"s{ROWS.index(row)}")


@pytest.mark.parametrize("row", ALL_ROWS, ids=lambda row: row.rule)
def test_each_row_earns_its_place_beside_plain_moto(row: Row, moto: str) -> None:
    clients, suffix = clients_of(moto), f"m{ALL_ROWS.index(row)}"
    for step in row.given:
        perform(clients, row, step, suffix)
    try:
        perform(clients, row, row.when, suffix)
        passes = True
    except ClientError:
        passes = False
    assert passes == row.moto_passes, f"plain moto {'lets pass' if passes else 'refuses'} that {row.rule}"


def test_plain_moto_lets_unknown_keys_and_wrong_signatures_pass(moto: str) -> None:
    """What test_aws_authentication.py shows to be refused."""
    nobody = Credentials("AKIAIOSFODNN7EXAMPLE", "wrong" * 8)
    client(moto, "iam", nobody).list_users()
    client(moto, "sts", nobody).get_caller_identity()
    client(moto, "s3", nobody).list_buckets()
    client(moto, "kms", nobody).list_keys()


def test_there_are_at_least_sixty_rules_and_most_are_not_motos() -> None:
    assert len(ALL_ROWS) >= 60
    assert sum(row.moto_passes for row in ALL_ROWS) >= 60


@pytest.mark.long
def test_aws_command_line_is_refused_in_the_same_words(strict: Strict, tmp_path: Path) -> None:
    iam = strict.client("iam")
    iam.create_user(UserName="cli-user")
    iam.create_access_key(UserName="cli-user")
    iam.create_group(GroupName="cli-group")
    iam.attach_group_policy(GroupName="cli-group", PolicyArn=S3_FULL)
    commands = {
        "iam create-user --user-name CLI-USER":
            "An error occurred (EntityAlreadyExists) when calling the CreateUser operation: "
            "User with name CLI-USER already exists.",
        "iam delete-user --user-name cli-user":
            "An error occurred (DeleteConflict) when calling the DeleteUser operation: "
            "Cannot delete entity, must delete access keys first.",
        "iam delete-group --group-name cli-group":
            "An error occurred (DeleteConflict) when calling the DeleteGroup operation: "
            "Cannot delete entity, must detach all policies first.",
        "iam create-user --user-name a/b":
            "An error occurred (ValidationError) when calling the CreateUser operation: The specified value for "
            "userName is invalid. It must contain only alphanumeric characters and/or the following: +=,.@_-",
        "sts get-caller-identity": '"Arn": "arn:aws:iam::123456789012:root"',
    }  # fmt: skip
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "AWS_ACCESS_KEY_ID": ROOT.access_key_id,
        "AWS_SECRET_ACCESS_KEY": ROOT.secret_access_key,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_ENDPOINT_URL": strict.url,
    }

    def run(command: str) -> str:
        aws_cli = [sys.executable, "-m", "awscli", *command.split()]
        done = subprocess.run(aws_cli, env=environment, capture_output=True, text=True, check=False)
        return done.stdout + done.stderr

    with ThreadPoolExecutor(2) as pool:
        for (command, words), output in zip(commands.items(), pool.map(run, commands), strict=True):
            assert words in output, f"`aws {command}` says what AWS says"

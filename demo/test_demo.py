"""`make up` and `make down` as a newcomer runs them, on the examples of this checkout."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import boto3
import pytest
from pulumi_sandbox import process
from pulumi_sandbox.aws.settings import Faults
from pulumi_sandbox.environment import enter
from pulumi_sandbox.paths import FOLDER, SandboxPaths

CHECKOUT = Path(__file__).parent.parent
Demo = Callable[..., str]


@pytest.fixture
def paths(tmp_path: Path) -> Iterator[SandboxPaths]:
    """A sandbox of its own."""
    paths = SandboxPaths(tmp_path / "sandbox")
    yield paths
    process.stop(paths)


@pytest.fixture
def demo(paths: SandboxPaths) -> Demo:
    """`python -m demo ARGUMENTS` in that sandbox; what it prints."""

    def run(*arguments: str, code: int = 0, text: str | None = None, **variables: str) -> str:
        command = [sys.executable, "-m", "demo", *arguments]
        environment = os.environ | {FOLDER: str(paths.root), "SHELL": "/bin/sh", **variables}
        done = subprocess.run(command, cwd=CHECKOUT, env=environment, capture_output=True, text=True, input=text)
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr

    return run


@pytest.mark.long
def test_make_up_shows_what_was_made_and_tries_the_key(demo: Demo, paths: SandboxPaths) -> None:
    first = demo("up", "dev")
    assert "│ test-user │ test   │ AmazonS3FullAccess │" in first
    assert "and read it back" in first
    assert "EC2 denies DescribeInstances, as expected: UnauthorizedOperation" in first
    assert "FAILED" not in first
    again = demo("up", "dev")
    assert "9 unchanged" in again
    assert "created" not in again.split("Resources:")[1].split("Duration")[0], "nothing is left to do"

    environment = enter(paths)
    iam = boto3.client(
        "iam",
        region_name="us-east-1",
        endpoint_url=environment["AWS_ENDPOINT_URL"],
        aws_access_key_id=environment["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=environment["AWS_SECRET_ACCESS_KEY"],
    )
    admin = {"GroupName": "test", "PolicyArn": "arn:aws:iam::aws:policy/AdministratorAccess"}
    iam.attach_group_policy(**admin)
    failed = demo("up", "dev", code=1)
    assert "FAILED test-user: EC2 allows DescribeInstances" in failed
    assert "If that changes nothing, somebody added a policy" in failed, "a refresh does not see what was added"
    iam.detach_group_policy(**admin)
    assert "The sandbox is stopped" in demo("down", "dev")


@pytest.mark.long
def test_make_down_takes_a_stack_down_whose_keys_are_guarded_and_in_use(demo: Demo) -> None:
    up = demo("up", "prod")
    assert re.search(r"ok     nightly-report: S3 lets it read s3://company-data/reports/AKIA\w+\n", up)
    assert re.search(r"ok     nightly-report: S3 does not let it write s3://company-data/reports/AKIA\w+: Access", up)
    assert re.search(r"ok     nightly-report: S3 does not let it read s3://company-data/elsewhere/AKIA\w+: Acc", up)
    assert re.search(r"ok     data-loader: S3 lets it write s3://company-data/incoming/AKIA\w+\n", up)
    assert "FAILED" not in up
    assert "Existing stacks: prod." in demo("down", "prdo"), "a mistyped stack is named"
    down = demo("down", "prod")
    assert "The sandbox resets their last use" in down
    assert "15 deleted" in down
    assert "The sandbox is stopped" in down


def test_a_mistyped_stack_is_refused_and_the_right_one_is_named(demo: Demo) -> None:
    assert "There is no Pulumi.prdo.yaml here. Did you mean 'prod'?" in demo("up", "prdo", code=1)
    assert "Existing stacks: none." in demo("down", "prdo"), "no empty stack was created"


def test_make_down_without_an_engine_says_so_and_leaves_the_stack(
    demo: Demo, paths: SandboxPaths, tmp_path: Path
) -> None:
    state = paths.state / ".pulumi" / "stacks" / "aws-access-keys" / "dev.json"
    state.parent.mkdir(parents=True)
    state.write_text("{}")
    down = demo("down", "dev", code=1, HOME=str(tmp_path), PATH="/usr/bin:/bin")
    assert "There is no Pulumi engine here to destroy the stack 'dev'. Run make engine, then make down." in down
    assert state.exists()


@pytest.mark.long
def test_make_down_works_after_keys_were_issued_on_a_later_day(demo: Demo, paths: SandboxPaths) -> None:
    process.control(paths).set_faults(Faults(clock=98 * 86400))
    demo("up", "prod")
    process.stop(paths)  # the clock is right again
    assert " deleted" in demo("down", "prod")


@pytest.mark.parametrize(
    "command",
    [
        ("demo", "up", "dev"),
        pytest.param(
            ("pulumi_sandbox", "run", "--", "pulumi", "up", "--yes", "--skip-preview", "--stack", "dev"),
            marks=pytest.mark.long,
        ),
    ],
)
def test_ctrl_c_lets_the_engine_finish_and_leaves_neither_a_lock_nor_an_unknown_key(
    demo: Demo, paths: SandboxPaths, command: tuple[str, ...]
) -> None:
    demo("preview", "dev")
    control = process.control(paths)
    control.set_faults(Faults(latency=0.5))
    update = subprocess.Popen(
        [sys.executable, "-m", *command],
        cwd=CHECKOUT,
        env=os.environ | {FOLDER: str(paths.root)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        preexec_fn=hear_ctrl_c,
    )
    (state,) = (paths.state / ".pulumi" / "stacks").rglob("dev.json")
    while not is_creating_a_key(state):
        assert update.poll() is None, "the update creates the key"
        time.sleep(0.02)
    os.killpg(update.pid, signal.SIGINT)
    text = update.communicate(timeout=60)[0]
    control.set_faults(Faults())
    assert update.returncode != 0
    assert "Traceback" not in text, text
    assert not list((paths.state / ".pulumi" / "locks").rglob("*.json")), "no lock is left behind"
    assert "created" in demo("up", "dev"), "the next update does the rest"
    created = [call for call in control.calls() if call.action == "CreateAccessKey"]
    assert len(created) == 1, "the key is in the state, so no other is issued"


def hear_ctrl_c() -> None:
    """A shell's background job is deaf to it, and so is what that starts."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def is_creating_a_key(state: Path) -> bool:
    latest = json.loads(state.read_text())["checkpoint"].get("latest") or {}
    pending = latest.get("pending_operations") or []
    return any(":AccessKey::" in found["resource"]["urn"] for found in pending)

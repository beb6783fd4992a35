"""`make up` and `make down` as a newcomer runs them, on the examples of this checkout."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pulumi_sandbox import process
from pulumi_sandbox.paths import FOLDER, SandboxPaths

CHECKOUT = Path(__file__).parent.parent
Demo = Callable[..., str]


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[Demo]:
    """`python -m demo ARGUMENTS` with a sandbox of its own; what it prints."""
    paths = SandboxPaths(tmp_path / "sandbox")

    def run(*arguments: str) -> str:
        command = [sys.executable, "-m", "demo", *arguments]
        environment = os.environ | {FOLDER: str(paths.root)}
        done = subprocess.run(command, cwd=CHECKOUT, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    yield run
    process.stop(paths)


def test_make_up_shows_what_was_made_and_tries_the_key(demo: Demo) -> None:
    first = demo("up", "dev")
    assert "│ test-user │ test   │ AmazonS3FullAccess │" in first
    assert "and read it back" in first
    assert "EC2 denies DescribeInstances, as expected: UnauthorizedOperation" in first
    assert "FAILED" not in first
    again = demo("up", "dev")
    assert "9 unchanged" in again
    assert "created" not in again.split("Resources:")[1].split("Duration")[0], "nothing is left to do"
    assert "The sandbox is stopped" in demo("down", "dev")


def test_make_down_takes_a_stack_down_whose_keys_are_guarded_and_in_use(demo: Demo) -> None:
    assert "nightly-report: S3 denies PutObject: AccessDenied" in demo("up", "prod")
    assert "Existing stacks: prod." in demo("down", "prdo"), "a mistyped stack is named"
    down = demo("down", "prod")
    assert "The sandbox resets their last use" in down
    assert "15 deleted" in down
    assert "The sandbox is stopped" in down

"""`make up` and `make down` as a newcomer runs them, on the examples of this checkout."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from sandbox.folder import CHECKOUT, VARIABLE


class Commands:
    """`python -m sandbox ...` with a sandbox of its own."""

    def __init__(self, root: Path) -> None:
        self.environment = os.environ | {VARIABLE: str(root)}

    def __call__(self, *arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "sandbox", *arguments],
            cwd=CHECKOUT,
            env=self.environment,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def up(self, stack: str) -> str:
        return self("run", "--", sys.executable, "-m", "sandbox.walkthrough", "up", stack)


@pytest.fixture
def sandbox_command(tmp_path: Path) -> Iterator[Commands]:
    command = Commands(tmp_path / "sandbox")
    yield command
    command("stop")


def test_make_up_shows_what_was_made_and_proves_the_key(sandbox_command: Commands) -> None:
    first = sandbox_command.up("dev")
    assert "│ test-user │ test   │ AmazonS3FullAccess │" in first
    assert "and read it back" in first
    assert "EC2 refuses to list instances: UnauthorizedOperation" in first
    assert "FAILED" not in first
    again = sandbox_command.up("dev")
    assert "11 unchanged" in again
    assert "created" not in again.split("Resources:")[1].split("Duration")[0], "nothing is left to do"
    assert "The sandbox is stopped" in sandbox_command("down", "dev")


def test_make_down_takes_a_stack_down_whose_keys_are_guarded_and_in_use(sandbox_command: Commands) -> None:
    assert "nightly-report: S3 refuses to write an object: AccessDenied" in sandbox_command.up("prod")
    assert "there is: prod" in sandbox_command("down", "prdo"), "a slip of the pen is said"
    down = sandbox_command("down", "prod")
    assert "The sandbox forgets that they were used" in down
    assert "18 deleted" in down
    assert "The sandbox is stopped" in down

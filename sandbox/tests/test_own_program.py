"""Anybody's Pulumi program in a sandbox of its own: what README.md promises."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pulumi_sandbox import process
from pulumi_sandbox.paths import FOLDER, SandboxPaths

PROGRAM = """
import os, pulumi, pulumi_aws as aws

bucket = aws.s3.Bucket("data")
document = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": bucket.arn}]}
user = aws.iam.User("reader", tags={"team": "data"})
aws.iam.UserPolicy("read", user=user.name, policy=pulumi.Output.json_dumps(document))
pulumi.export("account", aws.get_caller_identity().account_id)
pulumi.export("region", aws.get_region().region)
pulumi.export("partition", aws.get_partition().partition)
pulumi.export("inside", os.environ["PULUMI_SANDBOX"])
"""

Run = Callable[..., str]


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    """A command in the sandbox of a new project; what it prints."""
    (tmp_path / "Pulumi.yaml").write_text("name: own\nruntime: python\n")
    (tmp_path / "Pulumi.dev.yaml").write_text("config:\n  aws:region: eu-west-1\n")
    (tmp_path / "__main__.py").write_text(PROGRAM)

    def in_sandbox(*command: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "pulumi_sandbox", "run", "--", *command],
            cwd=tmp_path,
            env={name: value for name, value in os.environ.items() if name != FOLDER},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    yield in_sandbox
    process.stop(SandboxPaths(tmp_path / ".sandbox"))


def test_a_program_of_ones_own_lives_in_its_sandbox(run: Run, tmp_path: Path) -> None:
    run("pulumi", "stack", "init", "dev")
    assert "4 created" in run("pulumi", "up", "--yes", "--skip-preview")
    outputs = json.loads(run("pulumi", "stack", "output", "--json"))
    assert outputs == {"account": "123456789012", "region": "eu-west-1", "partition": "aws", "inside": "1"}
    run("pulumi", "preview", "--expect-no-changes")
    assert "data-" in run("aws", "s3", "ls")
    assert "4 deleted" in run("pulumi", "destroy", "--yes", "--skip-preview")
    assert not list((tmp_path / ".sandbox" / "state").rglob("*.attrs")), "the state is in one file, written as a whole"
    assert (tmp_path / "Pulumi.dev.yaml").read_text() == "config:\n  aws:region: eu-west-1\n", "no salt was written"
    made = {path.name for path in tmp_path.iterdir()} - {"__pycache__"}
    assert made == {"Pulumi.yaml", "Pulumi.dev.yaml", "__main__.py", ".sandbox"}
    assert (tmp_path / ".sandbox" / ".gitignore").read_text() == "*\n", "git sees nothing of the sandbox"

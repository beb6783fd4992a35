"""docs/teams.md: state that a team shares, in S3 under KMS. Its commands are run as they stand there."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.lifecycle.helpers import works
from tests.lifecycle.stack import CHECKOUT, Sandbox

GUIDE = (CHECKOUT / "docs" / "teams.md").read_text("utf-8")
BUCKET = "example-pulumi-state"
STATE = ".pulumi/stacks/aws-access-keys/dev.json"
PROJECT = ("Pulumi.yaml", "Pulumi.dev.yaml", "__main__.py", "backend/Pulumi.yaml", "backend/Pulumi.main.yaml")
CREATE = "Create the bucket and the key"
FIRST, SECOND = "The first operator", "The second operator"


def commands(heading: str, **values: str) -> str:
    """The commands of a section, with the values of its placeholders."""
    section = re.split(r"^## ", GUIDE, flags=re.MULTILINE)[1:]
    text = next(part for part in section if part.startswith(heading + "\n"))
    blocks = re.findall(r"```console\n(.*?)```", text, re.DOTALL)
    script = "\n".join(line.removeprefix("$ ") for block in blocks for line in block.splitlines())
    assert script, f"{heading} has commands"
    for name, value in values.items():
        script = script.replace(name, value)
    return script


@dataclass
class Person:
    """Somebody with a machine: a home, a clone of the repository, and an AWS profile."""

    team: "Team"
    name: str
    folder: Path
    environment: dict[str, str] = field(default_factory=dict[str, str])

    def run(self, script: str, check: bool = True) -> "subprocess.CompletedProcess[str]":
        """Commands in a shell, which stops at the first one that fails."""
        done = subprocess.run(
            ["sh", "-euc", script], cwd=self.folder, env=self.environment, capture_output=True, text=True
        )
        assert not check or done.returncode == 0, f"{self.name} can run:\n{script}\n{done.stdout}{done.stderr}"
        assert "Traceback" not in done.stderr
        return done

    def start(self, *command: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            command,
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def key(self) -> tuple[str, str]:
        """The current key of the stack's user."""
        outputs = json.loads(self.run("pulumi stack output --json --show-secrets").stdout)
        self.team.sandbox.issued.add(outputs["secretAccessKeys"]["test-user"])
        return outputs["accessKeyIds"]["test-user"], outputs["secretAccessKeys"]["test-user"]


class Team:
    """People with a common repository and account."""

    def __init__(self, sandbox: Sandbox, root: Path) -> None:
        self.sandbox, self.root = sandbox, root
        self.keys = {"admin": (sandbox.secrets.root_access_key_id, sandbox.secrets.root_secret_access_key)}
        iam = sandbox.client("iam")
        for name in ("alice", "bob", "carol"):
            iam.create_user(UserName=name)
            iam.attach_user_policy(UserName=name, PolicyArn="arn:aws:iam::aws:policy/IAMFullAccess")
            key = iam.create_access_key(UserName=name)["AccessKey"]
            self.keys[name] = (key["AccessKeyId"], key["SecretAccessKey"])
        self.bin = root / "bin"
        self.bin.mkdir()
        (self.bin / "pulumi").symlink_to(sandbox.engine.pulumi)  # without the sandbox's copies of projects
        first = root / "repository"
        for name in PROJECT:
            (first / name).parent.mkdir(exist_ok=True, parents=True)
            (first / name).write_bytes((CHECKOUT / name).read_bytes())
        (first / "backend" / "__main__.py").write_bytes((CHECKOUT / "backend" / "__main__.py").read_bytes())
        (first / ".gitignore").write_text(".venv\n")
        self.git(first, "init", "--quiet", "--initial-branch", "main")
        self.git(first, "add", ".")
        self.git(first, "commit", "--quiet", "--message", "The program")
        self.git(root, "clone", "--quiet", "--bare", str(first), "origin.git")

    def git(self, folder: Path, *arguments: str) -> None:
        identity = ("-c", "user.name=team", "-c", "user.email=team@example.com")
        subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, env=os.environ | self.no_git_settings)

    @property
    def no_git_settings(self) -> dict[str, str]:
        return {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}

    def person(self, name: str, machine: str = "laptop") -> Person:
        """Somebody at a machine that has never been used before."""
        home = self.root / f"{name}-{machine}"
        home.mkdir()
        credentials = home / "credentials"
        credentials.write_text(
            f"[{name}]\naws_access_key_id = {self.keys[name][0]}\naws_secret_access_key = {self.keys[name][1]}\n"
        )
        self.git(home, "clone", "--quiet", str(self.root / "origin.git"), "clone")
        (home / "clone" / ".venv").symlink_to(sys.prefix)
        removed = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "PULUMI_BACKEND_URL", "PULUMI_CONFIG_PASSPHRASE_FILE")
        environment = {key: value for key, value in self.sandbox.environment.items() if key not in removed}
        environment |= self.no_git_settings | {
            "HOME": str(home),
            "PULUMI_HOME": str(home / ".pulumi"),
            "AWS_SHARED_CREDENTIALS_FILE": str(credentials),
            "AWS_PROFILE": name,
            "PATH": f"{self.bin}{os.pathsep}{environment['PATH']}",
            "PULUMI_SKIP_CONFIRMATIONS": "true",
            "GIT_AUTHOR_NAME": name,
            "GIT_AUTHOR_EMAIL": f"{name}@example.com",
            "GIT_COMMITTER_NAME": name,
            "GIT_COMMITTER_EMAIL": f"{name}@example.com",
        }
        return Person(self, name, home / "clone", environment)

    def share(self) -> None:
        """The administrator's part."""
        self.person("admin").run(commands(CREATE))


@pytest.fixture
def team(sandbox: Sandbox, tmp_path: Path) -> Iterator[Team]:
    yield Team(sandbox, tmp_path)
    sandbox.control.clear_faults()
    sandbox.control.reset()


def actions_of(sandbox: Sandbox, policy: str) -> set[str]:
    """What one of the two policies allows."""
    iam = sandbox.client("iam")
    arn = f"arn:aws:iam::123456789012:policy/pulumi-state-{policy}"
    document: dict[str, Any] = iam.get_policy_version(PolicyArn=arn, VersionId="v1")["PolicyVersion"]["Document"]
    return {action for statement in document["Statement"] for action in statement["Action"]}


def test_two_operators_share_a_stack_after_the_commands_of_the_guide(team: Team, sandbox: Sandbox) -> None:
    team.share()
    alice = team.person("alice")
    sandbox.control.clear_calls()
    alice.run(commands(FIRST))
    bob = team.person("bob")
    done = bob.run(commands(SECOND))
    assert "test-user" in done.stdout, "the second operator sees the report"
    key = bob.key()
    assert key == alice.key(), "both operators can read the secret"
    assert works(sandbox, key)
    calls = {
        f"{call.service}:{call.action}"
        for call in sandbox.control.calls()
        if call.key in (team.keys["alice"][0], team.keys["bob"][0]) and call.service in ("s3", "kms")
    }
    print(calls)

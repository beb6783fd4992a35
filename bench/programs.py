"""The programs that are compared. Each creates the same group with two policies, users, memberships and keys."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from tests.lifecycle.stack import CHECKOUT, Sandbox, Stack

HERE = Path(__file__).parent
MIRROR = "SANDBOX_TERRAFORM_PLUGIN_DIR"
"""A folder with Terraform's aws provider, laid out as a filesystem mirror; as for the sandbox's own tests."""
AWS_PROVIDER = "5.100.0"


class Program(Protocol):
    """One of the programs, in a folder of its own."""

    def write(self, users: Mapping[str, int]) -> None:
        """Ask for these users, each with the serial of its key."""
        ...

    def command(self, what: str) -> Sequence[str] | None:
        """What `preview`, `up` or `destroy` is; None where the program has no such thing."""
        ...

    @property
    def folder(self) -> Path: ...

    @property
    def environment(self) -> dict[str, str]: ...

    def size(self) -> tuple[int | None, int]:
        """How many resources the state has, and its bytes."""
        ...


class Bare:
    """bare.py, with boto3 alone."""

    def __init__(self, sandbox: Sandbox, folder: Path, name: str) -> None:
        self.folder, self.environment, self.group = folder, sandbox.environment, name
        self.file = folder / "wanted.json"

    def write(self, users: Mapping[str, int]) -> None:
        self.file.write_text(json.dumps({"group": self.group, "users": users}))

    def command(self, what: str) -> Sequence[str] | None:
        if what == "destroy":
            self.write({})
        return None if what == "preview" else [sys.executable, str(HERE / "bare.py"), str(self.file)]

    def size(self) -> tuple[int | None, int]:
        return None, self.file.with_suffix(".keys").stat().st_size


class Pulumi:
    """A Pulumi program: this project's, or flat/."""

    def __init__(self, sandbox: Sandbox, folder: Path, name: str) -> None:
        self.folder, self.environment, self.name = folder, dict(sandbox.environment), name
        self.stack = Stack(sandbox, folder, self.source, folder.name, secrets_provider="passphrase")
        self.pulumi = str(sandbox.engine.pulumi)

    source = CHECKOUT

    def write(self, users: Mapping[str, int]) -> None:
        self.stack.write(
            {
                "groups": {self.name: {"policies": ["AmazonS3FullAccess", "IAMFullAccess"]}},
                "users": {user: {"groups": [self.name], "key": {"serial": serial}} for user, serial in users.items()},
                "keyDefaults": {"previous": "deleted"},  # the others have one key per user
            }
        )

    def command(self, what: str) -> Sequence[str]:
        options = [] if what == "preview" else ["--yes", "--skip-preview"]
        return [self.pulumi, what, *options, "--stack", self.folder.name, "--non-interactive", "--color", "never"]

    def size(self) -> tuple[int | None, int]:
        state = self.stack.run("stack", "export").text
        return len(json.loads(state)["deployment"].get("resources", [])), len(state)


class Flat(Pulumi):
    """flat/, with pulumi_aws alone."""

    source = HERE / "flat"

    def write(self, users: Mapping[str, int]) -> None:
        self.stack.write({"group": self.name, "users": dict(users)})


WITHOUT_STATE_WRITES = {"PULUMI_EXPERIMENTAL": "true", "PULUMI_SKIP_CHECKPOINTS": "true"}
"""With these, the engine writes the state once, at the end: a crash would lose secrets, so for measuring only."""


class Terraform:
    """The same resources in Terraform's language, in its JSON form."""

    def __init__(self, sandbox: Sandbox, folder: Path, name: str) -> None:
        self.folder, self.name = folder, name
        rc = folder / "terraform.rc"
        rc.write_text(
            f'provider_installation {{\n  filesystem_mirror {{\n    path = "{os.environ[MIRROR]}"\n  }}\n}}\n'
        )
        more = {"TF_CLI_CONFIG_FILE": str(rc), "CHECKPOINT_DISABLE": "1", "AWS_EC2_METADATA_DISABLED": "true"}
        self.environment = dict(sandbox.environment) | more
        self.write({})
        subprocess.run(
            ["terraform", "init", "-input=false"], cwd=folder, env=self.environment, check=True, capture_output=True
        )

    @staticmethod
    def is_there() -> bool:
        """Whether this machine has Terraform and the provider."""
        return bool(os.environ.get(MIRROR) and shutil.which("terraform"))

    def write(self, users: Mapping[str, int]) -> None:
        group = {"group": "${aws_iam_group.all.name}"}
        resources: dict[str, Any] = {
            "aws_iam_group": {"all": {"name": self.name}},
            "aws_iam_group_policy_attachment": {
                policy: {**group, "policy_arn": f"arn:aws:iam::aws:policy/{policy}"}
                for policy in ("AmazonS3FullAccess", "IAMFullAccess")
            },
        }
        for user, serial in users.items():
            name = {"user": f"${{aws_iam_user.{user}.name}}"}
            resources.setdefault("aws_iam_user", {})[user] = {"name": user}
            membership = {**name, "groups": ["${aws_iam_group.all.name}"]}
            resources.setdefault("aws_iam_user_group_membership", {})[user] = membership
            resources.setdefault("aws_iam_access_key", {})[f"{user}_{serial}"] = name
        secrets = {user: f"${{aws_iam_access_key.{user}_{serial}.secret}}" for user, serial in users.items()}
        content = {
            "terraform": {"required_providers": {"aws": {"source": "hashicorp/aws", "version": AWS_PROVIDER}}},
            "provider": {"aws": {}},
            "resource": resources,
            "output": {"secretAccessKeys": {"value": secrets, "sensitive": True}},
        }
        (self.folder / "main.tf.json").write_text(json.dumps(content))

    def command(self, what: str) -> Sequence[str]:
        verb = {"preview": ["plan"], "up": ["apply", "-auto-approve"], "destroy": ["destroy", "-auto-approve"]}[what]
        return ["terraform", *verb, "-input=false", "-no-color"]

    def size(self) -> tuple[int | None, int]:
        state = (self.folder / "terraform.tfstate").read_text()
        return sum(len(one["instances"]) for one in json.loads(state)["resources"]), len(state)

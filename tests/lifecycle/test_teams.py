"""docs/teams.md: shared state for a team, in S3 under KMS. Its commands are run as they stand there."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from botocore.exceptions import ClientError
from pulumi_sandbox.aws.settings import Failure, Faults

from tests.leaks import Search
from tests.lifecycle.helpers import keys_in_iam, works
from tests.lifecycle.stack import CHECKOUT, Sandbox

GUIDE = (CHECKOUT / "docs" / "teams.md").read_text("utf-8")
BUCKET = "example-pulumi-state"
STATE = ".pulumi/stacks/aws-access-keys/dev.json"
PROJECT = ("Pulumi.yaml", "Pulumi.dev.yaml", "__main__.py", "backend/Pulumi.yaml", "backend/Pulumi.main.yaml")
# Call → what it needs, here in a bucket that KMS encrypts.
ACTIONS = {
    "s3:ListObjectsV2": ["s3:ListBucket"],
    "s3:GetObject": ["s3:GetObject", "kms:Decrypt"],
    "s3:HeadObject": ["s3:GetObject"],
    "s3:PutObject": ["s3:PutObject", "kms:GenerateDataKey"],
    "s3:CopyObject": ["s3:GetObject", "s3:PutObject"],
    "s3:DeleteObject": ["s3:DeleteObject"],
    "s3:ListObjectVersions": ["s3:ListBucketVersions"],
    "kms:Encrypt": ["kms:Encrypt"],
    "kms:Decrypt": ["kms:Decrypt"],
}
ONLY_TO_RESTORE = {"s3:ListBucketVersions", "s3:GetObjectVersion"}
COMMANDS = ("report", "up")
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


def allowed_by(sandbox: Sandbox, policy: str) -> set[str]:
    """The actions of one of the two policies."""
    arn = f"arn:aws:iam::123456789012:policy/pulumi-state-{policy}"
    found = sandbox.client("iam").get_policy_version(PolicyArn=arn, VersionId="v1")["PolicyVersion"]["Document"]
    return {action for statement in found["Statement"] for action in statement["Action"]}


def used_by(team: Team, *names: str) -> set[str]:
    """The actions that people needed for the state and its key, by their calls."""
    keys = {team.keys[name][0] for name in names}
    calls = {(call.service, call.action) for call in team.sandbox.control.calls() if call.key in keys}
    return {action for service, name in calls for action in ACTIONS.get(f"{service}:{name}", ())}


def versions(sandbox: Sandbox) -> list[bytes]:
    """All that the bucket has ever had."""
    s3 = sandbox.client("s3")
    pages = s3.get_paginator("list_object_versions").paginate(Bucket=BUCKET)
    listed = [found for page in pages for found in page.get("Versions", [])]
    assert listed, "the bucket has versions"
    return [s3.get_object(Bucket=BUCKET, Key=one["Key"], VersionId=one["VersionId"])["Body"].read() for one in listed]


@pytest.mark.long
def test_two_operators_share_a_stack_after_the_commands_of_the_guide(team: Team, sandbox: Sandbox) -> None:
    team.share()
    with pytest.raises(ClientError, match="explicit deny in a resource-based policy"):
        sandbox.client("s3", tls=False).list_objects_v2(Bucket=BUCKET)
    alice = team.person("alice")
    sandbox.control.clear_calls()
    created = alice.run(commands(FIRST))
    bob = team.person("bob")
    report = bob.run(commands(SECOND))
    assert "test-user" in report.stdout, "the second operator sees the report"
    assert "WARN" not in created.stderr + report.stderr
    key = bob.key()
    assert works(sandbox, key), "the second operator can read the secret"
    used = used_by(team, "alice", "bob")
    assert used == allowed_by(sandbox, "operator") - ONLY_TO_RESTORE, "the policy allows what is used, and no more"
    search = Search({key[1]})
    for content in versions(sandbox):
        search.text("a version of the state", content)
    assert not search.found, "no version has the secret in clear text"


@pytest.mark.long
def test_a_reader_of_the_state_cannot_decrypt_the_secrets_in_it(team: Team, sandbox: Sandbox) -> None:
    team.share()
    team.person("alice").run(commands(FIRST))
    carol = team.person("carol")
    login = "git pull; pulumi login 's3://example-pulumi-state?region=ap-northeast-2'; pulumi stack select dev\n"
    carol.run(login)
    sandbox.control.clear_calls()
    assert "test-user" in carol.run(".venv/bin/access-keys report").stdout
    assert "test-user" in carol.run(".venv/bin/access-keys inventory --output json").stdout
    for command in ("pulumi stack output --show-secrets", "pulumi stack export --show-secrets", "pulumi preview"):
        refused = carol.run(command, check=False)
        assert refused.returncode != 0, command
        assert "AccessDenied" in refused.stderr + refused.stdout, command
        assert "kms:Decrypt" in refused.stderr + refused.stdout, command
    refused = carol.run(".venv/bin/access-keys credentials test-user --profile mine", check=False)
    assert refused.returncode != 0
    assert "kms:Decrypt" in refused.stderr, refused.stderr


@pytest.mark.long
def test_the_policy_that_is_printed_for_the_stack_covers_its_state_in_s3(team: Team, sandbox: Sandbox) -> None:
    team.share()
    alice, bob = team.person("alice"), team.person("bob")
    alice.run(commands(FIRST))
    iam = sandbox.client("iam")

    def grant(command: str) -> None:
        for attached in iam.list_attached_user_policies(UserName="bob")["AttachedPolicies"]:
            iam.detach_user_policy(UserName="bob", PolicyArn=attached["PolicyArn"])
        made = iam.create_policy(PolicyName=f"printed-{command}", PolicyDocument=printed[command])["Policy"]
        iam.attach_user_policy(UserName="bob", PolicyArn=made["Arn"])

    # The exit code is 1: alice has no permission for CloudTrail, for example.
    asked = {command: f".venv/bin/access-keys permissions --for {command}" for command in COMMANDS}
    printed = {command: alice.run(script, check=False).stdout for command, script in asked.items()}
    grant("report")
    bob.run("git pull; pulumi login 's3://example-pulumi-state?region=ap-northeast-2'; pulumi stack select dev")
    assert "test-user" in bob.run(".venv/bin/access-keys report").stdout
    assert "kms:" in bob.run("pulumi preview", check=False).stderr, "the report's policy is not enough for a preview"
    grant("up")
    before = bob.key()
    bob.run(".venv/bin/access-keys rotate test-user; pulumi up --skip-preview")
    assert bob.key() != before


@pytest.mark.long
def test_an_operator_is_locked_out_while_the_other_one_runs(team: Team, sandbox: Sandbox) -> None:
    team.share()
    alice = team.person("alice")
    alice.run(commands(FIRST))
    bob = team.person("bob")
    bob.run(commands(SECOND))
    before = bob.key()
    bob.run(".venv/bin/access-keys rotate test-user; git commit --all --message 'Rotate'; git push")
    alice.run("git pull")
    sandbox.control.set_faults(Faults(failures=(Failure("iam:ListAccessKeys", 1, hold=True),)))
    first = bob.start("pulumi", "up", "--yes", "--skip-preview", "--non-interactive")
    while not sandbox.control.held():
        time.sleep(0.05)
    refused = alice.run("pulumi up", check=False)
    assert refused.returncode != 0
    assert first.poll() is None, "both run at once"
    assert "the stack is currently locked by 1 lock(s)" in refused.stderr
    assert f"(pid {first.pid})" in refused.stderr, "whose lock it is"
    assert "s3://example-pulumi-state" in refused.stderr, "and where"
    os.kill(first.pid, signal.SIGKILL)
    first.communicate()
    sandbox.control.clear_faults()
    assert alice.run("pulumi up", check=False).returncode != 0, "a crash leaves the lock"
    alice.run(commands("The stack is locked"))
    assert works(sandbox, before)
    assert works(sandbox, alice.key())
    assert keys_in_iam(sandbox).keys() == {before[0], alice.key()[0]}, "the crash has cost no key"


@pytest.mark.long
def test_nothing_of_the_state_is_lost_with_a_laptop(team: Team, sandbox: Sandbox) -> None:
    team.share()
    alice = team.person("alice")
    alice.run(commands(FIRST))
    key = alice.key()
    again = team.person("alice", "new-laptop")
    again.run(commands("A laptop is lost"))
    assert again.key() == key
    again.run(".venv/bin/access-keys credentials test-user --profile s3-dev; aws s3 ls --profile s3-dev")


@pytest.mark.long
def test_an_older_state_is_restored_from_a_version_of_the_object(team: Team, sandbox: Sandbox) -> None:
    team.share()
    alice = team.person("alice")
    alice.run(commands(FIRST))
    key = alice.key()
    alice.run("pulumi stack export | jq '.deployment.resources = []' | pulumi stack import")
    refused = alice.run(".venv/bin/access-keys report", check=False)
    assert "has no access keys yet" in refused.stderr, "the state is empty"
    found = sandbox.client("s3").list_object_versions(Bucket=BUCKET, Prefix=STATE)["Versions"]
    # The order of versions of the same second is not AWS's; the last one before the damage is the largest.
    whole = max((one for one in found if one["Key"] == STATE), key=lambda one: one["Size"])
    sandbox.control.clear_calls()
    done = alice.run(commands("Restore an older state", VERSION=whole["VersionId"]))
    assert whole["VersionId"] in done.stdout, "the version is listed"
    assert "s3:ListBucketVersions" in used_by(team, "alice")
    alice.run("pulumi preview --expect-no-changes")
    assert alice.key() == key


def local(person: Person, backend: str) -> tuple[str, str]:
    """A stack with a passphrase; its key."""
    (person.folder / "passphrase.txt").write_text("correct horse")
    person.run(
        "export PULUMI_CONFIG_PASSPHRASE_FILE=passphrase.txt\n"
        f"pulumi login '{backend}'; pulumi stack init dev; pulumi up --skip-preview"
    )
    person.environment["PULUMI_CONFIG_PASSPHRASE_FILE"] = "passphrase.txt"
    key = person.key()
    del person.environment["PULUMI_CONFIG_PASSPHRASE_FILE"]
    return key


@pytest.mark.long
@pytest.mark.parametrize(
    ("heading", "shared"), [("Move a stack from your machine", False), ("Replace a passphrase with the KMS key", True)]
)
def test_a_stack_with_a_passphrase_comes_under_the_key_of_the_team(
    team: Team, sandbox: Sandbox, heading: str, shared: bool
) -> None:
    team.share()
    alice = team.person("alice")
    folder = f"file://{alice.folder.parent}"
    key = local(alice, "s3://example-pulumi-state?region=ap-northeast-2" if shared else folder)
    alice.run(commands(heading, **{"file://~": folder}))
    (alice.folder / "passphrase.txt").unlink()
    assert alice.key() == key, "no passphrase is needed, and no key was replaced"
    alice.run("git add Pulumi.dev.yaml; git commit --message 'KMS'; git push")
    bob = team.person("bob")
    bob.run(commands(SECOND))
    assert bob.key() == key
    sandbox.client("iam").detach_user_policy(
        UserName="bob", PolicyArn="arn:aws:iam::123456789012:policy/pulumi-state-operator"
    )
    sandbox.client("iam").attach_user_policy(
        UserName="bob", PolicyArn="arn:aws:iam::123456789012:policy/pulumi-state-reader"
    )
    refused = bob.run("pulumi stack output --show-secrets", check=False)
    assert "kms:Decrypt" in refused.stderr, "without the right to use the key nobody reads the secret"
    left = [path for path in alice.folder.parent.rglob("dev.json*") if "stacks" in path.parts]
    assert left == [], "nothing is left of the local state"

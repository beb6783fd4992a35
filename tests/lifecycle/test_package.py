"""The component as a package: added to a program in another language, made from the template, installed by pip."""

import copy
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest
import yaml
from pulumi.runtime.proto.provider_pb2 import GetSchemaRequest
from pulumi.runtime.proto.provider_pb2_grpc import ResourceProviderStub
from pulumi_sandbox.engine import yaml as yaml_host

from tests.lifecycle.helpers import keys_in_iam, works
from tests.lifecycle.stack import CHECKOUT, Sandbox

MADE_HERE = ("__pycache__", "*.egg-info", "build", "venv", "node_modules")
"""What a fresh clone does not have."""

FIRST = "key: { serial: 1 }"
"""How both examples write the life of their user's key."""

GUARDED = 'key: { serial: 2, previous: "deleted", retireGuard: { idleDays: 30 } }'


@dataclass
class Program:
    """A Pulumi program in a folder of its own, whose stack is `dev`."""

    sandbox: Sandbox
    folder: Path
    source: str = "Pulumi.yaml"
    pulumi: tuple[str, ...] = ("pulumi",)
    """What `up`, `preview` and `destroy` are put behind."""
    flags: tuple[str, ...] = ("--yes", "--skip-preview")
    """Flags that `up` and `destroy` need to ask nothing."""

    def run(self, *command: str, check: bool = True) -> str:
        """What a command prints. It must work; with `check` False it must fail."""
        paths = [yaml_host.ensure(self.sandbox.engine), self.sandbox.engine.pulumi.parent]
        path = os.pathsep.join([*map(str, paths), self.sandbox.environment["PATH"]])
        done = subprocess.run(
            command, cwd=self.folder, env=self.sandbox.environment | {"PATH": path}, capture_output=True, text=True
        )
        text = done.stdout + done.stderr
        assert (done.returncode == 0) == check, f"{' '.join(command)} {'works' if check else 'fails'}:\n{text}"
        return text

    def up(self, *options: str, check: bool = True) -> str:
        return self.run(*self.pulumi, "up", *self.flags, *options, check=check)

    def write(self, old: str, new: str) -> None:
        """Replace a piece of the program."""
        file = self.folder / self.source
        assert old in file.read_text(), f"{file} has {old}"
        file.write_text(file.read_text().replace(old, new))

    def key(self, user: str = "ann") -> tuple[str, str]:
        """The user's current key, id and secret, as the stack's outputs have it."""
        outputs = json.loads(self.run("pulumi", "stack", "output", "--stack", "dev", "--show-secrets", "-j"))
        return outputs["accessKeyIds"][user], outputs["secretAccessKeys"][user]


@pytest.fixture(scope="session")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """components/ as in a fresh clone."""
    ignore = shutil.ignore_patterns(*MADE_HERE)
    return shutil.copytree(CHECKOUT / "components", tmp_path_factory.mktemp("clone") / "components", ignore=ignore)


@pytest.fixture(scope="session")
def package(sandbox: Sandbox, clone: Path) -> Path:
    """The clone, added to its YAML example by `pulumi package add`, which installs it.

    What it needs is there already: its virtual environment sees the packages of this one.
    """
    venv.create(clone / "venv", with_pip=True)
    (site,) = clone.glob("venv/lib/python*/site-packages")
    (site / "shared.pth").write_text(sysconfig.get_path("purelib"))
    example = Program(sandbox, clone / "examples/yaml")
    project = example.folder / "Pulumi.yaml"
    written = project.read_text()
    example.write("packages:\n  aws-access-keys: ../..\n", "")
    assert "Added package aws-access-keys" in example.run("pulumi", "package", "add", "../..")
    assert yaml.safe_load(project.read_text())["packages"] == yaml.safe_load(written)["packages"]
    project.write_text(written)
    return clone


@pytest.fixture(scope="session")
def npm(package: Path, sandbox: Sandbox) -> None:
    """What package-lock.json of the TypeScript example pins, installed; its types are right."""
    folder = package / "examples/typescript"
    for command in (("npm", "ci", "--no-audit", "--no-fund"), ("npm", "run", "check")):
        Program(sandbox, folder).run(*command)


@pytest.fixture(params=["yaml", pytest.param("typescript", marks=pytest.mark.long)])
def example(request: pytest.FixtureRequest, sandbox: Sandbox, package: Path, tmp_path: Path) -> Iterator[Program]:
    """One of the examples as it was written, with a new stack; afterwards the account is empty again."""
    folder = package / "examples" / request.param
    if request.param == "yaml":
        program = Program(sandbox, folder)
        program.run("pulumi", "stack", "init", "dev")
    else:
        request.getfixturevalue("npm")
        program = Program(sandbox, folder, "index.ts", ("npm", "run", "--silent", "pulumi", "--"), flags=())
    written = (folder / program.source).read_text()
    yield program
    (folder / program.source).write_text(written)
    program.run("pulumi", "stack", "rm", "--yes", "--force", "--stack", "dev")
    sandbox.control.reset()


def no_stack_trace(text: str) -> bool:
    """Whether a message has neither Python's traceback nor a line of one."""
    return re.search(r"Traceback|\.py\b", text) is None


def test_a_key_is_rotated_and_a_key_in_use_is_kept_from_every_language(example: Program, sandbox: Sandbox) -> None:
    example.up()
    first = example.key()
    assert works(sandbox, first), "the first up makes a key that works"
    assert "unchanged\n" in example.up().partition("Resources:")[2], "the second changes nothing"
    assert example.key() == first

    example.write(FIRST, GUARDED)
    refused = example.up(check=False)
    assert f"the access key {first[0]} of user ann is still in use and is not deleted" in refused
    assert no_stack_trace(refused)
    assert works(sandbox, first), "the key in use was not touched"
    assert len(keys_in_iam(sandbox, "ann")) == 2, "the new one was created anyway"
    assert example.key() == first, "the stack's outputs stay those of the last update that did everything"


@pytest.mark.long
def test_what_was_refused_is_done_once_it_may(example: Program, sandbox: Sandbox) -> None:
    example.up()
    first = example.key()
    works(sandbox, first)
    example.write(FIRST, GUARDED)
    previewed = example.run(*example.pulumi, "preview")
    assert "`pulumi up` will skip the following, apply everything else, and exit with an error:" in previewed
    assert "is still in use" in previewed
    example.up(check=False)
    example.write(", retireGuard: { idleDays: 30 }", "")
    example.up()
    second = example.key()
    assert keys_in_iam(sandbox, "ann") == {second[0]: "Active"}
    assert works(sandbox, second)
    example.run(*example.pulumi, "destroy", *example.flags)
    assert sandbox.client("iam").list_users()["Users"] == []


@pytest.mark.long
def test_a_user_without_a_key_gets_none(example: Program, sandbox: Sandbox) -> None:
    example.write(FIRST, "without: [key]" if example.source == "Pulumi.yaml" else "key: null")
    example.up()
    assert keys_in_iam(sandbox, "ann") == {}


@pytest.mark.long
def test_a_wrong_arg_is_refused_before_anything_is_made(example: Program, sandbox: Sandbox) -> None:
    for right, wrong, message in (
        (FIRST, "key: { serial: 1.5 }", "users.ann.key.serial: expected a whole number, got 1.5."),
        (FIRST, 'key: { statuss: "active" }', "users.ann.key.statuss: unknown name."),
        ("AmazonS3ReadOnlyAccess", "S3ReadOnlyAccess", "Did you mean 'AmazonS3ReadOnlyAccess'?"),
    ):
        example.write(right, wrong)
        refused = example.up(check=False)
        # Pulumi's YAML host compares the names with the schema itself.
        assert message in refused or "Property statuss does not exist" in refused
        assert no_stack_trace(refused)
        assert sandbox.client("iam").list_users()["Users"] == [], "nothing was made"
        example.write(wrong, right)


def up_with(bob: str, example: Program, sandbox: Sandbox) -> tuple[str, str]:
    """Ann's key, which works, after an update that also made bob. bob: his lines in the program."""
    example.write("ann:", f"{bob}ann:")
    example.up()
    key = example.key()
    assert works(sandbox, key)
    return key


@pytest.mark.long
@pytest.mark.parametrize("example", ["yaml"], indirect=True)
def test_what_is_to_be_deleted_waits_for_what_was_refused_unless_the_update_continues_on_error(
    example: Program, sandbox: Sandbox
) -> None:
    bob = "bob: { groups: [readers] }\n        "
    first = up_with(bob, example, sandbox)
    example.write(bob, "")
    example.write(FIRST, GUARDED)
    refused = example.up(check=False)
    assert "is still in use" in refused
    assert "Deletions were not made either: they wait for an update that skips nothing." in refused
    assert keys_in_iam(sandbox, "bob"), "the engine does not come to its deletions"
    assert "is still in use" in example.up("--continue-on-error", check=False), "the update fails again"
    assert [user["UserName"] for user in sandbox.client("iam").list_users()["Users"]] == ["ann"], "but bob is gone"
    assert example.key() != first, "and the outputs of the stack have the new key"


@pytest.mark.long
@pytest.mark.parametrize("example", ["yaml"], indirect=True)
def test_no_key_is_deactivated_that_the_outputs_still_have_because_another_users_was_refused(
    example: Program, sandbox: Sandbox
) -> None:
    first = up_with("bob: { groups: [readers], key: { serial:  1 } }\n        ", example, sandbox)
    assert works(sandbox, example.key("bob"))
    example.write(FIRST, 'key: { serial: 2, previous: "inactive" }')
    example.write("key: { serial:  1 }", GUARDED)
    assert "no previous key is deactivated yet" in example.run(*example.pulumi, "preview")
    for _ in range(2):
        assert "So does the deactivation of previous keys" in example.up(check=False)
        assert set(keys_in_iam(sandbox, "ann").values()) == {"Active"}
        assert example.key() == first, "whoever takes the key from the outputs gets one that works"
    example.write(", retireGuard: { idleDays: 30 }", "")
    example.up()
    second = example.key()
    assert works(sandbox, second)
    assert keys_in_iam(sandbox, "ann") == {first[0]: "Inactive", second[0]: "Active"}


@pytest.mark.long
@pytest.mark.parametrize("example", ["yaml"], indirect=True)
def test_two_components_with_one_provider_are_kept_from_one_secret(example: Program, sandbox: Sandbox) -> None:
    sandbox.client("secretsmanager", region="us-east-1").create_secret(Name="shared", SecretString="{}")
    project = yaml.safe_load((example.folder / example.source).read_text())
    one = project["resources"]["access"]
    one["options"] = {"provider": "${account}"}
    one["properties"]["deliver"] = {"secretsManager": {"existing": "shared"}}
    two = copy.deepcopy(one)
    two["properties"]["groups"]["others"] = two["properties"]["groups"].pop("readers")
    two["properties"]["users"] = {"bob": {"groups": ["others"]}}
    account = {"type": "pulumi:providers:aws"}
    project["resources"] |= {"two": two, "account": account}
    (example.folder / example.source).write_text(yaml.safe_dump(project))
    refused = example.up(check=False)
    assert "has a secret of this name in the same account. Rename or remove one" in refused
    assert len(sandbox.client("iam").list_users()["Users"]) < 2, "nothing is made of the second one"


@pytest.mark.long
@pytest.mark.parametrize("example", ["yaml"], indirect=True)
def test_the_guard_holds_in_a_destroy(example: Program, sandbox: Sandbox) -> None:
    example.write(FIRST, GUARDED)
    example.up()
    key = example.key()
    assert works(sandbox, key)
    destroy = ("pulumi", "destroy", *example.flags)
    assert "--run-program" in example.run(*destroy, check=False)
    refused = example.run(*destroy, "--run-program", check=False)
    assert f"the access key {key[0]} of user ann is still in use and is not deleted" in refused
    assert no_stack_trace(refused)
    assert works(sandbox, key)


def test_pulumi_new_makes_a_project_from_the_template(sandbox: Sandbox, tmp_path: Path) -> None:
    (tmp_path / "venv").symlink_to(sys.prefix)  # so that `pulumi new` has nothing to install
    program = Program(sandbox, tmp_path)
    template = str(CHECKOUT / "components/template")
    program.run("pulumi", "new", template, "--force", "--yes", "--name", "backup-keys", "--stack", "dev")
    assert yaml.safe_load((tmp_path / "Pulumi.yaml").read_text())["name"] == "backup-keys"
    assert "123456789012" in program.run("pulumi", "config", "get", "aws:allowedAccountIds"), "no other account is used"
    program.up()
    assert works(sandbox, program.key())
    program.run("pulumi", "destroy", "--yes", "--skip-preview")
    assert sandbox.client("iam").list_users()["Users"] == []


@pytest.mark.long
def test_a_program_outside_the_checkout_uses_the_installed_component(
    sandbox: Sandbox, clone: Path, tmp_path: Path
) -> None:
    venv.create(tmp_path / "venv", with_pip=True)
    program = Program(sandbox, tmp_path)
    program.run("venv/bin/python", "-m", "pip", "install", "--quiet", str(clone))
    for file in ("Pulumi.yaml", "__main__.py"):
        shutil.copy(clone / "template" / file, tmp_path)
    program.write("${PROJECT}", "outside")
    program.write("${DESCRIPTION}", "Ten lines")
    program.run("pulumi", "stack", "init", "dev")
    program.up()
    assert works(sandbox, program.key())
    assert "unchanged\n" in program.up().partition("Resources:")[2]
    program.run("pulumi", "destroy", "--yes", "--skip-preview")


@pytest.mark.long
def test_the_package_installs_from_a_wheel_and_from_a_tag(sandbox: Sandbox, tmp_path: Path) -> None:
    ignore = shutil.ignore_patterns(*MADE_HERE)
    shutil.copytree(CHECKOUT / "components", tmp_path / "repository/components", ignore=ignore)
    program = Program(sandbox, tmp_path)
    git = ("git", "-C", "repository", "-c", "user.name=ann", "-c", "user.email=ann@example.com")
    for command in (("init", "--quiet"), ("add", "."), ("commit", "--quiet", "-m", "release"), ("tag", "v0.1.0")):
        program.run(*git, *command)
    program.run(
        sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", "dist", "./repository/components"
    )
    (wheel,) = (tmp_path / "dist").glob("aws_access_keys-*-py3-none-any.whl")
    tag = f"git+{(tmp_path / 'repository').as_uri()}@v0.1.0#egg=aws-access-keys&subdirectory=components"
    for folder, source in (("a", str(wheel)), ("b", tag)):
        venv.create(tmp_path / folder, with_pip=True)
        program.run(f"{folder}/bin/python", "-m", "pip", "install", "--quiet", source)
        assert "takeover" in program.run(f"{folder}/bin/access-keys", "--help")


@pytest.mark.long
def test_the_official_toolchain_installs_and_starts_the_package(sandbox: Sandbox, tmp_path: Path) -> None:
    """The commands of Pulumi's own Python language host for a component package, one by one.

    https://github.com/pulumi/pulumi/blob/master/sdk/python/toolchain/pip.go (EnsureVenv, InstallDependencies,
    InstallPackage) and sdk/python/cmd/pulumi-language-python/main.go (InstallDependencies, RunPlugin) there.
    """
    ignore = shutil.ignore_patterns(*MADE_HERE)
    folder = shutil.copytree(CHECKOUT / "components", tmp_path / "components", ignore=ignore)
    package, python = Program(sandbox, folder), str(folder / "venv/bin/python")
    package.run("python3", "-m", "venv", str(folder / "venv"))
    package.run(python, "-m", "pip", "install", "--upgrade", "pip", "setuptools", "wheel")
    package.run(python, "-m", "pip", "install", "-r", "requirements.txt")
    package.run(python, "-m", "pip", "install", str(folder))
    started = subprocess.Popen([python, str(folder), "127.0.0.1:1"], cwd=tmp_path, stdout=subprocess.PIPE, text=True)
    try:
        assert started.stdout
        address = f"127.0.0.1:{int(started.stdout.readline())}"
        with grpc.insecure_channel(address) as channel:
            served = ResourceProviderStub(channel).GetSchema(GetSchemaRequest())
        assert json.loads(served.schema) == json.loads((folder / "schema.json").read_text())
    finally:
        started.terminate()
        started.wait()


@pytest.mark.long
@pytest.mark.parametrize("example", ["yaml"], indirect=True)
def test_a_delivery_that_failed_fails_the_update_and_is_made_up_for(example: Program, sandbox: Sandbox) -> None:
    script = example.folder / "deliver"
    script.write_text("#!/bin/sh\ncat >/dev/null\nexit 9\n")
    script.chmod(0o700)
    unkept = f'key: {{ serial: 1, keepSecret: false }}, deliver: {{ command: ["{script}"], ssm: {{}} }}'
    example.write(FIRST, unkept)
    failed = example.up(check=False)
    (key_id,) = keys_in_iam(sandbox, "ann")
    assert f"users.ann.deliver: the access key {key_id} was not delivered to the command" in failed
    assert "it exited with code 9" in failed
    assert no_stack_trace(failed)
    script.write_text("#!/bin/sh\ncat >/dev/null\n")
    example.up()
    text = sandbox.client("ssm").get_parameter(Name="/access-keys/ann", WithDecryption=True)["Parameter"]["Value"]
    key = json.loads(text)
    sandbox.issued.add(key["aws_secret_access_key"])
    assert works(sandbox, (key["aws_access_key_id"], key["aws_secret_access_key"]))
    example.run(*example.pulumi, "destroy", "--run-program", *example.flags)
    assert sandbox.client("ssm").describe_parameters()["Parameters"] == []

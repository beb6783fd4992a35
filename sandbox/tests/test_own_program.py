"""Anybody's Pulumi program in a sandbox of its own: what README.md promises."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path

import pytest
from pulumi_sandbox import process
from pulumi_sandbox.environment import link_real_provider
from pulumi_sandbox.paths import FOLDER, SandboxPaths, prepare

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

# Installed in the place of the real provider: the emulated one, as a plugin that the engine starts.
PLUGIN = """#!{python}
import json, os, signal
from pulumi_sandbox.credentials import Credentials
from pulumi_sandbox.provider.server import serve

with open({record!r}, "w") as file:
    json.dump(dict(os.environ), file)
key = Credentials(os.environ["AWS_ACCESS_KEY_ID"], os.environ["AWS_SECRET_ACCESS_KEY"])
server = serve(os.environ["AWS_ENDPOINT_URL"], key, os.environ["AWS_REGION"])
print(server.port, flush=True)
signal.pause()
"""

Run = Callable[..., str]


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    """A command in the sandbox of a new project; what it prints."""
    (tmp_path / "Pulumi.yaml").write_text("name: own\nruntime: python\n")
    (tmp_path / "Pulumi.dev.yaml").write_text("config:\n  aws:region: eu-west-1\n")
    (tmp_path / "__main__.py").write_text(PROGRAM)

    def in_sandbox(*command: str) -> str:
        how = ("run", "--", *command) if command[0] in ("pulumi", "aws") else command
        done = subprocess.run(
            [sys.executable, "-m", "pulumi_sandbox", *how],
            cwd=tmp_path,
            env={name: value for name, value in os.environ.items() if name != FOLDER},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    yield in_sandbox
    process.stop(SandboxPaths(tmp_path / ".sandbox"))


@pytest.mark.long
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


def install(home: Path, content: str, release: str) -> Path:
    plugin = home / "plugins" / f"resource-aws-v{release}" / "pulumi-resource-aws"
    plugin.parent.mkdir(parents=True)
    plugin.write_text(content)
    plugin.chmod(0o755)
    return plugin


@pytest.mark.long
def test_an_installed_real_provider_is_used_without_a_download(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, record = tmp_path / "home", tmp_path / "record.json"
    monkeypatch.delenv("PULUMI_HOME", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache"))
    monkeypatch.setenv("HOME", str(home))
    install(home / ".pulumi", PLUGIN.format(python=sys.executable, record=str(record)), version("pulumi-aws"))
    run("start", "--real-provider")
    run("pulumi", "stack", "init", "dev")
    assert "4 created" in run("pulumi", "up", "--yes", "--skip-preview")
    assert "data-" in run("aws", "s3", "ls"), "the resources are in the sandbox"
    seen = json.loads(record.read_text())
    server = process.find(SandboxPaths(tmp_path / ".sandbox"))
    assert server is not None
    # At an address in numbers, AWS's SDK for Go uses path-style addresses of S3 by itself.
    assert seen["AWS_ENDPOINT_URL"] == server.endpoint_url
    assert server.endpoint_url.startswith("http://127.0.0.1:")
    assert seen["AWS_EC2_METADATA_DISABLED"] == "true"
    assert Path(seen["AWS_CONFIG_FILE"]).read_text() == "", "no profile of the machine reaches it"
    assert "PULUMI_DEBUG_PROVIDERS" not in seen


def test_only_whole_plugins_are_linked_and_lost_ones_are_forgotten(tmp_path: Path) -> None:
    paths, home = SandboxPaths(tmp_path / "sandbox"), tmp_path / "home"
    prepare(paths)
    kept, lost = install(home, "", "7.51.1"), install(home, "", "7.50.0")
    install(home, "", "7.52.0").parent.with_name("resource-aws-v7.52.0.partial").touch()

    def linked() -> list[str]:
        link_real_provider({"PULUMI_HOME": str(home)}, paths)
        return sorted(folder.name for folder in (paths.pulumi_home / "plugins").iterdir())

    assert linked() == ["resource-aws-v7.50.0", "resource-aws-v7.51.1"]
    lost.unlink()
    assert linked() == ["resource-aws-v7.51.1"]
    assert (paths.pulumi_home / "plugins/resource-aws-v7.51.1/pulumi-resource-aws").resolve() == kept

"""A stack of the program on the real engine in a sandbox of its own, driven as an operator would."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from pulumi_sandbox import engine, process
from pulumi_sandbox.aws.control import Control
from pulumi_sandbox.environment import sandbox_environment
from pulumi_sandbox.paths import SandboxPaths, prepare
from pulumi_sandbox.provider.resources.iam_keys import ses_smtp_password_v4

from tests.lifecycle import preloaded
from tests.lifecycle.vault import SECRETS_PROVIDER, Vault

CHECKOUT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Done:
    """A finished `pulumi` command."""

    code: int
    text: str
    """What a person sees of it: standard output, then standard error."""
    changes: dict[str, int]
    """What the engine says it did or would do: operation → count, without `same`."""


class Sandbox:
    """A running sandbox in a folder of its own."""

    def __init__(self, root: Path, *options: str) -> None:
        found = engine.find()
        assert found is not None, "the lifecycle tests need a Pulumi engine: make engine"
        self.folder = SandboxPaths(root)
        self.engine = found
        self.secrets = prepare(self.folder)
        self.running = process.start(self.folder, options)
        self.issued: set[str] = set()
        """The secrets and SMTP passwords of all keys that tests have seen."""
        environment = sandbox_environment(os.environ, self.folder, self.secrets, self.running, found)
        self.environment = environment | Vault().environment

    def client(
        self, service: str, key: "tuple[str, str] | None" = None, region: str = "ap-northeast-2", tls: bool = True
    ) -> Any:
        """A boto3 client with the account's root key, or with the key given."""
        import boto3
        from botocore.config import Config

        key_id, secret = key or (self.secrets.root_access_key_id, self.secrets.root_secret_access_key)
        return boto3.client(
            service,
            region_name=region,
            endpoint_url=self.running.endpoint_url if tls else self.running.plain_endpoint_url,
            aws_access_key_id=key_id,
            aws_secret_access_key=secret,
            config=Config(s3={"addressing_style": "path"}, retries={"total_max_attempts": 1}, proxies={}),
        )

    @property
    def control(self) -> Control:
        """Steers how the sandbox's AWS behaves."""
        return Control(self.running.endpoint_url, self.secrets.control_token)

    def stop(self) -> None:
        process.stop(self.folder)


@dataclass
class Stack:
    """One stack of a Pulumi project folder, which holds only configuration; the code is the checkout's."""

    sandbox: Sandbox
    folder: Path
    program: Path = CHECKOUT
    name: str = "dev"
    environment: dict[str, str] = field(default_factory=dict)
    secrets_provider: str = SECRETS_PROVIDER
    preloaded: bool = True
    """Whether the program starts with its imports done, where that is possible (preloaded.py)."""

    def __post_init__(self) -> None:
        project = yaml.safe_load((CHECKOUT / "Pulumi.yaml").read_text())
        project["main"] = str(self.program)
        project["runtime"]["options"]["virtualenv"] = sys.prefix
        if self.preloaded and preloaded.is_possible(self.sandbox.engine):
            virtualenv = preloaded.start(self.sandbox.engine.pulumi.parent)
            project["runtime"]["options"]["virtualenv"] = str(virtualenv)
            path = os.pathsep.join([str(virtualenv / "bin"), self.sandbox.environment["PATH"]])
            self.environment = {"PATH": path, **self.environment}
        (self.folder / "Pulumi.yaml").write_text(yaml.safe_dump(project))
        self.write({})
        self.run("stack", "init", self.name, "--secrets-provider", self.secrets_provider)

    @property
    def file(self) -> Path:
        return self.folder / f"Pulumi.{self.name}.yaml"

    def write(self, config: Mapping[str, Any]) -> None:
        """Set the whole config of the stack, keeping what the engine has there."""
        kept = yaml.safe_load(self.file.read_text()) if self.file.exists() else {}
        named = {key if ":" in key else f"aws-access-keys:{key}": value for key, value in config.items()}
        self.file.write_text(yaml.safe_dump({**(kept or {}), "config": {"aws:region": "ap-northeast-2", **named}}))

    def start(self, *arguments: str) -> "subprocess.Popen[str]":
        """`pulumi ARGUMENTS`, in the sandbox, which goes on while the caller does something else."""
        return subprocess.Popen(
            [str(self.sandbox.engine.pulumi), *arguments, "--non-interactive", "--color", "never"],
            cwd=self.folder,
            env=self.sandbox.environment | self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *arguments: str, check: bool = True) -> Done:
        """`pulumi ARGUMENTS`, in the sandbox."""
        process = self.start(*arguments)
        out, err = process.communicate()
        text, changes = _read_events(out) if "--json" in arguments else (out, {})
        result = Done(process.returncode, text + err, changes)
        assert not check or result.code == 0, f"pulumi {' '.join(arguments)} works, but said:\n{result.text}"
        return result

    def up(self, *arguments: str, check: bool = True) -> Done:
        return self.run("up", "--yes", "--skip-preview", "--json", *arguments, check=check)

    def preview(self, *arguments: str, check: bool = True) -> Done:
        # The event stream of `preview --json` is switched on by a variable; without it there is one large document.
        self.environment["PULUMI_ENABLE_STREAMING_JSON_PREVIEW"] = "true"
        return self.run("preview", "--json", *arguments, check=check)

    def refresh(self, *arguments: str, check: bool = True) -> Done:
        return self.run("refresh", "--yes", "--skip-preview", "--json", *arguments, check=check)

    def destroy(self, *arguments: str, check: bool = True) -> Done:
        return self.run("destroy", "--yes", "--skip-preview", "--json", *arguments, check=check)

    def save_state(self) -> None:
        """Export the state, secrets encrypted, for `restore_state`."""
        self.run("stack", "export", "--file", str(self.folder / "backup.json"))

    def restore_state(self) -> None:
        """Import the state that was saved last."""
        self.run("stack", "import", "--file", str(self.folder / "backup.json"))

    def outputs(self) -> dict[str, Any]:
        """The stack's outputs, secrets shown."""
        outputs = json.loads(self.run("stack", "output", "--show-secrets", "-j").text)
        for secret in outputs.get("secretAccessKeys", {}).values():
            self.sandbox.issued |= {secret, ses_smtp_password_v4(secret, "ap-northeast-2")}
        return outputs

    def key(self, user: str) -> tuple[str, str]:
        """The user's current key: id and secret."""
        outputs = self.outputs()
        return outputs["accessKeyIds"][user], outputs["secretAccessKeys"][user]

    def resources(self) -> dict[str, dict[str, Any]]:
        """The resources in the state, secrets encrypted, by URN."""
        deployment = json.loads(self.run("stack", "export").text)["deployment"]
        return {resource["urn"]: resource for resource in deployment.get("resources", [])}


def _read_events(stream: str) -> tuple[str, dict[str, int]]:
    said: list[str] = []
    changes: dict[str, int] = {}
    for line in stream.splitlines():
        event = json.loads(line)
        diagnostic = event.get("diagnosticEvent")
        if diagnostic and diagnostic["severity"] != "debug":
            said.append(diagnostic.get("prefix", "") + diagnostic["message"])
        elif "stdoutEvent" in event:
            said.append(event["stdoutEvent"]["message"])
        elif "summaryEvent" in event:
            counts = event["summaryEvent"]["resourceChanges"] or {}
            changes = {operation: count for operation, count in counts.items() if operation != "same"}
    return "\n".join(said) + "\n", changes

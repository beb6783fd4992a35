"""Runs the command `access-keys` in a folder and a home of its own; the engine's answers are given."""

import json
from pathlib import Path
from typing import Any

import pytest
from aws_access_keys.cli import stack
from aws_access_keys.cli.commands import access_keys
from aws_access_keys.cli.stack import StackError
from aws_access_keys.rules.untyped import mapping
from click.testing import CliRunner

COMPONENT = "urn:pulumi:dev::p::aws-access-keys:index:ProgrammaticAccess::access"


class Command:
    """Exit code and all that is printed: `code, text = command("report")`."""

    def __init__(self, home: Path, monkeypatch: pytest.MonkeyPatch, outputs: dict[str, Any]) -> None:
        self.home = home
        self.outputs = outputs
        self.state: dict[str, Any] | None = None
        """What the state has of the component; None for what the outputs have."""
        self.deployment: dict[str, Any] = {}
        """What the state has beside resources."""
        self.backend = "file://~"
        self.secret: set[str] = set()
        """Keys of the config that are encrypted."""
        self.config: dict[str, Any] = {"aws:region": {"value": "ap-northeast-2"}}
        monkeypatch.chdir(home)
        monkeypatch.setenv("HOME", str(home))
        monkeypatch.delenv("AWS_SHARED_CREDENTIALS_FILE", raising=False)
        monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")  # nobody waits for credentials of a machine
        monkeypatch.setattr(stack, "pulumi", self._pulumi)

    def _pulumi(self, *arguments: str) -> str:
        if "nope" in arguments:
            raise StackError("no stack named 'nope' found")
        match arguments:
            case ("stack", "--show-name"):
                return "dev\n"
            case ("config", "--json", "--stack", _):
                hidden = {key: {"secret": True} for key in self.secret}
                return json.dumps({**self.config, **hidden})
            case ("config", "--json", "--show-secrets", "--stack", _):
                shown = {key: {**value, "secret": key in self.secret} for key, value in self.config.items()}
                return json.dumps(shown)
            case ("whoami", "--json"):
                return json.dumps({"url": self.backend})
            case ("stack", "output", "--json", "--stack", _, *_):
                return json.dumps(self.outputs)
            case ("stack", "export", "--stack", _):
                state = self.outputs if self.state is None else self.state
                outputs = {"keys": state["keys"]} if "keys" in state else {}
                resources = [{"urn": COMPONENT, "type": COMPONENT.split("::")[2], "outputs": outputs}]
                for user, arn in state.get("userArns", {}).items():
                    outputs = {"name": user, "arn": arn}
                    resources.append({"type": "aws:iam/user:User", "parent": COMPONENT, "outputs": outputs})
                for user, key_id in mapping(state.get("accessKeyIds")).items():
                    outputs = {"user": user}
                    resources.append({"type": "aws:iam/accessKey:AccessKey", "id": key_id, "outputs": outputs})
                return json.dumps({"deployment": {**self.deployment, "resources": resources}})
            case _:
                raise AssertionError(f"nobody asks {arguments} of the engine")

    def __call__(self, *arguments: str) -> tuple[int, str]:
        result = CliRunner().invoke(access_keys, arguments)
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        return result.exit_code, result.output

"""What the engine knows about a stack of the program, and a short table of it."""

import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console
from rich.table import Table


class StackError(Exception):
    """The engine did not do what it was asked; the message is its own, fit to be shown."""


@dataclass
class User:
    """One user as the stack's state has it."""

    name: str
    groups: dict[str, list[str]] = field(default_factory=lambda: {})
    """Group → names of its policies; those of the user itself under an empty name."""
    key_ids: list[str] = field(default_factory=lambda: [])


@dataclass(frozen=True)
class Stack:
    """A stack in the sandbox whose environment is given."""

    name: str
    environment: Mapping[str, str]

    def pulumi(self, *arguments: str) -> str:
        """What `pulumi ARGUMENTS` prints for this stack. Raises StackError."""
        command = ["pulumi", *arguments, "--non-interactive", "--stack", self.name]
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True)
        if done.returncode:
            raise StackError((done.stderr or done.stdout).strip())
        return done.stdout

    def resources(self) -> list[dict[str, Any]]:
        """The resources in the state, secrets encrypted."""
        return json.loads(self.pulumi("stack", "export"))["deployment"].get("resources", [])

    def outputs(self) -> dict[str, Any]:
        """The outputs, secrets shown. Keep them out of every print and file."""
        return json.loads(self.pulumi("stack", "output", "--json", "--show-secrets"))


def grants_of(stack: str) -> dict[str, list[dict[str, Any]]]:
    """Group → its S3 grants, `bucket`, `prefix` and `access` each, as the stack file has them."""
    config = yaml.safe_load(Path(f"Pulumi.{stack}.yaml").read_text())["config"]
    groups: dict[str, Any] = config.get("aws-access-keys:groups") or {}
    return {name: group.get("s3") or [] for name, group in groups.items() if isinstance(group, dict)}


def users(resources: list[dict[str, Any]]) -> list[User]:
    """The users among a stack's resources with their groups, policies and key ids, in order of their names."""

    def outputs(token: str) -> list[dict[str, Any]]:
        return [
            {**resource.get("outputs", {}), "id": resource.get("id", "")}
            for resource in resources
            if resource["type"] == token and not resource.get("delete")
        ]

    policies: dict[str, list[str]] = {}
    for attachment in outputs("aws:iam/groupPolicyAttachment:GroupPolicyAttachment"):
        policies.setdefault(attachment["group"], []).append(attachment["policyArn"].rsplit("/", 1)[-1])
    for inline in outputs("aws:iam/groupPolicy:GroupPolicy"):
        policies.setdefault(inline["group"], []).append(f"{inline['name']} (inline)")
    found = {user["name"]: User(user["name"]) for user in outputs("aws:iam/user:User")}
    for membership in outputs("aws:iam/userGroupMembership:UserGroupMembership"):
        found[membership["user"]].groups = {
            group: sorted(policies.get(group, [])) for group in sorted(membership["groups"])
        }
    for attachment in outputs("aws:iam/userPolicyAttachment:UserPolicyAttachment"):
        own = found[attachment["user"]].groups.setdefault("", [])
        own.append(attachment["policyArn"].rsplit("/", 1)[-1])
    for inline in outputs("aws:iam/userPolicy:UserPolicy"):
        found[inline["user"]].groups.setdefault("", []).append(f"{inline['name']} (inline)")
    for user in outputs("aws:iam/user:User"):
        if boundary := user.get("permissionsBoundary"):
            found[user["name"]].groups.setdefault("", []).append(f"{boundary.rsplit('/', 1)[-1]} (boundary)")
    for key in outputs("aws:iam/accessKey:AccessKey"):
        found[key["user"]].key_ids.append(key["id"])
    return [found[name] for name in sorted(found)]


def show(found: list[User], stack: str, prefix: str) -> None:
    """Print the users of a stack: groups and policies, key id, and the command that shows the secret.

    prefix: what a person types in front of that command.
    """
    table = Table(title=f"Access keys of stack {stack}", title_justify="left")
    for column in ("User", "Groups", "Policies", "Access key id"):
        table.add_column(column, overflow="fold")
    for user in found:
        policies = sorted({policy for names in user.groups.values() for policy in names})
        table.add_row(user.name, "\n".join(filter(None, user.groups)), "\n".join(policies), "\n".join(user.key_ids))
    console = Console(width=None if sys.stdout.isatty() else 120)
    console.print(table)
    if found:
        console.print("The secrets are encrypted in the stack's state. This shows them:")
        command = f"pulumi stack output secretAccessKeys --show-secrets --stack {stack}"
        console.print(f"  {prefix}{command}", highlight=False, soft_wrap=True)

"""What the Pulumi engine says of a stack: its resources and outputs."""

import json
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any


class StackError(Exception):
    """The engine did not answer; the text is its own, fit to be shown."""


@dataclass
class User:
    """One user as the stack's state has it."""

    name: str
    groups: dict[str, list[str]] = field(default_factory=lambda: {})
    """Group → names of its managed policies."""
    key_ids: list[str] = field(default_factory=lambda: [])


def users(stack: str) -> list[User]:
    """The users of a stack with their groups, policies and key ids, in order of their names. No secret is read."""
    resources: list[dict[str, Any]] = json.loads(pulumi("stack", "export", "--stack", stack))["deployment"].get(
        "resources", []
    )

    def outputs(token: str) -> list[dict[str, Any]]:
        return [
            {**resource.get("outputs", {}), "id": resource.get("id", "")}
            for resource in resources
            if resource["type"] == token and not resource.get("delete")
        ]

    policies: dict[str, list[str]] = {}
    for attachment in outputs("aws:iam/groupPolicyAttachment:GroupPolicyAttachment"):
        policies.setdefault(attachment["group"], []).append(attachment["policyArn"].rsplit("/", 1)[-1])
    found = {user["name"]: User(user["name"]) for user in outputs("aws:iam/user:User")}
    for membership in outputs("aws:iam/userGroupMembership:UserGroupMembership"):
        found[membership["user"]].groups = {
            group: sorted(policies.get(group, [])) for group in sorted(membership["groups"])
        }
    for key in outputs("aws:iam/accessKey:AccessKey"):
        found[key["user"]].key_ids.append(key["id"])
    return [found[name] for name in sorted(found)]


def secrets(stack: str) -> dict[str, tuple[str, str]]:
    """User → (access key id, secret access key). Keep it out of every print and file."""
    outputs = json.loads(pulumi("stack", "output", "--json", "--show-secrets", "--stack", stack))
    ids, found = outputs.get("accessKeyIds", {}), outputs.get("secretAccessKeys", {})
    return {user: (ids[user], found[user]) for user in ids if user in found}


def suspended(stack: str) -> set[str]:
    """The users whose current key is inactive."""
    keys = json.loads(pulumi("stack", "output", "--json", "--stack", stack)).get("keys", {})
    return {user for user, stands in keys.items() if stands["current"]["status"] == "Inactive"}


def pulumi(*arguments: str, secret_input: str | None = None) -> str:
    """What `pulumi ARGUMENTS` prints. Raises StackError with pulumi's own words where it fails."""
    command: Sequence[str] = ("pulumi", *arguments, "--non-interactive")
    try:
        done = subprocess.run(command, capture_output=True, text=True, input=secret_input, check=False)
    except FileNotFoundError:
        raise StackError(
            "There is no pulumi on PATH. Install it (https://www.pulumi.com/docs/install/), or run this in the "
            "sandbox: python -m sandbox run -- ..."
        ) from None
    if done.returncode:
        raise StackError((done.stderr or done.stdout).strip())
    return done.stdout

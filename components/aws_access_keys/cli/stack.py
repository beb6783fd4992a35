"""What the Pulumi engine reports of a stack: outputs, config and resources."""

import json
import subprocess
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

from click import ClickException

from aws_access_keys.rules.problem import did_you_mean

NAMED_AT_MOST = 20  # users in a message


class StackError(ClickException):
    """The stack cannot be read, or not be used as asked; the text says why and what to do."""


def pulumi(*arguments: str) -> str:
    """What `pulumi ARGUMENTS` prints. Raises StackError with Pulumi's own words where it fails."""
    command = ("pulumi", *arguments, "--non-interactive", "--color", "never")
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise StackError(
            "pulumi was not found on PATH. Install it: https://www.pulumi.com/docs/install/. In a checkout's sandbox, "
            "use make report, make credentials or make rotate."
        ) from None
    if done.returncode:
        raise StackError((done.stderr or done.stdout).strip().removeprefix("error: "))
    return done.stdout


def selected_stack() -> str:
    """The stack that `pulumi stack select` chose. Raises StackError where there is none."""
    return pulumi("stack", "--show-name").strip()


def stack_outputs(stack: str, required: str, *options: str) -> dict[str, Any]:
    """Output → value; secrets only with the option --show-secrets. Raises StackError where `required` is missing."""
    outputs: dict[str, Any] = json.loads(pulumi("stack", "output", "--json", "--stack", stack, *options))
    if not outputs:
        raise StackError(f"Stack '{stack}' has no outputs yet: run `pulumi up --stack {stack}` first.")
    if required not in outputs:
        raise StackError(
            f"Stack '{stack}' has no output '{required}'. Either its last `pulumi up` failed early, and has to be run "
            f"again, or its program does not export '{required}'."
        )
    return outputs


def aws_config(stack: str) -> dict[str, Any]:
    """The stack's config under `aws:`, without the encrypted values. Raises StackError."""
    config: dict[str, dict[str, Any]] = json.loads(pulumi("config", "--json", "--stack", stack))
    return {
        name.removeprefix("aws:"): entry.get("objectValue", entry.get("value"))
        for name, entry in config.items()
        if name.startswith("aws:") and not entry.get("secret")
    }


def require_user(user: str, known: Collection[str], place: str) -> None:
    """Raise a StackError that names the known users where this one is not among them."""
    if user not in known:
        names = sorted(known)
        more = f" and {len(names) - NAMED_AT_MOST} more" if len(names) > NAMED_AT_MOST else ""
        listed = f"Its users: {', '.join(names[:NAMED_AT_MOST])}{more}." if names else "It has no users."
        raise StackError(f"{place} has no user '{user}'. {listed}{did_you_mean(user, names)}")


# ---- what `make up` shows


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

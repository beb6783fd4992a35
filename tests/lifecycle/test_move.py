"""`access-keys move`: users with their keys, secrets and records, from one stack to another; nothing in AWS changes."""

import json
import re
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from shutil import which
from typing import Any

import pytest

from tests.lifecycle.helpers import NewStack, keys_in_iam, works
from tests.lifecycle.stack import Stack

READERS = {"s3": [{"bucket": "company-data", "prefix": "reports/", "access": "read"}], "expect": {"deny": ["iam:*"]}}
GROUPS: dict[str, Any] = {
    "readers": READERS,
    "writers": {"policies": ["AmazonS3FullAccess"]},
    "mailers": {"policies": ["AmazonSESFullAccess"]},
}
USERS: dict[str, Any] = {
    "ann": {"groups": ["readers"], "deliver": {"secretsManager": {}, "ssm": {}}, "tags": {"team": "b"}},
    "bob": {"groups": ["readers", "writers"], "expect": {"deny": ["ec2:*"]}},
    "carol": {"groups": ["mailers"], "deliver": {"ssm": {}}},
}
MOVED = ("ann", "bob")


def settings(groups: dict[str, Any], users: dict[str, Any], serial: int = 1) -> dict[str, Any]:
    return {
        "aws:ignoreTags": {"keyPrefixes": ["AKIA"]},
        "groups": groups,
        "users": users,
        "keyDefaults": {"serial": serial, "description": "by the test", "retireGuard": {"idleDays": 1}},
    }


def part(found: dict[str, Any], names: tuple[str, ...], is_wanted: bool = True) -> dict[str, Any]:
    return {name: value for name, value in found.items() if (name in names) == is_wanted}


def access_keys(
    stack: Stack, *arguments: str, environment: Mapping[str, str] | None = None
) -> "subprocess.CompletedProcess[str]":
    variables = stack.sandbox.environment | dict(environment or {})
    done = subprocess.run(["access-keys", *arguments], cwd=stack.folder, env=variables, capture_output=True, text=True)
    assert "Traceback" not in done.stderr, done.stderr
    return done


def with_hooks(stack: Stack) -> set[str]:
    """The resources that have hooks, by the part of their URN that does not name the stack."""
    return {urn.split("::", 2)[2] for urn, found in stack.resources().items() if found.get("resourceHooks")}


@pytest.fixture
def two(new_stack: NewStack) -> Iterator[tuple[Stack, Stack]]:
    """Two stacks of one project in one folder: one with all users, one that was just made."""
    old = new_stack()
    old.environment["PULUMI_STACK"] = old.name
    new = Stack(old.sandbox, old.folder, name=f"{old.name}-b", environment={"PULUMI_STACK": f"{old.name}-b"})
    old.write(settings(GROUPS, USERS))
    old.up()
    yield old, new
    new.run("stack", "rm", "--yes", "--force", check=False)


@pytest.mark.long
def test_users_move_to_another_stack_without_a_call_to_aws_and_rotate_there(two: tuple[Stack, Stack]) -> None:
    old, new = two
    sandbox, control = old.sandbox, old.sandbox.control
    before, outputs = {user: keys_in_iam(sandbox, user) for user in USERS}, old.outputs()
    early = access_keys(old, "move", *MOVED, "--stack", old.name, "--to", new.name)
    assert f"Pulumi.{new.name}.yaml does not list users: ann, bob. Move their settings" in early.stderr
    new.write(settings(part(GROUPS, ("mailers",), False), part(USERS, MOVED)))
    for stack in (new, old):  # one encrypted value makes all of `users` encrypted
        encrypt = ["config", "set", "--secret", "--path", "aws-access-keys:users.ann.tags.room", "7"]
        subprocess.run(["pulumi", *encrypt, "--stack", stack.name], cwd=old.folder, env=sandbox.environment, check=True)
        both = access_keys(old, "move", *MOVED, "--stack", old.name, "--to", new.name)
        assert f"Pulumi.{old.name}.yaml still lists users: ann, bob. Move their settings" in both.stderr
    old.write(settings(part(GROUPS, ("mailers",)), part(USERS, MOVED, False)))
    new.write(settings(part(GROUPS, ("mailers",), False), part(USERS, MOVED)))
    alone = access_keys(old, "move", "ann", "--stack", old.name, "--to", new.name)
    assert "The group 'readers' cannot move: user 'bob' uses it and would stay." in alone.stderr

    control.clear_calls()
    moved = access_keys(old, "move", *MOVED, "--stack", old.name, "--to", new.name)
    assert moved.returncode == 0, moved.stderr
    assert "users: ann, bob" in moved.stdout
    assert "groups: readers, writers" in moved.stdout
    assert control.calls() == [], "AWS is not asked"
    for stack in two:
        assert stack.preview("--expect-no-changes").changes == {}, "the first preview after the move is empty"
        assert stack.up().changes == {}
    changes = [call.action for call in control.calls() if not call.action.startswith(("Get", "List", "Describe"))]
    assert changes == [], "no key and nothing else is touched"
    assert {user: keys_in_iam(sandbox, user) for user in USERS} == before
    ours, theirs = new.outputs(), old.outputs()
    for user in MOVED:
        assert ours["keys"][user] == outputs["keys"][user], "the new stack knows current and previous key"
        assert ours["secretAccessKeys"][user] == outputs["secretAccessKeys"][user], "the secret came along"
        assert user not in theirs["keys"]
    assert theirs["keys"] == {"carol": outputs["keys"]["carol"]}
    exported = new.run("stack", "export").text + old.run("stack", "export").text
    assert not any(secret in exported for secret in outputs["secretAccessKeys"].values()), "secrets are encrypted again"

    new.write(settings(part(GROUPS, ("mailers",), False), part(USERS, MOVED), serial=2))
    new.up()
    rotated = new.outputs()["keys"]["ann"]
    assert rotated["previous"]["id"] == outputs["keys"]["ann"]["current"]["id"]
    assert works(sandbox, new.key("bob"))
    stored = sandbox.client("secretsmanager").list_secrets()["SecretList"]
    content = sandbox.client("secretsmanager").get_secret_value(SecretId=stored[0]["ARN"])["SecretString"]
    assert json.loads(content)["aws_access_key_id"] == rotated["current"]["id"], "the store follows"


@pytest.mark.long
def test_a_move_that_is_killed_costs_no_key_and_the_same_command_completes_it(
    two: tuple[Stack, Stack], tmp_path: Path
) -> None:
    old, new = two
    sandbox, control = old.sandbox, old.sandbox.control
    users = USERS | {"dan": {"groups": ["readers"], "deliver": {"ssm": {}}, "key": {"keepSecret": False}}}
    old.write(settings(GROUPS, users))
    old.up()
    before, outputs = {user: keys_in_iam(sandbox, user) for user in users}, old.outputs()
    hooked = with_hooks(old)
    moved = (*MOVED, "dan")
    left = settings(part(GROUPS, ("mailers",)), part(users, moved, False))
    old.write(left)
    new.write(settings(part(GROUPS, ("mailers",), False), part(users, moved)))
    command = ("move", *moved, "--stack", old.name, "--to", new.name)
    real = which("pulumi", path=sandbox.environment["PATH"])
    wrapper, count = tmp_path / "pulumi", tmp_path / "imports"
    for number in (2, 3):
        count.write_text("")
        wrapper.write_text(
            "#!/bin/bash\n"
            f'if [ "$1 $2" = "stack import" ]; then echo >> {count}; '
            f"if [ $(wc -l < {count}) = {number} ]; then kill -9 $PPID; exit 1; fi; fi\n"
            f'exec {real} "$@"\n'
        )
        wrapper.chmod(0o755)
        killed = access_keys(old, *command, environment={"PATH": f"{tmp_path}:{sandbox.environment['PATH']}"})
        assert killed.returncode == -9
        control.clear_calls()
        refused = old.up(check=False)
        assert refused.code != 0
        assert f"To complete it, run `access-keys {' '.join(command)}` again" in refused.text
        assert old.preview(check=False).code != 0, "the preview says so, too"
        assert old.destroy(check=False).code != 0, "the engine refuses without the program"
        changes = [call.action for call in control.calls() if not call.action.startswith(("Get", "List", "Describe"))]
        assert changes == [], f"an update of the source changes nothing after import {number} was killed"
        if number == 2:
            (marker,) = re.findall(r"`pulumi state delete '(\S+)'`", refused.text)
            old.run("state", "delete", marker, "--yes")
            old.write(settings(GROUPS, users))
            assert old.up().changes == {}, "the move was given up"
            old.write(left)
    completed = access_keys(old, *command)
    assert completed.returncode == 0, completed.stderr
    for stack in two:
        assert stack.preview("--expect-no-changes").changes == {}
        stack.up()
        assert not any(found.get("protect") for found in stack.resources().values()), "the update resets protect"
    after = with_hooks(new)
    assert after == {urn for urn in hooked if urn in after or any(user in urn for user in moved)}, "and the hooks"
    assert {user: keys_in_iam(sandbox, user) for user in users} == before
    for user in moved:
        assert new.outputs()["keys"][user] == outputs["keys"][user]
    assert works(sandbox, new.key("bob"))


@pytest.mark.long
def test_nothing_moves_between_stacks_of_different_accounts(new_stack: NewStack) -> None:
    stack = new_stack()
    other = Stack(stack.sandbox, stack.folder, name=f"{stack.name}-b")
    other.write({"aws:allowedAccountIds": ["222222222222"]})
    refused = access_keys(stack, "move", "ann", "--stack", stack.name, "--to", other.name)
    assert refused.returncode == 1
    assert "aws:allowedAccountIds differs between" in refused.stderr
    assert "already" in access_keys(stack, "move", "ann", "--stack", stack.name, "--to", stack.name).stderr
    other.run("stack", "rm", "--yes", other.name, check=False)

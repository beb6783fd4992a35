"""`access-keys move`: users, with their keys and secrets, from the state of one stack into that of another.

AWS is not asked and not changed. The secrets pass from the engine to the engine in memory, never through a file.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any, cast

import click

from aws_access_keys.cli.stack import StackError, pulumi, stack_config
from aws_access_keys.rules.moving import Moved, MoveError, State, move_users, protected
from aws_access_keys.rules.problem import NAMESPACE

_ONE_CALLER = ("region", "profile", "allowedAccountIds", "assumeRoles")
"""The `aws:` config that must be the same for both stacks."""


def move(users: Sequence[str], source: str, target: str, dry_run: bool) -> tuple[dict[str, Any], str]:
    """Move users to another stack; what was moved, as data and as text. Raises StackError."""
    if source == target:
        raise StackError(f"The users are in stack '{source}' already. Choose another stack with --to.")
    configs = {stack: stack_config(stack, "aws") for stack in (source, target)}
    for name in _ONE_CALLER:
        if configs[source].get(name) != configs[target].get(name):
            raise StackError(
                f"aws:{name} differs between Pulumi.{source}.yaml and Pulumi.{target}.yaml. Both stacks must use the "
                "same account and region."
            )
    exported = {stack: _exported(stack) for stack in (source, target)}
    states: dict[str, dict[str, Any]] = {stack: json.loads(text) for stack, text in exported.items()}
    for stack, state in states.items():
        deployment: dict[str, Any] = state.get("deployment") or {}
        if not deployment.get("secrets_providers"):  # without one, secrets would not be encrypted again
            raise StackError(
                f"The state of stack '{stack}' has no secrets provider yet: run `pulumi up --stack {stack}` first."
            )
        if deployment.get("pending_operations"):
            raise StackError(
                f"An update of stack '{stack}' was interrupted. Put the settings of the users back where they were, "
                f"run `pulumi refresh --clear-pending-creates --stack {stack}` and `pulumi up --stack {stack}`, and "
                "move them again."
            )
    old, new = (states[stack]["deployment"] for stack in (source, target))
    try:
        moved = move_users(old.get("resources") or [], new.get("resources") or [], target, users)
    except MoveError as error:
        raise StackError(f"{error} Nothing was moved.") from None
    _check_files(source, target, moved)
    if not dry_run:
        for stack, text in exported.items():
            if _exported(stack) != text:  # an import would undo what that update did
                raise StackError(
                    f"Stack '{stack}' is being updated. Run this again when that is done. Nothing was moved."
                )
        command = f"access-keys move {' '.join(users)} --stack {source} --to {target}"
        _write(source, target, exported, moved, command)
    found = {f"{kind}s".replace("ys", "ies"): names for kind, names in moved.names.items()}
    verb = "Would move" if dry_run else "Moved"
    lines = [f"{verb} from stack '{source}' to stack '{target}', without a change in AWS:"]
    lines += [f"  {kind}: {', '.join(names)}" for kind, names in found.items() if names]
    after = [f"pulumi up --stack {stack}" for stack in (source, target)]
    if not dry_run:
        lines.append(
            f"Next: {' && '.join(after)}. Preview them first: they change only outputs, or complete what a failed "
            "update began."
        )
    return {"source": source, "target": target, "moved": not dry_run, **found, "next": after}, "\n".join(lines)


def _write(source: str, target: str, exported: Mapping[str, str], moved: Moved, command: str) -> None:
    """Import both states, or restore them. First the target, so that no key is ever in neither state; until the source
    is written, what moves is protected in it, and no `pulumi up` there can change it.
    """
    before: State = json.loads(exported[source])["deployment"]["resources"]
    steps = [(source, protected(before, moved, command)), (target, moved.target), (source, moved.source)]
    if (json.loads(exported[target])["deployment"].get("resources") or []) == moved.target:
        steps = steps[-1:]  # the rest of a move that was interrupted
    begun: list[str] = []
    try:
        for stack, resources in steps:
            begun.append(stack)
            state = json.loads(exported[stack])
            state["deployment"]["resources"] = resources
            pulumi("stack", "import", "--stack", stack, stdin=json.dumps(state))
    except BaseException as error:
        refused = error if isinstance(error, StackError) else None
        written = begun[:-1] if refused else begun  # Pulumi did not write what it refused
        for stack in sorted(set(written), key=(target, source).index):
            _restore(stack, exported[stack], source, target)
        if refused:
            text = f"Nothing was moved, because stack '{begun[-1]}' cannot be written: {refused.message}"
            raise StackError(text) from None
        click.echo("Nothing was moved: both states are as they were.", err=True)
        raise


def _restore(stack: str, state: str, source: str, target: str) -> None:
    try:
        pulumi("stack", "import", "--stack", stack, stdin=state)
    except StackError as error:
        raise StackError(
            f"The move was interrupted, and stack '{stack}' cannot be restored: {error.line}. Complete the move before "
            f"any `pulumi up`: run this command again, from '{source}' to '{target}'."
        ) from None


def _exported(stack: str) -> str:
    return pulumi("stack", "export", "--show-secrets", "--stack", stack)


def _check_files(source: str, target: str, moved: Moved) -> None:
    """Raise StackError unless the stack files have what moves in the target, and no longer in the source: the next
    update of a stack deletes what is only in its state.
    """
    # One encrypted value, such as adopt.secret, makes all of `users` encrypted.
    configs = [(stack, stack_config(stack, NAMESPACE, is_decrypted=True)) for stack in (target, source)]
    if not any("users" in config for _, config in configs):
        return  # the program itself has them
    for section in ("users", "groups"):
        for stack, config in configs:
            is_wanted, listed = stack == target, cast("dict[str, Any]", config.get(section) or {})
            present = {f"{config.get('namePrefix') or ''}{name}" for name in listed}
            wrong = sorted(name for name in moved.names[section[:-1]] if (name in present) != is_wanted)
            if wrong:
                state = "does not list" if is_wanted else "still lists"
                raise StackError(
                    f"Pulumi.{stack}.yaml {state} {section}: {', '.join(wrong)}. Move their settings from "
                    f"Pulumi.{source}.yaml to Pulumi.{target}.yaml first, or the next `pulumi up` would delete or "
                    "create them. Nothing was moved."
                )

"""`python -m demo up|preview|down STACK`: what an operator types, in the sandbox, and what came of it."""

import argparse
import os
import sys
from datetime import datetime, timedelta, timezone
from pathlib import Path

from aws_access_keys.rules.problem import did_you_mean
from pulumi_sandbox import engine, process
from pulumi_sandbox.cli import run_forwarding_signals
from pulumi_sandbox.environment import enter
from pulumi_sandbox.paths import SandboxPaths, default_paths
from pulumi_sandbox.process import SandboxError
from rich.console import Console

from demo.stack import Stack, StackError, grants_of, show, users

PREFIX = f"{os.path.relpath(os.path.dirname(sys.executable))}/pulumi-sandbox run -- "


def main() -> None:
    """Exit code: the engine's, or 1."""
    parser = argparse.ArgumentParser(prog="python -m demo", description=__doc__)
    parser.add_argument("what", choices=("up", "preview", "down"))
    parser.add_argument("stack")
    arguments = parser.parse_args()
    paths = default_paths()
    try:
        if arguments.what == "down":
            sys.exit(_down(arguments.stack, paths))
        sys.exit(_up(arguments.stack, paths, preview=arguments.what == "preview"))
    except (StackError, SandboxError) as error:
        sys.exit(str(error))


def _up(name: str, paths: SandboxPaths, *, preview: bool) -> int:
    stacks = sorted(path.name.split(".", 1)[1].removesuffix(".yaml") for path in Path().glob("Pulumi.*.yaml"))
    if name not in stacks:
        # The engine would create an empty stack of that name.
        raise StackError(
            f"There is no Pulumi.{name}.yaml here.{did_you_mean(name, stacks)} "
            f"Stacks with a file: {', '.join(stacks) or 'none'}. Nothing was created."
        )
    stack = Stack(name, enter(paths))
    stack.pulumi("stack", "select", "--create")
    if preview:
        return _run(stack, "preview")
    return _run(stack, "up", "--yes", "--skip-preview") or _show_and_try(stack)


def _run(stack: Stack, *arguments: str) -> int:
    return run_forwarding_signals(["pulumi", *arguments, "--stack", stack.name], dict(stack.environment))


def _show_and_try(stack: Stack) -> int:
    from demo.smoke_test import smoke_test  # slow to import

    found, outputs = users(stack.resources()), stack.outputs()
    show(found, stack.name, PREFIX)
    key_ids, secrets = outputs.get("accessKeyIds", {}), outputs.get("secretAccessKeys", {})
    inactive = {user for user, key in outputs.get("keys", {}).items() if key["current"]["status"] == "Inactive"}
    grants = grants_of(stack.name)
    console = Console(highlight=False, soft_wrap=True)
    console.print("\nThe issued keys, tried with AWS's own SDK:")
    failed = 0
    for user in found:
        if user.name in inactive:
            console.print(f"  [yellow]-[/]      {user.name}: not tried, the key is inactive")
        elif user.name in key_ids and user.name in secrets:
            policies = {policy for names in user.groups.values() for policy in names}
            groups = [group for group in user.groups if group]
            others = policies - {f"{group}-s3" for group in groups} - {"AmazonS3FullAccess (boundary)"}
            tried = [] if others else [grant for group in groups for grant in grants.get(group, ())]
            for text, good in smoke_test(key_ids[user.name], secrets[user.name], policies, tried, stack.environment):
                console.print(f"  {'[green]ok[/]    ' if good else '[red]FAILED[/]'} {user.name}: {text}")
                failed += not good
        elif not user.key_ids:
            console.print(f"  [yellow]-[/]      {user.name}: has no key")
        else:
            console.print(f"  [yellow]-[/]      {user.name}: not tried, the stack's outputs do not contain the secret")
    if failed:
        console.print(
            "\nThe account is not as the stack has it, as after `pulumi-sandbox reset` or a change by hand. Let "
            f"the engine compare them, then run make up again:\n  {PREFIX}pulumi refresh --yes --stack {stack.name}\n"
            "If that changes nothing, somebody added a policy or a membership, which the stack does not know. Find and "
            "remove it in\nmake shell: aws iam list-groups-for-user, list-attached-user-policies, list-user-policies, "
            "and the same for groups."
        )
        return 1
    console.print(
        "\nThis account is on this machine only. To explore it: make shell. To delete everything: "
        f"make down{'' if stack.name == 'dev' else f' STACK={stack.name}'}"
    )
    return 0


def _down(name: str, paths: SandboxPaths) -> int:
    stacks = sorted({path.stem for path in paths.state.rglob("stacks/**/*.json")})
    if name in stacks and not engine.find():
        raise StackError(
            f"There is no Pulumi engine here to destroy the stack '{name}'. Run make engine, then make down."
        )
    if name in stacks:
        stack = Stack(name, enter(paths))
        # A day later no key is so young that its use could be unknown. The sandbox's clock may have been ahead.
        created = [found["outputs"].get("createDate", "")[:10] for found in stack.resources() if "outputs" in found]
        latest = max([datetime.now(timezone.utc).date().isoformat(), *created])
        tomorrow = datetime.fromisoformat(latest).date() + timedelta(days=1)
        stack = Stack(name, {**stack.environment, "ACCESS_KEYS_TODAY": tomorrow.isoformat()})
        flags = ["--run-program"] if _let_guarded_keys_go(stack, paths) else []
        code = _run(stack, "destroy", "--yes", "--skip-preview", *flags)
        code = code or _run(stack, "stack", "rm", "--yes", "--preserve-config")
        if code:
            print("To discard the sandbox instead, with all its stacks: make clean", file=sys.stderr)
            return code
    else:
        print(f"No stack '{name}' in the sandbox. Existing stacks: {', '.join(stacks) or 'none'}.")
    process.stop(paths)
    print("The sandbox is stopped.")
    return 0


def _let_guarded_keys_go(stack: Stack, paths: SandboxPaths) -> bool:
    """Whether a stack has keys under a retireGuard. They count as unused then: `make up` itself has used them, and here
    nobody is harmed."""
    guarded = [found["id"] for found in stack.resources() if "BeforeDelete" in found.get("resourceHooks", {})]
    if guarded:
        process.control(paths).reset_last_used(guarded)
        text = "Some keys are under a retireGuard. The sandbox resets their last use so that they can be deleted."
        print(text, flush=True)
    return bool(guarded)

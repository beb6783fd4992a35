"""`make up` and `make preview`: what a newcomer sees, made of the same commands that an operator types.

Runs inside the sandbox: python -m sandbox run -- python -m sandbox.walkthrough up dev
"""

import argparse
import os
import subprocess
import sys

from aws_access_keys.cli.show import show
from aws_access_keys.cli.stack import StackError, secrets, suspended, users
from rich.console import Console

from sandbox.folder import INSIDE


def main() -> None:
    """Run the engine on the stack; after an `up`, show the table and the proof. Exit code: the engine's, or 1."""
    parser = argparse.ArgumentParser(prog="sandbox.walkthrough")
    parser.add_argument("what", choices=("up", "preview"))
    parser.add_argument("stack")
    arguments = parser.parse_args()
    if INSIDE not in os.environ:
        sys.exit("This runs inside the sandbox only: make up")
    stack = arguments.stack
    selected = subprocess.run(
        ["pulumi", "stack", "select", "--create", "--non-interactive", stack], capture_output=True, text=True
    )
    if selected.returncode:
        sys.exit((selected.stderr or selected.stdout).strip())
    flags = ["--yes", "--skip-preview"] if arguments.what == "up" else []
    code = subprocess.run(["pulumi", arguments.what, "--stack", stack, *flags]).returncode
    if code or arguments.what == "preview":
        sys.exit(code)
    try:
        sys.exit(_show_and_prove(stack))
    except StackError as error:
        sys.exit(str(error))


def _show_and_prove(stack: str) -> int:
    from sandbox.proof import prove

    found = users(stack)
    prefix = f"{os.path.relpath(sys.executable)} -m sandbox run -- "
    show(found, stack, prefix)
    issued, off = secrets(stack), suspended(stack)
    console = Console(highlight=False, soft_wrap=True)
    console.print("\nThe proof, made by AWS's own SDK with the issued keys:")
    failed = 0
    for user in found:
        if user.name in off:
            console.print(f"  [yellow]-[/]      {user.name}: not tried, the key is inactive")
        elif user.name in issued:
            policies = {policy for names in user.groups.values() for policy in names}
            for text, good in prove(*issued[user.name], policies):
                console.print(f"  {'[green]ok[/]    ' if good else '[red]FAILED[/]'} {user.name}: {text}")
                failed += not good
        else:
            console.print(
                f"  [yellow]-[/]      {user.name}: not tried, the stack does not have the secret in the clear"
            )
    if failed:
        console.print(
            "\nThe state of the stack and the sandbox's account differ, as after `python -m sandbox reset`. Let the "
            f"engine look, then run make up again:\n  {prefix}pulumi refresh --yes --stack {stack}"
        )
        return 1
    console.print(
        "\nThis account lives on this machine only. Look around in it: make shell. Take it down: "
        f"make down{'' if stack == 'dev' else f' STACK={stack}'}"
    )
    return 0


if __name__ == "__main__":
    main()

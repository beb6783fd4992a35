"""`python -m aws_access_keys.cli.show [STACK]`: a short table of who has which key, and where its secret is."""

import argparse
import sys

from rich.console import Console
from rich.table import Table

from aws_access_keys.cli.stack import StackError, User, users


def main() -> None:
    """Print the table. Exit code 1 with pulumi's words where there is no such stack."""
    parser = argparse.ArgumentParser(prog="python -m aws_access_keys.cli.show", description=__doc__)
    parser.add_argument("stack", nargs="?", default="dev")
    stack = parser.parse_args().stack
    try:
        found = users(stack)
    except StackError as error:
        sys.exit(str(error))
    show(found, stack)


def show(found: list[User], stack: str, prefix: str = "") -> None:
    """Print the users of a stack: groups and policies, key id, and the command that shows the secret.

    prefix: what a person types in front of that command.
    """
    table = Table(title=f"Access keys of stack {stack}", title_justify="left")
    for column in ("User", "Groups", "Managed policies", "Access key id"):
        table.add_column(column, overflow="fold")
    for user in found:
        policies = sorted({policy for names in user.groups.values() for policy in names})
        table.add_row(user.name, "\n".join(user.groups), "\n".join(policies), "\n".join(user.key_ids))
    console = Console(width=None if sys.stdout.isatty() else 120)
    console.print(table)
    if found:
        console.print("The secrets are encrypted in the stack's state. This shows them:")
        command = f"pulumi stack output secretAccessKeys --show-secrets --stack {stack}"
        console.print(f"  {prefix}{command}", highlight=False, soft_wrap=True)


if __name__ == "__main__":
    main()

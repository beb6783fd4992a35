"""`access-keys inventory`: every user and access key of the account, whichever stack has it, if any does.

Asks AWS about the account, and the engine for the states of stacks. Reads no secret and changes nothing.
"""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from rich.console import Console
from rich.progress import Progress

from aws_access_keys.account import Account, AwsQueryError
from aws_access_keys.cli.asking import reason_for
from aws_access_keys.cli.inventory.data import Inventory, inventory_of
from aws_access_keys.cli.inventory.questions import ask_account
from aws_access_keys.cli.inventory.stacks import read_stacks
from aws_access_keys.cli.report import day_of_report
from aws_access_keys.cli.stack import StackError, aws_config
from aws_access_keys.rules.findings import Limits
from aws_access_keys.session import session_for


def make_inventory(stack: str | None, all_projects: bool, limits: Limits) -> Inventory:
    """The inventory for today, or for the day in ACCESS_KEYS_TODAY. Raises StackError.

    stack: whose `aws:` config is used to ask AWS; None for the selected one, if there is one. all_projects: whether
    keys are looked for in the stacks of all projects of the backend.
    """
    day = day_of_report()
    account, caller = caller_of(aws_config(stack))
    pool = ThreadPoolExecutor(1)
    try:
        with asking_progress() as progress:
            reading = pool.submit(read_stacks, all_projects, progress)
            found = ask_account(account, caller["Arn"], reading.result, progress)
    finally:
        pool.shutdown(wait=False, cancel_futures=True)  # Ctrl-C does not wait for what is under way
    return inventory_of(caller["Account"], found, reading.result(), day, limits)


def caller_of(config: Mapping[str, Any]) -> tuple[Account, Mapping[str, str]]:
    """The account to ask with a stack's `aws:` config, and who asks, as GetCallerIdentity has it. Raises StackError."""
    account = Account(lambda: session_for(config))
    try:
        caller = account.ask("sts", "get_caller_identity")
    except AwsQueryError as error:
        raise StackError(f"AWS does not answer{reason_for(error, 'sts:GetCallerIdentity')}") from None
    return account, caller


def asking_progress() -> Progress:
    """Progress lines on standard error, gone when it is done; into a file, none."""
    console = Console(stderr=True)
    return Progress(console=console, transient=True, disable=not console.is_terminal)

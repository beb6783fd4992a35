"""`access-keys inventory --all-stacks`: the inventories of all accounts in which the project has a stack, in one."""

from dataclasses import dataclass, fields, replace
from datetime import datetime
from typing import Any

from aws_access_keys.account import Account
from aws_access_keys.cli.inventory import asking_progress, caller_of
from aws_access_keys.cli.inventory.data import Inventory, InventorySummary, inventory_of
from aws_access_keys.cli.inventory.questions import ask_account
from aws_access_keys.cli.inventory.stacks import Stacks, read_stacks
from aws_access_keys.cli.report import day_of_report
from aws_access_keys.cli.stack import NO_STACKS, StackError, aws_config, stacks_to_read
from aws_access_keys.rules.findings import Limits
from aws_access_keys.rules.inventory import urgency


@dataclass(frozen=True, kw_only=True)
class AccountSummary:
    """What the listing has of one account."""

    account: str
    credential_report: datetime | None
    summary: InventorySummary


@dataclass(frozen=True, kw_only=True)
class AllAccounts(Inventory):
    """Every user and access key of several accounts on one day; the credential report is the oldest of theirs."""

    COLUMNS = ("User", "Account", *Inventory.COLUMNS[1:])
    NARROW = ((("User", "Account", "Key id"), 20), *Inventory.NARROW[1:])

    accounts: tuple[AccountSummary, ...]
    unread: tuple[str, ...]
    """Stacks with whose `aws:` config AWS could not be asked; `problem` has the reasons."""

    @property
    def title(self) -> str:
        return f"Users and access keys of the AWS accounts {', '.join(one.account for one in self.accounts)}"


def inventory_all(all_projects: bool, limits: Limits) -> AllAccounts:
    """The inventory of the accounts of all stacks of the project in this folder, each account once. Raises StackError
    where AWS can be asked with the config of none.
    """
    day = day_of_report()
    names, problems = stacks_to_read()
    accounts: dict[str, tuple[Account, str]] = {}
    unread: dict[str, str] = {}
    for stack in names:
        try:
            account, caller = caller_of(aws_config(stack))
        except StackError as error:
            unread[stack] = error.of_stack(stack)
        else:
            accounts.setdefault(caller["Account"], (account, caller["Arn"]))
    if not accounts:
        raise StackError(" ".join((*problems, *unread.values())) or NO_STACKS)
    made: list[Inventory] = []
    with asking_progress() as progress:
        stacks = read_stacks(all_projects, progress)
        for account_id, (account, arn) in sorted(accounts.items()):
            found = ask_account(account, arn, lambda: stacks, progress)
            one = inventory_of(account_id, found, stacks, day, limits)
            made.append(replace(one, problem=" ".join(found.problems)))
    return _joined(made, stacks, unread)


def _joined(made: list[Inventory], stacks: Stacks, unread: dict[str, str]) -> AllAccounts:
    problems = [f"AWS account {one.account}: {one.problem}" for one in made if one.problem]
    reports = [one.credential_report for one in made if one.credential_report]
    ages = [one.credential_report_age_minutes for one in made if one.credential_report_age_minutes is not None]
    rows = [row for one in made for row in one.items]
    counts: dict[str, Any] = {
        of.name: sum(getattr(one.summary, of.name) for one in made) for of in fields(InventorySummary)
    }
    return AllAccounts(
        account=None,
        day=made[0].day,
        limits=made[0].limits,
        problem=" ".join((*unread.values(), *problems, *stacks.problems)) or None,
        credential_report=min(reports, default=None),
        credential_report_age_minutes=max(ages, default=None),
        complete=all(one.complete for one in made) and not unread,
        summary=InventorySummary(**counts),
        items=tuple(sorted(rows, key=lambda row: urgency(row.reasons, row.age_days, row.user))),
        accounts=tuple(
            AccountSummary(account=one.account or "", credential_report=one.credential_report, summary=one.summary)
            for one in made
        ),
        unread=tuple(unread),
    )

"""`access-keys report --all-stacks`: the keys of every stack of the project in one listing."""

from dataclasses import dataclass, fields

from aws_access_keys.cli.report import day_of_report, make_report
from aws_access_keys.cli.report.data import UNMANAGED, Listing, Report, Row, Summary
from aws_access_keys.cli.stack import NO_STACKS, NoKeysError, StackError, each_stack, stacks_to_read
from aws_access_keys.rules.findings import Limits


@dataclass(frozen=True, kw_only=True)
class StackRow(Row):
    """One access key of one of several stacks."""

    stack: str
    account: str | None
    """AWS account id; None where it is not known."""

    @property
    def place(self) -> str:
        return self.stack


@dataclass(frozen=True, kw_only=True)
class StackSummary:
    """What the listing has of one stack."""

    stack: str
    account: str | None
    summary: Summary
    problem: str | None


@dataclass(frozen=True, kw_only=True)
class AllStacks(Listing):
    """Every access key of several stacks on one day, stack by stack."""

    NAME = "report"
    ROW = StackRow
    COLUMNS = (*Report.COLUMNS[:2], "Stack", *Report.COLUMNS[2:])
    NARROW = (Report.NARROW[0], (("Stack", "Key", "Status"), 13), *Report.NARROW[2:])
    REASONS = "Overdue"

    stacks: tuple[StackSummary, ...]
    unread: tuple[str, ...]
    """Stacks that could not be read; `problem` has the reasons."""
    summary: Summary
    keys: tuple[StackRow, ...]

    @property
    def title(self) -> str:
        named = (f"{one.stack}, AWS account {one.account}" if one.account else one.stack for one in self.stacks)
        return f"Access keys of all stacks ({'; '.join(named)})"

    @property
    def headline(self) -> str:
        return self.summary.text + (f", not read: {', '.join(self.unread)}" if self.unread else "")

    @property
    def rows(self) -> tuple[StackRow, ...]:
        return self.keys

    @property
    def notes(self) -> list[str]:
        return [UNMANAGED] if self.summary.unmanaged else []


def report_all(limits: Limits) -> AllStacks:
    """The report of all stacks of the project in this folder, each with its own `aws:` config; one that cannot be read
    is named in the report. Raises StackError where there are none.
    """
    day = day_of_report()
    names, problems = stacks_to_read()
    if not names:
        raise StackError(" ".join(problems) or NO_STACKS)

    read_stacks = each_stack(names, lambda stack: make_report(stack, limits, is_one_of_many=True))
    made = [report for report in read_stacks.values() if isinstance(report, Report)]
    failed = {stack: error for stack, error in read_stacks.items() if isinstance(error, StackError)}
    problems += [f"Stack '{report.stack}': {report.problem}" for report in made if report.problem]
    problems += [error.of_stack(stack) for stack, error in failed.items()]
    return AllStacks(
        account=None,
        day=day,
        limits=limits,
        problem=" ".join(problems) or None,
        stacks=tuple(
            StackSummary(stack=one.stack, account=one.account, summary=one.summary, problem=one.problem) for one in made
        ),
        unread=tuple(stack for stack, error in failed.items() if not isinstance(error, NoKeysError)),
        summary=Summary(**{of.name: sum(getattr(one.summary, of.name) for one in made) for of in fields(Summary)}),
        keys=tuple(StackRow(**vars(row), stack=one.stack, account=one.account) for one in made for row in one.keys),
    )

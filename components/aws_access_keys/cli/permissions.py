"""`access-keys permissions --check`: whether the stack's permission tests (`expect`) still pass.

Reads what the last `pulumi up` recorded in the state, and asks IAM's simulator about each group and user as it is now.
"""

import sys
from io import StringIO
from typing import Any, NamedTuple

from rich.console import Console
from rich.table import Table

from aws_access_keys.account import Account, AwsQueryError
from aws_access_keys.cli.stack import StackError, stack_config, stack_expectations
from aws_access_keys.rules.expectations import Check, check_problem
from aws_access_keys.session import session_for
from aws_access_keys.simulation import simulate_principal


class Result(NamedTuple):
    """One expectation, and whether it holds."""

    owner: str
    """`groups.NAME` or `users.NAME`, where two components have one: `COMPONENT/groups.NAME`."""
    expected: str
    """`deny iam:*`."""
    questions: int
    """How many pairs of an action and a resource IAM decided on."""
    problem: str | None
    """Why it does not hold; None where it does."""


def check_expectations(stack: str) -> list[Result]:
    """Every expectation of a stack, checked against AWS. Raises StackError."""
    owners, config = stack_expectations(stack), stack_config(stack, "aws")
    account = Account(lambda: session_for(config))
    results: list[Result] = []
    for owner, (arn, records) in owners.items():
        checks = [Check.of_record(record) for record in records]
        try:
            decisions = simulate_principal(account, arn, checks) if arn else None
        except AwsQueryError as error:
            cure = error.cure("iam:SimulatePrincipalPolicy")
            raise StackError(f"The expectations of {owner} could not be checked: {error}. {cure}") from None
        for check in checks:
            problem = "IAM has no such group or user" if decisions is None else check_problem(check, decisions)
            results.append(Result(owner, check.text, len(check.questions), problem))
    return results


def as_data(stack: str, results: list[Result]) -> dict[str, Any]:
    """The results for programs."""
    rows = [
        {"for": row.owner, "expected": row.expected, "questions": row.questions, "problem": row.problem}
        for row in results
    ]
    return {"stack": stack, "failed": sum(row.problem is not None for row in results), "expectations": rows}


def as_text(results: list[Result]) -> str:
    """The results for people: a line for each expectation."""
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="bold")
    for header in ("For", "Expected", "Result"):
        table.add_column(header, overflow="fold")
    for row in results:
        table.add_row(row.owner, row.expected, f"FAILED: {row.problem}" if row.problem else "ok")
    text = StringIO()
    to_people = sys.stdout.isatty()
    console = Console(file=text, width=None if to_people else 400, highlight=False, markup=False, color_system=None)
    console.print(table)
    failed, decisions = sum(row.problem is not None for row in results), sum(row.questions for row in results)
    console.print(f"\nExpectations: {len(results)}, failed: {failed}. IAM decisions: {decisions}.")
    return "".join(line.rstrip() + "\n" for line in text.getvalue().splitlines()).rstrip("\n")

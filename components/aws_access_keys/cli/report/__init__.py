"""`access-keys report`: every access key of a stack, how old it is, when it was last used, and what is overdue.

Reads the stack's state from the engine, and from AWS the last uses and the keys that the stack does not know. Reads no
secret and changes nothing.
"""

import os
import sys
from datetime import date
from pathlib import Path

from rich.console import Console
from rich.progress import Progress

from aws_access_keys.account import Account, AwsQueryError
from aws_access_keys.cli.asking import authorization_details, reason_for
from aws_access_keys.cli.files import replace_file
from aws_access_keys.cli.report.as_html import as_html
from aws_access_keys.cli.report.as_text import as_text, print_listing
from aws_access_keys.cli.report.data import Listing, Report, as_csv, as_json, report_of
from aws_access_keys.cli.report.last_used import LastUses, fetch_keys, fetch_last_used
from aws_access_keys.cli.stack import Owned, StackError, owned, stack_config, stack_keys
from aws_access_keys.clock import today
from aws_access_keys.rules.findings import Limits
from aws_access_keys.rules.resource_types import COMPONENT
from aws_access_keys.rules.takeover import Foreign, foreign_parts, parse_account
from aws_access_keys.session import session_for

MANY = 25  # keys from which progress is shown
FORMATS = {"text": as_text, "json": as_json, "html": as_html, "csv": as_csv}


def make_report(stack: str, limits: Limits, is_one_of_many: bool = False) -> Report:
    """The report of a stack for today, or for the day in ACCESS_KEYS_TODAY. Raises StackError.

    is_one_of_many: whether others are made at the same time, so that no progress is shown.
    """
    day = day_of_report()
    outputs, config, own = stack_keys(stack), stack_config(stack, "aws"), owned(stack)
    users = {
        part[role]["id"]: user
        for user, part in outputs["keys"].items()
        for role in ("current", "previous")
        if part.get(role)
    }
    # Also those whose keys expired: somebody may have given them one.
    in_iam, problem = fetch_keys({*users.values(), *outputs["userArns"]}, lambda: session_for(config))
    statuses = {key["id"]: key["status"] for keys in in_iam.values() for key in keys}
    for part in outputs["keys"].values():
        for role in ("current", "previous"):
            if key := part.get(role):  # the state does not know what somebody changed in IAM
                key |= {"recorded": key["status"], "status": statuses.get(key["id"], key["status"])}
    # Of an update that failed: a store may have one already.
    of_components = {key_id: str(found["urn"]) for key_id, found in own.keys.items() if COMPONENT in str(found["urn"])}
    unfinished = {key_id: urn.rpartition("/")[2] for key_id, urn in of_components.items() if key_id not in users}
    others = {user: [key for key in keys if key["id"] not in users] for user, keys in in_iam.items()}
    left = [f"{key['id']} of {user}" for user, keys in others.items() for key in keys if key["id"] in unfinished]
    users |= {key["id"]: user for user, keys in others.items() for key in keys}
    with progress_of(0 if is_one_of_many else len(users)) as progress:
        task = progress.add_task("asking AWS for last uses", total=len(users))
        uses = fetch_last_used(users, lambda: session_for(config), lambda: progress.advance(task))
        foreign, unread = _foreign(own, Account(lambda: session_for(config)), progress)
    new = f"No update that finished has recorded {', '.join(left)}: run `pulumi up`." if left else None
    problems = " ".join(text for text in (_problem(uses, len(users)), problem, unread, new) if text)
    return report_of(stack, outputs, uses.known, day, limits, problems or None, others, foreign, unfinished)


def _foreign(own: Owned, account: Account, progress: Progress) -> tuple[list[Foreign], str | None]:
    """What the stack's groups and users have in IAM and the stack does not manage, or why that is not known."""
    try:
        found = parse_account(authorization_details(account, ("User", "Group"), progress))
    except AwsQueryError as error:
        because = reason_for(error, "iam:GetAccountAuthorizationDetails")
        return [], f"Policies and members that the stack does not manage are not known{because}"
    return list(foreign_parts(found, own.entities, own.held)), None


def day_of_report() -> date:
    """Today, or the day in ACCESS_KEYS_TODAY. Raises StackError."""
    try:
        return today(os.environ)
    except ValueError as error:
        raise StackError(str(error)) from None


def put_listing(listing: Listing, kind: str, file: Path | None) -> None:
    """Print a report or an inventory, or write it to a file, in one of the FORMATS. Raises StackError."""
    to_people = kind == "text" and file is None
    if listing.problem and not to_people:
        sys.stderr.write(listing.problem + "\n")
    if to_people and sys.stdout.isatty():
        print_listing(listing, Console(highlight=False))
    elif file is None:
        sys.stdout.buffer.write(FORMATS[kind](listing).encode())
        sys.stdout.flush()
    else:
        try:
            replace_file(file, FORMATS[kind](listing).encode())
        except OSError as error:
            raise StackError(f"The {listing.NAME} cannot be written to {file}: {error.strerror}.") from None
        sys.stderr.write(f"{listing.headline}. The {listing.NAME} is in {file}\n")


def _problem(uses: LastUses, total: int) -> str | None:
    parts: list[str] = []
    for error, key_ids in uses.errors.items():
        which = ", ".join(key_ids[:3]) + (f" and {len(key_ids) - 3} more" if len(key_ids) > 3 else "")
        if len(key_ids) == total > 1:
            which = "all keys"
        parts.append(f"The last use of {which} is unknown: {error}.")
    return " ".join(parts) or None


def progress_of(keys: int) -> Progress:
    """A progress line on standard error, gone when it is done; for few keys, or into a file, none."""
    console = Console(stderr=True)
    return Progress(console=console, transient=True, disable=keys < MANY or not console.is_terminal)

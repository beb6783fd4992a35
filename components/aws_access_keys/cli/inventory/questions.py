"""What AWS is asked about the account, in as few calls as there are: pages of authorization details, one credential
report, and the ids of keys, which IAM tells one user at a time. What AWS does not answer is named, and the rest stays.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

from rich.progress import Progress

from aws_access_keys.account import AccessKeyMetadata, Account, AwsQueryError
from aws_access_keys.cli.asking import authorization_details, each, reason_for
from aws_access_keys.cli.inventory.stacks import Stacks
from aws_access_keys.iam import LastUse
from aws_access_keys.rules.credential_report import ROOT, ReportedUser, ReportError, certain_uses, parse_report
from aws_access_keys.rules.documents import Document
from aws_access_keys.rules.inventory import AccountUser, Authorization, parse_authorization

# The AWS policies are left out, or all of them would come, with every version.
KINDS = ("User", "Group", "LocalManagedPolicy")
REPORT_TIMEOUT = 300  # seconds
# LimitExceeded: AWS makes reports of too many accounts at the moment.
WAIT = {"LimitExceeded", "ReportInProgress", "ReportNotPresent", "ReportExpired"}


@dataclass
class Found:
    """What AWS answered."""

    users: Mapping[str, AccountUser] | None = None
    """By name; None where AWS did not answer."""
    documents: Mapping[str, Document] = field(default_factory=dict[str, Document])
    """ARN of a managed policy → its document."""
    reported: Mapping[str, ReportedUser] | None = None
    """Rows of the credential report by name, root's under ROOT; None where AWS did not answer."""
    reported_on: datetime | None = None
    keys: dict[str, list[AccessKeyMetadata]] = field(default_factory=dict[str, list[AccessKeyMetadata]])
    """User, or ROOT → its keys, for those whose keys are known."""
    used: dict[str, LastUse | None] = field(default_factory=dict[str, "LastUse | None"])
    """Key id → last use, for those of which it is known."""
    problems: list[str] = field(default_factory=list[str])

    @property
    def names(self) -> set[str]:
        """All users, and ROOT where anything is known of root. The report can have some who are gone."""
        reported = set(self.reported or ())
        return (reported if self.users is None else {*self.users, *(reported & {ROOT})}) | set(self.keys)


def ask_account(account: Account, caller: str, stacks: Callable[[], Stacks], progress: Progress) -> Found:
    """Ask about everything. caller: ARN. stacks: waits for what the stacks have. Raises nothing that AWS answers."""
    found = Found()
    authorization = _authorization(account, found, progress)
    _credential_report(account, found, progress)
    if authorization:
        _aws_documents(account, authorization, found)
    names = _users_to_ask(found, stacks())
    if caller.endswith(":root"):
        names.insert(0, ROOT)
    _keys(account, names, found, progress)
    _uses(account, found, progress)
    return found


def _authorization(account: Account, found: Found, progress: Progress) -> Authorization | None:
    try:
        pages = authorization_details(account, KINDS, progress)
    except AwsQueryError as error:
        missing = "Policies are not known, and users only from the credential report"
        found.problems.append(f"{missing}{reason_for(error, 'iam:GetAccountAuthorizationDetails')}")
        return None
    authorization = parse_authorization(pages)
    found.users = {user.name: user for user in authorization.users}
    found.documents = authorization.documents
    return authorization


def _credential_report(account: Account, found: Found, progress: Progress) -> None:
    task = progress.add_task("waiting for AWS's credential report", total=1)
    try:
        response = _made_report(account)
        found.reported = parse_report(response["Content"].decode("utf-8"))
        found.reported_on = response["GeneratedTime"].astimezone(timezone.utc)
    except (AwsQueryError, ReportError) as error:
        because = reason_for(error, "iam:GenerateCredentialReport and iam:GetCredentialReport")
        found.problems.append(f"Last uses, console passwords, MFA and root's keys are not known{because}")
    progress.update(task, completed=1)


def _made_report(account: Account) -> Any:
    """The report, once AWS has made it. Raises AwsQueryError, and ReportError where it takes too long."""
    deadline, pause, state = time.monotonic() + REPORT_TIMEOUT, 1.0, ""
    while True:
        try:
            state = account.ask("iam", "generate_credential_report")["State"]
            if state == "COMPLETE":
                return account.ask("iam", "get_credential_report")
        except AwsQueryError as error:
            if error.code not in WAIT:
                raise
            state = str(error)
        if time.monotonic() >= deadline:
            raise ReportError(f"AWS has not made a credential report in {REPORT_TIMEOUT} seconds ({state}); try later")
        time.sleep(pause)
        pause = min(pause * 2, 10)


def _aws_documents(account: Account, authorization: Authorization, found: Found) -> None:
    """Add the documents of AWS's policies that are in use and whose names do not tell enough."""
    documents = dict(found.documents)
    errors: dict[str, AwsQueryError] = {}
    for arn, answer in each(sorted(authorization.unknown_policies), account.policy_document):
        if isinstance(answer, AwsQueryError):
            errors.setdefault(answer.code, answer)
        elif answer is not None:
            documents[arn] = answer
    found.documents = documents
    for error in errors.values():
        because = reason_for(error, "iam:GetPolicy and iam:GetPolicyVersion")
        found.problems.append(f"Some of AWS's policies are only known by name{because}")


def _users_to_ask(found: Found, stacks: Stacks) -> list[str]:
    """The users who have keys, and those of whom that is not known."""
    in_stacks = {key.user for key in stacks.keys.values()}
    reported = found.reported or {}
    return sorted(
        name for name in found.names - {ROOT} if name not in reported or reported[name].keys or name in in_stacks
    )


def _keys(account: Account, names: Sequence[str], found: Found, progress: Progress) -> None:
    task = progress.add_task("asking for the ids of keys", total=len(names))
    errors: dict[str, tuple[AwsQueryError, list[str]]] = {}

    def ask(name: str) -> list[AccessKeyMetadata]:
        return account.list_access_keys_now(None if name == ROOT else name)

    for name, answer in each(names, ask):
        progress.advance(task)
        if isinstance(answer, AwsQueryError):
            errors.setdefault(answer.code, (answer, []))[1].append(name)
        else:
            found.keys[name] = answer
    for error, users in errors.values():
        which = ", ".join(users[:3]) + (f" and {len(users) - 3} more" if len(users) > 3 else "")
        because = reason_for(error, "iam:ListAccessKeys")
        found.problems.append(f"The ids of the keys of {which} are not known{because}")


def _uses(account: Account, found: Found, progress: Progress) -> None:
    """The last uses by the report; where it does not tell which key was used, by asking about that key."""
    doubtful: list[str] = []
    if found.reported is None:
        return
    for name, keys in found.keys.items():
        user = found.reported.get(name)
        certain = certain_uses({key.id: key.created for key in keys}, user.keys if user else ())
        found.used |= certain
        doubtful += [key.id for key in keys if key.id not in certain and name != ROOT]
    task = progress.add_task("asking for other last uses", total=len(doubtful), visible=bool(doubtful))
    errors: dict[str, AwsQueryError] = {}
    for key_id, answer in each(doubtful, account.last_use):
        progress.advance(task)
        if isinstance(answer, AwsQueryError):
            errors.setdefault(answer.code, answer)
        else:
            found.used[key_id] = answer
    for error in errors.values():
        because = reason_for(error, "iam:GetAccessKeyLastUsed")
        found.problems.append(f"The last use of some keys is not known{because}")

"""The retire guard: a key that was used recently is neither deactivated nor deleted."""

from collections.abc import Mapping
from datetime import date, datetime, timedelta
from typing import NamedTuple

import pulumi

from aws_access_keys.account import Account, AwsQueryError
from aws_access_keys.clock import moment_of
from aws_access_keys.iam import is_trial, use_by_others
from aws_access_keys.renamed import renamed_text
from aws_access_keys.rules.rotation import Retirement, waits_for

_USAGE_REPORT_DELAY = timedelta(hours=1)  # seen on AWS: several minutes
_TOO_YOUNG = "was created less than an hour ago, and AWS reports key usage with a delay"


class InUseError(pulumi.RunError):
    """Keys that are still in use; the message names them, their last use, and what to do."""


class UserGuard(NamedTuple):
    """What the guard asks for the keys of one user."""

    idle_days: int
    """Days for which a key must have been unused before it may be retired; 0 where the guard is off."""
    override: str
    """How to retire a key anyway, in the caller's spelling: `add 'ann' to retire_unguarded for one run`."""
    is_lifted: bool = False
    """Whether the keys may be retired in this run, in use or not."""


class RetireGuard:
    """Knows which keys may not be retired.

    The planned retirements are checked before anything is registered (planning.py). The hook (run.py) is for those that
    no plan has: `pulumi destroy`, and a component that was removed from the program.
    """

    def __init__(self, today: date, account: Account, users: Mapping[str, UserGuard], must_exist: bool = False) -> None:
        """must_exist: whether a key that IAM does not list may not be retired: it can belong to another account. So it
        can where IAM does not have its user."""
        self._today, self._account, self._users, self._must_exist = today, account, users, must_exist

    def of_removed(self, component: str, idle_days: Mapping[str, int]) -> "RetireGuard":
        """The guard of a component that was removed from the program. idle_days: what it asked for, by user."""

        def override(user: str) -> str:
            return (
                f"put the component '{component}' back, switch the retire guard off in the key of {user} alone, run "
                "`pulumi up`, and remove the component again"
            )

        users = {user: UserGuard(days, override(user)) for user, days in idle_days.items()}
        return RetireGuard(self._today, self._account, users, must_exist=True)

    def idle_days(self, user: str) -> int:
        """Days for which a user's key must have been unused before it may be retired; 0 where the guard is off."""
        return self._users[user].idle_days if user in self._users else 0

    def is_on(self, user: str) -> bool:
        """Whether the guard asks about a user's keys in this run."""
        return self.idle_days(user) > 0 and not self._users[user].is_lifted

    def refusal(self, user: str, key_id: str, action: Retirement) -> str | None:
        """Why a key may not be deactivated or deleted; None where it may."""
        required = self.idle_days(user)
        if not self.is_on(user):
            return None
        override = self._users[user].override
        try:
            # The state may not know that a key was deleted, or activated again, in IAM.
            found = {key.id: key for key in self._account.list_access_keys(user)}.get(key_id)
            used = self._account.last_use(key_id) if found and found.active else None
            is_gone = found is None and not self._account.is_unlisted(user, key_id)
        except AwsQueryError as error:
            return self.unreadable(user, key_id, action, error)
        if is_gone and (owner := self._account.owner(key_id)) not in (None, user):
            return f"{renamed_text(user, key_id, owner, self._account)} and run the command again."
        if is_gone and (self._must_exist or not self._account.has_user(user)):
            return (
                f"the access key {key_id} of user {user} is not {action}, because it is not in the account that "
                "this run uses, so its last use is unknown. If it was deleted in IAM, run `pulumi refresh`; if it is "
                f"in another account, give the component a session for that one. To retire the key anyway, {override}."
            )
        if is_gone or (found and not found.active):
            return None
        if found is None:
            in_use, verb, reason = True, "may be", f"it {_TOO_YOUNG}"
        elif used := use_by_others(found.created, used):
            idle = (self._today - used.on.date()).days
            in_use, verb = moment_of(self._today) - used.on < timedelta(days=required), "is still"
            reason = f"it was {used.text}, {_ago(idle)}; the retire guard requires {required} idle days"
        else:
            in_use, verb = moment_of(self._today) - found.created < _USAGE_REPORT_DELAY, "may be"
            reason = f"it {_TOO_YOUNG}"
        if not in_use:
            return None
        return (
            f"the access key {key_id} of user {user} {verb} in use and is not {action}: {reason}. Find out who uses it "
            f"(access-keys report --who {key_id}) and give them another key; or, to retire it anyway, {override}."
        )

    def unreadable(self, user: str, key_id: str | None, action: Retirement, error: AwsQueryError) -> str:
        """Why a key may not be retired whose last use AWS does not report. key_id: None for one that nobody knows."""
        key = f"the access key {key_id}" if key_id else "an access key"
        return (
            f"{key} of user {user} is not {action}, because the last use could not be read "
            f"({error}). The identity running Pulumi needs iam:ListAccessKeys and iam:GetAccessKeyLastUsed for "
            f"the retire guard. To retire the key without checking its last use, {self._users[user].override}."
        )

    def waits_for(self, user: str, current: str, previous: str, tried: datetime | None) -> str | None:
        """What the retirement of a previous key waits for, with `previous: whenIdle`; None where nothing.

        current, previous: ids of the user's keys. tried: as in UserState. Raises AwsQueryError.
        """
        if self._users[user].is_lifted:
            return None
        created = {key.id: key.created for key in self._account.list_access_keys(user)}
        used = {key: use_by_others(on, self._account.last_use(key)) for key, on in created.items()}
        if is_trial(tried, used.get(current)):
            used[current] = None
        now = moment_of(self._today)
        why = waits_for(used.get(current), used.get(previous), self.idle_days(user), now)
        is_young = previous in created and now - created[previous] < _USAGE_REPORT_DELAY
        return why or (f"the previous one {_TOO_YOUNG}" if is_young else None)


def _ago(days: int) -> str:
    return "today" if days <= 0 else "1 day ago" if days == 1 else f"{days} days ago"

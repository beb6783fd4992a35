"""What to do with an access key that has leaked, in which order, and how each step is undone.

Sources: IAM user guide, "Disabling permissions for temporary security credentials" and "Revoking IAM role temporary
security credentials"; STS API reference, GetAccessKeyInfo.
"""

import json
import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from shlex import quote
from typing import Any, Literal, NamedTuple, cast

from aws_access_keys.rules.documents import VERSION
from aws_access_keys.rules.policies import partition_of, policy_arn

DENY_NAME = "AccessKeysLeakDeny-"
"""How the name of the user's inline policy begins that denies older sessions; the leaked key's id follows."""
REVOKE_NAME = "AWSRevokeOlderSessions"
"""The inline policy with which the AWS console revokes a role's sessions."""
QUARANTINE = "AWSCompromisedKeyQuarantine"
"""How the names of the policies begin that AWS attaches to a user whose key it found in public."""
MARGIN = timedelta(minutes=2)
"""Sessions issued until this long after the deny was written are denied, too: the key is switched off right after it,
and IAM needs some seconds for that."""
_TIME = "%Y-%m-%dT%H:%M:%SZ"
_ELSEWHERE = "Report an abuse of it to AWS: https://support.aws.amazon.com/#/contacts/report-abuse"

_SESSIONS = "the older sessions of its user"

StepName = Literal["key", "sessions"]


class Step(NamedTuple):
    """A step on the way."""

    name: StepName
    is_due: bool
    """Whether it is to be done; False where it is done already."""
    what: str
    """In the infinitive: `deactivate the key`."""
    past: str
    """The same once it is done: `deactivated the key`."""


def deny_name(key_id: str) -> str:
    """The name of a key's policy. Each has one of its own: nothing is lost of another's that cannot be read."""
    return f"{DENY_NAME}{key_id}"


def key_problem(key_id: str) -> str | None:
    """Why a text is not the id of an access key that can be switched off, and what to do instead."""
    if re.fullmatch(r"ASIA[A-Z0-9]{12,124}", key_id):
        return (
            f"{key_id} belongs to temporary credentials, which cannot be switched off one by one. "
            f"`access-keys report --who {key_id}` names the user or role behind them. For a user's, run "
            "`access-keys leak` with the access key that they came from (the one that called GetSessionToken); for a "
            f"role's, revoke the role's older sessions: {revoke_command('ROLE', datetime.max)}".replace(
                f"{datetime.max:{_TIME}}", "NOW"
            )
        )
    if re.fullmatch(r"AKIA[A-Z0-9]{12,124}", key_id):
        return None
    shown = f"'{key_id}'" if re.fullmatch(r"[A-Z0-9]{1,24}", key_id) else "This"  # it may be a secret
    return (
        f"{shown} is not an access key id. Access key ids are AKIA followed by at least 12 capital letters or digits."
    )


def elsewhere(key_id: str, account: str, caller_account: str, caller: str, others: str) -> str:
    """What to do with a key of another account. others: how to use other credentials, in the imperative."""
    return (
        f"{key_id} belongs to the AWS account {account}; these credentials ({caller}) are of {caller_account}. Nothing "
        f"was changed. If {account} is yours, use credentials of it: {others}. If not, tell its owner. {_ELSEWHERE}"
    )


def of_nobody(key_id: str, account: str, error: str, root_has_keys: bool | None) -> str:
    """What to do with a key of which IAM names no user."""
    root = {
        True: "The root user of the account has an access key, which may be this one: sign in as the root user and "
        "deactivate it under 'Security credentials'; its sessions end with its deletion only.",
        False: "The root user of the account has no access key, so the key was deleted, or never existed.",
        None: "It was deleted, or it is the root user's: sign in as the root user and look under 'Security "
        "credentials'.",
    }[root_has_keys]
    return (
        f"{key_id} is not known to belong to a user of the account {account} ({error}). {root} If these credentials "
        "lack iam:GetAccessKeyLastUsed, name the user: --user NAME. Nothing was changed."
    )


def steps(active: bool | None, document: Mapping[str, Any] | None, is_owner: bool = True) -> list[Step]:
    """What is to be done, in this order. A second run finds what is done already.

    The policy goes first: it also records the leak, and whether the key was active, for whoever comes after a run that
    was killed.

    active: whether IAM has the key switched on; None where that is not known. document: of the policy that denies the
    sessions of the key's user. is_owner: whether IAM said that the key is the user's; else deactivating it tells that.
    """
    on = active is not False
    # A key that is on can have made sessions since the last run.
    denied = denied_before(document)
    sessions = Step("sessions", on or denied is None, f"deny {_SESSIONS}, which outlive it", f"denied {_SESSIONS}")
    key = Step("key", on, "deactivate the key", "deactivated the key")
    return [sessions, key] if is_owner else [key, sessions]


def undo_steps(active: bool | None, document: Mapping[str, Any] | None) -> list[Step]:
    """How they are undone; the record of what the key was goes last. A key that was inactive before stays so."""
    was = was_active(document)
    past = "activated the key" if active or was else "the key was inactive when its sessions were denied, and stays so"
    if document is None and not active:
        past = "nothing records whether the key was active, so it stays inactive"
    return [
        Step("key", was and active is not True, "activate the key", past),
        Step("sessions", document is not None, f"allow {_SESSIONS}", f"allowed {_SESSIONS}"),
    ]


_WAS_ACTIVE, _WAS_INACTIVE = "LeakOfActiveKey", "LeakOfInactiveKey"


def was_active(document: Mapping[str, Any] | None) -> bool:
    """Whether a key's policy records that the key was active before `access-keys leak` deactivated it."""
    return any(statement.get("Sid") == _WAS_ACTIVE for statement in _statements(document))


def denied_before(document: Mapping[str, Any] | None) -> datetime | None:
    """Until when a key's policy denies sessions; None where it does not."""
    for statement in _statements(document):
        if statement.get("Sid") in (_WAS_ACTIVE, _WAS_INACTIVE):
            try:
                return datetime.strptime(
                    f"{statement['Condition']['DateLessThan']['aws:TokenIssueTime']}+0000", f"{_TIME}%z"
                )
            except (KeyError, TypeError, ValueError):
                return None
    return None


def deny_document(before: datetime, was_active: bool = True) -> dict[str, Any]:
    """A key's policy. was_active: whether the key is to be active again when the leak is undone."""
    return {"Version": VERSION, "Statement": [{"Sid": _WAS_ACTIVE if was_active else _WAS_INACTIVE, **_deny(before)}]}


def revoke_command(role: str, before: datetime) -> str:
    """The command that revokes the sessions that a role issued until now. role: its name."""
    document = as_text({"Version": VERSION, "Statement": [_deny(before)]})
    return (
        f"aws iam put-role-policy --role-name {quote(role)} --policy-name {REVOKE_NAME} "
        f"--policy-document {quote(document)}"
    )


def deny_all(region: str | None) -> str:
    """The ARN of AWS's policy that denies everything, in a region's partition."""
    return policy_arn("AWSDenyAll", partition_of(region or ""))


def as_text(document: Mapping[str, Any]) -> str:
    """A policy document as a parameter."""
    return json.dumps(document, separators=(",", ":"))


def _deny(before: datetime) -> dict[str, Any]:
    """A request that is signed with an access key has no token, so this denies it nothing."""
    condition = {"DateLessThan": {"aws:TokenIssueTime": f"{before:{_TIME}}"}}
    return {"Effect": "Deny", "Action": "*", "Resource": "*", "Condition": condition}


def _statements(document: Mapping[str, Any] | None) -> list[dict[str, Any]]:
    found: Any = (document or {}).get("Statement", [])
    return cast("list[dict[str, Any]]", found if isinstance(found, list) else [found])


def stack_settings(
    role: Literal["current", "previous"],
    serial: int,
    settings: Mapping[str, Any],
    new_key: bool,
    has_other: bool = False,
) -> "dict[str, int | str | None]":
    """The settings under `users.NAME.key` to change, so that no update makes the leaked key active again.

    role, serial: of the leaked key. settings: those in force for the user's key. new_key: whether to ask for another.
    has_other: whether the user has a previous key that works, beside a leaked current one.
    """
    status, previous = (str(settings.get(name)).lower() for name in ("status", "previous"))
    changed: dict[str, int | str | None] = {}
    if role == "current":
        if new_key and int(settings.get("serial", 1)) <= serial:
            changed["serial"] = serial + 1
        if status == "active" or (new_key and status == "inactive"):
            changed["status"] = None  # an inactive key stays so, and a new one is active
        if new_key and has_other and previous in ("inactive", "deleted"):
            changed["previous"] = "active"  # once the leaked one is deleted, the other one would be retired
        if not new_key or has_other:
            return changed
    # The leaked key is kept, as evidence and for `leak --undo`, unless it is about to go.
    if previous not in ("inactive", "deleted" if role == "previous" else "inactive"):
        changed["previous"] = "inactive"
    return changed


def settings_against(
    role: Literal["current", "previous"], serial: int, settings: Mapping[str, Any], keys: Mapping[str, Any], today: str
) -> list[str]:
    """The settings with which an update deactivates or deletes a key that was a false alarm: `status: inactive`.

    keys: the user's part of the output `keys`. today: ISO 8601.
    """
    name = {"current": "status", "previous": "previous"}[role]
    value = str(settings.get(name)).lower()
    found = [f"{name}: {value}"] if value == "inactive" or (role, value) == ("previous", "deleted") else []
    if role == "current" and int(settings.get("serial", 1)) > serial:
        found.append(f"serial: {settings['serial']}")
        if (previous := str(settings.get("previous")).lower()) in ("inactive", "deleted"):
            found.append(f"previous: {previous}")  # also later, when the serial is raised for another reason
    until = keys.get("previousUntil") if role == "previous" and value != "active" else None
    days = {"expires": keys.get("expires"), "an overlap that ended on": until}
    return found + [f"{what} {day}" for what, day in days.items() if day and day <= today]

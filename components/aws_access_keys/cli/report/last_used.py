"""When each access key was last used, which IAM reports only one key at a time; and which access keys the stack's users
have in IAM that the stack does not manage."""

import re
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from itertools import repeat
from typing import Any, NamedTuple

from botocore.config import Config
from botocore.exceptions import ClientError

from aws_access_keys.iam import CALLER_ERRORS, LastUse, error_code, format_error, last_use, sdk_errors

MAX_WORKERS = 12
SDK_ERRORS = sdk_errors()
NO_SUCH_KEY = "IAM has no such key; run `pulumi refresh`"


class LastUses(NamedTuple):
    """What IAM answered."""

    known: dict[str, LastUse | None]
    """Key id → last use, None if it was never used; without the keys for which IAM did not answer."""
    errors: dict[str, list[str]]
    """Why IAM did not answer, in one line → ids of the keys."""


def fetch_last_used(
    users: Mapping[str, str], session: Callable[[], Any], progress: Callable[[], object] = lambda: None
) -> LastUses:
    """Ask IAM about every key, several at a time. Raises nothing that AWS or its SDK answers.

    users: key id → its user. session: makes the boto3 session to ask with. progress: called once per key.
    """
    result = LastUses({}, {})
    key_ids = list(users)
    if not key_ids:
        return result

    def ask(key_id: str, client: Any) -> LastUse | Exception | None:
        try:
            return last_use(client.get_access_key_last_used(AccessKeyId=key_id))
        except SDK_ERRORS as error:
            return error

    def note(key_id: str, answer: LastUse | Exception | None) -> None:
        if isinstance(answer, Exception):
            reason = _reason(answer, key_id, users[key_id], client)
            # AWS names the user in each error; one of each code is enough.
            same = next((known for known in result.errors if known.split(":")[0] == reason.split(":")[0]), reason)
            result.errors.setdefault(same, []).append(key_id)
        else:
            result.known[key_id] = answer
        progress()

    try:
        made = session()
        client = _client(made, "standard", 2)
    except (*SDK_ERRORS, ValueError) as error:
        result.errors[format_error(error)] = key_ids
        return result
    # The first alone and with little patience, so that a caller who cannot ask at all learns it at once.
    first = ask(key_ids[0], client)
    if isinstance(first, Exception) and (not isinstance(first, ClientError) or error_code(first) in CALLER_ERRORS):
        result.errors[format_error(first)] = key_ids
        return result
    note(key_ids[0], first)
    client = _client(made, "adaptive", 10)
    pool = ThreadPoolExecutor(MAX_WORKERS)
    try:
        for key_id, answer in zip(key_ids[1:], pool.map(ask, key_ids[1:], repeat(client)), strict=False):
            note(key_id, answer)
    finally:
        pool.shutdown(wait=False, cancel_futures=True)  # Ctrl-C does not wait for what is under way
    return result


def fetch_unmanaged(
    users: Mapping[str, str], session: Callable[[], Any]
) -> tuple[dict[str, list[dict[str, Any]]], str | None]:
    """User → `id`, `status` and `created` of each key in IAM that is not in `users`; and why some may be missing.

    users: key id → its user. Raises nothing that AWS or its SDK answers.
    """
    names = sorted(set(users.values()))
    found: dict[str, list[dict[str, Any]]] = {}
    errors: list[Exception] = []
    if not names:
        return found, None

    def ask(user: str, client: Any) -> None:
        try:
            listed: list[dict[str, Any]] = client.list_access_keys(UserName=user.rpartition("/")[2])[
                "AccessKeyMetadata"
            ]
        except SDK_ERRORS as error:
            if not (isinstance(error, ClientError) and error_code(error) == "NoSuchEntity"):
                errors.append(error)
            return
        unmanaged = [
            {"id": key["AccessKeyId"], "status": key["Status"], "created": key["CreateDate"].isoformat()}
            for key in listed
            if key["AccessKeyId"] not in users
        ]
        if unmanaged:
            found[user] = unmanaged

    try:
        made = session()
        ask(names[0], _client(made, "standard", 2))  # alone, as above
        if not errors:
            client = _client(made, "adaptive", 10)
            pool = ThreadPoolExecutor(MAX_WORKERS)
            try:
                for _ in pool.map(ask, names[1:], repeat(client)):
                    pass
            finally:
                pool.shutdown(wait=False, cancel_futures=True)
    except (*SDK_ERRORS, ValueError) as error:
        errors.append(error)
    if not errors:
        return found, None
    reason = re.sub(r" on resource: .*", "", format_error(errors[0]))
    return found, f"Access keys that this stack does not manage may be missing from this report: {reason}."


def _client(session: Any, retry_mode: str, attempts: int) -> Any:
    """An IAM client. AWS throttles callers who ask too fast; the mode `adaptive` slows down until it does not."""
    retries = {"mode": retry_mode, "total_max_attempts": attempts}
    return session.client("iam", config=Config(retries=retries, max_pool_connections=MAX_WORKERS))


def _reason(error: Exception, key_id: str, user: str, client: Any) -> str:
    """Why a key's last use is unknown. IAM answers AccessDenied for a key that it lacks, so list the user's keys."""
    if isinstance(error, ClientError) and error_code(error) == "AccessDenied":
        try:
            listed = client.list_access_keys(UserName=user.rpartition("/")[2])["AccessKeyMetadata"]
        except SDK_ERRORS as second:
            gone = isinstance(second, ClientError) and error_code(second) == "NoSuchEntity"  # the user is gone, too
        else:
            gone = key_id not in {key["AccessKeyId"] for key in listed}
        if gone:
            return NO_SUCH_KEY
    # AWS names the key's user there; without the name, one line says it for all keys.
    return re.sub(r" on resource: \S+", "", format_error(error))

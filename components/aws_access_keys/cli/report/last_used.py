"""When each access key was last used, which IAM reports only one key at a time; and which access keys the stack's users
have in IAM that the stack does not manage."""

import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import repeat
from typing import Any, NamedTuple, TypeVar

from botocore.config import Config
from botocore.exceptions import ClientError

from aws_access_keys.account import MAX_WORKERS
from aws_access_keys.iam import CALLER_ERRORS, LastUse, error_code, format_error, last_use, sdk_errors

SDK_ERRORS = sdk_errors()
Answer = TypeVar("Answer")
NO_SUCH_KEY = "IAM has no such key in the account of these credentials; if it is the stack's, run `pulumi refresh`"


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

    def ask(key_id: str, client: Any) -> LastUse | None:
        return last_use(client.get_access_key_last_used(AccessKeyId=key_id))

    try:
        for key_id, answer, client in _ask_each(list(users), ask, session):
            if isinstance(answer, Exception):
                reason = _reason(answer, key_id, users[key_id], client)
                # AWS names the user in each error; one of each code is enough.
                same = next((known for known in result.errors if known.split(":")[0] == reason.split(":")[0]), reason)
                result.errors.setdefault(same, []).append(key_id)
            else:
                result.known[key_id] = answer
            progress()
    except _NotAcceptedError as error:
        result.errors[str(error)] = list(users)
    return result


def fetch_keys(
    users: Collection[str], session: Callable[[], Any]
) -> tuple[dict[str, list[dict[str, Any]]], str | None]:
    """User → `id`, `status` and `created` of each of its keys in IAM; and why some may be missing.

    Raises nothing that AWS or its SDK answers.
    """
    found: dict[str, list[dict[str, Any]]] = {}
    errors: list[str] = []
    try:
        for number, (user, answer, _) in enumerate(_ask_each(sorted(users), _listed, session)):
            if isinstance(answer, Exception):
                if not (isinstance(answer, ClientError) and error_code(answer) == "NoSuchEntity"):
                    errors.append(format_error(answer))
                    if number == 0:
                        break
            elif answer:
                found[user] = [
                    {"id": key["AccessKeyId"], "status": key["Status"], "created": key["CreateDate"].isoformat()}
                    for key in answer
                ]
    except _NotAcceptedError as error:
        errors.append(str(error))
    if not errors:
        return found, None
    reason = re.sub(r" on resource: .*", "", errors[0])
    return found, f"Access keys that this stack does not manage may be missing from this report: {reason}."


class _NotAcceptedError(Exception):
    """AWS accepts no question of this caller; the message has its reason."""


def _ask_each(
    items: Sequence[str], ask: Callable[[str, Any], Answer], session: Callable[[], Any]
) -> "Iterator[tuple[str, Answer | Exception, Any]]":
    """Each item with its answer, or with what AWS or its SDK raised, and the client that asked.

    Raises _NotAcceptedError.
    """
    if not items:
        return

    def tried(item: str, client: Any) -> "Answer | Exception":
        try:
            return ask(item, client)
        except SDK_ERRORS as error:
            return error

    try:
        made = session()
        client = _client(made, "standard", 2)
    except (*SDK_ERRORS, ValueError) as error:
        raise _NotAcceptedError(format_error(error)) from None
    # The first alone and with little patience, so that a caller who cannot ask at all learns it at once.
    first = tried(items[0], client)
    if isinstance(first, Exception) and (not isinstance(first, ClientError) or error_code(first) in CALLER_ERRORS):
        raise _NotAcceptedError(format_error(first))
    yield items[0], first, client
    client = _client(made, "adaptive", 10)
    pool = ThreadPoolExecutor(MAX_WORKERS)
    try:
        for item, answer in zip(items[1:], pool.map(tried, items[1:], repeat(client)), strict=False):
            yield item, answer, client
    finally:
        pool.shutdown(wait=False, cancel_futures=True)  # Ctrl-C does not wait for what is under way


def _listed(user: str, client: Any) -> list[dict[str, Any]]:
    """A user's access keys in IAM. user: perhaps with the name of its component before it."""
    return client.list_access_keys(UserName=user.rpartition("/")[2])["AccessKeyMetadata"]


def _client(session: Any, retry_mode: str, attempts: int) -> Any:
    """An IAM client. AWS throttles callers who ask too fast; the mode `adaptive` slows down until it does not."""
    retries = {"mode": retry_mode, "total_max_attempts": attempts}
    return session.client("iam", config=Config(retries=retries, max_pool_connections=MAX_WORKERS))


def _reason(error: Exception, key_id: str, user: str, client: Any) -> str:
    """Why a key's last use is unknown. IAM answers AccessDenied for a key that it lacks, so list the user's keys."""
    if isinstance(error, ClientError) and error_code(error) == "AccessDenied":
        try:
            listed = _listed(user, client)
        except SDK_ERRORS as second:
            gone = isinstance(second, ClientError) and error_code(second) == "NoSuchEntity"  # the user is gone, too
        else:
            gone = key_id not in {key["AccessKeyId"] for key in listed}
        if gone:
            return NO_SUCH_KEY
    # AWS names the key's user there; without the name, one line says it for all keys.
    return re.sub(r" on resource: \S+", "", format_error(error))

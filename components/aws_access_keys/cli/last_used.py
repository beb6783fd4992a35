"""When each access key was last used, asked of AWS key by key: IAM has no call that answers for many at once."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime, timezone
from threading import Event
from typing import Any, cast

from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from botocore.parsers import ResponseParserError

PARALLEL = 12
# These say something of who asks, not of the key asked for: the answer would be the same for every key.
_OF_THE_CALLER = {
    "ExpiredToken", "IncompleteSignature", "InvalidClientTokenId", "OptInRequired", "RequestExpired",
    "SignatureDoesNotMatch",
}  # fmt: skip
_NONE = "N/A"  # AWS's word for no service and no region


@dataclass(frozen=True)
class LastUse:
    """The last request signed with a key that AWS knows of. Source: `GetAccessKeyLastUsed` in the IAM API reference."""

    at: datetime | None
    """UTC; None if the key was never used."""
    service: str | None = None
    region: str | None = None


@dataclass
class Answers:
    """What AWS said of the keys asked for."""

    known: dict[str, LastUse] = field(default_factory=lambda: {})
    """Key id → last use; without the keys of which AWS did not say it."""
    reasons: dict[str, list[str]] = field(default_factory=lambda: {})
    """Why AWS did not say it, as a sentence → ids of the keys."""


def ask(key_ids: Sequence[str], session: Callable[[], Any], told: Callable[[], object] = lambda: None) -> Answers:
    """Ask AWS for every key, several at a time. Never raises for what AWS or its SDK answers.

    session: makes the boto3 session to ask with. told: called once per key.
    """
    answers = Answers()
    if not key_ids:
        return answers
    try:
        made = session()
        first, client = _client(made, "standard", 2), _client(made, "adaptive", 10)
    except (ClientError, BotoCoreError, ResponseParserError, ValueError) as error:
        answers.reasons[_sentence(error)] = list(key_ids)
        return answers
    hopeless = Event()
    reason_for_all: list[str] = []

    def one(key_id: str, client: Any = client) -> LastUse | str:
        if hopeless.is_set():
            return reason_for_all[0]
        try:
            return _last_use(client, key_id)
        except (ClientError, BotoCoreError, ResponseParserError) as error:
            text = _sentence(error)
            if not isinstance(error, ClientError) or _code(error) in _OF_THE_CALLER:
                reason_for_all.append(text)
                hopeless.set()
            return text

    def note(key_id: str, answer: LastUse | str) -> None:
        told()
        if isinstance(answer, LastUse):
            answers.known[key_id] = answer
        else:
            answers.reasons.setdefault(answer, []).append(key_id)

    # Alone and with little patience, so that who cannot ask at all is told so at once, and refused once only.
    note(key_ids[0], one(key_ids[0], first))
    with ThreadPoolExecutor(PARALLEL) as pool:
        for key_id, answer in zip(key_ids[1:], pool.map(one, key_ids[1:]), strict=True):
            note(key_id, answer)
    return answers


def _last_use(client: Any, key_id: str) -> LastUse:
    found: dict[str, Any] = client.get_access_key_last_used(AccessKeyId=key_id).get("AccessKeyLastUsed") or {}
    at: datetime | None = found.get("LastUsedDate")
    if at is None:
        return LastUse(None)
    service, region = found.get("ServiceName"), found.get("Region")
    return LastUse(
        at.astimezone(timezone.utc), None if service == _NONE else service, None if region == _NONE else region
    )


def _client(session: Any, retry_mode: str, attempts: int) -> Any:
    """An IAM client. AWS throttles callers who ask too fast; the mode `adaptive` slows down until it does not."""
    retries = {"mode": retry_mode, "total_max_attempts": attempts}
    config = Config(max_pool_connections=PARALLEL, connect_timeout=4, read_timeout=15, retries=retries)
    return session.client("iam", config=config)


def _code(error: ClientError) -> str:
    return _answer(error).get("Code", "")


def _answer(error: ClientError) -> dict[str, str]:
    return cast(Any, error).response.get("Error", {})


def _sentence(error: Exception) -> str:
    """What AWS or its SDK said, as one line."""
    if isinstance(error, ClientError):
        if _code(error) == "NoSuchEntity":
            return "AWS has no such key (pulumi refresh brings the state up to date)"
        return f"{_code(error)}: {_one_line(_answer(error).get('Message', ''))}"
    if isinstance(error, ResponseParserError):
        return "something else than AWS answered, such as a proxy"
    return _one_line(str(error))


def _one_line(text: str) -> str:
    return " ".join(text.split()).rstrip(".")

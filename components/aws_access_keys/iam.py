"""What IAM's answers mean. Pure: nothing here asks AWS."""

from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any, NamedTuple, cast

if TYPE_CHECKING:
    from botocore.exceptions import ClientError

CALLER_ERRORS = {
    "ExpiredToken", "IncompleteSignature", "InvalidClientTokenId", "OptInRequired", "RequestExpired",
    "SignatureDoesNotMatch",
}  # fmt: skip
"""AWS's codes for a caller that it does not accept, whatever the question."""
_NONE = "N/A"  # AWS's word for no service and no region


class LastUse(NamedTuple):
    """The last request that was signed with a key, as far as AWS knows."""

    on: datetime
    """UTC."""
    service: str | None
    region: str | None
    """None for a service without regions."""

    @property
    def text(self) -> str:
        """`used on 2026-11-23 22:22 UTC for s3 in ap-northeast-2`."""
        service = f" for {self.service}" if self.service else ""
        region = f" in {self.region}" if self.region else ""
        return f"used on {self.on:%Y-%m-%d %H:%M} UTC{service}{region}"


_TRIAL = timedelta(minutes=2)
_RUN = timedelta(minutes=30)


def was_trial(created: datetime, used: LastUse) -> bool:
    """Whether the last use is the verification of the new key (verification.py), and nobody has used it since."""
    return used.service == "sts" and used.on - created < _TRIAL


def use_by_others(created: datetime, used: LastUse | None) -> LastUse | None:
    """The last use, unless it is the verification of the new key."""
    return None if used and was_trial(created, used) else used


def is_trial(began: datetime | None, used: LastUse | None) -> bool:
    """Whether a use can be the verification of a key in the run that began then, or in one before; others may have used
    it as well. AWS shows the last use late, so it can be that of an earlier run."""
    return bool(began and used and used.service == "sts" and used.on < began + _RUN)


def last_use(response: Mapping[str, Any]) -> LastUse | None:
    """The last use in a response of GetAccessKeyLastUsed; None for a key that was never used.

    Source: https://docs.aws.amazon.com/IAM/latest/APIReference/API_AccessKeyLastUsed.html
    """
    found: Mapping[str, Any] = response["AccessKeyLastUsed"]
    on: datetime | None = found.get("LastUsedDate")
    if on is None:
        return None
    service, region = (None if found[name] == _NONE else str(found[name]) for name in ("ServiceName", "Region"))
    return LastUse(on.astimezone(timezone.utc), service, region)


def error_code(error: "ClientError") -> str:
    """AWS's code for an error, such as `AccessDenied`."""
    return str(_details(error).get("Code", "unknown error"))


def sdk_errors() -> tuple[type[Exception], ...]:
    """What AWS's SDK raises where AWS does not answer as asked. A function, as the SDK is slow to load."""
    from botocore.exceptions import BotoCoreError, ClientError
    from botocore.parsers import ResponseParserError

    return ClientError, BotoCoreError, ResponseParserError


def format_error(error: Exception) -> str:
    """An error of AWS or of its SDK in one line, without a period at the end."""
    from botocore.exceptions import ClientError
    from botocore.parsers import ResponseParserError

    if isinstance(error, ClientError):
        text = f"{error_code(error)}: {_details(error).get('Message', '')}"
    elif isinstance(error, ResponseParserError):
        text = "something other than AWS answered, such as a proxy"
    else:
        text = str(error)
    return " ".join(text.split()).rstrip(".:")


def _details(error: "ClientError") -> Mapping[str, Any]:
    return cast("dict[str, Any]", error.response).get("Error", {})  # botocore has no types

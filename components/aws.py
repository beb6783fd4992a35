"""The few questions that the program itself puts to AWS, by AWS's own SDK: the Pulumi provider cannot ask them."""

import asyncio
import time
from collections.abc import Callable
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import pulumi

if TYPE_CHECKING:
    import boto3
    from botocore.exceptions import ClientError

SessionMaker = Callable[[], "boto3.Session"]
"""Makes the boto3 session that the operator's credentials give. Called only where AWS must be asked."""

NOT_YET = {"InvalidClientTokenId", "InvalidAccessKeyId", "UnrecognizedClientException", "AuthFailure"}
PASSING = {"Throttling", "ThrottlingException", "RequestLimitExceeded", "ServiceFailure", "InternalFailure",
           "InternalError", "ServiceUnavailable"}  # fmt: skip
VERIFY_WITHIN = 60.0  # seconds; AWS takes about 10 to make a new key work everywhere


class NotAcceptedError(pulumi.RunError):
    """A new key that AWS does not accept in time."""


class LastUse(NamedTuple):
    """When and for what a key was last used. Source: GetAccessKeyLastUsed in the IAM API reference."""

    on: datetime
    service: str
    region: str


def default_session() -> "boto3.Session":
    """A session as AWS's default credential chain gives it."""
    import boto3

    return boto3.Session()


async def wait_until_accepted(maker: SessionMaker, user: str, key_id: str, secret: str) -> None:
    """Try a new key until AWS accepts it (STS GetCallerIdentity), backing off from 0.2 to 5 seconds.

    Raises NotAcceptedError after VERIFY_WITHIN seconds, or at once on an answer that waiting does not change.
    """
    from botocore.exceptions import BotoCoreError, ClientError

    client: Any = await asyncio.to_thread(_sts, maker, key_id, secret)
    began, pause, told = time.monotonic(), 0.2, False
    while True:
        try:
            await asyncio.to_thread(client.get_caller_identity)
        except (ClientError, BotoCoreError) as error:
            code = _code(error) if isinstance(error, ClientError) else str(error)
            passing = isinstance(error, BotoCoreError) or code in NOT_YET | PASSING
            waited = time.monotonic() - began
            if not passing or waited + pause > VERIFY_WITHIN:
                raise NotAcceptedError(
                    f"AWS does not accept the new access key {key_id} of user {user} ({code}, after {waited:.0f} "
                    "seconds). The key is kept in the state, and the keys before it were not touched. Run `pulumi up` "
                    "again to go on waiting; if that does not help, raise the user's key serial for another key."
                ) from None
            if not told:
                pulumi.log.info(f"waiting for AWS to accept the new access key {key_id} of user {user} ...")
                told = True
            await asyncio.sleep(pause)
            pause = min(pause * 2, 5.0)
        else:
            if told:
                waited = time.monotonic() - began
                pulumi.log.info(f"AWS accepts the new access key {key_id} of user {user}, after {waited:.0f} seconds")
            return


def _sts(maker: SessionMaker, key_id: str, secret: str) -> Any:
    import boto3
    from botocore.config import Config

    operator: Any = maker()
    region: str = operator.region_name or "us-east-1"
    session: Any = boto3.Session(aws_access_key_id=key_id, aws_secret_access_key=secret, region_name=region)
    return session.client("sts", config=Config(retries={"total_max_attempts": 3}))


def _code(error: "ClientError") -> str:
    return cast("dict[str, Any]", error.response)["Error"]["Code"]


def last_use(maker: SessionMaker, key_id: str) -> LastUse | None:
    """When a key was last used; None for one that never was or is gone."""
    from botocore.exceptions import ClientError

    session: Any = maker()
    try:
        answer = session.client("iam").get_access_key_last_used(AccessKeyId=key_id)["AccessKeyLastUsed"]
    except ClientError as error:
        if _code(error) == "NoSuchEntity":
            return None
        raise
    on: datetime | None = answer.get("LastUsedDate")
    if on is None:
        return None
    return LastUse(on.astimezone(timezone.utc), answer["ServiceName"], answer["Region"])

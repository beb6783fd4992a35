"""The few questions that the program itself puts to AWS, by AWS's own SDK: the Pulumi provider cannot ask them."""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timezone
from threading import Lock
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import pulumi

if TYPE_CHECKING:
    import boto3
    from botocore.exceptions import BotoCoreError, ClientError

SessionMaker = Callable[[], "boto3.Session"]
"""Makes the boto3 session that the operator's credentials give. Called only where AWS must be asked."""

NOT_YET = {"InvalidClientTokenId", "InvalidAccessKeyId", "UnrecognizedClientException", "AuthFailure"}
PASSING = {"Throttling", "ThrottlingException", "RequestLimitExceeded", "ServiceFailure", "InternalFailure",
           "InternalError", "ServiceUnavailable"}  # fmt: skip
PARALLEL = 12  # questions at a time
VERIFY_WITHIN = 60.0  # seconds; AWS takes about 10 to make a new key work everywhere


class NotAcceptedError(pulumi.RunError):
    """A new key that AWS does not accept in time."""


class UnansweredError(Exception):
    """AWS did not answer a question; the text has its reason."""


class LastUse(NamedTuple):
    """When and for what a key was last used. Source: GetAccessKeyLastUsed in the IAM API reference."""

    on: datetime
    service: str
    region: str

    @property
    def text(self) -> str:
        """`used on 2026-11-23 22:22 UTC for s3 in ap-northeast-2`."""
        where = f" in {self.region}" if self.region != "N/A" else ""
        return f"used on {self.on:%Y-%m-%d %H:%M} UTC for {self.service}{where}"


class KeyFacts(NamedTuple):
    """An access key as ListAccessKeys tells of it."""

    id: str
    status: str
    """`Active` or `Inactive`."""
    created: datetime


def default_session() -> "boto3.Session":
    """A session as AWS's default credential chain gives it."""
    import boto3

    return boto3.Session()


async def wait_until_accepted(account: "Account", user: str, key_id: str, secret: str) -> None:
    """Try a new key until AWS accepts it (STS GetCallerIdentity), backing off from 0.2 to 5 seconds.

    Raises NotAcceptedError after VERIFY_WITHIN seconds, or at once on an answer that waiting does not change.
    """
    from botocore.exceptions import BotoCoreError, ClientError

    client: Any = await asyncio.to_thread(_sts, account.session, key_id, secret)
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


class Account:
    """The operator's view of IAM for one run: one client, made when first needed, and each question asked once.

    May be asked from several threads.
    """

    def __init__(self, maker: SessionMaker) -> None:
        self.session = maker
        self._lock = Lock()
        self._client: Any = None
        self._last_uses: dict[str, LastUse | None] = {}

    @property
    def iam(self) -> Any:
        """A boto3 IAM client. Raises UnansweredError where there are no credentials to make one with."""
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError, ClientError

        with self._lock:
            if self._client is None:
                config = Config(max_pool_connections=PARALLEL, retries={"mode": "adaptive", "total_max_attempts": 8})
                try:
                    session: Any = self.session()
                    self._client = session.client("iam", config=config)
                except (ClientError, BotoCoreError) as error:
                    raise UnansweredError(_reason(error)) from None
            return self._client

    def last_use(self, key_id: str) -> LastUse | None:
        """When a key was last used; None for one that never was or is gone. Raises UnansweredError."""
        if key_id not in self._last_uses:
            self._last_uses[key_id] = self._ask_last_use(key_id)
        return self._last_uses[key_id]

    def _ask_last_use(self, key_id: str) -> LastUse | None:
        answer: dict[str, Any] = self._ask("get_access_key_last_used", "AccessKeyLastUsed", AccessKeyId=key_id) or {}
        on: datetime | None = answer.get("LastUsedDate")
        if on is None:
            return None
        return LastUse(on.astimezone(timezone.utc), answer["ServiceName"], answer["Region"])

    def keys_of(self, user: str) -> list[KeyFacts]:
        """The access keys that IAM has of a user; none where there is no such user. Raises UnansweredError."""
        answer: list[dict[str, Any]] = self._ask("list_access_keys", "AccessKeyMetadata", UserName=user) or []
        return [KeyFacts(found["AccessKeyId"], found["Status"], found["CreateDate"]) for found in answer]

    def tag_user(self, user: str, tags: Mapping[str, str], gone: Sequence[str]) -> None:
        """Give a user tags, and take others away. Raises UnansweredError."""
        if gone:
            self._ask("untag_user", None, UserName=user, TagKeys=gone)
        if tags:
            self._ask("tag_user", None, UserName=user, Tags=[{"Key": key, "Value": tags[key]} for key in tags])

    def _ask(self, operation: str, part: str | None, **asked: Any) -> Any:
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            answer = getattr(self.iam, operation)(**asked)
            return answer[part] if part else None
        except (ClientError, BotoCoreError) as error:
            if part and isinstance(error, ClientError) and _code(error) == "NoSuchEntity":
                return None
            raise UnansweredError(_reason(error)) from None


def _reason(error: "ClientError | BotoCoreError") -> str:
    """AWS's words for why it did not answer."""
    response = cast("dict[str, Any] | None", getattr(error, "response", None))
    if not response:
        return str(error)
    return f"{response['Error']['Code']}: {response['Error']['Message']}"

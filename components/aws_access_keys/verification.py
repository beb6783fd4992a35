"""The trial of an access key: AWS takes some seconds to accept one everywhere."""

import asyncio
import time
from typing import Any

import pulumi

from aws_access_keys.account import Account, AwsQueryError
from aws_access_keys.iam import error_code, format_error, sdk_errors
from aws_access_keys.rules.keys import delete_command

PROPAGATION_ERRORS = {"InvalidClientTokenId", "InvalidAccessKeyId", "UnrecognizedClientException", "AuthFailure"}
TRANSIENT_ERRORS = {"Throttling", "ThrottlingException", "RequestLimitExceeded", "ServiceFailure", "InternalFailure",
                    "InternalError", "ServiceUnavailable"}  # fmt: skip
VERIFY_TIMEOUT = 60.0  # seconds; AWS takes about 10 to make a new key work everywhere


class NotAcceptedError(pulumi.RunError):
    """A key that AWS does not accept in time."""


async def wait_until_accepted(
    account: Account,
    user: str,
    key_id: str,
    secret: str,
    is_kept: bool = True,
    given: str | None = None,
    is_new: bool = True,
) -> None:
    """Try a key with STS GetCallerIdentity until AWS accepts it, backing off from 0.2 to 5 seconds.

    Raises NotAcceptedError after VERIFY_TIMEOUT seconds, or at once on an error that waiting does not change. is_kept:
    whether the next run knows the secret, too. given: where the settings have the secret, of an existing key.
    is_new: whether nobody can have the key yet.
    """
    from botocore.exceptions import ClientError

    try:
        client: Any = await asyncio.to_thread(account.sts_client_of, key_id, secret)
    except AwsQueryError as error:
        raise NotAcceptedError(
            f"the access key {key_id} of user {user} could not be verified ({error}). The key is in the state, and "
            "the key before it was not touched. Fix the credentials with which Pulumi runs, and run `pulumi up` again."
        ) from None
    delete = delete_command(user, key_id)
    kind = "adopted " if given else "new " if is_new else ""
    again = f"to keep waiting; for another key, delete this one first: {delete}, pulumi refresh, pulumi up."
    if not is_kept:
        again = "for another key in its place: the secret of this one is not kept."
    if given or not is_new:
        again = "to try again. Do not delete the key: applications may be using it."
    began, pause, waiting = time.monotonic(), 0.2, False
    while True:
        try:
            await asyncio.to_thread(client.get_caller_identity)
        except sdk_errors() as error:
            code = error_code(error) if isinstance(error, ClientError) else format_error(error)
            temporary = not isinstance(error, ClientError) or code in PROPAGATION_ERRORS | TRANSIENT_ERRORS
            waited = time.monotonic() - began
            if given and not temporary:
                raise NotAcceptedError(
                    f"{given}: AWS does not accept it as the secret of the access key {key_id} ({code}). Nothing was "
                    "delivered, and the key was not touched. Correct the secret."
                ) from None
            if not temporary or waited + pause > VERIFY_TIMEOUT:
                which = f"{kind}access key {key_id} of user {user}"
                raise NotAcceptedError(
                    f"AWS does not accept the {which} ({code}, after {waited:.0f} seconds). The key is in the state, "
                    f"and the key before it was not touched. Run `pulumi up` again {again}"
                ) from None
            if not waiting:
                pulumi.log.info(f"waiting for AWS to accept the {kind}access key {key_id} of user {user} ...")
                waiting = True
            await asyncio.sleep(pause)
            pause = min(pause * 2, 5.0)
        else:
            if waiting:
                waited = time.monotonic() - began
                pulumi.log.info(f"AWS accepts the {kind}access key {key_id} of user {user}, after {waited:.0f} seconds")
            return

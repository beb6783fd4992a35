"""What only AWS can say of the settings, asked before the first resource is registered.

Asked only where the settings need it: nothing here runs for a stack without KMS keys or keys to adopt.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, cast

from rules.limits import KEYS_PER_USER
from rules.problem import Problem
from settings.shape import StackSettings

if TYPE_CHECKING:
    import boto3


def preflight(
    settings: StackSettings, issued: Mapping[str, Any], session: "Callable[[], boto3.Session]"
) -> Iterator[Problem]:
    """Problems that AWS knows of.

    issued: what `issued_keys()` says; a key that was adopted before is not asked about again.
    """
    for kms_key, where in _kms_keys(settings).items():
        yield from _kms_problems(where, kms_key, session)
    for user in settings.users:
        adopt = settings.key_of(user).adopt
        if adopt and user not in issued:
            yield from _adoption_problems(f"users.{user}.key.adopt", user, adopt.id, session)


def _kms_keys(settings: StackSettings) -> dict[str, str]:
    """KMS key → the first place that names it."""
    found: dict[str, str] = {}
    for user in settings.users:
        deliver = settings.deliver_of(user)
        own = "deliver" in settings.users[user].model_fields_set
        for name, store in (
            ("secretsManager", deliver and deliver.secrets_manager),
            ("ssm", deliver and deliver.ssm),
        ):
            if store and store.kms_key:
                found.setdefault(store.kms_key, f"{f'users.{user}.' if own else ''}deliver.{name}.kmsKey")
    return found


def _kms_problems(where: str, kms_key: str, session: "Callable[[], boto3.Session]") -> Iterator[Problem]:
    from botocore.exceptions import BotoCoreError, ClientError

    aws: Any = session()
    try:
        state: str = aws.client("kms").describe_key(KeyId=kms_key)["KeyMetadata"]["KeyState"]
    except ClientError as error:
        found = cast("dict[str, Any]", error.response)["Error"]
        yield Problem(where, f"AWS KMS cannot use '{kms_key}': {found['Code']}: {found['Message']}")
    except BotoCoreError as error:
        yield Problem(where, f"AWS KMS cannot be asked about '{kms_key}': {error}")
    else:
        if state != "Enabled":
            yield Problem(where, f"the KMS key '{kms_key}' is {state}. Enable it, or choose another.")


def _adoption_problems(where: str, user: str, key_id: str, session: "Callable[[], boto3.Session]") -> Iterator[Problem]:
    from botocore.exceptions import BotoCoreError, ClientError

    aws: Any = session()
    try:
        listed: list[dict[str, str]] = aws.client("iam").list_access_keys(UserName=user)["AccessKeyMetadata"]
    except ClientError as error:
        found = cast("dict[str, Any]", error.response)["Error"]
        if found["Code"] != "NoSuchEntity":
            yield Problem(where, f"AWS does not say which keys '{user}' has: {found['Code']}: {found['Message']}")
            return
        yield Problem(
            where, f"there is no IAM user '{user}' whose key could be adopted. Leave adopt out for a new user."
        )
        return
    except BotoCoreError as error:
        yield Problem(where, f"AWS cannot be asked about '{key_id}': {error}")
        return
    ids = [key["AccessKeyId"] for key in listed]
    if key_id not in ids:
        yield Problem(f"{where}.id", f"'{key_id}' is no key of IAM user '{user}'; theirs: {', '.join(ids) or 'none'}.")
    elif len(ids) >= KEYS_PER_USER:
        other = next(found for found in ids if found != key_id)
        yield Problem(
            f"{where}.id",
            f"IAM user '{user}' has {len(ids)} keys, and AWS allows no third, so this one could never be rotated. "
            f"Delete '{other}' first, if nobody uses it.",
        )

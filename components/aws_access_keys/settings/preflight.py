"""What only AWS can say of the settings, asked before the first resource is registered.

Asked only where the settings need it: nothing here runs for a stack without KMS keys or keys to adopt.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

from aws_access_keys.rules.limits import KEYS_PER_USER
from aws_access_keys.rules.problem import Problem
from aws_access_keys.settings.shape import StackSettings

if TYPE_CHECKING:
    import boto3


def preflight(
    settings: StackSettings,
    issued: Mapping[str, Any],
    ignored_tags: Sequence[str],
    session: "Callable[[], boto3.Session]",
) -> Iterator[Problem]:
    """Problems that AWS knows of.

    issued: what `issued_keys()` says; a key that was adopted before is not asked about again.
    ignored_tags: prefixes of tag keys that the aws provider leaves alone.
    """
    for kms_key, where in _kms_keys(settings).items():
        yield from _kms_problems(where, kms_key, session)
    for user in settings.users:
        adopt = settings.key_of(user).adopt
        if adopt and user not in issued:
            yield from _adoption_problems(settings, user, adopt.id, ignored_tags, session)


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


def _adoption_problems(
    settings: StackSettings,
    user: str,
    key_id: str,
    ignored_tags: Sequence[str],
    session: "Callable[[], boto3.Session]",
) -> Iterator[Problem]:
    from botocore.exceptions import BotoCoreError, ClientError

    where = f"users.{user}.key.adopt"
    aws: Any = session()
    try:
        iam = aws.client("iam")
        listed: list[dict[str, str]] = iam.list_access_keys(UserName=user)["AccessKeyMetadata"]
        found_user: dict[str, Any] = iam.get_user(UserName=user)["User"]
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
    elif listed[0]["Status"] != "Active" and not settings.says_status(user):
        yield Problem(
            f"users.{user}.key.status",
            f"the key '{key_id}' to adopt is inactive, and nobody said that it is to work again. Write status: "
            "inactive, or active to switch it on.",
        )
    yield from _as_the_user_is(settings, user, found_user, ignored_tags)


def _as_the_user_is(
    settings: StackSettings, user: str, found: Mapping[str, Any], ignored_tags: Sequence[str]
) -> Iterator[Problem]:
    """What taking a user over would change about it: its ARN, and tags that the config does not have."""
    path: str = found["Path"]
    if path != settings.users[user].path:
        yield Problem(
            f"users.{user}.path",
            f"the user to adopt has the path '{path}'; another one would change its ARN. Write path: {path}",
        )
    tags: dict[str, str] = {tag["Key"]: tag["Value"] for tag in found.get("Tags", [])}
    wanted = settings.tags | settings.users[user].tags
    lost = {key: value for key, value in tags.items() if key not in wanted and not key.startswith(tuple(ignored_tags))}
    if lost:
        listed = ", ".join(f"{key}: {value}" for key, value in sorted(lost.items()))
        yield Problem(
            f"users.{user}.tags",
            f"the user to adopt has tags that would be taken away. Write them here: {{{listed}}}; or remove them "
            "first.",
        )

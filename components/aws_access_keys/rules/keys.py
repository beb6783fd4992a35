"""What the settings of a user's key must obey beyond their types."""

import re
from collections.abc import Iterator, Sequence

from aws_access_keys.rules.names import tag_value_problems
from aws_access_keys.rules.problem import Problem
from aws_access_keys.rules.rotation import Calendar

_KEY_ID = re.compile(r"AKIA[A-Z0-9]{12,124}")
_SECRET = re.compile(r"[A-Za-z0-9/+]{40}")


def is_key_id(text: str) -> bool:
    """Whether a text looks like the id of a user's access key."""
    return bool(_KEY_ID.fullmatch(text))


def key_ids(text: str) -> set[str]:
    """What looks like the id of a user's access key in any text."""
    return set(_KEY_ID.findall(text))


def is_secret(text: str) -> bool:
    """Whether a text looks like the secret of an access key. Source: CreateAccessKey in the IAM API reference."""
    return bool(_SECRET.fullmatch(text))


CONSOLE_TAGS = "AKIA"  # prefix of the user tags in which the console keeps the descriptions of keys


def calendar_problems(where: str, calendar: Calendar) -> Iterator[Problem]:
    """An overlap longer than the period would need a third key. where: the setting for the overlap."""
    if calendar.overlap_days > calendar.every_days:
        yield Problem(
            where,
            f"an overlap of {calendar.overlap_days} days is longer than the period of {calendar.every_days} days. IAM "
            "allows two keys per user, so the next key would cut off one that should still be active. Use "
            f"{calendar.every_days} or less.",
        )


def description_problems(where: str, description: str) -> Iterator[Problem]:
    """Problems of a key's description, which is the value of a tag."""
    for _, message, *_ in tag_value_problems(where, description):
        yield Problem(where, f"AWS keeps the description in a tag, and {message}")


def ignored_tags_problems(where: str, ignored_tags: Sequence[str]) -> Iterator[Problem]:
    """The console keeps a key's description as a user tag named after the key id; the provider must leave it alone."""
    if not any(CONSOLE_TAGS.startswith(prefix) for prefix in ignored_tags):
        yield Problem(
            where,
            "a key's description is stored in a tag of the user, which the aws provider would otherwise remove. In "
            f"the stack file, set aws:ignoreTags: {{keyPrefixes: [{CONSOLE_TAGS}]}}",
        )


def adoption_problems(where: str, key_id: str, pgp_key: str | None) -> Iterator[Problem]:
    """What can be checked of an adopted key without asking AWS. pgp_key: the setting, where there is one."""
    if not is_key_id(key_id):
        shown = f"'{key_id}'" if re.fullmatch("[A-Z0-9]{1,20}", key_id) else "this"  # it may be a secret
        yield Problem(
            f"{where}.id",
            f"{shown} is not an access key id. Access key ids are AKIA followed by at "
            "least 12 capital letters or digits.",
        )
    if pgp_key:
        text = "AWS cannot encrypt the secret of an existing key to an OpenPGP key"
        yield Problem(where, f"{text}. Remove {where} or {pgp_key}.")


def delete_command(user: str, key_id: str) -> str:
    """The command that deletes an access key. IAM's names need no quotes in a shell."""
    return f"aws iam delete-access-key --user-name {user} --access-key-id {key_id}"


def status_command(user: str, key_id: str, status: str) -> str:
    """The command that makes an access key `Active` or `Inactive`."""
    return f"aws iam update-access-key --user-name {user} --access-key-id {key_id} --status {status}"

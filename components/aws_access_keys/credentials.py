"""The forms in which a key is handed to the tools that use it."""

import csv
import json
from collections.abc import Mapping
from configparser import ConfigParser
from datetime import date
from io import StringIO
from typing import Any

from aws_access_keys.rules.untyped import mapping


def credentials_file(key_ids: Mapping[str, str], secrets: Mapping[str, str]) -> str:
    """An AWS shared-credentials file with one profile per user whose secret is known.

    Source: https://docs.aws.amazon.com/sdkref/latest/guide/file-format.html
    """
    profiles = ConfigParser(interpolation=None, default_section="")
    for user in sorted(secrets):
        profiles[user] = {"aws_access_key_id": key_ids[user], "aws_secret_access_key": secrets[user]}
    text = StringIO()
    profiles.write(text)
    return text.getvalue()


def stored_key(content: Any) -> tuple[str, str] | None:
    """The access key id and the secret in what a store holds, None if there is no key in it.

    A key is delivered as JSON with two texts, the id first, under names that the user may choose.
    """
    try:
        key_id, secret = json.loads(content).values()
    except (TypeError, ValueError, AttributeError, RecursionError):
        return None
    return (key_id, secret) if isinstance(key_id, str) and isinstance(secret, str) else None


def stored_id(content: Any) -> str | None:
    """The access key id in what a store holds, None if there is no key in it."""
    key = stored_key(content)
    return key and key[0]


def expired_text(day: date) -> str:
    """What a store holds in place of a key that has expired."""
    return json.dumps({"expired": day.isoformat()})


def is_expired(text: str) -> bool:
    """Whether this is what a store holds in place of a key that has expired."""
    try:
        return "expired" in mapping(json.loads(text))
    except (ValueError, RecursionError):
        return False


def credentials_csv(key_ids: Mapping[str, str], secrets: Mapping[str, str]) -> str:
    """A CSV with one line per user whose secret is known, as `aws configure import --csv` takes it.

    Source: https://docs.aws.amazon.com/cli/latest/reference/configure/import.html
    """
    text = StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(("User Name", "Access key ID", "Secret access key"))
    rows.writerows((user, key_ids[user], secrets[user]) for user in sorted(secrets))
    return text.getvalue()

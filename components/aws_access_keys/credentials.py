"""The forms in which a key is handed to the tools that use it."""

import csv
import json
from collections.abc import Callable, Mapping
from configparser import ConfigParser
from datetime import date
from io import StringIO
from typing import Any

from aws_access_keys.rules.keys import is_key_id, is_secret
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

    A key is delivered as JSON with two texts, the id first, under names that the user may choose. Where somebody edited
    it, the order may differ, and there may be more fields.
    """
    texts = _texts(content)
    if (key_id := _only(texts, is_key_id)) is None:
        return (texts[0], texts[1]) if len(texts) == 2 else None
    others = [text for text in dict.fromkeys(texts) if text != key_id]
    secret = others[0] if len(others) == 1 else _only(others, is_secret)
    return None if secret is None else (key_id, secret)


def stored_id(content: Any) -> str | None:
    """The access key id in what a store holds, None if there is no key in it."""
    key = stored_key(content)
    return key[0] if key else _only(_texts(content), is_key_id)


def _texts(content: Any) -> list[str]:
    """The texts in a JSON object."""
    try:
        values = [*json.loads(content).values()]
    except (TypeError, ValueError, AttributeError, RecursionError):
        return []
    return [value for value in values if isinstance(value, str)]


def _only(texts: list[str], fits: Callable[[str], bool]) -> str | None:
    """The text that fits, where others do not."""
    found = {text for text in texts if fits(text)}
    return found.pop() if len(found) == 1 else None


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

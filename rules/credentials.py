"""The forms in which a key is handed to the tools that use it."""

from collections.abc import Mapping
from configparser import ConfigParser
from io import StringIO


def credentials_file(key_ids: Mapping[str, str], secrets: Mapping[str, str]) -> str:
    """An AWS shared-credentials file with one profile per user.

    Source: https://docs.aws.amazon.com/sdkref/latest/guide/file-format.html
    """
    profiles = ConfigParser(interpolation=None, default_section="")
    for user in sorted(key_ids):
        profiles[user] = {"aws_access_key_id": key_ids[user], "aws_secret_access_key": secrets[user]}
    text = StringIO()
    profiles.write(text)
    return text.getvalue()

"""The settings of a provider: its region, default tags, tags to ignore, and a key of its own."""

import json
import re
from typing import Any

from pulumi_sandbox.credentials import Credentials
from pulumi_sandbox.provider.clients import Aws, Endpoint
from pulumi_sandbox.provider.tags import TagSettings
from pulumi_sandbox.provider.values import UNKNOWN, State

_REGION = re.compile(r"[a-z]{2}(-[a-z]+)+-\d")


def problems(args: State) -> list[tuple[str, str]]:
    """(setting, what is wrong with it)"""
    region = args.get("region")
    if region is None or region is UNKNOWN or (isinstance(region, str) and _REGION.fullmatch(region)):
        return []
    return [("region", f"{region!r} is not a valid AWS region; one looks like eu-central-1")]


def configured(args: State, endpoint: Endpoint, credentials: Credentials, region: str, *, take_key: bool) -> Aws:
    """AWS as these settings desired it.

    Only region, defaultTags, ignoreTags and - with ``take_key`` - accessKey, secretKey and token count: profiles,
    roles and endpoints would lead out of the sandbox.
    """
    known = {key: _parsed(value) for key, value in args.items() if value is not UNKNOWN}
    if take_key and known.get("accessKey") and known.get("secretKey"):
        credentials = Credentials(str(known["accessKey"]), str(known["secretKey"]), known.get("token"))
    defaults, ignored = known.get("defaultTags") or {}, known.get("ignoreTags") or {}
    return Aws(
        endpoint,
        credentials,
        known.get("region") or region,
        TagSettings(
            {key: value for key, value in (defaults.get("tags") or {}).items() if not key.startswith("__")},
            frozenset(ignored.get("keys") or ()),
            tuple(ignored.get("keyPrefixes") or ()),
        ),
    )


def _parsed(value: Any) -> Any:
    """Settings with parts arrive as JSON text."""
    if isinstance(value, str) and value[:1] in ("{", "["):
        return json.loads(value)
    return value

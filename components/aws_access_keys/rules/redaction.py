"""Removal of a secret from what a command prints, before it is shown."""

import base64
import json
import re
import urllib.parse
from collections.abc import Iterator

SHOWN = "[secret]"


def redacted(text: str, secret: str) -> str:
    """A text without a secret: raw, base64 (also of a longer text, and in lines), URL-encoded, JSON-escaped or hex."""
    for form in sorted(set(_forms(secret)), key=len, reverse=True):
        text = re.sub(r"\s*".join(map(re.escape, form)), SHOWN, text, flags=re.IGNORECASE)
    return text


def _forms(secret: str) -> Iterator[str]:
    yield secret
    raw = secret.encode()
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        for offset in range(3):  # in a longer text, a secret starts at any of three offsets
            yield encode(b"\0" * offset + raw)[4 if offset else 0 : -4].decode()
    for safe in ("", "/"):
        yield urllib.parse.quote(secret, safe=safe)
    yield json.dumps(secret)[1:-1]
    for plus in (secret.replace("+", r"\u002b"), secret):  # some tools escape it for HTML
        yield from (plus, plus.replace("/", r"\/"), plus.replace("/", r"\u002f"))
    yield raw.hex()

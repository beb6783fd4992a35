"""JSON policy documents: the forms in which the real provider keeps them, and when two of them mean the same."""

import json
from typing import Any


def compact(document: Any) -> str:
    """A document (JSON text, or a mapping) with sorted keys and no white space, as the real provider keeps most."""
    value = json.loads(document) if isinstance(document, str) else document
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    for character in "<>&":  # Go, the language of the real provider, escapes them
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def version_first(document: Any) -> str:
    """The same with the current policy version at the front, as the real provider keeps inline policies."""
    text, version = compact(document), '"Version":"2012-10-17"'
    if not text.endswith(f",{version}}}"):
        return text
    return f"{{{version},{text[1 : -len(version) - 2]}}}"


def meaning(document: str | None) -> Any:
    """Equal for documents of the same meaning: layout, the order of lists and lists of one do not count."""
    return _plain(json.loads(document)) if document else None


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(part) for key, part in value.items()}
    if isinstance(value, list):
        parts = sorted((_plain(part) for part in value), key=lambda part: json.dumps(part, sort_keys=True))
        return parts[0] if len(parts) == 1 else parts
    return value


def kept(known: str | None, on_aws: Any) -> Any:
    """The document of the state while it means what AWS has, else AWS's."""
    text = on_aws if isinstance(on_aws, str) else json.dumps(on_aws)
    return known if known and meaning(known) == meaning(text) else on_aws

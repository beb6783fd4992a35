"""The search for secrets where none may be: in files, also packed ones, in outputs, and in running processes."""

import base64
import gzip
import json
import os
import threading
import urllib.parse
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import zstandard

PACKAGES = ("site-packages", "node_modules")
"""Folders that pip and npm fill with the code of others."""
INTERVAL = 0.02  # seconds between two looks at the running processes


def _base64(secret: bytes) -> Iterator[bytes]:
    for alphabet in (base64.b64encode, base64.urlsafe_b64encode):
        for shift in range(3):  # inside a longer text a secret starts at any of three offsets
            yield alphabet(b"\0" * shift + secret)[4 if shift else 0 : -4]


def _json_escaped(secret: bytes) -> Iterator[bytes]:
    yield json.dumps(secret.decode())[1:-1].encode()
    yield secret.replace(b"/", b"\\/")
    yield secret.replace(b"+", b"\\u002b")
    yield secret.replace(b"/", b"\\u002f").replace(b"+", b"\\u002b")


def _url_encoded(secret: bytes) -> Iterator[bytes]:
    for safe in ("", "/"):
        quoted = urllib.parse.quote(secret, safe=safe)
        yield quoted.encode()
        yield quoted.replace("%2F", "%2f").replace("%2B", "%2b").encode()


FORMS: Mapping[str, Callable[[bytes], Iterable[bytes]]] = {
    "raw": lambda secret: [secret],
    "base64": _base64,
    "URL-encoded": _url_encoded,
    "JSON-escaped": _json_escaped,
    "hex": lambda secret: [secret.hex().encode(), secret.hex().upper().encode()],
}
"""Form → how a secret looks in it."""


def needles(secrets: Iterable[str]) -> set[bytes]:
    """Secrets in all forms."""
    return {needle for secret in secrets for form in FORMS.values() for needle in form(secret.encode())}


def unpacked(content: bytes) -> Iterator[bytes]:
    """A file's content, and what is packed in it."""
    yield content
    with suppress(OSError, EOFError, zlib.error):
        if content.startswith(b"\x1f\x8b"):
            yield from unpacked(gzip.decompress(content))
    with suppress(zstandard.ZstdError):
        if content.startswith(b"\x28\xb5\x2f\xfd"):
            yield from unpacked(zstandard.ZstdDecompressor().decompressobj().decompress(content))


def _files(root: Path) -> Iterator[Path]:
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(name for name in folders if name not in PACKAGES)
        yield from (path for name in sorted(names) if (path := Path(folder, name)).is_file())


@dataclass
class Search:
    """A search for some secrets, and what it has looked at."""

    secrets: set[str]
    files: int = 0
    found: list[str] = field(default_factory=list[str])

    def __post_init__(self) -> None:
        self._needles = needles(self.secrets)

    def text(self, name: str, content: "str | bytes") -> "Search":
        """Look into a text."""
        data = content.encode() if isinstance(content, str) else content
        if any(needle in data for needle in self._needles):
            self.found.append(name)
        return self

    def folders(self, *roots: Path, exempt: "Callable[[Path], bool]" = lambda _: False) -> "Search":
        """Look into every file below folders, except installed packages.

        exempt: files that hold a secret because somebody asked for it.
        """
        for path in (path for root in roots for path in _files(root)):
            if path.is_symlink() or exempt(path):
                continue
            with suppress(FileNotFoundError):
                self.files += 1
                self.text(str(path), b"\0".join(unpacked(path.read_bytes())))
        return self

    def __str__(self) -> str:
        return (
            f"leaks: {self.files} files searched for {len(self.secrets)} secrets in {len(FORMS)} forms "
            f"({len(self._needles)} patterns), {len(self.found)} found"
        )


class Processes:
    """Collects the command lines and environments of all processes for as long as it is entered."""

    def __init__(self) -> None:
        self.seen: set[bytes] = set()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "Processes":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stopped.wait(INTERVAL):
            for pid in filter(str.isdigit, os.listdir("/proc")):
                for name in ("cmdline", "environ"):
                    with suppress(OSError):
                        self.seen.add(Path("/proc", pid, name).read_bytes())

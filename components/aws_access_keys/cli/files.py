"""Files that are written whole or not at all, and those with a secret readable by their owner only."""

import fcntl
import os
import stat
import tempfile
from collections.abc import Generator
from contextlib import contextmanager, suppress
from datetime import datetime, timezone
from pathlib import Path

PRIVATE = 0o600


@contextmanager
def locked(folder: Path) -> Generator[None]:
    """Hold a folder against other runs of this program, so that two of them do not undo each other's change."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):  # some network file systems do not lock folders; there the last one wins
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def write_file(path: Path, content: bytes, mode: int = PRIVATE, owner: Path | None = None) -> None:
    """Write a file by renaming a new one over it. Raises OSError and leaves the old file then.

    A file that only its owner can read keeps its owner, or is not written; others do where that is possible. owner:
    the file whose owner counts, if it is not this one.
    """
    like = owner or path
    had = like.stat() if like.exists() else None
    descriptor, new = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # made with mode 600
    try:
        with os.fdopen(descriptor, "wb") as file:
            if had:
                _give_to(descriptor, had, mode == PRIVATE)
            file.write(content)
            os.fchmod(file.fileno(), mode)
            file.flush()
            os.fsync(file.fileno())
        os.replace(new, path)
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(new)
        raise


def _give_to(descriptor: int, had: os.stat_result, is_private: bool) -> None:
    """Give a file to the owner and group of another one, as where sudo was used. Raises OSError if a private one cannot
    have that owner."""
    made = os.fstat(descriptor)
    try:
        if (had.st_uid, had.st_gid) != (made.st_uid, made.st_gid):
            os.fchown(descriptor, had.st_uid, had.st_gid)
    except OSError as error:
        if is_private and had.st_uid != made.st_uid:
            text = f"it belongs to another user (uid {had.st_uid}); run this as that user"
            raise OSError(error.errno, text) from None


def replace_file(path: Path, content: bytes) -> None:
    """The same for a file without a secret, which keeps its mode; a pipe or device is written to. Raises OSError."""
    real = Path(os.path.realpath(path))
    if real.exists() and not real.is_file():
        real.write_bytes(content)
        return
    os.umask(mask := os.umask(0))  # there is no other way to read it
    write_file(real, content, stat.S_IMODE(real.stat().st_mode) if real.exists() else 0o666 & ~mask)


def write_with_backup(path: Path, content: bytes, is_kept: bool = True) -> Path | None:
    """Write a file; if its former content is kept, in a new one beside it that only its owner can read, return that.
    Raises OSError."""
    if not is_kept:
        write_file(path, content)
        return None
    backup = path.with_name(f"{path.name}.{datetime.now(timezone.utc):%Y%m%dT%H%M%S.%fZ}.bak")
    write_file(backup, path.read_bytes(), owner=path)
    try:
        write_file(path, content)
    except BaseException:
        backup.unlink()
        raise
    return backup

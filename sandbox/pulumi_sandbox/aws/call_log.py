"""The call log: every API call with time, service, action, key id, outcome and duration. Never a parameter or a secret.

The latest calls are in memory for the control endpoint; all go to `calls.jsonl` in the sandbox's folder, one JSON
object per line, which `pulumi-sandbox calls` reads, also when the sandbox is stopped.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
import threading
from collections import Counter, deque
from contextlib import suppress
from dataclasses import asdict, dataclass
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Any, TextIO

log = logging.getLogger(__name__)

FILE_NAME = "calls.jsonl"
KEPT_IN_MEMORY = 20_000  # calls
FILE_LIMIT = 8 * 1024 * 1024  # bytes; then the file becomes calls.jsonl.1, and the one before that goes


@dataclass(frozen=True)
class LoggedCall:
    """One API call. `time` is the sandbox's, in ISO 8601; `key` the caller's access key id; `status` the HTTP status.

    `code` is AWS's error code, None for success. `milliseconds` is the time to the response. `dropped`: whether
    the response was dropped on demand. `caller` is the ARN behind the key, None where AWS accepts no such caller;
    `address` and `agent` are where the call came from. `role` is the role that the call assumed, and `session` the key
    id of the temporary credentials that it got.
    """

    time: str
    service: str
    action: str
    key: str | None
    region: str
    status: int
    code: str | None
    milliseconds: float
    dropped: bool = False
    caller: str | None = None
    address: str = ""
    agent: str = ""
    role: str | None = None
    session: str | None = None

    @property
    def outcome(self) -> str:
        """`ok`, or the error code; `response dropped` where it was."""
        return "response dropped" if self.dropped else self.code or "ok"


class CallLog:
    """Collects calls from many threads."""

    def __init__(self, folder: Path) -> None:
        self._lock = threading.Lock()
        self._calls: deque[LoggedCall] = deque(maxlen=KEPT_IN_MEMORY)
        self._file = _File(folder / FILE_NAME, maxBytes=FILE_LIMIT, backupCount=1, encoding="utf-8", delay=True)

    def add(self, call: LoggedCall) -> None:
        with self._lock:
            self._calls.append(call)
            self._file.emit(logging.makeLogRecord({"msg": json.dumps(vars(call))}))

    def latest(self) -> list[LoggedCall]:
        """The calls in memory, oldest first."""
        with self._lock:
            return list(self._calls)

    def clear(self) -> None:
        """Forget all calls, in memory and on disk."""
        with self._lock:
            self._calls.clear()
            self._file.close()
            for path in _parts(Path(self._file.baseFilename).parent):
                path.unlink(missing_ok=True)

    def close(self) -> None:
        self._file.close()


class _File(RotatingFileHandler):
    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        """A full disk loses lines of the file, never a call."""
        log.error("cannot write %s; calls are kept in memory only", self.baseFilename)


def read(folder: Path) -> list[LoggedCall]:
    """The logged calls of the sandbox in `folder`, oldest first; none where there is no log. Broken lines are skipped
    (a killed sandbox can leave half a line)."""
    calls: list[LoggedCall] = []
    for part in _parts(folder):
        for line in part.read_text(encoding="utf-8", errors="replace").splitlines() if part.exists() else ():
            with suppress(ValueError, TypeError):
                calls.append(LoggedCall(**json.loads(line)))
    return calls


def _parts(folder: Path) -> tuple[Path, Path]:
    return folder / f"{FILE_NAME}.1", folder / FILE_NAME


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `pulumi-sandbox calls` to `parser`."""
    parser.add_argument("--count", action="store_true", help="count calls by action and outcome")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--action", metavar="ACTION", help="only this action, as in CreateUser or iam:CreateUser")
    parser.add_argument(
        "--failed", action="store_true", help="only calls that AWS refused or whose response was dropped"
    )
    parser.add_argument("--last", type=int, metavar="N", help="only the last N")


def main(folder: Path, arguments: argparse.Namespace, out: TextIO | None = None) -> int:
    """Print the calls logged in `folder` as the parsed `arguments` demand; the exit code is 0."""
    calls = [call for call in read(folder) if _wanted(call, arguments)]
    if arguments.last is not None:
        calls = calls[-arguments.last :] if arguments.last > 0 else []
    counts = Counter((f"{call.service}:{call.action}", call.outcome) for call in calls).most_common()
    rows: list[Any] = [asdict(call) for call in calls]
    lines = [
        f"{call.time}  {call.key or '-':20}  {call.region:14}  {f'{call.service}:{call.action}':36}  "
        f"{call.status}  {call.outcome}  {call.milliseconds:.1f} ms"
        for call in calls
    ]
    if arguments.count:
        rows = [{"action": action, "outcome": outcome, "calls": number} for (action, outcome), number in counts]
        lines = [f"{number:7}  {action:36}  {outcome}" for (action, outcome), number in counts]
        lines.append(f"{len(calls):7}  in all")
    print(json.dumps(rows, indent=2) if arguments.json else "\n".join(lines) or "no calls", file=out or sys.stdout)
    return 0


def _wanted(call: LoggedCall, arguments: argparse.Namespace) -> bool:
    if arguments.failed and call.outcome == "ok":
        return False
    return arguments.action in (None, call.action, f"{call.service}:{call.action}")

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
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TextIO

log = logging.getLogger(__name__)

FILE_NAME = "calls.jsonl"
KEPT_IN_MEMORY = 20_000  # calls
FILE_LIMIT = 8 * 1024 * 1024  # bytes; then the file becomes calls.jsonl.1, and the one before that goes


@dataclass(frozen=True)
class LoggedCall:
    """One API call. `time` is the sandbox's, in ISO 8601; `key` the caller's access key id; `status` the HTTP status.

    `code` is AWS's error code, None for success. `milliseconds` is the time to the response. `dropped` tells that
    the response was dropped on demand.
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

    @property
    def outcome(self) -> str:
        """`ok`, or the error code; `response dropped` where it was."""
        return "response dropped" if self.dropped else self.code or "ok"


class CallLog:
    """Collects calls from many threads."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / FILE_NAME
        self._lock = threading.Lock()
        self._calls: deque[LoggedCall] = deque(maxlen=KEPT_IN_MEMORY)
        self._file: TextIO | None = None
        self._failed = False

    def add(self, call: LoggedCall) -> None:
        """Add a call. A full disk loses lines of the file, never a call."""
        with self._lock:
            self._calls.append(call)
            try:
                self._write(json.dumps(vars(call)) + "\n")
            except OSError as error:
                if not self._failed:
                    log.error("cannot write %s: %s; calls are kept in memory only", self._path, error)
                self._failed = True

    def latest(self) -> list[LoggedCall]:
        """The calls in memory, oldest first."""
        with self._lock:
            return list(self._calls)

    def clear(self) -> None:
        """Forget all calls, in memory and on disk."""
        with self._lock:
            self._calls.clear()
            self._shut()
            for path in (self._path, _previous(self._path)):
                path.unlink(missing_ok=True)

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._shut()

    def _write(self, line: str) -> None:
        if self._file is None:
            self._file = self._path.open("a", encoding="utf-8")
            self._path.chmod(0o600)
        self._file.write(line)
        self._file.flush()
        if self._file.tell() > FILE_LIMIT:
            self._shut()
            self._path.replace(_previous(self._path))

    def _shut(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


def read(folder: Path) -> list[LoggedCall]:
    """The logged calls of the sandbox in `folder`, oldest first; none where there is no log. Broken lines are skipped
    (a killed sandbox can leave half a line)."""
    calls: list[LoggedCall] = []
    path = folder / FILE_NAME
    for part in (_previous(path), path):
        if not part.exists():
            continue
        for line in part.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                calls.append(LoggedCall(**json.loads(line)))
            except (ValueError, TypeError):
                log.debug("skipped a broken line of %s", part)
    return calls


def count(calls: Iterable[LoggedCall]) -> list[tuple[str, str, int]]:
    """(service:action, outcome, number) for each that occurs, most frequent first."""
    numbers = Counter((f"{call.service}:{call.action}", call.outcome) for call in calls)
    return [(action, outcome, number) for (action, outcome), number in numbers.most_common()]


def as_text(calls: Iterable[LoggedCall]) -> str:
    """A line per call."""
    lines = [
        f"{call.time}  {call.key or '-':20}  {call.region:14}  {f'{call.service}:{call.action}':36}  "
        f"{call.status}  {call.outcome}  {call.milliseconds:.1f} ms"
        for call in calls
    ]
    return "\n".join(lines)


def counts_as_text(calls: Iterable[LoggedCall]) -> str:
    """A line per action and outcome with the number of calls, and the sum."""
    rows = count(calls)
    lines = [f"{number:7}  {action:36}  {outcome}" for action, outcome, number in rows]
    return "\n".join([*lines, f"{sum(number for *_, number in rows):7}  in all"])


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
    """Print the calls logged in `folder` as the parsed `arguments` say; the exit code is 0."""
    calls = [call for call in read(folder) if _wanted(call, arguments)]
    if arguments.last is not None:
        calls = calls[-arguments.last :] if arguments.last > 0 else []
    if arguments.count and arguments.json:
        rows: Any = [
            {"action": action, "outcome": outcome, "calls": number} for action, outcome, number in count(calls)
        ]
        text = json.dumps(rows, indent=2)
    elif arguments.count:
        text = counts_as_text(calls)
    elif arguments.json:
        text = json.dumps([asdict(call) for call in calls], indent=2)
    else:
        text = as_text(calls) if calls else "no calls"
    print(text, file=out or sys.stdout)
    return 0


def _wanted(call: LoggedCall, arguments: argparse.Namespace) -> bool:
    if arguments.failed and call.outcome == "ok":
        return False
    return arguments.action in (None, call.action, f"{call.service}:{call.action}")


def _previous(path: Path) -> Path:
    return path.with_name(f"{path.name}.1")

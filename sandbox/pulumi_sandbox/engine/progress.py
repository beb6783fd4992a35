"""Progress of long work on stderr: one line that changes on a terminal, a line every ten seconds in a log."""

from __future__ import annotations

import shutil
import sys
import threading
import time
from types import TracebackType
from typing import TextIO

LOG_INTERVAL = 10.0
"""Seconds between two lines where stderr is not a terminal."""


class Phase:
    """One phase of the work, for as long as the `with` block runs.

    `total` may be 0 for work that cannot be counted; `unit` is the plural of what is counted.
    """

    def __init__(self, label: str, total: int = 0, unit: str = "", stream: TextIO | None = None) -> None:
        self.label, self.total, self.unit = label, total, unit
        self.done, self.note = 0, ""
        self.stream = stream or sys.stderr
        self.started = time.monotonic()
        self._ended = threading.Event()
        self._ticker = threading.Thread(target=self._tick, daemon=True)

    def update(self, done: int, note: str = "") -> None:
        """Set how many are done by now, and what is being worked on."""
        self.done, self.note = done, note

    def line(self) -> str:
        """The state in one line."""
        count = f"{self.done:,} of {self.total:,} {self.unit}, {100 * self.done // self.total} %" if self.total else ""
        minutes, seconds = divmod(int(time.monotonic() - self.started), 60)
        took = f"{minutes} min {seconds} s" if minutes else f"{seconds} s"
        return f"{self.label}: {', '.join(filter(None, [count, took, self.note]))}"

    def __enter__(self) -> Phase:
        if not self.stream.isatty():
            self._print(self.label)
        self._ticker.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._ticker.join()
        if error is None and (self.total or time.monotonic() - self.started > 1):
            self._print(self.line())
        elif self.stream.isatty():
            self._print("")

    def _tick(self) -> None:
        while not self._ended.wait(0.2 if self.stream.isatty() else LOG_INTERVAL):
            self._print(self.line(), end="")

    def _print(self, text: str, end: str = "\n") -> None:
        """On a terminal in place of the line before, cut to its width."""
        if self.stream.isatty():
            print(f"\r\x1b[K{text[: shutil.get_terminal_size().columns - 1]}", end=end, file=self.stream, flush=True)
        else:
            print(text, file=self.stream, flush=True)

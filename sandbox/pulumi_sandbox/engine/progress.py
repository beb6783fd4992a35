"""Progress of long work on stderr: a bar on a terminal, a line every ten seconds in a log."""

from __future__ import annotations

import sys
import threading
import time
from types import TracebackType
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from rich.progress import Progress

EVERY = 10.0
"""Seconds between two lines where stderr is no terminal."""


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
        # Imported here: every `sandbox run` passes through this package, and few have progress to show.
        from rich.console import Console
        from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

        console = Console(file=self.stream)
        self._bar: Progress | None = None
        if console.is_terminal and not console.is_dumb_terminal:
            self._bar = Progress(
                SpinnerColumn(),
                TextColumn("{task.description}"),
                BarColumn(bar_width=20),
                TextColumn("{task.fields[count]}"),
                TimeElapsedColumn(),
                TextColumn("[dim]{task.fields[note]}"),
                console=console,
            )
            self._task = self._bar.add_task(label, total=total or None, count="", note="")
        else:
            self._ticker = threading.Thread(target=self._tick, daemon=True)

    def update(self, done: int, note: str = "") -> None:
        """Says how many are done by now, and what is being worked on."""
        self.done, self.note = done, note
        if self._bar:
            # A package's path is long: its end says enough, and a narrow terminal has no room for it.
            room = self._bar.console.width - 80
            shown = note if len(note) <= room else f"…{note[1 - room :]}" if room > 8 else ""
            self._bar.update(self._task, completed=done, count=self.count(), note=shown)

    def count(self) -> str:
        return f"{self.done:,} of {self.total:,} {self.unit}" if self.total else ""

    def line(self) -> str:
        """The state in one line, for a log."""
        parts = [self.count(), f"{100 * self.done // self.total} %" if self.total else "", self.note]
        return f"{self.label}: {', '.join([*filter(None, parts), duration(time.monotonic() - self.started)])}"

    def __enter__(self) -> Phase:
        if self._bar:
            self._bar.start()
            self.update(0)
        else:
            self._print(self.label)
            self._ticker.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar:
            self._bar.stop()
            return
        self._ended.set()
        self._ticker.join()
        if error is None and (self.total or time.monotonic() - self.started > 1):
            self._print(self.line())

    def _tick(self) -> None:
        while not self._ended.wait(EVERY):
            self._print(self.line())

    def _print(self, text: str) -> None:
        print(text, file=self.stream, flush=True)


def duration(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"

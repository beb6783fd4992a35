"""Progress of long work: a line that changes on a terminal, lines in a log."""

from __future__ import annotations

import io
import time

import pytest
from pulumi_sandbox.engine import progress
from pulumi_sandbox.engine.progress import Phase


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_log_gets_a_line_every_ten_seconds_whatever_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    assert progress.LOG_INTERVAL == 10
    monkeypatch.setattr(progress, "LOG_INTERVAL", 0.05)
    log = io.StringIO()
    with Phase("Compiling", 1500, "packages", log) as phase:
        phase.update(300, "fmt")
        time.sleep(0.3)  # Nothing is reported in the meantime.
        phase.update(1500)
    lines = log.getvalue().splitlines()
    assert lines[0] == "Compiling", "it says at once what it does"
    assert lines[1] == "Compiling: 300 of 1,500 packages, 20 %, 0 s, fmt"
    assert lines.count(lines[1]) >= 3, "lines keep coming while the count stands still"
    assert lines[-1] == "Compiling: 1,500 of 1,500 packages, 100 %, 0 s", "it ends with the whole"


def test_a_phase_that_fails_leaves_the_last_word_to_the_error() -> None:
    log = io.StringIO()
    with pytest.raises(ValueError, match="broken"), Phase("Compiling", 10, "packages", log):
        raise ValueError("broken")
    assert log.getvalue() == "Compiling\n"


def test_a_short_phase_without_a_count_is_one_line() -> None:
    log = io.StringIO()
    with Phase("Starting Go", stream=log):
        pass
    assert log.getvalue() == "Starting Go\n"


def test_a_terminal_gets_one_line_that_changes() -> None:
    terminal = Terminal()
    with Phase("Compiling", 1500, "packages", terminal) as phase:
        phase.update(300, "fmt")
        time.sleep(0.5)
        phase.update(1500)
    shown = terminal.getvalue()
    assert "\r\x1b[KCompiling: 300 of 1,500 packages, 20 %, 0 s, fmt" in shown
    assert shown.endswith("\r\x1b[KCompiling: 1,500 of 1,500 packages, 100 %, 0 s\n")
    assert shown.count("\n") == 1


def test_long_work_is_shown_in_minutes(monkeypatch: pytest.MonkeyPatch) -> None:
    phase = Phase("Compiling")
    monkeypatch.setattr(phase, "started", time.monotonic() - 372.5)
    assert phase.line() == "Compiling: 6 min 12 s"

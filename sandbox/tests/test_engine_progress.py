"""Progress of long work: a bar on a terminal, lines in a log."""

from __future__ import annotations

import io
import re
import time

import pytest
from pulumi_sandbox.engine import progress
from pulumi_sandbox.engine.progress import Phase, duration


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_log_gets_a_line_every_ten_seconds_whatever_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    assert progress.EVERY == 10
    monkeypatch.setattr(progress, "EVERY", 0.05)
    log = io.StringIO()
    with Phase("Compiling", 1500, "packages", log) as phase:
        phase.update(300, "fmt")
        time.sleep(0.3)  # Nothing is reported in the meantime.
        phase.update(1500)
    lines = log.getvalue().splitlines()
    assert lines[0] == "Compiling", "it says at once what it does"
    assert lines[1] == "Compiling: 300 of 1,500 packages, 20 %, fmt, 0 s"
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


def test_a_terminal_gets_a_bar_with_a_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.delenv("NO_COLOR", raising=False)
    terminal = Terminal()
    with Phase("Compiling", 1500, "packages", terminal) as phase:
        phase.update(300, "fmt")
        time.sleep(0.3)
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", terminal.getvalue())
    assert re.search(r"Compiling ━+.* 300 of 1,500 packages 0:00:00 fmt", shown), "bar, count, time and package"


def test_a_dumb_terminal_gets_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    terminal = Terminal()
    with Phase("Compiling", 10, "packages", terminal):
        pass
    assert "\x1b" not in terminal.getvalue()


@pytest.mark.parametrize(("seconds", "text"), [(0.4, "0 s"), (59.9, "59 s"), (60, "1 min 0 s"), (372, "6 min 12 s")])
def test_durations_read_well(seconds: float, text: str) -> None:
    assert duration(seconds) == text

"""The report for a terminal, and for a pipe."""

from collections.abc import Sequence
from io import StringIO

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from operations.report.keys import Report, Row
from rules.audit import MAX_AGE_DAYS

BAR = 8  # characters for MAX_AGE_DAYS
ONE_LINE_PER_KEY = 150  # columns from which a key fits on one line

_HEADERS = ("User", "Key id", "Serial, slot", "Status", "Age in days", "Last used", "for", "Rotation", "Overdue")
_WIDE = ((0,), (1,), (2,), (3,), (4,), (5,), (6,), (7,), (8,))
_NARROW = ((0, 1), (2, 3), (4,), (5, 6), (7, 8))
"""Which cells stand below each other in one column."""


def as_text(report: Report) -> str:
    """The report as plain text with one line per key, however long, fit for grep."""
    text = StringIO()
    print_report(report, Console(file=text, width=400, highlight=False, color_system=None))
    return "".join(line.rstrip() + "\n" for line in text.getvalue().splitlines())


def print_report(report: Report, console: Console) -> None:
    """Print the report: a line per key where they fit, else two."""
    console.print(Text(f"Access keys of stack {report.stack} on {report.day} (UTC): {report.summary()}"), style="bold")
    if report.problem:
        console.print(Text(report.problem), style="yellow")
    if report.rows:
        console.print()
        console.print(_table(report, _WIDE if console.width >= ONE_LINE_PER_KEY else _NARROW, console))
    if report.overdue:
        console.print()
        console.print(Text("Overdue"), style="bold")
        console.print(Padding(_findings(report), (0, 0, 0, 2), expand=False))


def _table(report: Report, columns: Sequence[Sequence[int]], console: Console) -> Table:
    table = Table(box=None, padding=(0, 2 if columns is _WIDE else 1, 0, 0), pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(
            "\n".join(_HEADERS[cell] for cell in column), overflow="fold", no_wrap=True if columns is _WIDE else None
        )
    table.add_section()
    for row in report.rows:
        cells = _cells(row, ascii_only=console.options.ascii_only)
        table.add_row(*(Text("\n").join(cells[cell] for cell in column) for column in columns))
    return table


def _cells(row: Row, ascii_only: bool) -> tuple[Text, ...]:
    key, use = row.key, row.last_use
    role = "" if key.role == "current" else " previous"
    if use is None:
        used, where = Text("unknown", "yellow"), ""
    elif use.at is None:
        used, where = Text("never", "dim"), ""
    else:
        used = Text(f"{use.at:%Y-%m-%d} ({row.idle_days} d)")
        where = ", ".join(part for part in (use.service, use.region) if part)
    rotation = str(key.next_rotation or "") or (f"until {key.active_until}" if key.active_until else "")
    return (
        Text(key.user),
        Text(key.id, "cyan"),
        Text(f"{key.serial}, {key.slot}{role}"),
        Text(key.status, "" if key.status == "Active" else "dim"),
        _bar(row.age_days, key.status == "Active", ascii_only),
        used,
        Text(where, "dim"),
        Text(rotation),
        Text(", ".join(found.rule for found in row.overdue), "bold red"),
    )


def _bar(age: int | None, active: bool, ascii_only: bool) -> Text:
    """The age as a bar that is full at MAX_AGE_DAYS, and as a number."""
    if age is None:
        return Text("unknown", "yellow")
    full = min(BAR, round(age * BAR / MAX_AGE_DAYS))
    style = "dim" if not active else "red" if age > MAX_AGE_DAYS else "yellow" if age > MAX_AGE_DAYS * 2 / 3 else "green"
    done, left = ("#", ".") if ascii_only else ("█", "░")
    return Text.assemble((done * full + left * (BAR - full), style), f" {age}")


def _findings(report: Report) -> Table:
    table = Table.grid(padding=(0, 2, 0, 0))
    for _ in range(3):
        table.add_column(overflow="fold")
    for row in report.overdue:
        for found in row.overdue:
            table.add_row(Text(row.key.user), Text(row.key.id, "cyan"), Text(found.text))
    return table

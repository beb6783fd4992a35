"""The report for a terminal, and for a pipe."""

from io import StringIO

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from aws_access_keys.cli.report.keys import NEAR_DAYS, REMEDY, Report, Row
from aws_access_keys.rules.audit import MAX_AGE_DAYS

BAR = 8  # characters for MAX_AGE_DAYS
IN_DETAIL = 20  # overdue keys listed below the table, which has them all
ONE_LINE_PER_KEY = 150  # columns from which a key fits on one line

_HEADERS = ("User", "Key id", "Serial, slot", "Status", "Age, days", "Last used", "for", "Rotation", "Overdue")
_WIDE = tuple((cell,) for cell in range(len(_HEADERS)))
_NARROW = ((0, 1), (2, 3), (4,), (5, 6), (7, 8))
"""Which cells stand below each other in one column."""
_WIDTHS = (20, 13, 12, 18, 12)  # of the narrow columns; with a space between them they fill 79


def as_text(report: Report) -> str:
    """The report as plain text with one line per key, however long, fit for grep."""
    text = StringIO()
    print_report(report, Console(file=text, width=400, highlight=False, color_system=None))
    return "".join(line.rstrip() + "\n" for line in text.getvalue().splitlines())


def print_report(report: Report, console: Console) -> None:
    """Print the report: a line per key where it fits, else a few."""
    console.print(Text(f"Access keys of stack {report.stack} on {report.day} (UTC)"), style="bold")
    console.print(Text(report.summary()), style="red" if report.overdue else "")
    if report.problem:
        console.print(Text(report.problem), style="yellow")
    if report.rows:
        console.print()
        console.print(_table(report, console))
    if report.overdue:
        console.print()
        console.print(Text("Overdue"), style="bold")
        for row in report.overdue[:IN_DETAIL]:
            console.print(Text.assemble("  ", row.key.user, " ", (row.key.id, "cyan")), soft_wrap=True)
            for found in row.overdue:
                console.print(Padding(Text(found.text), (0, 0, 0, 4)))
        if len(report.overdue) > IN_DETAIL:
            console.print(f"  and {len(report.overdue) - IN_DETAIL} more")
        console.print()
        console.print(Text(REMEDY))


def _table(report: Report, console: Console) -> Table:
    wide = console.width >= ONE_LINE_PER_KEY
    columns = _WIDE if wide else _NARROW
    table = Table(box=None, padding=(0, 2 if wide else 1, 0, 0), pad_edge=False, header_style="bold")
    for column, width in zip(columns, (None,) * len(_WIDE) if wide else _WIDTHS, strict=True):
        header = "\n".join(_HEADERS[cell] for cell in column)
        header += "" if wide or len(column) > 1 else "\n"  # on the first line, as what it heads
        table.add_column(header, overflow="fold", no_wrap=wide, width=width)
    for row in report.rows:
        cells = _cells(row, console.options.ascii_only)
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
    ends = key.active_until if key.status == "Active" else None
    rotation = str(key.next_rotation or "") or (f"until {ends}" if ends else "")
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
    style = "red" if age > MAX_AGE_DAYS else "yellow" if age > NEAR_DAYS else "green"
    done, left = ("#", ".") if ascii_only else ("█", "░")
    return Text.assemble((done * full + left * (BAR - full), style if active else "dim"), f" {age}")

"""The report for a terminal, and for a pipe."""

from io import StringIO

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from aws_access_keys.cli.report.data import REMEDY, UNMANAGED, Limits, Report, Row

BAR = 8  # characters for the greatest age that is in time
IN_DETAIL = 20  # overdue keys listed below the table, which has them all
ONE_LINE_PER_KEY = 150  # columns from which a key fits on one line

_HEADERS = ("User", "Key id", "Key", "Status", "Age, days", "Last used", "for", "Rotation", "Overdue")
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
    console.print(Text(f"{report.title}, on {report.day} (UTC)"), style="bold")
    console.print(Text(report.summary.text), style="red" if report.overdue else "")
    if report.problem:
        console.print(Text(report.problem), style="yellow")
    if report.keys:
        console.print()
        console.print(_table(report, console))
    if report.summary.unmanaged:
        console.print()
        console.print(Text(UNMANAGED), style="yellow")
    if report.overdue:
        console.print()
        console.print(Text("Overdue"), style="bold")
        for row in report.overdue[:IN_DETAIL]:
            console.print(Text.assemble("  ", row.user, " ", (row.id, "cyan")), soft_wrap=True)
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
    for row in report.keys:
        cells = _cells(row, report.limits, console.options.ascii_only)
        table.add_row(*(Text("\n").join(cells[cell] for cell in column) for column in columns))
    return table


def _cells(row: Row, limits: Limits, ascii_only: bool) -> tuple[Text, ...]:
    used = Text("never", "dim") if row.last_used_known else Text("unknown", "yellow")
    if row.last_used:
        used = Text(f"{row.last_used:%Y-%m-%d} ({row.idle_days} d)")
    until = f"until {row.active_until}" if row.active_until and row.active else ""
    return (
        Text(row.user),
        Text(row.id, "cyan"),
        Text(row.label, "yellow" if row.role == "unmanaged" else ""),
        Text(row.status, "" if row.active else "dim"),
        _bar(row, limits, ascii_only),
        used,
        Text(", ".join(part for part in (row.last_used_service, row.last_used_region) if part), "dim"),
        Text(str(row.next_rotation or until)),
        Text(", ".join(finding.rule for finding in row.overdue), "bold red"),
    )


def _bar(row: Row, limits: Limits, ascii_only: bool) -> Text:
    """The age as a bar that is full at the limit, and as a number."""
    age = row.age_days
    if age is None:
        return Text("unknown", "yellow")
    full = min(BAR, round(age * BAR / limits.max_age_days))
    style = "red" if age > limits.max_age_days else "yellow" if age > limits.warn_age_days else "green"
    done, left = ("#", ".") if ascii_only else ("█", "░")
    return Text.assemble((done * full + left * (BAR - full), style if row.active else "dim"), f" {age}")

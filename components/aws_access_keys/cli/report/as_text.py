"""A listing of keys for a terminal, and for a pipe."""

from collections.abc import Callable
from io import StringIO

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from aws_access_keys.cli.report.data import Limits, Listing, Row

BAR = 8  # characters for the greatest age that is in time
IN_DETAIL = 20  # keys to act on that are listed below the table, which has them all
PIPE = 2000  # columns of a pipe, in which a key always fits on one line

Cell = Callable[[Row, Limits, bool], Text]
"""What a column shows of a row. The last argument: whether only ASCII can be shown."""


def as_text(listing: Listing) -> str:
    """The listing as plain text with one line per key, however long, fit for grep."""
    text = StringIO()
    print_listing(listing, Console(file=text, width=PIPE, highlight=False, color_system=None))
    return "".join(line.rstrip() + "\n" for line in text.getvalue().splitlines())


def print_listing(listing: Listing, console: Console) -> None:
    """Print the listing: a line per key where it fits, else a few."""
    console.print(Text(f"{listing.title}, on {listing.day} (UTC)"), style="bold")
    console.print(Text(listing.headline), style="red" if listing.to_act_on else "")
    if listing.problem:
        console.print(Text(listing.problem), style="yellow")
    if listing.rows:
        console.print()
        _print_table(listing, console)
    for note in listing.notes:
        console.print()
        console.print(Text(note), style="yellow")
    if listing.to_act_on:
        console.print()
        console.print(Text(listing.REASONS), style="bold")
        for row in listing.to_act_on[:IN_DETAIL]:
            console.print(Text.assemble("  ", row.user, " ", (row.id or "", "cyan")), soft_wrap=True)
            for found in row.reasons:
                console.print(Padding(Text(found.text), (0, 0, 0, 4)))
        if len(listing.to_act_on) > IN_DETAIL:
            console.print(f"  and {len(listing.to_act_on) - IN_DETAIL} more")
        console.print()
        console.print(Text(listing.legend[-1]))


def _print_table(listing: Listing, console: Console) -> None:
    limits, ascii_only = listing.limits, console.options.ascii_only
    headers = {header: cell for column in listing.COLUMNS for header, cell in COLUMNS[column].items()}
    lines = [[cell(row, limits, ascii_only) for cell in headers.values()] for row in listing.rows]
    lines.insert(0, [Text(header, "bold") for header in headers])
    widths = [max(map(len, cells)) for cells in zip(*lines, strict=True)]
    if sum(widths) + 2 * len(widths) <= console.width:
        for line in lines:  # rich's Table takes a second for each thousand rows
            for cell, width in zip(line, widths, strict=True):
                cell.pad_right(width - len(cell))
            console.print(Text("  ").join(line), soft_wrap=True)
        return
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False, header_style="bold")
    groups = [
        ({name: cell for column in below for name, cell in COLUMNS[column].items()}, width)
        for below, width in listing.NARROW
    ]
    for headers, width in groups:
        header = "\n".join(headers) + ("" if len(headers) > 1 else "\n")  # on the first line, as what it heads
        table.add_column(header, overflow="fold", width=width)
    for row in listing.rows:
        cells = ([cell(row, limits, ascii_only) for cell in headers.values()] for headers, _ in groups)
        table.add_row(*(_below_each_other(below) for below in cells))
    console.print(table)


def _below_each_other(cells: list[Text]) -> Text:
    below = Text("\n").join(cells)
    below.rstrip()  # an empty cell at the end takes no line
    return below


def _bar(row: Row, limits: Limits, ascii_only: bool) -> Text:
    """The age as a bar that is full at the limit, and as a number."""
    age = row.age_days
    if age is None:
        return Text("unknown", "yellow") if row.status else Text()
    full = min(BAR, round(age * BAR / limits.max_age_days))
    style = "red" if age > limits.max_age_days else "yellow" if age > limits.warn_age_days else "green"
    done, left = ("#", ".") if ascii_only else ("█", "░")
    return Text.assemble((done * full + left * (BAR - full), style if row.active else "dim"), f" {age}")


def _last_used(row: Row) -> Text:
    if row.last_used:
        return Text(f"{row.last_used:%Y-%m-%d} ({row.idle_days} d)")
    if not row.status:
        return Text()
    return Text("never", "dim") if row.last_used_known else Text("unknown", "yellow")


def _rotation(row: Row) -> Text:
    return Text(str(row.next_rotation or (f"until {row.active_until}" if row.active_until and row.active else "")))


def _reasons(row: Row) -> Text:
    return Text(", ".join(finding.rule for finding in row.reasons), "bold red")


def _of(show: Callable[[Row], Text]) -> Cell:
    """A cell that depends on the row alone."""
    return lambda row, _limits, _ascii_only: show(row)


COLUMNS: dict[str, dict[str, Cell]] = {
    "User": {"User": _of(lambda row: Text(row.user))},
    "Key id": {"Key id": _of(lambda row: Text(row.id or ("unknown" if row.status else ""), "cyan"))},
    "Key": {"Key": _of(lambda row: Text(row.label, "yellow" if row.role == "unmanaged" else ""))},
    "Status": {"Status": _of(lambda row: Text(row.status or "", "" if row.active else "dim"))},
    "Age": {"Age, days": _bar},
    "Last used": {
        "Last used": _of(_last_used),
        "for": _of(lambda row: Text(", ".join(filter(None, (row.last_used_service, row.last_used_region))), "dim")),
    },
    "Rotation": {"Rotation": _of(_rotation)},
    "Stack": {"Stack": _of(lambda row: Text(row.place))},
    "Account": {"Account": _of(lambda row: Text(row.account_id))},
    "Access": {"Access": _of(lambda row: Text(", ".join(row.access)))},
    "Overdue": {"Overdue": _of(_reasons)},
    "Act on": {"Act on": _of(_reasons)},
}
"""Column of a listing → its headers, each with what is below it."""

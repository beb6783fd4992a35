"""A listing of keys as one HTML page that needs nothing else: no script, no font, no picture, no network."""

from collections.abc import Callable
from html import escape
from pathlib import Path

from aws_access_keys.cli.report.data import Limits, Listing, Row

_STYLE = Path(__file__).with_name("page.css")
# Whatever might get into the page, it can load and run nothing.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'"


def as_html(listing: Listing) -> str:
    """The listing as an HTML page. Everything that comes from the stack or from AWS is escaped."""
    title = escape(listing.title)
    notes = [text for text in (listing.problem, *listing.notes) if text]
    problem = "".join(f'<p class="problem" role="note">{escape(text)}</p>\n' for text in notes)
    return f"""\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{_POLICY}">
<title>{title}, {listing.day}</title>
<style>
{_STYLE.read_text("utf-8")}</style>
</head>
<body>
<main>
<h1>{title}</h1>
<p class="summary{" late" if listing.to_act_on else ""}">{escape(_sentence(listing.headline))}</p>
{problem}{_table(listing)}</main>
<footer>{escape(" ".join((*listing.legend[:-1], "All days are UTC.", listing.legend[-1])))}</footer>
</body>
</html>
"""


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."


def _table(listing: Listing) -> str:
    if not listing.rows:
        return ""
    head = "".join(f'<th scope="col">{_HEADERS.get(column, column)}</th>' for column in listing.COLUMNS)
    body = "\n".join(_row(row, listing) for row in listing.rows)
    return f"""\
<div class="scroll" role="region" aria-label="Access keys" tabindex="0">
<table>
<caption>As of {listing.day} (UTC)</caption>
<thead><tr>{head}</tr></thead>
<tbody>
{body}
</tbody>
</table>
</div>
"""


def _row(row: Row, listing: Listing) -> str:
    cells = (_CELLS[column](row, listing.limits) for column in listing.COLUMNS[1:])
    tight = ("tight" if column in _TIGHT else "" for column in listing.COLUMNS[1:])
    columns = "".join(
        f'<td class="{kind}">{cell}</td>' if kind else f"<td>{cell}</td>"
        for kind, cell in zip(tight, cells, strict=True)
    )
    classes = f"{row.role or 'other'}{'' if row.active else ' inactive'}"
    return f'<tr class="{classes}"><th scope="row">{escape(row.user)}</th>{columns}</tr>'


def _status(row: Row) -> str:
    return escape(row.status or "") + (f"<small>{row.kind}</small>" if row.kind else "")


def _reasons(row: Row) -> str:
    if row.reasons:
        return f"<ul>{''.join(f'<li>{escape(_sentence(finding.text))}</li>' for finding in row.reasons)}</ul>"
    return "unknown" if row.unknown else "no"


def _age(row: Row, limits: Limits) -> str:
    """The age as a bar that is full at the limit, and as a number for those who do not see it."""
    if row.age_days is None:
        return "unknown" if row.status else ""
    share = min(100, round(row.age_days * 100 / limits.max_age_days))
    kind = " over" if row.age_days > limits.max_age_days else " near" if row.age_days > limits.warn_age_days else ""
    bar = f'<span class="bar{kind}" aria-hidden="true"><i style="width:{share}%"></i></span>'
    days = f"{row.age_days} day{'' if row.age_days == 1 else 's'}"
    return f'<span class="age">{bar}{days}</span><small>created {row.created:%Y-%m-%d}</small>'


def _last_used(row: Row) -> str:
    if not row.status:
        return ""
    if row.last_used is None:
        return "never" if row.last_used_known else "unknown"
    ago = {0: "today", 1: "1 day ago"}.get(row.idle_days or 0, f"{row.idle_days} days ago")
    where = (part for part in (row.last_used_service, row.last_used_region) if part)
    small = "".join(f"<small>{escape(part)}</small>" for part in where)
    return f'<time datetime="{row.last_used:%Y-%m-%dT%H:%M:%SZ}">{ago}</time>{small}'


def _rotation(row: Row) -> str:
    if row.active_until and row.active:
        return f"<small>active until</small>{row.active_until}"
    return str(row.next_rotation or "none")


_HEADERS = {"Key id": "Access key id", "Rotation": "Next rotation"}
_TIGHT = ("Status", "Last used", "Rotation")
_CELLS: dict[str, Callable[[Row, Limits], str]] = {
    "Key id": lambda row, _: f"<code>{escape(row.id or ('unknown' if row.status else ''))}</code>",
    "Key": lambda row, _: escape(row.name),
    "Status": lambda row, _: _status(row),
    "Age": _age,
    "Last used": lambda row, _: _last_used(row),
    "Rotation": lambda row, _: _rotation(row),
    "Stack": lambda row, _: escape(row.place),
    "Account": lambda row, _: escape(row.account_id),
    "Access": lambda row, _: "<br>".join(map(escape, row.access)),
    "Overdue": lambda row, _: _reasons(row),
    "Act on": lambda row, _: _reasons(row),
}
"""Column of a listing → the content of its cells."""

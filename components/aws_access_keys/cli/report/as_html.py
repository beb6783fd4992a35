"""The report as one HTML page that needs nothing else: no script, no font, no picture, no network."""

from html import escape
from pathlib import Path

from aws_access_keys.cli.report.data import REMEDY, UNMANAGED, Limits, Report, Row

_STYLE = Path(__file__).with_name("page.css")
_COLUMNS = ("User", "Access key id", "Key", "Status", "Age", "Last used", "Next rotation", "Overdue")
# Whatever might get into the page, it can load and run nothing.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'"


def as_html(report: Report) -> str:
    """The report as an HTML page. Everything that comes from the stack or from AWS is escaped."""
    title = escape(report.title)
    notes = [text for text in (report.problem, UNMANAGED if report.summary.unmanaged else None) if text]
    problem = "".join(f'<p class="problem" role="note">{escape(text)}</p>\n' for text in notes)
    return f"""\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{_POLICY}">
<title>{title}, {report.day}</title>
<style>
{_STYLE.read_text("utf-8")}</style>
</head>
<body>
<main>
<h1>{title}</h1>
<p class="summary{" late" if report.overdue else ""}">{escape(_sentence(report.summary.text))}</p>
{problem}{_table(report)}</main>
<footer>An active key is overdue if it is more than {report.limits.max_age_days} days old, or if nobody has used it
for {report.limits.idle_days} days (for a key that was never used, since its creation). A key is also overdue if its
rotation date has passed. "Unknown" means that this depends on a last use that AWS did not report. All days are UTC.
{escape(REMEDY)}</footer>
</body>
</html>
"""


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."


def _table(report: Report) -> str:
    if not report.keys:
        return ""
    head = "".join(f'<th scope="col">{column}</th>' for column in _COLUMNS)
    body = "\n".join(_row(row, report.limits) for row in report.keys)
    return f"""\
<div class="scroll" role="region" aria-label="Access keys" tabindex="0">
<table>
<caption>As of {report.day} (UTC)</caption>
<thead><tr>{head}</tr></thead>
<tbody>
{body}
</tbody>
</table>
</div>
"""


def _row(row: Row, limits: Limits) -> str:
    classes = f"{row.role}{'' if row.active else ' inactive'}"
    kinds = {"previous": "<small>previous key</small>", "unmanaged": "<small>not managed by this stack</small>"}
    status = escape(row.status) + kinds.get(row.role, "")
    overdue = "unknown" if row.unknown else "no"
    if row.overdue:
        overdue = f"<ul>{''.join(f'<li>{escape(_sentence(finding.text))}</li>' for finding in row.overdue)}</ul>"
    cells = (
        f"<td><code>{escape(row.id)}</code></td>",
        f"<td>{escape(row.name)}</td>",
        f'<td class="tight">{status}</td>',
        f"<td>{_age(row, limits)}</td>",
        f'<td class="tight">{_last_used(row)}</td>',
        f'<td class="tight">{_rotation(row)}</td>',
        f"<td>{overdue}</td>",
    )
    return f'<tr class="{classes}"><th scope="row">{escape(row.user)}</th>{"".join(cells)}</tr>'


def _age(row: Row, limits: Limits) -> str:
    """The age as a bar that is full at the limit, and as a number for those who do not see it."""
    if row.age_days is None:
        return "unknown"
    share = min(100, round(row.age_days * 100 / limits.max_age_days))
    kind = " over" if row.age_days > limits.max_age_days else " near" if row.age_days > limits.warn_age_days else ""
    bar = f'<span class="bar{kind}" aria-hidden="true"><i style="width:{share}%"></i></span>'
    days = f"{row.age_days} day{'' if row.age_days == 1 else 's'}"
    return f'<span class="age">{bar}{days}</span><small>created {row.created:%Y-%m-%d}</small>'


def _last_used(row: Row) -> str:
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

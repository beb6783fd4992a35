"""The report as one HTML page that needs nothing else: no script, no font, no picture, no network."""

from html import escape
from pathlib import Path

from aws_access_keys.cli.report.keys import NEAR_DAYS, REMEDY, Report, Row
from aws_access_keys.rules.audit import IDLE_DAYS, MAX_AGE_DAYS

_STYLE = Path(__file__).with_name("page.css")
_COLUMNS = ("User", "Access key id", "Serial", "Slot", "Status", "Age", "Last used", "Next rotation", "Overdue")
# Whatever might get into the page, it can load and run nothing.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'"


def as_html(report: Report) -> str:
    """The report as an HTML page. Everything that comes from the stack or from AWS is escaped."""
    title = escape(f"Access keys of stack {report.stack}")
    problem = f'<p class="problem" role="note">{escape(report.problem)}</p>\n' if report.problem else ""
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
<p class="summary{" late" if report.overdue else ""}">{escape(_sentence(report.summary()))}</p>
{problem}{_table(report)}</main>
<footer>An active key is overdue when it is more than {MAX_AGE_DAYS} days old (Security Hub IAM.3) or nobody has used it
for {IDLE_DAYS} days or more (IAM.22; a key never used counts from its creation); any key when its date of rotation
has passed. A key is undecided where its last use would tell, and AWS did not. Days are UTC days.
{escape(REMEDY)}</footer>
</body>
</html>
"""


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."


def _table(report: Report) -> str:
    if not report.rows:
        return ""
    head = "".join(f'<th scope="col">{column}</th>' for column in _COLUMNS)
    body = "\n".join(_row(row) for row in report.rows)
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


def _row(row: Row) -> str:
    key = row.key
    classes = " ".join(
        name for name, there in (("previous", key.role == "previous"), ("inactive", key.status != "Active")) if there
    )
    status = escape(key.status) + ("<small>previous key</small>" if key.role == "previous" else "")
    overdue = "".join(f"<li>{escape(_sentence(found.text))}</li>" for found in row.overdue)
    cells = (
        f"<td><code>{escape(key.id)}</code></td>",
        f"<td>{key.serial}</td>",
        f"<td>{escape(key.slot)}</td>",
        f'<td class="tight">{status}</td>',
        f"<td>{_age(row)}</td>",
        f'<td class="tight">{_last_used(row)}</td>',
        f'<td class="tight">{_rotation(row)}</td>',
        f"<td>{f'<ul>{overdue}</ul>' if overdue else _in_order(row)}</td>",
    )
    return f'<tr class="{classes}"><th scope="row">{escape(key.user)}</th>{"".join(cells)}</tr>'


def _age(row: Row) -> str:
    """The age as a bar that is full at MAX_AGE_DAYS, and as a number for those who do not see it."""
    if row.age_days is None or row.key.created is None:
        return "unknown"
    share = min(100, round(row.age_days * 100 / MAX_AGE_DAYS))
    kind = " over" if row.age_days > MAX_AGE_DAYS else " near" if row.age_days > NEAR_DAYS else ""
    days = "1 day" if row.age_days == 1 else f"{row.age_days} days"
    bar = f'<span class="bar{kind}" aria-hidden="true"><i style="width:{share}%"></i></span>'
    return f'<span class="age">{bar}{days}</span><small>made {row.key.created:%Y-%m-%d}</small>'


def _last_used(row: Row) -> str:
    use = row.last_use
    if use is None:
        return "unknown"
    if use.at is None:
        return "never"
    ago = {0: "today", 1: "1 day ago"}.get(row.idle_days or 0, f"{row.idle_days} days ago")
    small = "".join(f"<small>{escape(part)}</small>" for part in (use.service, use.region) if part)
    return f'<time datetime="{use.at:%Y-%m-%dT%H:%M:%SZ}" title="{use.at:%Y-%m-%d %H:%M} UTC">{ago}</time>{small}'


def _rotation(row: Row) -> str:
    key = row.key
    if key.next_rotation:
        return str(key.next_rotation)
    if key.active_until and key.status == "Active":
        return f"<small>active until</small>{key.active_until}"
    return "none"


def _in_order(row: Row) -> str:
    return "unknown" if row.undecided else "no"

import json
import re
from datetime import date, datetime, timezone
from html.parser import HTMLParser
from io import StringIO
from typing import Any

import pytest
from aws_access_keys.cli.day import DayError, today
from aws_access_keys.cli.last_used import LastUse
from aws_access_keys.cli.report.as_html import as_html
from aws_access_keys.cli.report.as_json import as_json
from aws_access_keys.cli.report.as_text import as_text, print_report
from aws_access_keys.cli.report.keys import Report, keys_of, report_of
from rich.console import Console

DAY = date(2026, 11, 23)


def key(key_id: str, serial: int, slot: str, created: str | None, status: str = "Active") -> dict[str, Any]:
    return {"id": key_id, "serial": serial, "slot": slot, "status": status, "created": created}


OUTPUT: dict[str, Any] = {
    "rotating": {
        "current": key("AKIACURRENT000000001", 3, "a", "2026-11-03T21:00:00Z"),
        "previous": key("AKIAPREVIOUS00000002", 2, "b", "2026-08-03T21:00:00Z"),
        "issuedOn": "2026-11-03",
        "askedSerial": 3,
        "nextRotation": "2027-02-21",
        "previousUntil": "2026-11-30",
    },
    "late": {"current": key("AKIALATE000000000003", 1, "a", "2026-09-10T21:00:00Z"), "nextRotation": "2026-11-20"},
    "asleep": {"current": key("AKIAASLEEP0000000004", 7, "b", "2026-01-10T21:00:00Z", "Inactive"), "previous": None},
    "unasked": {"current": key("AKIAUNASKED000000005", 1, "a", "2026-09-10T21:00:00Z")},
    "new": {"current": key("AKIANEW0000000000006", 1, "a", None)},
}
USED = {
    "AKIACURRENT000000001": LastUse(datetime(2026, 11, 20, 12, tzinfo=timezone.utc), "s3", "ap-northeast-2"),
    "AKIAPREVIOUS00000002": LastUse(datetime(2026, 11, 22, 12, tzinfo=timezone.utc), "sts", None),
    "AKIALATE000000000003": LastUse(None),
    "AKIAASLEEP0000000004": LastUse(None),
    "AKIANEW0000000000006": LastUse(None),
}


@pytest.fixture
def report() -> Report:
    return report_of("dev", DAY, keys_of(OUTPUT), USED, "AWS did not say it of one key: Throttling.")


def test_the_rows_are_in_order_of_users_with_the_current_key_first(report: Report) -> None:
    assert [(row.key.user, row.key.role) for row in report.rows] == [
        ("asleep", "current"),
        ("late", "current"),
        ("new", "current"),
        ("rotating", "current"),
        ("rotating", "previous"),
        ("unasked", "current"),
    ]


def test_each_key_is_judged_by_its_own_facts(report: Report) -> None:
    rows = {row.key.id: row for row in report.rows}
    assert [found.rule for found in rows["AKIALATE000000000003"].overdue] == ["unused", "rotation"]
    assert [found.rule for found in rows["AKIAPREVIOUS00000002"].overdue] == ["age"], "it is still active"
    assert rows["AKIAPREVIOUS00000002"].key.next_rotation is None, "the calendar replaces the current key only"
    assert rows["AKIACURRENT000000001"].key.active_until is None, "the overlap is the previous key's"
    assert not rows["AKIAASLEEP0000000004"].overdue, "an inactive key works for nobody"
    assert rows["AKIAUNASKED000000005"].undecided, "74 days old, and AWS did not say whether it is used"
    assert not rows["AKIACURRENT000000001"].undecided
    assert rows["AKIACURRENT000000001"].idle_days == 3
    assert rows["AKIANEW0000000000006"].age_days is None


def test_the_summary_counts_what_an_operator_wants_to_know(report: Report) -> None:
    assert report.summary() == "6 access keys of 5 users, 1 inactive, 2 overdue, 1 undecided"
    assert report_of("dev", DAY, keys_of({"new": OUTPUT["new"]}), USED).summary() == (
        "1 access key of 1 user, nothing overdue"
    )
    assert report_of("dev", DAY, [], {}).summary() == "no access keys"


def test_json_has_the_documented_shape(report: Report) -> None:
    document = json.loads(as_json(report))
    keys = {found["id"]: found for found in document.pop("keys")}
    assert document == {
        "version": 1,
        "stack": "dev",
        "day": "2026-11-23",
        "limits": {"ageDays": 90, "idleDays": 45},
        "summary": {"users": 5, "keys": 6, "inactive": 1, "overdue": 2, "undecided": 1},
        "problem": "AWS did not say it of one key: Throttling.",
    }
    assert keys["AKIACURRENT000000001"] == {
        "user": "rotating",
        "id": "AKIACURRENT000000001",
        "role": "current",
        "serial": 3,
        "slot": "a",
        "status": "Active",
        "created": "2026-11-03T21:00:00Z",
        "ageDays": 20,
        "lastUsed": {"at": "2026-11-20T12:00:00Z", "daysAgo": 3, "service": "s3", "region": "ap-northeast-2"},
        "nextRotation": "2027-02-21",
        "activeUntil": None,
        "overdue": [],
        "undecided": False,
    }
    assert keys["AKIAPREVIOUS00000002"]["activeUntil"] == "2026-11-30"
    assert keys["AKIALATE000000000003"]["lastUsed"] == {"at": None, "daysAgo": None, "service": None, "region": None}
    assert keys["AKIAUNASKED000000005"]["lastUsed"] is None, "unknown is something else than never"
    assert keys["AKIALATE000000000003"]["overdue"][1] == {
        "rule": "rotation",
        "text": "its rotation was due on 2026-11-20: run pulumi up",
    }
    assert {tuple(found) for found in keys.values()} == {tuple(keys["AKIANEW0000000000006"])}, "no member is left out"


def test_text_into_a_pipe_has_one_line_per_key(report: Report) -> None:
    lines = as_text(report).splitlines()
    table = [line for line in lines if line.startswith(tuple(OUTPUT))]
    assert len(table) == len(report.rows)
    late = next(line for line in table if line.startswith("late"))
    assert "AKIALATE000000000003" in late
    assert late.endswith("unused, rotation")
    current = next(line for line in table if "AKIACURRENT" in line)
    assert re.search(r"3, a +Active +██░+ 20 +2026-11-20 \(3 d\) +s3, ap-northeast-2 +2027-02-21$", current), current
    assert "2, b previous" in next(line for line in table if "AKIAPREVIOUS" in line)
    assert "until 2026-11-30" in next(line for line in table if "AKIAPREVIOUS" in line)
    assert not any("\x1b" in line or line != line.rstrip() for line in lines), "no colours, no spaces at the end"


@pytest.mark.parametrize("width", [80, 100, 149, 200])
def test_text_fits_the_terminal_and_says_everything(report: Report, width: int) -> None:
    text = StringIO()
    print_report(report, Console(file=text, width=width, highlight=False))
    lines = text.getvalue().splitlines()
    assert max(len(line) for line in lines) <= width
    for row in report.rows:
        assert any(row.key.id in line for line in lines), f"{row.key.id} is there in one piece"
    for said in ("2027-02-21", "2026-11-30", "unknown", "never", "20", "previous", "rotation", "key.serial"):
        assert said in text.getvalue(), f"{said} is shown at {width} columns"


def test_the_list_of_overdue_keys_stays_short() -> None:
    many = {
        f"user-{number:02}": {"current": key(f"AKIA{number:016}", 1, "a", "2025-01-01T00:00:00Z")}
        for number in range(50)
    }
    text = as_text(report_of("dev", DAY, keys_of(many), {}))
    assert "and 30 more" in text
    assert len(text.splitlines()) < 50 + 60


class Page(HTMLParser):
    """The elements of a page, those left open, and its text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.words: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, f"</{tag}> closes what was opened last"

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def test_the_page_is_well_formed_accessible_and_needs_nothing_else(report: Report) -> None:
    page = Page(as_html(report))
    assert not page.open, "every element is closed"
    tags = [tag for tag, _ in page.elements]
    assert not {"script", "link", "img", "iframe", "svg"} & set(tags)
    text = as_html(report)
    assert not re.search(r"https?:|url\(|@import|\bsrc=|\bhref=|\bon\w+=", text), "nothing is loaded, nothing is run"
    assert "default-src 'none'" in text
    assert "prefers-color-scheme: dark" in text
    assert "@media print" in text
    assert {"main", "h1", "caption", "footer"} <= set(tags)
    assert dict(page.elements)["html"] == {"lang": "en"}
    scopes = [attributes.get("scope") for tag, attributes in page.elements if tag == "th"]
    assert scopes.count("col") == 9
    assert scopes.count("row") == len(report.rows)
    words = " ".join(page.words)
    assert words.index("6 access keys of 5 users") < words.index("AKIA"), "the summary is on top"
    for row in report.rows:
        assert row.key.id in words


def test_the_page_escapes_whatever_it_is_given() -> None:
    evil = "<script>alert('1')</script>&\""
    output = {evil: {"current": key(evil, 1, evil, "2026-11-03T21:00:00Z", evil)}}
    used = {evil: LastUse(datetime(2026, 11, 20, tzinfo=timezone.utc), evil, evil)}
    text = as_html(report_of(evil, DAY, keys_of(output), used, evil))
    assert "<script" not in text
    page = Page(text)
    assert not page.open
    assert "".join(page.words).count(evil) == 9, (
        "title, heading, problem, user, id, slot, status, service and region show it as it is"
    )


def test_a_page_without_keys_says_so() -> None:
    page = Page(as_html(report_of("dev", DAY, [], {})))
    assert "No access keys." in page.words
    assert "table" not in [tag for tag, _ in page.elements]


def test_the_day_is_todays_unless_another_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ACCESS_KEYS_TODAY", raising=False)
    assert today() == datetime.now(timezone.utc).date()
    monkeypatch.setenv("ACCESS_KEYS_TODAY", "2027-03-01")
    assert today() == date(2027, 3, 1)


@pytest.mark.parametrize("said", ["tomorrow", "2027-02-30", "2027-3", "20270301", "2027-03-01T00:00:00Z"])
def test_another_day_must_be_one(monkeypatch: pytest.MonkeyPatch, said: str) -> None:
    monkeypatch.setenv("ACCESS_KEYS_TODAY", said)
    with pytest.raises(DayError, match=f"ACCESS_KEYS_TODAY={said} is no day"):
        today()

import csv
import json
import os
import re
import resource
from datetime import date, datetime, timedelta, timezone
from html.parser import HTMLParser
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from aws_access_keys.cli.report import put_listing
from aws_access_keys.cli.report.as_html import as_html
from aws_access_keys.cli.report.as_text import as_text, print_listing
from aws_access_keys.cli.report.data import Report, Row, as_csv, as_json, report_of
from aws_access_keys.cli.stack import StackError
from aws_access_keys.iam import LastUse
from aws_access_keys.rules.findings import Limits
from rich.console import Console

DAY = date(2026, 11, 23)


def key(key_id: str, serial: int, created: str | None, status: str = "Active", **more: str) -> dict[str, Any]:
    return {"id": key_id, "serial": serial, "status": status, "created": created, **more}


KEYS: dict[str, Any] = {
    "rotating": {
        "current": key("AKIACURRENT000000001", 3, "2026-11-03T21:00:00Z", name="3.2026-11-03"),
        "previous": key("AKIAPREVIOUS00000002", 2, "2026-08-03T21:00:00Z"),
        "nextRotation": "2027-02-21",
        "previousUntil": "2026-11-22",
    },
    "late": {"current": key("AKIALATE000000000003", 1, "2026-09-10T21:00:00Z"), "nextRotation": "2026-11-20"},
    "asleep": {"current": key("AKIAASLEEP0000000004", 7, "2026-01-10T21:00:00Z", "Inactive"), "previous": None},
    "unasked": {"current": key("AKIAUNASKED000000005", 1, "2026-09-10T21:00:00Z")},
    "new": {"current": key("AKIANEW0000000000006", 1, None)},
}
OUTPUTS = {"keys": KEYS, "userArns": {"late": "arn:aws:iam::123456789012:user/late"}}
USED = {
    "AKIACURRENT000000001": LastUse(datetime(2026, 11, 20, 12, tzinfo=timezone.utc), "s3", "ap-northeast-2"),
    "AKIAPREVIOUS00000002": LastUse(datetime(2026, 11, 22, 12, tzinfo=timezone.utc), "sts", None),
    "AKIALATE000000000003": None,
    "AKIAASLEEP0000000004": None,
    "AKIANEW0000000000006": None,
}


@pytest.fixture
def report() -> Report:
    return report_of(
        "dev", OUTPUTS, USED, DAY, Limits(), "The last use of AKIAUNASKED000000005 is unknown: Throttling."
    )


def stands(days: int | None, used: int | str | None = "unknown", limits: Limits | None = None, **more: Any) -> Row:
    """How a key stands that was created `days` ago and last used `used` days ago; None: never."""

    def ago(number: int) -> datetime:
        return datetime(2026, 11, 23, 23, 59, tzinfo=timezone.utc) - timedelta(days=number)

    created = None if days is None else ago(days).strftime("%Y-%m-%dT%H:%M:%SZ")
    uses = {} if isinstance(used, str) else {"AKIA1": None if used is None else LastUse(ago(used), "s3", None)}
    recorded = {"recorded": more.pop("recorded")} if "recorded" in more else {}
    part = {"current": key("AKIA1", 1, created, more.pop("status", "Active")) | recorded, **more}
    return report_of("dev", {"keys": {"ann": part}}, uses, DAY, limits or Limits()).keys[0]


def rules(row: Row) -> list[str]:
    return [finding.rule for finding in row.overdue]


@pytest.mark.parametrize(("age", "late"), [(0, False), (89, False), (90, False), (91, True), (900, True)])
def test_an_active_key_is_too_old_after_ninety_days(age: int, late: bool) -> None:
    assert rules(stands(age, used=0)) == (["age"] if late else [])


@pytest.mark.parametrize(
    ("made", "used", "text"),
    [
        (44, None, None),
        (45, None, "never used since it was created 45 days ago; the limit is 45"),
        (80, 0, None),
        (80, 44, None),
        (80, 45, "unused for 45 days; the limit is 45"),
    ],
)
def test_an_active_key_is_unused_after_forty_five_days(made: int, used: int | None, text: str | None) -> None:
    assert [finding.text for finding in stands(made, used).overdue] == ([text] if text else [])


def test_the_verification_of_a_new_key_does_not_count_as_a_use() -> None:
    created = datetime(2026, 10, 1, 12, tzinfo=timezone.utc)
    part = {"current": {"id": "AKIA1", "status": "Active", "created": created.isoformat(), "name": "1", "serial": 1}}
    for minutes, used in ((1, None), (3, created + timedelta(minutes=3))):
        uses = {"AKIA1": LastUse(created + timedelta(minutes=minutes), "sts", None)}
        (row,) = report_of("dev", {"keys": {"ann": part}}, uses, DAY, Limits()).keys
        assert row.last_used == used


def test_the_limits_can_be_others() -> None:
    limits = Limits(max_age_days=10, idle_days=3)
    assert [finding.text for finding in stands(11, 3, limits).overdue] == [
        "11 days old; the limit is 10",
        "unused for 3 days; the limit is 3",
    ]
    assert rules(stands(10, 2, limits)) == []


@pytest.mark.parametrize(("day", "late"), [("2026-11-22", True), ("2026-11-23", False), ("2026-11-24", False)])
def test_an_active_key_past_its_expiry_is_overdue(day: str, late: bool) -> None:
    assert rules(stands(1, 0, expires=day)) == (["rotation"] if late else [])
    assert rules(stands(1, 0, expires=day, status="Inactive")) == []


def test_a_key_that_somebody_activated_after_the_stack_left_it_inactive_is_overdue() -> None:
    assert rules(stands(1, 0, recorded="Inactive", expires="2026-11-01")) == ["reactivated"], "and nothing else of it"
    assert rules(stands(1, 0, recorded="Inactive", status="Inactive")) == []


def test_a_user_without_a_managed_key_who_has_another_is_listed() -> None:
    other = {"id": "AKIA9", "status": "Active", "created": "2026-11-01T00:00:00+00:00"}
    (row,) = report_of("dev", {"keys": {}}, {}, DAY, Limits(), others={"eve": [other]}).keys
    assert (row.user, row.id, row.role) == ("eve", "AKIA9", "unmanaged")


def test_an_inactive_key_is_neither_too_old_nor_unused() -> None:
    row = stands(1000, None, status="Inactive")
    assert (rules(row), row.unknown) == ([], False)
    assert not stands(1000, status="Inactive").unknown


def test_a_key_without_a_known_creation_date_is_only_judged_by_its_use() -> None:
    assert rules(stands(None, None)) == [], "never used, and nobody knows for how long"
    assert rules(stands(None, 45)) == ["unused"]
    assert stands(None).unknown, "its last use would tell"


@pytest.mark.parametrize(("due", "late"), [("2026-11-22", True), ("2026-11-23", False), ("2026-11-24", False)])
def test_a_rotation_is_missed_once_its_day_has_passed(due: str, late: bool) -> None:
    assert rules(stands(1, nextRotation=due)) == (["rotation"] if late else [])


def test_where_aws_did_not_answer_nothing_is_claimed_of_the_use() -> None:
    assert rules(stands(100, nextRotation="2026-01-01")) == ["age", "rotation"]
    assert rules(stands(100, 50, nextRotation="2026-01-01")) == ["age", "unused", "rotation"]
    assert not stands(44).unknown, "a young key is in order whenever it was used"
    assert stands(45).unknown


def test_a_day_before_the_creation_is_no_reason_for_alarm() -> None:
    assert rules(stands(-400, -500)) == []


def test_the_rows_are_in_order_of_users_with_the_current_key_first(report: Report) -> None:
    assert [(row.user, row.role) for row in report.keys] == [
        ("asleep", "current"),
        ("late", "current"),
        ("new", "current"),
        ("rotating", "current"),
        ("rotating", "previous"),
        ("unasked", "current"),
    ]


def test_a_previous_key_is_in_order_until_the_schedule_retires_it() -> None:
    rotating = {**KEYS["rotating"], "previousUntil": "2026-11-24"}
    found = report_of("dev", {"keys": {"rotating": rotating}}, USED, DAY, Limits())
    assert rules(found.keys[1]) == [], "its last day is tomorrow"


def test_each_key_is_judged_by_its_own_facts(report: Report) -> None:
    rows = {row.id: row for row in report.keys}
    assert rules(rows["AKIALATE000000000003"]) == ["unused", "rotation"]
    assert rules(rows["AKIAPREVIOUS00000002"]) == ["age"], "it is still active after its overlap"
    assert rows["AKIAPREVIOUS00000002"].next_rotation is None, "the calendar replaces the current key only"
    assert rows["AKIACURRENT000000001"].active_until is None, "the overlap is the previous key's"
    assert rows["AKIAUNASKED000000005"].unknown, "74 days old, and AWS did not report whether it is used"
    assert rows["AKIANEW0000000000006"].age_days is None


def test_the_summary_counts_what_an_operator_wants_to_know(report: Report) -> None:
    assert report.summary.text == "6 access keys for 5 users, 1 inactive, 2 overdue, 1 unknown"
    assert report_of("dev", {"keys": {"new": KEYS["new"]}}, USED, DAY, Limits()).summary.text == (
        "1 access key for 1 user, nothing overdue"
    )
    assert report_of("dev", {"keys": {}}, {}, DAY, Limits()).summary.text == "no access keys"


def test_json_has_the_documented_shape(report: Report) -> None:
    document = json.loads(as_json(report))
    keys = {found["id"]: found for found in document.pop("keys")}
    assert document == {
        "version": 1,
        "stack": "dev",
        "account": "123456789012",
        "day": "2026-11-23",
        "limits": {"maxAgeDays": 90, "idleDays": 45},
        "summary": {"users": 5, "keys": 6, "inactive": 1, "overdue": 2, "unknown": 1, "unmanaged": 0},
        "problem": "The last use of AKIAUNASKED000000005 is unknown: Throttling.",
        "foreign": [],
    }
    assert keys["AKIACURRENT000000001"] == {
        "user": "rotating",
        "id": "AKIACURRENT000000001",
        "role": "current",
        "serial": 3,
        "name": "3.2026-11-03",
        "status": "Active",
        "created": "2026-11-03T21:00:00Z",
        "ageDays": 20,
        "lastUsedKnown": True,
        "lastUsed": "2026-11-20T12:00:00Z",
        "lastUsedService": "s3",
        "lastUsedRegion": "ap-northeast-2",
        "idleDays": 3,
        "nextRotation": "2027-02-21",
        "activeUntil": None,
        "overdue": [],
        "unknown": False,
        "waitsFor": None,
    }
    assert keys["AKIAPREVIOUS00000002"]["activeUntil"] == "2026-11-22"
    assert keys["AKIAPREVIOUS00000002"]["name"] == "2", "the serial where the stack gives no name"
    never, unknown = keys["AKIALATE000000000003"], keys["AKIAUNASKED000000005"]
    assert never["lastUsed"] is unknown["lastUsed"] is None
    assert (never["lastUsedKnown"], unknown["lastUsedKnown"]) == (True, False), "unknown is not the same as never"
    assert never["overdue"][1] == {"rule": "rotation", "text": "its rotation was due on 2026-11-20: run `pulumi up`"}
    assert {tuple(found) for found in keys.values()} == {tuple(keys["AKIANEW0000000000006"])}, "no member is left out"


def test_a_key_that_the_stack_does_not_manage_is_in_every_format() -> None:
    other = {"id": "AKIAOTHER00000000007", "status": "Active", "created": "2026-01-01T00:00:00+00:00"}
    report = report_of("dev", OUTPUTS, {**USED, other["id"]: None}, DAY, Limits(), others={"new": [other]})
    row = next(row for row in report.keys if row.id == other["id"])
    assert (row.user, row.role, row.serial, row.name, row.age_days) == ("new", "unmanaged", None, "", 326)
    assert rules(row) == ["age", "unused"], "it is overdue as any other key"
    assert report.summary.text.endswith(", 1 not managed by this stack")
    assert "aws iam delete-access-key --user-name USER --access-key-id ID" in as_text(report)
    assert re.search(r"new +AKIAOTHER00000000007 +not managed +Active", as_text(report))
    assert "<small>not managed by this stack</small>" in as_html(report)
    assert "new,AKIAOTHER00000000007,unmanaged,,," in as_csv(report)


def test_csv_has_the_keys_of_the_json_document(report: Report) -> None:
    keys = json.loads(as_json(report))["keys"]
    rows = list(csv.DictReader(StringIO(as_csv(report))))
    assert list(rows[0]) == list(keys[0])
    assert [row["id"] for row in rows] == [key["id"] for key in keys]
    late = next(row for row in rows if row["user"] == "late")
    assert (late["overdue"], late["ageDays"], late["lastUsed"]) == ("unused rotation", "74", "")


def test_text_into_a_pipe_has_one_line_per_key(report: Report) -> None:
    lines = as_text(report).splitlines()
    assert lines[0] == "Access keys of stack dev, AWS account 123456789012, on 2026-11-23 (UTC)"
    table = [line for line in lines if line.startswith(tuple(KEYS))]
    assert len(table) == len(report.keys)
    late = next(line for line in table if line.startswith("late"))
    assert "AKIALATE000000000003" in late
    assert late.endswith("unused, rotation")
    current = next(line for line in table if "AKIACURRENT" in line)
    assert re.search(r"3\.2026-11-03 +Active +██░+ 20 +2026-11-20 \(3 d\) +s3, ap-northeast-2 +2027-02-21$", current), (
        current
    )
    assert "2 previous" in next(line for line in table if "AKIAPREVIOUS" in line)
    assert "until 2026-11-22" in next(line for line in table if "AKIAPREVIOUS" in line)
    assert not any("\x1b" in line or line != line.rstrip() for line in lines), "no colours, no spaces at the end"


@pytest.mark.parametrize("width", [80, 100, 149, 200])
def test_text_fits_the_terminal_and_shows_everything(report: Report, width: int) -> None:
    text = StringIO()
    print_listing(report, Console(file=text, width=width, highlight=False))
    lines = text.getvalue().splitlines()
    assert max(len(line) for line in lines) <= width
    for row in report.keys:
        assert any(str(row.id) in line for line in lines), f"{row.id} is there in one piece"
    for shown in ("2027-02-21", "2026-11-22", "unknown", "never", "20", "previous", "rotation", "rotate USER"):
        assert shown in text.getvalue(), f"{shown} is shown at {width} columns"


def test_the_list_of_overdue_keys_stays_short() -> None:
    many = {
        f"user-{number:02}": {"current": key(f"AKIA{number:016}", 1, "2025-01-01T00:00:00Z")} for number in range(50)
    }
    text = as_text(report_of("dev", {"keys": many}, {}, DAY, Limits()))
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
    assert scopes.count("col") == 8
    assert scopes.count("row") == len(report.keys)
    words = " ".join(page.words)
    assert words.index("6 access keys for 5 users") < words.index("AKIA"), "the summary is on top"
    for row in report.keys:
        assert str(row.id) in words


def test_the_page_escapes_whatever_it_is_given() -> None:
    evil = "<script>alert('1')</script>&\""
    outputs = {"keys": {evil: {"current": key(evil, 1, "2026-11-03T21:00:00Z", evil, name=evil)}}}
    used = {evil: LastUse(datetime(2026, 11, 20, tzinfo=timezone.utc), evil, evil)}
    text = as_html(report_of(evil, outputs, used, DAY, Limits(), evil))
    assert "<script" not in text
    page = Page(text)
    assert not page.open
    assert "".join(page.words).count(evil) == 9, (
        "title, heading, problem, user, id, name, status, service and region show it as it is"
    )


def test_a_page_without_keys_says_so() -> None:
    page = Page(as_html(report_of("dev", {"keys": {}}, {}, DAY, Limits())))
    assert "No access keys." in page.words
    assert "table" not in [tag for tag, _ in page.elements]


def test_a_previous_key_that_waits_for_its_users_says_for_whom() -> None:
    keys = {
        "ann": {
            "current": key("AKIANEW", 2, "2026-11-01T21:00:00Z"),
            "previous": key("AKIAOLD", 1, "2026-10-01T21:00:00Z"),
            "previousUntil": "2026-11-08",
            "whenIdle": 3,
        }
    }
    use = LastUse(datetime(2026, 11, 22, 12, tzinfo=timezone.utc), "s3", "us-east-1")

    def notes(**used: LastUse | None) -> list[str]:
        return report_of("dev", {"keys": keys}, used, DAY, Limits()).notes

    begin = "The previous access key AKIAOLD of ann stays active for now: "
    assert notes(AKIANEW=None, AKIAOLD=None) == [f"{begin}the new key has not been used yet."]
    assert notes(AKIANEW=use, AKIAOLD=use) == [
        f"{begin}the previous one was used on 2026-11-22 12:00 UTC for s3 in us-east-1."
    ]
    assert notes(AKIANEW=use, AKIAOLD=None) == [], "the next update retires it"
    assert notes(AKIANEW=use) == [], "what AWS does not report is not guessed"


def test_a_report_that_does_not_fit_on_the_disk_leaves_the_last_one(report: Report, tmp_path: Path) -> None:
    file = tmp_path / "keys.html"
    put_listing(report, "html", file)
    assert file.stat().st_mode & 0o777 == 0o666 & ~umask(), "it holds no secret, and has the mode of any new file"
    file.write_text("the last one")
    file.chmod(0o640)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4000, hard))
    try:
        with pytest.raises(StackError, match="The report cannot be written to"):
            put_listing(report, "html", file)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert file.read_text() == "the last one"
    assert list(tmp_path.iterdir()) == [file], "no part of the new one is left"
    put_listing(report, "html", file)
    assert file.stat().st_mode & 0o777 == 0o640


def test_a_report_can_go_into_a_pipe_and_through_a_link(report: Report, tmp_path: Path) -> None:
    put_listing(report, "csv", Path(os.devnull))
    assert Path(os.devnull).is_char_device()
    (tmp_path / "link").symlink_to(tmp_path / "keys.csv")
    put_listing(report, "csv", tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert "AKIALATE" in (tmp_path / "keys.csv").read_text()


def umask() -> int:
    os.umask(mask := os.umask(0))
    return mask

"""What is to be done with a leaked key, and who used it. AWS's answers are given."""

import json
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from aws_access_keys.cli import leak as cli
from aws_access_keys.cli import usage
from aws_access_keys.cli.usage import Lookups, look_up
from aws_access_keys.rules import leak
from aws_access_keys.rules.usage import Usage
from botocore.exceptions import ClientError, CredentialRetrievalError

from tests.unit.command import Command

KEY, OTHER = "AKIAIOSFODNN7EXAMPLE", "AKIAI44QH8DHBEXAMPLE"
NOW = datetime(2026, 11, 26, 7, 0, tzinfo=timezone.utc)
DENIED = leak.deny_document(NOW)


def due(steps: list[leak.Step]) -> list[str]:
    return [step.name for step in steps if step.is_due]


def test_the_record_goes_first_and_what_is_done_is_not_done_again() -> None:
    assert due(leak.steps(True, None)) == ["sessions", "key"]
    assert due(leak.steps(None, DENIED)) == ["sessions", "key"], "a key that may be on is switched off"
    assert due(leak.steps(True, DENIED)) == ["sessions", "key"], "a key that was on can have made new sessions"
    assert due(leak.steps(None, None, is_owner=False)) == ["key", "sessions"], "the key tells whose it is"
    assert due(leak.steps(False, None)) == ["sessions"]
    assert due(leak.steps(False, DENIED)) == []


def test_undone_is_what_is_recorded_and_the_record_goes_last() -> None:
    assert due(leak.undo_steps(False, DENIED)) == ["key", "sessions"]
    assert due(leak.undo_steps(True, DENIED)) == ["sessions"]
    assert due(leak.undo_steps(False, leak.deny_document(NOW, was_active=False))) == ["sessions"]
    assert due(leak.undo_steps(False, None)) == [], "nobody knows that the key was active"
    assert leak.undo_steps(False, None)[0].past.startswith("nothing records whether the key was active")
    assert due(leak.undo_steps(True, None)) == []


@pytest.mark.parametrize("condition", [{}, {"DateLessThan": {"aws:TokenIssueTime": "yesterday"}}, "none"])
def test_a_deny_that_somebody_changed_counts_as_none_and_is_written_again(condition: Any) -> None:
    document = leak.deny_document(NOW)
    assert leak.denied_before(document) == NOW
    document["Statement"][0]["Condition"] = condition
    assert leak.denied_before(document) is None
    assert due(leak.steps(False, document)) == ["sessions"]


@pytest.mark.parametrize(
    ("role", "settings", "new_key", "changed"),
    [
        ("current", {}, False, {}),
        ("current", {"status": "active"}, False, {"status": None}),
        ("current", {"status": "inactive"}, False, {}),
        ("current", {}, True, {"serial": 3, "previous": "inactive"}),
        ("current", {"serial": 3, "previous": "inactive"}, True, {}),
        ("current", {"serial": 2, "previous": "deleted"}, True, {"serial": 3, "previous": "inactive"}),
        ("current", {"status": "Inactive"}, True, {"serial": 3, "status": None, "previous": "inactive"}),
        ("current", {"status": "active"}, True, {"serial": 3, "status": None, "previous": "inactive"}),
        ("previous", {"previous": "active"}, True, {"previous": "inactive"}),
        ("previous", {}, False, {"previous": "inactive"}),
        ("previous", {"previous": "deleted"}, False, {}),
    ],
)
def test_the_stack_file_is_changed_so_that_no_update_revives_the_key(
    role: Any, settings: dict[str, Any], new_key: bool, changed: dict[str, Any]
) -> None:
    assert leak.stack_settings(role, 2, settings, new_key) == changed


def test_a_previous_key_that_works_is_not_retired_for_the_leaked_one() -> None:
    changed = leak.stack_settings("current", 2, {"status": "active"}, True, has_other=True)
    assert changed == {"serial": 3, "status": None}
    changed = leak.stack_settings("current", 2, {"previous": "deleted"}, True, has_other=True)
    assert changed == {"serial": 3, "previous": "active"}, "once the leaked one is deleted, it would be"


def test_what_stands_in_the_way_of_an_undo_is_known() -> None:
    def against(role: Any, serial: int, settings: dict[str, Any], **keys: str) -> list[str]:
        return leak.settings_against(role, serial, settings, keys, "2026-11-26")

    assert against("current", 1, {"serial": 2}) == ["serial: 2"]
    assert against("current", 1, {"serial": 2, "previous": "inactive"}) == ["serial: 2", "previous: inactive"]
    assert against("current", 2, {"serial": 2, "previous": "inactive"}) == [], "it retires another key"
    assert against("current", 2, {"serial": 2, "status": "Inactive"}) == ["status: inactive"]
    assert against("previous", 2, {"serial": 2, "previous": "inactive"}) == ["previous: inactive"]
    assert against("current", 1, {}, expires="2026-11-26") == ["expires 2026-11-26"]
    assert against("previous", 2, {}, previousUntil="2026-11-25") == ["an overlap that ended on 2026-11-25"]
    assert against("previous", 2, {"previous": "active"}, previousUntil="2026-11-25") == []
    assert against("previous", 2, {"previous": "deleted"}) == ["previous: deleted"]
    assert against("current", 1, {}, expires="2026-11-27", previousUntil="2026-11-25") == []


@pytest.mark.parametrize(
    ("key_id", "text"),
    [
        (KEY, None),
        ("ASIAIOSFODNN7EXAMPLE", "access-keys report --who ASIAIOSFODNN7EXAMPLE"),
        ("AIDAIOSFODNN7EXAMPLE", "'AIDAIOSFODNN7EXAMPLE' is not an access key id"),
        ("ann", "This is not an access key id"),
        ("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "This is not an access key id"),
    ],
)
def test_what_is_not_a_key_that_can_be_switched_off_is_named_but_never_a_secret(key_id: str, text: str | None) -> None:
    problem = leak.key_problem(key_id)
    assert (problem is None) if text is None else (problem is not None and text in problem)
    assert problem is None or "wJalrXUtnFEMI" not in problem


def event(minutes: int, name: str = "ListUsers", agent: str = "aws-cli/2.31 m/E,b", **record: Any) -> dict[str, Any]:
    """An event as boto3 has it, some minutes ago."""
    record = {"sourceIPAddress": "203.0.113.7", "userAgent": agent, "readOnly": True, **record}
    moment = NOW - timedelta(minutes=minutes)
    text = json.dumps(record)
    return {"EventName": name, "EventSource": "iam.amazonaws.com", "EventTime": moment, "CloudTrailEvent": text}


def test_events_are_summed_up_by_where_they_came_from_and_what_was_called() -> None:
    found = Usage(KEY)
    found.add(event(9))
    found.add(event(1, agent="aws-cli/2.31 m/b,E"))
    found.add(event(5, "CreateUser", readOnly=False, errorCode="AccessDenied", sourceIPAddress="198.51.100.9"))
    found.add(event(3, "Odd", userAgent=None, sourceIPAddress=None, readOnly=None, userIdentity=None))
    assert found.total.count == 4
    assert (found.total.first, found.total.last) == (NOW - timedelta(minutes=9), NOW - timedelta(minutes=1))
    assert {(source.address, source.agent): seen.count for source, seen in found.sources.items()} == {
        ("203.0.113.7", "aws-cli/2.31"): 2,
        ("198.51.100.9", "aws-cli/2.31"): 1,
        ("unknown", "unknown"): 1,
    }
    assert {action.name: (action.changes, found.refused[action]) for action in found.actions} == {
        "ListUsers": (False, 0),
        "CreateUser": (True, 1),
        "Odd": (True, 0),
    }


class Trail:
    """A boto3 session whose CloudTrail has events, and a note of how long its caller waits."""

    region_name = "eu-west-1"

    def __init__(self, events: dict[str, list[dict[str, Any]]], refused: str = "") -> None:
        self.events, self.refused, self.asked = events, refused, list[str]()

    def client(self, _service: str, region_name: str, config: object) -> Any:
        trail = self

        class Client:
            def lookup_events(self, LookupAttributes: Any, NextToken: str = "0") -> dict[str, Any]:  # noqa: N803
                trail.asked.append(region_name)
                if region_name == trail.refused:
                    raise ClientError({"Error": {"Code": "AccessDeniedException", "Message": "no"}}, "LookupEvents")
                first = int(NextToken)
                found = trail.events.get(LookupAttributes[0]["AttributeValue"], [])
                more = {"NextToken": str(first + 50)} if first + 50 < len(found) else {}
                return {"Events": found[first : first + 50], **more}

        return Client()


def test_aws_is_asked_twice_a_second_at_most_and_the_newest_events_are_read() -> None:
    waited: list[float] = []
    found = Usage(KEY)
    lookups = Lookups(Trail({KEY: [event(minutes) for minutes in range(3000)]}), waited.append)
    missing = lookups.add_to(found, "us-east-1")
    assert found.total.count == usage.MAX_EVENTS
    assert missing is not None
    assert "before 2026-11-24 13:21 UTC were not read" in missing
    assert len(waited) == usage.MAX_EVENTS / 50 + 1
    assert all(0.4 < seconds <= 0.5 for seconds in waited[1:])


def test_sessions_are_followed_to_the_roles_that_they_assumed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(usage, "PAUSE", 0)

    def issued(key_id: str, role: str | None = None) -> dict[str, Any]:
        answer = {"credentials": {"accessKeyId": key_id}}
        return event(1, "AssumeRole", responseElements=answer, requestParameters={"roleArn": role} if role else None)

    trail = Trail({KEY: [issued("ASIA1")], "ASIA1": [issued("ASIA2", "arn:aws:iam::1:role/x")], "ASIA2": [event(0)]})
    looked = look_up(trail, [KEY], follow=True)
    assert [found.key_id for found in looked.usages] == [KEY, "ASIA1", "ASIA2"]
    assert {role for found in looked.usages for role in found.roles} == {"arn:aws:iam::1:role/x"}
    assert looked.regions == ["us-east-1", "eu-west-1"]
    assert looked.problems == []
    assert [found.key_id for found in look_up(trail, [KEY]).usages] == [KEY], "a report follows none"

    many = Trail({KEY: [issued(f"ASIA{number}") for number in range(25)]})
    looked = look_up(many, [KEY], follow=True)
    assert len(looked.usages) == 1 + usage.MAX_SESSIONS
    assert "the events of 5 of them were not read" in looked.notes[0]
    assert looked.problems == [], "a limit of this program's own is no failure"


def test_a_region_that_does_not_answer_is_named_once_and_the_others_are_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(usage, "PAUSE", 0)
    trail = Trail({KEY: [event(1)], OTHER: [event(2)]}, refused="eu-west-1")
    looked = look_up(trail, [KEY, OTHER])
    assert [found.total.count for found in looked.usages] == [1, 1]
    assert len(looked.problems) == 1
    assert "eu-west-1" in looked.problems[0]
    assert "cloudtrail:LookupEvents" in looked.problems[0]
    assert trail.asked.count("eu-west-1") == 1


class Refused:
    """A session whose role is refused when its credentials are first needed, as botocore does it."""

    def get_credentials(self) -> "Refused":
        return self

    @property
    def access_key(self) -> str:
        raise CredentialRetrievalError(provider="aws:assumeRoles[0]", error_msg="AccessDenied: not authorized")


def test_a_role_that_cannot_be_assumed_ends_it_with_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli, "session_for", lambda _: Refused())  # pyright: ignore[reportUnknownLambdaType]
    code, text = Command(tmp_path, monkeypatch, {})("leak", KEY)
    assert (code, text.splitlines()[-1]) == (
        1,
        "Error: AWS cannot be asked: Error when retrieving credentials from aws:assumeRoles[0]: AccessDenied: not "
        "authorized.",
    )

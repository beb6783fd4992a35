"""Which notices are due, from the keys and from what was sent before."""

from dataclasses import replace
from datetime import date
from typing import Any

from aws_access_keys.rules.notices import Marks, Notice, Standing, after, notices

TODAY = date(2027, 3, 1)
FETCH = ("access-keys credentials ann --stack dev",)


def standing(*keys: str, inactive: str = "", rotation: str | None = None, **not_retired: str) -> Standing:
    """Ann's keys, the current one first."""
    found: list[dict[str, Any]] = [{"id": key, "status": "Inactive" if key == inactive else "Active"} for key in keys]
    part = {"current": found[0], "previous": found[1] if len(found) > 1 else None, "nextRotation": rotation}
    return Standing("ann", "data team", part, not_retired, FETCH)


def run(sent: Marks, *standings: Standing, today: date = TODAY, failed: str = "") -> tuple[list[str], Marks]:
    """The events and keys of the notices of a run, and the marks that it keeps. failed: the event that is not sent."""
    due, marks = notices(standings, sent, today, 7)
    not_sent = [mark for mark, notice in due.items() if notice.event == failed]
    return [f"{notice.event} {notice.access_key_id}" for notice in due.values()], after(sent, marks, not_sent)


def test_each_notice_goes_out_once_in_the_life_of_a_key() -> None:
    sent: Marks = {}
    life = [
        (TODAY, standing("K1", rotation="2027-05-30"), ["issued K1"]),
        (TODAY, standing("K1", rotation="2027-05-30"), []),
        (date(2027, 5, 22), standing("K1", rotation="2027-05-30"), []),
        (date(2027, 5, 23), standing("K1", rotation="2027-05-30"), ["rotation K1"]),
        (date(2027, 5, 24), standing("K1", rotation="2027-05-30"), []),
        (date(2027, 5, 30), standing("K2", "K1", rotation="2027-08-28"), ["issued K2"]),
        (date(2027, 6, 6), standing("K2", "K1", rotation="2027-08-28", K1="it is in use"), ["held K1"]),
        (date(2027, 6, 7), standing("K2", "K1", rotation="2027-08-28", K1="it is in use"), []),
        (date(2027, 6, 9), standing("K2", "K1", inactive="K1", rotation="2027-08-28"), ["retired K1"]),
        (date(2027, 6, 10), standing("K2", "K1", inactive="K1", rotation="2027-08-28"), []),
        (date(2027, 8, 28), standing("K3", "K2", rotation="2027-11-26"), ["issued K3"]),
    ]
    for day, now, expected in life:
        events, sent = run(sent, now, today=day)
        assert events == expected, f"on {day}"
    events, sent = run(sent)
    assert events == ["retired K3", "retired K2"] or events == ["retired K2", "retired K3"], "the user is gone"
    assert run(sent) == ([], {})


def test_a_preview_lists_the_new_keys_of_several_users() -> None:
    one = standing("", inactive="none", rotation="2027-03-02")
    due, _ = notices([one, replace(one, user="bob")], {}, TODAY, 7)
    assert sorted((notice.user, notice.event) for notice in due.values()) == [
        ("ann", "issued"),
        ("ann", "rotation"),
        ("bob", "issued"),
        ("bob", "rotation"),
    ]


def test_a_notice_that_was_not_sent_is_due_again() -> None:
    first, sent = run({}, standing("K1"), failed="issued")
    again, sent = run(sent, standing("K1"))
    assert first == again == ["issued K1"]
    first, sent = run(sent, standing("K2", "K1", inactive="K1"), failed="retired")
    again, sent = run(sent, standing("K2", "K1", inactive="K1"))
    assert (first, again) == (["issued K2", "retired K1"], ["retired K1"])
    assert run(sent, standing("K2", "K1", inactive="K1"))[0] == []


def test_a_key_that_is_held_back_again_is_announced_again() -> None:
    _, sent = run({}, standing("K2", "K1", K1="in use"))
    _, sent = run(sent, standing("K2", "K1"))
    assert run(sent, standing("K2", "K1", K1="in use"))[0] == ["held K1"]


def test_a_key_that_does_not_work_is_neither_issued_nor_rotated() -> None:
    assert run({}, standing("K1", inactive="K1", rotation="2027-03-02"))[0] == []


def test_a_notice_says_who_what_when_and_where_to_fetch_the_key() -> None:
    due, _ = notices([standing("K1", rotation="2027-03-08")], {}, TODAY, 7)
    issued, rotation = due.values()
    assert issued.as_data() == {
        "event": "issued",
        "user": "ann",
        "owner": "data team",
        "accessKeyId": "K1",
        "date": None,
        "text": "ann has a new access key, K1.",
        "fetch": FETCH,
    }
    assert rotation.date == "2027-03-08"
    assert rotation.as_text("keys/dev") == (
        "The access key K1 of ann will be replaced on 2027-03-08.\n\n"
        "To fetch it:\n  access-keys credentials ann --stack dev\n\n"
        "Stack: keys/dev\nOwner: data team"
    )
    held = Notice("held", "ann", None, "K1", None, "It stays.", ())
    assert held.as_text("keys/dev") == "It stays.\n\nStack: keys/dev"

"""What waits when AWS has a reason against it, and how a run ends then; AWS is a fake that counts the questions."""

from collections import Counter
from datetime import datetime, timezone
from typing import Any

import pytest
from aws_access_keys import ProgrammaticAccess, ProgrammaticAccessArgs, finish
from aws_access_keys.guard import InUseError
from aws_access_keys.plans import NoRoomError
from aws_access_keys.rules.problem import Problem
from botocore.exceptions import ClientError, NoCredentialsError

from tests.unit.recording import Recording, deploy

TODAY = "2026-11-24"
USED = datetime(2026, 11, 23, 8, 0, tzinfo=timezone.utc)


class FakeIam:
    """Both boto3's session and its IAM client. used: key id → last use. keys: user → ids; others have two keys."""

    def __init__(self, used: dict[str, datetime] | None = None, keys: dict[str, list[str]] | None = None) -> None:
        self.used, self.keys = used or {}, keys or {}
        self.asked: Counter[str] = Counter()
        self.error: Exception | None = None

    def client(self, _service: str, **_: Any) -> "FakeIam":
        return self

    def _count(self, operation: str) -> None:
        self.asked[operation] += 1
        if self.error:
            raise self.error

    def get_access_key_last_used(self, AccessKeyId: str) -> dict[str, Any]:  # noqa: N803 - boto3's name
        self._count("GetAccessKeyLastUsed")
        on = self.used.get(AccessKeyId)
        return {"AccessKeyLastUsed": {"LastUsedDate": on, "ServiceName": "s3", "Region": "us-east-1"} if on else {}}

    def _keys_of(self, user: str) -> list[str]:
        return self.keys.get(user, [f"AKIA-{user}-a", f"AKIA-{user}-b"])

    def list_access_keys(self, UserName: str) -> dict[str, Any]:  # noqa: N803 - boto3's name
        self._count("ListAccessKeys")
        found = [{"AccessKeyId": key, "Status": "Active", "CreateDate": USED} for key in self._keys_of(UserName)]
        return {"AccessKeyMetadata": found}


def record(user: str, previous: bool = False) -> dict[str, Any]:
    """What `issued_keys()` says of a user with one key, or with two."""

    def key(slot: str, serial: int) -> dict[str, Any]:
        return {"id": f"AKIA-{user}-{slot}", "serial": serial, "slot": slot, "status": "Active", "created": ""}

    before = key("a", 1) if previous else None
    current = key("b", 2) if previous else key("a", 1)
    slots = {found["slot"]: found["id"] for found in (current, before) if found}
    issued = {
        "recorded": current["id"],
        "issuedOn": "2026-01-01",
        "askedSerial": current["serial"],
        "guardIdleDays": 30.0,
        "component": "access",
    }
    return {"current": current, "previous": before, "before": before, "slots": slots, **issued}


def args(issued: dict[str, Any], **keys: dict[str, Any]) -> ProgrammaticAccessArgs:
    users: Any = {user: {"groups": ["g"], "key": {"retire_guard_idle_days": 30, **key}} for user, key in keys.items()}
    return {"groups": {"g": {"policies": ["IAMFullAccess"]}}, "users": users, "issued": issued, "today": TODAY}


def made(asked: ProgrammaticAccessArgs, iam: FakeIam) -> tuple[Recording, ProgrammaticAccess]:
    components: list[ProgrammaticAccess] = []
    session: Any = iam
    recording = deploy(lambda: components.append(ProgrammaticAccess("access", asked, session=lambda: session)))
    return recording, components[0]


def test_where_nothing_is_due_aws_is_asked_nothing() -> None:
    iam = FakeIam()
    issued = {user: record(user) for user in ("ann", "bob")}
    _, access = made(args(issued, ann={"verify": False}, bob={"verify": False}), iam)
    assert access.refused == ()
    assert not iam.asked, "a run costs no lookup per user"


def test_a_key_in_use_stays_and_the_others_go() -> None:
    iam = FakeIam(used={"AKIA-ann-a": USED})
    issued = {user: record(user, previous=True) for user in ("ann", "bob")}
    deleted = {"serial": 2, "previous": "deleted", "verify": False}
    recording, access = made(args(issued, ann=deleted, bob=deleted), iam)
    assert set(recording.of("AccessKey")) == {"access/ann/a", "access/ann/b", "access/bob/b"}
    assert [where for where, _ in access.refused] == ["users.ann.key"]
    assert "used on 2026-11-23 08:00 UTC for s3 in us-east-1, 1 day ago" in access.refused[0].what
    assert iam.asked == {"ListAccessKeys": 2, "GetAccessKeyLastUsed": 2}, "a key that is to go costs two questions"


def test_no_key_is_issued_where_a_stranger_takes_the_room() -> None:
    iam = FakeIam(keys={"ann": ["AKIA-ann-a", "AKIA-stranger"], "bob": ["AKIA-bob-a"]})
    issued = {user: record(user) for user in ("ann", "bob")}
    recording, access = made(args(issued, ann={"serial": 2, "verify": False}, bob={"serial": 2, "verify": False}), iam)
    assert set(recording.of("AccessKey")) == {"access/ann/a", "access/bob/a", "access/bob/b"}
    assert "AKIA-stranger (Active, made on 2026-11-23, never used)" in access.refused[0].what


@pytest.mark.parametrize(
    "error",
    [
        NoCredentialsError(),
        ClientError({"Error": {"Code": "AccessDenied", "Message": "not authorized"}}, "GetAccessKeyLastUsed"),
    ],
)
def test_without_an_answer_the_key_stays(error: Exception) -> None:
    iam = FakeIam()
    iam.error = error
    issued = {"ann": record("ann", previous=True)}
    recording, access = made(args(issued, ann={"serial": 2, "previous": "deleted", "verify": False}), iam)
    assert set(recording.of("AccessKey")) == {"access/ann/a", "access/ann/b"}
    assert "because AWS does not say whether it is in use" in access.refused[0].what


def test_a_rotation_waits_until_the_key_before_was_handed_over() -> None:
    iam = FakeIam()
    issued = {"ann": {**record("ann", previous=True), "handedOver": False}}
    recording, access = made(args(issued, ann={"serial": 3, "verify": False}), iam)
    assert recording.of("AccessKey")["access/ann/a"].inputs["status"] == "Active"
    assert "AKIA-ann-b was issued by a run that failed" in access.refused[0].what
    assert not iam.asked


def test_a_key_that_was_deleted_by_hand_needs_no_permission_to_go() -> None:
    iam = FakeIam(used={"AKIA-ann-a": USED}, keys={"ann": ["AKIA-ann-b"]})
    issued = {"ann": record("ann", previous=True)}
    recording, access = made(args(issued, ann={"serial": 3, "verify": False}), iam)
    assert access.refused == ()
    assert set(recording.of("AccessKey")) == {"access/ann/a", "access/ann/b"}


def test_a_current_key_that_was_deleted_by_hand_is_not_made_where_there_is_no_room() -> None:
    iam = FakeIam(keys={"ann": ["AKIA-1", "AKIA-2"]})
    gone = {**record("ann"), "slots": {}}
    with pytest.raises(
        NoRoomError, match=r"AKIA-ann-a was deleted by hand, and IAM has no room .* has AKIA-1 .* and AKIA-2"
    ):
        made(args({"ann": gone}, ann={"verify": False}), iam)


def test_a_user_that_leaves_with_a_key_in_use_refuses_the_run_and_those_of_other_components_do_not() -> None:
    iam = FakeIam(used={"AKIA-ann-a": USED, "AKIA-cy-a": USED})
    elsewhere = {**record("cy"), "component": "other"}
    with pytest.raises(InUseError, match=r"users\.ann: the access key AKIA-ann-a .* set keyDefaults\.retireGuard"):
        made(args({"ann": record("ann"), "cy": elsewhere}), iam)
    made(args({"cy": elsewhere}), iam)


def test_an_update_that_refused_something_ends_in_an_error_and_a_preview_does_not(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    ending: list[Any] = []
    monkeypatch.setattr("atexit.register", ending.append)
    refused = [Problem("users.ann.key", "the key is in use.")]
    deploy(lambda: finish(refused), preview=True)
    assert not ending
    deploy(lambda: finish([]))
    assert not ending, "nothing was refused"
    deploy(lambda: finish(refused))
    assert len(ending) == 1
    preview, update = (message.getMessage() for message in caplog.records)
    assert preview.startswith("An update will not do this")
    assert update == "This was not done, all else was:\n  users.ann.key: the key is in use."

"""AWS's credential report: what is read of it, and which key is which."""

from datetime import datetime, timedelta, timezone

import pytest
from aws_access_keys.iam import LastUse
from aws_access_keys.rules.credential_report import ROOT, ReportedKey, ReportError, certain_uses, parse_report

COLUMNS = (
    "user,arn,user_creation_time,password_enabled,password_last_used,password_last_changed,password_next_rotation,"
    "mfa_active,access_key_1_active,access_key_1_last_rotated,access_key_1_last_used_date,"
    "access_key_1_last_used_region,access_key_1_last_used_service,access_key_2_active,access_key_2_last_rotated,"
    "access_key_2_last_used_date,access_key_2_last_used_region,access_key_2_last_used_service,cert_1_active,"
    "cert_1_last_rotated,cert_2_active,cert_2_last_rotated"
)
NO_KEY, NO_CERTIFICATES = "false,N/A,N/A,N/A,N/A", "false,N/A,false,N/A"
ARN = "arn:aws:iam::123456789012:user"
FIRST = datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone.utc)
SECOND = FIRST + timedelta(days=30)
USE, OTHER_USE = LastUse(SECOND, "s3", "us-east-1"), LastUse(SECOND, "sts", "us-east-1")


def report(*rows: str, columns: str = COLUMNS) -> str:
    return "\n".join((columns, *rows))


def test_awss_words_for_nothing_are_read_as_nothing() -> None:
    found = parse_report(
        report(
            f"<root_account>,arn:aws:iam::123456789012:root,2020-01-01T00:00:00Z,not_supported,no_information,"
            f"not_supported,not_supported,true,{NO_KEY},{NO_KEY},{NO_CERTIFICATES}",
            f"ann,{ARN}/ann,2020-01-01T00:00:00+00:00,true,no_information,2020-01-01T00:00:00+00:00,N/A,false,"
            f"true,2026-01-02T03:04:05+00:00,N/A,N/A,N/A,"
            f"false,2026-02-01T03:04:05Z,2026-02-01T03:04:05Z,N/A,s3,{NO_CERTIFICATES}",
            f"bob,{ARN}/bob,2020-01-01T00:00:00Z,FALSE,N/A,N/A,N/A,TRUE,{NO_KEY},{NO_KEY},{NO_CERTIFICATES}",
        )
    )
    root, ann, bob = found[ROOT], found["ann"], found["bob"]
    assert (root.password, root.mfa, root.keys) == (None, True, ()), "AWS does not tell whether root has a password"
    assert (ann.password, ann.mfa) == (True, False)
    assert ann.keys == (
        ReportedKey(active=True, changed=FIRST, used=None),
        ReportedKey(active=False, changed=SECOND, used=LastUse(SECOND, "s3", None)),
    ), "an inactive key is one, too, and both ways to write UTC are read"
    assert (bob.password, bob.mfa, bob.keys) == (False, True, ()), "TRUE is true, as in the documentation"


def test_a_new_column_does_no_harm_and_a_missing_one_is_named() -> None:
    row = f"bob,{ARN}/bob,2020-01-01T00:00:00Z,false,N/A,N/A,N/A,true,{NO_KEY},{NO_KEY},{NO_CERTIFICATES}"
    assert parse_report(report(f"{row},3", columns=f"{COLUMNS},additional_credentials_info"))["bob"].mfa
    with pytest.raises(ReportError, match="has no column mfa_active"):
        parse_report(report(row, columns=COLUMNS.replace("mfa_active", "mfa")))
    with pytest.raises(ReportError, match="has no column access_key_1_active"):
        parse_report("")


@pytest.mark.parametrize("broken", ["perhaps", "true\nx"])
def test_a_row_that_cannot_be_read_is_named(broken: str) -> None:
    row = f"bob,{ARN}/bob,2020-01-01T00:00:00Z,false,N/A,N/A,N/A,{broken},{NO_KEY},{NO_KEY},{NO_CERTIFICATES}"
    with pytest.raises(ReportError, match=r"line \d of the credential report cannot be read"):
        parse_report(report(row))


def reported(changed: datetime, used: LastUse | None = None) -> ReportedKey:
    return ReportedKey(active=True, changed=changed, used=used)


def test_keys_are_told_apart_by_their_creation() -> None:
    rows = (reported(SECOND, USE), reported(FIRST))
    assert certain_uses({"AKIA1": FIRST, "AKIA2": SECOND}, rows) == {"AKIA1": None, "AKIA2": USE}
    assert certain_uses({"AKIA2": SECOND}, rows) == {"AKIA2": USE}, "the other one is gone by now"


def test_two_keys_of_one_second_are_only_told_apart_where_it_makes_no_difference() -> None:
    keys = {"AKIA1": FIRST, "AKIA2": FIRST}
    assert certain_uses(keys, (reported(FIRST, USE), reported(FIRST))) == {}
    assert certain_uses(keys, (reported(FIRST, USE), reported(FIRST, OTHER_USE))) == {}
    assert certain_uses(keys, (reported(FIRST), reported(FIRST))) == {"AKIA1": None, "AKIA2": None}


def test_a_key_that_is_newer_than_the_report_is_not_taken_for_one_of_it() -> None:
    assert certain_uses({"AKIA1": SECOND}, ()) == {}
    assert certain_uses({"AKIA1": SECOND}, (reported(FIRST, USE),)) == {}, "the reported key was deleted since"
    found = certain_uses({"AKIA1": FIRST, "AKIA2": SECOND}, (reported(FIRST, USE),))
    assert found == {"AKIA1": USE}


def test_a_date_of_a_change_is_taken_for_the_only_key_that_can_have_it() -> None:
    assert certain_uses({"AKIA1": FIRST}, (reported(SECOND, USE),)) == {"AKIA1": USE}
    assert certain_uses({"AKIA1": FIRST}, (reported(SECOND, USE), reported(SECOND))) == {}

"""What IAM reports of the whole account: authorization details in pages, and the credential report with its errors."""

from __future__ import annotations

import csv
import time
from collections.abc import Iterator
from datetime import datetime, timezone
from io import StringIO
from typing import Any

import pytest
from aws_support import ALLOW_ALL, Strict, refusal

READ_ONLY = "arn:aws:iam::aws:policy/AmazonS3ReadOnlyAccess"


@pytest.fixture(autouse=True)
def empty(strict: Strict) -> Iterator[None]:
    strict.control.reset()
    yield
    strict.control.clear_faults()


def details(strict: Strict, *kinds: str, **given: Any) -> dict[str, Any]:
    return strict.client("iam").get_account_authorization_details(Filter=list(kinds), **given)


def report(strict: Strict) -> dict[str, dict[str, str]]:
    """User → its row of a report made now."""
    iam = strict.client("iam")
    while iam.generate_credential_report()["State"] != "COMPLETE":
        time.sleep(0.2)
    text = iam.get_credential_report()["Content"].decode()
    return {row["user"]: row for row in csv.DictReader(StringIO(text))}


def test_the_details_of_a_user_and_of_its_group_have_all_their_policies(strict: Strict) -> None:
    iam = strict.client("iam")
    own = iam.create_policy(PolicyName="own", PolicyDocument=ALLOW_ALL)["Policy"]["Arn"]
    iam.create_group(GroupName="readers")
    iam.attach_group_policy(GroupName="readers", PolicyArn=READ_ONLY)
    iam.put_group_policy(GroupName="readers", PolicyName="inline", PolicyDocument=ALLOW_ALL)
    iam.create_user(UserName="ann", Path="/team/", Tags=[{"Key": "a", "Value": "b"}], PermissionsBoundary=own)
    iam.put_user_policy(UserName="ann", PolicyName="inline", PolicyDocument=ALLOW_ALL)
    iam.attach_user_policy(UserName="ann", PolicyArn=own)
    iam.add_user_to_group(UserName="ann", GroupName="readers")
    iam.create_user(UserName="bob")

    found = details(strict, "User", "Group", "LocalManagedPolicy")
    ann, bob = found["UserDetailList"]
    assert (ann["Arn"], ann["GroupList"]) == ("arn:aws:iam::123456789012:user/team/ann", ["readers"])
    assert ann["AttachedManagedPolicies"] == [{"PolicyName": "own", "PolicyArn": own}]
    assert ann["UserPolicyList"][0]["PolicyDocument"]["Statement"][0]["Effect"] == "Allow"
    assert ann["PermissionsBoundary"]["PermissionsBoundaryArn"] == own
    assert ann["Tags"] == [{"Key": "a", "Value": "b"}]
    assert (bob["GroupList"], bob["AttachedManagedPolicies"]) == ([], [])
    (group,) = found["GroupDetailList"]
    assert group["AttachedManagedPolicies"][0]["PolicyArn"] == READ_ONLY
    assert group["GroupPolicyList"][0]["PolicyName"] == "inline"
    (policy,) = found["Policies"]
    assert (policy["Arn"], policy["AttachmentCount"]) == (own, 1)
    assert policy["PolicyVersionList"][0]["Document"]["Statement"], "the documents are there, too"
    assert not found["RoleDetailList"], "what the filter does not name is not there"


@pytest.mark.long
def test_entities_of_all_kinds_count_together_for_a_page(strict: Strict) -> None:
    iam = strict.client("iam")
    for number in range(3):
        iam.create_user(UserName=f"u{number}")
        iam.create_group(GroupName=f"g{number}")
    first = details(strict, "User", "Group", MaxItems=4)
    assert (len(first["UserDetailList"]), len(first["GroupDetailList"]), first["IsTruncated"]) == (3, 1, True)
    rest = details(strict, "User", "Group", MaxItems=4, Marker=first["Marker"])
    assert (len(rest["UserDetailList"]), len(rest["GroupDetailList"]), rest["IsTruncated"]) == (0, 2, False)
    every = iam.get_account_authorization_details()
    assert every["IsTruncated"], "AWS's own policies are among all entities, and 100 is the default"
    assert refusal(lambda: details(strict, "Everything"))[0] == "ValidationError"


def test_a_report_is_made_first_and_read_then(strict: Strict) -> None:
    iam = strict.client("iam")
    assert refusal(iam.get_credential_report)[::2] == ("ReportNotPresent", 410)
    assert iam.generate_credential_report()["State"] == "STARTED"
    assert iam.generate_credential_report()["State"] == "INPROGRESS"
    assert refusal(iam.get_credential_report)[::2] == ("ReportInProgress", 404)
    report(strict)
    made = iam.get_credential_report()["GeneratedTime"]
    assert abs((datetime.now(timezone.utc) - made).total_seconds()) < 10

    iam.create_user(UserName="later")
    assert "later" not in report(strict), "within four hours it stays as it is"
    strict.control.change_faults(clock=4 * 3600 - 30)
    assert "later" not in report(strict)
    strict.control.change_faults(clock=4 * 3600 + 30)
    assert refusal(iam.get_credential_report)[::2] == ("ReportExpired", 410)
    assert "later" in report(strict)


def test_the_report_has_awss_columns_and_values(strict: Strict) -> None:
    iam = strict.client("iam")
    iam.create_user(UserName="bob")
    key = strict.user_with_key("Ann", "AmazonS3ReadOnlyAccess")
    strict.client("s3", key).list_buckets()
    unused = iam.create_access_key(UserName="Ann")["AccessKey"]["AccessKeyId"]
    iam.update_access_key(UserName="Ann", AccessKeyId=unused, Status="Inactive")
    iam.update_account_password_policy(MaxPasswordAge=90)
    iam.create_login_profile(UserName="bob", Password="Correct-horse-7-battery")
    device = iam.create_virtual_mfa_device(VirtualMFADeviceName="bob")["VirtualMFADevice"]["SerialNumber"]
    iam.enable_mfa_device(
        UserName="bob", SerialNumber=device, AuthenticationCode1="123456", AuthenticationCode2="654321"
    )
    rows = report(strict)

    assert list(rows) == ["<root_account>", "Ann", "bob"], "root comes first, then users regardless of case"
    assert len(rows["Ann"]) == 22
    assert list(rows["Ann"])[8:13] == [
        "access_key_1_active",
        "access_key_1_last_rotated",
        "access_key_1_last_used_date",
        "access_key_1_last_used_region",
        "access_key_1_last_used_service",
    ]
    root = rows["<root_account>"]
    assert (root["arn"], root["password_enabled"]) == ("arn:aws:iam::123456789012:root", "not_supported")
    assert (root["access_key_1_active"], root["access_key_1_last_used_service"]) == ("true", "iam")
    ann, bob = rows["Ann"], rows["bob"]
    assert (ann["password_enabled"], ann["password_last_used"], ann["mfa_active"]) == ("false", "N/A", "false")
    slot = 1 if key.access_key_id < unused else 2
    assert (ann[f"access_key_{slot}_active"], ann[f"access_key_{slot}_last_used_service"]) == ("true", "s3")
    other = 3 - slot
    assert ann[f"access_key_{other}_active"] == "false"
    assert ann[f"access_key_{other}_last_rotated"].endswith("Z"), "an inactive key keeps its date"
    assert ann[f"access_key_{other}_last_used_date"] == "N/A"
    assert (bob["password_enabled"], bob["password_last_used"], bob["mfa_active"]) == ("true", "no_information", "true")
    assert bob["password_next_rotation"] > bob["password_last_changed"] > "2026"
    assert (bob["access_key_1_active"], bob["access_key_1_last_rotated"], bob["cert_1_last_rotated"]) == (
        "false",
        "N/A",
        "N/A",
    )


@pytest.mark.long
def test_who_may_read_them(strict: Strict) -> None:
    key = strict.user_with_key("auditor")
    iam, root = strict.client("iam", key), strict.client("iam")
    for action, call in (
        ("GenerateCredentialReport", iam.generate_credential_report),
        ("GetAccountAuthorizationDetails", iam.get_account_authorization_details),
    ):
        assert refusal(call)[0] == "AccessDenied"
        allowed = ALLOW_ALL.replace('"Action": "*"', f'"Action": "iam:{action}"')
        root.put_user_policy(UserName="auditor", PolicyName="may", PolicyDocument=allowed)
        call()

"""What IAM does with users, groups and keys as time goes on: renames, memberships, lists in pages, last use."""

from __future__ import annotations

from datetime import datetime, timezone

import pytest
from aws_support import ALLOW_ALL, FORM, REGION, ROOT, Strict, refusal, send
from pulumi_sandbox.credentials import Credentials

S3_FULL = "arn:aws:iam::aws:policy/AmazonS3FullAccess"


# ---- renames


def test_a_renamed_user_keeps_everything(strict: Strict) -> None:
    iam = strict.client("iam")
    key = strict.user_with_key("before", "AmazonS3FullAccess")
    iam.tag_user(UserName="before", Tags=[{"Key": "Team", "Value": "data"}])
    iam.put_user_policy(UserName="before", PolicyName="inline", PolicyDocument=ALLOW_ALL)
    iam.create_group(GroupName="friends")
    iam.add_user_to_group(GroupName="friends", UserName="before")
    identity = iam.get_user(UserName="before")["User"]["UserId"]

    iam.update_user(UserName="before", NewUserName="after", NewPath="/team/")

    user = iam.get_user(UserName="after")["User"]
    assert user["Arn"] == "arn:aws:iam::123456789012:user/team/after"
    assert user["UserId"] == identity, "the unique id stays"
    assert user["Tags"] == [{"Key": "Team", "Value": "data"}]
    assert iam.list_user_tags(UserName="after")["Tags"] == [{"Key": "Team", "Value": "data"}]
    assert iam.list_user_policies(UserName="after")["PolicyNames"] == ["inline"]
    assert iam.list_attached_user_policies(UserName="after")["AttachedPolicies"][0]["PolicyArn"] == S3_FULL
    assert [group["GroupName"] for group in iam.list_groups_for_user(UserName="after")["Groups"]] == ["friends"]
    assert iam.get_group(GroupName="friends")["Users"][0]["UserName"] == "after"
    keys = iam.list_access_keys(UserName="after")["AccessKeyMetadata"]
    assert [(one["UserName"], one["AccessKeyId"]) for one in keys] == [("after", key.access_key_id)]
    assert strict.client("sts", key).get_caller_identity()["Arn"] == user["Arn"], "the key keeps working"
    assert iam.get_access_key_last_used(AccessKeyId=key.access_key_id)["UserName"] == "after"
    with pytest.raises(iam.exceptions.NoSuchEntityException):
        iam.get_user(UserName="before")
    iam.create_user(UserName="before")
    assert "Tags" not in iam.get_user(UserName="before")["User"], "the old name is free, and its tags are gone"
    iam.update_access_key(UserName="after", AccessKeyId=key.access_key_id, Status="Inactive")
    iam.delete_access_key(UserName="after", AccessKeyId=key.access_key_id)
    assert iam.list_access_keys(UserName="after")["AccessKeyMetadata"] == []


def test_the_present_name_is_allowed_as_the_new_one(strict: Strict) -> None:
    iam = strict.client("iam")
    iam.create_user(UserName="same")
    iam.update_user(UserName="same", NewUserName="same", NewPath="/moved/")
    assert iam.get_user(UserName="same")["User"]["Path"] == "/moved/"
    iam.create_group(GroupName="same")
    iam.update_group(GroupName="same", NewGroupName="same", NewPath="/moved/")
    assert iam.get_group(GroupName="same")["Group"]["Path"] == "/moved/"


def test_a_renamed_group_keeps_everything(strict: Strict) -> None:
    iam = strict.client("iam")
    iam.create_group(GroupName="old-group")
    iam.attach_group_policy(GroupName="old-group", PolicyArn=S3_FULL)
    iam.put_group_policy(GroupName="old-group", PolicyName="inline", PolicyDocument=ALLOW_ALL)
    key = strict.user_with_key("group-member")
    iam.add_user_to_group(GroupName="old-group", UserName="group-member")

    iam.update_group(GroupName="old-group", NewGroupName="new-group", NewPath="/team/")

    assert iam.get_group(GroupName="new-group")["Group"]["Arn"] == "arn:aws:iam::123456789012:group/team/new-group"
    assert iam.get_group(GroupName="new-group")["Users"][0]["UserName"] == "group-member"
    assert iam.list_attached_group_policies(GroupName="new-group")["AttachedPolicies"][0]["PolicyArn"] == S3_FULL
    assert iam.list_group_policies(GroupName="new-group")["PolicyNames"] == ["inline"]
    strict.client("s3", key).list_buckets()
    with pytest.raises(iam.exceptions.NoSuchEntityException):
        iam.get_group(GroupName="old-group")


# ---- memberships, attachments, tags


def test_adding_attaching_and_removing_twice_is_no_error(strict: Strict) -> None:
    iam = strict.client("iam")
    iam.create_user(UserName="twice")
    iam.create_group(GroupName="twice")
    for _ in range(2):
        iam.add_user_to_group(GroupName="twice", UserName="twice")
        iam.attach_user_policy(UserName="twice", PolicyArn=S3_FULL.replace("FullAccess", "ReadOnlyAccess"))
        iam.attach_group_policy(GroupName="twice", PolicyArn=S3_FULL.replace("FullAccess", "ReadOnlyAccess"))
    policy = iam.get_policy(PolicyArn=S3_FULL.replace("FullAccess", "ReadOnlyAccess"))["Policy"]
    assert policy["AttachmentCount"] == 2, "two entities, however often attached"
    for _ in range(2):
        iam.remove_user_from_group(GroupName="twice", UserName="twice")
    assert iam.get_group(GroupName="twice")["Users"] == []


def test_a_tag_in_another_spelling_replaces_the_old_one(strict: Strict) -> None:
    iam = strict.client("iam")
    iam.create_user(UserName="tagged", Tags=[{"Key": "Team", "Value": "a"}, {"Key": "Cost", "Value": "1"}])
    iam.tag_user(UserName="tagged", Tags=[{"Key": "team", "Value": "b"}])
    tags = iam.list_user_tags(UserName="tagged")["Tags"]
    assert sorted((tag["Key"], tag["Value"]) for tag in tags) == [("Cost", "1"), ("team", "b")]
    iam.untag_user(UserName="tagged", TagKeys=["TEAM"])
    assert [tag["Key"] for tag in iam.list_user_tags(UserName="tagged")["Tags"]] == ["Cost"]


def test_a_deleted_user_leaves_nothing_behind(strict: Strict) -> None:
    iam = strict.client("iam")
    key = strict.user_with_key("leaving")
    iam.tag_user(UserName="leaving", Tags=[{"Key": "Team", "Value": "data"}])
    iam.delete_access_key(UserName="leaving", AccessKeyId=key.access_key_id)
    iam.delete_user(UserName="leaving")
    iam.create_user(UserName="leaving")
    assert "Tags" not in iam.get_user(UserName="leaving")["User"]
    assert iam.list_access_keys(UserName="leaving")["AccessKeyMetadata"] == []


def test_a_user_name_left_out_means_the_caller(strict: Strict) -> None:
    key = strict.user_with_key("self-service", "IAMFullAccess")
    own = strict.client("iam", key)
    second = own.create_access_key()["AccessKey"]
    assert second["UserName"] == "self-service"
    own.update_access_key(AccessKeyId=second["AccessKeyId"], Status="Inactive")
    statuses = [one["Status"] for one in own.list_access_keys()["AccessKeyMetadata"]]
    assert statuses == ["Active", "Inactive"]
    own.delete_access_key(AccessKeyId=second["AccessKeyId"])
    assert len(own.list_access_keys()["AccessKeyMetadata"]) == 1


def test_roots_own_key_stays(strict: Strict) -> None:
    iam = strict.client("iam")
    assert refusal(iam.create_access_key)[0] == "NotImplemented"
    assert refusal(iam.delete_access_key, AccessKeyId=ROOT.access_key_id)[0] == "NotImplemented"
    assert refusal(iam.delete_access_key, AccessKeyId="AKIAIOSFODNN7EXAMPLE")[0] == "NoSuchEntity"


def test_each_partition_is_an_account_of_its_own(strict: Strict) -> None:
    body = b"Action=GetCallerIdentity&Version=2011-06-15"
    answer = send(strict.url, body=body, headers=FORM, sign="sts", region="cn-north-1")
    assert b"<Arn>arn:aws-cn:iam::123456789012:root</Arn>" in answer.body
    for request in (b"Action=CreateUser&UserName=in-china", b"Action=CreateGroup&GroupName=in-china"):
        answer = send(strict.url, body=request, headers=FORM, sign="iam", region="cn-north-1")
        assert b"<Arn>arn:aws-cn:iam::123456789012:" in answer.body
    assert "in-china" not in [user["UserName"] for user in strict.client("iam").list_users()["Users"]]


def test_ids_look_like_awss(strict: Strict) -> None:
    iam = strict.client("iam")
    assert iam.create_user(UserName="looks")["User"]["UserId"].startswith("AIDA")
    assert iam.create_group(GroupName="looks")["Group"]["GroupId"].startswith("AGPA")
    key = iam.create_access_key(UserName="looks")["AccessKey"]
    assert (key["AccessKeyId"][:4], len(key["AccessKeyId"]), len(key["SecretAccessKey"])) == ("AKIA", 20, 40)


# ---- lists


def test_lists_come_in_pages(strict: Strict) -> None:
    iam = strict.client("iam")
    for number in range(105):
        iam.create_user(UserName=f"page-{number:03}", Path="/pages/")
    first = iam.list_users(PathPrefix="/pages/")
    assert (len(first["Users"]), first["IsTruncated"]) == (100, True), "a page has 100 users unless told otherwise"
    second = iam.list_users(PathPrefix="/pages/", Marker=first["Marker"])
    assert (len(second["Users"]), second["IsTruncated"]) == (5, False)
    pages = iam.get_paginator("list_users").paginate(PathPrefix="/pages/", PaginationConfig={"PageSize": 10})
    assert len({user["UserName"] for page in pages for user in page["Users"]}) == 105

    iam.create_group(GroupName="pages")
    for number in range(3):
        iam.add_user_to_group(GroupName="pages", UserName=f"page-{number:03}")
    members = iam.get_paginator("get_group").paginate(GroupName="pages", PaginationConfig={"PageSize": 2})
    assert [len(page["Users"]) for page in members] == [2, 1]


def test_versions_are_listed_newest_first(strict: Strict) -> None:
    iam = strict.client("iam")
    arn = iam.create_policy(PolicyName="versions", PolicyDocument=ALLOW_ALL)["Policy"]["Arn"]
    iam.create_policy_version(PolicyArn=arn, PolicyDocument=ALLOW_ALL, SetAsDefault=True)
    versions = iam.list_policy_versions(PolicyArn=arn)["Versions"]
    assert [(one["VersionId"], one["IsDefaultVersion"]) for one in versions] == [("v2", True), ("v1", False)]


# ---- last use


def test_the_last_use_of_a_key_is_told_truly(strict: Strict) -> None:
    iam = strict.client("iam")
    key = strict.user_with_key("last-used", "AmazonS3FullAccess", "IAMFullAccess")

    def last_used() -> tuple[str, str]:
        used = iam.get_access_key_last_used(AccessKeyId=key.access_key_id)["AccessKeyLastUsed"]
        if "LastUsedDate" in used:
            age = datetime.now(timezone.utc) - used["LastUsedDate"]
            assert -2 < age.total_seconds() < 10, "the time is that of the call"
        return used["ServiceName"], used["Region"]

    assert last_used() == ("N/A", "N/A"), "never used"
    assert "LastUsedDate" not in iam.get_access_key_last_used(AccessKeyId=key.access_key_id)["AccessKeyLastUsed"]
    strict.client("s3", key).list_buckets()
    assert last_used() == ("s3", REGION)
    strict.client("iam", key).list_groups()
    assert last_used() == ("iam", "us-east-1"), "IAM lives in us-east-1, wherever it is called from"
    strict.client("sts", key).get_caller_identity()
    assert last_used() == ("sts", REGION)
    with pytest.raises(strict.client("kms", key).exceptions.ClientError):
        strict.client("kms", key).list_keys()
    assert last_used() == ("kms", REGION), "a refused call is a use as well"


def test_a_call_that_is_not_authenticated_is_no_use(strict: Strict) -> None:
    key = strict.user_with_key("not-used")
    with pytest.raises(strict.client("sts").exceptions.ClientError):
        strict.client("sts", Credentials(key.access_key_id, "wrong" * 8)).get_caller_identity()
    used = strict.client("iam").get_access_key_last_used(AccessKeyId=key.access_key_id)["AccessKeyLastUsed"]
    assert used["ServiceName"] == "N/A"

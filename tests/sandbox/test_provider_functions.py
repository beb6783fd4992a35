"""The functions a program may call; policy documents as the real provider renders them (provider_documents.json)."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.sandbox.provider_client import Connection, ProviderFaultError, moto, provider

DOCUMENTS: list[dict[str, Any]] = json.loads(
    Path(__file__).with_name("provider_documents.json").read_text(encoding="utf-8")
)["documents"]
RENDER = "aws:iam/getPolicyDocument:getPolicyDocument"
S3_FULL = "arn:aws:iam::aws:policy/AmazonS3FullAccess"


@pytest.fixture(scope="module")
def connection() -> Iterator[Connection]:
    with provider(moto(), region="ap-northeast-2") as connection:
        yield connection


@pytest.mark.parametrize("row", DOCUMENTS, ids=[json.dumps(row["arguments"])[:70] for row in DOCUMENTS])
def test_a_policy_document_is_rendered_as_by_the_real_provider(connection: Connection, row: dict[str, Any]) -> None:
    if row.get("refused"):
        with pytest.raises(ProviderFaultError) as refused:
            connection.invoke(RENDER, row["arguments"])
        assert "mistake in the sandbox" not in refused.value.message, "it must be refused, not fall over"
        return
    answer = connection.invoke(RENDER, row["arguments"])
    assert answer["minifiedJson"] == row["minifiedJson"]
    assert answer["id"] == row["id"], "the id is the checksum of the indented text: that differs"
    assert json.loads(answer["json"]) == json.loads(row["minifiedJson"])


def test_get_policy_finds_a_policy_of_aws_by_arn_and_by_name(connection: Connection) -> None:
    by_arn = connection.invoke("aws:iam/getPolicy:getPolicy", {"arn": S3_FULL})
    by_name = connection.invoke("aws:iam/getPolicy:getPolicy", {"name": "AmazonS3FullAccess"})
    assert by_arn["arn"] == by_name["arn"] == by_arn["id"] == S3_FULL
    assert json.loads(by_arn["policy"])["Statement"], "the document comes along"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"name": "NoSuchPolicy"}, "found 0 policies"),
        ({}, "needs an arn or a name"),
        ({"arn": "arn:aws:iam::aws:policy/NoSuchPolicy"}, "NoSuchEntity"),
        ({"arn": "S3"}, "is no ARN"),
        ({"arn": S3_FULL, "name": "x"}, "cannot both be given"),
        ({"nmae": "x"}, "it knows arn, name"),
    ],
)
def test_get_policy_tells_why_it_found_none(connection: Connection, arguments: dict[str, str], says: str) -> None:
    with pytest.raises(ProviderFaultError) as refused:
        connection.invoke("aws:iam/getPolicy:getPolicy", arguments)
    assert says in refused.value.message


def test_users_groups_and_keys_can_be_looked_up(connection: Connection) -> None:
    connection.make("aws:iam/user:User", {"name": "nina", "path": "/people/", "tags": {"a": "b"}})
    connection.make("aws:iam/group:Group", {"name": "all"})
    connection.make("aws:iam/userGroupMembership:UserGroupMembership", {"user": "nina", "groups": ["all"]})
    key = connection.make("aws:iam/accessKey:AccessKey", {"user": "nina", "status": "Inactive"})

    user = connection.invoke("aws:iam/getUser:getUser", {"userName": "nina"})
    assert user["arn"] == "arn:aws:iam::123456789012:user/people/nina"
    assert (user["id"], user["tags"]) == (user["userId"], {"a": "b"})

    group = connection.invoke("aws:iam/getGroup:getGroup", {"groupName": "all"})
    assert [member["userName"] for member in group["users"]] == ["nina"]

    keys = connection.invoke("aws:iam/getAccessKeys:getAccessKeys", {"user": "nina"})["accessKeys"]
    assert [(found["accessKeyId"], found["status"]) for found in keys] == [(key.id, "Inactive")]
    assert keys[0]["createDate"] == key.outputs["createDate"]

    with pytest.raises(ProviderFaultError, match="GetUser failed: NoSuchEntity"):
        connection.invoke("aws:iam/getUser:getUser", {"userName": "nobody"})


def test_caller_region_and_partition(connection: Connection) -> None:
    caller = connection.invoke("aws:index/getCallerIdentity:getCallerIdentity", {})
    assert (caller["id"], caller["accountId"]) == ("123456789012", "123456789012")
    region = connection.invoke("aws:index/getRegion:getRegion", {})
    assert (region["region"], region["description"]) == ("ap-northeast-2", "Asia Pacific (Seoul)")
    assert region["endpoint"] == "ec2.ap-northeast-2.amazonaws.com"
    partition = connection.invoke("aws:index/getPartition:getPartition", {})
    assert partition == {
        "id": "aws",
        "partition": "aws",
        "dnsSuffix": "amazonaws.com",
        "reverseDnsPrefix": "com.amazonaws",
    }

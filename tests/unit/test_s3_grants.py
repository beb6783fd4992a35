"""The policies for grants allow what the grants say and no more, by the sandbox's evaluation of policies."""

import json
from typing import Any, get_args

import pytest
from aws_access_keys.rules.limits import POLICY_LENGTH
from aws_access_keys.rules.s3_grants import Access, S3Grant, grant_policies, grant_problems
from hypothesis import given
from hypothesis import strategies as st
from pulumi_sandbox.aws.policy_evaluation import AccessRequest, Verdict, evaluate

KEY = "arn:aws:kms:ap-northeast-2:123456789012:key/1234abcd"
TLS = {"aws:securetransport": ("true",)}

GET = ["GetObject", "GetObjectVersion", "GetObjectTagging", "GetObjectVersionTagging", "GetObjectAttributes"]
PUT = ["PutObject", "PutObjectTagging", "AbortMultipartUpload", "ListMultipartUploadParts", "DeleteObject"]
LIST = ["ListBucket", "ListBucketVersions"]
NEVER = ["DeleteObjectVersion", "PutObjectAcl", "GetObjectAcl", "BypassGovernanceRetention", "RestoreObject"]
NEVER_ON_BUCKETS = ["DeleteBucket", "PutBucketPolicy", "GetBucketPolicy", "PutLifecycleConfiguration", "CreateBucket"]
ALLOWED: dict[Access, list[str]] = {"list": LIST, "read": LIST + GET, "write": PUT, "readWrite": LIST + GET + PUT}


def allowed(grants: list[S3Grant], action: str, resource: str, partition: str = "aws", **context: str) -> bool:
    """Whether the policies allow an action of S3 (`GetObject`), or another (`kms:Decrypt`), over TLS."""
    found = {name.replace("__", ":"): (value,) for name, value in context.items()}
    action = action if ":" in action else f"s3:{action}"
    resource = resource if resource.startswith("arn:") else f"arn:{partition}:s3:::{resource}"
    documents = grant_policies(grants, partition).values()
    return evaluate(documents, AccessRequest(action, resource, TLS | found)) is Verdict.ALLOWED


@pytest.mark.parametrize("access", get_args(Access))
def test_a_grant_allows_the_actions_of_its_level_below_its_prefix_only(access: Access) -> None:
    grants = [S3Grant("data", "in/", access)]
    for action in GET + PUT + NEVER:
        assert allowed(grants, action, "data/in/file") == (action in ALLOWED[access]), action
        assert not allowed(grants, action, "data/inner/file"), "the next prefix stays closed"
        assert not allowed(grants, action, "data/file")
        assert not allowed(grants, action, "data-2/in/file"), "the next bucket stays closed"
    for action in LIST:
        expected = action in ALLOWED[access]
        assert allowed(grants, action, "data", s3__prefix="in/") == expected
        assert allowed(grants, action, "data", s3__prefix="in/2026/") == expected
        for prefix in ("", "in", "inner/", "out/"):
            assert not allowed(grants, action, "data", s3__prefix=prefix), f"the prefix {prefix!r} stays closed"
        assert not allowed(grants, action, "data"), "a request without a prefix would list the whole bucket"
        assert not allowed(grants, action, "data-2", s3__prefix="in/")
    assert allowed(grants, "GetBucketLocation", "data"), "clients ask where the bucket is"
    assert not allowed(grants, "ListBucketMultipartUploads", "data", s3__prefix="in/"), (
        "AWS cannot limit it to a prefix"
    )
    assert not any(allowed(grants, action, "data") for action in NEVER_ON_BUCKETS)


@pytest.mark.parametrize("access", get_args(Access))
def test_a_grant_of_a_whole_bucket_needs_no_prefix(access: Access) -> None:
    grants = [S3Grant("data", "", access)]
    for action in LIST:
        assert allowed(grants, action, "data") == allowed(grants, action, "data", s3__prefix="in/")
        assert allowed(grants, action, "data") == (action in ALLOWED[access])
    assert allowed(grants, "ListBucketMultipartUploads", "data") == ("PutObject" in ALLOWED[access])
    assert allowed(grants, "GetObject", "data/any/file") == ("GetObject" in ALLOWED[access])


def test_nothing_is_allowed_without_tls() -> None:
    grants = [S3Grant("data", "", "readWrite")]
    for action, resource in (("GetObject", "data/x"), ("PutObject", "data/x"), ("ListBucket", "data")):
        assert not allowed(grants, action, resource, aws__securetransport="false")


def test_the_kms_key_of_a_grant_is_used_through_s3_in_its_region_only() -> None:
    s3, elsewhere = "s3.ap-northeast-2.amazonaws.com", "s3.eu-west-1.amazonaws.com"
    needed: dict[Access, set[str]] = {"read": {"Decrypt"}, "write": {"Decrypt", "GenerateDataKey"}}
    for access, actions in needed.items():
        grants = [S3Grant("data", "in/", access, KEY)]
        for action in ("Decrypt", "GenerateDataKey", "Encrypt", "CreateGrant", "DescribeKey"):
            assert allowed(grants, f"kms:{action}", KEY, kms__viaservice=s3) == (action in actions)
            assert not allowed(grants, f"kms:{action}", KEY, kms__viaservice=elsewhere)
            assert not allowed(grants, f"kms:{action}", KEY), "not by the user itself"
            assert not allowed(grants, f"kms:{action}", f"{KEY}5", kms__viaservice=s3)
    assert "kms:" not in str(grant_policies([S3Grant("data", "", "read")], "aws"))


def test_arns_are_those_of_the_partition() -> None:
    key = "arn:aws-cn:kms:cn-north-1:123456789012:key/1"
    grants = [S3Grant("data", "in/", "read", key)]
    assert allowed(grants, "GetObject", "arn:aws-cn:s3:::data/in/x", "aws-cn")
    assert not allowed(grants, "GetObject", "arn:aws:s3:::data/in/x", "aws-cn")
    assert allowed(grants, "kms:Decrypt", key, "aws-cn", kms__viaservice="s3.cn-north-1.amazonaws.com.cn")


def test_grants_are_merged_into_one_document_whatever_their_order() -> None:
    grants = [S3Grant(f"bucket-{number}", prefix, "read") for number in range(20) for prefix in ("a/", "b/")]
    made = grant_policies(grants, "aws")
    assert list(made) == ["s3"]
    assert len(json.loads(made["s3"])["Statement"]) == 3, "objects, listings, locations: not one for each grant"
    assert grant_policies(reversed(grants), "aws") == made


def test_what_does_not_fit_into_one_policy_is_split() -> None:
    grants = [S3Grant(f"bucket-{number:03}-{'x' * 40}", "in/", "readWrite", KEY) for number in range(100)]
    made = grant_policies(grants, "aws")
    assert list(made)[:2] == ["s3", "s3-2"]
    assert len(made) <= 10
    assert all(len(document) <= POLICY_LENGTH for document in made.values())
    assert min(map(len, list(made.values())[:-1])) > POLICY_LENGTH * 0.9, "each is as full as it can be"
    for grant in grants:
        for action in ("GetObject", "PutObject"):
            assert allowed(grants, action, f"{grant.bucket}/in/x")


@given(
    st.lists(
        st.builds(
            S3Grant,
            bucket=st.sampled_from(["aaa", "aaa-b", "bbb"]),
            prefix=st.sampled_from(["", "in/", "in/x/", "inner/", "out/"]),
            access=st.sampled_from(get_args(Access)),
            kms_key=st.none(),
        ),
        min_size=1,
        max_size=6,
    )
)
def test_random_grants_allow_exactly_what_they_say(grants: list[S3Grant]) -> None:
    """The expectation knows nothing of policies: it reads the grants."""
    documents = grant_policies(grants, "aws").values()
    for bucket in ("aaa", "aaa-b", "bbb"):
        for prefix in ("", "i", "in", "in/", "in/x/", "inner/", "out/", "other/"):
            above = [grant for grant in grants if grant.bucket == bucket and prefix.startswith(grant.prefix)]
            for action in GET + PUT + LIST + NEVER:
                resource = bucket if action in LIST else f"{bucket}/{prefix}file"
                context = TLS | ({"s3:prefix": (prefix,)} if action in LIST else {})
                access = AccessRequest(f"s3:{action}", f"arn:aws:s3:::{resource}", context)
                expected = any(action in ALLOWED[grant.access] for grant in above)
                assert (evaluate(documents, access) is Verdict.ALLOWED) == expected, access


@pytest.mark.parametrize(
    "grants",
    [
        [S3Grant("data", "", "read"), S3Grant("data", "in/", "write")],
        [S3Grant("data", "in/", "write"), S3Grant("data", "in/", "list")],
        [S3Grant("data", "in/", "read"), S3Grant("data", "out/", "read"), S3Grant("more", "in/", "read")],
        [S3Grant("data", "보고서/2026 (1)/", "read")],
        [S3Grant("a.b-c.1", "", "read")],
    ],
)
def test_grants_that_add_something_to_each_other_are_no_mistake(grants: list[S3Grant]) -> None:
    problems: list[Any] = list(grant_problems("s3", grants))
    assert problems == []

"""Keys that work from some networks only."""

from typing import Any

import pytest
from aws_access_keys.rules.documents import compact, document_problems
from aws_access_keys.rules.networks import allow_from_document, have_common_network, network_problems
from pulumi_sandbox.aws.policy_evaluation import AccessRequest, Verdict, evaluate

from tests.unit.test_component import made, with_user

NETWORKS = ["203.0.113.0/24", "2001:db8::/32", "198.51.100.7"]
EVERYTHING = '{"Statement": {"Effect": "Allow", "Action": "*", "Resource": "*"}}'


@pytest.mark.parametrize(
    ("address", "by_service", "works"),
    [
        ("203.0.113.9", "false", True),
        ("198.51.100.7", "false", True),
        ("2001:db8::1", "false", True),
        ("198.51.100.8", "false", False),
        ("2001:db9::1", "false", False),
        (None, "false", False),  # through a VPC endpoint
        ("198.51.100.8", "true", True),  # Athena reads S3 for the caller
        (None, None, False),
    ],
)
def test_calls_from_elsewhere_are_denied(address: str | None, by_service: str | None, works: bool) -> None:
    given = {"aws:sourceip": address, "aws:viaawsservice": by_service}
    context = {key: (value,) for key, value in given.items() if value}
    policies = [EVERYTHING, compact(allow_from_document(NETWORKS))]
    verdict = evaluate(policies, AccessRequest("s3:GetObject", "arn:aws:s3:::data/x", context))
    assert verdict is (Verdict.ALLOWED if works else Verdict.DENIED)


def test_the_document_is_good_whatever_the_order_of_the_networks() -> None:
    document = allow_from_document(NETWORKS)
    assert list(network_problems("x", NETWORKS)) == list(document_problems("x", document, "aws")) == []
    assert document == allow_from_document(NETWORKS[::-1])


@pytest.mark.parametrize(
    ("lists", "expected"),
    [
        ([], True),
        ([["203.0.113.0/24"]], True),
        ([["203.0.113.0/24"], ["203.0.113.128/25"]], True),
        ([["203.0.113.0/24"], ["203.0.113.128/25"], ["203.0.113.0/25"]], False),
        ([["203.0.113.0/24"], ["2001:db8::/32"]], False),
        ([["203.0.113.0/24", "2001:db8::/32"], ["2001:db8:1::/48", "198.51.100.0/24"]], True),
    ],
)
def test_a_user_must_be_in_a_network_of_each_list(lists: list[list[str]], expected: bool) -> None:
    assert have_common_network(lists) == expected


def test_nothing_is_allowed_before_the_limits_are_there() -> None:
    groups: dict[str, Any] = {
        "g": {
            "policies": ["AmazonS3ReadOnlyAccess"],
            "inline": {
                "own": {"Version": "2012-10-17", "Statement": {"Effect": "Deny", "Action": "*", "Resource": "*"}}
            },
            "allow_from": ["203.0.113.0/24"],
        }
    }
    recording, _ = made(with_user(groups, allow_from=["203.0.113.7"]))
    of_group = recording.of("GroupPolicy")["access/g/allow-from"].urn
    of_user = recording.of("UserPolicy")["access/ann/allow-from"].urn
    attachment = recording.of("GroupPolicyAttachment")["access/g/AmazonS3ReadOnlyAccess"]
    inline, membership = recording.of("GroupPolicy")["access/g/own"], recording.of("UserGroupMembership")["access/ann"]
    assert of_group in attachment.request.dependencies
    assert of_group in inline.request.dependencies
    assert {of_group, of_user} <= set(membership.request.dependencies)
    key = recording.of("AccessKey")["access/ann/1"]
    assert {of_user, attachment.urn, inline.urn, membership.urn} <= set(key.request.dependencies)


def test_without_networks_there_is_no_policy_for_them() -> None:
    recording, _ = made()
    assert not recording.of("GroupPolicy")
    assert not recording.of("UserPolicy")

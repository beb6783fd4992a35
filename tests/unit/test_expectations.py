"""Permission tests: what is asked of IAM's simulator, what its decisions mean, and when it is asked."""

import json
import re
from collections.abc import Iterator, Sequence
from ipaddress import ip_network
from itertools import product
from typing import Any

import pulumi
import pytest
from aws_access_keys import ProgrammaticAccess, expectations
from aws_access_keys.account import Account, AwsQueryError
from aws_access_keys.expectations import ExpectationError
from aws_access_keys.rules.documents import matching_actions
from aws_access_keys.rules.expectations import (
    Check,
    Decision,
    Expectation,
    Policies,
    Question,
    check_problem,
    context_type,
    least_favorable,
    open_keys,
    overlap,
    to_check,
)
from aws_access_keys.rules.networks import Network, allow_from_document
from aws_access_keys.rules.problem import PYTHON
from aws_access_keys.setting_types import read_section
from aws_access_keys.settings import AccessSettings
from aws_access_keys.simulation import simulate_policies
from aws_access_keys.state import PLANS, ComponentState, UserState
from aws_access_keys.urns import urn_below
from aws_access_keys.validation import SettingsError
from hypothesis import given, settings
from hypothesis import strategies as st
from pulumi_sandbox.aws.policy_evaluation import AccessRequest, Verdict, evaluate

from tests.unit.fake_aws import FakeAws
from tests.unit.recording import Recording, deploy

GET = "s3:GetObject"
DECISIONS = {Verdict.ALLOWED: "allowed", Verdict.DENIED: "explicitDeny", Verdict.SILENT: "implicitDeny"}
ARN = "arn:aws:s3:::"
NETWORKS = [ip_network("203.0.113.0/24"), ip_network("198.51.100.1/32")]


def document(*statements: dict[str, Any]) -> dict[str, Any]:
    return {"Version": "2012-10-17", "Statement": list(statements)}


def statement(effect: str, action: Any = "*", **more: Any) -> dict[str, Any]:
    resource = {} if "NotResource" in more else {"Resource": "*"}
    return {"Effect": effect, "Action": action, **resource, **more}


def decided(check: Check, *documents: Any, boundary: Any = None) -> dict[Question, Decision]:
    """What IAM would decide."""
    texts, found = [json.dumps(one) for one in documents], dict[Question, Decision]()
    for question in check.questions:
        context = {key.lower(): (value,) for key, value in question.context}
        request = AccessRequest(question.action, question.resource, context)
        verdict = evaluate(texts, request)
        if boundary is not None and verdict is Verdict.ALLOWED:
            verdict = evaluate([json.dumps(boundary)], request)
        found[question] = Decision(DECISIONS[verdict])
    return found


# ---- patterns

PATTERNS = st.text("ab*?", max_size=6)
TEXTS = ["".join(letters) for length in range(6) for letters in product("ab", repeat=length)]


def matches(pattern: str, text: str) -> bool:
    wild = {"*": ".*", "?": "."}
    return re.fullmatch("".join(wild.get(letter, letter) for letter in pattern), text) is not None


@given(PATTERNS, PATTERNS)
def test_what_two_patterns_have_in_common_both_match(one: str, other: str) -> None:
    both = overlap(one, other)
    common = [text for text in TEXTS if matches(one, text) and matches(other, text)]
    if both is None:
        assert common == []
    else:
        assert matches(one, both.replace("*", "a").replace("?", "a")), both
        assert matches(other, both.replace("*", "b").replace("?", "b")), both


# ---- what is asked


def test_an_action_with_a_wildcard_is_every_action_that_it_matches() -> None:
    check = to_check(Expectation("x", False, "iam:*AccessKey"), {}, None, {}, [])
    assert {question.action for question in check.questions} == {
        "iam:CreateAccessKey",
        "iam:DeleteAccessKey",
        "iam:UpdateAccessKey",
    }
    assert len(matching_actions("iam:*")) > 150


def test_a_call_is_over_tls_by_the_owner_of_the_key_and_from_an_allowed_address() -> None:
    expected = Expectation("x", True, GET, network="203.0.113.0/24", context={"s3:prefix": "in/"})
    assert dict(to_check(expected, {}, None, {"aws:username": "ann"}, NETWORKS[1:]).context) == {
        "aws:SecureTransport": "true",
        "aws:ViaAWSService": "false",
        "aws:SourceIp": "203.0.113.1",
        "aws:username": "ann",
        "s3:prefix": "in/",
    }
    assert (
        dict(to_check(Expectation("x", True, GET), {}, None, {}, NETWORKS[1:]).context)["aws:SourceIp"]
        == "198.51.100.1"
    )


@pytest.mark.parametrize(
    ("key", "value", "kind"),
    [
        ("aws:SourceIp", "203.0.113.1", "ip"),
        ("aws:SecureTransport", "true", "boolean"),
        ("aws:PrincipalAccount", "123456789012", "string"),
        ("s3:prefix", "1", "string"),
        ("s3:max-keys", "10", "numeric"),
    ],
)
def test_a_condition_key_has_a_type(key: str, value: str, kind: str) -> None:
    assert context_type(key, value) == kind


# As in practice, a wildcard is at the end: what two others have in common can be more than one pattern.
RESOURCES = st.builds(str.__add__, st.text("ab", max_size=3), st.sampled_from(["", "*"])).filter(bool)
LISTS = st.lists(RESOURCES.map(ARN.__add__), min_size=1, max_size=2)
STATEMENTS = st.builds(
    lambda effect, element, resources: statement(effect, "s3:*", **{element: resources}),
    st.sampled_from(["Allow", "Allow", "Deny"]),
    st.sampled_from(["Resource", "Resource", "NotResource"]),
    LISTS,
)
DOCUMENTS = st.lists(STATEMENTS, min_size=1, max_size=3).map(lambda found: document(*found))


@settings(max_examples=400)
@given(DOCUMENTS, st.none() | DOCUMENTS, RESOURCES, st.booleans())
def test_an_expectation_that_holds_is_true_of_every_resource_that_it_matches(
    policy: dict[str, Any], boundary: dict[str, Any] | None, resource: str, is_allowed: bool
) -> None:
    check = to_check(Expectation("x", is_allowed, GET, ARN + resource), {"own": policy}, boundary, {}, [])
    if check_problem(check, decided(check, policy, boundary=boundary)):
        return
    for text in (text for text in TEXTS if matches(resource, text)):
        one = Check("", is_allowed, GET, (ARN + text,), ())
        (found,) = decided(one, policy, boundary=boundary).values()
        assert found.is_allowed == is_allowed, f"{text} is one of {resource}"


def test_a_wildcard_in_deny_covers_what_policies_name_within_it() -> None:
    policy = document(statement("Allow", GET, Resource=f"{ARN}data/in/*"))
    check = to_check(Expectation("x", False, "s3:Get*", f"{ARN}data/*"), {"own": policy}, None, {}, [])
    why = check_problem(check, decided(check, policy))
    assert why == f"s3:GetObject on '{ARN}data/in/*' should be denied, but it is allowed by a policy (allowed)."


# ---- condition keys that an expectation does not set


def open_of(
    check: Check, policies: Policies, boundary: dict[str, Any] | None = None, networks: Sequence[Network] = ()
) -> list[str] | None:
    """The keys on which it depends whether a check holds; None where it holds whatever they are."""
    least = least_favorable(policies, check, networks)
    limit = least_favorable({"": boundary}, check, networks).get("", {}) if boundary else None
    worst = decided(check, *least.values(), boundary=limit)
    if not check_problem(check, worst):
        return None
    decisions = decided(check, *policies.values(), boundary=boundary)
    return open_keys(check, worst, decisions, policies, boundary, networks)


PREFIX = {"StringLike": {"s3:prefix": "in/*"}}


@pytest.mark.parametrize(
    ("is_allowed", "effect", "condition", "expected"),
    [
        (False, "Allow", PREFIX, ["s3:prefix"]),
        (False, "Allow", {"StringLikeIfExists": {"s3:prefix": "in/*"}}, ["s3:prefix"]),
        (False, "Allow", {"Null": {"s3:prefix": "false"}}, ["s3:prefix"]),
        (False, "Allow", {"Bool": {"aws:SecureTransport": "false"}}, None),
        (False, "Allow", {"Bool": {"aws:MultiFactorAuthPresent": "true"}}, None),
        (False, "Deny", PREFIX, None),
        (True, "Deny", PREFIX, ["s3:prefix"]),
        (True, "Deny", {"StringNotLike": {"s3:prefix": "in/*"}}, ["s3:prefix"]),
        (True, "Deny", {"Bool": {"aws:SecureTransport": "false"}}, None),
        (True, "Deny", {"Bool": {"aws:MultiFactorAuthPresent": "true"}}, None),
    ],
)
def test_what_depends_on_a_condition_key_that_is_not_set_is_refused(
    is_allowed: bool, effect: str, condition: Any, expected: list[str] | None
) -> None:
    policy = document(
        statement("Allow", "s3:PutObject"),
        *([statement("Allow", GET)] if is_allowed else []),
        statement(effect, GET, Condition=condition),
    )
    check = to_check(Expectation("x", is_allowed, GET), {"own": policy}, None, {}, [])
    assert open_of(check, {"own": policy}) == expected


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ({"NotIpAddress": {"aws:SourceIp": "192.0.2.0/24"}}, ["aws:SourceIp"]),
        ({"StringNotEquals": {"aws:SourceVpc": "vpc-1"}}, ["aws:SourceVpc"]),
        ({"Null": {"s3:x-amz-server-side-encryption": "true"}}, ["s3:x-amz-server-side-encryption"]),
        ({"ForAllValues:StringEquals": {"aws:TagKeys": "x"}}, ["aws:TagKeys"]),
        ({"StringEqualsIfExists": {"aws:RequestedRegion": "us-east-1"}}, ["aws:RequestedRegion"]),
        ({"StringNotLike": {"aws:SecureTransport": "${aws:PrincipalTag/team}"}}, ["aws:PrincipalTag/team"]),
    ],
)
def test_a_statement_that_applies_while_a_key_is_missing_counts_neither_as_deny_nor_as_allow(
    condition: Any, expected: list[str]
) -> None:
    for is_allowed, statements in (
        (False, [statement("Allow", GET), statement("Deny", Condition=condition)]),
        (True, [statement("Allow", GET, Condition=condition)]),
    ):
        policies = {"own": document(*statements)}
        check = to_check(Expectation("x", is_allowed, GET), policies, None, {}, [])
        assert not check_problem(check, decided(check, *policies.values())), "without the key it seems to hold"
        assert open_of(check, policies) == expected


@pytest.mark.parametrize(
    ("deny", "expected"),
    [
        ({"NotResource": f"{ARN}b/${{aws:username}}/*"}, ["aws:username"]),
        ({"Resource": f"{ARN}b/${{*}}"}, ["${*}"]),
    ],
)
def test_a_deny_that_depends_on_a_policy_variable_is_not_taken_for_certain(deny: Any, expected: list[str]) -> None:
    policies = {"own": document(statement("Allow", GET, Resource=f"{ARN}b/*"), statement("Deny", GET, **deny))}
    check = to_check(Expectation("x", False, GET, f"{ARN}b/*"), policies, None, {}, [])
    assert open_of(check, policies) == expected


@pytest.mark.parametrize(
    ("networks", "condition", "expected"),
    [
        (NETWORKS[:1], {"IpAddress": {"aws:SourceIp": "203.0.113.128/25"}}, ["aws:SourceIp"]),
        (NETWORKS, {"IpAddress": {"aws:SourceIp": "198.51.100.0/24"}}, ["aws:SourceIp"]),
        (NETWORKS, {"IpAddress": {"aws:SourceIp": "192.0.2.0/24"}}, None),
        (NETWORKS, {"NotIpAddress": {"aws:SourceIp": ["203.0.113.0/25", "203.0.113.128/25", "198.51.0.0/16"]}}, None),
        (NETWORKS[:1], {"StringLike": {"aws:SourceIp": "203.0.113.2*"}}, ["aws:SourceIp"]),
        (NETWORKS[1:], {"StringLike": {"aws:SourceIp": "203.0.113.2*"}}, None),
        ([], {"IpAddress": {"aws:SourceIp": "198.51.100.0/24"}}, ["aws:SourceIp"]),
    ],
)
def test_a_condition_on_the_address_counts_only_if_it_has_one_result_for_all_networks(
    networks: list[Network], condition: Any, expected: list[str] | None
) -> None:
    policies = {"own": document(statement("Allow", "iam:*", Condition=condition))}
    check = to_check(Expectation("x", False, "iam:CreateUser"), policies, None, {}, networks)
    assert open_of(check, policies, networks=networks) == expected


def test_the_policy_for_networks_counts_where_the_calls_come_from_them() -> None:
    policies = {"own": document(statement("Allow")), "allow-from": allow_from_document([*map(str, NETWORKS)])}
    check = to_check(Expectation("x", True, GET), policies, None, {}, NETWORKS)
    assert open_of(check, policies, networks=NETWORKS) is None
    elsewhere = Expectation("x", False, GET, network="192.0.2.0/24")
    assert (
        open_of(to_check(elsewhere, policies, None, {}, NETWORKS), policies, networks=[ip_network("192.0.2.0/24")])
        is None
    )


OPERATORS = ["StringLike", "StringNotLike", "StringLikeIfExists", "ForAllValues:StringLike", "ForAnyValue:StringLike"]
CONDITIONS = st.builds(
    lambda operator, key, values: {operator: {key: values}},
    st.sampled_from(OPERATORS),
    st.sampled_from(["s3:prefix", "aws:username"]),
    st.lists(RESOURCES | st.just("${aws:username}"), min_size=1, max_size=2),
) | st.builds(lambda is_null: {"Null": {"s3:prefix": is_null}}, st.sampled_from(["true", "false"]))
WITH_VARIABLES = st.sampled_from(["", "a", "*"]).map(lambda end: f"{ARN}${{aws:username}}{end}")
CONDITIONAL = st.builds(
    lambda one, condition: one | ({"Condition": condition} if condition else {}),
    STATEMENTS,
    st.none() | CONDITIONS,
) | st.builds(
    lambda effect, element, resource: statement(effect, "s3:*", **{element: resource}),
    st.sampled_from(["Allow", "Deny"]),
    st.sampled_from(["Resource", "NotResource"]),
    WITH_VARIABLES,
)
CONDITIONAL_DOCUMENTS = st.lists(CONDITIONAL, min_size=1, max_size=3).map(lambda found: document(*found))


@settings(max_examples=400)
@given(CONDITIONAL_DOCUMENTS, st.none() | CONDITIONAL_DOCUMENTS, RESOURCES, st.booleans())
def test_an_expectation_that_holds_is_true_whatever_the_keys_are_that_it_does_not_set(
    policy: dict[str, Any], boundary: dict[str, Any] | None, resource: str, is_allowed: bool
) -> None:
    check = to_check(Expectation("x", is_allowed, GET, ARN + resource), {"own": policy}, boundary, {}, [])
    keys = open_of(check, {"own": policy}, boundary)
    if keys is not None:
        decisions = decided(check, policy, boundary=boundary)
        assert keys or check_problem(check, decisions), "what is refused has a reason"
        return
    for prefix, user, text in product((None, "a", "ab"), ("a", "bb"), TEXTS[:31]):
        if matches(resource, text):
            context = {"aws:username": user} | ({"s3:prefix": prefix} if prefix else {})
            one = Check("", is_allowed, GET, (ARN + text,), tuple(context.items()))
            (found,) = decided(one, policy, boundary=boundary).values()
            assert found.is_allowed == is_allowed, f"{text} with {context}"


def test_what_is_denied_anyway_depends_on_nothing() -> None:
    allow = statement("Allow", GET, Condition=PREFIX)
    check = to_check(Expectation("x", False, GET), {"own": document(allow)}, None, {}, [])
    for more, boundary in ((statement("Deny", "s3:*"), None), (allow, document(statement("Allow", "ec2:*")))):
        assert open_of(check, {"own": document(allow, more)}, boundary) is None


# ---- asking


class SimulatingAws(FakeAws):
    """Answers the simulator's questions as the sandbox does. attached: ARN → documents of a user or group."""

    page_size = 7

    def __init__(self) -> None:
        super().__init__()
        self.documents: dict[str, list[str]] = {}
        self.requests: list[dict[str, Any]] = []

    def simulate_custom_policy(self, **given: Any) -> dict[str, Any]:
        self._count("simulate_custom_policy")
        return self._simulate(given["PolicyInputList"], given)

    def simulate_principal_policy(self, **given: Any) -> dict[str, Any]:
        self._count("simulate_principal_policy")
        return self._simulate(self.documents.get(given["PolicySourceArn"], []), given)

    def _simulate(self, documents: list[str], given: dict[str, Any]) -> dict[str, Any]:
        self.requests.append(given)
        assert len(given["ActionNames"]) <= 100
        context = {one["ContextKeyName"].lower(): tuple(one["ContextKeyValues"]) for one in given["ContextEntries"]}
        start = int(given.get("Marker", 0))
        page = given["ActionNames"][start : start + self.page_size]
        results = list(self._results(documents, page, given["ResourceArns"], context))
        more = start + self.page_size < len(given["ActionNames"])
        return {"EvaluationResults": results, "IsTruncated": more, "Marker": str(start + self.page_size)}

    def _results(
        self, documents: list[str], actions: list[str], resources: list[str], context: Any
    ) -> Iterator[dict[str, Any]]:
        for action in actions:
            verdicts = [evaluate(documents, AccessRequest(action, resource, context)) for resource in resources]
            result: dict[str, Any] = {
                "EvalActionName": action,
                "EvalResourceName": "*",
                "EvalDecision": DECISIONS[verdicts[0]],
            }
            if resources != ["*"]:
                result["ResourceSpecificResults"] = [
                    {"EvalResourceName": resource, "EvalResourceDecision": DECISIONS[verdict]}
                    for resource, verdict in zip(resources, verdicts, strict=True)
                ]
            yield result


@pytest.fixture
def simulator(monkeypatch: pytest.MonkeyPatch) -> SimulatingAws:
    fake = SimulatingAws()
    monkeypatch.setattr("aws_access_keys.session.session_for", lambda _: fake)
    monkeypatch.setattr(expectations, "CONFIRM_TIMEOUT", 0.5)
    return fake


def test_many_expectations_are_few_calls_of_limited_size(simulator: SimulatingAws) -> None:
    policy = document(statement("Allow", GET, Resource=f"{ARN}data/*"))
    asked = [
        Expectation("x", False, "iam:*"),
        Expectation("x", False, "ec2:Run*"),
        *(Expectation("x", True, GET, f"{ARN}data/{number}") for number in range(30)),
        Expectation("x", False, "s3:PutObject", f"{ARN}data/*"),
    ]
    checks = [to_check(one, {"own": policy}, None, {}, []) for one in asked]
    decisions = simulate_policies(Account(lambda: simulator), {"own": policy}, None, checks)  # pyright: ignore
    assert all(check_problem(check, decisions) is None for check in checks)
    whole = [given for given in simulator.requests if "Marker" not in given]
    assert len(whole) == 4, "two for the actions of IAM, two for 31 objects"
    assert len(simulator.requests) > len(whole), "and their pages"


def test_a_decision_that_is_missing_is_an_error(simulator: SimulatingAws, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(simulator, "_results", lambda *_: iter(()))
    check = to_check(Expectation("x", False, GET), {}, None, {}, [])
    with pytest.raises(AwsQueryError, match="did not decide on s3:GetObject"):
        simulate_policies(Account(lambda: simulator), {"own": document(statement("Allow"))}, None, [check])  # pyright: ignore


def test_without_a_policy_nothing_is_allowed_and_nothing_asked(simulator: SimulatingAws) -> None:
    check = to_check(Expectation("x", False, GET), {}, None, {}, [])
    for policies, boundary in (({}, None), ({"own": document(statement("Allow"))}, {})):
        decisions = simulate_policies(Account(lambda: simulator), policies, boundary, [check])  # pyright: ignore
        assert {decision.decision for decision in decisions.values()} == {"implicitDeny"}
    assert not simulator.asked


# ---- in the component


def args(**more: Any) -> Any:
    expect = {"allow": [f"s3:GetObject {ARN}data/in/*"], "deny": ["iam:*"]}
    groups = {"g": {"s3": [{"bucket": "data", "prefix": "in/", "access": "read"}], "expect": expect, **more}}
    return {"groups": groups, "users": {"ann": {"groups": ["g"]}}}


def run(given: Any, state: Recording | None = None, preview: bool = False) -> Recording:
    known = None
    if state:
        known = {
            one.urn: {"type": "", "outputs": state.outputs.get(one.urn, one.inputs | {"id": one.name})}
            for one in state.resources
        }
        (component,) = state.of(":ProgrammaticAccess").values()
        (plans,) = state.of(":KeyPlans").values()
        known[urn_below(component.urn, PLANS)] = known.pop(plans.urn)  # the mocks' URNs have one parent only
    return deploy(lambda: ProgrammaticAccess("access", given), state=known, preview=preview)


GROUP_ARN = "arn:aws:iam::123456789012:group/g"


def granted(simulator: SimulatingAws) -> None:
    """IAM has what the update makes."""
    simulator.documents[GROUP_ARN] = [json.dumps(document(statement("Allow", GET, Resource=f"{ARN}data/in/*")))]


def test_only_a_change_of_what_decides_is_asked_about(simulator: SimulatingAws) -> None:
    granted(simulator)
    first = run(args())
    assert simulator.asked["simulate_custom_policy"]
    assert simulator.asked["simulate_principal_policy"]
    simulator.asked.clear()
    second = run(args(path="/team/"), first)
    assert not [name for name in simulator.asked if name.startswith("simulate")]
    (urn,) = [one.urn for one in first.resources if one.token.endswith(":ProgrammaticAccess")]
    assert second.outputs[urn]["expectations"] == first.outputs[urn]["expectations"], "it stays known"
    run(args(allow_from=["203.0.113.0/24"]), first)
    assert simulator.asked["simulate_custom_policy"]


def test_a_test_that_failed_after_the_update_is_repeated_though_the_edit_is_reverted(simulator: SimulatingAws) -> None:
    granted(simulator)
    passed = run(args())
    (plans,) = [one.urn for one in passed.resources if one.token.endswith(":KeyPlans")]
    assert passed.outputs[plans]["tested"] == {"groups.g": 1}
    passed.outputs[plans]["tested"] = {"groups.g": 2}  # by a run that failed afterwards
    simulator.asked.clear()
    repeated = run(args(), passed)
    assert simulator.asked["simulate_principal_policy"]
    assert repeated.outputs[plans]["tested"] == {"groups.g": 3}, "if it fails as well, it is repeated once more"
    simulator.asked.clear()
    assert run(args(), repeated).outputs[plans]["tested"] == {"groups.g": 3}
    assert not simulator.asked["simulate_principal_policy"]


ADMINISTRATORS = "arn:aws:iam::aws:policy/AdministratorAccess"


@pytest.mark.parametrize(
    ("users", "groups", "groups_of_ann", "is_excluded"),
    [
        ([], ["g"], ["g"], True),
        (["bob"], ["g", "others"], ["g"], True),
        (["ann"], ["g"], ["g"], False),
        ([], ["g", "others"], ["g", "others"], False),
    ],
)
def test_a_policy_that_is_removed_counts_if_the_user_has_it_from_elsewhere(
    simulator: SimulatingAws, users: list[str], groups: list[str], groups_of_ann: list[str], is_excluded: bool
) -> None:
    held = {
        "PolicyUsers": [{"UserName": name} for name in users],
        "PolicyGroups": [{"GroupName": name} for name in groups],
    }
    simulator.list_entities_for_policy = lambda **_: held  # pyright: ignore[reportAttributeAccessIssue]
    listed = {"Groups": [{"GroupName": name} for name in groups_of_ann]}
    simulator.list_groups_for_user = lambda **_: listed  # pyright: ignore[reportAttributeAccessIssue]
    given = {"groups": {"g": {}}, "users": {"ann": {"groups": ["g"], "expect": {"deny": ["iam:*"]}}}}
    found, problems = read_section(AccessSettings, given, PYTHON)
    assert found, problems
    ann = UserState(exists=True, groups=frozenset({"g"}))
    before = ComponentState(
        "", False, {"ann": ann}, frozenset({"g"}), group_policies={"g": frozenset({ADMINISTRATORS})}
    )
    tests = expectations.Expectations(found, PYTHON, "aws", before, Account(lambda: simulator))  # pyright: ignore
    removed = list(tests._removed(("users", "ann")))  # pyright: ignore[reportPrivateUsage]
    assert removed == ([{"PolicyArn": ADMINISTRATORS}] if is_excluded else [])


def test_a_preview_does_not_confirm(simulator: SimulatingAws) -> None:
    run(args(), preview=True)
    assert simulator.asked["simulate_custom_policy"]
    assert not simulator.asked["simulate_principal_policy"]


def test_iam_is_given_time_and_then_the_run_fails(simulator: SimulatingAws) -> None:
    with pytest.raises(ExpectationError) as caught:
        run(args())
    assert f"policies are in place, but the permissions of {GROUP_ARN} are not as expected:" in str(caught.value)
    assert f"groups.g.expect: allow s3:GetObject {ARN}data/in/*: s3:GetObject on '{ARN}data/in/*' should be" in str(
        caught.value
    )
    assert simulator.asked["simulate_principal_policy"] > 2


def test_a_policy_that_is_known_later_is_checked_after_the_update(
    simulator: SimulatingAws, caplog: pytest.LogCaptureFixture
) -> None:
    granted(simulator)
    caplog.set_level("INFO")
    later = pulumi.Output.from_input("arn:aws:iam::123456789012:policy/own")
    run(args(policy_arns={"own": later}))
    assert not simulator.asked["simulate_custom_policy"]
    assert simulator.asked["simulate_principal_policy"]
    assert (
        "groups.g.expect: checked only after the update, because these policies are not known yet: own" in caplog.text
    )


def test_the_message_names_the_keys_and_the_setting_for_their_values(simulator: SimulatingAws) -> None:
    network = "Set a network under from that the policies treat as a whole"
    for condition, why in (
        ({"NotIpAddress": {"aws:SourceIp": "192.0.2.0/24"}}, f"aws:SourceIp. {network}, or"),
        ({"StringNotEquals": {"aws:SourceVpc": "vpc-1"}}, "aws:SourceVpc. Set a value under context, or"),
        (
            {"NotIpAddress": {"aws:sourceip": "192.0.2.0/24"}, "Null": {"s3:prefix": "true"}},
            f"aws:sourceip, s3:prefix. {network} and set a value under context, or",
        ),
    ):
        inline = {"own": document(statement("Allow", "iam:*"), statement("Deny", Condition=condition))}
        with pytest.raises(SettingsError) as caught:
            run(args(inline=inline, expect={"deny": ["iam:*"]}))
        assert f"groups.g.expect.deny[0]: whether it is denied depends on {why}" in str(caught.value)


def test_a_policy_that_does_not_exist_is_named(simulator: SimulatingAws) -> None:
    simulator.missing_policies.add("arn:aws:iam::123456789012:policy/own")
    with pytest.raises(SettingsError, match="IAM has no policy arn:aws:iam::123456789012:policy/own"):
        run(args(policies=["arn:aws:iam::123456789012:policy/own"]))

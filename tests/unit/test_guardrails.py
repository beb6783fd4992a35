"""The rules of the policy pack, called as the engine calls them: over gRPC, in the pack's own environment."""

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import grpc
import pytest
from google.protobuf.empty_pb2 import Empty
from pulumi.runtime.proto import analyzer_pb2 as messages
from pulumi.runtime.proto.analyzer_pb2_grpc import AnalyzerStub

ROOT = Path(__file__).resolve().parents[2]
PACK = ROOT / "policy"
UNKNOWN = "04da6b54-80e4-46f7-96ec-b56ff0331ba9"
"""What a property contains that is not known before the update."""
HIDDEN = "value-of-a-property"


class Found(NamedTuple):
    """A violation."""

    rule: str
    resource: str
    """The name in its URN."""
    level: str
    message: str


class Pack:
    """The running pack."""

    def __init__(self, stub: AnalyzerStub) -> None:
        self.stub = stub
        self.info = stub.GetAnalyzerInfo(Empty())
        self.rules = [policy.name for policy in self.info.policies]

    def check(
        self,
        rule: str,
        *resources: messages.AnalyzerResource,
        level: messages.EnforcementLevel.ValueType = messages.MANDATORY,
        **settings: Any,
    ) -> list[Found]:
        """What breaks one rule, or any rule for `all`."""
        request = messages.ConfigureAnalyzerRequest()
        for name in self.rules:
            request.policyConfig[name].enforcementLevel = level if rule in (name, "all") else messages.DISABLED
        request.policyConfig[self.rules[0] if rule == "all" else rule].properties.update(settings)
        self.stub.Configure(request)
        answer = self.stub.AnalyzeStack(messages.AnalyzeStackRequest(resources=resources))
        levels = messages.EnforcementLevel
        return [
            Found(found.policyName, found.urn.rsplit("::", 1)[-1], levels.Name(found.enforcementLevel), found.message)
            for found in answer.diagnostics
        ]


@pytest.fixture(scope="module")
def pack() -> Iterator[Pack]:
    """The pack on a day in 2027."""
    python = PACK / ".venv" / "bin" / "python"
    assert python.exists(), "the pack needs its own environment: make policy-setup"
    child = subprocess.Popen(
        [str(python), "-u", "-m", "pulumi.policy", "127.0.0.1:1", str(PACK)],
        env=os.environ | {"ACCESS_KEYS_TODAY": "2027-03-31"},
        stdout=subprocess.PIPE,
    )
    assert child.stdout
    with grpc.insecure_channel(f"127.0.0.1:{int(child.stdout.readline())}") as channel:
        yield Pack(AnalyzerStub(channel))
    child.terminate()
    child.wait()


def resource(kind: str, name: str, properties: dict[str, Any], **from_: str) -> messages.AnalyzerResource:
    """A resource as the engine describes it. from_: property → URN of the resource that it is taken from."""
    token = f"aws:iam/{kind[0].lower()}{kind[1:]}:{kind}"
    made = messages.AnalyzerResource(type=token, name=name, urn=f"urn:pulumi:prod::project::{token}::{name}")
    made.properties.update(properties)
    for property_name, urn in from_.items():
        made.propertyDependencies[property_name].urns.append(urn)
    return made


def user(name: str = "ann", **properties: Any) -> messages.AnalyzerResource:
    return resource("User", name, {"name": name, **properties})


def member(name: Any = "ann", groups: Any = ("ops",)) -> messages.AnalyzerResource:
    groups = groups if isinstance(groups, str) else list(groups)
    return resource("UserGroupMembership", "member", {"user": name, "groups": groups})


def key(serial: int, created: Any, status: Any = "Active", owner: str = "ann") -> messages.AnalyzerResource:
    return resource("AccessKey", f"{owner}/{serial}", {"user": owner, "createDate": created, "status": status})


def document(effect: str = "Allow", action: Any = "s3:GetObject", resources: Any = "*") -> str:
    return json.dumps({"Statement": [{"Effect": effect, "Action": action, "Resource": resources}]})


def inline(policy: Any, holder: str = "user") -> messages.AnalyzerResource:
    return resource(f"{holder.capitalize()}Policy", "inline", {holder: "ann", "policy": policy})


def attached(arn: Any, holder: str = "user", **from_: str) -> messages.AnalyzerResource:
    properties = {holder: "ann", "policyArn": arn}
    return resource(f"{holder.capitalize()}PolicyAttachment", "attached", properties, **from_)


def own_policy(policy: Any, arn: str = UNKNOWN) -> messages.AnalyzerResource:
    return resource("Policy", "own", {"policy": policy, "arn": arn})


AWS = "arn:aws:iam::aws:policy/"
OWN = "arn:aws:iam::123456789012:policy/own"
OWN_URN = own_policy("").urn
ADMINISTRATOR = document(action="*")
CASES: dict[str, tuple[list[list[messages.AnalyzerResource]], list[list[messages.AnalyzerResource]]]] = {
    "no-policy-on-user-in-group": (
        [
            [member(), inline(document())],
            [member(), attached(f"{AWS}AmazonS3FullAccess")],
            [member(), attached(OWN)],
            [member(), own_policy(document()), attached(UNKNOWN, policyArn=OWN_URN)],
            [member(), own_policy(document(), OWN), attached(OWN)],
            [
                resource("GroupMembership", "members", {"group": "ops", "users": ["bob", "ann"]}),
                resource("PolicyAttachment", "attached", {"users": ["ann"], "policyArn": OWN}),
            ],
        ],
        [
            [inline(document())],
            [member("bob"), inline(document())],
            [member(groups=()), inline(document())],
            [member(), inline(document("Deny"))],
            [member(), attached(f"{AWS}AWSDenyAll")],
            [member(), own_policy(document("Deny")), attached(UNKNOWN, policyArn=OWN_URN)],
            [member(), inline(document(), "group"), attached(f"{AWS}AmazonS3FullAccess", "group")],
        ],
    ),
    "no-administrator": (
        [
            [attached(f"{AWS}{name}", holder)]
            for name in ("AdministratorAccess", "IAMFullAccess", "PowerUserAccess")
            for holder in ("user", "group")
        ]
        + [
            [inline(ADMINISTRATOR)],
            [inline(ADMINISTRATOR, "group")],
            [own_policy(ADMINISTRATOR), attached(UNKNOWN, "group", policyArn=OWN_URN)],
            [own_policy(ADMINISTRATOR, OWN), attached(OWN, "group")],
            [own_policy(ADMINISTRATOR, OWN), resource("PolicyAttachment", "x", {"groups": ["g"], "policyArn": OWN})],
        ],
        [
            [attached(f"{AWS}AmazonS3FullAccess", "group"), attached(OWN, "group"), inline(document())],
            [own_policy(document()), attached(UNKNOWN, "group", policyArn=OWN_URN)],
            [own_policy(ADMINISTRATOR)],  # as a boundary, which grants nothing
        ],
    ),
    "user-in-group": (
        [[user()], [user(), member("bob")], [user(), member(groups=())]],
        [[user(), member()], [user(), resource("GroupMembership", "members", {"users": ["ann"]})]],
    ),
    "key-age": (
        [
            [key(1, "2026-12-30T23:59:59Z")],
            [key(1, "2026-12-30T23:59:59Z"), key(1, UNKNOWN, owner="bob")],
            [key(1, "2026-12-30T23:59:59Z"), key(2, "2027-03-30T00:00:00Z")],
        ],
        [
            [key(1, "2026-12-31T00:00:00Z")],
            [key(1, "2020-01-01T00:00:00Z", "Inactive")],
            [key(1, UNKNOWN)],
            [key(1, "2026-12-30T23:59:59Z"), key(2, UNKNOWN)],
            [key(1, "2026-12-30T23:59:59Z"), key(2, "2027-03-31T10:00:00Z")],
        ],
    ),
    "permissions-boundary": (
        [[user()], [user(permissionsBoundary="")]],
        [
            [user(permissionsBoundary=OWN)],
            [
                own_policy(document()),
                resource("User", "ann", {"name": "ann", "permissionsBoundary": UNKNOWN}, permissionsBoundary=OWN_URN),
            ],
        ],
    ),
    "no-force-destroy": ([[user(forceDestroy=True)]], [[user()], [user(forceDestroy=False)]]),
    "required-tags": (
        [[user()], [user(tags={})], [user(tagsAll=UNKNOWN)]],
        [[user(tags={"team": UNKNOWN}, tagsAll=UNKNOWN)], [user(tagsAll={"team": "ops"})]],
    ),
}
UNCHECKABLE = {
    "no-policy-on-user-in-group": [
        [member(), inline(UNKNOWN)],
        [member(), attached(UNKNOWN)],
        [member(), own_policy(UNKNOWN), attached(UNKNOWN, policyArn=OWN_URN)],
        [member(), user(), attached(UNKNOWN, policyArn=user().urn)],
        [member(UNKNOWN), inline(document())],
        [member(groups=UNKNOWN), inline(document())],
    ],
    "no-administrator": [[inline(UNKNOWN)], [attached(UNKNOWN, "group")], [inline("no JSON")], [inline("[]")]],
    "user-in-group": [[resource("User", "ann", {"name": UNKNOWN})], [user(), member(UNKNOWN)]],
    "key-age": [[key(1, "2020-01-01T00:00:00Z", UNKNOWN)], [key(1, None)], [key(1, "yesterday")]],
    "permissions-boundary": [[user(permissionsBoundary=UNKNOWN)]],
    "no-force-destroy": [[user(forceDestroy=UNKNOWN)]],
    "required-tags": [[user(tags=UNKNOWN)], [user(tagsAll=UNKNOWN)]],
}


def _each(cases: dict[str, list[list[messages.AnalyzerResource]]]) -> list[Any]:
    return [pytest.param(rule, stack, id=f"{rule}-{n}") for rule, all_ in cases.items() for n, stack in enumerate(all_)]


@pytest.mark.parametrize(("rule", "stack"), _each({rule: broken for rule, (broken, _) in CASES.items()}))
def test_a_rule_finds_what_breaks_it(pack: Pack, rule: str, stack: list[messages.AnalyzerResource]) -> None:
    found = pack.check(rule, *stack)
    assert [each.level for each in found] == ["MANDATORY"], f"exactly one violation, and a mandatory one: {found}"
    assert found[0].resource in [each.name for each in stack], "it names the resource"


@pytest.mark.parametrize(("rule", "stack"), _each({rule: passing for rule, (_, passing) in CASES.items()}))
def test_a_rule_lets_the_rest_pass(pack: Pack, rule: str, stack: list[messages.AnalyzerResource]) -> None:
    assert pack.check(rule, *stack) == []


@pytest.mark.parametrize(("rule", "stack"), _each(UNCHECKABLE))
def test_a_value_that_is_not_known_breaks_the_rule(
    pack: Pack, rule: str, stack: list[messages.AnalyzerResource]
) -> None:
    for level, name in ((messages.MANDATORY, "MANDATORY"), (messages.ADVISORY, "ADVISORY")):
        found = pack.check(rule, *stack, level=level)
        assert [each.level for each in found] == [name], f"it has the rule's own level: {found}"
        assert "cannot be checked" in found[0].message


def test_every_rule_is_tested_in_each_way(pack: Pack) -> None:
    assert set(pack.rules) == set(CASES) == set(UNCHECKABLE)
    assert len(pack.rules) == 7


def test_a_rule_has_settings(pack: Pack) -> None:
    assert pack.check("user-in-group", user(), exempt=["ann"]) == []
    old = key(1, "2027-03-01T00:00:00Z")
    assert "more than 29 days" in pack.check("key-age", old, maxDays=29)[0].message
    assert pack.check("key-age", old, maxDays=30) == []
    tagged = user(tags={"team": "ops"}, tagsAll={"team": "ops", "cost": "7"})
    assert "missing: owner." in pack.check("required-tags", tagged, tags=["team", "owner", "cost"])[0].message
    assert pack.check("required-tags", tagged, tags=["team", "cost"]) == []
    assert "no setting 'maxDay'. Its settings: maxDays" in pack.check("key-age", maxDay=30)[0].message


def test_no_message_contains_the_value_of_a_property(pack: Pack) -> None:
    policy = json.dumps({"Statement": {"Effect": "Allow", "Action": "*", "Resource": "*", "Sid": HIDDEN}})
    stack = [
        resource("User", "one", {"name": HIDDEN, "forceDestroy": True, "path": HIDDEN}),
        resource("User", "two", {"name": f"{HIDDEN}2", "tags": {"a": HIDDEN}}),
        resource("UserGroupMembership", "member", {"user": f"{HIDDEN}2", "groups": [HIDDEN]}),
        resource("UserPolicy", "inline", {"user": f"{HIDDEN}2", "policy": policy}),
        resource("UserPolicy", "not-json", {"user": f"{HIDDEN}2", "policy": HIDDEN}),
        resource("AccessKey", "old", {"user": HIDDEN, "createDate": "2020-01-01", "status": HIDDEN}),
        resource("AccessKey", "odd", {"user": f"{HIDDEN}2", "createDate": HIDDEN, "secret": HIDDEN}),
    ]
    found = pack.check("all", *stack)
    assert {each.rule for each in found} == set(pack.rules), "every rule is broken"
    assert HIDDEN not in str(found)


def test_every_rule_names_the_public_rule_to_which_it_corresponds(pack: Pack) -> None:
    documented = (ROOT / "docs" / "guardrails.md").read_text("utf-8")
    for policy in pack.info.policies:
        assert "CIS" in policy.description or "Security Hub" in policy.description
        assert f"| `{policy.name}` |" in documented, "the documentation has the rule"


def test_the_configuration_files_know_the_rules_and_their_settings(pack: Pack) -> None:
    settings = {policy.name: set(policy.configSchema.properties.fields) for policy in pack.info.policies}
    for name in ("dev", "prod"):
        for rule, given in json.loads((PACK / f"{name}.json").read_text()).items():
            assert rule == "all" or set(given) <= {*settings[rule], "enforcementLevel"}
    for policy in pack.info.policies:
        assert policy.enforcementLevel == messages.MANDATORY, "a forgotten file weakens no rule"

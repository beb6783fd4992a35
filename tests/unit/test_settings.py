"""Bad config: one clear message each, before anything is registered."""

import runpy
from typing import Any

import pulumi
import pytest
from aws_access_keys.settings.read import SettingsError, read_settings

from tests.unit.recording import deploy

GROUPS = {"test": {"policies": ["AmazonS3FullAccess"]}}
USERS = {"test-user": {"groups": ["test"]}}


def refusal(config: dict[str, Any]) -> str:
    """What the program says to a config, after it is shown to have registered nothing."""
    with pytest.raises(SettingsError) as caught:
        deploy(
            lambda: runpy.run_path("__main__.py"), {f"aws-access-keys:{key}": value for key, value in config.items()}
        )
    assert isinstance(caught.value, pulumi.RunError), "Pulumi shows a RunError without a traceback"
    return str(caught.value)


def stack(groups: Any = None, users: Any = None, **others: Any) -> dict[str, Any]:
    return {"groups": GROUPS if groups is None else groups, "users": USERS if users is None else users, **others}


def group(**settings: Any) -> dict[str, Any]:
    return {"test": {"policies": ["AmazonS3FullAccess"], **settings}}


def user(**settings: Any) -> dict[str, Any]:
    return {"test-user": {"groups": ["test"], **settings}}


REFUSED: list[tuple[str, dict[str, Any], str]] = [
    ("no config at all", {}, "has no configuration"),
    ("empty keys", {"groups": {}, "users": {}}, "has no configuration"),
    ("no groups", {"groups": {}, "users": USERS}, "groups: no groups. Give at least one"),
    (
        "unknown group",
        stack(users={"u": {"groups": ["tset"]}}),
        "users.u.groups[0]: 'tset' is no group of this stack; known: test. Did you mean 'test'?",
    ),
    ("user without groups", stack(users={"u": {"groups": []}}), "users.u.groups: no groups."),
    ("a group twice", stack(users={"u": {"groups": ["test", "test"]}}), "users.u.groups[1]: 'test' is listed twice"),
    (
        "more than 10 groups",
        stack({f"g{i}": GROUPS["test"] for i in range(11)}, {"u": {"groups": [f"g{i}" for i in range(11)]}}),
        "users.u.groups: 11 groups; AWS takes 10",
    ),
    ("illegal user name", stack(users={"bad name!": {"groups": ["test"]}}), "characters that IAM does not take: ' !'"),
    ("Korean user name", stack(users={"사용자": {"groups": ["test"]}}), "characters that IAM does not take: '사용자'"),
    ("illegal group name", stack({"a/b": GROUPS["test"]}, {}), "characters that IAM does not take: '/'"),
    ("user name of 65", stack(users={"u" * 65: {"groups": ["test"]}}), "has 65 characters, IAM takes 64 at most"),
    ("group name of 129", stack({"g" * 129: GROUPS["test"]}, {}), "has 129 characters, IAM takes 128 at most"),
    (
        "users that differ in case",
        stack(users={"Bob": USERS["test-user"], "bob": USERS["test-user"]}),
        "'Bob' and 'bob' differ only in case",
    ),
    (
        "groups that differ in case",
        stack({"A": GROUPS["test"], "a": GROUPS["test"]}, {}),
        "'A' and 'a' differ only in case",
    ),
    ("no policies", stack({"test": {"policies": []}}), "groups.test.policies: no policies"),
    (
        "more than 10 policies",
        stack(group(policies=[f"arn:aws:iam::aws:policy/P{i}" for i in range(11)])),
        "groups.test.policies: 11 managed policies; AWS takes 10",
    ),
    (
        "a policy twice",
        stack(group(policies=["IAMFullAccess", "IAMFullAccess"])),
        "groups.test.policies[1]: 'arn:aws:iam::aws:policy/IAMFullAccess' is attached to this group already",
    ),
    (
        "a policy by name and by ARN",
        stack(group(policies=["IAMFullAccess", "arn:aws:iam::aws:policy/IAMFullAccess"])),
        "is attached to this group already",
    ),
    (
        "unknown policy",
        stack(group(policies=["S3FullAccess"])),
        "groups.test.policies[0]: 'S3FullAccess' is no AWS managed policy known here. Did you mean 'AmazonS3FullAc",
    ),
    (
        "text for a list",
        stack(group(policies="AmazonS3FullAccess")),
        'groups.test.policies: "AmazonS3FullAccess" is given, a list, for example [one, two] is expected',
    ),
    (
        "a list for a mapping",
        stack(users=["test-user"]),
        "users: a list is given, a mapping, for example {name: ...} is expected",
    ),
    ("text for everything", stack(groups="test"), 'groups: "test" is given, a mapping'),
    ("a number for text", stack(group(policies=[7])), "groups.test.policies[0]: 7 is given, text is expected"),
    ("nothing for a user", stack(users={"u": None}), "users.u: null is given, a mapping"),
    ("missing key", stack({"test": {}}), "groups.test.policies: missing"),
    (
        "unknown key of a group",
        stack(group(polices=[])),
        "groups.test.polices: unknown key 'polices'. Known here: path, policies. Did you mean 'policies'?",
    ),
    (
        "unknown key of the stack",
        stack(grups=GROUPS),
        "grups: unknown key 'grups'. Known here: deliver, groups, keyDefaults, outputs, tags, users. Did you mean 'gr",
    ),
    ("bad path", stack(group(path="data")), "groups.test.path: 'data' is no IAM path"),
    ("reserved tag", stack(tags={"aws:x": "y"}), "aws-access-keys:tags.aws:x: tag keys that start with 'aws:'"),
    ("long tag value", stack(users=user(tags={"a": "x" * 257})), "users.test-user.tags.a: the value of tag 'a'"),
    (
        "a comma in a name for the CSV",
        stack(users={"a,b": {"groups": ["test"]}}, outputs=["credentialsCsv"]),
        "users.a,b: `aws configure import` splits",
    ),
    (
        "unknown output",
        stack(outputs=["csv"]),
        "outputs[0]: \"csv\" is given, 'credentialsCsv' or 'sesSmtpPasswords' is",
    ),
    (
        "rotation every 0 days",
        stack(users=user(key={"rotation": {"start": "2026-01-01", "everyDays": 0, "overlapDays": 0}})),
        "everyDays: 0 is given, 1 or more",
    ),
    (
        "a day that is none",
        stack(keyDefaults={"rotation": {"start": "2026-02-30", "everyDays": 9, "overlapDays": 0}}),
        'keyDefaults.rotation.start: "2026-02-30" is given, a date such as',
    ),
    (
        "overlap in the defaults",
        stack(keyDefaults={"rotation": {"start": "2026-02-03", "everyDays": 9, "overlapDays": 10}}),
        "keyDefaults.rotation.overlapDays: 10 days of overlap",
    ),
    (
        "wrong status",
        stack(users=user(key={"status": "off"})),
        "users.test-user.key.status: \"off\" is given, 'active' or 'inactive' is expected",
    ),
    (
        "adopt in the defaults",
        stack(keyDefaults={"adopt": {"id": "AKIAIOSFODNN7EXAMPLE"}}),
        "keyDefaults.adopt: unknown key 'adopt'",
    ),
    (
        "adopt no key id",
        stack(users=user(key={"adopt": {"id": "ASIA123"}})),
        "users.test-user.key.adopt.id: 'ASIA123' is no access key id",
    ),
    (
        "a secret that is no text",
        stack(users=user(key={"adopt": {"id": "AKIAIOSFODNN7EXAMPLE", "secret": 12345678}})),
        'adopt.secret: "(secret)" is given, text is expected',
    ),
    (
        "adopt and deliver without secret",
        stack(users=user(key={"adopt": {"id": "AKIAIOSFODNN7EXAMPLE"}}), deliver={"ssm": {}}),
        "its secret is not given",
    ),
    ("deliver and pgpKey", stack(users=user(key={"pgpKey": "x"}), deliver={"ssm": {}}), "so it cannot be delivered"),
    (
        "reserved SSM name",
        stack(users=user(deliver={"ssm": {"name": "/aws/x"}})),
        "users.test-user.deliver.ssm.name: '/aws/x' starts with aws or ssm",
    ),
    (
        "illegal name of a secret",
        stack(users=user(deliver={"secretsManager": {"name": "a b"}})),
        "'a b' is no name that the store takes",
    ),
    (
        "description without ignoreTags",
        stack(keyDefaults={"description": "x"}),
        "keyDefaults.description: a key's description lies in a tag",
    ),
    (
        "guard of 0 days",
        stack(keyDefaults={"retireGuard": {"idleDays": 0}}),
        "keyDefaults.retireGuard.idleDays: 0 is given, 1 or more",
    ),
    (
        "one name for two users' keys",
        stack(
            users={"ann": {"groups": ["test"]}, "bob": {"groups": ["test"]}},
            deliver={"secretsManager": {"name": "shared"}},
        ),
        "deliver.secretsManager.name: 'shared' is the name for the keys of 'ann' and of 'bob'",
    ),
    (
        "a default name that SSM does not take",
        stack(users={"ann@example.org": {"groups": ["test"]}}, deliver={"ssm": {}}),
        "users.ann@example.org.deliver.ssm.name: the default name for the key of 'ann@example.org' is made of the",
    ),
    (
        "no room for the tags of descriptions",
        stack(tags={f"t{i}": "x" for i in range(49)}, users=user(key={"description": "nightly"})),
        "users.test-user.tags: 49 tags; IAM takes 50 on a user at most, and the descriptions of 2 keys are among them.",
    ),
    ("too many tags", stack(tags={f"t{i}": "x" for i in range(51)}), "users.test-user.tags: 51 tags; IAM takes 50"),
]


@pytest.mark.parametrize(("config", "says"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
def test_bad_config_is_refused_with_one_clear_message(config: dict[str, Any], says: str) -> None:
    message = refusal(config)
    assert says in message, "the message names the place, the value and what to do"
    assert "Nothing was created" in message, "the message says that nothing happened"
    assert "pydantic" not in message.lower(), "the message is in the words of the stack file"


def test_all_problems_come_in_one_message() -> None:
    message = refusal(stack({"test": {"policies": ["Nope1", "Nope2"]}}, {"u": {"groups": ["x"]}}))
    assert "has 3 problems" in message, message
    assert message.count("aws-access-keys:") == 3, "each problem has its own line with its place"


def test_good_config_is_read_with_its_defaults() -> None:
    config = {f"aws-access-keys:{key}": value for key, value in stack().items()} | {"aws:region": "cn-north-1"}
    read: list[Any] = []
    deploy(lambda: read.append(read_settings()), config)
    settings, environment = read[0]
    assert settings.groups["test"].policies == ["AmazonS3FullAccess"]
    assert settings.users["test-user"].path == "/", "the path defaults to /"
    assert environment[:2] == ("aws-cn", "cn-north-1"), "the partition follows from the region"

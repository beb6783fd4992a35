"""What an account has, as the settings of a stack file; the file's text; and Terraform's state."""

import json
from dataclasses import replace
from datetime import datetime, timezone
from typing import Any

import pytest
import yaml
from aws_access_keys.cli import stack
from aws_access_keys.cli.takeover.stack_text import with_entries
from aws_access_keys.rules.resource_types import (
    GROUP_POLICY,
    GROUP_POLICY_ATTACHMENT,
    MEMBERSHIP,
    USER,
    USER_POLICY_ATTACHMENT,
)
from aws_access_keys.rules.takeover import (
    Choice,
    ExistingKey,
    Inventory,
    Planned,
    Surroundings,
    chosen,
    describe,
    foreign_parts,
    import_id,
    key_names,
    parse_account,
)
from aws_access_keys.rules.terraform import TerraformError, parse_terraform

AWS = "arn:aws:iam::aws:policy"
OWN = "arn:aws:iam::123456789012:policy/team/own"
READ = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:GetObject", "Resource": "*"}]}
DAY = datetime(2026, 1, 2, tzinfo=timezone.utc)


def group(name: str, *policies: str, path: str = "/", **inline: Any) -> dict[str, Any]:
    return {
        "GroupName": name,
        "Path": path,
        "AttachedManagedPolicies": [{"PolicyArn": arn} for arn in policies],
        "GroupPolicyList": [{"PolicyName": name, "PolicyDocument": found} for name, found in inline.items()],
    }


def inline(name: str) -> Any:
    return {name: READ}


def user(name: str, *groups: str, **more: Any) -> dict[str, Any]:
    return {"UserName": name, "Path": "/", "GroupList": list(groups), **more}


def account(groups: list[dict[str, Any]], users: list[dict[str, Any]]) -> Inventory:
    return parse_account([{"GroupDetailList": groups, "UserDetailList": users}])


TEAM = account(
    [group("web", f"{AWS}/AmazonS3FullAccess"), group("ops", path="/ops/")],
    [user("ann", "web"), user("bob", "web", "ops", Path="/ops/"), user("cy", Tags=[{"Key": "team", "Value": "x"}])],
)


@pytest.mark.parametrize(
    ("choice", "names"),
    [
        (Choice(users=["ann"]), ["ann", "web"]),
        (Choice(groups=["ops"]), ["bob", "ops", "web"]),
        (Choice(paths=["/ops/"]), ["bob", "ops", "web"]),
        (Choice(tags=[("team", "x")]), ["cy"]),
        (Choice(tags=[("team", "y")]), []),
        (Choice(users=["ann"], tags=[("team", "x")]), ["ann", "cy", "web"]),
        (Choice(everything=True), ["ann", "bob", "cy", "ops", "web"]),
    ],
)
def test_a_group_brings_its_users_and_a_user_its_groups(choice: Choice, names: list[str]) -> None:
    assert sorted(name for _, name in chosen(TEAM, choice)) == names


def settings(found: Inventory, **around: Any) -> tuple[dict[str, Any], dict[str, Any], list[tuple[str, str]]]:
    made = describe(found, chosen(found, Choice(everything=True)), Surroundings(**around))
    return made.groups, made.users, made.left


def test_what_settings_express_is_written_as_people_write_it() -> None:
    policies = (OWN, f"{AWS}/job-function/ViewOnlyAccess", f"{AWS}/NewerThanThisProgram")
    groups, _, left = settings(account([group("web", *policies, path="/a/", read=READ), group("none")], []))
    assert groups["web"] == {
        "path": "/a/",
        "policies": [OWN, f"{AWS}/NewerThanThisProgram", "ViewOnlyAccess"],
        "inline": {"read": READ},
    }
    assert groups["none"] == {"adopt": True}, "a group without policies has nothing else to say"
    assert left == []


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (group("g", f"{AWS}/AWSCompromisedKeyQuarantineV2"), "AWS attached it because it found a key exposed"),
        (group("g", f"{AWS}/aws-service-role/AccessAnalyzerServiceRolePolicy"), "reserved for a service-linked role"),
        (group("g", old={**READ, "Version": "2008-10-17"}), "old.Version: expected '2012-10-17'"),
        (group("g", new={**READ, "NewElement": 1}), "new.NewElement: unknown element"),
        (group("g", odd="not JSON"), "its document is not JSON"),
        (group("g", **inline("allow-from")), "allowFrom creates a policy of this name"),
    ],
)
def test_what_no_setting_expresses_is_left_alone_with_the_reason(found: dict[str, Any], words: str) -> None:
    groups, _, left = settings(account([found], []))
    assert groups == {"g": {"adopt": True}}
    assert [owner for owner, _ in left] == ["group g"]
    assert words in left[0][1]


def with_keys(found: Inventory, name: str, *keys: ExistingKey) -> Inventory:
    return Inventory(found.groups, {**found.users, name: replace(found.users[name], keys=keys)})


def test_a_user_has_what_the_stack_does_not_give_it_already() -> None:
    tags = {"team": "web", "cost": "1e3", "aws:x": "1", "AKIAX": "key", "stage": "prod"}
    about: dict[str, Any] = {"Tags": [{"Key": key, "Value": value} for key, value in tags.items()]}
    found = account([], [user("ann", **about, PermissionsBoundary={"PermissionsBoundaryArn": OWN})])
    found = with_keys(found, "ann", ExistingKey("AKIA2", True, DAY), ExistingKey("AKIA1", False, DAY))
    around: dict[str, Any] = {"tags": {"team": "web", "stage": "dev"}, "ignored_tags": ["AKIA"], "delivers": True}
    _, users, _ = settings(found, **around)
    assert users["ann"] == {
        "adopt": True,
        "permissionsBoundary": OWN,
        "tags": {"cost": "1e3", "stage": "prod"},
        "key": {"serial": 2},
        "deliver": None,
    }
    known = ExistingKey("AKIA2", True, DAY, {"secret": "s"})
    _, users, _ = settings(with_keys(found, "ann", known), delivers=True, serial=3)
    assert {"key", "deliver"} & users["ann"].keys() == set(), "a known secret is delivered"
    _, users, _ = settings(with_keys(found, "ann", known), delivers=True, keeps_secrets=False, serial=3)
    assert users["ann"]["key"] == {"keepSecret": True}, "somebody has it already: not keeping it begins with the next"


def test_groups_and_users_of_another_account_have_other_owners(monkeypatch: pytest.MonkeyPatch) -> None:
    def resource(kind: str, account: str) -> dict[str, Any]:
        arn = f"arn:aws:iam::{account}:{kind}/deploy"
        return {"urn": arn, "type": f"aws:iam/{kind}:{kind.title()}", "id": "deploy", "outputs": {"arn": arn}}

    resources = [resource("user", "111111111111"), resource("group", "222222222222")]
    monkeypatch.setattr(stack, "_resources", lambda _: resources)
    assert stack.owned("dev").entities.keys() == {("user", "deploy"), ("group", "deploy")}
    assert stack.owned("dev", "111111111111").entities.keys() == {("user", "deploy")}


@pytest.mark.parametrize(
    ("newest", "oldest", "defaults", "key"),
    [
        (False, True, {"status": "active"}, {"serial": 2, "status": "inactive"}),
        (True, True, {"status": "inactive"}, {"serial": 2, "status": "active"}),
        (True, True, {"previous": "inactive"}, {"serial": 2, "previous": "active"}),
        (True, True, {"previous": "deleted"}, {"serial": 2, "previous": "active"}),
        (True, True, {"previous": "whenidle", "status": "active"}, {"serial": 2, "previous": "active"}),
        (True, False, {"previous": "deleted"}, {"serial": 2, "previous": "inactive"}),
        (True, False, {"previous": "inactive"}, {"serial": 2}),
    ],
)
def test_defaults_of_the_stack_change_no_key_that_is_taken_over(
    newest: bool, oldest: bool, defaults: dict[str, Any], key: dict[str, Any]
) -> None:
    keys = (ExistingKey("AKIA2", newest, DAY), ExistingKey("AKIA1", oldest, DAY))
    _, users, _ = settings(with_keys(account([], [user("ann")]), "ann", *keys), **defaults)
    assert users["ann"]["key"] == key


def test_only_names_with_the_prefix_of_the_stack_are_described() -> None:
    found = account([group("dev-web", OWN), group("web", OWN)], [user("dev-ann", "dev-web", "web")])
    groups, users, left = settings(found, prefix="dev-")
    assert (groups, users) == ({"web": {"policies": [OWN]}}, {"ann": {"groups": ["web"], "key": None}})
    assert left == [
        ("group web", "its name does not begin with namePrefix, 'dev-'"),
        ("user dev-ann", "the membership in the group web, which is not taken over"),
    ]


PARENT = (USER, "access/ann")


@pytest.mark.parametrize(
    ("planned", "expected"),
    [
        (Planned(USER, "access/ann", None), "ann"),
        (Planned(USER, "access/eve", None), None),
        (Planned(MEMBERSHIP, "access/ann", PARENT), "ann/web"),
        (Planned(GROUP_POLICY_ATTACHMENT, "access/web/AmazonS3FullAccess", None), f"web/{AWS}/AmazonS3FullAccess"),
        (Planned(GROUP_POLICY_ATTACHMENT, "access/web/IAMFullAccess", None), None),
        (Planned(GROUP_POLICY, "access/web/own", None), None),
        (Planned(USER_POLICY_ATTACHMENT, "access/eve/IAMFullAccess", None), None),
    ],
)
def test_a_resource_has_the_id_under_which_aws_has_it(planned: Planned, expected: str | None) -> None:
    assert import_id(planned, TEAM, {"ann": ["web"]}) == expected


def test_the_older_key_has_the_serial_before() -> None:
    keys = [ExistingKey("AKIA2", True, DAY), ExistingKey("AKIA1", True, DAY)]
    assert [(name, key.id) for name, key in key_names("5.2026-11-26", keys)] == [
        ("5.2026-11-26", "AKIA2"),
        ("4", "AKIA1"),
    ]
    assert [name for name, _ in key_names("1", keys)] == ["1"], "there is no serial 0"


# ---- the text of the stack file

ENTRIES = {
    "groups": {"web": {"policies": [OWN]}},
    "users": {"ann": {"groups": ["web"], "tags": {"a": "1e3", "y": "no"}}},
}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "config:\n  aws:region: eu-west-1 # ours\n# the end\nencryptionsalt: v1:abc\n",
        "config:\n  aws-access-keys:groups:\n    old: {policies: [X]} # why\n    # after\n  aws:region: eu-west-1",
        "config:\n  aws-access-keys:users: {old: {groups: [web]}} # flow\n  aws:region: eu-west-1\n",
        "config:\n    aws-access-keys:users:\n        old:\n            groups:\n            - web\n\n# c\n",
        "config:\r\n  aws:region: eu-west-1\r\n",
        "encryptionsalt: v1:abc\n",
    ],
)
def test_entries_are_added_and_every_line_stays(text: str) -> None:
    edited = with_entries(text, ENTRIES)
    assert edited is not None
    before, after = yaml.safe_load(text) or {}, yaml.safe_load(edited)
    for section, entries in ENTRIES.items():
        key = f"aws-access-keys:{section}"
        assert after["config"].pop(key) == {**(before.get("config", {}).pop(key, None) or {}), **entries}
    assert (after.pop("config") or {}, after) == (before.pop("config", {}), before)
    kept = [line.rstrip() for line in text.splitlines() if "flow" not in line]
    assert [line.rstrip() for line in edited.splitlines() if line.rstrip() in kept] == kept
    assert '"1e3"' in edited, "other readers of YAML take this for a number"
    assert "\r\n" not in text or "\n" not in edited.replace("\r\n", "")


@pytest.mark.parametrize(
    "text",
    [
        "config: {aws:region: eu-west-1}\n",
        "config:\n  aws-access-keys:users:\n",
        "x: &a {old: {}}\nconfig:\n  aws-access-keys:users: [1]\n",
    ],
)
def test_a_file_that_cannot_be_edited_is_left_alone(text: str) -> None:
    assert with_entries(text, ENTRIES) is None


# ---- Terraform


def state(*resources: dict[str, Any], **more: Any) -> str:
    return json.dumps({"version": 4, "resources": list(resources), **more})


def resource(kind: str, module: str | None = None, **attributes: Any) -> dict[str, Any]:
    found = {"mode": "managed", "type": f"aws_iam_{kind}", "name": "x", "instances": [{"attributes": attributes}]}
    return found | ({"module": module} if module else {})


def test_everything_of_groups_users_and_keys_is_read() -> None:
    found = parse_terraform(
        state(
            resource("user", name="ann", arn="arn:aws:iam::123456789012:user/ann"),
            resource("group", "module.a", name="web", arn="arn:aws:iam::123456789012:group/web"),
            resource("policy_attachment", users=["ann"], groups=None, policy_arn=OWN),
            resource("group_policy", group="web", name="own"),
            resource("access_key", user="ann", id="AKIA1", secret=None, encrypted_secret="c", key_fingerprint="f"),
            resource("group_policies_exclusive", group_name="web", policy_names=["own"]),
            resource("user_policy_attachments_exclusive", user_name="ann", policy_arns=[]),
            resource("role", name="other"),
        )
    )
    assert found.entities == {("user", "ann"), ("group", "web")}
    assert found.held == {("user", "ann", OWN), ("group", "web", "own"), ("user", "ann", "AKIA1")}
    assert found.keys == {"AKIA1": {"encryptedSecret": "c", "keyFingerprint": "f"}}
    assert found.accounts == {"123456789012"}
    exclusive = "aws_iam_group_policies_exclusive.x"
    of_group = ["module.a.aws_iam_group.x", "aws_iam_group_policy.x", exclusive]
    assert found.addresses_of({("group", "web")}) == of_group, "what would remove the policies of others goes, too"
    assert "aws_iam_user_policy_attachments_exclusive.x" in found.addresses_of({("user", "ann")})


def test_the_output_of_terraform_show_is_read() -> None:
    user = {"address": "aws_iam_user.x", "mode": "managed", "type": "aws_iam_user", "values": {"name": "ann"}}
    child = {"resources": [{**user, "address": "module.m.aws_iam_user.x[0]", "values": {"name": "bob"}}]}
    root = {"resources": [user], "child_modules": [child]}
    found = parse_terraform(json.dumps({"format_version": "1.0", "values": {"root_module": root}}))
    assert found.entities == {("user", "ann"), ("user", "bob")}
    assert found.addresses_of(found.entities) == ["aws_iam_user.x", "module.m.aws_iam_user.x[0]"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "it is not valid JSON"),
        (state()[:-5], "it is not valid JSON"),
        ("[]", "it is not a Terraform state"),
        ('{"version": 3, "modules": []}', "it has version 3, but only version 4 can be read"),
        ('{"version": 5}', "it has version 5"),
        ("{}", "it has version None"),
        ('{"version": 3, "backend": {"type": "s3"}}', "it only points to the backend 's3'"),
        ('{"serial": 1, "encrypted_data": "x"}', "it is encrypted"),
        ('{"format_version": "1.2", "planned_values": {}}', "it is a plan"),
        (state(resource("user")), "it is damaged or in an unknown format"),
        ('{"version": 4}', "it is damaged"),
        (state(), "there is nothing to take over"),
        (state(resource("role", name="x")), "there is nothing to take over"),
    ],
)
def test_a_file_that_is_no_such_state_is_refused(text: str, words: str) -> None:
    with pytest.raises(TerraformError) as refused:
        parse_terraform(text)
    assert words in str(refused.value)


# ---- what a stack does not manage


def test_what_a_stack_does_not_hold_is_named_with_the_command_that_removes_it() -> None:
    found = account(
        [group("web", OWN, old=READ), group("other", OWN)], [user("ann", "web", "other"), user("eve", "web")]
    )
    held = {("user", "ann", "web"), ("group", "web", "new")}
    assert [(one.owner, one.what) for one in foreign_parts(found, {("group", "web"), ("user", "ann")}, held)] == [
        ("group web", f"the policy {OWN}"),
        ("group web", "the inline policy old"),
        ("user ann", "the membership in the group other"),
        ("user eve", "the membership in the group web"),
    ]
    (eve,) = foreign_parts(
        found, {("group", "web")}, {*held, ("user", "eve", "x"), ("group", "web", OWN), ("group", "web", "old")}
    )
    assert eve.removal == "aws iam remove-user-from-group --user-name eve --group-name web"

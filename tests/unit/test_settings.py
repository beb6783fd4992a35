"""Good configuration is read as it is written, and bad configuration ends the program before anything is registered."""

import json
import runpy
from base64 import b64encode
from datetime import date
from pathlib import Path
from typing import Any

import pulumi
import pytest
import yaml
from aws_access_keys import stack_settings
from aws_access_keys.rules.pgp import PgpError, public_key
from aws_access_keys.rules.problem import STACK_FILE
from aws_access_keys.rules.rotation import Calendar, KeyRules
from aws_access_keys.setting_types import settings_of
from aws_access_keys.settings import StackSettings
from aws_access_keys.validation import SettingsError
from pysequoia import Profile, Tsk

from tests.unit.made_up_state import MadeUpState
from tests.unit.recording import deploy

GROUPS = {"test": {"policies": ["AmazonS3FullAccess"]}}
USERS: dict[str, Any] = {"test-user": {"groups": ["test"]}}


def config(others: dict[str, str] | None = None, **settings: Any) -> dict[str, str]:
    ours = {"groups": GROUPS, "users": USERS, **settings}
    return {f"aws-access-keys:{key}": json.dumps(value) for key, value in ours.items()} | (others or {})


def read(others: dict[str, str] | None = None, folder: str = "/nowhere", **settings: Any) -> StackSettings:
    found: list[StackSettings] = []
    deploy(lambda: found.append(stack_settings()), config(others, **settings), folder=folder)
    return found[0]


def program() -> None:
    runpy.run_path("__main__.py")


def refusal(settings: dict[str, str], **arguments: Any) -> str:
    with pytest.raises(SettingsError) as caught:
        deploy(program, settings, **arguments)
    assert isinstance(caught.value, pulumi.RunError), "Pulumi shows a RunError without a traceback"
    return str(caught.value)


def test_the_program_registers_what_the_stack_file_asks_for() -> None:
    exported: list[str] = []

    def program_and_exports() -> None:
        program()
        exported.extend(getattr(pulumi.runtime.get_root_resource(), "outputs", {}))

    recording = deploy(program_and_exports, config(outputs=["credentialsCsv"]))
    assert recording.keys == ["access/test-user/1"]
    assert {"accessKeyIds", "secretAccessKeys", "keys", "credentialsCsv"} <= set(exported)
    assert "sesSmtpPasswords" not in exported


def test_good_configuration_is_read_with_its_defaults() -> None:
    settings = read()
    assert settings.groups["test"].policies == ["AmazonS3FullAccess"]
    assert settings.users["test-user"].path == "/"
    assert settings.effective_key("test-user").rules() == KeyRules()
    assert settings.effective_deliver("test-user") is None
    assert settings.outputs == []


def test_a_users_own_settings_go_before_everybodys() -> None:
    rotation = {"start": "2026-12-01", "everyDays": 90, "overlapDays": 7}
    users = {
        "ann": {"groups": ["test"]},
        "bob": {"groups": ["test"], "key": {"serial": 3, "rotation": None}, "deliver": None, "tags": {"team": "own"}},
    }
    settings = read(
        users=users,
        tags={"team": "all", "env": "dev"},
        keyDefaults={"serial": 2, "rotation": rotation, "retireGuard": {"idleDays": 3}},
        deliver={"ssm": {}},
    )
    ann, bob = (settings.effective_key(user) for user in ("ann", "bob"))
    assert ann.rules() == KeyRules(2, rotation=Calendar(date(2026, 12, 1), 90, 7))
    assert bob.rules() == KeyRules(3), "null takes a default away"
    assert bob.retire_guard == ann.retire_guard
    assert settings.effective_deliver("ann") is not None
    assert settings.effective_deliver("bob") is None
    assert settings.effective_tags("bob") == {"team": "own", "env": "dev"}


@pytest.mark.parametrize("start", ["2026-12-01", "2026-12-01 00:00:00 +0000 UTC"])
def test_a_date_needs_no_quotes(start: str) -> None:
    settings = read(keyDefaults={"rotation": {"start": start, "everyDays": 90, "overlapDays": 7}})
    rotation = settings.effective_key("test-user").rotation
    assert rotation is not None
    assert rotation.start == date(2026, 12, 1)


@pytest.mark.parametrize("settings", [{}, {"aws:region": "ap-northeast-2"}])
def test_a_stack_without_configuration_is_shown_the_smallest_one(settings: dict[str, str]) -> None:
    message = refusal(settings)
    assert "Pulumi.dev.yaml is missing or has no aws-access-keys: keys" in message
    example = message[message.index("config:\n") : message.index("If all its users have moved")]
    found: dict[str, Any] = yaml.safe_load(example)["config"]
    assert read(**{key.removeprefix("aws-access-keys:"): value for key, value in found.items()}).users


def test_a_problem_is_named_as_it_stands_in_the_file() -> None:
    users = {"u": {"groups": ["test"], "key": {"retireGuard": {"idleDays": 0}}}}
    assert refusal(config(users=users)).splitlines() == [
        "The configuration of stack 'dev' has 1 problem:",
        "  aws-access-keys:users.u.key.retireGuard.idleDays: expected 1 or more, got 0.",
        "Fix this in Pulumi.dev.yaml. Nothing was created or changed.",
    ]


def test_a_mistake_among_the_defaults_is_one_problem_however_many_users_there_are() -> None:
    users = {name: {"groups": ["test"]} for name in ("ann", "bob", "eve")}
    message = refusal(config(users=users, tags={"aws:x": "y"}, keyDefaults={"pgpKey": "ann"}))
    assert "has 2 problems" in message, message


def test_a_lost_users_block_does_not_delete_the_users() -> None:
    state = MadeUpState().user("test-user", "1").resources
    lost = config()
    del lost["aws-access-keys:users"]
    refused = "aws-access-keys:users: no users, but the stack has test-user. List them, or enable allowNoUsers to"
    for settings in (lost, config(users={})):
        assert refused in refusal(settings, state=state)
    recording = deploy(program, config(users={}, allowNoUsers=True), state=state)
    assert read(allowNoUsers=True, groups={}, users={}).groups == {}, (
        "a stack whose users have moved to another one has no groups either"
    )
    assert not recording.keys


def test_a_secret_in_clear_text_is_refused_and_not_shown() -> None:
    secret = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
    adopt = {"id": "AKIAIOSFODNN7EXAMPLE", "secret": secret}
    users = {"test-user": {"groups": ["test"], "key": {"adopt": adopt}}}
    message = refusal(config(users=users))
    assert "the secret is in this file in clear text" in message
    assert secret not in message

    def encrypted() -> None:
        pulumi.runtime.set_all_config(config(users=users), ["aws-access-keys:users"])
        assert stack_settings().effective_key("test-user").adopt

    deploy(encrypted)


def test_a_secret_in_clear_text_beside_an_encrypted_one_is_refused(tmp_path: Path) -> None:
    def user(secret: Any) -> dict[str, Any]:
        return {"groups": ["test"], "key": {"adopt": {"id": "AKIAIOSFODNN7EXAMPLE", "secret": secret}}}

    secret = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
    written = {"config": {"aws-access-keys:users": {"ann": user({"secure": "v1:x"}), "bob": user(secret)}}}
    (tmp_path / "Pulumi.dev.yaml").write_text(yaml.safe_dump(written))

    def decrypted() -> None:
        both = {"ann": user(secret), "bob": user(secret)}
        pulumi.runtime.set_all_config(config(users=both), ["aws-access-keys:users"])
        stack_settings()

    with pytest.raises(SettingsError, match="the secret is in this file in clear text") as refused:
        deploy(decrypted, folder=str(tmp_path))
    assert "users.bob.key.adopt.secret" in str(refused.value)
    assert "users.ann" not in str(refused.value)


@pytest.mark.parametrize("misplaced", ["SECRET", {"id": "SECRET"}, {"id": ["SECRET"]}, {"secret": ["SECRET"]}])
def test_a_secret_in_the_wrong_place_is_not_shown(misplaced: Any) -> None:
    secret = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
    adopt = json.loads(json.dumps(misplaced).replace("SECRET", secret))
    assert secret not in refusal(config(users={"u": {"groups": ["test"], "key": {"adopt": adopt}}}))


def test_limits_of_tags_count_everybodys_and_the_users_own() -> None:
    tags, ignored = {f"t{i}": "x" for i in range(49)}, {"aws:ignoreTags": json.dumps({"keyPrefixes": ["AKIA"]})}
    nightly = {"description": "nightly"}
    own = {"test-user": {"groups": ["test"], "tags": {"own": "x", "other": "x"}}}
    too_many, described = (
        refusal(config(users=own, tags=tags)),
        refusal(config(ignored, tags=tags, keyDefaults=nightly)),
    )
    assert "users.test-user.tags: 51 tags; IAM allows at most 50 on a user. Remove 1." in too_many
    assert "49 tags; IAM allows at most 50 on a user, 2 of which hold the descriptions of keys. Remove 1." in described
    assert read(tags=tags).effective_tags("test-user") == tags


def test_names_that_only_look_like_numbers_and_files_of_other_stacks_are_no_mistakes(tmp_path: Any) -> None:
    users = {"83": {"groups": ["test"]}, "0123": {"groups": ["test"]}}
    for text in (
        "config:\n  aws-access-keys:users: {83: {groups: [test]}, '0123': {groups: [test]}}\n",
        "config:\n  aws-access-keys:users: &all {83: {groups: [test]}}\n  aws-access-keys:tags: {<<: {a: b}}\n",
        "encryptionsalt: v1:x\nsecretsprovider: passphrase\nenvironment: [dev]\nx-notes: {config: none}\n",
        "config: {\n",
        "config: {}\n---\nconfig: {}\n",
        "[]",
        "",
    ):
        (tmp_path / "Pulumi.dev.yaml").write_text(text)
        assert set(read(folder=str(tmp_path), users=users).users) == {"83", "0123"}, text


def test_the_stack_file_is_checked_where_the_project_keeps_it(tmp_path: Any) -> None:
    (tmp_path / "Pulumi.yaml").write_text("name: p\nruntime: python\nstackConfigDir: stacks\n")
    (tmp_path / "stacks").mkdir()
    (tmp_path / "stacks" / "Pulumi.dev.yaml").write_text("config: {}\naws-access-keys:users: {}\n")
    assert "'aws-access-keys:users' is outside 'config:'" in refusal(config(), folder=str(tmp_path))


def test_settings_that_all_stacks_have_from_the_project_are_refused(tmp_path: Any) -> None:
    project = "name: p\nruntime: python\nconfig:\n  aws:region: us-east-1\n  aws-access-keys:tags: {value: {a: b}}\n"
    (tmp_path / "Pulumi.yaml").write_text(project)
    message = refusal(config(), folder=str(tmp_path))
    assert "Pulumi.yaml, line 5: `access-keys` does not read 'aws-access-keys:tags' here. Move it to Pulumi." in message
    assert "Fix this in" not in message, "it is not in the stack file"


@pytest.mark.parametrize("prefix", ["2024", "true", "1e3"])
def test_a_prefix_that_looks_like_another_type_is_text(prefix: str) -> None:
    assert read({"aws-access-keys:namePrefix": prefix}).name_prefix == prefix


def test_keys_of_other_namespaces_are_nobodys_business() -> None:
    others = {"aws:region": "cn-north-1", "aws:profile": "x", "pulumi:tags": "{}", "other:users": "{}"}
    assert read(others).users


@pytest.mark.parametrize("roles", ["nonsense", '"text"', "[7]", '[{"arn": "x"}]', '{"roleArn": "x"}'])
def test_something_else_than_a_list_of_roles_ends_the_program(roles: str) -> None:
    with pytest.raises(pulumi.RunError, match=r"aws:assumeRoles: expected a list of roles, for example"):
        deploy(program, config({"aws:assumeRoles": roles}))


def test_every_setting_is_described_and_known_by_name() -> None:
    message = refusal(config(nonsense=1))
    known = message.split("Known names: ")[1].split(".")[0].split(", ")
    assert known == sorted(STACK_FILE(name) for name in settings_of(StackSettings))
    assert all(found.description for found in settings_of(StackSettings).values())


def test_a_text_of_thousands_of_brackets_is_refused_like_any_other_text() -> None:
    text = refusal(config({"aws-access-keys:users": "[" * 3000}))
    assert "aws-access-keys:users: expected a mapping" in text
    assert len(text) < 400, "and is not repeated whole"


def test_an_openpgp_key_without_a_user_id_is_refused_because_the_provider_cannot_use_it() -> None:
    for user_id, is_usable in (("ann <ann@example.com>", True), (None, False)):
        key = b64encode(bytes(Tsk.generate(user_id, profile=Profile.RFC4880).extract_certificate())).decode()
        if is_usable:
            assert public_key(key) == key
        else:
            with pytest.raises(PgpError, match="has no user id, without which the aws provider cannot use it"):
                public_key(key)

"""`pulumi destroy` and `pulumi refresh` with --run-program: the program delivers and sends nothing in them."""

import re
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from pulumi_sandbox.aws.settings import Failure, Faults

from tests.faults.matrix import stored_keys
from tests.lifecycle.helpers import GROUPS, NewStack, keys_in_iam
from tests.lifecycle.stack import Sandbox, Stack

REFRESH = ("refresh", "--run-program", "--yes", "--skip-preview")
GUARD: dict[str, Any] = {"retireGuard": {"idleDays": 3}}


def file(deliver: dict[str, Any] | None, notify: list[str] | None = None, **key: Any) -> dict[str, Any]:
    """A stack file with one user."""
    notice = {"notify": {"command": notify}} if notify else {}
    return {"groups": GROUPS, "users": {"ann": {"groups": ["test"], "key": key, "deliver": deliver}}, **notice}


def to(path: Path, fails: bool = False) -> list[str]:
    """A command that adds the id of the key to a file."""
    return ["bash", "-c", "exit 3" if fails else f'cat > /dev/null; echo "$ACCESS_KEYS_KEY_ID" >> {path}']


def stores(sandbox: Sandbox) -> dict[str, int]:
    """Name of each secret and parameter → how often it was written."""
    ssm, manager = sandbox.client("ssm"), sandbox.client("secretsmanager")
    found = {one["Name"]: int(one["Version"]) for one in ssm.describe_parameters()["Parameters"]}
    for one in manager.list_secrets()["SecretList"]:
        found[one["Name"]] = len(
            manager.list_secret_version_ids(SecretId=one["Name"], IncludeDeprecated=True)["Versions"]
        )
    return found


def refused_destroy(stack: Stack, sandbox: Sandbox) -> None:
    """A destroy that runs the program and in which AWS does not delete the first thing."""
    actions = ("DeleteAccessKey", "DeleteParameter", "DeleteSecret", "RemoveUserFromGroup", "DetachGroupPolicy")
    sandbox.control.set_faults(Faults(failures=tuple(Failure(one, times=9, code="AccessDenied") for one in actions)))
    assert stack.destroy("--run-program", check=False).code != 0
    sandbox.control.clear_faults()


EXPIRED: dict[str, Any] = {"expires": "2026-11-01"}
FIELDS = {"fields": {"id": "username", "secret": "password"}}
SSM: dict[str, Any] = {"ssm": {}}
CHANGES = [
    ({**SSM, "secretsManager": {"existing": "theirs"}}, {}),
    (SSM, EXPIRED),
    ({"ssm": FIELDS}, {}),
    ({**SSM, "command": []}, {}),
]


@pytest.mark.parametrize(
    ("run", "deliver", "key"),
    [
        ("refresh", *CHANGES[0]),
        ("destroy", *CHANGES[1]),
        *(pytest.param("refresh", *change, marks=pytest.mark.long) for change in CHANGES[1:]),
        *(pytest.param("destroy", *change, marks=pytest.mark.long) for change in (CHANGES[0], *CHANGES[2:])),
    ],
)
def test_a_delivery_that_no_update_has_made_is_not_made_by_a_refresh_or_a_destroy_that_runs_the_program(
    run: str, deliver: dict[str, Any], key: dict[str, Any], new_stack: NewStack, sandbox: Sandbox, tmp_path: Path
) -> None:
    sandbox.client("secretsmanager").create_secret(Name="theirs", SecretString="of the team")
    stack, got = new_stack(), tmp_path / "got"
    deliver = {**deliver, "command": to(got)} if "command" in deliver else deliver
    before = file(SSM, keepSecret=False)
    stack.write(before)
    stack.up()
    written = stores(sandbox)
    stack.write(file(deliver, keepSecret=False, **key))
    if run == "refresh":
        stack.run(*REFRESH)
    else:
        refused_destroy(stack, sandbox)
    assert stores(sandbox) == written, "no store was written to"
    assert not got.exists(), "the command did not run"
    stack.write(before)
    stack.up()
    assert stack.preview("--expect-no-changes").changes == {}
    assert {name: stores(sandbox)[name] for name in ("theirs",)} == {"theirs": 1}
    stack.write(file(deliver, keepSecret=False, **key))
    stack.up()
    assert stores(sandbox) != written or got.exists(), "the update delivers"
    assert stack.preview("--expect-no-changes").changes == {}


@pytest.mark.parametrize("run", ["refresh", pytest.param("destroy", marks=pytest.mark.long)])
def test_a_key_that_a_command_did_not_get_is_issued_again_after_a_refresh_or_a_destroy_that_ran_the_program(
    run: str, new_stack: NewStack, sandbox: Sandbox, tmp_path: Path
) -> None:
    stack, got = new_stack(), tmp_path / "got"
    stack.write(file({"command": to(got)}, keepSecret=False))
    stack.up()
    (first,) = got.read_text().split()
    stack.write(file({"command": to(got, fails=True)}, keepSecret=False, serial=2))
    assert "was not delivered to" in stack.up(check=False).text
    if run == "refresh":
        stack.run(*REFRESH)
    else:
        refused_destroy(stack, sandbox)
    stack.write(file({"command": to(got)}, keepSecret=False, serial=2))
    stack.up()
    assert got.read_text().split()[-1] in keys_in_iam(sandbox, "ann").keys() - {first}, "the command has the new key"
    assert stack.preview("--expect-no-changes").changes == {}


@pytest.mark.parametrize("run", ["refresh", pytest.param("destroy", marks=pytest.mark.long)])
def test_no_notice_is_sent_by_a_refresh_or_a_destroy_that_runs_the_program(
    run: str, new_stack: NewStack, sandbox: Sandbox, tmp_path: Path
) -> None:
    stack, sent = new_stack(), tmp_path / "sent"
    notify = ["bash", "-c", f"cat >> {sent}"]
    for serial in (1, 2):
        stack.write(file(None, notify, serial=serial, previous="active"))
        stack.up()
    before = sent.read_text()
    assert before, "the updates sent notices"
    stack.write(file(None, notify, serial=2, previous="deleted"))
    if run == "refresh":
        stack.run(*REFRESH)
    else:
        refused_destroy(stack, sandbox)
    assert sent.read_text() == before
    stack.up()
    assert re.findall("retired", sent.read_text().removeprefix(before)), "the update that deletes the key sends one"


@pytest.mark.long
def test_a_parameter_that_an_interrupted_destroy_has_left_with_a_deleted_key_is_written_again(
    new_stack: NewStack, sandbox: Sandbox
) -> None:
    stack = new_stack()
    stack.write(file(SSM, keepSecret=False))
    stack.up()
    stack.write(file(SSM, keepSecret=False, serial=2))
    for action, run in (("PutParameter", stack.up), ("DeleteParameter", partial(stack.destroy, "--run-program"))):
        sandbox.control.fail(action, "AccessDeniedException", times=50)
        assert run(check=False).code != 0
        sandbox.control.clear_faults()
    stack.up()
    assert stored_keys(sandbox)["/access-keys/ann"][0] in keys_in_iam(sandbox, "ann")
    assert stack.preview("--expect-no-changes").changes == {}


@pytest.mark.long
@pytest.mark.parametrize("keep", [True, False])
def test_a_key_that_is_issued_with_target_is_delivered(
    keep: bool, new_stack: NewStack, sandbox: Sandbox, tmp_path: Path
) -> None:
    stack, got = new_stack(), tmp_path / "got"
    for serial in (1, 2, 3):
        stack.write(file({"command": to(got)}, keepSecret=keep, serial=serial))
        stack.up(*(["--target", "**access/ann**"] if serial > 1 else []))
        assert got.read_text().split()[-1] == stack.outputs()["keys"]["ann"]["current"]["id"]
    stack.up()
    assert len(got.read_text().split()) == 3
    assert stack.preview("--expect-no-changes").changes == {}


def test_a_command_gets_no_key_where_target_leaves_out_the_record_of_it(
    new_stack: NewStack, sandbox: Sandbox, tmp_path: Path
) -> None:
    stack, got = new_stack(), tmp_path / "got"
    stack.write(file({"command": to(got)}, keepSecret=False))
    stack.up()
    stack.write(file({"command": to(got)}, keepSecret=False, serial=2, previous="deleted"))
    refused = stack.up("--target", "**AccessKey::access/ann/2", check=False)
    assert refused.code != 0
    assert "the engine did not record that the command gets it, as with --target" in refused.text
    (first,) = got.read_text().split()
    assert first in keys_in_iam(sandbox, "ann"), "nobody has another key"
    stack.up()
    *_, last = got.read_text().split()
    assert [*keys_in_iam(sandbox, "ann")] == [last] != [first]
    assert stack.preview("--expect-no-changes").changes == {}


@pytest.mark.long
def test_what_replaces_an_expired_key_goes_nowhere_else_in_a_refresh_and_into_nobodys_parameter(
    new_stack: NewStack, sandbox: Sandbox
) -> None:
    manager, ssm = sandbox.client("secretsmanager"), sandbox.client("ssm")
    manager.create_secret(Name="theirs", SecretString="of the team")
    ssm.put_parameter(Name="/theirs", Value="of the team", Type="SecureString")
    stack = new_stack()
    for key in ({}, EXPIRED):
        stack.write(file(SSM, keepSecret=False, **key))
        stack.up()
    stack.write(file(CHANGES[0][0], keepSecret=False, **EXPIRED))
    stack.run(*REFRESH)
    assert manager.get_secret_value(SecretId="theirs")["SecretString"] == "of the team"
    stack.write(file({"ssm": {"name": "/theirs"}}, keepSecret=False, **EXPIRED))
    assert "ParameterAlreadyExists" in stack.up(check=False).text
    assert ssm.get_parameter(Name="/theirs", WithDecryption=True)["Parameter"]["Value"] == "of the team"


@pytest.mark.long
def test_a_notice_of_what_somebody_did_in_iam_is_sent_by_the_next_update_not_by_a_refresh(
    new_stack: NewStack, sandbox: Sandbox, tmp_path: Path
) -> None:
    stack, sent = new_stack(), tmp_path / "sent"
    stack.write(file(None, ["bash", "-c", f"cat >> {sent}"]))
    stack.up()
    before = sent.read_text()
    (key_id,) = keys_in_iam(sandbox, "ann")
    sandbox.client("iam").update_access_key(UserName="ann", AccessKeyId=key_id, Status="Inactive")
    stack.run(*REFRESH)
    assert sent.read_text() == before
    stack.up()
    assert "retired" in sent.read_text().removeprefix(before)
    assert stack.preview("--expect-no-changes").changes == {}


@pytest.mark.long
@pytest.mark.parametrize("has_failed", [False, True])
def test_a_key_that_is_kept_back_is_no_change(
    has_failed: bool, new_stack: NewStack, sandbox: Sandbox, tmp_path: Path
) -> None:
    stack, got = new_stack(), tmp_path / "got"
    stack.write(file(None))
    stack.up()
    if has_failed:
        stack.write(file({"command": to(got, fails=True)}))
        assert stack.up(check=False).code != 0
    (key_id,) = keys_in_iam(sandbox, "ann")
    sandbox.client("iam").update_access_key(UserName="ann", AccessKeyId=key_id, Status="Inactive")
    stack.refresh()
    stack.write(file({"command": to(got)}))
    stack.up()
    assert not got.exists()
    assert stack.preview("--expect-no-changes").changes == {}


@pytest.mark.long
def test_a_command_that_no_update_has_run_gets_no_key_in_a_destroy(
    new_stack: NewStack, sandbox: Sandbox, tmp_path: Path
) -> None:
    stack, got = new_stack(), tmp_path / "got"
    stack.write(file({"secretsManager": {}}, **GUARD))
    stack.up()
    stack.write(file({"secretsManager": {}, "command": to(got)}, **GUARD))
    assert stack.destroy("--run-program", check=False).code != 0, "the guard keeps the key"
    assert not got.exists()
    stack.up()
    assert got.read_text().split() == list(keys_in_iam(sandbox, "ann"))

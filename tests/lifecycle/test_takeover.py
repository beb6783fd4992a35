"""`access-keys takeover`: an account that people made becomes a stack, and nothing in it changes."""

import json
import os
import signal
import subprocess
import time
from pathlib import Path
from shutil import which
from typing import Any

import pytest
import yaml

from tests.lifecycle.helpers import NewStack, keys_in_iam, let_go, works
from tests.lifecycle.stack import CHECKOUT, Sandbox, Stack
from tests.lifecycle.test_own_programs import PROGRAM as OWN_PROGRAM

AWS = "arn:aws:iam::aws:policy"
READS = ("Get", "List", "Describe", "Head", "Simulate", "GenerateCredentialReport")
USERS = [f"worker{number}" for number in range(5)]


def document(action: str, **more: Any) -> dict[str, Any]:
    statement = {"Effect": "Allow", "Action": action, "Resource": "*", **more}
    return {"Version": "2012-10-17", "Statement": [statement]}


def takeover(stack: Stack, *arguments: str, check: bool = True) -> "subprocess.CompletedProcess[str]":
    """`access-keys takeover ARGUMENTS`, as a person in the sandbox runs it."""
    done = subprocess.run(
        ["access-keys", "takeover", *arguments, "--stack", stack.name],
        cwd=stack.folder,
        env={**stack.sandbox.environment, **stack.environment},
        capture_output=True,
        text=True,
    )
    assert "Traceback" not in done.stderr, done.stderr
    assert not check or done.returncode == 0, done.stdout + done.stderr
    return done


def as_data(stack: Stack, *arguments: str) -> dict[str, Any]:
    return json.loads(takeover(stack, *arguments, "--output", "json").stdout)


def writes(sandbox: Sandbox) -> list[str]:
    """The calls since the last look that change something in AWS."""
    found = [call.action for call in sandbox.control.calls() if not call.action.startswith(READS)]
    sandbox.control.clear_calls()
    return found


@pytest.fixture
def grown(sandbox: Sandbox) -> dict[str, list[tuple[str, str]]]:
    """3 groups and 12 users, as people make them: user → its keys, the oldest first."""
    iam = sandbox.client("iam")
    own = iam.create_policy(PolicyName="own", Path="/team/", PolicyDocument=json.dumps(document("sqs:SendMessage")))
    arn = own["Policy"]["Arn"]
    for group in ("readers", "writers"):
        iam.create_group(GroupName=group)
    iam.create_group(GroupName="apps", Path="/apps/")
    iam.attach_group_policy(GroupName="readers", PolicyArn=f"{AWS}/AmazonS3ReadOnlyAccess")
    iam.attach_group_policy(GroupName="readers", PolicyArn=arn)
    limited = document("s3:PutObject", Condition={"Bool": {"aws:SecureTransport": "true"}})
    iam.put_group_policy(GroupName="writers", PolicyName="write", PolicyDocument=json.dumps(limited, indent=2))
    iam.attach_group_policy(GroupName="apps", PolicyArn=f"{AWS}/job-function/ViewOnlyAccess")
    for user in (*USERS, "two", "off", "leaked", "keyless", "bounded", "alone"):
        iam.create_user(UserName=user)
    iam.create_user(
        UserName="app", Path="/apps/", Tags=[{"Key": "team", "Value": "data"}, {"Key": "no", "Value": "042"}]
    )
    for user in (*USERS, "two", "keyless"):
        iam.add_user_to_group(GroupName="readers", UserName=user)
    iam.add_user_to_group(GroupName="writers", UserName="two")
    iam.add_user_to_group(GroupName="apps", UserName="app")
    iam.attach_user_policy(UserName="leaked", PolicyArn=f"{AWS}/AWSCompromisedKeyQuarantineV3")
    iam.attach_user_policy(UserName="leaked", PolicyArn=f"{AWS}/AmazonS3ReadOnlyAccess")
    iam.attach_user_policy(UserName="app", PolicyArn=arn)
    iam.put_user_policy(UserName="off", PolicyName="mine", PolicyDocument=json.dumps(document("s3:ListBucket")))
    iam.attach_user_policy(UserName="bounded", PolicyArn=f"{AWS}/AmazonS3FullAccess")
    iam.put_user_permissions_boundary(UserName="bounded", PermissionsBoundary=f"{AWS}/AmazonS3ReadOnlyAccess")
    iam.create_login_profile(UserName="worker0", Password="Correct-horse-7-battery")
    keys: dict[str, list[tuple[str, str]]] = {}
    for user in (*USERS, "two", "off", "leaked", "bounded", "alone", "app", "two"):
        key = iam.create_access_key(UserName=user)["AccessKey"]
        sandbox.issued.add(key["SecretAccessKey"])
        keys.setdefault(user, []).append((key["AccessKeyId"], key["SecretAccessKey"]))
    iam.update_access_key(UserName="off", AccessKeyId=keys["off"][0][0], Status="Inactive")
    sandbox.control.clear_calls()
    return keys


def in_iam(sandbox: Sandbox) -> Any:
    """All that IAM has of groups, users and keys."""
    iam = sandbox.client("iam")
    details = iam.get_account_authorization_details(Filter=["User", "Group", "LocalManagedPolicy"])
    keys = {
        user["UserName"]: iam.list_access_keys(UserName=user["UserName"])["AccessKeyMetadata"]
        for user in details["UserDetailList"]
    }
    return [details["UserDetailList"], details["GroupDetailList"], details["Policies"], keys]


def config(stack: Stack) -> dict[str, Any]:
    """What the stack file has under our names."""
    found: dict[str, Any] = yaml.safe_load(stack.file.read_text())["config"]
    return {key.removeprefix("aws-access-keys:"): value for key, value in found.items()}


@pytest.mark.long
def test_a_grown_account_becomes_a_stack_and_nothing_in_it_changes(
    new_stack: NewStack, sandbox: Sandbox, grown: dict[str, list[tuple[str, str]]]
) -> None:
    stack = new_stack()
    stack.file.write_text(f"# ours\n{stack.file.read_text()}")
    before, file = in_iam(sandbox), stack.file.read_text()
    sandbox.control.clear_calls()
    shown = as_data(stack, "--account", "--all")
    assert stack.file.read_text() == file, "without --yes, the stack file is not written"
    assert stack.resources() == {}, "without --yes, nothing is imported"
    done = as_data(stack, "--account", "--all", "--yes")
    assert shown["diff"] == done["diff"], "what is shown is what is done"
    assert set(file.splitlines()) <= set(stack.file.read_text().splitlines()), "every line of the file stays"
    assert [one["what"].partition(":")[0] for one in done["leftAlone"]] == [
        "the policy AWSCompromisedKeyQuarantineV3",
        "a console password",
    ]
    assert done["nextChanges"] == []
    assert stack.outputs()["accessKeyIds"].keys() == grown.keys(), "the stack counts the keys as its own at once"
    assert stack.preview().changes == {}, "the first preview is empty"
    assert stack.up().changes == {}
    assert stack.up().changes == {}
    assert writes(sandbox) == []
    assert in_iam(sandbox) == before
    outputs = stack.outputs()
    assert outputs["accessKeyIds"] == {user: keys[-1][0] for user, keys in grown.items()}
    assert outputs["secretAccessKeys"] == {}, "AWS does not show the secret of a key that exists"
    two = outputs["keys"]["two"]
    assert [two["current"]["id"], two["previous"]["id"]] == [grown["two"][1][0], grown["two"][0][0]]
    assert outputs["keys"]["off"]["current"]["status"] == "Inactive"
    again = takeover(stack, "--account", "--all", "--yes").stdout
    assert "The state has all of this already. Nothing was changed in AWS." in again

    settings = config(stack)  # from here on, everything is as for entities of one's own
    users = settings["users"]
    users["worker0"]["key"], users["two"]["key"] = {"serial": 2}, {"serial": 3}
    del users["worker1"]
    stack.write(settings)
    sandbox.control.clear_calls()
    stack.up()
    assert sorted(writes(sandbox)) == ["CreateAccessKey"] * 2 + ["DeleteAccessKey"] * 3 + [
        "DeleteUser",
        "RemoveUserFromGroup",
    ], "the key that made room is deleted by the program, and then by the engine"
    assert keys_in_iam(sandbox, "worker0").keys() == {grown["worker0"][0][0], stack.key("worker0")[0]}
    assert keys_in_iam(sandbox, "two").keys() == {grown["two"][1][0], stack.key("two")[0]}
    assert works(sandbox, stack.key("two"))
    iam = sandbox.client("iam")
    iam.delete_login_profile(UserName="worker0")
    iam.detach_user_policy(UserName="leaked", PolicyArn=f"{AWS}/AWSCompromisedKeyQuarantineV3")
    stack.destroy()
    assert iam.list_users()["Users"] == []
    assert iam.list_groups()["Groups"] == []
    assert len(iam.list_policies(Scope="Local")["Policies"]) == 1, (
        "a policy that is attached by its ARN is not taken over"
    )


@pytest.mark.long
def test_what_is_chosen_joins_a_stack_that_has_users(
    new_stack: NewStack, sandbox: Sandbox, grown: dict[str, list[tuple[str, str]]]
) -> None:
    stack, iam = new_stack(), sandbox.client("iam")
    for serial in (1, 2):
        ann = {"groups": ["mine"], "key": {"serial": serial, "retireGuard": {"idleDays": 3}}}
        own = {"groups": {"mine": {"policies": ["IAMReadOnlyAccess"]}}, "users": {"ann": ann}}
        stack.write({**own, "deliver": {"ssm": {}}, "aws:defaultTags": {"tags": {"team": "data"}}})
        stack.up()
    own_key = stack.key("ann")
    sandbox.control.clear_calls()
    done = as_data(stack, "--account", "--user", "two", "--path", "/apps/", "--yes")
    assert [one["name"] for one in done["takenOver"]] == ["apps", "readers", "writers", "app", "two"]
    assert done["nextChanges"] == ["update aws:iam/user:User::access/two"], "the stack's tag is new for that user"
    assert writes(sandbox) == []
    users = config(stack)["users"]
    assert users["two"]["deliver"] is None, "without a secret, there is nothing to deliver"
    assert "team" not in users["app"].get("tags", {}), "the provider's default tags are not repeated"
    assert stack.up().changes == {"update": 1}
    assert writes(sandbox) == ["TagUser"]
    assert stack.key("ann") == own_key
    assert stack.outputs()["accessKeyIds"]["two"] == grown["two"][1][0]
    assert {user["UserName"] for user in iam.get_group(GroupName="readers")["Users"]} == {*USERS, "two", "keyless"}


@pytest.mark.long
def test_a_user_of_another_stack_is_refused(new_stack: NewStack, sandbox: Sandbox) -> None:
    other, stack = new_stack(), new_stack()
    other.write({"groups": {"mine": {"policies": ["IAMReadOnlyAccess"]}}, "users": {"ann": {"groups": ["mine"]}}})
    other.up()
    refused = takeover(stack, "--account", "--user", "ann", check=False)
    assert refused.returncode == 1
    assert f"The user ann belongs to stack '{other.name}' already. Nothing was changed." in refused.stderr
    nothing = takeover(stack, "--account", "--all", check=False)
    assert nothing.returncode == 1
    assert "There is nothing to take over." in nothing.stderr
    assert f"user ann: it belongs to stack '{other.name}'" in nothing.stderr


@pytest.mark.long
def test_what_the_stack_has_without_a_component_is_taken_over_once_the_state_has_let_it_go(
    new_stack: NewStack, sandbox: Sandbox
) -> None:
    stack = new_stack(program=OWN_PROGRAM)
    stack.write({"own:components": {}, "own:plain": "ann"})
    stack.up()
    (key,) = keys_in_iam(sandbox, "ann")
    project = stack.folder / "Pulumi.yaml"
    project.write_text(project.read_text().replace(str(OWN_PROGRAM), str(CHECKOUT)))
    refused = takeover(stack, "--account", "--all", "--yes", check=False)
    assert refused.returncode == 1
    for what in (f"access key {key}", "user ann", "group readers"):
        assert f"The {what} is in the state of this stack already, as 'urn:pulumi:" in refused.stderr
    let_go(stack, refused.stderr)
    takeover(stack, "--account", "--all", "--yes")
    assert stack.up().changes == {}
    assert keys_in_iam(sandbox, "ann").keys() == {key}


@pytest.mark.long
def test_mistakes_are_refused(new_stack: NewStack, sandbox: Sandbox, grown: dict[str, Any]) -> None:
    stack = new_stack()
    for arguments, code, text in (
        (["--account"], 2, "choose what to take over"),
        (["--all"], 2, "choose --account or --tfstate FILE"),
        (["--account", "--tag", "team"], 2, "--tag must be NAME=VALUE"),
        (["--account", "--user", "worker9"], 1, "IAM has no user 'worker9'. Did you mean 'worker"),
        (["--account", "--group", "reader"], 1, "IAM has no group 'reader'. Did you mean 'readers'?"),
        (["--account", "--path", "/none/"], 1, "There is nothing to take over."),
    ):
        refused = takeover(stack, *arguments, check=False)
        assert (refused.returncode, text in refused.stderr) == (code, True), refused.stderr
    stack.file.write_text(stack.file.read_text() + "other: [unclosed\n")
    assert "is not valid YAML" in takeover(stack, "--account", "--all", check=False).stderr


@pytest.mark.long
@pytest.mark.parametrize(
    ("action", "number"),
    [
        ("GetGroup", signal.SIGKILL),
        ("GetAccountAuthorizationDetails", signal.SIGKILL),
        ("ListAccessKeys", signal.SIGKILL),
        ("GetGroup", signal.SIGINT),
        ("GetGroup", signal.SIGTERM),
        ("GetAccessKeyLastUsed", signal.SIGKILL),
    ],
)
def test_wherever_it_is_killed_the_same_command_completes_it(
    new_stack: NewStack, sandbox: Sandbox, grown: dict[str, Any], action: str, number: int
) -> None:
    stack, before = new_stack(), in_iam(sandbox)
    arguments = ["--account", "--user", "two", "--user", "off", "--yes"]
    sandbox.control.clear_calls()
    sandbox.control.hold(action)
    process = subprocess.Popen(
        ["access-keys", "takeover", *arguments, "--stack", stack.name],
        cwd=stack.folder,
        env={**stack.sandbox.environment, **stack.environment},
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 60
    while not sandbox.control.held():
        assert time.monotonic() < deadline, "the command gets there"
        time.sleep(0.1)
    os.killpg(process.pid, number)
    sandbox.control.clear_faults()
    process.wait(60)
    stack.run("cancel", "--yes", check=False)
    if "aws-access-keys:users" in stack.file.read_text() and not stack.resources():
        refused = stack.up(check=False)
        assert refused.code != 0
        assert "the account already has a user 'two'" in refused.text, "an update creates nothing that exists"
    assert as_data(stack, *arguments)["nextChanges"] == []
    assert stack.up().changes == {}
    assert writes(sandbox) == []
    assert in_iam(sandbox) == before


def test_outputs_that_an_interrupted_takeover_did_not_write_are_written_by_the_same_command(
    new_stack: NewStack, grown: dict[str, Any]
) -> None:
    stack = new_stack()
    stack.write({"notify": {"command": ["true"]}})  # what was sent is an output, too
    takeover(stack, "--account", "--user", "two", "--yes")
    outputs = stack.outputs()
    stack.save_state()
    saved = stack.folder / "backup.json"
    state = json.loads(saved.read_text())
    (root,) = [one for one in state["deployment"]["resources"] if one["type"] == "pulumi:pulumi:Stack"]
    root["outputs"] = {}
    saved.write_text(json.dumps(state))
    stack.restore_state()
    assert stack.outputs() == {}, "the import is there, and nothing after it"
    again = takeover(stack, "--account", "--user", "two", "--yes").stdout
    assert "The stack's outputs are written, and the next update changes nothing." in again
    assert stack.outputs() == outputs
    assert grown["two"][1][0] == outputs["accessKeyIds"]["two"]


@pytest.mark.parametrize(
    ("at", "words"),
    [("import", "was changed meanwhile. It was not written"), ("up", "The next update failed: ")],
)
def test_what_somebody_writes_into_the_stack_file_meanwhile_is_neither_undone_nor_applied(
    new_stack: NewStack, sandbox: Sandbox, grown: dict[str, Any], tmp_path: Path, at: str, words: str
) -> None:
    stack = new_stack()
    takeover(stack, "--account", "--user", "two", "--yes")
    before, path = in_iam(sandbox), stack.environment.get("PATH", sandbox.environment["PATH"])
    edit = f"sed -i 's/serial: 2/serial: 3/' {stack.file}"
    moment = '" $* " == *" --import-file "*' if at == "import" else '"$1" == up'
    wrapper = tmp_path / "pulumi"
    real = which("pulumi", path=path)
    wrapper.write_text(f'#!/bin/bash\nif [[ {moment} ]]; then {edit}; fi\nexec {real} "$@"\n')
    wrapper.chmod(0o755)
    stack.environment["PATH"] = f"{tmp_path}:{path}"
    done = takeover(stack, "--account", "--user", "off", "--yes", check=False)
    assert words in done.stdout + done.stderr
    assert config(stack)["users"]["two"]["key"]["serial"] == 3
    assert in_iam(sandbox) == before, "no key was issued or deleted"


@pytest.mark.long
def test_an_import_that_fails_is_completed_by_the_same_command(
    new_stack: NewStack, sandbox: Sandbox, grown: dict[str, list[tuple[str, str]]]
) -> None:
    stack, before = new_stack(), in_iam(sandbox)
    sandbox.control.clear_calls()
    sandbox.control.fail("GetAccessKeyLastUsed", "AccessDenied", call=2, times=20)
    failed = takeover(stack, "--account", "--user", "two", "--yes", check=False)
    assert failed.returncode == 1
    assert "The import failed: " in failed.stderr
    assert "run the same command again before any `pulumi up`" in failed.stderr
    sandbox.control.clear_faults()
    assert "arn:aws:iam::123456789012:user/two" in json.dumps(stack.resources()), "what was imported stays"
    refused = stack.up(check=False)
    assert writes(sandbox) == [], "an update in between issues no key"
    assert refused.code != 0 or refused.changes == {}
    done = as_data(stack, "--account", "--user", "two", "--yes")
    assert done["nextChanges"] == []
    assert stack.up().changes == {}
    assert writes(sandbox) == []
    assert in_iam(sandbox) == before
    two = stack.outputs()["keys"]["two"]
    assert [two["current"]["id"], two["previous"]["id"]] == [grown["two"][1][0], grown["two"][0][0]]


@pytest.mark.long
def test_two_hundred_users_take_two_minutes(new_stack: NewStack, sandbox: Sandbox) -> None:
    stack, iam = new_stack(), sandbox.client("iam")
    iam.create_group(GroupName="all")
    iam.attach_group_policy(GroupName="all", PolicyArn=f"{AWS}/AmazonS3ReadOnlyAccess")
    for number in range(200):
        iam.create_user(UserName=f"user{number}")
        iam.add_user_to_group(GroupName="all", UserName=f"user{number}")
        sandbox.issued.add(iam.create_access_key(UserName=f"user{number}")["AccessKey"]["SecretAccessKey"])
    began = time.monotonic()
    done = as_data(stack, "--account", "--all", "--yes")
    seconds = time.monotonic() - began
    print(f"200 users in {seconds:.0f} s")
    assert (done["resources"], done["nextChanges"]) == (604, [])
    assert seconds < 120

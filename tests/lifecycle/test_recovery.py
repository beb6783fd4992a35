"""What a run leaves that failed half-way: no key in use is lost by the next one."""

import itertools
import json
import os
import re
import shlex
import signal
import subprocess
import time
from typing import Any

import pysequoia
import pytest
from pulumi_sandbox.aws.settings import Faults

from tests.faults.matrix import stored_keys
from tests.lifecycle.helpers import (
    GROUPS,
    NewStack,
    config,
    in_days,
    keys_in_iam,
    let_go,
    put_into_store,
    set_adopted_secret,
    works,
)
from tests.lifecycle.stack import CHECKOUT, Sandbox, Stack


@pytest.mark.long
def test_a_user_whose_removal_failed_can_be_put_back_unharmed(new_stack: NewStack, sandbox: Sandbox) -> None:
    stack = new_stack()
    for serial in (1, 2):
        stack.write(config(serial=serial))
        stack.up()
    in_use = stack.key("test-user")
    stack.write({"groups": GROUPS, "users": {}, "allowNoUsers": True})
    sandbox.control.fail("iam:DeleteAccessKey", "AccessDenied", times=50)
    assert stack.up(check=False).code != 0
    sandbox.control.clear_faults()
    stack.write(config(serial=2))
    stack.up()
    assert works(sandbox, in_use), "the key in use is still the key in use"
    assert stack.key("test-user") == in_use
    assert len(keys_in_iam(sandbox)) == 2


@pytest.mark.long
def test_a_rotation_that_failed_leaves_the_current_key_and_converges(new_stack: NewStack, sandbox: Sandbox) -> None:
    stack = new_stack()
    for serial in (1, 2):
        stack.write(config(serial=serial))
        stack.up()
    in_use = stack.key("test-user")
    stack.write(config(serial=3))
    sandbox.control.fail("iam:CreateAccessKey", "ServiceFailure", times=50)
    assert stack.up(check=False).code != 0
    sandbox.control.clear_faults()
    assert works(sandbox, in_use)
    stack.up()
    assert works(sandbox, in_use)
    assert works(sandbox, stack.key("test-user"))
    assert stack.outputs()["keys"]["test-user"]["current"]["serial"] == 3


@pytest.mark.long
def test_a_previous_key_that_was_deleted_by_hand_is_not_made_again(new_stack: NewStack, sandbox: Sandbox) -> None:
    stack = new_stack()
    stack.write(config())
    stack.up()
    old = stack.key("test-user")[0]
    stack.write(config(serial=2))
    stack.up()
    sandbox.client("iam").delete_access_key(UserName="test-user", AccessKeyId=old)
    stack.refresh()
    assert "create" not in stack.up().changes, "nobody asked for another credential"
    assert list(keys_in_iam(sandbox)) == [stack.key("test-user")[0]]
    assert stack.preview("--expect-no-changes").changes == {}


@pytest.mark.long
def test_one_users_trouble_does_not_forget_what_another_was_issued(new_stack: NewStack, sandbox: Sandbox) -> None:
    stack = new_stack()

    def both(first: int, second: int) -> dict[str, object]:
        users = {name: {"groups": ["test"], "key": {"serial": n}} for name, n in (("one", first), ("two", second))}
        return {"groups": GROUPS, "users": users}

    stack.write(both(1, 1))
    stack.up()
    stack.write(both(2, 1))
    stack.up()
    issued = stack.key("one")
    stack.write(both(2, 2))
    sandbox.control.fail("iam:CreateAccessKey", "ServiceFailure", times=50)
    assert stack.up(check=False).code != 0
    sandbox.control.clear_faults()
    stack.write(both(3, 2))
    stack.up()
    assert works(sandbox, issued), "the key that was in use before the trouble works after it"
    assert works(sandbox, stack.key("one"))
    assert works(sandbox, stack.key("two"))


@pytest.mark.long
def test_a_key_whose_deletion_failed_is_not_forgotten(new_stack: NewStack, sandbox: Sandbox) -> None:
    stack = new_stack()
    stack.write(config())
    stack.up()
    old = stack.key("test-user")
    stack.write(config(serial=2, previous="deleted"))
    sandbox.control.fail("iam:DeleteAccessKey", "AccessDenied", times=50)
    assert stack.up(check=False).code != 0
    sandbox.control.clear_faults()
    stack.write(config(serial=2, previous="active"))
    stack.up()
    assert works(sandbox, old), "who changes their mind in time keeps the key"
    assert stack.outputs()["keys"]["test-user"]["previous"]["id"] == old[0]
    stack.write(config(serial=2, previous="deleted"))
    stack.up()
    assert not works(sandbox, old)
    assert stack.preview("--expect-no-changes").changes == {}


@pytest.mark.long
def test_a_key_that_the_stack_does_not_know_is_named_before_a_rotation_harms_anyone(
    new_stack: NewStack, sandbox: Sandbox
) -> None:
    stack = new_stack()
    users: dict[str, Any] = {name: {"groups": ["test"], "key": {"serial": 1}} for name in ("ann", "bob")}
    stack.write({"groups": GROUPS, "users": users})
    stack.up()
    anns = stack.key("ann")
    users["ann"]["key"] = {"serial": 2}
    stack.write({"groups": GROUPS, "users": users})
    stack.up()
    before = stack.key("ann")
    users["ann"]["key"] = {"serial": 3}
    stack.write({"groups": GROUPS, "users": users})
    # Carried out, but the answer is lost, and so is the secret; the key that was in the slot is gone already.
    sandbox.control.drop_response("iam:CreateAccessKey")
    assert stack.up(check=False).code != 0
    sandbox.control.clear_faults()
    (unmanaged,) = keys_in_iam(sandbox, "ann").keys() - {before[0]}
    users["bob"]["key"] = {"serial": 2}
    stack.write({"groups": GROUPS, "users": users})
    done = stack.up(check=False)
    assert done.code != 0
    assert "LimitExceeded" not in done.text, "a third key is not attempted"
    assert f"ann has one that this stack does not manage, {unmanaged} (active, created on " in done.text
    assert "never used" in done.text
    assert f"aws iam delete-access-key --user-name ann --access-key-id {unmanaged}" in done.text
    assert works(sandbox, before)
    assert not works(sandbox, anns)
    assert stack.outputs()["keys"]["bob"]["current"]["serial"] == 2, "bob is not concerned"
    sandbox.client("iam").delete_access_key(UserName="ann", AccessKeyId=unmanaged)
    stack.up()
    assert stack.outputs()["keys"]["ann"]["current"]["serial"] == 3


DELIVERED = {"deliver": {"ssm": {}}}


def stored(sandbox: Sandbox, user: str) -> tuple[str, str]:
    """What a consumer finds in the store."""
    answer = sandbox.client("ssm").get_parameter(Name=f"/access-keys/{user}", WithDecryption=True)
    key = json.loads(answer["Parameter"]["Value"])
    return key["aws_access_key_id"], key["aws_secret_access_key"]


@pytest.mark.long
def test_a_key_that_iam_does_not_list_yet_stays_whatever_is_asked(new_stack: NewStack, sandbox: Sandbox) -> None:
    stack = new_stack()
    guard: dict[str, Any] = {"retireGuard": {"idleDays": 30}}
    stack.write({**config(**guard), **DELIVERED})
    stack.up()
    stack.write({**config(serial=2, **guard), **DELIVERED})
    sandbox.control.change_faults(stale=120)
    stack.up()
    assert works(sandbox, in_use := stored(sandbox, "test-user"))
    keyless = {"groups": GROUPS, "users": {"test-user": {"groups": ["test"], "key": None}}}
    for asked in (
        config(serial=3, **guard),
        {**keyless, "keyDefaults": guard},
        {"groups": GROUPS, "allowNoUsers": True},
    ):
        stack.write({**asked, **DELIVERED})
        assert stack.up(check=False).code != 0
        assert works(sandbox, in_use)
        assert stored(sandbox, "test-user") == in_use
    stack.write({**config(serial=2, **guard), "deliver": {"secretsManager": {"name": "moved"}}})
    stack.up()
    assert stored_keys(sandbox) == {"moved": in_use}, "it works, so another store gets it"


@pytest.mark.long
def test_the_key_before_works_until_the_new_one_is_delivered(new_stack: NewStack, sandbox: Sandbox) -> None:
    stack = new_stack()
    stack.write({**config(), **DELIVERED})
    stack.up()
    stack.write({**config(serial=2, previous="inactive"), **DELIVERED})
    sandbox.control.fail("ssm:PutParameter", "AccessDeniedException", times=50)
    assert stack.up(check=False).code != 0
    sandbox.control.clear_faults()
    assert works(sandbox, stored(sandbox, "test-user")), "who reads the store has a key that works"
    stack.up()
    assert works(sandbox, stored(sandbox, "test-user"))
    assert sorted(keys_in_iam(sandbox).values()) == ["Active", "Inactive"], "only then the key before goes"


@pytest.mark.long
def test_a_key_that_was_delivered_by_a_run_that_failed_afterwards_counts_as_handed_over(
    new_stack: NewStack, sandbox: Sandbox
) -> None:
    stack = new_stack()
    stack.write({**config(), **DELIVERED})
    stack.up()
    stack.write({**config(serial=2, previous="inactive"), **DELIVERED})
    sandbox.control.fail("iam:UpdateAccessKey", "AccessDenied", times=50)
    assert stack.up(check=False).code != 0
    sandbox.control.clear_faults()
    delivered = stored(sandbox, "test-user")
    assert works(sandbox, delivered)
    stack.write({**config(serial=3), **DELIVERED})
    stack.up()
    assert works(sandbox, delivered), "now there is another, and this one is the key before"
    assert stored(sandbox, "test-user") == stack.key("test-user")
    assert stack.outputs()["keys"]["test-user"]["current"]["serial"] == 3


@pytest.mark.long
def test_a_key_is_not_deactivated_while_another_users_error_keeps_the_new_one_from_the_outputs(
    new_stack: NewStack, sandbox: Sandbox
) -> None:
    stack = new_stack()

    def both(serial: int) -> dict[str, object]:
        key = {"serial": serial, "previous": "inactive"}
        users = {"ann": {"groups": ["test"], "key": key}, "bob": {"groups": ["test"], "key": key, **DELIVERED}}
        return {"groups": GROUPS, "users": users}

    stack.write(both(1))
    stack.up()
    anns = stack.key("ann")
    stack.write(both(2))
    sandbox.control.fail("ssm:PutParameter", "AccessDeniedException", times=50)
    for _ in range(2):
        assert stack.up(check=False).code != 0
        assert stack.key("ann") == anns, "the outputs have the key that ann had"
        assert works(sandbox, anns)
    sandbox.control.clear_faults()
    stack.up()
    assert works(sandbox, stack.key("ann"))
    assert not works(sandbox, anns)
    assert stack.preview("--expect-no-changes").changes == {}


@pytest.mark.long
def test_one_users_lasting_error_does_not_hold_up_anothers_delivered_keys(
    new_stack: NewStack, sandbox: Sandbox
) -> None:
    stack = new_stack()

    def both(ann: int, bob: int) -> dict[str, object]:
        deliver = {"ann": {"secretsManager": {}}, "bob": {"ssm": {}}}
        serials = {"ann": ann, "bob": bob}
        users = {n: {"groups": ["test"], "key": {"serial": serials[n]}, "deliver": deliver[n]} for n in serials}
        return {"groups": GROUPS, "users": users}

    stack.write(both(1, 1))
    stack.up()
    # The last call for ann, so that the update is not cut off before bob's key is delivered.
    sandbox.control.fail("secretsmanager:PutSecretValue", "AccessDeniedException", times=50)
    seen = [stored(sandbox, "bob")]
    for serial in (2, 3):
        stack.write(both(2, serial))
        done = stack.up(check=False)
        assert done.code != 0
        assert "was issued by a run that failed" not in done.text
        assert works(sandbox, stored(sandbox, "bob"))
        seen.append(stored(sandbox, "bob"))
    assert len(set(seen)) > 1, "bob gets new keys, though every run fails"
    sandbox.control.clear_faults()
    stack.up()
    assert stored(sandbox, "bob") == stack.key("bob")
    assert stack.outputs()["keys"]["bob"]["current"]["serial"] == 3
    assert works(sandbox, stored(sandbox, "bob"))


@pytest.mark.long
def test_a_first_run_that_failed_does_not_forget_whom_it_gave_a_key(new_stack: NewStack, sandbox: Sandbox) -> None:
    stack = new_stack()
    users: dict[str, Any] = {"ann": {"groups": ["test"]}, "bob": {"groups": ["test"], "key": {"verify": False}}}
    stack.write({"groups": GROUPS, "users": users, **DELIVERED})
    # Ann's key fails the run when bob's is delivered: AWS is slow to accept it, for three seconds.
    sandbox.control.fail("sts:GetCallerIdentity", "InvalidClientTokenId", times=4)
    sandbox.control.fail("sts:GetCallerIdentity", "AccessDenied", call=5, times=50)
    assert stack.up(check=False).code != 0
    sandbox.control.clear_faults()
    bobs = stored(sandbox, "bob")
    users["bob"]["key"]["serial"] = 2
    stack.write({"groups": GROUPS, "users": users, **DELIVERED})
    stack.up(check=False)
    assert works(sandbox, bobs), "it may be in use"
    stack.up()
    assert works(sandbox, bobs)
    assert works(sandbox, stored(sandbox, "bob"))
    assert stack.outputs()["keys"]["bob"]["current"]["serial"] == 2


@pytest.mark.long
@pytest.mark.parametrize(
    "settings", [{}, {"verify": False}, {"status": "inactive"}, {"pgpKey": "CERTIFICATE"}], ids=str
)
def test_a_first_key_whose_response_got_lost_is_named_at_once(
    new_stack: NewStack, sandbox: Sandbox, settings: "dict[str, Any]"
) -> None:
    stack = new_stack()
    if "pgpKey" in settings:
        settings = {"pgpKey": str(pysequoia.Tsk.generate("ann <ann@example.org>").extract_certificate())}
    stack.write(config(**settings))
    sandbox.control.drop_response("iam:CreateAccessKey")
    lost = stack.up(check=False)
    again = stack.up()
    current = stack.outputs()["accessKeyIds"]["test-user"]
    (unmanaged,) = keys_in_iam(sandbox).keys() - {current}
    assert f"aws iam delete-access-key --user-name test-user --access-key-id {unmanaged}" in lost.text + again.text
    assert keys_in_iam(sandbox)[current] == ("Inactive" if "status" in settings else "Active")
    assert stack.preview("--expect-no-changes").changes == {}


@pytest.mark.long
@pytest.mark.parametrize("is_taken", [False, True])
def test_a_user_who_was_renamed_by_hand_is_not_reported_as_deleted(
    new_stack: NewStack, sandbox: Sandbox, is_taken: bool
) -> None:
    stack, iam = new_stack(), sandbox.client("iam")
    guarded = config(retireGuard={"idleDays": 7})
    stack.write(guarded)
    stack.up()
    key = stack.key("test-user")
    assert works(sandbox, key)
    iam.update_user(UserName="test-user", NewUserName="robot")
    if is_taken:
        iam.create_user(UserName="test-user")
    keyless = config()
    keyless["users"]["test-user"]["key"] = None
    removed = {"groups": GROUPS, "users": {"robot": {"groups": ["test"], "adopt": True}}}
    expired = config(expires=in_days(0), previous="deleted")
    for changed in (guarded, keyless, removed, config(serial=2), config(status="inactive"), expired):
        stack.write(changed)
        done = stack.destroy("--run-program", check=False) if changed is guarded else stack.up(check=False)
        assert done.code != 0
        assert f"the access key {key[0]}, which this stack issued for 'test-user', now belongs to the IAM" in done.text
        assert "the name (aws iam update-user --user-name robot --new-user-name test-user)" in done.text
        assert ("Rename the user who has the name 'test-user' now" in done.text) is is_taken
        assert not re.search(r"is (deleted|deactivated)|pulumi refresh", done.text)
    stack.write({**config(), "deliver": {"ssm": {}}})
    assert "is not delivered to the parameter '/access-keys/test-user' in SSM: the access" in stack.up().text
    if is_taken:
        stack.refresh()
        done = stack.up(check=False)
        assert done.code != 0, "after a refresh, no other key is issued either"
        assert "now belongs to the IAM user 'robot': somebody renamed the user. Rename the user" in done.text
        return
    iam.update_user(UserName="robot", NewUserName="test-user")
    stack.write({"groups": GROUPS, "users": {}, "allowNoUsers": True})
    assert f"{key[0]} of test-user" in stack.up().text
    assert not works(sandbox, key), "with its name restored, the user goes, and the key with it"


ROLE = "arn:aws:iam::111111111111:role/OrganizationAccountAccessRole"


@pytest.fixture
def operator(sandbox: Sandbox) -> dict[str, str]:
    """The keys of a user who may assume roles, as in a stack file."""
    iam = sandbox.client("iam")
    iam.create_user(UserName="operator")
    assume = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "sts:*", "Resource": "*"}]}
    iam.put_user_policy(UserName="operator", PolicyName="assume", PolicyDocument=json.dumps(assume))
    made = iam.create_access_key(UserName="operator")["AccessKey"]
    sandbox.issued.add(made["SecretAccessKey"])
    return {"aws:accessKey": made["AccessKeyId"], "aws:secretKey": made["SecretAccessKey"]}


@pytest.mark.long
def test_credentials_of_another_account_change_nothing(
    new_stack: NewStack, sandbox: Sandbox, operator: dict[str, str]
) -> None:
    stack = new_stack()
    for serial in (1, 2):
        stack.write({**config(serial=serial), "deliver": {"ssm": {}}})
        stack.up()
    key = stack.key("test-user")
    other = {**operator, "aws:assumeRoles": [{"roleArn": ROLE}]}
    before = {urn: resource.get("id") for urn, resource in stack.resources().items()}
    tagged = config(serial=2)
    tagged["users"]["test-user"]["tags"] = {"team": "data"}
    nobody = {"groups": GROUPS, "users": {}, "allowNoUsers": True}
    for changed in (tagged, nobody, config(serial=2, previous="inactive")):
        stack.write({**changed, "deliver": {"ssm": {}}, **other})
        for done in (stack.preview(check=False), stack.up(check=False), stack.destroy("--run-program", check=False)):
            assert done.code != 0
            assert "in the AWS account 123456789012, but the credentials are for 111111111111." in done.text
            assert "is deleted" not in done.text
    after = {urn: resource.get("id") for urn, resource in stack.resources().items()}
    assert after == before, "the state keeps every resource"
    assert works(sandbox, key)


@pytest.mark.long
def test_a_first_key_is_not_delivered_into_another_account_than_its_users(
    new_stack: NewStack, sandbox: Sandbox, operator: dict[str, str]
) -> None:
    stack = new_stack(program=CHECKOUT / "tests/lifecycle/programs/components")
    user = {"groups": ["test"], "key": {"keep_secret": False}, "deliver": {"ssm": {}}}
    components = {"access": {"groups": GROUPS, "users": {"ann": user}}}
    stack.write({"own:components": json.dumps(components), "own:role": ROLE, **operator})
    done = stack.up(check=False)
    assert done.code != 0, "the provider's account is not that of the session"
    assert "users of this stack are in the AWS account 111111111111, but the credentials are for 1234" in done.text
    assert "give it a session for that account" in done.text
    assert sandbox.client("ssm").describe_parameters()["Parameters"] == []


@pytest.mark.long
def test_a_user_who_was_deleted_by_hand_holds_nobody_up(new_stack: NewStack, sandbox: Sandbox) -> None:
    stack = new_stack()

    def both(serial: int) -> dict[str, object]:
        return {"groups": GROUPS, "users": {n: {"groups": ["test"], "key": {"serial": serial}} for n in ("ann", "bob")}}

    stack.write(both(1))
    stack.up()
    iam = sandbox.client("iam")
    iam.remove_user_from_group(GroupName="test", UserName="ann")
    iam.delete_access_key(UserName="ann", AccessKeyId=stack.key("ann")[0])
    iam.delete_user(UserName="ann")
    stack.write(both(2))
    done = stack.up(check=False)
    assert "IAM has no user ann" in done.text
    assert stack.outputs()["keys"]["bob"]["current"]["serial"] == 2
    stack.refresh()
    stack.up()
    assert works(sandbox, stack.key("ann"))


@pytest.mark.long
def test_a_store_name_goes_from_a_user_who_leaves_to_another(new_stack: NewStack, sandbox: Sandbox) -> None:
    stack = new_stack()
    for store in ("ssm", "secretsManager"):
        name = {"deliver": {store: {"name": "/x/one"}}}
        stack.write({"groups": GROUPS, "users": {"ann": {"groups": ["test"], **name}, "bob": {"groups": ["test"]}}})
        stack.up()
        stack.write({"groups": GROUPS, "users": {"bob": {"groups": ["test"], **name}}})
        stack.up()
        assert stack.preview("--expect-no-changes").changes == {}
    answer = sandbox.client("secretsmanager").get_secret_value(SecretId="/x/one")
    assert json.loads(answer["SecretString"])["aws_access_key_id"] == stack.key("bob")[0]


@pytest.mark.long
def test_a_name_that_changes_only_in_case_is_refused_in_words(new_stack: NewStack, sandbox: Sandbox) -> None:
    stack = new_stack()
    stack.write(config("ann"))
    stack.up()
    in_use = stack.key("ann")
    stack.write(config("Ann"))
    done = stack.up(check=False)
    assert "users.Ann: to IAM this is the same name as 'ann'" in done.text
    assert works(sandbox, in_use)


@pytest.mark.long
def test_a_current_key_that_was_deleted_by_hand_comes_back_and_is_tried_until_it_works(
    new_stack: NewStack, sandbox: Sandbox
) -> None:
    stack = new_stack()
    stack.write(config())
    stack.up()
    sandbox.client("iam").delete_access_key(UserName="test-user", AccessKeyId=stack.key("test-user")[0])
    stack.refresh()
    sandbox.control.fail("sts:GetCallerIdentity", "AccessDenied", times=50)
    for _ in range(2):
        assert "AWS does not accept the new access key" in stack.up(check=False).text
    sandbox.control.clear_faults()
    stack.up()
    assert works(sandbox, stack.key("test-user"))
    assert stack.preview("--expect-no-changes").changes == {}


@pytest.mark.long
@pytest.mark.parametrize("fault", ["iam:CreateAccessKey", "iam:DeleteAccessKey"])
def test_a_replacement_that_failed_half_way_never_issues_a_key_that_nobody_asked_for(
    new_stack: NewStack, sandbox: Sandbox, fault: str
) -> None:
    stack = new_stack()
    for serial in (1, 2):
        stack.write(config(serial=serial))
        stack.up()
    in_use = stack.key("test-user")
    stack.write(config(serial=3))
    sandbox.control.fail(fault, "ServiceFailure", times=50)
    assert stack.up(check=False).code != 0
    sandbox.control.clear_faults()
    left = keys_in_iam(sandbox)
    stack.write(config(serial=2))
    assert "create" not in stack.up().changes, "serial was lowered again, so nobody asks for a key"
    assert keys_in_iam(sandbox) == left
    assert works(sandbox, in_use)
    assert stack.preview("--expect-no-changes").changes == {}
    stack.write(config(serial=3))
    stack.up()
    assert works(sandbox, in_use)
    assert works(sandbox, stack.key("test-user"))


def test_a_key_that_the_state_lost_is_named_and_can_be_taken_back(new_stack: NewStack, sandbox: Sandbox) -> None:
    stack = new_stack()
    for serial in (1, 2):
        stack.write(config(serial=serial))
        stack.up()
    key_id = stack.key("test-user")[0]
    (urn,) = (urn for urn in stack.resources() if urn.endswith("::access/test-user/2"))
    stack.run("state", "delete", urn, "--force", "--target-dependents", "--yes")
    refused = stack.up(check=False)
    assert refused.code != 0
    assert f"the state no longer has the access key {key_id} of test-user, but IAM does" in refused.text
    assert len(keys_in_iam(sandbox)) == 2, "nothing was issued or deleted"
    stack.write(config(serial=2, adopt={"id": key_id}))
    stack.up()
    assert stack.outputs()["accessKeyIds"]["test-user"] == key_id
    assert len(keys_in_iam(sandbox)) == 2
    stack.write(config(serial=3))
    refused = stack.up(check=False)
    (previous,) = keys_in_iam(sandbox).keys() - {key_id}
    assert f"--access-key-id {previous}" in refused.text, "the previous key went from the state with the current one"
    sandbox.client("iam").delete_access_key(UserName="test-user", AccessKeyId=previous)
    stack.up()
    assert key_id in keys_in_iam(sandbox), "the key that was taken back is the previous one now"


def restored_before_a_rotation(stack: Stack, sandbox: Sandbox) -> tuple[str, str]:
    """A stack whose state is older than the key in its store. Returns that key."""
    stack.write({**config(), **DELIVERED})
    stack.up()
    backup = stack.folder / "backup.json"
    stack.run("stack", "export", "--file", str(backup))
    stack.write({**config(serial=2, previous="inactive"), **DELIVERED})
    stack.up()
    in_use = stored(sandbox, "test-user")
    stack.run("stack", "import", "--file", str(backup))
    stack.refresh()
    return in_use


@pytest.mark.long
def test_a_restored_state_puts_no_older_key_into_a_store(new_stack: NewStack, sandbox: Sandbox) -> None:
    stack = new_stack()
    in_use = restored_before_a_rotation(stack, sandbox)
    stack.write({**config(), **DELIVERED})  # with the backup came the file of that day
    refused = stack.up(check=False)
    assert refused.code != 0
    assert f"the state does not have the access key {in_use[0]} of test-user, but IAM does" in refused.text
    assert stored(sandbox, "test-user") == in_use, "the store keeps the key that works"
    stack.write({**config(adopt={"id": in_use[0]}), **DELIVERED})
    set_adopted_secret(stack, in_use[1])
    stack.up()
    assert stack.key("test-user") == in_use
    assert stored(sandbox, "test-user") == in_use
    assert sorted(keys_in_iam(sandbox).values()) == ["Active", "Inactive"], "nothing was issued, deleted or revived"
    assert stack.preview("--expect-no-changes").changes == {}


@pytest.mark.long
def test_no_store_goes_with_a_key_that_a_restored_state_does_not_have(new_stack: NewStack, sandbox: Sandbox) -> None:
    stack = new_stack()
    in_use = restored_before_a_rotation(stack, sandbox)
    keyless = {"groups": GROUPS, "users": {"test-user": {"groups": ["test"], "key": None}}}
    stack.write({**keyless, **DELIVERED})
    refused = stack.up(check=False)
    assert f"the state does not have the access key {in_use[0]} of test-user, but IAM does" in refused.text
    assert stored(sandbox, "test-user") == in_use


@pytest.mark.long
@pytest.mark.parametrize(("name", "previous"), [("access-keys/test-user", "deleted"), ("renamed", "active")])
def test_a_restored_state_costs_no_secret_in_secrets_manager_either(
    new_stack: NewStack, sandbox: Sandbox, name: str, previous: str
) -> None:
    stack, deliver = new_stack(), {"deliver": {"secretsManager": {}}}
    stack.write({**config(), **deliver})
    stack.up()
    stack.save_state()
    stack.write({**config(serial=2, previous=previous), **deliver})
    stack.up()
    in_use = stored_keys(sandbox)["access-keys/test-user"]
    stack.restore_state()
    stack.refresh()
    fields = {"id": "username", "secret": "password"} if name != "renamed" else {}
    stack.write({**config(), "deliver": {"secretsManager": {"name": name, **({"fields": fields} if fields else {})}}})
    refused = stack.up(check=False)
    assert f"the state does not have the access key {in_use[0]} of test-user, but IAM does" in refused.text
    assert stored_keys(sandbox) == {"access-keys/test-user": in_use}
    adopted = config(adopt={"id": in_use[0]})
    stack.write({**adopted, **deliver})
    set_adopted_secret(stack, in_use[1])
    stack.up()
    assert stack.key("test-user") == in_use, "as the message advises"
    assert stored_keys(sandbox) == {"access-keys/test-user": in_use}


@pytest.mark.long
@pytest.mark.parametrize("keep", [True, False])
@pytest.mark.parametrize("store", ["ssm", "secretsManager"])
def test_a_key_that_is_taken_back_without_its_secret_does_not_take_the_store_along_that_has_it(
    new_stack: NewStack, sandbox: Sandbox, store: str, keep: bool
) -> None:
    stack, deliver, iam = new_stack(), {"deliver": {store: {}}}, sandbox.client("iam")
    stack.write({**config(keepSecret=keep), **deliver})
    stack.up()
    stack.save_state()
    stack.write({**config(serial=2, previous="deleted", keepSecret=keep), **deliver})
    stack.up()
    (in_use,) = stored_keys(sandbox).values()
    stack.restore_state()
    stack.refresh()
    stack.write(config(serial=2, previous="deleted", adopt={"id": in_use[0]}))
    for run in (stack.preview, stack.up):
        assert f"does not have the access key {in_use[0]} of test-user, but IAM does" in run(check=False).text
    assert [*stored_keys(sandbox).values()] == [in_use], "a state that is older than the key"

    stack.write({**config(serial=2, adopt={"id": in_use[0]}), **deliver})
    set_adopted_secret(stack, in_use[1])
    stack.up()
    iam.update_user(UserName="test-user", NewUserName="app")
    stack.refresh()
    app = config("app", serial=2, adopt={"id": in_use[0]})
    app["users"]["app"]["adopt"] = True
    stack.write(app)
    for run in (stack.preview, stack.up):
        assert f"has the secret of {in_use[0]}, perhaps as its only copy, and would be" in run(check=False).text
    assert [*stored_keys(sandbox).values()] == [in_use], "a user who was renamed in IAM"
    if store == "ssm":
        sandbox.client("ssm").delete_parameter(Name="/access-keys/test-user")
    else:
        sandbox.client("secretsmanager").delete_secret(
            SecretId="access-keys/test-user", ForceDeleteWithoutRecovery=True
        )
    stack.refresh()
    stack.up()
    assert works(sandbox, in_use), "nothing goes that somebody has not deleted"


@pytest.mark.long
@pytest.mark.parametrize("store", ["ssm", "secretsManager"])
def test_nobody_is_told_to_delete_the_key_in_a_store_after_state_and_file_were_restored(
    new_stack: NewStack, sandbox: Sandbox, store: str
) -> None:
    stack, deliver = new_stack(), {"deliver": {store: {}}}
    for serial in (1, 2, 3):
        stack.write({**config(serial=serial, previous="active", keepSecret=False), **deliver})
        stack.up()
        if serial == 2:
            stack.save_state()
    (in_use,) = stored_keys(sandbox).values()
    stack.restore_state()
    stack.refresh()
    stack.write({**config(serial=2, previous="active", keepSecret=False), **deliver})
    refused = stack.up(check=False)
    assert f"the state does not have the access key {in_use[0]} of test-user, but IAM does" in refused.text
    stack.write({**config(serial=2, previous="active", adopt={"id": in_use[0]}), **deliver})
    set_adopted_secret(stack, in_use[1])
    stack.up()
    assert stack.key("test-user") == in_use, "as the message advises"
    assert [*stored_keys(sandbox).values()] == [in_use]
    assert len(keys_in_iam(sandbox)) == 2, "the older key works, too"


@pytest.mark.long
@pytest.mark.parametrize("keeps", [True, False], ids=["kept", "not kept"])
@pytest.mark.parametrize("store", ["ssm", "secretsManager", "existing"])
def test_a_state_whose_keys_are_all_gone_costs_no_secret_in_a_store(
    new_stack: NewStack, sandbox: Sandbox, store: str, keeps: bool
) -> None:
    stack, name = new_stack(), {"ssm": "/access-keys/test-user", "existing": "team"}.get(store, "access-keys/test-user")
    if store == "existing":
        sandbox.client("secretsmanager").create_secret(Name="team", SecretString="{}")
    deliver = {"deliver": {"secretsManager": {"existing": "team"}} if store == "existing" else {store: {}}}
    for serial in (1, 2, 3):
        stack.write({**config(serial=serial, previous="deleted", keepSecret=keeps), **deliver})
        stack.up()
        if serial == 1:
            stack.save_state()
    in_use = stored_keys(sandbox)[name]
    stack.restore_state()
    stack.refresh()
    refused = stack.up(check=False)
    assert f"the state does not have the access key {in_use[0]} of test-user, but IAM does" in refused.text
    assert ("keepSecret to true" in refused.text) is not keeps, refused.text
    stack.write({**config(), "users": {}, "allowNoUsers": True, **deliver})
    assert "To take the key back, restore the user here, set " in stack.preview(check=False).text
    assert stored_keys(sandbox) == {name: in_use}
    stack.write({**config(serial=3, adopt={"id": in_use[0]}), **deliver})
    set_adopted_secret(stack, in_use[1])
    stack.up()
    assert stack.key("test-user") == in_use, "as the message advises"
    assert stored_keys(sandbox) == {name: in_use}
    assert stack.preview("--expect-no-changes").changes == {}


@pytest.mark.long
@pytest.mark.parametrize(
    ("store", "then"),
    [
        *(
            (store, then)
            for store in ("ssm", "secretsManager")
            for then in ({"fields": {"id": "user"}}, {"name": "/moved"})
        ),
        ("ssm", None),
        ("secretsManager", None),
        ("ssm", {"kmsKey": "alias/other"}),
    ],
)
def test_a_restored_state_that_was_not_refreshed_changes_no_store_with_a_newer_key(
    new_stack: NewStack, sandbox: Sandbox, store: str, then: "dict[str, Any] | None"
) -> None:
    stack, deliver = new_stack(), {"deliver": {store: {}}}
    stack.write({**config(), **deliver})
    stack.up()
    stack.save_state()
    stack.write({**config(serial=2, previous="deleted"), **deliver})
    stack.up()
    in_use = stored_keys(sandbox)
    stack.restore_state()
    kms = sandbox.client("kms")
    kms.create_alias(AliasName="alias/other", TargetKeyId=kms.create_key()["KeyMetadata"]["KeyId"])
    stack.write({**config(), **({"deliver": {store: then}} if then else {})})
    for done in (stack.preview(check=False), stack.up(check=False)):
        assert "the state is older than the key" in done.text
        assert "Restore a newer state, or run `pulumi refresh`" in done.text
    assert stored_keys(sandbox) == in_use


@pytest.mark.long
def test_no_store_keeps_a_newer_key_that_was_deleted_after_a_state_was_restored(
    new_stack: NewStack, sandbox: Sandbox
) -> None:
    stack, deliver = new_stack(), {"deliver": {"secretsManager": {}}}
    stack.write({**config(), **deliver})
    stack.up()
    stack.save_state()
    stack.write({**config(serial=2), **deliver})
    stack.up()
    (newer,) = stored_keys(sandbox).values()
    stack.restore_state()
    stack.write({**config(), **deliver})
    stack.refresh()
    refused = stack.up(check=False)
    assert "if nobody uses the key, delete it and raise serial, so that no store keeps it: aws iam" in refused.text
    sandbox.client("iam").delete_access_key(UserName="test-user", AccessKeyId=newer[0])
    stack.write({**config(serial=2), **deliver})
    stack.refresh()
    stack.up()
    (held,) = stored_keys(sandbox).values()
    assert held[0] != newer[0]
    assert works(sandbox, held), "as the message advises"


@pytest.mark.long
def test_without_an_answer_about_the_current_key_the_previous_one_stays(new_stack: NewStack, sandbox: Sandbox) -> None:
    stack = new_stack()
    for serial in (1, 2):
        stack.write(config(serial=serial))
        stack.up()
    iam, current = sandbox.client("iam"), stack.key("test-user")[0]
    iam.update_access_key(UserName="test-user", AccessKeyId=current, Status="Inactive")
    stack.write(config(serial=2, previous="deleted"))
    sandbox.control.fail("iam:ListAccessKeys", "AccessDenied", times=50)
    refused = stack.up(check=False)
    sandbox.control.clear_faults()
    assert refused.code != 0
    assert "may not work: the access keys of test-user could not be listed" in refused.text
    assert sorted(keys_in_iam(sandbox).values()) == ["Active", "Inactive"]


@pytest.mark.long
def test_a_key_that_somebody_deactivated_takes_no_other_keys_place_in_a_store(
    new_stack: NewStack, sandbox: Sandbox
) -> None:
    stack = new_stack()
    stack.write({**config(), **DELIVERED})
    stack.up()
    iam, ssm = sandbox.client("iam"), sandbox.client("ssm")
    iam.update_access_key(UserName="test-user", AccessKeyId=stack.key("test-user")[0], Status="Inactive")
    works_elsewhere = json.dumps({"aws_access_key_id": "AKIAELSEWHERE0000001", "aws_secret_access_key": "s" * 40})
    ssm.put_parameter(Name="/access-keys/test-user", Value=works_elsewhere, Type="SecureString", Overwrite=True)
    stack.refresh()
    stack.up()
    assert stored(sandbox, "test-user")[0] == "AKIAELSEWHERE0000001"
    stack.write({**config(serial=2), **DELIVERED})
    stack.up()
    assert stored(sandbox, "test-user") == stack.key("test-user"), "a new key is delivered again"


@pytest.mark.long
def test_a_user_of_somebody_else_is_refused_before_anything_is_made(new_stack: NewStack, sandbox: Sandbox) -> None:
    iam = sandbox.client("iam")
    iam.create_user(UserName="Ann")
    iam.create_group(GroupName="Test")
    stack = new_stack()
    stack.write(config("ann"))
    for refused in (stack.preview(check=False), stack.up(check=False)):
        assert "users.ann: the account already has a user 'Ann', which this stack does not manage" in refused.text
        assert "groups.test: the account already has a group 'Test'" in refused.text
        assert "Traceback" not in refused.text
    assert [user["UserName"] for user in iam.list_users()["Users"]] == ["Ann"]


@pytest.mark.long
@pytest.mark.parametrize("action", ["iam:CreateUser", "iam:CreateGroup"])
def test_an_entity_whose_creation_was_not_answered_can_be_taken_over(
    new_stack: NewStack, sandbox: Sandbox, action: str
) -> None:
    stack = new_stack()
    stack.write(config())
    sandbox.control.drop_response(action)
    assert stack.up(check=False).code != 0
    refused = stack.up(check=False)
    command = re.search(r"pulumi (import .*?); otherwise", refused.text)
    assert command, f"the message has the line that takes it over: {refused.text}"
    stack.run(*shlex.split(command[1]), "--yes")
    stack.up()
    assert works(sandbox, stack.key("test-user"))
    assert stack.preview("--expect-no-changes").changes == {}


def put_current_back(stack: Stack, store: str, unkept: "tuple[str, str] | None") -> None:
    """Put the current key back into a store, as docs/delivery.md says. unkept: the key, if its secret is not kept."""
    sandbox = stack.sandbox
    if store == "ssm" and unkept:
        put_into_store(sandbox, store, unkept)
    elif store == "ssm":
        stack.refresh()
    else:
        client, name = sandbox.client("secretsmanager"), "access-keys/test-user"
        versions = client.list_secret_version_ids(SecretId=name)["Versions"]
        stages = {stage: one["VersionId"] for one in versions for stage in one.get("VersionStages", [])}
        client.update_secret_version_stage(
            SecretId=name,
            VersionStage="AWSCURRENT",
            MoveToVersionId=stages["AWSPREVIOUS"],
            RemoveFromVersionId=stages["AWSCURRENT"],
        )


@pytest.mark.long
@pytest.mark.parametrize(("store", "keeps"), list(itertools.product(("ssm", "secretsManager"), (True, False))))
def test_a_previous_key_that_somebody_put_back_into_a_store_stays_until_the_store_has_the_current_one(
    new_stack: NewStack, sandbox: Sandbox, store: str, keeps: bool
) -> None:
    stack, deliver = new_stack(), {"deliver": {store: {}}}
    stack.write({**config(keepSecret=keeps), **deliver})
    stack.up()
    ((name, old),) = stored_keys(sandbox).items()
    stack.write({**config(keepSecret=keeps, serial=2), **deliver})
    stack.up()
    current = stored_keys(sandbox)[name]
    put_into_store(sandbox, store, old)
    for serial, previous in ((2, "inactive"), (2, "deleted"), (3, "active"), (3, "deleted")):
        stack.write({**config(keepSecret=keeps, serial=serial, previous=previous), **deliver})
        refused = stack.up(check=False)
        assert refused.code != 0
        assert f"the access key {old[0]} of test-user is not retired, because " in refused.text
        assert refused.text.count("is not retired") == 1, "it is said once"
        assert f"'{name}'" in refused.text, "the store is named"
        assert f"although this stack put {current[0]} there" in refused.text
        assert keys_in_iam(sandbox) == {old[0]: "Active", current[0]: "Active"}, "neither key was touched"
    put_current_back(stack, store, None if keeps else current)
    stack.write({**config(keepSecret=keeps, serial=2, previous="deleted"), **deliver})
    stack.up()
    assert keys_in_iam(sandbox) == {current[0]: "Active"}
    assert stored_keys(sandbox) == {name: current}
    assert stack.preview("--expect-no-changes").changes == {}


@pytest.mark.long
@pytest.mark.parametrize("wanted", [{"serial": 2, "previous": "deleted"}, {"serial": 3}])
def test_a_previous_key_that_somebody_activated_and_put_back_into_a_store_stays(
    new_stack: NewStack, sandbox: Sandbox, wanted: "dict[str, Any]"
) -> None:
    stack, deliver = new_stack(), {"deliver": {"secretsManager": {}}}
    stack.write({**config(), **deliver})
    stack.up()
    ((name, old),) = stored_keys(sandbox).items()
    for _ in range(2):
        stack.write({**config(serial=2, previous="inactive"), **deliver})
        stack.up()
    assert not works(sandbox, old)
    sandbox.client("iam").update_access_key(UserName="test-user", AccessKeyId=old[0], Status="Active")
    put_into_store(sandbox, "secretsManager", old)
    stack.write({**config(**wanted), **deliver})
    refused = stack.up(check=False)
    assert f"the access key {old[0]} of test-user is not retired, because the secret '{name}'" in refused.text
    assert works(sandbox, old)


@pytest.mark.long
@pytest.mark.parametrize("is_working", [True, False])
def test_a_key_that_a_store_has_again_after_a_refresh_makes_no_room_for_a_new_one(
    new_stack: NewStack, sandbox: Sandbox, is_working: bool
) -> None:
    stack, deliver = new_stack(), {"deliver": {"ssm": {}}}
    stack.write({**config(), **deliver})
    stack.up()
    ((name, old),) = stored_keys(sandbox).items()
    stack.write({**config(serial=2), **deliver})
    stack.up()
    current = stored_keys(sandbox)[name]
    put_into_store(sandbox, "ssm", old)
    iam = sandbox.client("iam")
    if not is_working:
        iam.update_access_key(UserName="test-user", AccessKeyId=current[0], Status="Inactive")
    stack.refresh()
    stack.write({**config(serial=3), **deliver})
    refused = stack.up(check=False)
    assert f"has the access key {old[0]}" in refused.text
    assert "would make room for it" in refused.text
    assert works(sandbox, old)
    if is_working:
        assert stored_keys(sandbox)[name] == current, "the store has the current one now"
    else:
        assert stored_keys(sandbox)[name] == old
        iam.delete_access_key(UserName="test-user", AccessKeyId=current[0])
        stack.refresh()
    stack.up()
    newest = stored_keys(sandbox)[name]
    assert newest not in (old, current)
    assert works(sandbox, newest), "a new key is issued then"


@pytest.mark.long
def test_a_store_that_cannot_be_read_keeps_the_previous_key(new_stack: NewStack, sandbox: Sandbox) -> None:
    stack, deliver = new_stack(), {"deliver": {"ssm": {}}}
    for serial in (1, 2):
        stack.write({**config(serial=serial), **deliver})
        stack.up()
    sandbox.control.fail("ssm:GetParameter", "AccessDeniedException", times=50)
    stack.write({**config(serial=2, previous="deleted"), **deliver})
    refused = stack.up(check=False)
    sandbox.control.clear_faults()
    assert "the parameter '/access-keys/test-user' in SSM may have it, which could not be checked" in refused.text
    assert "The identity running Pulumi needs permission to read it" in refused.text
    assert len(keys_in_iam(sandbox)) == 2
    stack.up()
    assert len(keys_in_iam(sandbox)) == 1


@pytest.mark.long
@pytest.mark.parametrize("store", ["ssm", "secretsManager"])
def test_a_key_that_is_due_after_an_older_state_was_restored_costs_none_that_a_store_has(
    new_stack: NewStack, sandbox: Sandbox, store: str
) -> None:
    stack, deliver = new_stack(), {"deliver": {store: {}}}
    for serial in (1, 2):
        stack.write({**config(serial=serial), **deliver})
        stack.up()
        if serial == 1:
            stack.save_state()
    ((name, in_use),) = stored_keys(sandbox).items()
    stack.restore_state()
    refused = stack.up(check=False)
    assert f"the state does not have the access key {in_use[0]} of test-user, but IAM does" in refused.text
    assert "Restore a newer state, or run `pulumi refresh`" in refused.text
    stack.refresh()
    refused = stack.up(check=False)
    assert f"To take the key back, set adopt to {{id: {in_use[0]}, secret: ...}}" in refused.text
    stack.write({**config(serial=2, adopt={"id": in_use[0]}), **deliver})
    set_adopted_secret(stack, in_use[1])
    stack.up()
    assert stack.key("test-user") == in_use, "as the message advises"
    assert stored_keys(sandbox) == {name: in_use}
    assert len(keys_in_iam(sandbox)) == 2, "the older key works, too"


@pytest.mark.long
def test_a_secret_that_is_to_be_deleted_and_has_the_only_copy_is_to_be_restored(
    new_stack: NewStack, sandbox: Sandbox
) -> None:
    stack, deliver = new_stack(), {"deliver": {"secretsManager": {}}}
    stack.write({**config(keepSecret=False), **deliver})
    stack.up()
    (key,) = stored_keys(sandbox).values()
    secrets = sandbox.client("secretsmanager")
    secrets.delete_secret(SecretId="access-keys/test-user", RecoveryWindowInDays=30)
    stack.refresh()
    refused = stack.up(check=False)
    assert "whether a store has the access key" in refused.text
    assert "aws secretsmanager restore-secret --secret-id access-keys/test-user" in refused.text
    secrets.restore_secret(SecretId="access-keys/test-user")
    stack.write({**config(keepSecret=False, serial=2), "deliver": {"secretsManager": {"name": "other"}}})
    stack.up()
    assert stored_keys(sandbox)["access-keys/test-user"] == key, "the only copy is there"
    assert all(works(sandbox, one) for one in stored_keys(sandbox).values()), "and the key of the other store works"


@pytest.mark.long
def test_replace_costs_no_key_and_the_way_to_a_new_one_is_named(new_stack: NewStack, sandbox: Sandbox) -> None:
    stack = new_stack()
    stack.write(config())
    stack.up()
    before = keys_in_iam(sandbox)
    (urn,) = (urn for urn in stack.resources() if urn.endswith("::access/test-user/1"))
    refused = stack.up("--replace", urn, check=False)
    assert refused.code != 0
    assert "no access key is issued to replace access/test-user/1 of user test-user" in refused.text
    assert "raise the serial instead of using --replace" in refused.text
    assert f"pulumi state untaint '{urn}'" in refused.text
    assert stack.preview("--replace", urn, check=False).code != 0, "the preview says so, too"
    assert keys_in_iam(sandbox) == before, "the key in use is still there"
    assert stack.up().changes == {}, "the next run finds nothing to do"


@pytest.mark.long
def test_a_membership_or_policy_that_is_replaced_is_still_there(new_stack: NewStack, sandbox: Sandbox) -> None:
    stack, iam = new_stack(), sandbox.client("iam")
    deny = {"Version": "2012-10-17", "Statement": [{"Effect": "Deny", "Action": "ec2:*", "Resource": "*"}]}
    own = {"policies": ["AmazonSESFullAccess"], "inline": {"own": deny}, "allowFrom": ["198.51.100.0/24"]}
    groups = {"test": {**GROUPS["test"], "inline": {"limit": deny}, "allowFrom": ["198.51.100.0/24"]}}
    stack.write({"groups": groups, "users": {"ann": {"groups": ["test"], **own}}})
    stack.up()
    before = keys_in_iam(sandbox, "ann")
    parts = ("Policy", "Attachment", "Membership")
    replaced = [urn for urn, found in stack.resources().items() if found["type"].endswith(parts)]
    assert len(replaced) == 7, f"a policy, an attachment and a limit of each, and the membership: {replaced}"
    stack.up(*(argument for urn in replaced for argument in ("--replace", urn)))
    assert [group["GroupName"] for group in iam.list_groups_for_user(UserName="ann")["Groups"]] == ["test"]
    assert len(iam.list_attached_user_policies(UserName="ann")["AttachedPolicies"]) == 1
    assert len(iam.list_attached_group_policies(GroupName="test")["AttachedPolicies"]) == 1
    assert len(iam.list_user_policies(UserName="ann")["PolicyNames"]) == 2
    assert len(iam.list_group_policies(GroupName="test")["PolicyNames"]) == 2
    assert keys_in_iam(sandbox, "ann") == before, "no key is replaced with what it is allowed"
    assert stack.refresh().changes == {}


def kill_while(stack: Stack, operation: str, kind: str, command: str, *options: str) -> None:
    """Run a pulumi command and kill the engine while it does something to a resource of that kind."""
    (file,) = stack.sandbox.folder.state.rglob(f"stacks/**/{stack.name}.json")
    stack.sandbox.control.set_faults(Faults(latency=0.7))
    engine = subprocess.Popen(
        [stack.sandbox.engine.pulumi, command, "--yes", "--skip-preview", "--non-interactive", *options],
        cwd=stack.folder,
        env=stack.sandbox.environment,
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )
    pending = False
    while not pending:
        assert engine.poll() is None, "the engine still runs"
        operations = json.loads(file.read_text())["checkpoint"]["latest"].get("pending_operations") or []
        pending = any(found["type"] == operation and kind in found["resource"]["urn"] for found in operations)
        time.sleep(0.01)
    os.killpg(engine.pid, signal.SIGKILL)
    engine.wait()
    time.sleep(1)  # the sandbox finishes the call
    stack.sandbox.control.clear_faults()


@pytest.mark.long
def test_a_run_that_was_killed_in_a_deletion_goes_on_without_questions(new_stack: NewStack, sandbox: Sandbox) -> None:
    stack = new_stack()
    for serial in (1, 2):
        stack.write(config(serial=serial))
        stack.up()
    current = stack.outputs()["accessKeyIds"]["test-user"]
    stack.write(config(serial=3))
    kill_while(stack, "deleting", ":AccessKey::", "up")
    stack.run("cancel", "--yes")
    stack.up()
    assert current in keys_in_iam(sandbox), "the key that was in use is the previous one"
    assert stack.outputs()["keys"]["test-user"]["current"]["serial"] == 3
    kill_while(stack, "deleting", ":User::", "destroy")
    stack.run("cancel", "--yes")
    stack.destroy()
    assert sandbox.client("iam").list_users()["Users"] == []


@pytest.mark.long
def test_a_user_whose_creation_was_killed_in_the_first_run_can_be_taken_over(
    new_stack: NewStack, sandbox: Sandbox
) -> None:
    stack = new_stack()
    stack.write(config())
    stack.preview()
    stack.up("--target", "**nothing**", check=False)  # there is a state to look at
    kill_while(stack, "creating", ":User::", "up", "--parallel=1")  # the group is in the state
    stack.run("cancel", "--yes")
    stack.run("refresh", "--yes", "--skip-preview", "--clear-pending-creates")
    refused = stack.up(check=False)
    for command in re.findall(r"take it over: pulumi (import .*?); otherwise", refused.text):
        stack.run(*shlex.split(command), "--yes", "--skip-preview")
    stack.up()
    assert len(keys_in_iam(sandbox)) == 1


@pytest.mark.parametrize(
    "kind",
    [
        "access key",
        pytest.param("user", marks=pytest.mark.long),
        pytest.param("parameter", marks=pytest.mark.long),
        pytest.param("secret", marks=pytest.mark.long),
    ],
)
def test_what_was_imported_once_more_is_not_deleted_with_the_second_resource(
    kind: str, new_stack: NewStack, sandbox: Sandbox
) -> None:
    stack = new_stack()
    stack.write({**config(), "deliver": {"secretsManager": {}, "ssm": {}}})
    stack.up()
    held, in_iam = stored_keys(sandbox), keys_in_iam(sandbox)
    token, imported = {
        "access key": ("aws:iam/accessKey:AccessKey", *in_iam),
        "user": ("aws:iam/user:User", "test-user"),
        "parameter": ("aws:ssm/parameter:Parameter", "/access-keys/test-user"),
        "secret": ("aws:secretsmanager/secret:Secret", "access-keys/test-user"),
    }[kind]
    if kind == "secret":
        imported = sandbox.client("secretsmanager").describe_secret(SecretId=imported)["ARN"]
    stack.run("import", token, "again", imported, "--yes", "--protect=false", "--generate-code=false")
    for run in (stack.preview, stack.up):
        refused = run(check=False)
        assert refused.code != 0
        assert f"aws-access-keys:users.test-user: the {kind} '" in refused.text
        assert "is in this stack a second time, as 'urn:" in refused.text
    let_go(stack, refused.text)
    assert stack.up().changes == {}
    assert (stored_keys(sandbox), keys_in_iam(sandbox)) == (held, in_iam)


@pytest.mark.long
def test_after_a_restore_a_key_that_a_store_of_another_name_has_is_to_be_adopted_not_deleted(
    new_stack: NewStack, sandbox: Sandbox
) -> None:
    stack = new_stack()
    stack.write({**config(), "deliver": {"ssm": {}}})
    stack.up()
    stack.save_state()
    (first,) = keys_in_iam(sandbox)
    sandbox.client("iam").update_access_key(UserName="test-user", AccessKeyId=first, Status="Inactive")
    for store in ({}, {"name": "/x/key"}):
        stack.write({**config(serial=2), "deliver": {"ssm": store}})
        stack.up()
    stack.restore_state()
    stack.refresh()
    second, secret = stored_keys(sandbox)["/x/key"]
    refused = stack.up(check=False).text
    assert f"the parameter '/x/key' in SSM has {second}. To take the key back, set adopt to {{id: {second}" in refused
    assert f"delete-access-key --user-name test-user --access-key-id {second}" not in refused
    stack.write({**config(serial=2, adopt={"id": second}), "deliver": {"ssm": {"name": "/y/key"}}})
    set_adopted_secret(stack, secret)
    stack.up()
    assert stored_keys(sandbox)["/y/key"] == (second, secret)
    assert works(sandbox, (second, secret))

"""Handing keys over: secret stores, extra outputs, and the search for a secret where none may be."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.faults.matrix import stored_keys
from tests.lifecycle.helpers import NewStack, config, in_days, keys_in_iam, put_text, text_in_store, works
from tests.lifecycle.stack import Sandbox

COMMAND = [sys.executable, "-c", "import sys; sys.stdin.read()"]
"""What delivers a key to nobody."""


def read(sandbox: Sandbox, store: str) -> tuple[str, str]:
    """The key that a consumer reads from a store."""
    key = json.loads(text_in_store(sandbox, store))
    return key["aws_access_key_id"], key["aws_secret_access_key"]


@pytest.mark.parametrize("store", ["ssm", pytest.param("secretsManager", marks=pytest.mark.long)])
def test_a_consumer_reads_the_current_key_from_the_store(new_stack: NewStack, sandbox: Sandbox, store: str) -> None:
    stack = new_stack()
    stack.write({**config(), "deliver": {store: {}}})
    stack.up()
    first = read(sandbox, store)
    assert first == stack.key("test-user")
    assert works(sandbox, first), "the value read back opens S3"
    assert stack.preview("--expect-no-changes").changes == {}
    assert stack.refresh("--expect-no-changes").changes == {}
    for serial in (2, 3):
        stack.write({**config(serial=serial), "deliver": {store: {}}})
        stack.up()
        assert read(sandbox, store) == stack.key("test-user"), "after a rotation the consumer reads the new key"
    assert stack.preview("--expect-no-changes").changes == {}


@pytest.mark.long
def test_delivery_uses_the_kms_key_asked_for(new_stack: NewStack, sandbox: Sandbox) -> None:
    kms = sandbox.client("kms")
    key_id = kms.create_key()["KeyMetadata"]["KeyId"]
    kms.create_alias(AliasName="alias/handover", TargetKeyId=key_id)
    stack = new_stack()
    store = {"kmsKey": "alias/handover"}
    stack.write({**config(), "deliver": {"secretsManager": {**store, "name": "team/eu/app/key"}, "ssm": store}})
    stack.up()
    assert sandbox.client("secretsmanager").describe_secret(SecretId="team/eu/app/key")["KmsKeyId"] == "alias/handover"
    described = sandbox.client("ssm").describe_parameters()["Parameters"]
    assert [parameter["KeyId"] for parameter in described] == ["alias/handover"]


@pytest.mark.long
def test_a_missing_kms_key_is_said_before_anything_is_made(new_stack: NewStack, sandbox: Sandbox) -> None:
    stack = new_stack()
    stack.write({**config(), "deliver": {"ssm": {"kmsKey": "alias/nowhere"}}})
    done = stack.up(check=False)
    assert done.code != 0
    assert "deliver.ssm.kmsKey: the KMS key 'alias/nowhere' could not be checked: NotFoundException" in done.text
    assert "Traceback" not in done.text
    assert sandbox.client("iam").list_users()["Users"] == []


@pytest.mark.long
def test_a_user_can_be_left_out_of_the_stacks_delivery(new_stack: NewStack, sandbox: Sandbox) -> None:
    stack = new_stack()
    settings = config()
    settings["users"]["other"] = {"groups": ["test"], "deliver": None}
    stack.write({**settings, "deliver": {"ssm": {}}})
    stack.up()
    names = [parameter["Name"] for parameter in sandbox.client("ssm").describe_parameters()["Parameters"]]
    assert names == ["/access-keys/test-user"]


def reader(sandbox: Sandbox, name: str, *allowed: str) -> tuple[str, str]:
    """The key of an IAM user with these permissions."""
    iam = sandbox.client("iam")
    iam.create_user(UserName=name)
    if allowed:
        allow = {"Effect": "Allow", "Action": list(allowed), "Resource": "*"}
        document = json.dumps({"Version": "2012-10-17", "Statement": [allow]})
        iam.put_user_policy(UserName=name, PolicyName="own", PolicyDocument=document)
    key = iam.create_access_key(UserName=name)["AccessKey"]
    return key["AccessKeyId"], key["SecretAccessKey"]


def content(sandbox: Sandbox, key: tuple[str, str] | None = None, region: str = "ap-northeast-2") -> dict[str, Any]:
    """The JSON that somebody reads from the secret `team/eu/app/key`."""
    client = sandbox.client("secretsmanager", key, region)
    return json.loads(client.get_secret_value(SecretId="team/eu/app/key")["SecretString"])


@pytest.mark.long
def test_readers_replicas_and_field_names_of_a_secret_follow_the_settings(
    new_stack: NewStack, sandbox: Sandbox
) -> None:
    stack, app, other = new_stack(), reader(sandbox, "app"), reader(sandbox, "other")
    secret: dict[str, Any] = {"name": "team/eu/app/key", "fields": {"id": "username", "secret": "password"}}
    secret |= {"readers": ["arn:aws:iam::123456789012:user/app"], "replicas": ["eu-west-1"]}
    for serial in (1, 2):
        stack.write({**config(serial=serial, previous="deleted"), "deliver": {"secretsManager": secret}})
        stack.up()
        key_id, key_secret = stack.key("test-user")
        assert content(sandbox, app) == {"username": key_id, "password": key_secret}, "the reader needs no policy"
        arn = sandbox.client("secretsmanager", region="eu-west-1").list_secrets()["SecretList"][0]["ARN"]
        replica = sandbox.client("secretsmanager", region="eu-west-1").get_secret_value(SecretId=arn)
        assert json.loads(replica["SecretString"])["username"] == key_id, "the replica follows"
        with pytest.raises(ClientError, match="AccessDenied"):
            content(sandbox, other)
        with pytest.raises(ClientError, match="PutSecretValue"):
            sandbox.client("secretsmanager", app).put_secret_value(SecretId="team/eu/app/key", SecretString="mine")
        assert stack.preview("--expect-no-changes").changes == {}
        assert stack.refresh("--expect-no-changes").changes == {}
    secret |= {"readers": ["arn:aws:iam::123456789012:user/other"], "replicas": ["us-west-2"]}
    stack.write({**config(serial=2, previous="deleted"), "deliver": {"secretsManager": secret}})
    assert stack.up().changes == {"update": 2}
    assert content(sandbox, other)["username"] == key_id
    with pytest.raises(ClientError, match="AccessDenied"):
        content(sandbox, app)
    del secret["readers"], secret["replicas"]
    stack.write({**config(serial=2, previous="deleted"), "deliver": {"secretsManager": secret}})
    assert "the secret 'team/eu/app/key' keeps its replicas in us-west-2: " in stack.preview().text
    stack.up()
    secrets = sandbox.client("secretsmanager")
    assert len(secrets.describe_secret(SecretId="team/eu/app/key")["ReplicationStatus"]) == 1, (
        "as with the real provider"
    )
    secrets.remove_regions_from_replication(SecretId="team/eu/app/key", RemoveReplicaRegions=["us-west-2"])
    stack.refresh()
    assert "keeps its replicas" not in stack.up("--expect-no-changes").text
    with pytest.raises(ClientError, match="AccessDenied"):
        content(sandbox, other)
    stack.destroy()
    assert sandbox.client("secretsmanager").list_secrets()["SecretList"] == []


@pytest.mark.long
@pytest.mark.parametrize("by_arn", [True, False])
def test_a_secret_that_exists_is_written_to_and_stays(new_stack: NewStack, sandbox: Sandbox, by_arn: bool) -> None:
    secrets = sandbox.client("secretsmanager")
    stack = new_stack()
    store = {"existing": "team/eu/app/key"}
    stack.write({**config(), "deliver": {"secretsManager": store}})
    done = stack.up(check=False)
    assert (
        "deliver.secretsManager.existing: the secret 'team/eu/app/key' could not be read: ResourceNotFound" in done.text
    )
    assert sandbox.client("iam").list_users()["Users"] == [], "before anything is created"

    like_one = secrets.create_secret(Name="team/eu/app/key-abcdef", SecretString="mine")["ARN"]
    stack.write({**config(), "deliver": {"secretsManager": {"existing": like_one[:-7]}}})
    refused = stack.preview(check=False).text
    assert "is not the complete ARN of the secret 'team/eu/app/key-abcdef'. Write the name, or " + like_one in refused

    iam = sandbox.client("iam")
    iam.create_user(UserName="bob")
    bobs = iam.create_access_key(UserName="bob")["AccessKey"]
    text = json.dumps({"id": bobs["AccessKeyId"], "secret": bobs["SecretAccessKey"]})
    arn = secrets.create_secret(Name="team/eu/app/key", SecretString=text, Description="of the team")["ARN"]
    store = {"existing": arn if by_arn else "team/eu/app/key"}
    stack.write({**config(), "deliver": {"secretsManager": store}})
    held = f"the secret 'team/eu/app/key' in Secrets Manager holds the access key {bobs['AccessKeyId']} of bob, possib"
    assert held in stack.up(check=False).text
    secrets.put_secret_value(SecretId="team/eu/app/key", SecretString="mine")
    for serial in (1, 2):
        stack.write({**config(serial=serial, previous="deleted"), "deliver": {"secretsManager": store}})
        stack.up()
        key = stack.key("test-user")
        assert content(sandbox) == {"aws_access_key_id": key[0], "aws_secret_access_key": key[1]}
        assert works(sandbox, key)
        assert list(keys_in_iam(sandbox)) == [key[0]]
        assert stack.preview("--expect-no-changes").changes == {}
        assert stack.refresh("--expect-no-changes").changes == {}
    stack.write(config(serial=2, previous="deleted"))
    stays = f"the secret 'team/eu/app/key' is not this stack's: it stays as it is, with the access key {key[0]} in it"
    assert stays in stack.preview().text
    assert stays in stack.up().text
    assert content(sandbox)["aws_access_key_id"] == key[0]
    stack.write({**config(serial=2, previous="deleted"), "deliver": {"secretsManager": store}})
    stack.up()
    stack.destroy()
    assert content(sandbox)["aws_access_key_id"] == key[0], "the team's secret is there, with a key that is gone"
    assert secrets.describe_secret(SecretId="team/eu/app/key")["Description"] == "of the team"


@pytest.mark.long
def test_a_secret_of_the_stack_does_not_become_one_that_exists(new_stack: NewStack, sandbox: Sandbox) -> None:
    stack = new_stack()
    stack.write({**config(), "deliver": {"secretsManager": {"name": "team/eu/app/key"}}})
    stack.up()
    stack.write({**config(), "deliver": {"secretsManager": {"existing": "team/eu/app/key"}}})
    done = stack.up(check=False)
    assert done.code != 0
    assert (
        "this stack created the secret 'team/eu/app/key', and would delete it. Write name: team/eu/app/key instead"
        in done.text
    )
    command = next(line for line in done.text.splitlines() if "pulumi state delete" in line)
    stack.run("state", "delete", command.split("'")[-2], "--target-dependents", "--yes")
    stack.up()
    assert content(sandbox)["aws_access_key_id"] == stack.key("test-user")[0]


@pytest.mark.long
def test_a_store_keeps_its_key_while_iam_cannot_be_asked(new_stack: NewStack, sandbox: Sandbox) -> None:
    secrets, stack = sandbox.client("secretsmanager"), new_stack()
    stack.write({**config(), "deliver": {"secretsManager": {"name": "/team/eu/app/key"}}})
    stack.up()
    held = secrets.get_secret_value(SecretId="/team/eu/app/key")["SecretString"]
    sandbox.control.fail("iam:ListAccessKeys", "AccessDenied", times=99)
    assert stack.up().changes == {}, "a name that begins with / is the same store in every run"
    stack.write({**config(), "deliver": {"secretsManager": {"name": "renamed"}}})
    refused = stack.up(check=False)
    sandbox.control.clear_faults()
    assert "could not check whether a secret or parameter of this stack holds a key of test-user that" in refused.text
    assert secrets.get_secret_value(SecretId="/team/eu/app/key")["SecretString"] == held


@pytest.mark.long
@pytest.mark.parametrize("is_refreshed", [False, True])
def test_a_key_that_somebody_deactivated_goes_into_no_new_store(
    new_stack: NewStack, sandbox: Sandbox, tmp_path: Path, is_refreshed: bool
) -> None:
    secrets, stack, ran = sandbox.client("secretsmanager"), new_stack(), tmp_path / "ran"
    stack.write(config())
    stack.up()
    key = stack.key("test-user")
    sandbox.client("iam").update_access_key(UserName="test-user", AccessKeyId=key[0], Status="Inactive")
    if is_refreshed:
        stack.refresh()
    secrets.create_secret(Name="team/eu/app/key", SecretString="a key that works")
    command = [sys.executable, "-c", f"open({str(ran)!r}, 'w')"]
    deliver = {"secretsManager": {"existing": "team/eu/app/key"}, "ssm": {}, "command": command}
    stack.write({**config(), "deliver": deliver})
    done = stack.up()
    assert f"the access key {key[0]} is not delivered to the secret 'team/eu/app/key' in Secrets Manager" in done.text
    assert secrets.get_secret_value(SecretId="team/eu/app/key")["SecretString"] == "a key that works"
    assert sandbox.client("ssm").describe_parameters()["Parameters"] == []
    assert not ran.exists()
    assert stack.preview("--expect-no-changes").changes == {}
    stack.refresh()
    stack.write({**config(status="active"), "deliver": deliver})
    stack.up()
    assert read(sandbox, "ssm") == key, "as the message advises"
    assert works(sandbox, key)
    assert ran.exists()
    assert stack.preview("--expect-no-changes").changes == {}


def held_names(**stores: "dict[str, Any] | None") -> dict[str, Any]:
    """Settings in which each user has a store; None for one who leaves."""
    users = {name: {"groups": ["test"], "deliver": store, "key": {}} for name, store in stores.items() if store}
    return {"groups": config()["groups"], "users": users}


def test_the_store_of_a_user_who_leaves_does_not_keep_that_users_key(new_stack: NewStack, sandbox: Sandbox) -> None:
    """Although the key that takes its place does not work, and goes to no other new store."""
    secrets, stack, shared = sandbox.client("secretsmanager"), new_stack(), {"secretsManager": {"name": "shared"}}
    stack.write(held_names(ann={"secretsManager": {"name": "ann"}}, bob=shared))
    stack.up()
    ann = stack.outputs()["accessKeyIds"]["ann"]
    sandbox.client("iam").update_access_key(UserName="ann", AccessKeyId=ann, Status="Inactive")
    stack.refresh()
    stack.write(held_names(ann=shared | {"ssm": {"name": "/ann"}}, bob=None))
    done = stack.up()
    assert f"the access key {ann} is not delivered to the parameter '/ann' in SSM" in done.text
    assert f"the access key {ann} takes the place of another user's in the secret 'shared' in Secrets" in done.text
    assert ann in secrets.get_secret_value(SecretId="shared")["SecretString"], "nobody finds bob's key there"
    assert stack.preview("--expect-no-changes").changes == {}


ROOT = ["arn:aws:iam::123456789012:root"]


@pytest.mark.parametrize(
    ("kind", "key", "bobs", "stays", "why"),
    [
        ("secretsManager", {}, {"ssm": {}}, True, "That key stays, and older versions would still have it"),
        ("secretsManager", {"keepSecret": False}, {"command": COMMAND}, False, "cannot take its place"),
        ("ssm", {"keepSecret": False, "serial": 2}, {"ssm": {"name": "/bob"}}, False, "where the secret of bob's"),
        ("secretsManager", {}, {"ssm": {}}, False, "with other readers"),
        ("secretsManager", {}, {"ssm": {}}, None, "with other readers"),
    ],
)
@pytest.mark.long
def test_a_store_passes_to_another_user_in_two_updates_where_somebody_could_read_what_is_not_theirs(
    new_stack: NewStack,
    sandbox: Sandbox,
    kind: str,
    key: dict[str, Any],
    bobs: dict[str, Any],
    stays: bool | None,
    why: str,
) -> None:
    """stays: None for a user whose key has expired."""
    readers = {"readers": ROOT} if "readers" in why else {}
    stack, shared = new_stack(), {kind: {"name": "/shared", **readers}}

    def settings(ann: "dict[str, Any] | None", bob: dict[str, Any], **of_bob: Any) -> dict[str, Any]:
        asked = held_names(ann=ann, bob=bob, cid={"command": COMMAND})  # a stack without users would be refused
        asked["users"]["bob"]["key"] = of_bob
        if ann and stays is None:
            asked["users"]["ann"]["key"]["expires"] = in_days(-1 if is_expired else 9)
        return asked

    def content() -> str:
        if kind == "ssm":
            answer = sandbox.client("ssm").get_parameter(Name="/shared", WithDecryption=True)["Parameter"]["Value"]
        else:
            answer = sandbox.client("secretsmanager").get_secret_value(SecretId="/shared")["SecretString"]
        return answer

    is_expired = False
    stack.write(settings(shared, bobs, **key | ({"serial": 1} if "serial" in key else {})))
    stack.up()
    held, is_expired = stack.outputs()["accessKeyIds"]["ann"], stays is None
    if is_expired:
        stack.write(settings(shared, bobs, **key))
        stack.up()
        held = "expired"
    anns = {kind: {"name": "/ann"}} if stays or is_expired else None
    both = bobs | {kind: {"name": "/shared"}}
    for run in (stack.preview, stack.up):
        stack.write(settings(anns, both, **key))
        refused = run(check=False)
        assert why in refused.text
        assert refused.code != 0
    assert held in content(), "nothing was changed"
    stack.write(settings(anns, bobs, **key))
    stack.up()
    stack.write(settings(anns, both, **key | ({"serial": 3} if "keepSecret" in key else {})))
    stack.up()
    assert stack.outputs()["accessKeyIds"]["bob"] in content(), "as the message advises"
    assert stack.preview("--expect-no-changes").changes == {}


@pytest.mark.long
@pytest.mark.parametrize("left", [[], ["arn:aws:iam::123456789012:user/app"]])
@pytest.mark.parametrize("is_kept", [True, False])
def test_who_is_removed_from_the_readers_cannot_read_the_key_of_the_same_update(
    new_stack: NewStack, sandbox: Sandbox, is_kept: bool, left: list[str]
) -> None:
    stack, former = new_stack(), reader(sandbox, "former")
    reader(sandbox, "app")

    def settings(serial: int, readers: list[str]) -> dict[str, Any]:
        store = {"name": "team/eu/app/key"} | ({"readers": readers} if readers else {})
        return {**config(serial=serial, keepSecret=is_kept), "deliver": {"secretsManager": store}}

    stack.write(settings(1, [*left, "arn:aws:iam::123456789012:user/former"]))
    stack.up()
    first = content(sandbox, former)
    sandbox.control.fail("secretsmanager:PutResourcePolicy", "AccessDeniedException", times=50)
    stack.write(settings(2, left))
    assert stack.up("--continue-on-error", check=False).code != 0
    sandbox.control.clear_faults()
    assert content(sandbox, former) == first, "while they can read it, no other key is in it"
    stack.up()
    with pytest.raises(ClientError, match="AccessDenied"):
        content(sandbox, former)
    current = content(sandbox)
    assert current != first
    assert works(sandbox, (current["aws_access_key_id"], current["aws_secret_access_key"]))
    assert stack.preview("--expect-no-changes").changes == {}
    assert stack.refresh("--expect-no-changes").changes == {}
    stack.write(settings(2, [*left, "arn:aws:iam::123456789012:user/former"]))
    stack.up()
    assert content(sandbox, former) == current, "they are readers again"


@pytest.mark.long
@pytest.mark.parametrize("is_kept", [True, False])
def test_an_expired_key_in_use_keeps_its_copy_where_the_store_changes_with_the_expiry(
    new_stack: NewStack, sandbox: Sandbox, is_kept: bool
) -> None:
    def settings(store: str, **key: Any) -> dict[str, Any]:
        asked = config(keepSecret=is_kept, retireGuard={"idleDays": 3}, **key)
        return {**asked, "deliver": {store: {}}}

    stack = new_stack()
    stack.write(settings("ssm"))
    stack.up()
    key = read(sandbox, "ssm")
    assert works(sandbox, key)
    stack.write(settings("secretsManager", expires=in_days(-1)))
    done = stack.up(check=False)
    assert done.code != 0
    assert ("is still in use and is not deactivated" if is_kept else "its only copy would be deleted with") in done.text
    assert read(sandbox, "secretsManager" if is_kept else "ssm") == key, "the key stays together with its copy"
    assert works(sandbox, key)


@pytest.mark.long
@pytest.mark.parametrize("is_kept", [True, False])
@pytest.mark.parametrize("kind", ["secretsManager", "ssm"])
def test_a_key_in_a_store_that_is_not_deleted_yet_makes_no_room(
    new_stack: NewStack, sandbox: Sandbox, is_kept: bool, kind: str
) -> None:
    def settings(serial: int, name: str) -> dict[str, Any]:
        other = "ssm" if kind == "secretsManager" else "secretsManager"
        asked = held_names(ann={kind: {"name": f"/{name}"}}, bob={other: {"name": "/bob"}})
        for user in asked["users"].values():
            user["key"] = {"serial": serial, "keepSecret": is_kept}
        return asked

    stack = new_stack()
    stack.write(settings(1, "old"))
    stack.up()
    first = stack.outputs()["accessKeyIds"]["ann"]
    write = "ssm:PutParameter" if kind == "secretsManager" else "secretsmanager:PutSecretValue"
    sandbox.control.fail(write, "AccessDeniedException", times=500)
    stack.write(settings(2, "new"))
    assert stack.up(check=False).code != 0
    stack.write(settings(3, "new"))
    refused = stack.up(check=False)
    assert f"this run deletes a secret or parameter that has the access key {first}, and that key makes" in refused.text
    assert keys_in_iam(sandbox, "ann")[first] == "Active", "the old secret still has it"
    sandbox.control.clear_faults()
    stack.up(check=False)  # bob's key is completed before another one is issued
    stack.up()
    assert first not in keys_in_iam(sandbox, "ann"), "as the message advises"
    assert stored_keys(sandbox).keys() == {"/new", "/bob"}
    assert stack.preview("--expect-no-changes").changes == {}


@pytest.mark.long
@pytest.mark.parametrize("is_kept", [True, False])
@pytest.mark.parametrize("kind", ["secretsManager", "ssm"])
def test_a_previous_key_that_somebody_put_back_in_a_form_of_their_own_is_not_retired(
    new_stack: NewStack, sandbox: Sandbox, is_kept: bool, kind: str
) -> None:
    stack, delivered = new_stack(), list[str]()
    deliver = {kind: {"fields": {"id": "username", "secret": "password"}}}
    for serial in (1, 2):
        stack.write({**config(serial=serial, keepSecret=is_kept), "deliver": deliver})
        stack.up()
        delivered.append(text_in_store(sandbox, kind))
    old = json.loads(delivered[0])
    usual = {"aws_access_key_id": old["username"], "aws_secret_access_key": old["password"]}
    edited = json.dumps({"password": old["password"], "username": old["username"], "region": "us-east-1", **usual})
    put_text(sandbox, kind, edited)
    stack.write({**config(serial=2, previous="deleted", keepSecret=is_kept), "deliver": deliver})
    refused = stack.up(check=False)
    assert f"the access key {old['username']} of test-user is not retired, because " in refused.text
    assert keys_in_iam(sandbox)[old["username"]] == "Active"
    put_text(sandbox, kind, delivered[1])
    stack.up()
    assert old["username"] not in keys_in_iam(sandbox)


@pytest.mark.long
def test_readers_do_not_replace_a_policy_that_somebody_gave_to_the_secret(
    new_stack: NewStack, sandbox: Sandbox
) -> None:
    stack, secrets, app = new_stack(), sandbox.client("secretsmanager"), "arn:aws:iam::123456789012:user/app"
    reader(sandbox, "app")
    stack.write({**config(), "deliver": {"secretsManager": {"name": "s"}}})
    stack.up()
    allow = {"Effect": "Allow", "Principal": {"AWS": app}, "Action": "secretsmanager:GetSecretValue", "Resource": "*"}
    for statement, readers, is_refused in (
        ({**allow, "Effect": "Deny"}, [app], True),
        (allow, ROOT, True),
        (allow, [app], False),
    ):
        policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
        secrets.put_resource_policy(SecretId="s", ResourcePolicy=policy)
        stack.write({**config(), "deliver": {"secretsManager": {"name": "s", "readers": readers}}})
        for run in (stack.preview, stack.up):
            done = run(check=not is_refused)
            told = "the secret 's' has a resource policy that this stack did not write, and readers would"
            assert (told in done.text) is is_refused
        stays = json.loads(secrets.get_resource_policy(SecretId="s")["ResourcePolicy"])["Statement"] == [statement]
        assert stays is is_refused
    assert stack.preview("--expect-no-changes").changes == {}


@pytest.mark.long
def test_an_expired_key_does_not_go_into_a_store_that_is_new(new_stack: NewStack, sandbox: Sandbox) -> None:
    def settings(name: str, **key: Any) -> dict[str, Any]:
        return {**config(**key), "deliver": {"secretsManager": {"name": name}}}

    def held(name: str) -> list[str]:
        found = sandbox.client("secretsmanager").batch_get_secret_value(SecretIdList=[name])["SecretValues"]
        return [one["SecretString"] for one in found]

    stack = new_stack()
    stack.write(settings("old"))
    stack.up()
    key = stack.key("test-user")
    stack.write(settings("new", expires=in_days(-1)))
    assert f"the access key {key[0]} stays active until the next `pulumi up`" in stack.up().text
    assert "expired" in held("new")[0], "the key is not in the new secret"
    stack.up()
    assert keys_in_iam(sandbox) == {key[0]: "Inactive"}
    assert "expired" in held("new")[0]
    assert stack.preview("--expect-no-changes").changes == {}


@pytest.mark.long
def test_a_key_that_does_not_work_does_not_go_into_a_store_in_which_another_users_key_has_expired(
    new_stack: NewStack, sandbox: Sandbox
) -> None:
    def settings(ann: str, bob: str, **of_ann: Any) -> dict[str, Any]:
        stores = {user: {"secretsManager": {"name": name}} for user, name in (("ann", ann), ("bob", bob))}
        asked = held_names(**stores)
        asked["users"]["ann"]["key"] = of_ann
        return asked

    stack = new_stack()
    stack.write(settings("shared", "bob"))
    stack.up()
    stack.write(settings("shared", "bob", expires=in_days(-1)))
    stack.up()
    bob = stack.outputs()["accessKeyIds"]["bob"]
    sandbox.client("iam").update_access_key(UserName="bob", AccessKeyId=bob, Status="Inactive")
    stack.write(settings("ann", "shared", expires=in_days(-1)))
    done = stack.up()
    assert f"the access key {bob} is not delivered to the secret 'shared' in Secrets Manager" in done.text
    assert "expired" in sandbox.client("secretsmanager").get_secret_value(SecretId="shared")["SecretString"]
    assert stack.preview("--expect-no-changes").changes == {}


@pytest.mark.long
@pytest.mark.parametrize(
    ("store", "keep", "option", "what"),
    [
        ("secretsManager", False, "--target", "AccessKey::access/test-user/1"),
        ("ssm", False, "--exclude", "AccessKey::access/test-user/2"),
        ("ssm", True, "--exclude", "Parameter::access/access-keys/test-user"),
        ("ssm", True, "--target", "AccessKey::access/test-user/1"),
    ],
)
def test_after_a_failed_delivery_a_run_that_leaves_the_store_out_does_not_retire_the_key_in_it(
    new_stack: NewStack, sandbox: Sandbox, store: str, keep: bool, option: str, what: str
) -> None:
    stack = new_stack()
    stack.write({**config(keepSecret=keep), "deliver": {store: {}}})
    stack.up()
    key = read(sandbox, store)
    stack.write({**config(serial=2, previous="deleted", keepSecret=keep), "deliver": {store: {}}})
    write = "secretsmanager:PutSecretValue" if store == "secretsManager" else "ssm:PutParameter"
    sandbox.control.fail(write, "InternalServiceError", times=50)
    assert stack.up(check=False).code != 0
    sandbox.control.clear_faults()
    (urn,) = (urn for urn in stack.resources() if urn.endswith(what))
    said: list[str] = []
    for _ in range(2):
        said.append(stack.up(option, urn, check=False).text)
        assert read(sandbox, store) == key
        assert works(sandbox, key), said
    assert f"the access key {key[0]} of test-user stays as it is, because a store still holds it" in said[-1]
    stack.up()
    assert works(sandbox, read(sandbox, store))
    assert stack.preview("--expect-no-changes").changes == {}

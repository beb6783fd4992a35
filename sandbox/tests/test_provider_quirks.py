"""What would surprise the author of a program: the real provider's ways, kept by the emulated provider."""

import base64
import json
import re
from typing import Any

import pytest
from aws_support import REGION, Strict
from provider_client import UNKNOWN, Connection, Secret
from pulumi_sandbox.provider.resources.iam_keys import ses_smtp_password_v4
from pysequoia import Tsk, decrypt

GROUP, USER = "aws:iam/group:Group", "aws:iam/user:User"
KEY, POLICY = "aws:iam/accessKey:AccessKey", "aws:iam/policy:Policy"
ATTACHMENT = "aws:iam/groupPolicyAttachment:GroupPolicyAttachment"
MEMBERSHIP = "aws:iam/userGroupMembership:UserGroupMembership"
READ_ONLY = "arn:aws:iam::aws:policy/ReadOnlyAccess"


def document(action: str) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": action, "Resource": "*"}]})


@pytest.fixture
def iam(strict: Strict) -> Any:
    return strict.client("iam")


# ---- 1 to 3: renaming


@pytest.mark.parametrize("token", [GROUP, USER])
def test_a_rename_is_an_update_after_which_the_outputs_id_wins(connection: Connection, token: str) -> None:
    kind = token.rsplit(":", 1)[1]
    made = connection.make(token, {"name": f"before-{kind}"})
    assert not made.diff({"name": f"after-{kind}"}).replaces, "a rename must not replace"
    made.update({"name": f"after-{kind}"})
    assert (made.id, made.outputs["id"]) == (f"before-{kind}", f"after-{kind}"), "the engine keeps the old id for now"
    assert made.refresh(), "a refresh under the engine's old id must not lose the renamed one"
    assert made.id == f"after-{kind}", "the refresh must teach the engine the new id"
    made.id = f"before-{kind}"
    made.delete()
    assert connection.find(token, f"after-{kind}") is None, "delete must go by the outputs' id, not the engine's"


def test_a_key_replaced_by_a_rename_of_its_user_stays_behind(connection: Connection, iam: Any) -> None:
    user, key = connection.make(USER, {"name": "carol"}), connection.make(KEY, {"user": "carol"})
    assert key.diff({"user": "caroline"}).replaces == ["user"], "another user needs another key"
    user.update({"name": "caroline"})
    new = connection.make(KEY, {"user": "caroline"})
    key.delete()
    on_aws = [found["AccessKeyId"] for found in iam.list_access_keys(UserName="caroline")["AccessKeyMetadata"]]
    assert sorted(on_aws) == sorted([key.id, new.id]), "the old key, deleted under the old name, must still be there"


def test_attachments_survive_the_rename_of_their_group(connection: Connection, iam: Any) -> None:
    group = connection.make(GROUP, {"name": "team"})
    attachment = connection.make(ATTACHMENT, {"group": "team", "policyArn": READ_ONLY})
    group.update({"name": "crew"})
    diff = attachment.diff({"group": "crew", "policyArn": READ_ONLY})
    assert (list(diff.replaces), diff.deleteBeforeReplace) == (["group"], True), "it is deleted, then made again"
    attachment.delete()
    connection.make(ATTACHMENT, {"group": "crew", "policyArn": READ_ONLY})
    attached = iam.list_attached_group_policies(GroupName="crew")["AttachedPolicies"]
    assert [policy["PolicyArn"] for policy in attached] == [READ_ONLY], "the policy must be attached all along"


# ---- 4: the order of a replacement


def test_only_what_has_a_name_of_its_own_choice_is_deleted_first(connection: Connection) -> None:
    document_ = document("s3:Get*")
    named = connection.make(POLICY, {"name": "named", "policy": document_})
    automatic = connection.make(POLICY, {"policy": document_}, name="automatic")
    assert named.diff({"name": "named", "policy": document_, "path": "/x/"}).deleteBeforeReplace, "an explicit name"
    assert not automatic.diff({"policy": document_, "path": "/x/"}).deleteBeforeReplace, "an automatic name"


def test_an_automatic_name_is_the_logical_name_and_seven_hex_digits_and_stays(connection: Connection) -> None:
    made = connection.make(USER, {}, name="dave")
    assert re.fullmatch(r"dave-[0-9a-f]{7}", made.id), f"{made.id} is not an automatic name"
    assert not made.diff({"path": "/"}).diffs, "the next run must choose the same name"
    assert made.diff({"name": "david"}).diffs == ["name"], "a name of one's own replaces the automatic one in place"


# ---- 5 and 6: what inputs and documents look like


def test_checked_inputs_gain_defaults_and_a_refresh_drops_the_list_of_them(connection: Connection) -> None:
    connection.make(USER, {"name": "erin"})
    key = connection.make(KEY, {"user": "erin"})
    assert (key.inputs["status"], key.inputs["__defaults"]) == ("Active", ["status"])
    key.refresh()
    assert key.inputs == {"user": "erin", "status": "Active"}, "after a refresh the inputs have no __defaults"
    assert not key.diff({"user": "erin"}).diffs, "that must not make a difference to the next run"


def test_a_policy_document_is_kept_with_sorted_keys_and_only_its_meaning_counts(connection: Connection) -> None:
    made = connection.make(POLICY, {"name": "sorted", "policy": document("s3:Get*")})
    assert made.outputs["policy"] == (
        '{"Statement":[{"Action":"s3:Get*","Effect":"Allow","Resource":"*"}],"Version":"2012-10-17"}'
    )
    same = json.dumps(
        {"Statement": [{"Resource": ["*"], "Action": ["s3:Get*"], "Effect": "Allow"}], "Version": "2012-10-17"},
        indent=4,
    )
    assert not made.diff({"name": "sorted", "policy": same}).diffs, "layout, order and lists of one are no change"
    assert made.diff({"name": "sorted", "policy": document("s3:Put*")}).diffs == ["policy"]


# ---- 7: keys and PGP


def test_a_key_with_a_pgp_key_keeps_its_secret_only_encrypted(connection: Connection) -> None:
    owner = Tsk.generate("Erin <erin@example.org>")
    public = base64.b64encode(bytes(owner.extract_certificate())).decode()
    connection.make(USER, {"name": "frank"})
    preview = connection.preview(KEY, {"user": "frank", "pgpKey": public})
    for output in ("encryptedSecret", "encryptedSesSmtpPasswordV4", "keyFingerprint"):
        assert preview[output] == UNKNOWN, f"{output} is unknown in a preview"
    key = connection.make(KEY, {"user": "frank", "pgpKey": public})
    assert not {"secret", "sesSmtpPasswordV4"} & key.outputs.keys(), "the secret must not be there in the clear"
    assert key.outputs["keyFingerprint"] == owner.extract_certificate().fingerprint

    def opened(output: str) -> str:
        message = base64.b64decode(key.outputs[output], validate=True)
        content = decrypt(message, decryptor=owner.decryptor()).bytes
        assert content is not None
        return content.decode()

    secret = opened("encryptedSecret")
    assert len(secret) == 40, "an AWS secret access key has 40 characters"
    assert opened("encryptedSesSmtpPasswordV4") == ses_smtp_password_v4(secret, REGION)
    key.refresh()
    assert key.outputs["keyFingerprint"], "a refresh keeps what AWS never shows"


def test_a_key_without_a_pgp_key_has_no_pgp_outputs(connection: Connection) -> None:
    connection.make(USER, {"name": "grace"})
    preview = connection.preview(KEY, {"user": "grace"})
    assert preview["encryptedSecret"] == UNKNOWN, "a preview cannot tell"
    assert "encryptedSecret" not in connection.make(KEY, {"user": "grace"}).outputs, "then there is none"


@pytest.mark.parametrize(
    ("pgp_key", "says"),
    [
        ("keybase:someone", "keybase.io"),
        ("-----BEGIN PGP PUBLIC KEY BLOCK-----\n...", "ASCII-armored"),
        ("not base64!", "not a valid base64"),
        ("QUJD", "OpenPGP public key"),
    ],
)
def test_an_unusable_pgp_key_is_refused_before_there_is_an_access_key(
    connection: Connection, pgp_key: str, says: str
) -> None:
    _, failures = connection.check(KEY, {"user": "nobody", "pgpKey": pgp_key})
    assert says in failures["pgpKey"], f"the message must say what is wrong: {failures}"
    assert "\n" not in failures["pgpKey"], "the message must be one line"


def test_the_smtp_password_is_derived_as_ses_does() -> None:
    password = ses_smtp_password_v4("some+secret+key", "eu-central-1")
    assert password == "BMXhUYlu5Z3gSXVQORxlVa7XPaz91aGWdfHxvkOZdWZ2", "the vector of the SES SMTP algorithm"


def test_an_imported_key_has_no_secret(connection: Connection, iam: Any) -> None:
    connection.make(USER, {"name": "heidi"})
    made_manually = iam.create_access_key(UserName="heidi")["AccessKey"]["AccessKeyId"]
    key = connection.find(KEY, made_manually)
    assert key is not None, "import finds the user of a key by itself"
    assert (key.outputs["user"], key.outputs["status"]) == ("heidi", "Active")
    assert "secret" not in key.outputs, "AWS never shows a secret again"
    assert key.refresh(), "a refresh finds the imported key"
    assert "secret" not in key.outputs


# ---- 8: ids


def test_ids_of_attachments_and_memberships(connection: Connection) -> None:
    connection.make(GROUP, {"name": "ids"})
    connection.make(USER, {"name": "ivan"})
    attachment = connection.make(ATTACHMENT, {"group": "ids", "policyArn": READ_ONLY})
    assert re.fullmatch(r"ids-\d{18}[0-9a-f]{8}", attachment.id)
    imported = connection.find(ATTACHMENT, f"ids/{READ_ONLY}")
    assert imported is not None, "the import id of an attachment is group/arn"
    assert imported.id == f"ids-{READ_ONLY}"
    membership = connection.make(MEMBERSHIP, {"user": "ivan", "groups": ["ids"]})
    again = [connection.find(MEMBERSHIP, "ivan/ids") for _ in range(2)]
    ids = {membership.id, *(found.id for found in again if found)}
    assert len(ids) == 3, "a membership gets a new id at each import"
    assert all(re.fullmatch(r"terraform-\d{18}[0-9a-f]{8}", made) for made in ids)


# ---- whose membership it is


def test_a_users_membership_leaves_other_memberships_alone(connection: Connection, iam: Any) -> None:
    for group in ("own", "other", "third"):
        connection.make(GROUP, {"name": group})
    connection.make(USER, {"name": "judy"})
    membership = connection.make(MEMBERSHIP, {"user": "judy", "groups": ["own"]})
    iam.add_user_to_group(UserName="judy", GroupName="other")
    membership.refresh()
    assert membership.outputs["groups"] == ["own"], "it reads only the groups it lists"
    membership.update({"user": "judy", "groups": ["third"]})
    membership.delete()
    left = [group["GroupName"] for group in iam.list_groups_for_user(UserName="judy")["Groups"]]
    assert left == ["other"], "it removes only what it added"


def test_reading_secrets_never_overwrites_the_state(connection: Connection) -> None:
    connection.make(USER, {"name": "mallory"})
    key = connection.make(KEY, {"user": "mallory"})
    secret = key.outputs["secret"]
    assert isinstance(secret, Secret)
    assert len(secret.value) == 40
    key.update({"user": "mallory", "status": "Inactive"})
    key.refresh()
    assert key.outputs["secret"] == secret, "an update and a refresh keep the secret of the state"
    assert key.outputs["status"] == "Inactive"

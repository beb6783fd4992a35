"""`access-keys takeover --tfstate`: what Terraform made becomes a stack, with the secrets that its state holds."""

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.lifecycle.helpers import NewStack, works
from tests.lifecycle.stack import Sandbox
from tests.lifecycle.test_takeover import AWS, document, in_iam, takeover, writes

MIRROR = "SANDBOX_TERRAFORM_PLUGIN_DIR"
DOCUMENT = json.dumps(document("s3:ListBucket"))
ANN, BOB, TEAM = ('${aws_iam_user.app["ann"].name}', '${aws_iam_user.app["bob"].name}', "${aws_iam_group.team.name}")
CONFIGURATION = {
    "terraform": {"required_providers": {"aws": {"source": "hashicorp/aws", "version": "5.100.0"}}},
    "provider": {"aws": {"region": "ap-northeast-2"}},
    "data": {"aws_caller_identity": {"me": {}}},
    "resource": {
        "aws_iam_policy": {"own": {"name": "own", "policy": DOCUMENT}},
        "aws_iam_group": {"team": {"name": "team", "path": "/data/"}},
        "aws_iam_group_policy": {"write": {"name": "write", "group": TEAM, "policy": DOCUMENT}},
        "aws_iam_group_policy_attachment": {"read": {"group": TEAM, "policy_arn": f"{AWS}/AmazonS3ReadOnlyAccess"}},
        "aws_iam_user": {"app": {"for_each": {"ann": "", "bob": ""}, "name": "${each.key}", "tags": {"team": "data"}}},
        "aws_iam_user_group_membership": {"ann": {"user": ANN, "groups": [TEAM]}},
        "aws_iam_group_membership": {"team": {"name": "team", "group": TEAM, "users": [ANN, BOB]}},
        "aws_iam_user_policy_attachment": {"ann": {"user": ANN, "policy_arn": "${aws_iam_policy.own.arn}"}},
        "aws_iam_user_policy": {"bob": {"name": "mine", "user": BOB, "policy": DOCUMENT}},
        "aws_iam_access_key": {"ann": {"user": ANN}, "bob": {"user": BOB, "status": "Inactive"}},
    },
}


def with_terraform(sandbox: Sandbox, folder: Path) -> Path:
    """The account and the state that the real Terraform makes of the configuration."""
    if MIRROR not in os.environ or not shutil.which("terraform"):
        pytest.skip(f"needs terraform on PATH, and its aws provider in the folder that {MIRROR} names")
    folder.mkdir()
    (folder / "main.tf.json").write_text(json.dumps(CONFIGURATION))
    environment = sandbox.environment | {"TF_IN_AUTOMATION": "1", "CHECKPOINT_DISABLE": "1"}
    environment |= {
        "AWS_ACCESS_KEY_ID": sandbox.secrets.root_access_key_id,
        "AWS_SECRET_ACCESS_KEY": sandbox.secrets.root_secret_access_key,
        "AWS_ENDPOINT_URL": sandbox.running.plain_endpoint_url,
    }
    for command in (["init", f"-plugin-dir={os.environ[MIRROR]}"], ["apply", "-auto-approve"]):
        done = subprocess.run(
            ["terraform", *command, "-no-color"], cwd=folder, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr
    return folder / "terraform.tfstate"


def with_boto3(sandbox: Sandbox, folder: Path) -> Path:
    """The same account, and the state that Terraform would have of it."""
    iam = sandbox.client("iam")
    own = iam.create_policy(PolicyName="own", PolicyDocument=DOCUMENT)["Policy"]["Arn"]
    team = iam.create_group(GroupName="team", Path="/data/")["Group"]
    iam.put_group_policy(GroupName="team", PolicyName="write", PolicyDocument=DOCUMENT)
    iam.attach_group_policy(GroupName="team", PolicyArn=f"{AWS}/AmazonS3ReadOnlyAccess")
    resources: list[dict[str, Any]] = []

    def add(kind: str, name: str, index: str | None = None, /, **attributes: Any) -> None:
        instance = {"schema_version": 0, "attributes": attributes} | ({"index_key": index} if index else {})
        resources.append({"mode": "managed", "type": f"aws_iam_{kind}", "name": name, "instances": [instance]})

    add("policy", "own", arn=own, name="own")
    add("group", "team", name="team", arn=team["Arn"], path="/data/")
    add("group_policy", "write", group="team", name="write")
    add("group_policy_attachment", "read", group="team", policy_arn=f"{AWS}/AmazonS3ReadOnlyAccess")
    for user in ("ann", "bob"):
        made = iam.create_user(UserName=user, Tags=[{"Key": "team", "Value": "data"}])["User"]
        iam.add_user_to_group(GroupName="team", UserName=user)
        key = iam.create_access_key(UserName=user)["AccessKey"]
        add("user", "app", user, name=user, arn=made["Arn"])
        attributes = {"id": key["AccessKeyId"], "secret": key["SecretAccessKey"], "ses_smtp_password_v4": "BAsmtp"}
        add("access_key", user, **attributes, user=user, encrypted_secret=None, key_fingerprint=None)
    iam.update_access_key(UserName="bob", AccessKeyId=key["AccessKeyId"], Status="Inactive")
    add("user_group_membership", "ann", user="ann", groups=["team"])
    add("group_membership", "team", name="team", group="team", users=["ann", "bob"])
    iam.attach_user_policy(UserName="ann", PolicyArn=own)
    add("user_policy_attachment", "ann", user="ann", policy_arn=own)
    iam.put_user_policy(UserName="bob", PolicyName="mine", PolicyDocument=DOCUMENT)
    add("user_policy", "bob", user="bob", name="mine")
    resources.append({"mode": "data", "type": "aws_caller_identity", "name": "me", "instances": []})
    folder.mkdir()
    state = folder / "terraform.tfstate"
    state.write_text(json.dumps({"version": 4, "terraform_version": "1.11.4", "resources": resources}))
    return state


@pytest.mark.long
@pytest.mark.parametrize("make", [with_boto3, with_terraform])
def test_what_terraform_made_becomes_a_stack_with_its_secrets(
    new_stack: NewStack, sandbox: Sandbox, tmp_path: Path, make: Any
) -> None:
    stack, iam = new_stack(), sandbox.client("iam")
    state = make(sandbox, tmp_path / "terraform")
    secrets = {
        instance["attributes"]["user"]: instance["attributes"]["secret"]
        for found in json.loads(state.read_text())["resources"]
        if found["type"] == "aws_iam_access_key"
        for instance in found["instances"]
    }
    iam.attach_user_policy(UserName="bob", PolicyArn=f"{AWS}/AmazonSNSFullAccess")
    iam.create_user(UserName="other")
    before = in_iam(sandbox)
    sandbox.control.clear_calls()
    done = takeover(stack, "--tfstate", str(state), "--yes")
    assert "and the next update changes nothing." in done.stdout
    assert "user bob: the policy arn:aws:iam::aws:policy/AmazonSNSFullAccess, which is not in the Terraform state" in (
        done.stdout
    )
    assert "user other" not in done.stdout
    assert """'aws_iam_user.app["ann"]'""" in done.stdout, "Terraform's own address, quoted for a shell"
    assert "aws_iam_policy" not in done.stdout, "a policy of one's own stays with Terraform"
    for shown in (done.stdout, done.stderr, stack.file.read_text(), json.dumps(stack.resources())):
        assert not any(secret in shown for secret in secrets.values()), "no secret is shown or in an unencrypted file"
    earlier = len(sandbox.control.calls())
    takeover(stack, "--tfstate", str(state), "--yes", check=False)
    asking = {call.key for call in sandbox.control.calls()[earlier:] if call.action == "GetCallerIdentity"}
    assert asking == {sandbox.secrets.root_access_key_id}, (
        "a key that the stack has is not tried: that looks like a use"
    )
    state.unlink()
    for backup in state.parent.glob("*.backup"):
        backup.unlink()
    assert stack.up().changes == {}
    assert writes(sandbox) == []
    assert in_iam(sandbox) == before
    assert stack.outputs()["secretAccessKeys"] == secrets
    assert works(sandbox, stack.key("ann"))
    assert stack.refresh().changes == {}
    assert stack.outputs()["secretAccessKeys"] == secrets, "a refresh keeps them"

    stack.file.write_text(stack.file.read_text().replace("    ann:\n", "    ann:\n      key: {serial: 2}\n"))
    old = stack.key("ann")
    stack.up()
    assert works(sandbox, old)
    assert works(sandbox, stack.key("ann"))
    iam.detach_user_policy(UserName="bob", PolicyArn=f"{AWS}/AmazonSNSFullAccess")
    stack.destroy()
    assert [user["UserName"] for user in iam.list_users()["Users"]] == ["other"]


@pytest.mark.long
def test_a_secret_that_aws_does_not_accept_is_not_taken_over(
    new_stack: NewStack, sandbox: Sandbox, tmp_path: Path
) -> None:
    stack = new_stack()
    path = with_boto3(sandbox, tmp_path / "terraform")
    state = json.loads(path.read_text())
    anns = next(
        instance["attributes"]
        for found in state["resources"]
        if found["type"] == "aws_iam_access_key"
        for instance in found["instances"]
        if instance["attributes"]["user"] == "ann"
    )
    anns["secret"] = "(sensitive value)"
    path.write_text(json.dumps(state))
    done = takeover(stack, "--tfstate", str(path), "--yes")
    path.unlink()
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"AWS does not accept the secret that the Terraform state has of the access key {anns['id']} of ann" in (
        done.stdout
    )
    assert "and the next update changes nothing." in done.stdout
    assert set(stack.outputs()["secretAccessKeys"]) == {"bob"}
    stack.file.write_text(stack.file.read_text().replace("    ann:\n", "    ann:\n      deliver: {ssm: {}}\n"))
    assert f"the secret of the access key {anns['id']} is not known" in stack.up(check=False).text


def test_a_state_of_another_account_is_refused(new_stack: NewStack, sandbox: Sandbox, tmp_path: Path) -> None:
    stack, state = new_stack(), with_boto3(sandbox, tmp_path / "terraform")
    state.write_text(state.read_text().replace("123456789012", "210987654321"))
    refused = takeover(stack, "--tfstate", str(state), check=False)
    assert refused.returncode == 1
    assert "from account 210987654321, but the credentials are for account 123456789012" in refused.stderr

"""What the operator needs (`rules/operator_rows.py`), tested from both sides: whole lives of a stack under an operator
who has exactly what `access-keys permissions` prints for each command; each action is used, and without any one of
them a life fails or does less."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any, TypeVar

import pytest
import yaml
from aws_access_keys.rules.operator_rows import COMMANDS, OWN, ROWS, Command
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.lifecycle.helpers import NewStack, in_days, keys_in_iam
from tests.lifecycle.stack import CHECKOUT, Done, Sandbox, Stack

Result = TypeVar("Result")

ACCESS_KEYS = Path(sys.executable).with_name("access-keys")
PROGRAM = Path(__file__).with_name("programs") / "operator"
BACKEND = ("state in S3", "secrets under KMS", "state in S3, in a bucket encrypted with the same key")
"""Rows that the backend needs, which is a folder here."""
BY_THE_STORES = {"kms:GenerateDataKey", "kms:Encrypt", "kms:Decrypt"}
"""What Secrets Manager and SSM do in the operator's name: needed, and never a call of the operator's own."""
FAY = {"groups": ["first"], "key": None}
ALIAS = "alias/keys"
UNSEEN = {"iam:DeleteServiceSpecificCredential", "iam:GetAccountSummary"}
"""The emulated account has no such credentials, and a life here passes no quota."""
PERMISSIONS = {"HeadBucket": "ListBucket"}
"""Call → the permission that it needs, where it has another name."""
NEEDED = {
    command: {
        f"{row.service}:{action}"
        for row in ROWS
        for action in getattr(row, command).split()
        if row.purpose not in BACKEND
    }
    for command in COMMANDS
}
ACTIONS = sorted(set().union(*NEEDED.values()))
OPTIONAL = set(ACTIONS) - {
    f"{row.service}:{action}"
    for row in ROWS
    if not row.otherwise
    for action in row.actions
    if row.purpose not in BACKEND
}
"""Without these, less is known before a change, and the life goes on."""


def access_keys(stack: Stack, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """`access-keys ARGUMENTS` as the stack's operator."""
    return subprocess.run(
        [ACCESS_KEYS, *arguments, "--stack", stack.name],
        cwd=stack.folder,
        env=stack.sandbox.environment | stack.environment,
        capture_output=True,
        text=True,
    )


def grant(iam: Any, document: dict[str, Any]) -> None:
    """Replace what the operator may do."""
    for attached in iam.list_attached_user_policies(UserName="the-operator")["AttachedPolicies"]:
        iam.detach_user_policy(UserName="the-operator", PolicyArn=attached["PolicyArn"])
        iam.delete_policy(PolicyArn=attached["PolicyArn"])
    if document["Statement"]:
        made = iam.create_policy(PolicyName="the-operator", PolicyDocument=json.dumps(document))
        iam.attach_user_policy(UserName="the-operator", PolicyArn=made["Policy"]["Arn"])


@dataclass(frozen=True)
class Step:
    """A command in the life of a stack."""

    command: Command
    called: frozenset[str]
    """The actions that the operator called."""
    number: int
    """How many results came before its own."""
    copy: Path
    """Of the stack's folder and the backend's, as they were before it; the account's snapshot has the same name."""


@dataclass
class Operator:
    """An IAM user who runs a stack, with exactly the policy that is printed for each command."""

    stack: Stack
    without: str = ""
    """An action that is taken out of every policy."""
    known: list[Any] = field(default_factory=list[Any])
    """Results of an earlier life, with which this one begins: what led to them is not done again."""
    results: list[Any] = field(default_factory=list[Any])
    steps: list[Step] = field(default_factory=list[Step])

    def may(self, command: Command) -> None:
        """Replace what the operator may do by what a command needs."""
        printed = access_keys(self.stack, "permissions", "--for", command)
        document = json.loads(printed.stdout)
        for found in document["Statement"]:
            found["Action"] = [action for action in found["Action"] if action != self.without]
        document["Statement"] = [found for found in document["Statement"] if found["Action"]]
        grant(self.stack.sandbox.client("iam"), document)

    def run(self, command: Command, *arguments: str) -> Done:
        """Run a command with its own policy and no other."""
        return self.once(lambda: self._run(command, *arguments))

    def once(self, do: Callable[[], Result]) -> Result:
        """What `do` returns, or returned in the earlier life."""
        number = len(self.results)
        self.results.append(self.known[number] if number < len(self.known) else do())
        return self.results[-1]

    def _run(self, command: Command, *arguments: str) -> Done:
        self.may(command)
        control, key = self.stack.sandbox.control, self.stack.environment["AWS_ACCESS_KEY_ID"]
        number = len(self.results)
        copy = self.stack.folder.with_name(f"{self.stack.name} before {number}")
        if not self.known:
            control.take_snapshot(copy.name)
            shutil.copytree(self.stack.folder, copy / "stack")
            shutil.copytree(self.stack.sandbox.folder.state, copy / "state")
        control.clear_calls()
        if command in OWN:
            done = access_keys(self.stack, command, *arguments)
            result = Done(done.returncode, done.stdout + done.stderr, {})
        else:
            result = getattr(self.stack, command)(*arguments, check=False)
        called = {
            f"{call.service}:{PERMISSIONS.get(call.action, call.action)}" for call in control.calls() if call.key == key
        }
        self.steps.append(Step(command, frozenset(called), number, copy))
        return result

    def again(self, without: str) -> "Operator":
        """The same life without an action, from the first step on that called it: until then it is the same."""
        first = next((step for step in self.steps if without in step.called), self.steps[0])
        sandbox = self.stack.sandbox
        sandbox.control.restore_snapshot(first.copy.name)
        for copied, place in (("stack", self.stack.folder), ("state", sandbox.folder.state)):
            shutil.rmtree(place)
            shutil.copytree(first.copy / copied, place)
        self.stack.run("stack", "select", self.stack.name)
        self.stack.environment.pop("ACCESS_KEYS_TODAY", None)
        return Operator(self.stack, without, self.results[: first.number])


def operate(stack: Stack) -> Operator:
    """An operator, who has no permission yet."""
    iam = stack.sandbox.client("iam")
    iam.create_user(UserName="the-operator")
    key = iam.create_access_key(UserName="the-operator")["AccessKey"]
    stack.environment |= {"AWS_ACCESS_KEY_ID": key["AccessKeyId"], "AWS_SECRET_ACCESS_KEY": key["SecretAccessKey"]}
    return Operator(stack)


def statement(action: str) -> dict[str, Any]:
    """A policy document that allows an action."""
    return {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": action, "Resource": "*"}]}


def live(operator: Operator) -> Iterator[Done]:
    """A life in which everything happens that the table has a row for."""
    stack = operator.stack
    iam = stack.sandbox.client("iam")
    kms_key, adopted, other, topic = operator.once(lambda: furnish(stack.sandbox))
    reader = ["arn:aws:iam::123456789012:user/eve"]
    secret: dict[str, Any] = {"kmsKey": kms_key, "readers": reader, "replicas": ["eu-west-1"]}
    stores = {"secretsManager": secret, "ssm": {"kmsKey": kms_key}}
    documents = {name: statement("s3:ListAllMyBuckets") for name in ("own", "former")}
    expect, read = {"deny": ["iam:*"]}, [{"bucket": "data", "access": "read"}]
    groups: dict[str, Any] = {
        "readers": {"policies": ["AmazonS3ReadOnlyAccess"], "s3": read, "expect": expect},
        "writers": {"policies": ["AmazonS3FullAccess"], "adopt": True},
        "former": {"policies": ["former", other], "inline": {"own": statement("s3:ListAllMyBuckets")}},
    }
    users: dict[str, Any] = {
        "ann": {"groups": ["readers"], "tags": {"team": "data", "cost": ""}, "key": {"description": "backup"}},
        "bob": {"policies": ["own"], "permissionsBoundary": "own", "allowFrom": ["203.0.113.0/24"], "expect": expect},
        "eve": {"groups": ["readers"], "key": {"adopt": {"id": adopted}}, "deliver": None},
        "fay": {"groups": ["readers"], "key": None, "forceDestroy": True},
        "gus": {"groups": ["readers"], "key": None, "forceDestroy": True},
        "ida": {"groups": ["readers"], "deliver": {"secretsManager": {"existing": "existing"}}},
        "hal": {"policies": ["own"], "allowFrom": ["203.0.113.0/24"]},
        "joy": {"groups": ["readers"], "key": {"keepSecret": False}},
    }
    users["hal"] |= {"key": {"retireGuard": {"idleDays": 1}}, "deliver": {"ssm": {"kmsKey": ALIAS}}}
    settings: dict[str, Any] = {
        "groups": groups,
        "users": users,
        "deliver": stores,
        "policyDocuments": documents,
        "aws:ignoreTags": {"keyPrefixes": ["AKIA"]},
    }
    settings["notify"] = {"sns": topic}
    stack.write({"groups": {"first": {"policies": ["AmazonS3ReadOnlyAccess"]}}, "users": {"fay": FAY}})
    yield operator.run("up")
    operator.once(lambda: make_others(iam))
    yield operator.run("takeover", "--account", "--user", "ivy", "--yes")
    stack.write({**settings, "aws:defaultTags": {"tags": {"owner": "it"}}})
    yield operator.run("inventory")
    yield operator.run("preview")
    yield operator.run("up")
    yield operator.run("up")
    yield operator.run("report")
    yield operator.run("inventory")  # the credential report of the first one does not have the new keys
    yield operator.run("report", "--who", "ann")
    (leaked,) = operator.once(lambda: keys_in_iam(stack.sandbox, "ann"))
    yield operator.run("leak", leaked)
    yield operator.run("leak", leaked, "--undo")
    documents |= {name: statement("s3:GetBucketLocation") for name in documents}
    groups["readers"] = {"policies": ["AmazonS3FullAccess", "own"], "path": "/data/"}
    groups["readers"] |= {"allowFrom": ["203.0.113.0/24"], "inline": {"own": documents["own"]}}
    users["bob"] = {"policies": ["AmazonS3ReadOnlyAccess"], "expect": expect}
    key: dict[str, Any] = {"serial": 2, "previous": "inactive"}
    users["ann"] = {"groups": ["writers"], "tags": {"team": "web", "room": ""}, "path": "/data/", "key": key}
    users["ann"]["permissionsBoundary"] = "own"
    settings |= {
        "deliver": {"secretsManager": {"readers": reader, "replicas": ["us-west-2"]}, "ssm": {}},
        "aws:defaultTags": {"tags": {"stage": "prod"}},
    }
    stack.write(settings)
    yield operator.run("preview")
    yield operator.run("up")
    yield operator.run("refresh")
    key["previous"] = "active"  # has the key leaked?
    stack.write(settings)
    yield operator.run("preview")
    operator.once(lambda: give_everything(stack.sandbox, "fay"))
    del users["bob"], users["fay"], groups["former"], documents["former"]
    key |= {"serial": 3, "previous": "deleted", "retireGuard": {"idleDays": 1}}
    stack.write(settings)
    stack.environment["ACCESS_KEYS_TODAY"] = in_days(5)
    yield operator.run("up")
    operator.once(lambda: give_everything(stack.sandbox, "gus"))
    yield operator.run("destroy", "--run-program")


def furnish(sandbox: Sandbox) -> tuple[str, str, str, str]:
    """Make what the stack finds in the account. Returns the ARN of a KMS key (there is another one, with an alias), the
    id of an access key to adopt, the ARN of a policy and that of a topic."""
    iam, kms = sandbox.client("iam"), sandbox.client("kms")
    iam.create_user(UserName="eve")
    iam.create_group(GroupName="writers")
    adopted = iam.create_access_key(UserName="eve")["AccessKey"]["AccessKeyId"]
    other = iam.create_policy(PolicyName="other", PolicyDocument=json.dumps(statement("s3:ListAllMyBuckets")))
    sandbox.client("secretsmanager").create_secret(Name="existing", SecretString="of the team")
    key, with_alias = (kms.create_key()["KeyMetadata"] for _ in range(2))
    kms.create_alias(AliasName=ALIAS, TargetKeyId=with_alias["KeyId"])
    topic = sandbox.client("sns").create_topic(Name="notices")["TopicArn"]
    return key["Arn"], adopted, other["Policy"]["Arn"], topic


def make_others(iam: Any) -> None:
    """A user and a group with policies of every kind."""
    iam.create_group(GroupName="others")
    iam.create_user(UserName="ivy")
    iam.create_access_key(UserName="ivy")
    iam.add_user_to_group(UserName="ivy", GroupName="others")
    for kind, name in (("user", "ivy"), ("group", "others")):
        holder = {f"{kind.capitalize()}Name": name}
        getattr(iam, f"attach_{kind}_policy")(**holder, PolicyArn="arn:aws:iam::aws:policy/AmazonS3ReadOnlyAccess")
        document = json.dumps(statement("s3:ListAllMyBuckets"))
        getattr(iam, f"put_{kind}_policy")(**holder, PolicyName="own", PolicyDocument=document)


def give_everything(sandbox: Sandbox, user: str) -> None:
    """All that keeps IAM from deleting a user."""
    iam, of = sandbox.client("iam"), {"UserName": user}
    iam.create_login_profile(**of, Password="Correct-horse-7-battery")
    iam.create_access_key(**of)
    device = iam.create_virtual_mfa_device(VirtualMFADeviceName=user)["VirtualMFADevice"]["SerialNumber"]
    iam.enable_mfa_device(**of, SerialNumber=device, AuthenticationCode1="123456", AuthenticationCode2="654321")
    iam.upload_ssh_public_key(**of, SSHPublicKeyBody="ssh-rsa AAAA")
    iam.upload_signing_certificate(**of, CertificateBody=certificate())
    iam.put_user_policy(**of, PolicyName="own", PolicyDocument=json.dumps(statement("s3:ListAllMyBuckets")))
    iam.attach_user_policy(**of, PolicyArn="arn:aws:iam::aws:policy/AmazonS3ReadOnlyAccess")


def certificate() -> str:
    """An X.509 certificate, in PEM."""
    key, today = ec.generate_private_key(ec.SECP256R1()), datetime.now(timezone.utc)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "gus")])
    made = x509.CertificateBuilder(name, name, key.public_key(), 1, today, today + timedelta(days=1))
    return made.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()


def outcome(operator: Operator) -> Done:
    """The step at which a life ends: the first that fails, or the last."""
    done = Done(0, "", {})
    for done in live(operator):
        if done.code:
            break
    return done


@pytest.fixture(scope="module")
def whole_life(sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> tuple[Operator, Done]:
    """A life in which nothing is missing, and how it ended."""
    folder = tmp_path_factory.mktemp("operator") / "project"
    folder.mkdir()
    operator = operate(Stack(sandbox, folder, PROGRAM, "operated"))
    return operator, outcome(operator)


@pytest.fixture
def lived(whole_life: tuple[Operator, Done], sandbox: Sandbox) -> Iterator[tuple[Operator, Done]]:
    """The same; after the test the account is empty."""
    yield whole_life
    whole_life[0].stack.run("stack", "rm", "--yes", "--force", check=False)
    sandbox.control.reset()


@pytest.mark.minutes
def test_the_printed_policies_are_enough_and_each_action_is_used(lived: tuple[Operator, Done]) -> None:
    operator, last = lived
    assert last.code == 0, f"what is printed for each command is enough, but:\n{last.text}"
    for command in COMMANDS:
        called = frozenset[str]().union(*(step.called for step in operator.steps if step.command == command))
        needed = NEEDED[command] - BY_THE_STORES - UNSEEN
        assert called - {"sts:GetCallerIdentity"} == needed, f"{command} uses each action, and no other"


@pytest.mark.long
@pytest.mark.parametrize("action", sorted(set(ACTIONS) - UNSEEN))
def test_without_one_of_them_the_missing_one_is_named(lived: tuple[Operator, Done], action: str) -> None:
    last = outcome(lived[0].again(action))
    assert (last.code == 0) == (action in OPTIONAL), f"without {action} the life ends with {last.code}:\n{last.text}"
    named = action.partition(":")[2] in last.text
    named |= action in BY_THE_STORES and "Access to KMS is not allowed" in last.text
    assert named or not last.code, f"{action} is named in:\n{last.text}"
    assert "Traceback" not in last.text


@pytest.mark.long
def test_for_the_example_the_printed_policies_are_enough(new_stack: NewStack) -> None:
    operator = operate(new_stack(program=PROGRAM))
    config: dict[str, Any] = yaml.safe_load((CHECKOUT / "Pulumi.dev.yaml").read_text())["config"]
    for command in ("preview", "up", "up", "report"):
        operator.stack.write(config)
        assert (done := operator.run(command)).code == 0, done.text
    config["aws-access-keys:users"]["test-user"]["key"] = {"serial": 2}
    operator.stack.write(config)
    for command in ("up", "refresh", "report", "destroy"):
        assert (done := operator.run(command)).code == 0, done.text


@pytest.mark.long
def test_what_the_current_operator_lacks_is_listed(new_stack: NewStack, sandbox: Sandbox) -> None:
    operator = operate(new_stack(program=PROGRAM))
    stack, iam = operator.stack, sandbox.client("iam")
    stack.write({"groups": {"test": {"policies": ["AmazonS3FullAccess"]}}, "users": {"ann": {"groups": ["test"]}}})
    printed = access_keys(stack, "permissions")
    assert printed.returncode == 0, "who may not ask the simulator gets the policy all the same"
    assert "iam:SimulatePrincipalPolicy" in printed.stderr
    assert len(printed.stderr.splitlines()) == 2, printed.stderr
    document = json.loads(printed.stdout)
    keys = next(found for found in document["Statement"] if found["Sid"] == "Keys")
    keys["Action"].remove("iam:CreateAccessKey")
    attach = next(found for found in document["Statement"] if found["Sid"] == "GroupPolicies")
    attach["Condition"]["ArnEquals"]["iam:PolicyARN"] = "arn:aws:iam::aws:policy/AmazonEC2FullAccess"
    for action in (
        "iam:SimulatePrincipalPolicy",
        "cloudtrail:LookupEvents",
        "iam:GetAccountAuthorizationDetails",
    ):  # the latter is for report --who
        document["Statement"] += statement(action)["Statement"]
    grant(iam, document)
    printed = access_keys(stack, "permissions")
    assert printed.returncode == 1
    lines = [line for line in printed.stderr.splitlines() if "lacks" in line]
    assert [line.split()[2] for line in lines] == [
        "iam:AttachGroupPolicy",
        "iam:DetachGroupPolicy",
        "iam:CreateAccessKey",
    ], printed.stderr
    policy = "with iam:PolicyARN arn:aws:iam::aws:policy/AmazonS3FullAccess"
    assert f"lacks iam:AttachGroupPolicy on arn:aws:iam::123456789012:group/test {policy} (" in lines[0]
    assert lines[2] == (
        "arn:aws:iam::123456789012:user/the-operator lacks iam:CreateAccessKey on arn:aws:iam::123456789012:user/ann "
        "(users and keys). Without it, `pulumi up` fails when it needs this."
    )
    printed = access_keys(stack, "permissions", "--for", "report")
    assert (printed.returncode, [line for line in printed.stderr.splitlines() if "lacks" in line]) == (0, [])
    keys["Action"].append("iam:CreateAccessKey")
    attach["Condition"]["ArnEquals"]["iam:PolicyARN"] = "arn:aws:iam::aws:policy/AmazonS3FullAccess"
    grant(iam, document)
    assert access_keys(stack, "permissions").returncode == 0, "an operator with the printed policy lacks nothing"

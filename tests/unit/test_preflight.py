"""What only AWS can say about settings: taken names, KMS keys, keys to adopt."""

import json
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import pulumi
import pytest
from aws_access_keys.account import Account
from aws_access_keys.existing_secrets import existing_secret_problems
from aws_access_keys.preflight import missing_buckets, policy_places, preflight
from aws_access_keys.rules.policies import policy_key
from aws_access_keys.rules.problem import PYTHON
from aws_access_keys.setting_types import read_section
from aws_access_keys.settings import ComponentSettings
from aws_access_keys.state_reading import parse_state
from botocore.exceptions import NoCredentialsError
from botocore.parsers import ResponseParserError

from tests.unit.fake_aws import FakeAws, aws_error
from tests.unit.made_up_state import MadeUpState
from tests.unit.recording import PROJECT

ID = "AKIAIOSFODNN7EXAMPLE"
S3 = "arn:aws:iam::aws:policy/AmazonS3ReadOnlyAccess"


def problems(
    aws: FakeAws, users: Mapping[str, Any], state: MadeUpState | None = None, removed: tuple[str, ...] = (), **args: Any
) -> dict[str, str]:
    """Path → message."""
    users = {user: {"groups": ["g"], **settings} for user, settings in users.items()}
    settings, none = read_section(ComponentSettings, {"groups": {"g": {}}, "users": users} | args, PYTHON)
    assert settings is not None, none
    session: Any = lambda: aws  # noqa: E731
    policies = policy_places(settings, PYTHON, "aws")
    found = preflight(
        settings, PYTHON, (state or MadeUpState()).parsed, removed, policies, "aws", ["AKIA"], Account(session)
    )
    return {problem.path: problem.message for problem in found}


def test_where_nothing_is_new_aws_is_asked_nothing(aws: FakeAws) -> None:
    adopted = {"key": {"adopt": {"id": "AKIA-ann-1"}}}
    assert problems(aws, {"ann": adopted}, MadeUpState().group("g").user("ann", "1")) == {}
    assert not aws.asked


@pytest.mark.parametrize("owner", ["123456789012", "222222222222"])
def test_a_secret_of_another_account_is_refused(aws: FakeAws, owner: str) -> None:
    arn = f"arn:aws:secretsmanager:eu-west-1:{owner}:secret:team-AbCdEf"
    users = {"ann": {"groups": ["g"], "deliver": {"secrets_manager": {"existing": arn}}}}
    settings, none = read_section(ComponentSettings, {"groups": {"g": {}}, "users": users}, PYTHON)
    assert settings is not None, none
    account: Any = SimpleNamespace(caller_account="123456789012", ask=lambda *_, **__: {"ARN": arn, "Name": "team"})
    found = list(existing_secret_problems(settings, PYTHON, MadeUpState().parsed, account))
    if owner == "123456789012":
        assert "in the account" not in str(found)
    else:
        assert f"the secret '{arn}' is in the account 222222222222. Name one of this account" in found[0].message


def test_new_names_cost_one_question_for_users_and_one_for_groups(aws: FakeAws) -> None:
    assert problems(aws, {"ann": {}, "bob": {}}) == {}
    assert aws.asked == {"list_users": 1, "list_groups": 1}


def test_a_name_that_the_account_has_in_whatever_case_is_taken(aws: FakeAws) -> None:
    aws.users, aws.groups = {"Ann": {}, "bob": {}}, ["G"]
    found = problems(aws, {"ann": {}, "bob": {}}, MadeUpState().user("eve", "1"))
    assert found["users.ann"] == (
        "the account already has a user 'Ann', which this stack does not manage. Choose another name; name_prefix "
        "puts the same text before all names of a stack."
    )
    assert "pulumi import aws:iam/user:User 'access/bob' 'bob' --parent 'component=urn:pulumi:" in found["users.bob"]
    assert "already has a group 'G'" in found["groups.g"]


def test_a_policy_that_the_account_has_is_taken_unless_the_stack_made_it(aws: FakeAws) -> None:
    document = {"Version": "2012-10-17", "Statement": {"Effect": "Deny", "Action": "*", "Resource": "*"}}
    groups = {"g": {"policies": ["own"], "s3": [{"bucket": "data", "access": "read"}]}}
    args: dict[str, Any] = {"policy_documents": {"own": document}, "groups": groups}
    aws.policies = ["OWN", "g-s3"]
    found = problems(aws, {}, **args)
    assert set(found) == {"policy_documents.own", "groups.g.s3"}
    assert "the account already has a policy 'OWN'" in found["policy_documents.own"]
    assert aws.asked["list_policies"] == 1

    state = MadeUpState().group("g")
    state.add("aws:iam/policy:Policy", "access/own", {"name": "own"})
    state.add("aws:iam/group:Group$aws:iam/policy:Policy", "access/g/s3", {"name": "g-s3"})
    assert problems(aws, {}, state, **args) == {}
    assert aws.asked["list_policies"] == 1, "nothing is new, so nothing is asked"


@pytest.mark.parametrize(
    ("kind", "outputs", "place"),
    [
        ("userPolicyAttachment:UserPolicyAttachment", {"user": "ann", "policyArn": S3}, "users.ann.policies"),
        ("groupPolicyAttachment:GroupPolicyAttachment", {"group": "g", "policyArn": S3}, "groups.g.policies"),
        ("policyAttachment:PolicyAttachment", {"groups": ["g"], "policyArn": S3}, "groups.g.policies"),
        ("userPolicy:UserPolicy", {"user": "ann", "name": "own"}, "users.ann.inline"),
        ("groupPolicy:GroupPolicy", {"group": "g", "name": "own"}, "groups.g.inline"),
        ("userGroupMembership:UserGroupMembership", {"user": "ann", "groups": ["x", "g"]}, "users.ann.groups"),
        ("groupMembership:GroupMembership", {"group": "g", "users": ["ann"]}, "users.ann.groups"),
        ("groupMembership:GroupMembership", {"group": "g", "users": ["bob"]}, None),
        ("userPolicy:UserPolicy", {"user": "bob", "name": "own"}, None),
        ("userPolicy:UserPolicy", {"user": "ann", "name": "allow-from"}, "users.ann.allow_from"),
    ],
)
def test_what_another_resource_of_the_stack_gives_is_not_given_twice(
    aws: FakeAws, kind: str, outputs: dict[str, Any], place: str | None
) -> None:
    given = {"policies": ["AmazonS3ReadOnlyAccess"], "inline": {"own": {"Version": "2012-10-17", "Statement": []}}}
    state = MadeUpState().group("g").user("ann", "1").plain(f"aws:iam/{kind}", outputs)
    found = problems(aws, {"ann": {**given, "allow_from": ["203.0.113.0/24"]}}, state, groups={"g": given})
    assert list(found) == ([place] if place else [])
    if place:
        assert f"pulumi state delete 'urn:pulumi:dev::{PROJECT}::aws:iam/{kind}::mine'" in found[place]


def test_a_policy_is_not_attached_under_another_name_which_would_detach_it(aws: FakeAws) -> None:
    backup = "arn:aws:iam::123456789012:policy/backup"
    documents = {"backup": {"Version": "2012-10-17", "Statement": []}}
    state = MadeUpState().group("g", old=backup).user("ann", "1")
    state.add("aws:iam/policy:Policy", "access/backup", {"name": "backup"})
    (attached,) = (urn for urn in state.resources if urn.endswith("access/g/old"))
    for place, key, group in (
        ("policy_arns.new", "new", {"policy_arns": {"new": backup}}),
        ("policies", "123456789012:policy:backup", {"policies": [backup]}),
        ("policies", "backup", {"policies": ["backup"]}),
    ):
        found = problems(aws, {"ann": {}}, state, groups={"g": group}, policy_documents=documents)
        assert f"`pulumi state rename '{attached}' 'access/g/{key}'`" in found[f"groups.g.{place}"]
    assert problems(aws, {"ann": {}}, state, groups={"g": {"policy_arns": {"old": backup}}}) == {}
    both = {"policy_arns": {"old": OWN + "other", "new": backup}}
    found = problems(aws, {"ann": {}}, state, groups={"g": both})
    assert found == {
        "groups.g.policy_arns.new": f"the group has {backup} already, as 'old'. Keep it there, and remove it here."
    }


def test_what_a_child_of_the_component_gives_that_the_program_made_is_not_given_twice(aws: FakeAws) -> None:
    state = MadeUpState().group("g").user("ann", "1")
    state.add("aws:iam/groupPolicyAttachment:GroupPolicyAttachment", "access/mine", {"group": "g", "policyArn": S3})
    found = problems(aws, {"ann": {}}, state, groups={"g": {"policies": ["AmazonS3ReadOnlyAccess"]}})
    assert "access/mine' gives arn:" in found["groups.g.policies"]
    assert "pulumi state delete" in found["groups.g.policies"]


def test_the_arn_of_a_policy_that_the_stack_deletes_is_refused(aws: FakeAws) -> None:
    state = MadeUpState().group("g", d=f"{OWN}d").user("ann", "1")
    state.add("aws:iam/policy:Policy", "access/d", {"name": "d", "policy": "{}"})
    found = problems(aws, {"ann": {}}, state, groups={"g": {"policies": [f"{OWN}d"]}})
    assert "no longer has 'd'. Keep it there, and write 'd' here." in found["groups.g.policies"]


def test_the_policy_of_an_s3_grant_is_not_given_twice(aws: FakeAws) -> None:
    state = MadeUpState().group("g", s3=f"{OWN}g-s3").user("ann", "1")
    state.add("aws:iam/group:Group$aws:iam/policy:Policy", "access/g/s3", {"name": "g-s3", "policy": "{}"})
    own = {"g-s3": {"Version": "2012-10-17", "Statement": []}}
    grants = [{"bucket": "data", "access": "read"}]
    for group, documents in (({"policies": ["g-s3"]}, own), ({"policies": [f"{OWN}g-s3"], "s3": grants}, {})):
        found = problems(aws, {"ann": {}}, state, groups={"g": group}, policy_documents=documents)
        assert "from its S3 grants. Remove it here" in found["groups.g.policies"]


@pytest.mark.parametrize(
    ("region", "is_refused"), [("ap-northeast-2", True), ("eu-west-1", False)], ids=["here", "in another region"]
)
def test_a_parameter_of_the_program_is_not_delivered_to(aws: FakeAws, region: str, is_refused: bool) -> None:
    outputs = {"arn": f"arn:aws:ssm:{region}:123456789012:parameter/access-keys/ann"}
    state = MadeUpState().group("g").user("ann", "1").plain("aws:ssm/parameter:Parameter", outputs)
    found = problems(aws, {"ann": {"deliver": {"ssm": {}}}}, state)
    assert set(found) == ({"users.ann.deliver.ssm"} if is_refused else set())


def test_a_parameter_is_not_taken_for_a_user_of_its_name(aws: FakeAws) -> None:
    aws.errors["list_users"] = aws_error("AccessDenied")
    outputs = {"arn": "arn:aws:ssm:ap-northeast-2:123456789012:parameter/team/ann"}
    others = MadeUpState("other").plain("aws:ssm/parameter:Parameter", outputs).resources
    new: Any = SimpleNamespace(parsed=parse_state(MadeUpState().urn, others))
    assert new.parsed.is_new
    assert problems(aws, {"ann": {}}, new) == {}


def test_a_secrets_policy_of_the_program_is_not_replaced_by_readers_which_would_go_with_it(aws: FakeAws) -> None:
    arn = "arn:aws:secretsmanager:ap-northeast-2:123456789012:secret:access-keys/ann-AbCdEf"
    deliver = {"secrets_manager": {"readers": ["arn:aws:iam::123456789012:role/app"]}}
    state = MadeUpState().group("g").user("ann", "1")
    secret = "aws:iam/user:User$aws:secretsmanager/secret:Secret"
    state.add(secret, "access/access-keys/ann", {"name": "access-keys/ann", "arn": arn})
    policy = "aws:secretsmanager/secretPolicy:SecretPolicy"
    assert problems(aws, {"ann": {"deliver": deliver}}, state) == {}
    state.add(f"aws:iam/user:User${policy}", "access/access-keys/ann", {"secretArn": arn})
    assert problems(aws, {"ann": {"deliver": deliver}}, state) == {}, "the component's own"
    state.plain(policy, {"secretArn": arn})
    found = problems(aws, {"ann": {"deliver": deliver}}, state)
    assert "gives a resource policy to the secret, too" in found["users.ann.deliver.secrets_manager.readers"]
    found = problems(aws, {"ann": {"deliver": {"secrets_manager": {}}}}, state)
    assert "the two would overwrite each other" in found["users.ann.deliver.secrets_manager.readers"]


def test_a_name_that_differs_only_in_case_from_a_removed_one_is_refused(aws: FakeAws) -> None:
    aws.users = {"Ann": {}}
    found = problems(aws, {"ann": {}}, MadeUpState().user("Ann", "1").group("G"), removed=("Ann",))
    assert set(found) == {"users.ann", "groups.g"}
    assert "to IAM this is the same name as 'Ann', a user of this stack" in found["users.ann"]


@pytest.mark.parametrize(
    "error", [aws_error("InvalidClientTokenId"), NoCredentialsError(), ResponseParserError("<html>")], ids=type
)
def test_credentials_that_aws_does_not_accept_are_no_mistake_in_the_settings(aws: FakeAws, error: Exception) -> None:
    aws.errors["list_users"] = error
    with pytest.raises(pulumi.RunError, match="AWS did not answer with the credentials that Pulumi uses: "):
        problems(aws, {"ann": {}})


def test_a_policy_is_not_renamed_by_changing_only_its_case(aws: FakeAws) -> None:
    state = MadeUpState().group("g").user("ann", "1")
    state.add("aws:iam/policy:Policy", "access/Own", {"name": "Own"})
    documents = {"own": {"Version": "2012-10-17", "Statement": []}}
    found = problems(aws, {"ann": {}}, state, policy_documents=documents)
    assert "to IAM 'own' is the same name as 'Own', a policy of this stack" in found["policy_documents.own"]


OWN = "arn:aws:iam::123456789012:policy/"


def test_a_new_policy_that_does_not_exist_is_refused(aws: FakeAws) -> None:
    aws.missing_policies = {f"{OWN}none", f"{OWN}limit"}
    groups = {"g": {"policies": ["AmazonS3FullAccess", f"{OWN}there", f"{OWN}none"]}}
    found = problems(aws, {"ann": {"permissions_boundary": f"{OWN}limit"}}, groups=groups)
    assert found == {
        "groups.g.policies[2]": f"IAM has no policy {OWN}none. Correct the ARN, or create the policy first.",
        "users.ann.permissions_boundary": f"IAM has no policy {OWN}limit. Correct the ARN, or create the policy first.",
    }
    assert aws.asked["get_policy"] == 3, "a policy of AWS that is known offline exists"

    attached = ("arn:aws:iam::aws:policy/AmazonS3FullAccess", f"{OWN}there", f"{OWN}none")
    state = MadeUpState().group("g", **{policy_key(arn): arn for arn in attached})
    state.user("ann", "1", boundary=f"{OWN}limit")
    aws.asked.clear()
    assert problems(aws, {"ann": {"permissions_boundary": f"{OWN}limit"}}, state, groups=groups) == {}
    assert not aws.asked, "nothing of it is new"


def test_a_missing_bucket_of_a_new_grant_is_reported(aws: FakeAws) -> None:
    aws.buckets = {"data"}
    groups = {"g": {"s3": [{"bucket": bucket, "access": "read"} for bucket in ("data", "dta")]}}
    settings, _ = read_section(ComponentSettings, {"groups": groups}, PYTHON)
    assert settings is not None
    session: Any = lambda: aws  # noqa: E731
    ask: Any = lambda state: list(missing_buckets(settings, PYTHON, state.parsed, Account(session)))  # noqa: E731
    state = MadeUpState()
    assert ask(state) == ["groups.g.s3[1].bucket: the bucket 'dta' does not exist. Create it, or correct the name."]
    document = json.dumps({"Resource": ["arn:aws:s3:::data/*", "arn:aws:s3:::dta"]})
    state.add("aws:iam/group:Group$aws:iam/policy:Policy", "access/g/s3", {"name": "g-s3", "policy": document})
    aws.asked.clear()
    assert ask(state) == []
    assert not aws.asked, "the grant is not new"
    aws.errors["head_bucket"] = aws_error("403")
    assert ask(MadeUpState()) == [], "a bucket that may not be looked at may exist"


def test_a_full_account_is_reported_before_anything_is_created(aws: FakeAws) -> None:
    aws.groups = [f"group-{number}" for number in range(300)]
    found = problems(aws, {"ann": {}})
    assert found == {
        "groups": "the account has 300 groups, and 1 more would be created; its quota is 300. Delete some that nobody "
        "needs, or ask AWS to raise it."
    }
    aws.attached["get_account_summary"] = {"SummaryMap": {"GroupsQuota": 500}}
    assert problems(aws, {"ann": {}}) == {}, "AWS raised it"


def test_attachments_that_would_exceed_the_quota_are_refused(aws: FakeAws) -> None:
    names = ["AmazonS3FullAccess", "AmazonEC2FullAccess"]
    own = {"AmazonS3FullAccess": "arn:aws:iam::aws:policy/AmazonS3FullAccess"}
    foreign = [{"PolicyArn": f"{OWN}{number}"} for number in range(9)]
    aws.attached["list_attached_group_policies"] = {
        "AttachedPolicies": [{"PolicyArn": own["AmazonS3FullAccess"]}, *foreign]
    }
    state = MadeUpState().group("g", **own).user("ann", "1")
    found = problems(aws, {"ann": {}}, state, groups={"g": {"policies": names}})
    assert "in IAM the group has 10 managed policies (" in found["groups.g.policies"]
    listed = ", ".join(policy["PolicyArn"] for policy in foreign)
    assert f"({listed} not attached by this stack)" in found["groups.g.policies"]
    aws.attached["list_attached_group_policies"]["AttachedPolicies"].pop()
    assert problems(aws, {"ann": {}}, state, groups={"g": {"policies": names}}) == {}
    aws.asked.clear()
    assert problems(aws, {"ann": {}}, state, groups={"g": {"policies": names[:1]}}) == {}
    assert not aws.asked, "nothing is attached"


def test_memberships_that_would_exceed_the_quota_are_refused(aws: FakeAws) -> None:
    theirs = [{"GroupName": f"theirs-{number}"} for number in range(9)]
    aws.attached["list_groups_for_user"] = {"Groups": [{"GroupName": "g"}, *theirs]}
    state = MadeUpState().group("g").group("h").user("ann", "1")
    groups: Any = {"g": {}, "h": {}}
    found = problems(aws, {"ann": {"groups": ["g", "h"]}}, state, groups=groups)
    assert "so it would be in 11 groups; IAM allows at most 10" in found["users.ann.groups"]
    assert problems(aws, {"ann": {"groups": ["h"]}}, state, groups=groups) == {}, "it leaves g before it enters h"


def test_without_permission_to_list_names_iam_is_left_to_refuse(aws: FakeAws) -> None:
    aws.users = {"ann": {}}
    aws.errors = {"list_users": aws_error("AccessDenied"), "list_groups": aws_error("AccessDenied")}
    assert problems(aws, {"ann": {}}) == {}


def test_a_kms_key_must_be_usable_and_is_asked_about_once(aws: FakeAws) -> None:
    aws.kms_keys = {"alias/good": "Enabled", "alias/off": "Disabled"}
    deliver = {"ssm": {"kms_key": "alias/off"}, "secrets_manager": {"kms_key": "alias/good"}}
    own = {"deliver": {"ssm": {"kms_key": "alias/none"}}}
    assert problems(aws, {"ann": {}, "bob": {}, "eve": own}, deliver=deliver) == {
        "deliver.ssm.kms_key": "the KMS key 'alias/off' is Disabled. Enable it, or choose another.",
        "users.eve.deliver.ssm.kms_key": "the KMS key 'alias/none' could not be checked: "
        "NotFoundException: NotFoundException it is. Correct it; or, if it is right, allow the identity running Pulumi "
        "kms:DescribeKey on it.",
    }
    assert aws.asked["describe_key"] == 3


ADOPT = {"ann": {"key": {"adopt": {"id": ID}}}}


@pytest.mark.parametrize(
    ("user", "keys", "path", "message"),
    [
        (None, [], "users.ann.key.adopt", "IAM has no user 'ann', so there is no key to adopt."),
        (
            {},
            ["AKIA-1"],
            "users.ann.key.adopt.id",
            f"'{ID}' is not an access key of 'ann', who has: AKIA-1. Correct the id; or, if this stack took the "
            "key over before, remove adopt.",
        ),
        ({}, [ID, "AKIA-2"], "users.ann.key.adopt.id", "Delete 'AKIA-2' first, if nobody uses it."),
        ({"Path": "/data/"}, [ID], "users.ann.path", "Write path: /data/"),
        (
            {"Tags": [{"Key": "team", "Value": "data"}, {"Key": "AKIA1", "Value": "x"}]},
            [ID],
            "users.ann.tags",
            "has tags that would be removed. Write them here: {team: data}; or remove them first.",
        ),
    ],
)
def test_what_adopting_would_change_or_break_is_refused(
    aws: FakeAws, user: dict[str, Any] | None, keys: list[str], path: str, message: str
) -> None:
    aws.users, aws.keys = {} if user is None else {"ann": user}, {"ann": keys}
    found = problems(aws, ADOPT, MadeUpState().group("g"))
    assert list(found) == [path]
    assert message in found[path]


def test_a_key_that_is_adopted_must_say_whether_it_shall_work(aws: FakeAws) -> None:
    aws.users, aws.keys, aws.inactive = {"ann": {}}, {"ann": [ID]}, {ID}
    assert "Set status to inactive to keep it inactive" in problems(aws, ADOPT)["users.ann.key.status"]
    with_status = {"ann": {"key": {"adopt": {"id": ID}, "status": "active"}}}
    assert problems(aws, with_status) == {}

"""The contract of ProgrammaticAccess: what it registers, under which names, with which options, and what is secret."""

import ast
import asyncio
from datetime import date
from pathlib import Path
from typing import Any

import pulumi
import pytest
from aws_access_keys import ProgrammaticAccess, ProgrammaticAccessArgs
from aws_access_keys.delivery_check import KeyLimitError
from aws_access_keys.retire_guard import InUseError
from aws_access_keys.rules.problem import OTHER_LANGUAGES, PYTHON, Spelling
from aws_access_keys.validation import SettingsError

from tests.unit.fake_aws import USED, FakeAws
from tests.unit.made_up_state import MadeUpState
from tests.unit.recording import Recording, deploy, resolved

ARGS: ProgrammaticAccessArgs = {
    "groups": {
        "readers": {"policies": ["AmazonS3ReadOnlyAccess"]},
        "writers": {"policies": ["AmazonS3FullAccess", "IAMFullAccess"], "path": "/data/"},
    },
    "users": {
        "ann": {"groups": ["readers"]},
        "bob": {"groups": ["writers", "readers"], "tags": {"team": "data"}},
    },
    "tags": {"env": "dev"},
}
PGP, CREATED = "PGP key", "2026-11-01T00:00:00Z"


def made(
    args: ProgrammaticAccessArgs = ARGS,
    state: MadeUpState | None = None,
    today: date = date(2026, 11, 24),
    spell: Spelling = PYTHON,
    preview: bool = False,
) -> tuple[Recording, ProgrammaticAccess]:
    components: list[ProgrammaticAccess] = []
    recording = deploy(
        lambda: components.append(ProgrammaticAccess("access", args, today=today, spell=spell)),
        state=state.resources if state else None,
        preview=preview,
    )
    return recording, components[0]


def with_user(groups: dict[str, Any] | None = None, **user: Any) -> ProgrammaticAccessArgs:
    args: Any = {
        "groups": groups or {"g": {"policies": ["AmazonS3ReadOnlyAccess"]}},
        "users": {"ann": {"groups": list(groups or ["g"]), **user}},
    }
    return args


def key(**settings: Any) -> ProgrammaticAccessArgs:
    return with_user(key=settings)


def refusal(args: Any, spell: Spelling = PYTHON, state: MadeUpState | None = None) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        made(args, state, spell=spell)
    return str(caught.value).splitlines()


# ---- names, parents, inputs


def test_type_tokens_are_frozen() -> None:
    recording, _ = made()
    assert {resource.token for resource in recording.resources} == {
        "aws-access-keys:index:ProgrammaticAccess",
        "aws-access-keys:index:KeyPlans",
        "aws:iam/group:Group",
        "aws:iam/groupPolicyAttachment:GroupPolicyAttachment",
        "aws:iam/user:User",
        "aws:iam/userGroupMembership:UserGroupMembership",
        "aws:iam/accessKey:AccessKey",
    }, "a changed token replaces every user's key"


def test_names_come_from_the_keys_of_the_mappings() -> None:
    recording, _ = made()
    assert set(recording.of("iam/group:Group")) == {"access/readers", "access/writers"}
    assert set(recording.of("GroupPolicyAttachment")) == {
        "access/readers/AmazonS3ReadOnlyAccess",
        "access/writers/AmazonS3FullAccess",
        "access/writers/IAMFullAccess",
    }
    assert set(recording.of("iam/user:User")) == {"access/ann", "access/bob"}
    assert set(recording.of("UserGroupMembership")) == {"access/ann", "access/bob"}
    assert recording.keys == ["access/ann/1", "access/bob/1"], "the next run finds them by name"


def test_a_user_is_three_resources() -> None:
    both, one = made()[0], made({**ARGS, "users": {"ann": ARGS["users"]["ann"]}})[0]
    assert len(both.resources) - len(one.resources) == 3


def test_children_hang_below_what_they_belong_to() -> None:
    recording, _ = made()
    (component,) = recording.of(":ProgrammaticAccess").values()
    users, groups = recording.of("iam/user:User"), recording.of("iam/group:Group")
    for resource in (*users.values(), *groups.values(), *recording.of(":KeyPlans").values()):
        assert resource.parent == component.urn
    for token in ("AccessKey", "UserGroupMembership"):
        for name, resource in recording.of(token).items():
            assert resource.parent == users["/".join(name.split("/")[:2])].urn
    for name, resource in recording.of("GroupPolicyAttachment").items():
        assert resource.parent == groups[name.rpartition("/")[0]].urn


def test_resources_get_what_the_args_say() -> None:
    recording, _ = made()
    groups, users = recording.of("iam/group:Group"), recording.of("iam/user:User")
    assert groups["access/writers"].inputs == {"name": "writers", "path": "/data/"}
    assert users["access/bob"].inputs["tags"] == {"env": "dev", "team": "data"}, "own tags come on top of the common"
    assert users["access/ann"].inputs["tags"] == {"env": "dev"}
    assert recording.of("UserGroupMembership")["access/bob"].inputs == {"user": "bob", "groups": ["readers", "writers"]}
    attachment = recording.of("GroupPolicyAttachment")["access/writers/IAMFullAccess"]
    assert attachment.inputs == {"group": "writers", "policyArn": "arn:aws:iam::aws:policy/IAMFullAccess"}


def test_the_grants_of_a_group_are_one_policy_that_no_key_outlives() -> None:
    grants = [{"bucket": "data", "prefix": prefix, "access": "read"} for prefix in ("in/", "out/")]
    recording, _ = made(with_user({"g": {"s3": grants}}))
    policies, attachments = recording.of("iam/policy:Policy"), recording.of("GroupPolicyAttachment")
    assert set(policies) == set(attachments) == {"access/g/s3"}
    policy = policies["access/g/s3"]
    assert policy.inputs["name"] == "g-s3"
    assert policy.parent == recording.of("iam/group:Group")["access/g"].urn
    assert policy.urn in attachments["access/g/s3"].request.dependencies
    assert attachments["access/g/s3"].urn in recording.of("AccessKey")["access/ann/1"].request.dependencies


def test_a_group_without_grants_has_no_policy_of_its_own() -> None:
    assert not made()[0].of("iam/policy:Policy")


def test_a_user_without_groups_has_policies_of_its_own() -> None:
    own = {"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "s3:*", "Resource": "*"}}
    boundary = pulumi.Output.from_input("arn:aws:iam::123456789012:policy/later")
    users: Any = {
        "ann": {"policies": ["own", "AmazonSQSFullAccess"], "permissions_boundary": boundary},
        "bob": {"policies": ["own"], "permissions_boundary": "own"},
        "eve": {"policies": ["own"], "permissions_boundary": "ReadOnlyAccess"},
    }
    recording, _ = made({"groups": {}, "users": users, "policy_documents": {"own": own}})
    assert not recording.of("UserGroupMembership")
    attachments = recording.of("UserPolicyAttachment")
    assert {name for name in attachments if "ann" in name} == {"access/ann/own", "access/ann/AmazonSQSFullAccess"}
    key = recording.of("AccessKey")["access/ann/1"].request
    assert {found.urn for name, found in attachments.items() if "ann" in name} <= set(key.dependencies)
    boundaries = {name[7:]: found.inputs["permissionsBoundary"] for name, found in recording.of("user:User").items()}
    assert boundaries == {
        "ann": "arn:aws:iam::123456789012:policy/later",
        "bob": "arn:aws:iam::123456789012:policy/own",
        "eve": "arn:aws:iam::aws:policy/ReadOnlyAccess",
    }


def test_a_prefix_is_before_every_name_in_iam_and_in_no_message(aws: FakeAws) -> None:
    own = {"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "s3:*", "Resource": "*"}}
    args: Any = {
        "name_prefix": "dev-",
        "policy_documents": {"own": own},
        "groups": {"g": {"policies": ["own", "AmazonSQSFullAccess"], "s3": [{"bucket": "data", "access": "read"}]}},
        "users": {"ann": {"groups": ["g"]}, "bob": {"policies": ["own"], "permissions_boundary": "own"}},
    }
    recording, _ = made(args)
    named = {str(r.inputs["name"]) for r in recording.resources if "name" in r.inputs}
    assert named == {"dev-g", "dev-ann", "dev-bob", "dev-own", "dev-g-s3"}
    assert recording.of("UserGroupMembership")["access/dev-ann"].inputs == {"user": "dev-ann", "groups": ["dev-g"]}
    assert recording.keys == ["access/dev-ann/1", "access/dev-bob/1"]
    policies = {str(r.inputs["policyArn"]).rsplit("/", 1)[1] for r in recording.of("PolicyAttachment").values()}
    assert policies == {"dev-own", "dev-g-s3", "AmazonSQSFullAccess"}
    aws.users = {"dev-ann": {}}
    problem = next(line for line in refusal(args) if "dev-ann" in line)
    assert problem.strip().startswith("users.ann: the account already has a user 'dev-ann'")


def test_a_user_can_have_no_key() -> None:
    deliver: Any = {"ssm": {}}
    args: Any = {**with_user(key=None), "deliver": deliver, "key_defaults": {"description": "x"}}
    state = MadeUpState().user("ann", "1")
    for found in (None, state):
        recording, access = made(args, found)
        assert recording.keys == []
        assert not recording.of("Parameter")
        assert set(recording.of("UserGroupMembership")) == {"access/ann"}
        assert resolved(access.access_key_ids) == resolved(access.keys) == {}
        assert set(resolved(access.user_arns)) == {"ann"}


@pytest.mark.parametrize("idle_days", [3, 0])
def test_the_retire_guard_keeps_the_key_of_a_user_that_is_to_have_none(aws: FakeAws, idle_days: int) -> None:
    aws.keys, aws.used = {"ann": ["AKIA-ann-1"]}, {"AKIA-ann-1": USED}
    state = MadeUpState().user("ann", "1", idle_days=idle_days)
    if idle_days:
        with pytest.raises(InUseError, match="AKIA-ann-1"):
            made(with_user(key=None), state)
        released: Any = {**with_user(key=None), "retire_unguarded": ["ann"]}
        assert made(released, state)[0].keys == []
    else:
        assert made(with_user(key=None), state)[0].keys == []


def test_membership_is_not_exclusive() -> None:
    recording, _ = made()
    assert not recording.of(":GroupMembership"), "an exclusive membership would throw other people's users out"


def test_order_of_lists_and_mappings_changes_nothing() -> None:
    reordered: ProgrammaticAccessArgs = {
        "groups": {
            "writers": {**ARGS["groups"]["writers"], "policies": ["IAMFullAccess", "AmazonS3FullAccess"]},
            "readers": ARGS["groups"]["readers"],
        },
        "users": {
            "bob": {**ARGS["users"]["bob"], "groups": ("readers", "writers")},
            "ann": ARGS["users"]["ann"],
        },
        "tags": {"env": "dev"},
    }
    first, second = made()[0], made(reordered)[0]
    assert {r.urn: r.inputs for r in first.resources} == {r.urn: r.inputs for r in second.resources}


def test_two_components_do_not_collide_even_with_names_made_to() -> None:
    own = "arn:aws:iam::123456789012:policy/"

    def program() -> None:
        for name, group, user in (("data", "team-g", "team-u"), ("data-team", "g", "u")):
            groups: Any = {group: {"policies": [own + "b-c"]}, f"{group}-b": {"policies": [own + "c"]}}
            ProgrammaticAccess(name, {"groups": groups, "users": {user: {"groups": [group]}}})

    urns = [resource.urn for resource in deploy(program).resources]
    assert len(urns) == len(set(urns)), "every resource has a URN of its own"


# ---- the options of the keys


def test_a_new_key_is_no_replacement_of_the_oldest(aws: FakeAws) -> None:
    aws.keys = {"ann": ["AKIA-ann-1", "AKIA-ann-2"]}
    recording, _ = made(key(serial=5), MadeUpState().user("ann", "2", "1"))
    assert recording.keys == ["access/ann/2", "access/ann/5"]
    for name in ("2", "5"):
        request = recording.of("AccessKey")[f"access/ann/{name}"].request
        assert not request.aliases, "a destroy that runs the program would rename the oldest key"
        assert not request.deleteBeforeReplace


def test_a_key_comes_after_its_permissions_and_the_previous_one_after_the_current(aws: FakeAws) -> None:
    aws.keys = {"ann": ["AKIA-ann-1"]}
    recording, _ = made(key(serial=2, previous="inactive"), MadeUpState().user("ann", "1"))
    current, previous = (recording.of("AccessKey")[f"access/ann/{name}"] for name in ("2", "1"))
    attachment = recording.of("GroupPolicyAttachment")["access/g/AmazonS3ReadOnlyAccess"].urn
    membership = recording.of("UserGroupMembership")["access/ann"].urn
    assert {attachment, membership} <= set(current.request.dependencies)
    assert current.urn in previous.request.dependencies
    assert previous.inputs["status"] == "Inactive"


@pytest.mark.parametrize(
    ("status", "ignored", "sent"),
    [(None, ["pgpKey", "status"], "Active"), ("inactive", ["pgpKey"], "Inactive"), ("active", ["pgpKey"], "Active")],
)
def test_a_status_that_is_not_asked_for_is_left_alone(status: str | None, ignored: list[str], sent: str) -> None:
    state = MadeUpState().user("ann", "1", inactive=["1"])
    recording, _ = made(key(status=status) if status else key(), state)
    found = recording.of("AccessKey")["access/ann/1"]
    assert list(found.request.ignoreChanges) == ignored
    assert found.inputs["status"] == sent


def test_a_new_key_ignores_nothing() -> None:
    recording, _ = made(key())
    assert not list(recording.of("AccessKey")["access/ann/1"].request.ignoreChanges)


def test_only_a_guarded_key_has_the_hook() -> None:
    for settings, hooks in (({}, []), ({"retire_guard": {"idle_days": 3}}, ["aws-access-keys retire guard"])):
        recording, _ = made(key(**settings))
        request = recording.of("AccessKey")["access/ann/1"].request
        assert list(request.hooks.before_delete) == hooks
        assert list(request.hooks.before_update) == ["aws-access-keys state", *hooks]
        recording, _ = made(key(**settings), preview=True)
        request = recording.of("AccessKey")["access/ann/1"].request
        assert list(request.hooks.before_delete) == ["aws-access-keys retire guard"], "for the preview of a destroy"


def test_an_adopted_key_and_its_user_are_imported_once(aws: FakeAws) -> None:
    args = key(adopt={"id": "AKIAIOSFODNN7EXAMPLE", "secret": "its secret"})
    aws.users, aws.keys = {"ann": {}}, {"ann": ["AKIAIOSFODNN7EXAMPLE"]}
    recording, access = made(args)
    assert recording.of("iam/user:User")["access/ann"].request.importId == "ann"
    assert recording.of("AccessKey")["access/ann/1"].request.importId == "AKIAIOSFODNN7EXAMPLE"
    assert resolved(access.access_key_ids) == {"ann": "AKIAIOSFODNN7EXAMPLE"}
    state = MadeUpState().user("ann", "1", adopts="AKIAIOSFODNN7EXAMPLE")
    later, _ = made(args, state)
    assert not later.of("iam/user:User")["access/ann"].request.importId
    assert not later.of("AccessKey")["access/ann/1"].request.importId
    with pytest.raises(SettingsError, match=r"'AKIAIOSFODNN7EXAMPLE' cannot be adopted: 'ann' has .* \(AKIA-ann-1\)"):
        made(args, MadeUpState().user("ann", "1"))


# ---- trying new keys


def test_a_new_key_is_tried_and_one_that_was_handed_over_is_not(aws: FakeAws, tried: list[str]) -> None:
    made(key(), MadeUpState().user("ann", "1"))
    assert not tried
    assert not aws.asked["list_access_keys"]
    made(key())
    assert tried == ["AKIA-ann-1"]
    assert aws.asked["list_access_keys"] == 1, "AWS's response to an earlier request may have got lost"


def test_a_key_of_a_failed_run_is_tried_again(aws: FakeAws, tried: list[str]) -> None:
    aws.keys = {"ann": ["AKIA-ann-1"]}
    made(key(), MadeUpState().user("ann", "1", handed_over=[]))
    assert tried == ["AKIA-ann-1"]


def test_a_key_that_is_activated_again_is_tried(tried: list[str]) -> None:
    made(key(status="active"), MadeUpState().user("ann", "1", inactive=["1"]))
    assert tried == ["AKIA-ann-1"]


@pytest.mark.parametrize("settings", [{"verify": False}, {"status": "inactive"}])
def test_a_key_that_cannot_or_need_not_work_is_not_tried(settings: Any, tried: list[str]) -> None:
    made(key(**settings))
    assert not tried


def test_a_key_that_an_earlier_run_may_have_tried_counts_as_tried(aws: FakeAws, tried: list[str]) -> None:
    new, _ = made(key(verify=False))
    aws.keys = {"ann": ["AKIA-ann-1"]}
    unfinished, _ = made(key(verify=False), MadeUpState().user("ann", "1", handed_over=[]))
    assert not tried
    noted = [
        {*run.outputs[plans.urn].get("tried", {})}
        for run in (new, unfinished)
        for plans in run.of(":KeyPlans").values()
    ]
    assert noted == [set(), {"ann"}], "AWS shows a trial as a use of the key"


def test_a_preview_tries_nothing_and_asks_for_no_keys(aws: FakeAws, tried: list[str]) -> None:
    made(key(), preview=True)
    assert not tried
    assert not aws.asked["list_access_keys"]


def test_a_key_whose_creation_was_lost_is_reported_when_the_first_one_is_issued(
    aws: FakeAws, caplog: pytest.LogCaptureFixture
) -> None:
    aws.keys = {"other": []}

    def found_later(UserName: str) -> Any:  # noqa: N803 - boto3's name
        ids = ("AKIA-ann-1", "AKIA-lost")
        return {"AccessKeyMetadata": [{"AccessKeyId": id_, "Status": "Active", "CreateDate": USED} for id_ in ids]}

    aws.list_access_keys = found_later
    made(key())
    assert any("does not manage: AKIA-lost" in message for message in caplog.messages)


# ---- outputs


def test_outputs_tell_ids_arns_and_secrets() -> None:
    _, access = made()
    assert resolved(access.access_key_ids) == {"ann": "AKIA-ann-1", "bob": "AKIA-bob-1"}
    assert resolved(access.user_arns)["bob"] == "arn:aws:iam::123456789012:user/bob"
    assert resolved(access.group_arns)["writers"] == "arn:aws:iam::123456789012:group/data/writers"
    assert resolved(access.secret_access_keys)["ann"] == "secret of access/ann/1"
    assert resolved(access.ses_smtp_passwords)["ann"] == "password of access/ann/1"
    assert "[ann]\naws_access_key_id = AKIA-ann-1\naws_secret_access_key = secret of access/ann/1" in (
        resolved(access.credentials_file)
    )
    assert "bob,AKIA-bob-1,secret of access/bob/1\n" in resolved(access.credentials_csv)
    assert resolved(access.keys)["ann"] == {
        "current": {"id": "AKIA-ann-1", "name": "1", "serial": 1, "status": "Active", "created": CREATED},
        "previous": None,
        "nextRotation": None,
        "expires": None,
        "previousUntil": None,
    }


def test_what_holds_a_secret_is_secret_and_nothing_else_is() -> None:
    _, access = made()
    secrets = {"secret_access_keys", "credentials_file", "credentials_csv", "ses_smtp_passwords"}
    for name in ProgrammaticAccess.__annotations__:
        is_secret = asyncio.get_event_loop().run_until_complete(getattr(access, name).is_secret())
        assert is_secret == (name in secrets), name


def test_only_the_status_of_the_keys_is_registered() -> None:
    recording, access = made()
    (component,) = recording.of(":ProgrammaticAccess").values()
    assert set(recording.outputs[component.urn]) == {"keys"}, "every other output would be one more copy of a secret"
    assert set(recording.outputs[component.urn]["keys"]) == {"ann", "bob"}
    (plans,) = recording.of(":KeyPlans").values()
    plan = {
        "plans": {"ann": ["1"], "bob": ["1"]},
        "idleDays": {},
        "adopts": {},
        "retired": {},
        "expired": {},
        "lost": {},
    }
    outputs = dict(recording.outputs[plans.urn])
    assert set(outputs.pop("tried")) == {"ann", "bob"}
    assert set(outputs.pop("changes")) == {"group readers", "group writers", "user ann", "user bob"}
    assert outputs == plan
    assert resolved(access.keys)


def test_the_registered_outputs_are_a_finished_run_to_the_next() -> None:
    recording, _ = made()
    urns = {resource.urn: recording.outputs.get(resource.urn, resource.inputs) for resource in recording.resources}
    for found in recording.of("AccessKey").values():
        urns[found.urn] = {**found.inputs, "id": f"AKIA-{'-'.join(found.name.split('/')[1:])}"}
    state = {urn: {"type": "", "outputs": outputs} for urn, outputs in urns.items()}
    again = deploy(lambda: ProgrammaticAccess("access", ARGS), state=state)
    assert {r.urn: r.inputs for r in again.resources} == {r.urn: r.inputs for r in recording.resources}


def test_a_secret_that_is_encrypted_is_in_no_other_output(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("access_keys", "validation"):
        monkeypatch.setattr(f"aws_access_keys.{module}.public_key", lambda text: text)
    _, access = made(key(pgp_key=PGP))
    assert access.has_encrypted_secrets
    assert resolved(access.encrypted_secrets) == {"ann": {"ciphertext": "encrypted", "fingerprint": "fingerprint"}}
    assert resolved(access.secret_access_keys) == {}
    assert resolved(access.keys)["ann"]["current"]["pgpFingerprint"] == "fingerprint"


# ---- what is skipped and what is refused


def test_what_is_skipped_is_known_to_the_program(aws: FakeAws, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("atexit.register", lambda _: None)
    aws.keys, aws.used = {"ann": ["AKIA-ann-1", "AKIA-ann-2"]}, {"AKIA-ann-1": USED}
    args = key(serial=2, previous="deleted", retire_guard={"idle_days": 3})
    recording, access = made(args, MadeUpState().user("ann", "2", "1"))
    assert [problem.path for problem in access.skipped] == ["users.ann.key"]
    assert "add 'ann' to retire_unguarded for one run" in access.skipped[0].message
    assert recording.keys == ["access/ann/1", "access/ann/2"]


def test_a_removed_user_whose_key_is_in_use_stops_the_run_until_it_is_let_go(aws: FakeAws) -> None:
    aws.keys, aws.used = {"eve": ["AKIA-eve-1"]}, {"AKIA-eve-1": USED}
    state = MadeUpState().user("ann", "1").user("eve", "1", idle_days=3)
    with pytest.raises(InUseError, match=r"  users\.eve: the access key AKIA-eve-1 .*\nNothing was changed\.$"):
        made(key(), state)
    recording, _ = made({**key(), "retire_unguarded": ["eve"]}, state)
    assert recording.keys == ["access/ann/1"]


def test_advice_names_a_user_as_the_settings_do(aws: FakeAws) -> None:
    aws.keys, aws.used = {"dev-eve": ["AKIA-dev-eve-1"]}, {"AKIA-dev-eve-1": USED}
    state = MadeUpState().user("dev-ann", "1").user("dev-eve", "1", idle_days=3)
    prefixed: Any = {**key(), "name_prefix": "dev-"}
    with pytest.raises(InUseError, match=r"  users\.eve: the access key .* add 'eve' to retire_unguarded"):
        made(prefixed, state)
    prefixed["retire_unguarded"] = ["eve"]
    recording, _ = made(prefixed, state)
    assert recording.keys == ["access/dev-ann/1"], "and doing what it says works"
    renamed: Any = {**prefixed, "name_prefix": "prod-", "retire_unguarded": ["dev-ann", "dev-eve"]}
    recording, _ = made(renamed, state)
    assert recording.keys == ["access/prod-ann/1"], "also where the prefix was another one"


def test_a_removed_user_who_has_more_in_iam_stops_the_run_unless_that_is_deleted_too(aws: FakeAws) -> None:
    aws.keys, aws.attached = {"eve": ["AKIA-eve-1", "AKIA-other"]}, {"get_login_profile": {}}
    state = MadeUpState().user("ann", "1").user("eve", "1")
    (problem,) = refusal(key(), state=state)[1:-1]
    assert "users.eve: the user cannot be removed" in problem
    assert (
        "does not manage: the access key AKIA-other (active, created on 2026-11-01, never used), a console" in problem
    )
    assert "restore the user with force_destroy: true" in problem


def test_a_user_who_was_renamed_in_iam_is_not_created_again(aws: FakeAws) -> None:
    aws.keys = {"ann2": ["AKIA-ann-1"]}
    state = MadeUpState().user("ann", "1").without_user("ann")  # as after a refresh
    (problem,) = refusal(key(), state=state)[1:-1]
    assert "users.ann: the access key AKIA-ann-1, which this stack issued for 'ann', now belongs to" in problem
    assert "Restore the name (aws iam update-user --user-name ann2 --new-user-name ann). To take" in problem
    assert "set adopt to {id: AKIA-ann-1, secret: ...} in this key" in problem
    assert "aws iam delete-access-key --user-name ann2 --access-key-id AKIA-ann-1" in problem
    aws.keys = {}
    assert made(key(), state)[0].keys == ["access/ann/1"], "once the key is gone, there is another one"


def test_a_key_that_was_left_behind_by_a_removed_user_is_named(aws: FakeAws, caplog: pytest.LogCaptureFixture) -> None:
    aws.keys = {"eve2": ["AKIA-eve-1"]}
    made(key(), MadeUpState().user("ann", "1").user("eve", "1").without_user("eve"))
    assert "the access key AKIA-eve-1, which this stack issued for 'eve', still exists. It belongs to" in caplog.text
    assert "aws iam delete-access-key --user-name eve2 --access-key-id AKIA-eve-1" in caplog.text


def test_a_preview_warns_of_each_policy_that_is_as_strong_as_an_administrators(
    aws: FakeAws, caplog: pytest.LogCaptureFixture
) -> None:
    def document(action: str) -> dict[str, Any]:
        return {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": action, "Resource": "*"}]}

    policies = ["arn:aws:iam::aws:policy/PowerUserAccess", "AmazonS3FullAccess", "own", "IAMFullAccess"]
    args: Any = with_user(
        {"g": {"policies": policies}, "h": {"inline": {"all": document("*"), "s3": document("s3:*")}}}
    )
    args["users"]["ann"]["policies"] = ["own-s3"]
    args["policy_documents"] = {"own": document("*"), "own-s3": document("s3:*")}
    made(args, preview=True)
    nearly = "allows nearly everything, or lets its holder grant any permission"
    assert [message for message in caplog.messages if "leaked" in message] == [
        "groups.g.policies: PowerUserAccess allows everything except IAM and Organizations; "
        f"own {nearly}; IAMFullAccess lets its holder grant any permission, so it is as strong as AdministratorAccess. "
        "Anyone with a leaked key could do all of this.",
        f"groups.h.inline: all {nearly}. Anyone with a leaked key could do all of this.",
    ]
    caplog.clear()
    made(args)
    assert not caplog.messages, "an update does not repeat it"


def test_a_copy_in_a_store_is_named_before_it_is_deleted(aws: FakeAws, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    state = MadeUpState().user("ann", "1").user("bob", "1")
    state.add(
        "aws:iam/user:User$aws:secretsmanager/secret:Secret", "access/access-keys/ann", {"name": "access-keys/ann"}
    )
    state.add("aws:iam/user:User$aws:ssm/parameter:Parameter", "access/access-keys/ann", {"name": "/access-keys/ann"})
    state.add("aws:iam/user:User$aws:ssm/parameter:Parameter", "access/b", {"name": "/b"})
    made({**with_user(), "deliver": {"ssm": {}}}, state, preview=True)
    deleted = [message for message in caplog.messages if "is deleted from" in message]
    assert deleted == [
        "the secret 'access-keys/ann' is deleted from Secrets Manager: no user's key is delivered there any more. "
        "Applications that read it will fail",
        "the parameter '/b' is deleted from SSM Parameter Store: no user's key is delivered there any more. "
        "Applications that read it will fail",
    ]


def test_a_key_whose_secret_nobody_has_is_not_delivered_and_the_preview_says_so(aws: FakeAws) -> None:
    aws.keys = {"ann": ["AKIA-ann-1"]}
    state = MadeUpState().user("ann", "1")
    made({**with_user(), "deliver": {"ssm": {}}}, state, preview=True)
    del next(found for urn, found in state.resources.items() if urn.endswith("::access/ann/1"))["outputs"]["secret"]
    line = refusal({**with_user(), "deliver": {"ssm": {}}}, state=state)[1]
    assert line.startswith("  users.ann.deliver: the secret of the access key AKIA-ann-1 is not known (the key was")
    made({**key(serial=2), "deliver": {"ssm": {}}}, state, preview=True)


def test_another_region_or_none_is_refused_before_anything_is_replaced(
    aws: FakeAws, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name, raising=False)
    state = MadeUpState().user("ann", "1").resources
    state["urn:pulumi:dev::p::pulumi:providers:aws::default_7_0_0"] = {"outputs": {"region": "eu-west-1"}}

    def run(region: str | None) -> Recording:
        return deploy(lambda: ProgrammaticAccess("access", key()), {"aws:region": region} if region else {}, state)

    with pytest.raises(SettingsError) as caught:
        run("cn-north-1")
    assert "  aws:region: the region is 'cn-north-1', but this stack was created in 'eu-west-1'." in str(caught.value)
    assert "Restore aws:region: eu-west-1; for another region, create another stack." in str(caught.value)
    assert not aws.asked
    with pytest.raises(SettingsError) as caught:
        run(None)
    assert "  aws:region: no region is set, but this stack was created in 'eu-west-1'." in str(caught.value)
    assert run("eu-west-1").keys == ["access/ann/1"]
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    assert run(None).keys == ["access/ann/1"], "as the provider reads it"


def test_no_users_are_refused_where_there_are_some(aws: FakeAws) -> None:
    state = MadeUpState().user("ann", "1").user("bob", "1")
    none: Any = {**key(), "users": {}}
    assert refusal(none, OTHER_LANGUAGES, state)[1] == (
        "  users: no users, but the stack has ann, bob. List them, or enable allowNoUsers to delete them all."
    )
    assert "enable allow_no_users to delete" in refusal({"groups": ARGS["groups"]}, state=state)[1]
    assert not aws.asked
    assert not made(none)[0].keys, "a stack that never had users needs none"
    none["allow_no_users"] = True
    assert not made(none, state)[0].keys


def test_a_run_that_cannot_issue_a_first_key_registers_no_user(aws: FakeAws) -> None:
    aws.keys = {"ann": ["AKIA-one", "AKIA-two"]}
    with pytest.raises(KeyLimitError):
        made(key(), MadeUpState().user("ann"))


# ---- the arguments


def test_outputs_are_accepted_wherever_the_types_of_the_args_allow_them(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("access_keys", "validation"):
        monkeypatch.setattr(f"aws_access_keys.{module}.public_key", lambda text: text)
    arn = "arn:aws:iam::123456789012:policy/own"

    def later(value: str) -> "pulumi.Output[str]":
        return pulumi.Output.from_input(value)

    async def coroutine() -> str:
        return "/team/"

    def args() -> ProgrammaticAccessArgs:
        group: Any = {"policy_arns": {"own": later(arn)}, "path": later("/data/")}
        user: Any = {"groups": ["g"], "path": coroutine(), "tags": {"team": later("data")}}
        user["key"] = {"pgp_key": later(PGP)}
        return {"groups": {"g": group}, "users": {"ann": user}, "tags": {"env": later("dev")}}

    recording = deploy(lambda: ProgrammaticAccess("access", args()))
    assert recording.of("GroupPolicyAttachment")["access/g/own"].inputs["policyArn"] == arn
    assert recording.of("iam/group:Group")["access/g"].inputs["path"] == "/data/"
    user = recording.of("iam/user:User")["access/ann"].inputs
    assert (user["path"], user["tags"]) == ("/team/", {"env": "dev", "team": "data"})
    assert recording.of("AccessKey")["access/ann/1"].inputs["pgpKey"] == PGP


@pytest.mark.parametrize(
    ("args", "problem"),
    [
        ({"groups": {"g": {"path": "data"}}}, "groups.g.path: 'data' is not a valid IAM path."),
        ({"groups": {"g": {"policy_arns": {"own": "x"}}}}, "groups.g.policy_arns.own: 'x' is not a known AWS managed"),
        ({"path": "/da ta/"}, "users.ann.path: '/da ta/' is not a valid IAM path."),
        ({"path": 7}, "users.ann.path: expected text, got an Output that is not text."),
        ({"tags": {"team": "a;b"}}, "users.ann.tags.team: the value is not valid for a tag."),
        ({"key": {"pgp_key": "no key!"}}, "users.ann.key.pgp_key: this is not an OpenPGP public key"),
    ],
)
def test_an_output_is_checked_when_it_is_known(args: dict[str, Any], problem: str) -> None:
    def later(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: later(item) for name, item in value.items()}
        return pulumi.Output.from_input(value)

    groups = args.pop("groups", {})
    base = {"policies": ["AmazonS3ReadOnlyAccess"]}
    merged: Any = {group: base | later(settings) for group, settings in groups.items()} or None
    _, found, effect = refusal(with_user(merged, **later(args)))
    assert problem in found
    assert effect == "What depends on it was not created or changed."


@pytest.mark.parametrize(("status", "previous"), [("Active", "Inactive"), ("ACTIVE", "iNACTIVE")])
def test_enumerations_take_any_case(status: str, previous: str, aws: FakeAws) -> None:
    aws.keys = {"ann": ["AKIA-ann-1"]}
    recording, _ = made(key(status=status, previous=previous, serial=2), MadeUpState().user("ann", "1"))
    assert {name[-1]: found.inputs["status"] for name, found in recording.of("AccessKey").items()} == {
        "2": "Active",
        "1": "Inactive",
    }


def test_numbers_of_other_languages_are_floats() -> None:
    rotation = {"start": "2026-12-01", "everyDays": 90.0, "overlapDays": 7.0}
    args: Any = with_user(key={"serial": 3.0, "rotation": rotation, "retireGuard": {"idleDays": 3.0}})
    recording, _ = made(args, spell=OTHER_LANGUAGES)
    assert recording.keys == ["access/ann/3"]


@pytest.mark.parametrize(
    ("spell", "paths"),
    [
        (PYTHON, ["groups.g.policies[0]", "users.ann.key.retire_guard", "users.bob.groups", "key_defaults"]),
        (OTHER_LANGUAGES, ["groups.g.policies[0]", "users.ann.key.retireGuard", "users.bob.groups", "keyDefaults"]),
    ],
)
def test_every_problem_comes_in_one_message_as_the_caller_spells_it(spell: Spelling, paths: list[str]) -> None:
    guard, defaults = (path.rsplit(".", 1)[-1] for path in (paths[1], paths[3]))
    args: Any = {
        "groups": {"g": {"policies": [7]}},
        "users": {"ann": {"groups": ["g"], "key": {guard: 3}}, "bob": {"groups": "g"}},
        defaults: None,
    }
    lines = refusal(args, spell)
    assert lines[0] == "The ProgrammaticAccess 'access' has 4 problems:"
    assert [line.split(":")[0].strip() for line in lines[1:-1]] == paths
    assert lines[-1] == "Nothing of this component was created or changed."


@pytest.mark.parametrize(("args", "given"), [(None, "None"), (["g"], "a list"), ("g", "'g'")])
def test_arguments_that_are_no_mapping_are_refused(args: Any, given: str) -> None:
    assert refusal(args)[1] == f"  args: expected a mapping, got {given}."


@pytest.mark.parametrize("option", ["retain_on_delete", "deleted_with"])
def test_an_option_with_which_deleted_keys_would_work_on_is_refused(option: str) -> None:
    opts = pulumi.ResourceOptions()
    setattr(opts, option, True)
    with pytest.raises(SettingsError, match=f"{option} would leave keys working"):
        ProgrammaticAccess("access", ARGS, opts)


def test_the_program_and_its_components_never_import_the_sandbox() -> None:
    for source in [*Path("components").rglob("*.py"), Path("__main__.py")]:
        for node in ast.walk(ast.parse(source.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not [name for name in names if "sandbox" in name], source

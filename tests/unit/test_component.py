"""The contract of ProgrammaticAccess: what it registers, under which names, and what is secret."""

from pathlib import Path
from typing import Any

import pulumi
import pytest
from aws_access_keys import ProgrammaticAccess, ProgrammaticAccessArgs
from pulumi.provider.experimental.analyzer import Analyzer

from tests.unit.recording import Recording, deploy

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


OUTPUTS = {
    "accessKeyIds",
    "credentialsCsv",
    "credentialsFile",
    "encryptedSecrets",
    "groupArns",
    "keys",
    "secretAccessKeys",
    "sesSmtpPasswords",
    "userArns",
}


def made(args: ProgrammaticAccessArgs = ARGS, name: str = "access") -> tuple[Recording, ProgrammaticAccess]:
    components: list[ProgrammaticAccess] = []
    recording = deploy(lambda: components.append(ProgrammaticAccess(name, args)))
    return recording, components[0]


def test_type_tokens_are_frozen() -> None:
    recording, _ = made()
    assert {resource.token for resource in recording.resources} == {
        "aws-access-keys:index:ProgrammaticAccess",
        "aws-access-keys:index:AccessGroup",
        "aws-access-keys:index:AccessUser",
        "aws:iam/group:Group",
        "aws:iam/groupPolicyAttachment:GroupPolicyAttachment",
        "aws:iam/user:User",
        "aws:iam/userGroupMembership:UserGroupMembership",
        "aws:iam/accessKey:AccessKey",
        "pulumi:index:Stash",
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
    assert set(recording.of("AccessKey")) == {"access/ann/a", "access/bob/a"}
    assert set(recording.of("Stash")) == {"access/ann/issued", "access/bob/issued"}, "the next run finds them by name"


def test_every_child_has_a_parent_inside_the_component() -> None:
    recording, _ = made()
    top = next(resource for resource in recording.resources if resource.token.endswith(":ProgrammaticAccess"))
    components = {resource.urn for resource in recording.resources if resource.token.startswith("aws-access-keys:")}
    for resource in recording.resources:
        if resource is not top:
            assert resource.parent in components, f"{resource.name} hangs below one of the components"


def test_resources_get_what_the_args_say() -> None:
    recording, _ = made()
    groups, users = recording.of("iam/group:Group"), recording.of("iam/user:User")
    assert groups["access/writers"].inputs["path"] == "/data/"
    assert groups["access/writers"].inputs["name"] == "writers", "the IAM name is the key of the mapping"
    assert users["access/bob"].inputs["tags"] == {"env": "dev", "team": "data"}, "own tags come on top of the common"
    assert users["access/ann"].inputs["tags"] == {"env": "dev"}
    assert recording.of("UserGroupMembership")["access/bob"].inputs == {"user": "bob", "groups": ["readers", "writers"]}
    attachment = recording.of("GroupPolicyAttachment")["access/writers/IAMFullAccess"]
    assert attachment.inputs == {"group": "writers", "policyArn": "arn:aws:iam::aws:policy/IAMFullAccess"}


def test_membership_is_not_exclusive() -> None:
    recording, _ = made()
    assert not recording.of(":GroupMembership"), "an exclusive membership would throw other people's users out"


def test_order_of_lists_and_mappings_changes_nothing() -> None:
    reordered: ProgrammaticAccessArgs = {
        "groups": dict(reversed(list(ARGS["groups"].items()))),
        "users": {
            "bob": {**ARGS["users"]["bob"], "groups": ["readers", "writers"]},
            "ann": ARGS["users"]["ann"],
        },
        "tags": {"env": "dev"},
    }
    reordered["groups"]["writers"]["policies"] = ["IAMFullAccess", "AmazonS3FullAccess"]
    first, second = made()[0], made(reordered)[0]
    assert {r.urn: r.inputs for r in first.resources} == {r.urn: r.inputs for r in second.resources}


def test_two_components_do_not_collide_even_with_names_made_to() -> None:
    def program() -> None:
        ProgrammaticAccess("data", {"groups": {"team-g": {"policies": ["IAMFullAccess"]}},
                                    "users": {"team-u": {"groups": ["team-g"]}}})  # fmt: skip
        ProgrammaticAccess("data-team", {"groups": {"g": {"policies": ["IAMFullAccess"]}},
                                         "users": {"u": {"groups": ["g"]}}})  # fmt: skip

    urns = deploy(program).urns
    assert len(urns) == len(set(urns)), "every resource has a URN of its own"


def test_groups_and_policies_with_dashes_do_not_collide() -> None:
    own = "arn:aws:iam::123456789012:policy/"
    recording, _ = made({"groups": {"a": {"policies": [own + "b-c"]}, "a-b": {"policies": [own + "c"]}}, "users": {}})
    assert len(set(recording.urns)) == len(recording.urns)


def test_outputs_tell_ids_arns_and_secrets() -> None:
    recording, access = made()
    assert recording.value(access.access_key_ids) == {"ann": "AKIAACCESS/ANN/A", "bob": "AKIAACCESS/BOB/A"}
    assert recording.value(access.user_arns)["bob"] == "arn:aws:iam::123456789012:user/bob"
    assert recording.value(access.group_arns)["writers"] == "arn:aws:iam::123456789012:group/data/writers"
    assert recording.value(access.secret_access_keys)["ann"] == "secret of access/ann/a"
    assert "[ann]\naws_access_key_id = AKIAACCESS/ANN/A\naws_secret_access_key = secret of access/ann/a" in (
        recording.value(access.credentials_file)
    )


def test_what_holds_a_secret_is_secret_and_nothing_else_is() -> None:
    _, access = made()

    def secret(output: "pulumi.Output[Any]") -> bool:
        return _resolved(output.is_secret())

    assert secret(access.secret_access_keys), "secretAccessKeys is encrypted"
    assert secret(access.credentials_file), "credentialsFile is encrypted"
    assert not secret(access.access_key_ids), "a key id is no secret and can be read"
    assert not secret(access.user_arns)


def test_the_component_registers_its_outputs() -> None:
    recording, _ = made()
    top = next(resource for resource in recording.resources if resource.token.endswith(":ProgrammaticAccess"))
    assert set(recording.registered_outputs[top.urn]) == OUTPUTS
    for component in (r for r in recording.resources if r.token.startswith("aws-access-keys:")):
        assert recording.registered_outputs[component.urn], f"{component.name} registers outputs, not an empty mapping"


def test_a_policy_made_in_the_same_program_can_be_attached() -> None:
    arn = "arn:aws:iam::123456789012:policy/made-here"
    recording, _ = made(
        {"groups": {"g": {"policies": [], "policy_arns": {"own": pulumi.Output.from_input(arn)}}}, "users": {}}
    )
    assert recording.of("GroupPolicyAttachment")["access/g/own"].inputs["policyArn"] == arn


def test_bad_args_are_refused_before_anything_is_registered() -> None:
    with pytest.raises(
        ValueError, match=r"users\.u\.groups\[0\]: 'nope' is no group of this stack; known: g"
    ) as caught:
        made({"groups": {"g": {"policies": ["S3FullAccess"]}}, "users": {"u": {"groups": ["nope"]}}})
    assert "Did you mean 'AmazonS3FullAccess'?" in str(caught.value), "all problems come in one message"


def test_pulumis_schema_analyser_accepts_the_component() -> None:
    analysed = Analyzer("aws-access-keys").analyze(components=[ProgrammaticAccess])
    definition = analysed["component_definitions"]["ProgrammaticAccess"]
    assert set(definition.inputs) == {"groups", "users", "tags", "partition", "today", "retireGuardIdleDays", "issued"}
    assert set(definition.outputs) == OUTPUTS
    assert all(output.description for output in definition.outputs.values()), "each output says what it is"


def test_the_program_and_its_components_never_import_the_sandbox() -> None:
    for folder in ("components",):
        for source in Path(folder).rglob("*.py"):
            assert "pulumi_sandbox" not in _imports(source.read_text()), f"{source} does not import the sandbox"
    assert "pulumi_sandbox" not in _imports(Path("__main__.py").read_text())


def _imports(text: str) -> set[str]:
    import ast

    names: set[str] = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add((node.module or "").split(".")[0])
    return names


def _resolved(awaitable: Any) -> Any:
    import asyncio

    return asyncio.get_event_loop().run_until_complete(awaitable)

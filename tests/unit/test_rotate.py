"""Raising a serial: what changes in the stack file, and what does not. The engine's answers are given."""

import json
from concurrent.futures import ThreadPoolExecutor, TimeoutError
from pathlib import Path
from threading import Event
from typing import Any

import pytest
import yaml
from aws_access_keys.cli.files import locked
from aws_access_keys.cli.rotate import edit, entry_of, with_setting
from aws_access_keys.cli.stack import StackError
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.command import Command

USERS = "config:\n  aws-access-keys:users:\n"


def key(serial: int, previous: int | None = None) -> dict[str, Any]:
    """A user's part of the output `keys`."""
    return {
        "current": {"id": f"AKIA{serial}", "serial": serial, "status": "Active"},
        "previous": previous and {"id": f"AKIA{previous}", "serial": previous, "status": "Inactive"},
    }


class Run(Command):
    """`access-keys rotate ...`"""

    def have(self, text: str, project: str = "name: aws-access-keys\n") -> None:
        (self.home / "Pulumi.yaml").write_text(project)
        self.file.write_bytes(text.encode())

    @property
    def file(self) -> Path:
        return self.home / "Pulumi.dev.yaml"

    @property
    def text(self) -> str:
        return self.file.read_bytes().decode()

    def __call__(self, *arguments: str) -> tuple[int, str]:
        return super().__call__("rotate", *arguments)


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    return Run(tmp_path, monkeypatch, {"keys": {"ann": key(1), "b.c@d": key(3, 2), "ann2": key(1)}})


@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param(
            "    ann:\n      groups: [x]\n",
            "    ann:\n      key: {serial: 2}\n      groups: [x]\n",
            id="a user without a key",
        ),
        pytest.param(
            "    ann: # why\n\n        # mine\n        groups: [x]\n\n    # end\n",
            "    ann: # why\n        key: {serial: 2}\n\n        # mine\n        groups: [x]\n\n    # end\n",
            id="comments, blank lines and another indent",
        ),
        pytest.param(
            "    ann:\n      groups: [x]\n      key:\n        # why\n        previous: active\n",
            "    ann:\n      groups: [x]\n      key:\n        serial: 2\n        # why\n        previous: active\n",
            id="a key without a serial",
        ),
        pytest.param(
            "    ann:\n      key:\n        serial:   1   # one\n      groups: [x]\n",
            "    ann:\n      key:\n        serial:   2   # one\n      groups: [x]\n",
            id="a serial with a comment",
        ),
        pytest.param(
            "    ann: { groups: [ x ] }   # short\n",
            "    ann: { key: {serial: 2}, groups: [ x ] }   # short\n",
            id="flow style",
        ),
        pytest.param(
            "    ann: {groups: [x], key: {previous: active,}}\n",
            "    ann: {groups: [x], key: {serial: 2, previous: active,}}\n",
            id="flow style with a key",
        ),
        pytest.param(
            "    ann: {groups: [x], key: {}}\n",
            "    ann: {groups: [x], key: {serial: 2}}\n",
            id="an empty key",
        ),
        pytest.param("    ann: { }\n", "    ann: { key: {serial: 2}}\n", id="an empty user"),
        pytest.param(
            "    {ann: {groups: [x]}}\n", "    {ann: {key: {serial: 2}, groups: [x]}}\n", id="all in flow style"
        ),
        pytest.param(
            '    "ann":\n      "groups": [x]\n      "key": {"serial": 1}',
            '    "ann":\n      "groups": [x]\n      "key": {"serial": 2}',
            id="quotes, and no end of the last line",
        ),
        pytest.param(
            "    ann:\r\n      groups: [x]\r\n",
            "    ann:\r\n      key: {serial: 2}\r\n      groups: [x]\r\n",
            id="line ends of Windows",
        ),
        pytest.param(
            "    ann2:\n      key: {serial: 1}\n    ann: &a\n      groups: &g [x]\n    eve:\n      groups: *g\n",
            "    ann2:\n      key: {serial: 1}\n    ann: &a\n      key: {serial: 2}\n      groups: &g [x]\n"
            "    eve:\n      groups: *g\n",
            id="anchors and aliases of other things",
        ),
        pytest.param(
            "    base: &b {groups: [x]}\n    ann:\n      <<: *b\n      path: /a/\n",
            "    base: &b {groups: [x]}\n    ann:\n      key: {serial: 2}\n      <<: *b\n      path: /a/\n",
            id="a merge key without a key",
        ),
        pytest.param(
            "    ann:\n      groups: [x]\n  aws-access-keys:groups: {x: {policies: [한글]}}\n",
            "    ann:\n      key: {serial: 2}\n      groups: [x]\n  aws-access-keys:groups: {x: {policies: [한글]}}\n",
            id="other letters, and settings after it",
        ),
    ],
)
def test_only_the_serial_changes(run: Run, before: str, after: str) -> None:
    run.have(USERS + before)
    code, text = run("ann")
    assert (code, run.text) == (0, USERS + after)
    assert text.endswith("Next: pulumi up --stack dev\n")


@pytest.mark.parametrize(
    "users",
    [
        pytest.param("    eve:\n      key: &k {previous: active}\n    ann:\n      key: *k\n", id="an alias"),
        pytest.param(
            "    ann:\n      key: &k {previous: active}\n    eve:\n      key: *k\n", id="an anchor others use"
        ),
        pytest.param(
            "    eve: &e {key: {previous: active}}\n    ann:\n      <<: *e\n      path: /a/\n",
            id="a merge key with a key",
        ),
        pytest.param("    ann:\n      groups: [x]\n      key:\n", id="an empty key"),
        pytest.param("    ann:\n", id="an empty user"),
        pytest.param("    ? ann\n    : groups: [x]\n", id="a complex mapping key"),
        pytest.param("    ann: &a\n      &b groups: [x]\n    1: {key: *a}\n", id="something odd"),
    ],
)
def test_a_file_in_which_more_would_change_is_left_alone_and_pulumis_command_is_named(run: Run, users: str) -> None:
    run.have(USERS + users)
    code, text = run("ann")
    assert (code, run.text) == (1, USERS + users)
    assert "Pulumi.dev.yaml was not changed: the serial of ann cannot be set without changing more lines" in text
    assert """pulumi config set --path 'aws-access-keys:users["ann"].key.serial' 2 --stack dev""" in text


NAMES = st.text("ab1.@-_=", min_size=1, max_size=5)
KEYS = st.dictionaries(st.sampled_from(["serial", "previous", "status"]), st.integers(1, 99), max_size=3)
USER = st.fixed_dictionaries({"groups": st.lists(st.sampled_from(["x", "y"]))}, optional={"key": KEYS, "path": NAMES})


@settings(max_examples=40)
@given(
    users=st.dictionaries(NAMES, USER, min_size=1, max_size=4),
    flow=st.sampled_from([None, True, False]),
    data=st.data(),
)
def test_whatever_the_file_holds_one_serial_changes(
    users: dict[str, Any], flow: bool | None, data: st.DataObject
) -> None:
    stack = {"config": {"aws:region": "x", "aws-access-keys:users": users}, "encryptionsalt": "v1:x"}
    text = yaml.safe_dump(stack, default_flow_style=flow, sort_keys=False)
    user = data.draw(st.sampled_from(sorted(users)))
    edited = with_setting(text, yaml.safe_load(text), user, "serial", 100)
    assert edited, f"there is a place for it: {text}"
    users[user]["key"] = {**users[user].get("key", {}), "serial": 100}
    assert yaml.safe_load(edited) == stack
    assert len(edited.splitlines()) - len(text.splitlines()) in (0, 1)


def test_a_name_with_dots_is_found_and_what_the_update_takes_away_is_told(run: Run) -> None:
    run.have(f"{USERS}    b.c@d:\n      key: {{serial: 3, previous: Deleted}}\n")
    code, text = run("b.c@d")
    assert code == 0
    assert text == (
        "--- Pulumi.dev.yaml\n"
        "+++ Pulumi.dev.yaml\n"
        "@@ -1,4 +1,4 @@\n"
        " config:\n"
        "   aws-access-keys:users:\n"
        "     b.c@d:\n"
        "-      key: {serial: 3, previous: Deleted}\n"
        "+      key: {serial: 4, previous: Deleted}\n"
        "Warning: `pulumi up` deletes the previous access key AKIA2 (Inactive), because IAM allows two keys per user.\n"
        "Warning: `pulumi up` deletes the current access key AKIA3 once the new one works, because `previous` is "
        "`deleted`. Set it to `active` to keep both for a while.\n"
        "Next: pulumi up --stack dev\n"
    )


def test_a_schedule_without_an_overlap_deactivates_the_current_key_also_where_previous_is_not_set(run: Run) -> None:
    run.have(f"{USERS}    ann: {{key: {{rotation: {{start: 2027-01-01, everyDays: 90, overlapDays: 0}}}}}}\n")
    assert "Warning: `pulumi up` deactivates the current access key AKIA1 once the new one works" in run("ann")[1]


def test_a_schedule_gives_time_to_change_over_whatever_becomes_of_the_previous_key(run: Run) -> None:
    rotation = "{start: 2027-01-01, everyDays: 90, overlapDays: 7}"
    run.have(f"{USERS}    ann: {{key: {{previous: deleted, rotation: {rotation}}}}}\n")
    assert "Warning" not in run("ann")[1]
    defaults = f"  aws-access-keys:keyDefaults: {{previous: deleted, rotation: {rotation}}}\n"
    run.have(f"{USERS}    ann: {{key: {{without: [rotation]}}}}\n{defaults}")
    assert "deletes the current access key AKIA1" in run("ann")[1], "this user has no schedule"


def test_a_setting_in_without_is_not_set_beside_it(run: Run) -> None:
    run.have(f"{USERS}    ann: {{key: {{without: [previous]}}}}\n")
    with pytest.raises(StackError, match="previous is in `without` of ann"):
        edit("dev", entry_of("dev", "ann"), {"previous": "inactive"}, False)


def test_an_edit_is_taken_back_setting_by_setting(run: Run) -> None:
    run.have(f"{USERS}    ann: {{key: {{serial: 1, status: active}}}}\n")
    found = entry_of("dev", "ann").way_back({"serial": 2, "status": None, "previous": "inactive"})
    assert found == "in the key of ann in Pulumi.dev.yaml: set serial to 1, set status to active, remove previous"


def test_the_serial_becomes_higher_than_the_current_keys_and_starts_from_the_defaults(run: Run) -> None:
    defaults = "  aws-access-keys:keyDefaults: {serial: 5}\n"
    run.have(f"{USERS}    ann: {{groups: [x]}}\n{defaults}")
    run.outputs = {"keys": {"ann": key(5)}}
    run("ann")
    assert "ann: {key: {serial: 6}, groups: [x]}" in run.text

    run.have(f"{USERS}    ann: {{groups: [x]}}\n")
    run.outputs = {"keys": {"ann": key(8)}}
    run("ann")
    assert "ann: {key: {serial: 9}, groups: [x]}" in run.text, "a calendar can be ahead of the file"


def test_a_second_call_before_the_update_requests_no_second_key(run: Run) -> None:
    run.have(f"{USERS}    ann: {{groups: [x]}}\n")
    run("ann")
    once = run.text
    code, text = run("ann")
    assert (code, text.splitlines()) == (
        0,
        [
            "Pulumi.dev.yaml: the serial of ann is already 2, and that key has not been issued yet.",
            "Next: pulumi up --stack dev",
        ],
    )
    assert run.text == once


def test_a_dry_run_shows_only_the_difference(run: Run) -> None:
    before = f"{USERS}    ann: {{groups: [x]}}\n"
    run.have(before)
    code, text = run("ann", "--dry-run")
    assert (code, run.text) == (0, before)
    assert text.splitlines()[-1] == "+    ann: {key: {serial: 2}, groups: [x]}"


def test_the_result_can_be_had_as_json(run: Run) -> None:
    run.have(f"{USERS}    ann: {{groups: [x]}}\n")
    result = json.loads(run("ann", "--output", "json")[1])
    diff = result.pop("diff")
    assert diff[-2:] == ["-    ann: {groups: [x]}", "+    ann: {key: {serial: 2}, groups: [x]}"]
    assert result == {
        "user": "ann",
        "stack": "dev",
        "file": "Pulumi.dev.yaml",
        "changed": True,
        "oldSerial": 1,
        "newSerial": 2,
        "warnings": [],
        "next": "pulumi up --stack dev",
    }


def test_the_file_is_found_from_a_folder_below_and_in_the_projects_folder_for_stacks(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    run.have("", project="name: aws-access-keys\nstackConfigDir: stacks\n")
    (run.home / "stacks").mkdir()
    (run.home / "src").mkdir()
    file = run.home / "stacks" / "Pulumi.prod.yaml"
    file.write_text(f"{USERS}    ann: {{groups: [x]}}\n")
    file.chmod(0o640)
    monkeypatch.chdir(run.home / "src")
    code, text = run("ann", "--stack", "acme/aws-access-keys/prod")
    assert code == 0
    assert f"+++ {file}" in text
    assert text.endswith("Next: pulumi up --stack acme/aws-access-keys/prod\n")
    assert "serial: 2" in file.read_text()
    assert file.stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize(
    ("arguments", "file", "message"),
    [
        (
            ["anne"],
            "    ann: {groups: [x]}\n",
            "dev.yaml has no user 'anne'. Its users: ann. Did you mean 'ann'?",
        ),
        (
            ["new"],
            "    new: {groups: [x]}\n",
            "new has no access key in stack 'dev' yet. `pulumi up --stack dev` creates",
        ),
        (["ann"], "    ann: {key: {serial: two}}\n", "the serial of ann is 'two'. Use a whole number."),
        (["ann"], "    ann: {key: {serial: }}\n", "the serial of ann is None. Use a whole number."),
        (["ann"], "    ann: {key: [\n", "Pulumi.dev.yaml is not valid YAML: line 4, column 1: "),
        (["ann"], "    ann: {start: 2027-02-30}\n", "is not valid YAML: day is out of range for month"),
        (["ann"], "  other: {}\n", "Pulumi.dev.yaml has no user 'ann'. It has no users."),
        (
            ["ann", "--stack", "prod"],
            "",
            "Pulumi.prod.yaml has no aws-access-keys:users, so the program of stack 'prod'",
        ),
    ],
)
def test_what_cannot_be_done_is_refused_in_one_message(run: Run, arguments: list[str], file: str, message: str) -> None:
    run.have(USERS + file)
    code, text = run(*arguments)
    assert code == 1
    assert message in text
    assert run.text == USERS + file, "nothing is changed"


def test_users_as_json_text_are_named(run: Run) -> None:
    run.have(file := """config:\n  aws-access-keys:users: '{"ann": {"groups": ["x"]}}'\n""")
    code, text = run("ann")
    assert code == 1
    assert "Pulumi.dev.yaml has aws-access-keys:users as JSON text, which Pulumi accepts but this command" in text
    assert run.text == file, "nothing is changed"


def test_outside_a_project_it_says_where_to_run(run: Run) -> None:
    code, text = run("ann")
    assert (code, text) == (
        1,
        "Error: There is no Pulumi.yaml here. Run this in the folder of the Pulumi program.\n",
    )


def test_before_the_first_up_it_names_the_command_to_run_first(run: Run) -> None:
    run.have(f"{USERS}    ann: {{groups: [x]}}\n")
    run.outputs = {}
    assert run("ann")[1] == (
        "Error: Stack 'dev' has no access keys yet: run `pulumi up --stack dev` first, or again if it failed.\n"
    )


def test_where_the_program_sets_the_users_it_says_what_to_write_there(run: Run) -> None:
    run.have("config: {}\n")
    code, text = run("b.c@d")
    assert code == 1
    assert 'Set the serial of b.c@d to 4 there: key: {serial: 4} in YAML, "key": {"serial": 4} in Python.' in text
    assert "Stack 'dev' has no user 'anne'. Its users: ann, ann2, b.c@d." in run("anne")[1]


@pytest.mark.parametrize("user", ["ann", "dev-ann"])
def test_a_user_is_found_with_and_without_the_prefix_of_the_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, user: str
) -> None:
    run = Run(tmp_path, monkeypatch, {"keys": {"dev-ann": key(4)}})
    run.have("config:\n  aws-access-keys:namePrefix: dev-\n  aws-access-keys:users:\n    ann: {groups: [x]}\n")
    code, _ = run(user)
    assert code == 0
    assert "    ann: {key: {serial: 5}, groups: [x]}" in run.text


def test_what_somebody_changes_in_the_file_meanwhile_is_not_undone(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    run.have(f"{USERS}    ann: {{groups: [x]}}\n")
    edited = f"{USERS}    ann: {{groups: [x, y]}}\n"

    def outputs(stack: str) -> dict[str, Any]:
        run.file.write_text(edited)
        return run.outputs

    monkeypatch.setattr("aws_access_keys.cli.rotate.stack_keys", outputs)
    code, text = run("ann")
    assert (code, run.text) == (1, edited)
    assert "Pulumi.dev.yaml was changed meanwhile. It was not written; run the command again." in text


def test_of_two_edits_at_the_same_moment_one_waits_for_the_other(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    run.have(f"{USERS}    ann: {{groups: [x]}}\n")
    edited = f"{USERS}    ann: {{groups: [x, y]}}\n"
    has_read = Event()

    def outputs(stack: str) -> dict[str, Any]:
        has_read.set()
        return run.outputs

    monkeypatch.setattr("aws_access_keys.cli.rotate.stack_keys", outputs)
    with ThreadPoolExecutor() as pool:
        with locked(run.file.parent):
            answer = pool.submit(run, "ann")
            assert has_read.wait(10)
            with pytest.raises(TimeoutError):
                answer.result(0.3)
            run.file.write_text(edited)
        assert answer.result()[0] == 1
    assert run.text == edited

"""Handing a key over: what is written, what is printed, and what is refused. The engine's answers are given."""

import json
import os
import stat
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from aws_access_keys.cli import credentials
from aws_access_keys.cli.credentials import CredentialsError, CurrentKey, put_profile
from aws_access_keys.cli.files import write_file, write_with_backup

from tests.unit.command import Command

SECRET = "bob/secret+00000000000000000000000000000"
OUTPUTS: dict[str, Any] = {
    "accessKeyIds": {
        "ann": "AKIAANN0000000000001",
        "bob": "AKIABOB0000000000002",
        "cid": "AKIACID0000000000003",
        "d,e": "AKIADEE0000000000004",
        "eve": "AKIAEVE0000000000005",
    },
    "secretAccessKeys": {"bob": SECRET, "d,e": SECRET, "eve": SECRET},
    "encryptedSecrets": {"ann": {"ciphertext": "wcBM...", "fingerprint": "f1f2f3"}},
    "keys": {
        "bob": {"current": {"id": "AKIABOB0000000000002", "status": "Active"}, "previous": {"id": "AKIABOBOLD"}},
        "eve": {"current": {"id": "AKIAEVE0000000000005", "status": "Inactive"}, "previous": None},
    },
}


class Run(Command):
    """`access-keys credentials ...`"""

    @property
    def file(self) -> Path:
        return self.home / ".aws" / "credentials"

    def __call__(self, *arguments: str) -> tuple[int, str]:
        code, text = super().__call__("credentials", *arguments)
        assert SECRET not in text, "no secret is shown"
        return code, text

    def have(self, content: str) -> None:
        self.file.parent.mkdir()
        self.file.write_text(content)


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    return Run(tmp_path, monkeypatch, OUTPUTS)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_profile_is_made_in_a_home_that_has_none(run: Run) -> None:
    code, text = run("bob", "--profile", "robot")
    assert code == 0
    assert run.file.read_text() == (
        f"[robot]\naws_access_key_id = AKIABOB0000000000002\naws_secret_access_key = {SECRET}\n"
    )
    assert (mode(run.file), mode(run.file.parent)) == (0o600, 0o700)
    assert text == (
        f"Created profile 'robot' in {run.file}\n"
        "  AKIABOB0000000000002, the current access key of bob in stack dev\n"
        "Next: aws sts get-caller-identity --profile robot --region ap-northeast-2\n"
    )


def test_a_key_that_only_the_outputs_still_have_is_not_handed_over(run: Run) -> None:
    run.state = {"keys": OUTPUTS["keys"]}
    code, text = run("bob")
    assert code == 1
    assert "Stack 'dev' no longer has the access key AKIABOB0000000000002 of bob, though its outputs do" in text
    assert not run.file.exists()


def test_a_key_of_the_stack_in_the_profile_is_replaced_and_the_rest_stays(run: Run) -> None:
    others = "# mine\n[default]\naws_access_key_id = D\n\n[zoe]\nregion=x\n"
    run.have(others + "[bob]\nrole_arn = r\naws_access_key_id = AKIABOBOLD\naws_secret_access_key = old\n")
    run.file.chmod(0o644)
    code, text = run("bob")
    assert code == 0
    assert run.file.read_text().startswith(others)
    assert "AKIABOBOLD" not in run.file.read_text()
    assert mode(run.file) == 0o600, "however it was before"
    assert f"Updated profile 'bob' in {run.file}" in text
    assert "replaced AKIABOBOLD" in text
    assert "Warning: the profile also has role_arn" in text
    assert "replaced" not in run("bob")[1], "the second time no other key is replaced"
    assert os.listdir(run.file.parent) == ["credentials"], "no other file is left behind"


@pytest.mark.parametrize(
    ("had", "shown"),
    [
        ("aws_access_key_id = AKIAMYADMIN\naws_secret_access_key = precious\n", "AKIAMYADMIN"),
        ("aws_secret_access_key = precious\n", "(without an id)"),
    ],
)
def test_a_key_that_the_stack_did_not_issue_is_replaced_only_when_forced_and_kept_in_a_backup(
    run: Run, had: str, shown: str
) -> None:
    content = f"[default]\n{had}"
    run.have(content)
    code, text = run("bob", "--profile", "default")
    assert code == 1
    assert f"its profile 'default' has the access key {shown}, which stack 'dev' does not know: somebody else" in text
    assert "replace the key with --force (make credentials FORCE=1), which keeps a backup" in text
    assert (run.file.read_text(), os.listdir(run.file.parent)) == (content, ["credentials"]), "nothing is changed"

    code, text = run("bob", "--profile", "default", "--force", "--output", "json")
    assert code == 0
    backup = Path(json.loads(text)["backup"])
    assert (backup.read_text(), mode(backup)) == (content, 0o600)
    assert "AKIABOB0000000000002" in run.file.read_text()
    assert sorted(os.listdir(run.file.parent)) == ["credentials", backup.name]


@pytest.mark.parametrize("key_id", ["AKIACID0000000000003", "AKIABOBOLD"])
def test_another_users_key_without_a_secret_in_the_stack_is_replaced_only_when_forced(run: Run, key_id: str) -> None:
    content = f"[default]\naws_access_key_id = {key_id}\naws_secret_access_key = precious\n"
    run.have(content)
    code, text = run("d,e", "--profile", "default")
    assert code == 1
    assert (
        f"the access key {key_id}, which stack 'dev' has for another user, but without its secret: here may be" in text
    )
    assert run.file.read_text() == content, "an adopted key's secret may be nowhere else"
    code, text = run("d,e", "--profile", "default", "--force", "--output", "json")
    assert code == 0
    assert Path(json.loads(text)["backup"]).read_text() == content


def test_of_two_users_of_one_name_the_previous_key_is_found_by_the_current_one(run: Run) -> None:
    run.have("[bob]\naws_access_key_id = AKIABOBOLD\naws_secret_access_key = old\n")
    keys = {f"a/{user}": part for user, part in OUTPUTS["keys"].items()}
    run.state = {"keys": keys, "accessKeyIds": OUTPUTS["accessKeyIds"]}
    run.outputs = {name: value for name, value in OUTPUTS.items() if name != "keys"}
    assert run("bob")[0] == 0


def test_what_the_program_does_not_export_is_not_called_adopted(run: Run) -> None:
    run.outputs = {name: value for name, value in OUTPUTS.items() if name != "secretAccessKeys"}
    assert "The program of stack 'dev' does not export secretAccessKeys." in run("bob")[1]


def test_another_users_key_whose_secret_the_stack_has_is_replaced(run: Run) -> None:
    run.have("[default]\naws_access_key_id = AKIABOB0000000000002\naws_secret_access_key = x\n")
    assert run("d,e", "--profile", "default")[0] == 0


def test_a_key_of_the_state_is_known_where_the_program_exports_no_keys(run: Run) -> None:
    run.have("[bob]\naws_access_key_id = AKIAOLD\naws_secret_access_key = old\n")
    exported = {name: value for name, value in run.outputs.items() if name != "keys"}
    keys = {"bob": {"current": {"id": "AKIABOB0000000000002"}, "previous": {"id": "AKIAOLD"}}}
    run.state = {"keys": keys, "accessKeyIds": OUTPUTS["accessKeyIds"]}
    run.outputs = exported
    assert run("bob")[0] == 0


def test_a_profile_without_a_key_takes_one(run: Run) -> None:
    run.have("[bob]\nregion = eu-west-1\n")
    assert run("bob")[0] == 0
    assert "region = eu-west-1" in run.file.read_text()


def test_the_file_that_the_environment_names_is_used_through_its_link(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = run.home / "vault" / "keys"
    target.parent.mkdir()
    target.write_text("")
    link = run.home / "link"
    link.symlink_to(target)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(link))
    assert run("bob")[0] == 0
    assert link.is_symlink()
    assert "[bob]" in target.read_text()
    assert not run.file.exists()


def test_a_file_of_ones_own_is_named_in_the_next_command_so_that_a_shell_reads_it(run: Run) -> None:
    path = run.home / "own keys" / "credentials"
    code, text = run("bob", "--file", str(path))
    assert code == 0
    assert "[bob]" in path.read_text()
    assert f"Next: AWS_SHARED_CREDENTIALS_FILE='{path}' aws sts get-caller-identity --profile bob" in text


def test_settings_of_the_profile_in_the_config_file_are_named(run: Run) -> None:
    config = run.home / ".aws/config"
    config.parent.mkdir()
    config.write_text("[profile bob]\nregion = eu-west-1\nsso_session = corp\n[profile eve]\nrole_arn = r\n")
    text = run("bob")[1]
    assert "Warning: in AWS's config file, the profile has sso_session, which AWS's tools may use instead" in text
    config.write_text("[profile bob\n")
    assert "Warning" not in run("bob")[1]


def test_an_inactive_key_is_handed_over_with_a_warning(run: Run) -> None:
    assert "the key is inactive: AWS refuses it until users.eve.key.status is active again." in run("eve")[1]


def test_an_inactive_key_takes_another_keys_place_only_when_forced(run: Run) -> None:
    content = "[eve]\naws_access_key_id = AKIABOBOLD\naws_secret_access_key = old\n"
    run.have(content)
    code, text = run("eve")
    assert code == 1
    assert (
        "eve's current key AKIAEVE0000000000005 is inactive or gone, so AWS refuses it. Rotate the key or, unless"
        in text
    )
    assert run.file.read_text() == content
    code, text = run("eve", "--force", "--output", "json")
    assert code == 0
    assert Path(json.loads(text)["backup"]).read_text() == content, "that key may work, and its secret be nowhere else"


def test_a_key_that_somebody_deactivated_takes_no_other_keys_place(run: Run) -> None:
    content = "[bob]\naws_access_key_id = AKIABOBOLD\naws_secret_access_key = old\n"
    run.have(content)
    key = CurrentKey("bob", "dev", "AKIABOB0000000000002", SECRET, True, {"AKIABOBOLD"}, {})
    with pytest.raises(CredentialsError, match="bob's current key AKIABOB0000000000002 is inactive or gone"):
        put_profile(run.file, "bob", key, works=lambda: False)
    assert run.file.read_text() == content


def test_the_result_can_be_had_as_json(run: Run) -> None:
    code, text = run("bob", "--stack", "prod", "--output", "json")
    assert code == 0
    assert json.loads(text) == {
        "user": "bob",
        "stack": "prod",
        "accessKeyId": "AKIABOB0000000000002",
        "file": str(run.file),
        "profile": "bob",
        "replacedAccessKeyId": None,
        "backup": None,
        "warnings": [],
        "next": "aws sts get-caller-identity --profile bob --region ap-northeast-2",
    }


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"],
            "Stack 'dev' has no user of this name, which may be a secret. Its",
        ),
        (["bo"], "Stack 'dev' has no user 'bo'. Its users: ann, bob, cid, d,e, eve. Did you mean 'bob'?"),
        (["bob", "--stack", "nope"], "Error: no stack named 'nope' found"),
        (["ann"], "encrypted to the PGP key f1f2f3, and only the owner of that key can read it"),
        (["ann"], "jq -r '.[\"ann\"].ciphertext' | base64 -d > ann.gpg"),
        (["cid"], "adopted without it. For a key with a secret: access-keys rotate cid --stack dev"),
        (["bob", "--profile", "a]b"], "'a]b' is not a valid profile name"),
        (["bob", "--profile", "a\n[default]"], "is not a valid profile name"),
        (["bob", "--file", "-"], "'-' is not a regular file"),
        (["bob", "--file", "/dev/stdout"], "'/dev/stdout' is not a regular file"),
        (["bob", "--file", "."], "'.' is not a regular file"),
        (["bob", "--csv", "-"], "'-' is not a regular file"),
        (["bob", "--csv", "/dev/stderr"], "'/dev/stderr' is not a regular file"),
        (["bob", "--csv", "x/y.csv"], "x/y.csv cannot be written: No such file or directory."),
        (["d,e", "--csv", "y.csv"], "cannot read a user name with a comma, such as 'd,e'"),
    ],
)
def test_what_cannot_be_done_is_refused_in_one_message(run: Run, arguments: list[str], message: str) -> None:
    code, text = run(*arguments)
    assert code == 1
    assert message in text
    assert not list(run.home.iterdir()), "nothing is made"


def test_a_profile_and_a_csv_at_once_are_wrong_usage(run: Run) -> None:
    code, text = run("bob", "--csv", "y", "--profile", "x")
    assert code == 2
    assert "--csv cannot be combined with --profile or --file" in text


def test_before_the_first_up_it_names_the_command_to_run_first(run: Run) -> None:
    run.outputs = {}
    assert run("bob") == (
        1,
        "Error: Stack 'dev' has no outputs: run `pulumi up --stack dev` first. If it has succeeded, the program "
        "exports none: export 'accessKeyIds'.\n",
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"[bob]\n[bob]\n", "line 2 begins profile 'bob' a second time"),
        (b"[bob]\nnote = \xff\n", "byte 13 is not UTF-8"),
    ],
)
def test_a_file_that_aws_cannot_read_is_left_as_it_is(run: Run, content: bytes, message: str) -> None:
    run.file.parent.mkdir()
    run.file.write_bytes(content)
    code, text = run("bob")
    assert code == 1
    assert f"{run.file} was not changed" in text
    assert message in text
    assert run.file.read_bytes() == content


@pytest.mark.parametrize("arguments", [["bob"], ["bob", "--csv", ".aws/x.csv"]])
def test_a_place_that_cannot_be_written_is_named(run: Run, arguments: list[str]) -> None:
    (run.home / ".aws").write_text("a file where a folder is expected")
    code, text = run(*arguments)
    assert code == 1
    assert f"{run.home}/.aws/" in text
    assert "cannot be written: " in text


def test_a_csv_is_written_as_aws_reads_it(run: Run) -> None:
    path = run.home / "bob's.csv"
    code, text = run("bob", "--csv", str(path))
    assert code == 0
    assert mode(path) == 0o600
    header, row = path.read_text().splitlines()
    assert header == "User Name,Access key ID,Secret access key"
    assert row.split(",") == ["bob", "AKIABOB0000000000002", SECRET], (
        "AWS CLI 2 splits at each comma, and knows no quotes"
    )
    quoted = str(path).replace("'", "'\"'\"'")
    assert f"Next: aws configure import --csv 'file://{quoted}' && rm '{quoted}'" in text


def test_a_csv_that_another_run_writes_meanwhile_stays(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    path = run.home / "bob.csv"
    asked = credentials.current_key

    def current_key(stack: str, user: str) -> CurrentKey:
        path.write_text("of another run")
        return asked(stack, user)

    monkeypatch.setattr(credentials, "current_key", current_key)
    code, text = run("bob", "--csv", str(path))
    assert (code, path.read_text()) == (1, "of another run")
    assert f"{path} exists" in text


def test_a_csv_takes_the_place_of_another_file_only_when_forced(run: Run) -> None:
    path = run.home / "bob.csv"
    path.write_text("precious")
    code, text = run("bob", "--csv", str(path))
    assert code == 1
    assert f"{path} exists" in text
    assert path.read_text() == "precious"
    path.chmod(0o644)
    code, text = run("bob", "--csv", str(path), "--force", "--output", "json")
    assert code == 0
    assert "AKIABOB" in path.read_text()
    assert mode(path) == 0o600
    assert Path(json.loads(text)["backup"]).read_text() == "precious"


@pytest.mark.parametrize(("write", "full_at"), [(write_file, 1), (write_with_backup, 1), (write_with_backup, 2)])
def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: Callable[[Path, bytes], object], full_at: int
) -> None:
    path = tmp_path / "credentials"
    path.write_text("old")
    written = count(1)

    def full(_: int) -> None:
        if next(written) == full_at:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write(path, b"new")
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["credentials"]


def test_a_file_keeps_its_owner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, given = tmp_path / "credentials", list[tuple[int, int]]()
    path.write_text("old")
    monkeypatch.setattr(Path, "stat", lambda *_, **__: SimpleNamespace(st_uid=123, st_gid=456, st_mode=0o100600))
    monkeypatch.setattr(os, "fchown", lambda _, uid, gid: given.append((uid, gid)))
    write_file(path, b"new")
    assert given == [(123, 456)]

    def refused(*_: int) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "fchown", refused)
    with pytest.raises(OSError, match=r"it belongs to another user \(uid 123\); run this as that user"):
        write_file(path, b"newer")
    assert path.read_text() == "new", "nobody's secrets become somebody else's"
    write_file(path, b"newest", 0o644)
    assert path.read_text() == "newest", "a file that all may read may change its owner"


def test_who_could_read_the_file_and_cannot_any_more_is_said(run: Run) -> None:
    path = run.home / "shared"
    path.write_text("[other]\nregion = eu-west-1\n")
    path.chmod(0o640)
    code, text = run("bob", "--file", str(path))
    assert code == 0
    assert "Warning: the file had mode 640 and has 600 now: only its owner can read it." in text
    assert mode(path) == 0o600
    assert "Warning" not in run("bob", "--file", str(path))[1]


def test_profiles_written_at_the_same_time_are_all_there(tmp_path: Path) -> None:
    path = tmp_path / "new" / "credentials"

    def put(number: int) -> None:
        put_profile(path, f"p{number}", CurrentKey("bob", "dev", f"AKIA{number}", SECRET, True, (), {}))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(put, range(24)))
    assert path.read_text().count("[p") == 24, "none was written over"


def test_a_traceback_would_show_no_secret() -> None:
    assert SECRET not in f"{CurrentKey('bob', 'dev', 'AKIABOB', SECRET, True, (), {})!r}"

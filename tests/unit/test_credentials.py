"""Handing a key over: what is written, what is said, and what is refused. The engine's answers are given."""

import json
import os
import stat
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from aws_access_keys.cli import credentials
from aws_access_keys.cli.credentials import CurrentKey, main, put_profile
from aws_access_keys.cli.private_file import write_private
from aws_access_keys.cli.stack import StackError

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
    "keys": {"bob": {"current": {"status": "Active"}}, "eve": {"current": {"status": "Inactive"}}},
}


class Run:
    """Runs the command in a home of its own."""

    def __init__(self, home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self.home = home
        self.file = home / ".aws" / "credentials"
        self.outputs = OUTPUTS
        self._monkeypatch = monkeypatch
        self._capsys = capsys
        monkeypatch.setenv("HOME", str(home))
        monkeypatch.delenv("AWS_SHARED_CREDENTIALS_FILE", raising=False)
        monkeypatch.delenv("PULUMI_SANDBOX", raising=False)
        monkeypatch.setattr(credentials, "pulumi", self._pulumi)
        monkeypatch.setattr(credentials, "aws_config", lambda _: {"region": "ap-northeast-2"})

    def _pulumi(self, *arguments: str) -> str:
        if "nope" in arguments:
            raise StackError("error: no stack named 'nope' found")
        assert arguments[:2] == ("stack", "output")
        return json.dumps(self.outputs)

    def __call__(self, *arguments: str) -> tuple[int, str]:
        """Exit code, and all that was said."""
        self._monkeypatch.setattr(sys, "argv", ["credentials", *arguments])
        code = 0
        said = ""
        try:
            main()
        except SystemExit as end:
            code, said = (end.code, "") if isinstance(end.code, int) else (1, str(end.code))
        shown = self._capsys.readouterr()
        text = shown.out + shown.err + said
        assert SECRET not in text, "no secret is shown"
        return code, text


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    return Run(tmp_path, monkeypatch, capsys)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_profile_is_made_in_a_home_that_has_none(run: Run) -> None:
    code, said = run("bob", "--profile", "robot")
    assert code == 0
    assert run.file.read_text() == (
        f"[robot]\naws_access_key_id = AKIABOB0000000000002\naws_secret_access_key = {SECRET}\n"
    )
    assert (mode(run.file), mode(run.file.parent)) == (0o600, 0o700)
    assert f"Profile 'robot' is new in {run.file}" in said
    assert "AKIABOB0000000000002 of bob, stack dev" in said
    assert "aws s3 ls --profile robot --region ap-northeast-2" in said


def test_a_profile_that_is_there_is_replaced_and_the_others_stay(run: Run) -> None:
    run.file.parent.mkdir()
    others = "# mine\n[default]\naws_access_key_id = D\n\n[zoe]\nregion=x\n"
    run.file.write_text(others + "[bob]\nrole_arn = r\naws_access_key_id = AKIAOLD\naws_secret_access_key = old\n")
    run.file.chmod(0o644)
    code, said = run("bob")
    assert code == 0
    assert run.file.read_text().startswith(others)
    assert "AKIAOLD" not in run.file.read_text()
    assert mode(run.file) == 0o600, "however it was before"
    assert f"Profile 'bob' was replaced in {run.file}" in said
    assert "out  AKIAOLD" in said
    assert "also has role_arn" in said
    assert "out  " not in run("bob")[1], "the second time no other key goes out"
    assert sorted(os.listdir(run.file.parent)) == ["credentials"], "no other file is left behind"


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


def test_a_file_named_by_hand_is_named_in_the_next_command(run: Run) -> None:
    path = run.home / "own"
    code, said = run("bob", "--output", str(path))
    assert code == 0
    assert "[bob]" in path.read_text()
    assert f"AWS_SHARED_CREDENTIALS_FILE={path} aws s3 ls --profile bob" in said


def test_in_the_sandbox_it_says_that_the_file_is_the_sandboxs(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PULUMI_SANDBOX", str(run.home))
    assert "the sandbox's own file; yours was not touched" in run("bob")[1]


def test_an_inactive_key_is_handed_over_with_a_word_of_warning(run: Run) -> None:
    assert "The key is inactive: AWS refuses it until users.eve.key.status is active again." in run("eve")[1]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["bo"], "Stack 'dev' has no user 'bo'. Its users: ann, bob, cid, d,e, eve. Did you mean 'bob'?"),
        (["bob", "--stack", "nope"], "no stack named 'nope' found"),
        (["ann"], "encrypted to the PGP key f1f2f3; only the owner of that key can read it"),
        (["ann"], "jq -r '.[\"ann\"].ciphertext' | base64 -d | gpg --decrypt"),
        (["cid"], "adopted without it. For a key whose secret it has, raise users.cid.key.serial by one"),
        (["bob", "--profile", ""], "The name of a profile cannot be empty. Say another: --profile NAME"),
        (["bob", "--profile", "a]b"], "'a]b' cannot name a profile"),
        (["bob", "--profile", "a\n[default]"], "cannot name a profile"),
        (["bob", "--output", "-"], "'-' is no file"),
        (["bob", "--output", "/dev/stdout"], "'/dev/stdout' is no file"),
        (["bob", "--output", "."], "'.' is no file"),
        (["bob", "--format", "csv"], "A CSV with a secret is not printed. Say which file to write: --output FILE"),
        (["bob", "--format", "csv", "--output", "-"], "'-' is no file"),
        (["bob", "--format", "csv", "--output", "/dev/stderr"], "'/dev/stderr' is no file"),
        (["bob", "--format", "csv", "--output", "x/y.csv"], "x/y.csv cannot be written: No such file or directory."),
        (["bob", "--format", "csv", "--output", "y", "--profile", "x"], "--profile does not go with --format csv"),
        (["d,e", "--format", "csv", "--output", "y.csv"], "cannot read a user name with a comma, as 'd,e'"),
    ],
)
def test_what_cannot_be_done_is_refused_in_one_message(
    run: Run, monkeypatch: pytest.MonkeyPatch, arguments: list[str], says: str
) -> None:
    monkeypatch.chdir(run.home)
    code, said = run(*arguments)
    assert code == 1
    assert says in said
    assert not list(run.home.iterdir()), "nothing is made"


def test_a_stack_without_keys_says_how_to_make_them(run: Run) -> None:
    run.outputs = {}
    assert run("bob") == (1, "Stack 'dev' has no access keys yet. Make them: pulumi up --stack dev")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"[bob]\n[bob]\n", "line 2 begins profile 'bob' a second time"),
        (b"[bob]\nnote = \xff\n", "byte 13 is not UTF-8"),
    ],
)
def test_a_file_that_aws_cannot_read_is_left_as_it_is(run: Run, content: bytes, says: str) -> None:
    run.file.parent.mkdir()
    run.file.write_bytes(content)
    code, said = run("bob")
    assert code == 1
    assert f"{run.file} was not changed" in said
    assert says in said
    assert run.file.read_bytes() == content


@pytest.mark.parametrize("arguments", [["bob"], ["bob", "--format", "csv", "--output", ".aws/x.csv"]])
def test_a_place_that_cannot_be_written_is_named(
    run: Run, monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    monkeypatch.chdir(run.home)
    (run.home / ".aws").write_text("a file where a folder is expected")
    code, said = run(*arguments)
    assert code == 1
    assert f"{run.home}/.aws/" in said
    assert "cannot be written: " in said


def test_a_csv_is_written_as_aws_reads_it(run: Run) -> None:
    path = run.home / "bob.csv"
    code, said = run("bob", "--format", "csv", "--output", str(path))
    assert code == 0
    assert mode(path) == 0o600
    header, row = path.read_text().splitlines()
    assert header == "User Name,Access key ID,Secret access key"
    assert row.split(",") == ["bob", "AKIABOB0000000000002", SECRET], (
        "AWS CLI 2 splits at each comma, and knows no quotes"
    )
    assert f"aws configure import --csv file://{path}" in said
    assert f"rm {path}" in said


def test_a_csv_takes_the_place_of_another_file_only_when_forced(run: Run) -> None:
    path = run.home / "bob.csv"
    path.write_text("precious")
    code, said = run("bob", "--format", "csv", "--output", str(path))
    assert code == 1
    assert f"{path} exists already" in said
    assert path.read_text() == "precious"
    path.chmod(0o644)
    assert run("bob", "--format", "csv", "--output", str(path), "--force")[0] == 0
    assert "AKIABOB" in path.read_text()
    assert mode(path) == 0o600


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "credentials"
    path.write_text("old")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_private(path, b"new")
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["credentials"]


def test_profiles_written_at_the_same_time_are_all_there(tmp_path: Path) -> None:
    path = tmp_path / "new" / "credentials"

    def put(number: int) -> None:
        put_profile(path, f"p{number}", CurrentKey("bob", f"AKIA{number}", SECRET, True))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(put, range(24)))
    assert path.read_text().count("[p") == 24, "none was written over"


def test_a_traceback_would_show_no_secret() -> None:
    assert SECRET not in f"{CurrentKey('bob', 'AKIABOB', SECRET, True)!r}"

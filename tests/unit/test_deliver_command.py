"""How a command that delivers a key is run."""

import json
import os
import sys
import time
from pathlib import Path

import pytest
from aws_access_keys.command import CommandError, exists, run_command

KEY = {"user": "ann", "aws_access_key_id": "AKIAIOSFODNN7EXAMPLE", "aws_secret_access_key": "s3cr3t/+" * 5}


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def test_it_gets_the_key_on_standard_input_and_names_in_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PULUMI_CONFIG", json.dumps({"adopted": KEY["aws_secret_access_key"]}))
    monkeypatch.setenv("AWS_PROFILE", "admin")
    code = "import json, os, sys; json.dump([json.load(sys.stdin), dict(os.environ)], open('found', 'w'))"
    assert run_command(python(code), KEY, tmp_path, 10) == ""
    given, environment = json.loads((tmp_path / "found").read_text())
    assert given == KEY
    assert environment["ACCESS_KEYS_USER"] == "ann"
    assert environment["ACCESS_KEYS_KEY_ID"] == KEY["aws_access_key_id"]
    assert environment["AWS_PROFILE"] == "admin"
    assert KEY["aws_secret_access_key"] not in "".join(environment.values())


def test_a_command_that_reads_nothing_can_succeed(tmp_path: Path) -> None:
    assert run_command(["true"], KEY, tmp_path, 10) == ""


def test_what_a_command_started_ends_with_it(tmp_path: Path) -> None:
    code = "import subprocess, sys; subprocess.Popen(['sleep', '30']); print('started', flush=True)"
    began = time.monotonic()
    with pytest.raises(CommandError, match="it did not finish within 1 seconds and was killed; it printed: started"):
        run_command(python(code), KEY, tmp_path, 1)
    assert time.monotonic() - began < 10


def test_a_program_is_found_on_path_or_in_the_folder(tmp_path: Path) -> None:
    script = tmp_path / "deliver"
    script.write_text("#!/bin/sh\ncat >/dev/null\n")
    assert not exists("./deliver", tmp_path), "it is not executable"
    script.chmod(0o700)
    assert exists("./deliver", tmp_path)
    assert exists("sh", tmp_path)
    assert not exists("deliver", tmp_path), "the folder is not on PATH"
    assert run_command(["./deliver"], KEY, tmp_path, 10) == ""
    with pytest.raises(CommandError, match="it cannot be run: No such file or directory"):
        run_command(["./nowhere"], KEY, tmp_path, 10)


def test_long_output_is_shortened_and_bytes_that_are_not_text_or_control_a_terminal_are_not_shown(
    tmp_path: Path,
) -> None:
    code = "import os; os.write(1, b'\\xff' + b'x' * 100_000 + b'the end'); raise SystemExit(7)"
    with pytest.raises(CommandError, match=r"it exited with code 7; it printed: \.\.\.x+the end$") as error:
        run_command(python(code), KEY, tmp_path, 10)
    assert len(str(error.value)) < 1100
    assert run_command(python("print('\\x1b[2Jtwo\\nlines')"), KEY, tmp_path, 10) == "; it printed: [2Jtwo\nlines"
    assert os.getcwd() != str(tmp_path), "the program's own folder does not change"


def test_a_secret_that_is_printed_with_other_bytes_in_between_is_not_shown(tmp_path: Path) -> None:
    code = "import json, sys; print(json.load(sys.stdin)['aws_secret_access_key'].replace('', '\\0'))"
    assert KEY["aws_secret_access_key"] not in run_command(python(code), KEY, tmp_path, 10)

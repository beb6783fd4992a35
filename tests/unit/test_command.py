"""The command as a process: how it starts, ends and helps."""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
from aws_access_keys.cli.commands import access_keys
from click.testing import CliRunner

from tests.unit.command import Command

COMMAND = Path(sys.executable).with_name("access-keys")


def run(*arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    done = subprocess.run([COMMAND, *arguments], env=os.environ | environment, capture_output=True, text=True)
    assert "Traceback" not in done.stderr
    return done


def fake_pulumi(folder: Path, script: str) -> str:
    """A PATH on which `pulumi` is a shell script."""
    pulumi = folder / "pulumi"
    pulumi.write_text(f"#!/bin/sh\n{script}\n")
    pulumi.chmod(0o755)
    return f"{folder}{os.pathsep}{os.environ['PATH']}"


def test_the_help_has_examples_exit_codes_and_how_to_switch_completion_on() -> None:
    text = run("--help").stdout
    for part in ("access-keys rotate ann --stack prod", "3    report --fail-on-overdue", "bash_source access-keys"):
        assert part in text
    for name in ("report", "inventory", "credentials", "rotate", "permissions"):
        text = CliRunner().invoke(access_keys, [name, "--help"]).output
        assert "Examples:" in text
        assert "--stack STACK" in text
        assert "--output [text|json" in text


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        (["credentials", "ann", "--csv", ""], "--csv"),
        (["credentials", "ann", "--csv="], "--csv"),
        (["report", "-s", "", "--output", "json"], "-s"),
        (["rotate", ""], "an argument"),
    ],
)
def test_an_empty_value_is_refused_because_it_would_count_as_not_given(arguments: list[str], name: str) -> None:
    done = run(*arguments)
    assert done.returncode == 2
    assert f"Error: {name} is empty. Give a value, or leave it out." in done.stderr


def test_it_is_also_a_module() -> None:
    done = subprocess.run([sys.executable, "-m", "aws_access_keys", "--help"], capture_output=True, text=True)
    assert done.stdout == run("--help").stdout


def test_a_shell_completes_it() -> None:
    assert "#compdef access-keys" in run(_ACCESS_KEYS_COMPLETE="zsh_source").stdout
    done = run(_ACCESS_KEYS_COMPLETE="bash_complete", COMP_WORDS="access-keys ro", COMP_CWORD="1")
    assert done.stdout == "plain,rotate\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ("rotat",),
        ("rotate",),
        ("report", "dev"),
        ("inventory", "--fail-on", "all"),
        ("report", "--idle-days", "0"),
        ("permissions", "--for", "all"),
        (),
    ],
)
def test_wrong_usage_ends_with_exit_code_2(arguments: tuple[str, ...]) -> None:
    result = CliRunner().invoke(access_keys, arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "Usage: access-keys" in result.stderr


def test_without_pulumi_it_says_what_to_install() -> None:
    done = run("rotate", "ann", PATH="/nowhere")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("Error: pulumi was not found on PATH. Install it: https://")


def test_pulumis_own_words_are_passed_on(tmp_path: Path) -> None:
    path = fake_pulumi(tmp_path, "echo 'error: no stack selected; please use `pulumi stack select`' >&2; exit 255")
    done = run("rotate", "ann", PATH=path)
    assert (done.returncode, done.stderr) == (1, "Error: no stack selected; please use `pulumi stack select`\n")


STATE = {"resources": [{"type": "aws:iam/accessKey:AccessKey", "id": "A"}]}
ONE_KEY = json.dumps({"accessKeyIds": {"ann": "A"}, "secretAccessKeys": {"ann": "s"}, "keys": {}, "deployment": STATE})
"""What the engine answers to everything: the outputs of a stack, and its state."""


def test_a_name_that_the_terminals_encoding_lacks_is_shown_with_question_marks(tmp_path: Path) -> None:
    path = fake_pulumi(tmp_path, f"echo '{ONE_KEY}'")
    done = run("credentials", "ann", "--file", str(tmp_path / "열쇠"), PATH=path, PYTHONIOENCODING="latin-1")
    assert done.returncode == 0, done.stderr
    assert f"Created profile 'ann' in {tmp_path}/??" in done.stdout


def test_the_help_comes_without_waiting_for_what_only_the_work_needs() -> None:
    heavy = "{'pulumi', 'boto3', 'rich', 'pydantic', 'yaml'}"
    script = f"import sys; from aws_access_keys.cli import commands; print(*{heavy} & {{*sys.modules}})"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("\n", "")


STOP = (
    "import os, signal; from aws_access_keys.cli import files, main; "
    "signal.signal(signal.{0}, signal.SIG_DFL); "  # under nohup, Python inherits that it is ignored
    "files.os.fsync = lambda _: os.kill(os.getpid(), signal.{0}); main()"
)


@pytest.mark.parametrize("stop", ["SIGTERM", "SIGHUP"])
def test_a_signal_while_a_profile_is_written_leaves_no_file_with_a_secret(tmp_path: Path, stop: str) -> None:
    path, folder = fake_pulumi(tmp_path, f"echo '{ONE_KEY}'"), tmp_path / "home"
    done = subprocess.run(
        [sys.executable, "-c", STOP.format(stop), "credentials", "ann", "--file", folder / "credentials"],
        env=os.environ | {"PATH": path},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr.strip()) == (130, "Interrupted.")
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("after", [0.2, 0.7])
def test_ctrl_c_ends_it_in_one_line(tmp_path: Path, after: float) -> None:
    """At any time: also while Python imports, and while an engine hangs that ignores the signal."""
    path = fake_pulumi(tmp_path, "trap '' INT; sleep 60")
    listen = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"  # a background job is deaf to it
    script = f"{listen}; from aws_access_keys.cli import main; print(flush=True); main()"
    process = subprocess.Popen(
        [sys.executable, "-c", script, "report", "--stack", "dev"],
        env=os.environ | {"PATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    process.stdout.readline()  # Python itself has started
    time.sleep(after)
    for timeout in (10, 10, 20):  # Python drops an interrupt that comes in a callback; people press again
        process.send_signal(signal.SIGINT)
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout)
            break
    _, errors = process.communicate(timeout=1)
    assert (process.returncode, errors.strip()) == (130, "Interrupted.")


def test_an_interrupt_that_code_in_c_turns_into_an_error_ends_it_in_one_line() -> None:
    script = """
import os, signal
from aws_access_keys.cli import commands, main

signal.signal(signal.SIGINT, signal.default_int_handler)

def work(**_):
    try:
        os.kill(os.getpid(), signal.SIGINT)
    except KeyboardInterrupt:
        raise TypeError("expected a message argument") from None

commands.access_keys.main = work
main()
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (done.returncode, done.stderr.strip()) == (130, "Interrupted.")


UNKNOWN = "04da6b54-80e4-46f7-96ec-b56ff0331ba9"  # Pulumi's mark for a value that did not become known


@pytest.mark.parametrize("arguments", [("report",), ("credentials", "ann"), ("rotate", "ann")])
def test_after_an_update_that_went_on_after_an_error_it_says_what_to_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...]
) -> None:
    (tmp_path / "Pulumi.yaml").write_text("name: p\nruntime: python\n")
    (tmp_path / "Pulumi.dev.yaml").write_text("config:\n  aws-access-keys:users: {ann: {groups: [x]}}\n")
    unknown = {"keys": UNKNOWN, "accessKeyIds": UNKNOWN, "secretAccessKeys": UNKNOWN}
    code, text = Command(tmp_path, monkeypatch, unknown)(*arguments)
    assert code == 1
    assert "run `pulumi up --stack dev` first, or again if it failed" in text or "has to be run again" in text

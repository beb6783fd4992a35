"""The command that gets notices: what it gets, and what it may do wrong."""

import json
import sys
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from aws_access_keys import notifying
from aws_access_keys.account import Account
from aws_access_keys.notifying import Notifying
from aws_access_keys.rules.problem import PYTHON
from aws_access_keys.settings import AccessSettings, NotifySettings

from tests.unit.made_up_state import MadeUpState

KEYS: dict[str, Any] = {
    user: {"current": {"id": f"AKIA-{user}-1", "status": "Active"}, "previous": None, "nextRotation": None}
    for user in ("ann", "bob")
}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder of the project."""
    monkeypatch.setattr(notifying, "project_folder", lambda: tmp_path)


def send(command: list[str]) -> tuple[dict[str, Any], list[str]]:
    """What is sent of two new keys, and the problems."""
    notify = NotifySettings(command=command)
    sender = Notifying(
        AccessSettings(),
        notify,
        PYTHON,
        MadeUpState().parsed,
        {},
        Account(lambda: pytest.fail("AWS is not asked")),
        date(2027, 3, 1),
    )
    record, problems = sender.send(KEYS, {"ann": {"owner": "it"}}, is_announced=True)
    return record["command"], [problem.message for problem in problems]


def test_a_command_gets_json_and_nothing_of_pulumis_config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PULUMI_CONFIG", '{"aws-access-keys:users": "with an adopted secret"}')
    script = "import os, sys; open(sys.argv[1], 'a').write(sys.stdin.read() + '\\n' + str(sorted(os.environ)) + '\\n')"
    sent, problems = send([sys.executable, "-c", script, str(tmp_path / "got")])
    got = (tmp_path / "got").read_text().splitlines()
    assert json.loads(got[0])["accessKeyId"] == "AKIA-ann-1"
    assert "PULUMI_CONFIG" not in got[1]
    assert problems == []
    assert sent == {
        "works AKIA-ann-1": {"user": "ann", "owner": "it"},
        "works AKIA-bob-1": {"user": "bob", "owner": None},
    }


def test_a_command_that_hangs_ends_with_all_that_it_started_and_is_run_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notifying, "COMMAND_TIMEOUT", 0.5)
    sent, problems = send(["sh", "-c", f"echo run >> {tmp_path}/runs; sleep 60 | cat"])
    assert sent == {}
    assert len(problems) == 2
    assert all("sh: it did not finish within 0.5 seconds" in problem for problem in problems)
    assert (tmp_path / "runs").read_text() == "run\n"


def test_a_command_that_does_not_read_its_input_is_no_problem() -> None:
    assert send(["true"])[1] == []

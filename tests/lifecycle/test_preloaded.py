"""A program with its imports done ends as it would by itself, and with whoever started it."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.lifecycle import preloaded
from tests.lifecycle.stack import Sandbox

TELL = """
import atexit, json, os, sys
atexit.register(print, "at exit", flush=True)
tell = [sys.argv, os.getcwd(), os.environ["TOLD"], sys.path[0], __name__, "VIRTUAL_ENV" in os.environ]
print(json.dumps(tell), flush=True)
"""


@pytest.fixture
def python(sandbox: Sandbox) -> Path:
    if not preloaded.is_possible(sandbox.engine):
        pytest.skip("programs are not preloaded here")
    return preloaded.start(sandbox.engine.pulumi.parent) / "bin" / "python"


@pytest.fixture
def script(tmp_path: Path) -> Path:
    return tmp_path / preloaded.EXEC


@pytest.mark.parametrize(
    "end",
    ["", "sys.exit(7)", "sys.exit('words')", "os.kill(os.getpid(), 15)", "os.kill(os.getpid(), 9)", "os._exit(3)"],
)
def test_it_gets_what_it_is_given_and_ends_as_it_would(end: str, python: Path, script: Path, tmp_path: Path) -> None:
    script.write_text(TELL + end)
    ran = [
        subprocess.run(
            [each, script, "--an", "argument"],
            cwd=tmp_path,
            env=os.environ | {"TOLD": "a word"},
            capture_output=True,
            text=True,
        )
        for each in (sys.executable, python)
    ]
    assert json.loads(ran[0].stdout.splitlines()[0])[2] == "a word"
    assert [done.returncode for done in ran] == [ran[0].returncode] * 2
    assert [(done.stdout, done.stderr) for done in ran] == [(ran[0].stdout, ran[0].stderr)] * 2


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_it_ends_with_the_process_that_stands_for_it(number: signal.Signals, python: Path, script: Path) -> None:
    script.write_text("import os, time; print(os.getpid(), flush=True); time.sleep(60)")
    process = subprocess.Popen([python, script], stdout=subprocess.PIPE, text=True)
    assert process.stdout
    copy = int(process.stdout.readline())
    assert copy != process.pid
    process.send_signal(number)
    assert process.wait(10) == -number
    deadline = time.monotonic() + 10
    while Path(f"/proc/{copy}").exists():
        assert time.monotonic() < deadline, "the copy ends, too"
        time.sleep(0.02)

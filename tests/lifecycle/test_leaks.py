"""The search for a secret where none may be, over a whole life; and that the search finds what is planted."""

import gzip
import os
import subprocess
import sys
from pathlib import Path

import pytest
import zstandard

from tests.leaks import FORMS, Processes, Search
from tests.lifecycle.helpers import NewStack, config
from tests.lifecycle.stack import Sandbox

SECRET = "wJalr/XUtnFEMI+K7MDENG/bPxRfiCYEXAMPLEKEY"


@pytest.mark.parametrize("pack", [bytes, gzip.compress, zstandard.ZstdCompressor().compress])
@pytest.mark.parametrize("form", FORMS)
def test_a_planted_secret_is_found_in_every_form(form: str, pack: type[bytes], tmp_path: Path) -> None:
    for number, needle in enumerate(FORMS[form](SECRET.encode())):
        (tmp_path / f"clean{number}").write_bytes(pack(b"before" + needle[:-1] + b" after"))
        (tmp_path / f"leak{number}").write_bytes(pack(b"before" + needle + b"after"))
    search = Search({SECRET}).folders(tmp_path)
    assert search.found == [str(path) for path in sorted(tmp_path.glob("leak*"))]
    assert search.files == 2 * len(search.found)


@pytest.mark.parametrize("place", ["command line", "environment"])
def test_a_secret_is_found_in_a_process(place: str) -> None:
    argument, environment = (SECRET, {}) if place == "command line" else ("", {"PLANTED": SECRET})
    with Processes() as processes:
        sleep = [sys.executable, "-c", "import time; time.sleep(0.5)", argument]
        subprocess.run(sleep, env=os.environ | environment, check=True)
    assert Search({SECRET}).text("a process", b"\0".join(processes.seen)).found


@pytest.mark.parametrize(
    "packing", [pytest.param("", marks=pytest.mark.long), "ZSTD", pytest.param("GZIP", marks=pytest.mark.long)]
)
def test_no_secret_is_anywhere_in_the_clear(new_stack: NewStack, sandbox: Sandbox, packing: str) -> None:
    stack = new_stack(preloaded=False)
    stack.environment["PULUMI_DEBUG_COMMANDS"] = "true"  # the engine hides --event-log behind it
    if packing:
        stack.environment[f"PULUMI_DIY_BACKEND_{packing}"] = "true"
    outputs = ["credentialsCsv", "sesSmtpPasswords"]
    said: list[str] = []
    secrets: set[str] = set()
    with Processes() as processes:
        for serial in (1, 2, 3):
            stack.write({**config(serial=serial), "outputs": outputs, "deliver": {"ssm": {}, "secretsManager": {}}})
            said.append(stack.up("--event-log", str(stack.folder / "events.log")).text)
            found = stack.outputs()
            secrets |= {found["secretAccessKeys"]["test-user"], found["sesSmtpPasswords"]["test-user"]}
        assert found["credentialsCsv"].splitlines()[0] == "User Name,Access key ID,Secret access key"
        for command in (("stack",), ("stack", "output"), ("stack", "history"), ("stack", "export")):
            said.append(stack.run(*command).text)
        said += [stack.preview("--diff").text, stack.refresh().text]
        report = ["access-keys", "report", "--stack", stack.name]
        environment = sandbox.environment | stack.environment
        said.append(subprocess.run(report, cwd=stack.folder, env=environment, capture_output=True, text=True).stdout)
        sandbox.control.save()
        packed = list(sandbox.folder.state.rglob(f"{stack.name}.json.{'gz' if packing == 'GZIP' else 'zst'}"))
        assert bool(packed) is bool(packing)
        before_destroy = Search(secrets).folders(sandbox.folder.root, stack.folder)
        said.append(stack.destroy().text)
    search = Search(secrets).folders(sandbox.folder.root, stack.folder)
    for number, text in enumerate(said):
        search.text(f"output {number}", text)
    search.text("a command line or an environment", b"\0".join(processes.seen))
    assert len(secrets) == 6
    assert before_destroy.files > 20
    assert before_destroy.found + search.found == [], str(search)


def test_the_search_is_not_blind_to_the_formats_of_this_stack(new_stack: NewStack, tmp_path: Path) -> None:
    stack = new_stack()
    stack.write({**config(), "deliver": {"secretsManager": {}}})
    stack.up()
    shown = stack.run("stack", "export", "--show-secrets").text
    (tmp_path / "state.json").write_text(shown)
    secret = stack.key("test-user")[1]
    found = Search({secret}).folders(tmp_path).found
    (tmp_path / "state.json").unlink()
    assert found == [str(tmp_path / "state.json")], "it is found when it is shown"

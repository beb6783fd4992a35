"""The sandbox as people meet it: started, found, killed, walled off."""

import errno
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from sandbox import folder, server
from sandbox.aws.control import Control
from sandbox.cli import main
from sandbox.environment import inside
from sandbox.folder import CHECKOUT, Folder, prepare
from sandbox.project import redirected


class Cli:
    """`python -m sandbox` with a folder of its own."""

    def __init__(self, root: Path) -> None:
        self.folder = Folder(root)
        self.environment = {**os.environ, folder.VARIABLE: str(root)}

    def __call__(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "sandbox", *arguments],
            cwd=CHECKOUT,
            env=self.environment | environment,
            capture_output=True,
            text=True,
            timeout=60,
        )


@pytest.fixture
def cli(tmp_path: Path) -> Iterator[Cli]:
    made = Cli(tmp_path / "sandbox")
    yield made
    server.stop(made.folder)


def test_start_status_and_stop_say_what_is(cli: Cli) -> None:
    assert "No sandbox runs here. Start one: python -m sandbox start" in cli("status").stdout
    assert cli("status").returncode == 1
    assert cli("start").returncode == 0
    status = cli("status").stdout
    assert "The sandbox runs (process" in status
    assert "http://127.0.0.1:" in status
    assert cli("stop").stdout == "The sandbox is stopped.\n"
    assert cli("stop").stdout == "No sandbox runs here.\n"


def test_a_second_start_finds_the_first(cli: Cli) -> None:
    assert cli("start").stdout == cli("start").stdout


def test_starts_at_the_same_moment_make_one_server(cli: Cli) -> None:
    commands = [
        subprocess.Popen([sys.executable, "-m", "sandbox", "start"], cwd=CHECKOUT, env=cli.environment, stdout=-1)
        for _ in range(4)
    ]
    said = {command.communicate(timeout=60)[0] for command in commands}
    assert len(said) == 1, "all four found the same server"


def test_two_sandboxes_live_side_by_side(cli: Cli, tmp_path: Path) -> None:
    other = Cli(tmp_path / "other")
    try:
        assert cli("start").returncode == other("start").returncode == 0
        first, second = server.find(cli.folder), server.find(other.folder)
        assert first is not None
        assert second is not None
        assert first.endpoint_url != second.endpoint_url
    finally:
        server.stop(other.folder)


def test_a_killed_sandbox_is_recovered_with_its_account(cli: Cli) -> None:
    cli("start")
    created = cli("run", "--", "aws", "iam", "create-user", "--user-name", "survivor")
    assert created.returncode == 0, created.stderr
    running = server.find(cli.folder)
    assert running is not None
    Control(running.endpoint_url, prepare(cli.folder).control_token).save()
    os.kill(running.pid, signal.SIGKILL)
    while server.find(cli.folder) is not None:
        time.sleep(0.02)
    assert cli("status").returncode == 1, "the files that it left are not taken for a server"
    listed = cli("run", "--", "aws", "iam", "list-users", "--query", "Users[].UserName", "--output", "text")
    assert listed.stdout.strip() == "survivor"


def test_a_port_that_is_taken_is_said(cli: Cli) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        refused = cli("start", "--port", port)
    assert refused.returncode == 1
    assert f"Port {port} cannot be used" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert cli("start").returncode == 0, "without --port it takes a free one"


def test_other_settings_for_a_running_sandbox_are_refused_with_advice(cli: Cli) -> None:
    cli("start")
    refused = cli("start", "--latency", "1")
    assert refused.returncode == 1
    assert "Stop it first (python -m sandbox stop)" in refused.stderr


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("run",), "Say what to run, behind two dashes"),
        (("run", "--", "no-such-command"), "There is no command 'no-such-command' here"),
        (("start", "--quota", "UsersPerAccount=6000"), "AWS allows 0 to 5000"),
        (("start", "--clock", "tomorrow"), "must be a number followed by d, h, m or s"),
    ],
)
def test_mistakes_get_one_message_and_no_traceback(cli: Cli, arguments: tuple[str, ...], says: str) -> None:
    done = cli(*arguments)
    assert done.returncode != 0
    assert says in done.stderr
    assert "Traceback" not in done.stderr


def test_a_disk_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    refused = Cli(tmp_path / "file" / "sandbox")("start")
    assert refused.returncode == 1
    assert "sandbox: Not a directory" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_a_full_disk_is_said_with_what_to_remove(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def full(_folder: Folder) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "state")

    monkeypatch.setattr(server, "prepare", full)
    monkeypatch.setattr(sys, "argv", ["sandbox", "start"])
    with pytest.raises(SystemExit) as caught:
        main()
    assert "No space left on device: state" in str(caught.value)
    assert "make clean removes the sandbox" in str(caught.value)


def test_the_exit_code_is_the_commands_own(cli: Cli) -> None:
    assert cli("run", "--", sys.executable, "-c", "raise SystemExit(7)").returncode == 7


def test_realism_is_switched_while_it_runs(cli: Cli) -> None:
    cli("start")
    assert json.loads(cli("realism", "--latency", "0.5").stdout)["latency"] == 0.5
    assert json.loads(cli("realism", "--show").stdout)["latency"] == 0.5
    assert json.loads(cli("realism").stdout)["latency"] == 0, "what is not given is off"


def test_calls_are_listed_and_counted_and_reset_empties_the_account(cli: Cli) -> None:
    cli("run", "--", "aws", "iam", "create-user", "--user-name", "someone")
    assert "iam:CreateUser" in cli("calls").stdout
    counted = json.loads(cli("calls", "--count", "--json").stdout)
    assert {"action": "iam:CreateUser", "outcome": "ok", "calls": 1} in counted
    assert cli("reset").returncode == 0
    listed = json.loads(cli("run", "--", "aws", "iam", "list-users", "--output", "json").stdout)
    assert listed["Users"] == []


def test_everything_it_keeps_is_private(cli: Cli) -> None:
    cli("run", "--", "aws", "iam", "create-user", "--user-name", "someone")
    cli("stop")
    assert cli.folder.root.stat().st_mode & 0o077 == 0, "nobody else can enter the folder"
    for path in ("passphrase", "secrets.json", "server.log"):
        assert (cli.folder.root / path).stat().st_mode & 0o077 == 0, f"{path} is readable by its owner only"


HOSTILE = {
    "AWS_ACCESS_KEY_ID": "AKIAREALREALREALREAL",
    "AWS_SECRET_ACCESS_KEY": "real",
    "AWS_SESSION_TOKEN": "real",
    "AWS_PROFILE": "production",
    "AWS_CONFIG_FILE": "real-config",
    "AWS_SHARED_CREDENTIALS_FILE": "real-credentials",
    "AWS_ROLE_ARN": "arn:aws:iam::999999999999:role/real",
    "AWS_WEB_IDENTITY_TOKEN_FILE": "real-token",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://127.0.0.1:9/real",
    "AWS_ENDPOINT_URL_IAM": "https://iam.amazonaws.com",
    "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "true",
    "AWS_USE_FIPS_ENDPOINT": "true",
    "BOTO_CONFIG": "real-boto",
    "PULUMI_BACKEND_URL": "https://api.pulumi.com",
    "PULUMI_ACCESS_TOKEN": "pul-real",
    "PULUMI_HOME": "real-home",
    "PULUMI_STACK": "production",
    "PULUMI_CONFIG_PASSPHRASE": "real-passphrase",
    "PULUMI_DEBUG_GRPC": "real.log",
    "HTTP_PROXY": "http://127.0.0.1:9",
    "http_proxy": "http://127.0.0.1:9",
}


def test_nothing_of_the_users_aws_and_pulumi_settings_gets_in(cli: Cli) -> None:
    server.start(cli.folder)
    running = server.find(cli.folder)
    assert running is not None
    environment = inside(HOSTILE | {"PATH": os.defpath, "HOME": "h"}, cli.folder, prepare(cli.folder), running, None)
    told = {name: value for name, value in environment.items() if not name.lower().endswith("_proxy")}
    assert not [name for name, value in told.items() if "real" in value.lower() or "production" in value], told
    assert "127.0.0.1" in environment["NO_PROXY"], "loopback traffic does not go through a proxy"
    assert environment["HOME"] == "h", "the user's home stays theirs"


def test_commands_reach_the_sandbox_whatever_the_machine_is_set_to(cli: Cli, tmp_path: Path) -> None:
    home = tmp_path / "home"
    (home / ".aws").mkdir(parents=True)
    for name in ("config", "credentials"):
        (home / ".aws" / name).write_text("[default]\naws_access_key_id = AKIAREAL\naws_secret_access_key = real\n")
    before = {path: path.read_bytes() for path in home.rglob("*") if path.is_file()}
    done = cli("run", "--", "aws", "sts", "get-caller-identity", "--output", "text", HOME=str(home), **HOSTILE)
    assert "arn:aws:iam::123456789012:root" in done.stdout, done.stderr
    after = {path: path.read_bytes() for path in home.rglob("*") if path.is_file()}
    assert after == before, "nothing of the user's was changed, nothing added"


@pytest.fixture
def project(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> Path:
    prepare(cli.folder)
    monkeypatch.setenv(folder.VARIABLE, str(cli.folder.root))
    return cli.folder.project


def test_pulumi_sees_a_copy_of_the_stack_files_and_paths_still_mean_what_was_typed(project: Path) -> None:
    assert redirected(["up", "--stack", "dev"], CHECKOUT) == ["--cwd", str(project), "up", "--stack", "dev"]
    assert redirected(["preview"], CHECKOUT / "tests")[:2] == ["--cwd", str(project)], "from a folder below, too"
    exported = redirected(["stack", "export", "--file", "out.json", "--plan=p"], CHECKOUT)
    assert exported[-2:] == [str(CHECKOUT / "out.json"), f"--plan={CHECKOUT / 'p'}"]
    assert (project / "Pulumi.dev.yaml").read_text().strip() == (CHECKOUT / "Pulumi.dev.yaml").read_text().strip()


def test_another_project_runs_where_it_is(project: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "Pulumi.yaml").write_text("name: other\nruntime: python\n")
    assert redirected(["up"], other) == ["--cwd", str(other), "up"]
    assert redirected(["-C", str(other), "up"], CHECKOUT) == ["--cwd", str(other), "up"]
    assert redirected([f"--cwd={other}", "up"], CHECKOUT) == ["--cwd", str(other), "up"]


def test_the_copy_keeps_the_sandboxs_salt_and_takes_over_edits(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    redirected(["up"], CHECKOUT)
    copy = project / "Pulumi.dev.yaml"
    salted = copy.read_text() + "encryptionsalt: v1:sandbox\n"
    copy.write_text(salted)
    redirected(["up"], CHECKOUT)
    assert copy.read_text() == salted, "the salt that the engine wrote is kept"
    assert capsys.readouterr().err == ""

    copy.write_text(salted.replace("ap-northeast-2", "eu-west-1"))
    redirected(["up"], CHECKOUT)
    assert "eu-west-1" in copy.read_text(), "a change made inside is used"
    assert "Pulumi.dev.yaml was changed inside the sandbox" in capsys.readouterr().err, "and it is said"

    copy.with_suffix(".seen").write_text("what the checkout's file was before it was edited")
    redirected(["up"], CHECKOUT)
    assert "ap-northeast-2" in copy.read_text(), "an edit in the checkout wins"
    assert "encryptionsalt: v1:sandbox" in copy.read_text(), "and the salt stays"

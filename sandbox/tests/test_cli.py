"""The sandbox as people meet it: started, found, killed, isolated; and what `pulumi` means in it."""

import errno
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from pulumi_sandbox import cli as command_line
from pulumi_sandbox import process
from pulumi_sandbox.environment import BIN, PYTHON, sandbox_environment
from pulumi_sandbox.paths import FOLDER, SandboxPaths, prepare, write_private
from pulumi_sandbox.project import redirected, restore_cut_states


class Cli:
    """`pulumi-sandbox` with a folder of its own."""

    def __init__(self, root: Path) -> None:
        self.paths = SandboxPaths(root)
        self.environment = {**os.environ, FOLDER: str(root)}
        self.command = [sys.executable, "-m", "pulumi_sandbox"]

    def __call__(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*self.command, *arguments],
            env=self.environment | environment,
            capture_output=True,
            text=True,
            timeout=60,
        )


@pytest.fixture
def cli(tmp_path: Path) -> Iterator[Cli]:
    made = Cli(tmp_path / "sandbox")
    yield made
    process.stop(made.paths)


def test_start_status_and_stop_report_what_is(cli: Cli) -> None:
    assert "No sandbox is running here. Start one: pulumi-sandbox start" in cli("status").stdout
    assert cli("status").returncode == 1
    assert cli("start").returncode == 0
    status = cli("status").stdout
    assert "The sandbox is running (process" in status
    assert "http://127.0.0.1:" in status
    assert cli("stop").stdout == "The sandbox is stopped.\n"
    assert cli("stop").stdout == "No sandbox is running here.\n"


@pytest.mark.long
def test_a_second_start_finds_the_first(cli: Cli) -> None:
    assert cli("start").stdout == cli("start").stdout


@pytest.mark.long
def test_starts_at_the_same_moment_make_one_server(cli: Cli) -> None:
    starts = [subprocess.Popen([*cli.command, "start"], env=cli.environment, stdout=-1) for _ in range(4)]
    printed = {start.communicate(timeout=60)[0] for start in starts}
    assert len(printed) == 1, "all four found the same server"


@pytest.mark.long
def test_two_sandboxes_live_side_by_side(cli: Cli, tmp_path: Path) -> None:
    other = Cli(tmp_path / "other")
    try:
        assert cli("start").returncode == other("start").returncode == 0
        first, second = process.find(cli.paths), process.find(other.paths)
        assert first is not None
        assert second is not None
        assert first.endpoint_url != second.endpoint_url
    finally:
        process.stop(other.paths)


@pytest.mark.long
def test_a_killed_sandbox_is_recovered_with_its_account(cli: Cli) -> None:
    cli("start")
    created = cli("run", "--", "aws", "iam", "create-user", "--user-name", "survivor")
    assert created.returncode == 0, created.stderr
    running = process.find(cli.paths)
    assert running is not None
    process.control(cli.paths).save()
    os.kill(running.pid, signal.SIGKILL)
    while process.find(cli.paths) is not None:
        time.sleep(0.02)
    assert cli("status").returncode == 1, "the files that it left are not taken for a server"
    listed = cli("run", "--", "aws", "iam", "list-users", "--query", "Users[].UserName", "--output", "text")
    assert listed.stdout.strip() == "survivor"


@pytest.mark.long
def test_a_port_that_is_taken_is_named(cli: Cli) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        refused = cli("start", "--port", port)
    assert refused.returncode == 1
    assert f"Port {port} cannot be used" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert cli("start").returncode == 0, "without --port it takes a free one"


@pytest.mark.long
def test_a_folder_whose_server_file_is_damaged_names_the_process(cli: Cli) -> None:
    cli("start")
    whole = cli.paths.server.read_text()
    cli.paths.server.write_text(whole[:20])
    refused = {command: cli(command) for command in ("start", "status", "stop")}
    cli.paths.server.write_text('{"pid": 1}')
    refused["of another version"] = cli("stop")
    cli.paths.server.write_text(whole.replace(f'"pid": {json.loads(whole)["pid"]}', '"pid": 1'))
    refused["with another process"] = cli("status")
    cli.paths.server.write_text(whole)
    for command, done in refused.items():
        assert done.returncode == 1, command
        assert f"End it (kill {json.loads(whole)['pid']}), then run the command again" in done.stderr, command
        assert "Traceback" not in done.stderr, command


def test_a_sandbox_whose_secrets_are_damaged_says_what_to_do(cli: Cli) -> None:
    prepare(cli.paths)
    for content in (cli.paths.secrets.read_text()[:20], "[]", "{}"):
        cli.paths.secrets.write_text(content)
        refused = cli("start")
        assert refused.returncode == 1, content
        assert refused.stderr.startswith(f"pulumi-sandbox: {cli.paths.secrets} is damaged"), refused.stderr
        assert refused.stderr.count("\n") == 1, "it is one line"


@pytest.mark.long
def test_a_sandbox_whose_folder_was_deleted_ends(cli: Cli) -> None:
    cli("start")
    pid = json.loads(cli.paths.server.read_text())["pid"]
    shutil.rmtree(cli.paths.root)
    deadline = time.monotonic() + 15
    while Path(f"/proc/{pid}").exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not Path(f"/proc/{pid}").exists(), "nobody could find and stop it"


@pytest.mark.long
def test_other_options_for_a_running_sandbox_are_refused_with_advice(cli: Cli) -> None:
    cli("start")
    refused = cli("start", "--latency", "1")
    assert refused.returncode == 1
    assert "Stop it first (pulumi-sandbox stop)" in refused.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("run",), "put it after `--`: pulumi-sandbox run -- pulumi preview"),
        (("run", "--", "no-such-command"), "Command not found: no-such-command"),
        (("start", "--quota", "UsersPerAccount=6000"), "AWS allows 0 to 5000"),
        (("start", "--clock", "tomorrow"), "must be a number followed by d, h, m or s"),
        (("start", "--port", "99999"), "99999 is not a port. Choose one from 1 to 65535"),
    ],
)
def test_mistakes_get_one_message_and_no_traceback(cli: Cli, arguments: tuple[str, ...], message: str) -> None:
    done = cli(*arguments)
    assert done.returncode != 0
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_a_disk_that_cannot_be_written_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    refused = Cli(tmp_path / "file" / "sandbox")("start")
    assert refused.returncode == 1
    assert "pulumi-sandbox: Not a directory" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_a_full_disk_is_reported_with_what_to_delete(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_paths: SandboxPaths) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "state")

    monkeypatch.setattr(process, "prepare", full)
    monkeypatch.setattr(sys, "argv", ["pulumi-sandbox", "start"])
    with pytest.raises(SystemExit) as caught:
        command_line.main()
    assert "No space left on device: state" in str(caught.value)
    assert "Delete that folder to free the space it uses" in str(caught.value)


def test_the_exit_code_is_the_commands_own(cli: Cli) -> None:
    assert cli("run", "--", sys.executable, "-c", "raise SystemExit(7)").returncode == 7


def test_faults_are_switched_while_it_runs(cli: Cli) -> None:
    cli("start")
    assert json.loads(cli("faults", "--latency", "0.5").stdout)["latency"] == 0.5
    assert json.loads(cli("faults", "--show").stdout)["latency"] == 0.5
    assert "  faults         latency 0.5\n" in cli("status").stdout, "the status shows what is on now"
    cli("faults", "--key-delay", "8", "--fail", "iam:CreateUser=ServiceFailure")
    assert "  faults         key-delay 8, 1 of fail or drop-response" in cli("status").stdout
    assert json.loads(cli("faults").stdout)["latency"] == 0, "what is not given is off"
    assert "  faults         none\n" in cli("status").stdout


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
    assert cli.paths.root.stat().st_mode & 0o077 == 0, "nobody else can enter the folder"
    for path in ("passphrase", "secrets.json", "server.log"):
        assert (cli.paths.root / path).stat().st_mode & 0o077 == 0, f"{path} is readable by its owner only"


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
    process.start(cli.paths)
    running = process.find(cli.paths)
    assert running is not None
    host = HOSTILE | {"PATH": os.defpath, "HOME": "h"}
    environment = sandbox_environment(host, cli.paths, prepare(cli.paths), running, None)
    kept = {name: value for name, value in environment.items() if not name.lower().endswith("_proxy")}
    assert not [name for name, value in kept.items() if "real" in value.lower() or "production" in value], kept
    assert "127.0.0.1" in environment["NO_PROXY"], "loopback traffic does not go through a proxy"
    assert environment["HOME"] == "h", "the user's home stays theirs"


@pytest.mark.long
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


STACK_FILE = "config:\n  aws:region: ap-northeast-2\n"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with a sandbox of its own."""
    folder = tmp_path / "project"
    (folder / "below").mkdir(parents=True)
    (folder / "Pulumi.yaml").write_text(
        "name: p\nruntime: {name: python, options: {virtualenv: .venv}}\n"
        "plugins: {providers: [{name: a, path: ./a}]}\npackages: {b: ../b, c: c@1.0.0}\n"
    )
    (folder / "Pulumi.dev.yaml").write_text(STACK_FILE)
    monkeypatch.delenv(FOLDER, raising=False)
    monkeypatch.chdir(folder / "below")
    prepare(SandboxPaths(folder / ".sandbox"))
    return folder


def copy_of(project: Path) -> Path:
    (copy,) = (project / ".sandbox" / "projects").iterdir()
    return copy


def test_pulumi_gets_a_copy_of_the_stack_files_and_paths_still_mean_what_was_typed(project: Path) -> None:
    arguments = redirected(["up", "--stack", "dev"], project)
    assert arguments == ["--cwd", str(copy_of(project)), "up", "--stack", "dev"]
    assert redirected(["up", "--stack", "dev"], project / "below") == arguments, "from a folder below, too"
    exported = redirected(["stack", "export", "--file", "out.json", "--plan=p"], project)
    assert exported[-2:] == [str(project / "out.json"), f"--plan={project / 'p'}"]
    assert (copy_of(project) / "Pulumi.dev.yaml").read_text() == STACK_FILE
    settings = yaml.safe_load((copy_of(project) / "Pulumi.yaml").read_text())
    assert settings["main"] == str(project), "the program is the project's own"
    assert settings["runtime"]["options"]["virtualenv"] == str(project / ".venv")
    assert settings["plugins"]["providers"][0]["path"] == str(project / "a")
    assert settings["packages"] == {"b": str(project / "../b"), "c": "c@1.0.0"}


def test_another_project_has_a_copy_of_its_own(project: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "Pulumi.yaml").write_text("name: other\nruntime: python\n")
    for arguments in (redirected(["-C", str(other), "up"], project), redirected([f"--cwd={other}", "up"], project)):
        assert arguments == ["--cwd", str(copy_of(project)), "up"]
        assert copy_of(project).name.startswith("other-")
    redirected(["up"], project)
    assert len(list((project / ".sandbox" / "projects").iterdir())) == 2


def test_outside_of_a_project_pulumi_runs_where_it_is(project: Path, tmp_path: Path) -> None:
    assert redirected(["whoami"], tmp_path) == ["--cwd", str(tmp_path), "whoami"]


def test_the_copy_keeps_the_sandboxs_salt_and_takes_over_edits(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    redirected(["up"], project)
    copy = copy_of(project) / "Pulumi.dev.yaml"
    salted = copy.read_text() + "encryptionsalt: v1:sandbox\n"
    copy.write_text(salted)
    redirected(["up"], project)
    assert copy.read_text() == salted, "the salt that the engine wrote is kept"
    assert capsys.readouterr().err == ""

    copy.write_text(salted.replace("ap-northeast-2", "eu-west-1"))
    redirected(["up"], project)
    assert "eu-west-1" in copy.read_text(), "a change made in the sandbox is used"
    assert "the sandbox uses its own modified copy of Pulumi.dev.yaml" in capsys.readouterr().err, "and reported"

    (project / "Pulumi.dev.yaml").write_text(STACK_FILE + "encryptionsalt: v1:real\n")
    redirected(["up"], project)
    assert "ap-northeast-2" in copy.read_text(), "an edit of the project's file wins"
    assert "which is kept as Pulumi.dev.yaml.bak in" in capsys.readouterr().err, "and the loss is reported"
    assert "eu-west-1" in copy.with_name("Pulumi.dev.yaml.bak").read_text()
    (project / "Pulumi.dev.yaml").write_text(STACK_FILE + "  a: b\n")
    redirected(["up"], project)
    assert capsys.readouterr().err == "", "where nothing was changed in the sandbox, nothing is lost"
    assert copy.read_text().count("encryptionsalt: v1:sandbox") == 1, "and the salt stays"
    assert "v1:real" not in copy.read_text()


def test_a_shell_shows_that_it_is_in_the_sandbox_and_has_the_stacks_region(project: Path) -> None:
    cli = Cli(project / ".sandbox")
    del cli.environment[FOLDER]
    command = [*cli.command, "run", "--stack", "dev", "--", "sh"]
    shown = 'echo "$PS1/$AWS_REGION/$AWS_DEFAULT_REGION/$PULUMI_STACK"'
    try:
        done = subprocess.run(command, env=cli.environment, input=shown, capture_output=True, text=True)
        missing = cli("run", "--stack", "prod", "--", "sh")
    finally:
        process.stop(cli.paths)
    assert done.stdout == "(sandbox) $ /ap-northeast-2/ap-northeast-2/dev\n"
    assert "A shell in the sandbox, region ap-northeast-2" in done.stderr
    assert "Pulumi.prod.yaml is missing in" in missing.stderr
    assert "Stack files there: Pulumi.dev.yaml" in missing.stderr


def test_a_broken_stack_file_is_named_with_the_place(project: Path) -> None:
    (project / "Pulumi.dev.yaml").write_text("config:\n  a: [\n")
    with pytest.raises(SystemExit, match=r"Pulumi\.dev\.yaml, line 3, column 1: invalid YAML"):
        redirected(["up"], project)


@pytest.mark.parametrize(
    ("file", "content", "says"),
    [
        ("Pulumi.dev.yaml", b"- a\n", r"Pulumi\.dev\.yaml: expected names with values, such as config:, got a list"),
        ("Pulumi.dev.yaml", b"\xff\xfe\x00config", r"Pulumi\.dev\.yaml: invalid YAML: 'utf-8' codec can't decode"),
        ("Pulumi.dev.yaml", b"config:\n  a: [2027-02-30]\n", r"line 2: 2027-02-30: day is out of range.*\. Correct"),
        ("Pulumi.dev.yaml", b"config: {a: -.inf}\n", r"line 1: -\.inf is not a number that Pulumi can read\."),
        ("Pulumi.dev.yaml", b"a:\n  .nan: 1\n", r"line 2: \.nan is not a number that Pulumi can read\."),
        ("Pulumi.dev.yaml", b'a: "\\ud83d"\n', r"dev\.yaml, line 1: an escape such as \\ud83d is only half a"),
        ("Pulumi.yaml", b"- a\n", r"Pulumi\.yaml: expected names with values, such as config:, got a list"),
    ],
)
def test_a_file_of_the_wrong_form_is_named_in_one_line(project: Path, file: str, content: bytes, says: str) -> None:
    (project / file).write_bytes(content)
    with pytest.raises(SystemExit, match=says):
        redirected(["up"], project)


def test_a_key_that_is_written_twice_is_named_with_the_file_and_both_lines(project: Path) -> None:
    (project / "Pulumi.dev.yaml").write_text("config:\n  a: [{b: 1}]\n  c: 2\n  a: 3\n")
    with pytest.raises(SystemExit, match=r"Pulumi\.dev\.yaml, line 4: 'a' is already on line 2\. Remove one of them\."):
        redirected(["up"], project)


def test_a_secret_of_a_real_stack_is_named_because_the_sandbox_cannot_read_it(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = project / "Pulumi.dev.yaml"
    source.write_text("config:\n  # secure: v1:old\n  a:\n    secure: v1:real\n")
    redirected(["up"], project)
    assert "Pulumi.dev.yaml, line 4: encrypted outside of the sandbox" in capsys.readouterr().err
    copy = copy_of(project) / "Pulumi.dev.yaml"
    copy.write_text("config: {a: {secure: 'v1:sandbox'}}\n")
    source.write_text("config: {a: {secure: 'v1:sandbox'}}\n")
    redirected(["up"], project)
    assert "encrypted outside" not in capsys.readouterr().err, "it is the sandbox's own, and it can read it"


def test_a_state_that_a_full_disk_cut_off_is_restored(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stacks, history = tmp_path / "stacks" / "p", tmp_path / "history" / "p" / "dev"
    for folder in (stacks, history):
        folder.mkdir(parents=True)
    (stacks / "dev.json").write_text('{"version": 3, "chec')
    (stacks / "dev.json.bak").write_text('{"vers')
    for number in (1, 2):
        (history / f"dev-{number}.checkpoint.json").write_text(f'{{"run": {number}}}')
    restore_cut_states(tmp_path)
    assert (stacks / "dev.json").read_text() == '{"run": 2}', "the last whole one of the history"
    assert "the state of stack 'dev' was cut off" in capsys.readouterr().err
    (stacks / "dev.json").write_text("")
    (stacks / "dev.json.bak").write_text('{"run": 3}')
    restore_cut_states(tmp_path)
    assert (stacks / "dev.json").read_text() == '{"run": 3}', "the backup is newer"
    capsys.readouterr()
    restore_cut_states(tmp_path)
    assert capsys.readouterr().err == "", "a whole state is left alone"


def test_a_full_disk_leaves_no_half_written_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    (tmp_path / "file").write_text("old")
    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_private(tmp_path / "file", "new")
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("file", "old")]


def test_ctrl_c_while_pulumi_in_the_sandbox_starts_shows_no_traceback(tmp_path: Path) -> None:
    interrupted = "import os, signal; os.kill(os.getpid(), signal.SIGINT)"
    (tmp_path / "yaml.py").write_text(interrupted)  # which it imports first
    done = subprocess.run(
        [BIN / "pulumi", "version"],
        env={**os.environ, PYTHON: sys.executable, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # as in a terminal
    )
    assert (done.returncode, done.stdout, done.stderr) == (-signal.SIGINT, "", "")

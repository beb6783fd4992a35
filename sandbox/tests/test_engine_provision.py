"""Providing an engine: every way and every failure, with a fake `pulumi` and `go` on an otherwise empty PATH."""

from __future__ import annotations

import http.server
import os
import re
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from pulumi_sandbox.engine import VERSION, Engine, EngineError, diagnose, ensure, find, install, locate
from pulumi_sandbox.engine.build import find_go, needed_go, summary
from pulumi_sandbox.engine.locate import EXEC, HOST, SANDBOX_HOST, ProvisionAttemptError, cache_folder, is_supported

GO_MOD = "module m\n\ngo 1.25.11\n"


class Machine:
    """A user's machine: a home directory and a PATH with nothing but a shell, and what a test puts there."""

    def __init__(self, folder: Path) -> None:
        self.home, self.bin = folder / "home", folder / "bin"
        self.bin.mkdir()
        self.home.mkdir()
        for tool in ("sh", "mkdir", "cat", "touch", "sleep", "chmod", "cp"):
            real = next(Path(d, tool) for d in ("/bin", "/usr/bin") if Path(d, tool).exists())
            (self.bin / tool).symlink_to(real)

    def put(self, name: str, script: str) -> Path:
        return write(self.bin / name, script)

    def put_pulumi(self, version: str, host: bool = True) -> Path:
        if host:
            self.put(HOST, "exit 0")
        return self.put("pulumi", f"echo v{version}")

    def put_cached(self, host: str = "official") -> Path:
        """An engine in the cache; its path."""
        folder = cache_folder() / "bin"
        folder.mkdir(parents=True)
        (folder / HOST).write_bytes(SANDBOX_HOST.read_bytes() if host == "ours" else host.encode())
        (folder / EXEC).touch()
        return write(folder / "pulumi", f"echo v{VERSION}")

    def put_go(self, version: str = "1.26.8", toolchain: str = "local", build: str = "") -> Path:
        """A `go` with three packages to compile, one of them a second time as an error."""
        (self.home / "sdk" / "python" / "cmd").mkdir(parents=True, exist_ok=True)
        (self.home / "sdk" / "python" / "cmd" / EXEC).write_text("official")
        return self.put(
            "go",
            f"""
            echo "$*" >> '{self.log}'
            case "$1 $2" in
            "env GOVERSION") echo go{version}; echo {toolchain};;
            "list -m") [ "$3" != -f ] || echo '{self.home}/sdk';;
            "mod download") ;;
            "list -deps") echo one; echo two; echo three; echo "go: downloading something" >&2;;
            "build -v")
                {build or ":"}
                echo one >&2; echo two >&2; echo three >&2
                mkdir -p bin; printf '#!/bin/sh\\necho v{VERSION}\\n' > bin/pulumi; chmod +x bin/pulumi;;
            *) echo "unexpected: $*" >&2; exit 9;;
            esac
            """,
        )

    @property
    def log(self) -> Path:
        return self.home / "go.log"

    def asked(self) -> list[str]:
        """The go commands that were run, without their flags."""
        return [" ".join(line.split()[:2]) for line in self.log.read_text().splitlines()] if self.log.exists() else []


def write(path: Path, script: str) -> Path:
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    machine = Machine(tmp_path)
    monkeypatch.setenv("PATH", str(machine.bin))
    monkeypatch.setenv("HOME", str(machine.home))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    # Nothing listens there: the official installer is out of reach on this machine.
    monkeypatch.setattr(install, "SITE", "http://127.0.0.1:9/install.sh")
    files = tmp_path / "files"
    files.mkdir()
    (files / "go.mod").write_text(GO_MOD)
    (files / "go.sum").write_text("")
    monkeypatch.setattr("pulumi_sandbox.engine.build.HERE", files)
    return machine


# -- on PATH --


def test_a_recent_pulumi_on_path_is_taken(machine: Machine) -> None:
    pulumi = machine.put_pulumi("3.300.1")
    assert find() == Engine(pulumi, "3.300.1", "PATH")
    assert ensure() == find(), "ensure gives what find finds"


def test_the_path_of_an_engine_on_path_is_left_as_it_is(machine: Machine) -> None:
    machine.put_pulumi("3.300.1")
    assert ensure().path == [], "nothing is put before the user's own PATH"


def test_a_pulumi_without_language_host_is_not_taken(machine: Machine) -> None:
    pulumi = machine.put_pulumi("3.300.1", host=False)
    with pytest.raises(EngineError, match=f"{pulumi} has no pulumi-language-python, on PATH or beside it"):
        ensure()


def test_a_language_host_beside_the_file_that_a_link_leads_to_counts(machine: Machine, tmp_path: Path) -> None:
    real = tmp_path / "opt"
    real.mkdir()
    write(real / "pulumi", "echo v3.300.1")
    write(real / HOST, "exit 0")
    (machine.bin / "pulumi").symlink_to(real / "pulumi")
    assert find() is not None, "an installation that is linked into PATH is whole"


def test_the_pulumi_of_a_sandbox_is_not_taken_for_an_engine(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    other = tmp_path / "other" / "sandbox"
    for folder in ("bin", "engine"):
        (other / folder).mkdir(parents=True)
    (other / "engine" / "locate.py").touch()
    write(other / "bin" / "pulumi", "echo v3.300.1")
    monkeypatch.setenv("PATH", f"{other / 'bin'}{os.pathsep}{machine.bin}")
    assert find() is None, "in the shell of another sandbox there is still no engine"
    monkeypatch.setenv("PATH", f"{locate.HERE.parent / 'bin'}{os.pathsep}{machine.bin}")
    pulumi = machine.put_pulumi("3.300.1")
    engine = find()
    assert engine is not None
    assert engine.pulumi == pulumi, "the one of this sandbox is passed over too"


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("echo v3.237.9", "is version 3.237.9; 3.238.0 or a later 3.x is required"),
        ("echo v2.25.2", "is version 2.25.2; 3.238.0 or a later 3.x is required"),
        ("echo v4.0.0", "is version 4.0.0; 3.238.0 or a later 3.x is required"),
        ("echo pulumi shim: no version set >&2; exit 126", "exit code 126: pulumi shim: no version set"),
        ("echo hello", "answers 'hello' to `pulumi version`, which is not a version"),
        ("", "answers '' to `pulumi version`, which is not a version"),
    ],
)
def test_a_pulumi_that_cannot_be_used_is_named_with_the_reason(machine: Machine, script: str, reason: str) -> None:
    pulumi = machine.put("pulumi", script)
    assert find() is None, "it is not taken"
    with pytest.raises(EngineError) as raised:
        ensure()
    assert f"1. pulumi on PATH: {pulumi} " in str(raised.value), "the message names the place"
    assert reason in str(raised.value), "the message says why"


def test_a_pulumi_that_is_not_a_program_is_named_with_the_reason(machine: Machine) -> None:
    (machine.bin / "pulumi").write_bytes(b"\x00not a program")
    (machine.bin / "pulumi").chmod(0o755)
    with pytest.raises(EngineError, match="cannot be started"):
        ensure()


@pytest.mark.parametrize(
    ("version", "good"), [("3.238.0", True), ("3.1000.0", True), ("3.99.9", False), ("4.226.0", False)]
)
def test_versions_are_compared_as_numbers(version: str, good: bool) -> None:
    assert is_supported(version) is good, f"{version} is {'' if good else 'not '}supported"


# -- in the cache --


def test_the_cached_engine_is_used_where_the_one_on_path_is_too_old(machine: Machine) -> None:
    machine.put_pulumi("3.100.0")
    pulumi = machine.put_cached()
    assert find() == Engine(pulumi, VERSION, "cache")
    assert ensure().path == [str(pulumi.parent)], "the engine finds its language host there, whatever is on PATH"


def test_the_cache_lies_where_the_user_wants_caches(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cache_folder() == machine.home / ".cache" / "pulumi-sandbox" / "engine" / VERSION
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert cache_folder() == Path("/somewhere/pulumi-sandbox/engine") / VERSION
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert cache_folder().is_relative_to(machine.home), "the specification says to ignore a relative path"


def test_the_language_host_beside_a_built_engine_follows_this_package(machine: Machine) -> None:
    host = machine.put_cached("#!/bin/sh\n# of an older package\n").with_name(HOST)
    ensure()
    assert host.read_bytes() == SANDBOX_HOST.read_bytes(), "it was replaced"
    assert os.access(host, os.X_OK), "it can be started"


def test_the_language_host_of_the_official_download_is_left_alone(machine: Machine) -> None:
    host = machine.put_cached("official").with_name(HOST)
    ensure()
    assert host.read_text() == "official"


# -- the official installer --


@pytest.fixture
def site(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The installer's site is in reach."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setattr(install, "SITE", f"http://127.0.0.1:{server.server_port}/")
    yield
    server.shutdown()


@pytest.mark.usefixtures("site")
def test_the_official_installer_comes_before_the_build(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    machine.put_go()
    python = machine.put(
        "python",
        f"mkdir -p $3/bin; cd $3/bin; printf '#!/bin/sh\\necho v{VERSION}\\n' > pulumi; chmod +x pulumi; "
        f"touch {HOST} {EXEC}",
    )
    monkeypatch.setattr(install.sys, "executable", str(python))
    assert ensure() == Engine(cache_folder() / "bin" / "pulumi", VERSION, "installer")
    assert machine.asked() == [], "nothing was built"


@pytest.mark.usefixtures("site")
def test_a_failing_installer_is_named_and_the_build_is_tried(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    machine.put_go()
    python = machine.put("python", "echo 'Traceback (most recent call last):' >&2; echo 'no curl' >&2; exit 1")
    monkeypatch.setattr(install.sys, "executable", str(python))
    assert ensure().origin == "modules"
    printed = capsys.readouterr().err
    assert "official installer: the official installer failed: no curl" in printed
    assert "Traceback" not in printed, "only the last line is the reason"


def test_the_sdk_runs_the_installer_without_touching_the_profile(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def download(url: str, path: str) -> None:
        assert url == "https://get.pulumi.com/install.sh"
        Path(path).write_text(
            f"#!/bin/sh\necho \"$@\" > '{machine.home}/arguments'\nmkdir -p $3/bin\n"
            f"printf '#!/bin/sh\\necho v{VERSION}\\n' > $3/bin/pulumi; chmod +x $3/bin/pulumi\n"
        )

    monkeypatch.setattr("pulumi.automation._cmd._download_to_file", download)
    folder = machine.home / "there"
    monkeypatch.setattr(sys, "argv", ["install", str(folder)])
    install.main()
    arguments = (machine.home / "arguments").read_text().split()
    assert arguments == ["--no-edit-path", "--install-root", str(folder), "--version", VERSION]


def test_an_installer_out_of_reach_is_given_up_within_seconds(machine: Machine) -> None:
    started = time.monotonic()
    with pytest.raises(ProvisionAttemptError, match=r"http://127.0.0.1:9/install.sh cannot be reached"):
        install.install(machine.home / "x")
    assert time.monotonic() - started < 6


# -- the build --


def test_an_engine_is_built_from_modules(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    machine.put_go()
    engine = ensure()
    assert engine == Engine(cache_folder() / "bin" / "pulumi", VERSION, "modules")
    assert engine.host.read_bytes() == SANDBOX_HOST.read_bytes(), "a language host is beside it"
    assert engine.pulumi.with_name(EXEC).read_text() == "official", "and Pulumi's script that runs programs"
    assert find() == Engine(engine.pulumi, VERSION, "cache"), "the next time it is found"
    assert not (cache_folder() / "modules").exists(), "nothing is left of the work"
    printed = capsys.readouterr()
    assert printed.out == "", "progress goes to stderr"
    assert "Downloading Go modules" in printed.err
    assert "Compiling Pulumi: 3 of 3 packages, 100 %" in printed.err


def test_a_build_that_fails_in_the_middle_says_why_and_can_be_taken_up_again(
    machine: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    machine.put_go(build="echo one >&2; echo '# two' >&2; echo 'two.go:1: no space left on device' >&2; exit 1")
    with pytest.raises(EngineError) as raised:
        ensure()
    assert "4. build from Go modules: the build failed: two.go:1: no space left on device" in str(raised.value)
    assert find() is None, "no half engine is left"
    printed = capsys.readouterr().err
    assert "1 of 3 packages" not in printed.splitlines()[-1], "a failed phase does not end as if it had succeeded"
    machine.put_go()
    assert ensure().origin == "modules", "the next run builds it"


def test_an_engine_that_does_not_start_after_the_build_is_not_kept(machine: Machine) -> None:
    machine.put_go(build="mkdir -p bin; printf '#!/bin/sh\\nexit 3\\n' > bin/pulumi; chmod +x bin/pulumi; exit 0")
    with pytest.raises(EngineError, match="the engine that was built fails at `pulumi version` with exit code 3"):
        ensure()
    assert find() is None


def test_without_go_and_network_one_message_says_what_was_tried_and_what_to_install(machine: Machine) -> None:
    with pytest.raises(EngineError) as raised:
        ensure()
    lines = str(raised.value).splitlines()
    assert [line.split(":")[0] for line in lines[1:5]] == [
        "  1. pulumi on PATH",
        "  2. cached engine",
        "  3. official installer",
        "  4. build from Go modules",
    ]
    assert "no `go` on PATH; Go 1.25.11 or later is required to build it" in lines[4]
    assert lines[5].startswith("Install either Pulumi 3.238.0 or later"), "it ends with what to do"


@pytest.mark.parametrize(
    ("version", "toolchain", "reason"),
    [
        ("1.24.4", "local", "is Go 1.24.4 and GOTOOLCHAIN=local keeps it from getting a newer one; Go 1.25.11 or"),
        ("1.24.4", "go1.24.4", "is Go 1.24.4 and GOTOOLCHAIN=go1.24.4 keeps it"),
        ("1.19.8", "", "is Go 1.19.8; Go 1.25.11 or later is required to build it"),
    ],
)
def test_a_go_that_is_too_old_is_named(machine: Machine, version: str, toolchain: str, reason: str) -> None:
    machine.put_go(version, toolchain)
    with pytest.raises(ProvisionAttemptError) as raised:
        find_go()
    assert reason in str(raised.value)


@pytest.mark.parametrize("toolchain", ["auto", "path", "go1.24.4+auto"])
def test_an_older_go_that_may_get_a_newer_one_is_let_do_so(machine: Machine, toolchain: str) -> None:
    go = machine.put_go("1.24.4", toolchain)
    assert find_go() == str(go)


def test_a_module_proxy_out_of_reach_is_the_reason(machine: Machine) -> None:
    machine.put_go()
    go = (machine.bin / "go").read_text()
    failing = go.replace(
        '"list -deps") echo one; echo two; echo three; echo "go: downloading something" >&2;;',
        '"list -deps") echo "go: a@v1: Get \\"https://proxy/a\\": lookup proxy: no such host" >&2; exit 1;;',
    )
    assert failing != go
    (machine.bin / "go").write_text(failing)
    with pytest.raises(EngineError, match=r"`go list` failed: go: a@v1: .*no such host"):
        ensure()


def test_a_module_proxy_that_never_answers_is_given_up(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    machine.put_go()
    go = (machine.bin / "go").read_text()
    (machine.bin / "go").write_text(go.replace('"list -m") ', '"list -m") exec sleep 60; '))
    monkeypatch.setattr("pulumi_sandbox.engine.build.PROXY_TIMEOUT", 0.3)
    with pytest.raises(EngineError, match="no answer from the Go module proxy within"):
        ensure()


def test_the_users_go_settings_hold_and_those_for_other_builds_do_not(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.put_go(build=f"echo \"$GOPROXY $GOFLAGS $SSL_CERT_FILE $GOOS $GOWORK\" > '{machine.home}/seen'")
    for key, value in {
        "GOPROXY": "https://proxy",
        "GOFLAGS": "-p=1",
        "SSL_CERT_FILE": "/certs",
        "GOOS": "plan9",
        "GOWORK": "/w",
    }.items():
        monkeypatch.setenv(key, value)
    ensure()
    assert (machine.home / "seen").read_text() == "https://proxy -p=1 /certs  off\n"


def test_go_mod_and_go_sum_pin_the_version_of_the_engine() -> None:
    go_mod = (locate.HERE / "go.mod").read_text()
    go_sum = (locate.HERE / "go.sum").read_text()
    assert f"github.com/pulumi/pulumi/pkg/v3 v{VERSION} " in go_mod
    assert f"github.com/pulumi/pulumi/sdk/v3 v{VERSION} " in go_mod
    for module, version in re.findall(r"^\t(\S+) (v\S+)", go_mod, re.MULTILINE):
        assert f"\n{module} {version} h1:" in "\n" + go_sum, f"go.sum has the checksum of {module}"
    assert needed_go().count(".") == 2, "an older Go asks for a toolchain by this version, and only whole ones exist"


def test_the_reason_is_taken_from_the_last_lines() -> None:
    assert summary(["go: downloading a v1", "# pkg", "x.go:1: wrong", "", "y.go:2: worse"]) == (
        "x.go:1: wrong / y.go:2: worse"
    )
    assert summary([]) == "no reason given"


# -- two at once --


def test_a_second_build_waits_for_the_first_and_takes_its_engine(
    machine: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    machine.put_go(build="sleep 1.5")
    engines: list[Engine] = []
    first, second = (threading.Thread(target=lambda: engines.append(ensure())) for _ in range(2))
    first.start()
    time.sleep(0.4)
    second.start()
    first.join()
    second.join()
    assert sorted(engine.origin for engine in engines) == ["cache", "modules"], "one built, the other found"
    assert machine.asked().count("build -v") == 1, "it was built once"
    assert (
        f"Another process (id {os.getpid()}) is installing Pulumi {VERSION}; waiting for it" in capsys.readouterr().err
    )


def test_a_lock_left_by_a_process_that_died_holds_nobody_up(machine: Machine) -> None:
    machine.put_go()
    cache_folder().mkdir(parents=True)
    (cache_folder() / "lock").write_text("4711")
    assert ensure().origin == "modules"


def test_a_cache_that_cannot_be_written_is_named(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    (machine.home / ".cache").write_text("a file, not a folder")
    with pytest.raises(EngineError, match=r"cannot store a Pulumi engine in .*\.cache"):
        ensure()


# -- as a command --

COMMAND = """
import pulumi_sandbox.engine.install, pulumi_sandbox.engine.build, pathlib, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job is started deaf to it
pulumi_sandbox.engine.install.SITE = "http://127.0.0.1:9/"
pulumi_sandbox.engine.build.HERE = pathlib.Path(sys.argv.pop())
from pulumi_sandbox.cli import main
main()
"""


def command(files: Path) -> subprocess.Popen[str]:
    """`pulumi-sandbox engine` with the pinned modules of the test and without the installer's site."""
    return subprocess.Popen(
        [sys.executable, "-c", COMMAND, "engine", str(files)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_the_command_prints_the_path_and_nothing_else(machine: Machine, tmp_path: Path) -> None:
    machine.put_go()
    done = command(tmp_path / "files")
    output, printed = done.communicate(timeout=60)
    assert (done.returncode, output) == (0, f"{cache_folder() / 'bin' / 'pulumi'}\n")
    assert "Compiling" in printed


@pytest.mark.long
def test_the_command_fails_without_a_traceback(machine: Machine, tmp_path: Path) -> None:
    done = command(tmp_path / "files")
    output, printed = done.communicate(timeout=60)
    assert (done.returncode, output) == (1, "")
    assert "There is no Pulumi engine to run with" in printed
    assert "Traceback" not in printed


def test_an_interrupted_build_ends_at_once_and_says_that_it_can_be_taken_up(machine: Machine, tmp_path: Path) -> None:
    machine.put_go(build=f"touch '{machine.home}/building'; exec sleep 60")
    building = command(tmp_path / "files")
    deadline = time.monotonic() + 30
    while not (machine.home / "building").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    building.send_signal(signal.SIGINT)
    _, printed = building.communicate(timeout=30)
    assert building.returncode == 130
    assert "Interrupted. Run the command again. Completed work is kept." in printed
    assert "Traceback" not in printed


# -- for the doctor --


def test_doctor_lists_what_is_missing_and_what_gets_it(machine: Machine) -> None:
    engine, go = diagnose()
    assert (engine.what, engine.good) == ("Pulumi engine", False)
    assert engine.detail.startswith("no `pulumi` on PATH, none at ")
    assert engine.detail.endswith(f"`pulumi-sandbox engine` installs version {VERSION}")
    assert (go.what, go.good) == ("Go", False), "without an engine it would be needed"


def test_doctor_lists_what_is_there(machine: Machine) -> None:
    machine.put_pulumi("3.300.1")
    engine, host, go = diagnose()
    assert engine == ("Pulumi engine", True, f"{machine.bin / 'pulumi'}, version 3.300.1")
    assert host == ("Python language host", True, "Pulumi's own")
    assert go.good, "Go is not missed where it is not needed"
    assert go.detail.endswith("not needed, Pulumi is already installed")


@pytest.mark.long
def test_doctor_shows_why_the_cached_engine_is_used(machine: Machine) -> None:
    machine.put_go()
    machine.put_pulumi("3.100.0")
    cached = machine.put_cached("ours")
    engine, host, go = diagnose()
    assert host.detail == "the sandbox's"
    assert engine.good
    assert engine.detail.startswith(f"{cached}, version {VERSION} ({machine.bin / 'pulumi'} is version 3.100.0;")
    assert go == ("Go", True, f"{machine.bin / 'go'}, to build Pulumi where it cannot be downloaded")

"""Builds the engine from its published Go modules, with the `go` on PATH.

go.mod and go.sum beside this file pin every byte that goes in. What was downloaded and compiled stays in Go's own
module and build caches, so that a build that was interrupted continues where it stopped. The user's Go settings
(GOPROXY, GOFLAGS, caches, certificates) hold.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
from collections import deque
from collections.abc import Generator
from pathlib import Path

from pulumi_sandbox.engine.locate import (
    EXEC,
    HERE,
    HOST,
    SANDBOX_HOST,
    VERSION,
    ProvisionAttemptError,
    numbers,
    version_of,
)
from pulumi_sandbox.engine.progress import Phase

PACKAGE = "github.com/pulumi/pulumi/pkg/v3/cmd/pulumi"
MODULE, SDK = "github.com/pulumi/pulumi/pkg/v3", "github.com/pulumi/pulumi/sdk/v3"

FLAGS = [
    "-mod=readonly",
    "-trimpath",
    # Nobody debugs this binary: without debug information the compiler has an eighth less to do and the build cache
    # takes a quarter less room.
    "-gcflags=all=-dwarf=false",
    # Without its stamp the engine prints no version, and the Automation API refuses it.
    f"-ldflags=-s -w -X {SDK}/go/common/version.Version=v{VERSION}",
]

PROXY_TIMEOUT = 60
"""Seconds that the module proxy has for its first answer. Go itself waits much longer, for each module again."""


def build(folder: Path) -> None:
    """Builds `folder`/bin/pulumi and puts beside it what runs programs in Python; raises ProvisionAttemptError."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("go.mod", "go.sum"):  # Go may write to them; the checkout stays as it is.
        shutil.copyfile(HERE / name, folder / name)
    go = Go(find_go(), folder)
    download(go)
    compile_engine(go)
    pulumi = folder / "bin" / "pulumi"
    version, problem = version_of(pulumi)
    if version != VERSION:
        raise ProvisionAttemptError(f"the engine that was built {problem or f'reports version {version}'}")
    sdk = Path(go.output("list", "-m", "-f", "{{.Dir}}", SDK).strip())
    shutil.copyfile(sdk / "python" / "cmd" / EXEC, pulumi.with_name(EXEC))
    shutil.copy(SANDBOX_HOST, pulumi.with_name(HOST))


def needed_go() -> str:
    """The oldest Go that go.mod admits."""
    match = re.search(r"^go (\S+)$", (HERE / "go.mod").read_text(), re.MULTILINE)
    assert match, "go.mod has a go line"
    return match[1]


def find_go() -> str:
    """The path of a usable `go`; raises ProvisionAttemptError."""
    needed = needed_go()
    go = shutil.which("go")
    if not go:
        raise ProvisionAttemptError(f"no `go` on PATH; Go {needed} or later is required to build it")
    try:
        # Outside of a module, or an older Go would first get the newer one that go.mod asks for.
        done = subprocess.run(
            [go, "env", "GOVERSION", "GOTOOLCHAIN"],
            capture_output=True,
            text=True,
            timeout=60,
            env=os.environ | {"GO111MODULE": "off"},
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ProvisionAttemptError(f"{go} cannot be started ({error})") from None
    lines = [*done.stdout.split("\n"), ""]
    match = re.search(r"go(\d+(?:\.\d+)+)", lines[0])
    if done.returncode != 0 or not match:
        raise ProvisionAttemptError(f"`{go} env` failed: {summary(done.stderr.splitlines())}")
    # Since 1.21 Go gets the version that a module needs by itself, unless GOTOOLCHAIN forbids it.
    if numbers(match[1]) < numbers(needed) and not re.fullmatch(r"auto|path|.*\+(auto|path)", lines[1]):
        forbidden = f" and GOTOOLCHAIN={lines[1]} keeps it from getting a newer one" if lines[1] else ""
        raise ProvisionAttemptError(f"{go} is Go {match[1]}{forbidden}; Go {needed} or later is required to build it")
    return go


class Go:
    """The go command in a folder with go.mod."""

    def __init__(self, command: str, folder: Path) -> None:
        self.command, self.folder = command, folder
        # A workspace, another system or a C compiler that the user has set up is not meant for this build.
        self.environment = {k: v for k, v in os.environ.items() if k not in ("GOOS", "GOARCH")}
        self.environment |= {"GOWORK": "off", "GO111MODULE": "on", "CGO_ENABLED": "0"}

    @contextlib.contextmanager
    def start(
        self, *arguments: str, output: int = subprocess.PIPE, errors: int = subprocess.STDOUT
    ) -> Generator[subprocess.Popen[str]]:
        child = subprocess.Popen(
            [self.command, *arguments],
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=errors,
            text=True,
            errors="replace",
        )
        try:
            yield child
        finally:
            if child.poll() is None:
                child.terminate()
                child.wait()

    def output(self, *arguments: str) -> str:
        """What a go command prints; raises ProvisionAttemptError."""
        with self.start(*arguments, errors=subprocess.PIPE) as child:
            text, errors = child.communicate()
        if child.returncode != 0:
            raise ProvisionAttemptError(f"`go {arguments[0]}` failed: {summary(errors.splitlines())}")
        return text


def download(go: Go) -> None:
    """Gets the modules that are not in Go's module cache yet, many at a time; raises ProvisionAttemptError.

    A module that cannot be had this way is left to the build, which asks for less: `go mod download` also wants the
    date of the version, and there are proxies that have the module and not the date.
    """
    with Phase("Downloading Go modules"):
        with go.start("list", "-m", f"{MODULE}@v{VERSION}", output=subprocess.DEVNULL) as child:
            try:
                child.wait(PROXY_TIMEOUT)
            except subprocess.TimeoutExpired:
                raise ProvisionAttemptError(
                    f"no answer from the Go module proxy within {PROXY_TIMEOUT} s (`go env GOPROXY` names it)"
                ) from None
        with go.start("mod", "download", output=subprocess.DEVNULL) as child:
            child.wait()


def compile_engine(go: Go) -> None:
    """Compiles what is not in Go's build cache yet, and links bin/pulumi; raises ProvisionAttemptError."""
    with Phase("Counting the packages to compile"):  # Also gets what is still missing of the modules.
        stale = go.output("list", "-deps", *FLAGS, "-f", "{{if .Stale}}{{.ImportPath}}{{end}}", PACKAGE)
    packages = set(stale.split())
    tail: deque[str] = deque(maxlen=20)
    done = 0
    with (
        Phase("Compiling Pulumi", len(packages), "packages") as phase,
        go.start("build", "-v", *FLAGS, "-o", "bin/pulumi", PACKAGE) as child,
    ):
        assert child.stdout
        phase.update(0, "" if len(packages) > 1 else "linking")
        for line in map(str.strip, child.stdout):
            if line in packages:
                packages.discard(line)
                done += 1
                phase.update(done, line if packages else "linking")
            else:
                tail.append(line)
        if child.wait() != 0:
            raise ProvisionAttemptError(f"the build failed: {summary(tail)}")
        phase.update(phase.total)


def summary(lines: deque[str] | list[str]) -> str:
    """The lines of a go command that explain what is wrong, in one line."""
    reasons = [line.strip() for line in lines if line.strip() and not line.startswith(("#", "go: downloading"))]
    return " / ".join(reasons[-2:])[:400] or "no reason given"

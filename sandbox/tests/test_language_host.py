"""The Python language host under the real engine: programs, their mistakes, policy packs and component packages."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent

import grpc
import pytest
from google.protobuf.empty_pb2 import Empty
from google.protobuf.struct_pb2 import Struct
from pulumi.runtime.proto import language_pb2 as messages
from pulumi.runtime.proto.language_pb2_grpc import LanguageRuntimeStub
from pulumi_sandbox.engine import find
from pulumi_sandbox.engine.locate import EXEC, HOST, SANDBOX_HOST
from pulumi_sandbox.environment import PYTHON
from pulumi_sandbox.language_host.interpreter import OptionError, choose

PROGRAM = """
import os, pulumi

class Part(pulumi.ComponentResource):
    def __init__(self, name):
        super().__init__("trial:index:Part", name)
        self.register_outputs({})

Part("part")
print("printed by the program")
config = pulumi.Config()
pulumi.export("word", config.require("word"))
pulumi.export("hidden", config.require_secret("hidden"))
pulumi.export("facts", {
    "stack": pulumi.get_stack(), "project": pulumi.get_project(), "organization": pulumi.get_organization(),
    "virtual environment": os.environ.get("VIRTUAL_ENV"), "directory": os.getcwd(),
})
"""


class Project:
    """A Pulumi project with a stack `dev` on a file backend, run by the real engine with the sandbox's host."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "state").mkdir(parents=True)
        engine = find()
        assert engine, "these tests need an engine: run `pulumi-sandbox engine` first"
        self.pulumi = str(engine.pulumi)
        # Also where the engine has an official host of its own, the sandbox's is what these tests are about.
        self.host = folder / "host" / HOST
        self.host.parent.mkdir()
        shutil.copy(SANDBOX_HOST, self.host)
        shutil.copyfile(engine.pulumi.resolve().with_name(EXEC), self.host.with_name(EXEC))
        self.environment = {
            **{key: value for key, value in os.environ.items() if not key.startswith(("PULUMI_", "AWS_"))},
            "PATH": f"{self.host.parent}{os.pathsep}{os.environ['PATH']}",
            PYTHON: sys.executable,
            "PULUMI_HOME": str(folder / "home"),
            "PULUMI_BACKEND_URL": f"file://{folder / 'state'}",
            "PULUMI_CONFIG_PASSPHRASE": "a passphrase for tests",
            "PULUMI_SKIP_UPDATE_CHECK": "true",
            "PULUMI_PYTHON_CMD": sys.executable,
        }

    def write(self, files: dict[str, str]) -> None:
        for name, text in files.items():
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(dedent(text))

    def program(self, text: str, runtime: object = "python", **more: object) -> None:
        self.write({"__main__.py": text, "Pulumi.yaml": json.dumps({"name": "trial", "runtime": runtime, **more})})

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [self.pulumi, *arguments, "--non-interactive", "--color=never"],
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, *arguments: str) -> tuple[int, str]:
        """Exit code, and what was printed."""
        child = self.start(*arguments)
        output, _ = child.communicate(timeout=120)
        return child.returncode, output

    def fails(self, *arguments: str) -> str:
        """The diagnostics of a command that must fail."""
        code, output = self.run(*arguments)
        assert code != 0, f"pulumi {arguments[0]} fails: {output}"
        return output.partition("Diagnostics:")[2].partition("Resources:")[0]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    project = Project(tmp_path_factory.mktemp("project"))
    project.program("")
    for arguments in (
        ["stack", "init", "dev"],
        ["config", "set", "word", "hello"],
        ["config", "set", "--secret", "hidden", "not for the state"],
    ):
        code, output = project.run(*arguments)
        assert code == 0, output
    return project


def children_left(project: Project) -> list[str]:
    """Processes that still run for this project, by their working directory."""
    left: list[str] = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if Path(os.readlink(process / "cwd")).is_relative_to(project.folder):
                left.append((process / "cmdline").read_text().replace("\0", " "))
        except OSError:  # It has ended, or is another user's.
            continue
    return left


def test_a_program_is_previewed_brought_up_unchanged_and_destroyed(project: Project) -> None:
    project.program(PROGRAM)
    code, output = project.run("up", "--yes", "--skip-preview")
    assert code == 0, output
    assert "+ 2 created" in output
    assert "printed by the program" in output, "what a program prints reaches the person"

    code, shown = project.run("stack", "output", "--json", "--show-secrets")
    assert code == 0, shown
    outputs = json.loads(shown)
    assert outputs["word"] == "hello", "config reaches the program"
    assert outputs["hidden"] == "not for the state", "secret config does as well"
    assert outputs["facts"] == {
        "stack": "dev",
        "project": "trial",
        "organization": "organization",
        "virtual environment": os.environ.get("VIRTUAL_ENV"),
        "directory": str(project.folder),
    }
    code, exported = project.run("stack", "export")
    assert code == 0
    assert "not for the state" not in exported, "a secret stays encrypted in the state"

    code, output = project.run("preview", "--expect-no-changes")
    assert code == 0, output
    code, output = project.run("destroy", "--yes", "--skip-preview")
    assert code == 0, output
    assert "- 2 deleted" in output
    assert children_left(project) == [], "no process is left behind"


@pytest.mark.parametrize(
    ("program", "errors"),
    [
        ("raise pulumi.RunError('no such group')", ["no such group", "program exited with non-zero exit code: 1"]),
        ("pulumi.log.error('reported'); sys.exit(32)", ["reported"]),
        ("print('last words'); sys.exit(3)", ["program exited with non-zero exit code: 3"]),
        ("pulumi.export('x', pulumi.Output.from_input(1).apply(lambda one: one / 0))", ["ZeroDivisionError"]),
        ("os.kill(os.getpid(), 9)", ["program exited with signal SIGKILL"]),
    ],
)
def test_the_exit_codes_of_programs_are_those_of_the_official_host(
    project: Project, program: str, errors: list[str]
) -> None:
    project.program(f"import os, pulumi, sys\n{program}")
    diagnostics = project.fails("preview")
    assert diagnostics.count("error:") == len(errors), diagnostics
    assert all(error in diagnostics for error in errors), diagnostics
    assert ("last words" in diagnostics) == ("last words" in program), "what a program prints is shown"


def test_an_exception_shows_the_programs_own_lines(project: Project) -> None:
    project.program("def broken():\n    raise ValueError('boom')\n\nbroken()\n")
    diagnostics = project.fails("preview")
    assert diagnostics.count("error:") == 1, diagnostics
    assert f'File "{project.folder}/__main__.py", line 4, in <module>' in diagnostics
    assert "ValueError: boom" in diagnostics
    assert "runpy" not in diagnostics, "no line of Python's own machinery is shown"


@pytest.mark.long
def test_the_virtual_environment_of_the_project_runs_the_program(project: Project) -> None:
    project.write({"env/bin/python": f'#!/bin/sh\nexec {sys.executable} "$@"\n'})
    (project.folder / "env/bin/python").chmod(0o755)
    options = {"toolchain": "pip", "virtualenv": "env"}
    text = "import os, shutil\nprint('in', os.environ['VIRTUAL_ENV'], 'with', shutil.which('python'))"
    project.program(text, runtime={"name": "python", "options": options})
    code, output = project.run("preview")
    assert code == 0, output
    assert f"in {project.folder}/env with {project.folder}/env/bin/python" in output


def test_a_virtual_environment_that_does_not_exist_is_named(project: Project) -> None:
    project.program("", runtime={"name": "python", "options": {"virtualenv": "nowhere"}})
    diagnostics = project.fails("preview")
    assert f"{project.folder}/nowhere, named by the runtime option `virtualenv`, does not exist" in diagnostics
    assert "Traceback" not in diagnostics


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"virtualenv": 7}, "runtime option `virtualenv` is 7; it must be the path of a folder"),
        ({"toolchain": "uv"}, "runtime option `toolchain` is 'uv'; the sandbox's language host supports 'pip' only"),
    ],
)
def test_runtime_options_that_cannot_be_followed_are_named(options: dict[str, object], reason: str) -> None:
    with pytest.raises(OptionError) as raised:
        choose("/project", options)
    assert reason in str(raised.value)


def test_the_interpreter_is_chosen_as_the_official_host_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("python3", "python", "other"):
        (tmp_path / name).write_text("")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("PULUMI_PYTHON_CMD", raising=False)
    assert choose("/project", {}).python == str(tmp_path / "python3")
    monkeypatch.setenv("PULUMI_PYTHON_CMD", "other")
    assert choose("/project", {}).python == str(tmp_path / "other")
    assert choose("/project", {"virtualenv": "env"}).virtualenv == Path("/project/env")
    assert choose("/project", {"virtualenv": "/env"}).virtualenv == Path("/env")
    assert choose("/project", {}, default="venv").virtualenv == Path("/project/venv"), "of a component package"
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    with pytest.raises(OptionError, match="no other on PATH"):
        _ = choose("/project", {}).python


def test_a_component_package_that_can_be_built_is_installed_as_by_the_official_host(tmp_path: Path) -> None:
    package = choose(str(tmp_path), {"virtualenv": "venv"})
    python = str(tmp_path / "venv" / "bin" / "python")
    (tmp_path / "requirements.txt").touch()
    (tmp_path / "pyproject.toml").write_text("[project]\nname = 'parts'\n")
    pip = [python, "-m", "pip", "install"]
    assert package.installation(tmp_path, is_plugin=True)[1:] == [[*pip, "-r", "requirements.txt"]], "no build backend"
    with (tmp_path / "pyproject.toml").open("a") as file:
        file.write("[build-system]\nbuild-backend = 'setuptools.build_meta'\n")
    both = [[*pip, str(tmp_path)], [*pip, "-r", "requirements.txt"]]
    assert package.installation(tmp_path, is_plugin=True)[1:] == both
    assert package.installation(tmp_path, is_plugin=False)[1:] == both[1:], "a program is not installed"


SLEEPER = """
    import os, pathlib, time
    pathlib.Path("started").touch()
    print("sleeping", flush=True)
    time.sleep(100)
"""


def sleeping(project: Project) -> subprocess.Popen[str]:
    project.program(dedent(SLEEPER))
    (project.folder / "started").unlink(missing_ok=True)
    child = project.start("preview")
    deadline = time.monotonic() + 60
    while not (project.folder / "started").exists():
        assert time.monotonic() < deadline, "the program starts"
        time.sleep(0.05)
    return child


def ends_within(project: Project, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while children_left(project) and time.monotonic() < deadline:
        time.sleep(0.1)
    return not children_left(project)


def test_a_cancelled_program_ends_at_once(project: Project) -> None:
    child = sleeping(project)
    child.send_signal(signal.SIGINT)
    output, _ = child.communicate(timeout=10)
    assert "preview canceled" in output
    assert ends_within(project, 2), f"nothing is left: {children_left(project)}"


def test_an_engine_that_is_killed_takes_its_programs_with_it(project: Project) -> None:
    child = sleeping(project)
    child.kill()
    assert ends_within(project, 10), f"nothing is left: {children_left(project)}"
    child.communicate()


POLICIES = """
    import json, os, sys
    from concurrent.futures import ThreadPoolExecutor
    import grpc, pulumi
    from pulumi.runtime.proto import analyzer_pb2 as messages, plugin_pb2
    from pulumi.runtime.proto.analyzer_pb2_grpc import AnalyzerServicer, add_AnalyzerServicer_to_server

    POLICY = dict(name="no-parts", description="Parts are forbidden.", enforcementLevel=messages.MANDATORY)

    class Policies(AnalyzerServicer):
        def GetAnalyzerInfo(self, request, context):
            return messages.AnalyzerInfo(
                name="pack", version="1.0.0", supportsConfig=True, policies=[messages.PolicyInfo(**POLICY)])
        def GetPluginInfo(self, request, context):
            return plugin_pb2.PluginInfo(version="1.0.0")
        def Configure(self, request, context):
            from google.protobuf.empty_pb2 import Empty
            return Empty()
        def Analyze(self, request, context):
            if request.type != "trial:index:Part":
                return messages.AnalyzeResponse()
            found = f"in {STACK} with {WORD}, from {os.getcwd()}"
            return messages.AnalyzeResponse(diagnostics=[messages.AnalyzeDiagnostic(
                policyName="no-parts", policyPackName="pack", policyPackVersion="1.0.0", message=found,
                urn=request.urn, enforcementLevel=messages.MANDATORY)])
        def AnalyzeStack(self, request, context):
            return messages.AnalyzeResponse()
        def Remediate(self, request, context):
            return messages.RemediateResponse()

    # As pulumi_policy has it, the stack is known when the pack starts.
    STACK, WORD = pulumi.get_stack(), pulumi.Config("trial").get("word")
    print("a pack prints something first")
    print("a pack complains", file=sys.stderr)
    server = grpc.server(ThreadPoolExecutor(4))
    add_AnalyzerServicer_to_server(Policies(), server)
    print(server.add_insecure_port("127.0.0.1:0"), flush=True)
    server.start()
    server.wait_for_termination()
"""


def test_a_policy_pack_knows_the_stack_and_stops_the_preview(project: Project) -> None:
    project.program(PROGRAM)
    project.write({"pack/PulumiPolicy.yaml": "runtime: python\n", "pack/__main__.py": POLICIES})
    code, output = project.run("preview", "--policy-pack", "pack")
    assert code != 0, output
    assert f"in dev with hello, from {project.folder / 'pack'}" in output
    assert "a pack complains" in output, "stderr of a pack reaches the person"
    # A program that the engine cuts off may print a traceback, as with the official host; a pack doesn't.
    assert str(project.folder / "pack" / "__main__.py") not in output
    assert ends_within(project, 5), f"nothing is left: {children_left(project)}"


@pytest.mark.long
def test_a_policy_pack_that_cannot_start_is_an_error_and_not_a_hang(project: Project) -> None:
    project.program(PROGRAM)
    project.write({"broken/PulumiPolicy.yaml": "runtime: python\n", "broken/__main__.py": "import does_not_exist\n"})
    code, output = project.run("preview", "--policy-pack", "broken")
    assert code != 0, output
    assert "No module named 'does_not_exist'" in output, "the reason is shown"


def test_a_component_package_in_a_folder_is_served(project: Project) -> None:
    project.write(
        {
            "hello/PulumiPlugin.yaml": json.dumps({"runtime": {"name": "python", "options": {"virtualenv": "../env"}}}),
            "hello/__main__.py": """
                from typing import TypedDict
                import pulumi
                from pulumi.provider.experimental import component_provider_host

                class Args(TypedDict):
                    word: pulumi.Input[str]

                class Loud(pulumi.ComponentResource):
                    said: pulumi.Output[str]

                    def __init__(self, name: str, args: Args, opts: pulumi.ResourceOptions | None = None):
                        super().__init__("hello:index:Loud", name, {}, opts)
                        self.said = pulumi.Output.from_input(args["word"]).apply(str.upper)
                        self.register_outputs({"said": self.said})

                component_provider_host(name="hello", components=[Loud])
            """,
            "env/bin/python": f'#!/bin/sh\nexec {sys.executable} "$@"\n',
        }
    )
    (project.folder / "env/bin/python").chmod(0o755)
    project.program(
        dedent("""
        import pulumi
        loud = pulumi.ComponentResource("hello:index:Loud", "loud", {"word": "hey", "said": None}, None, remote=True)
        pulumi.export("said", loud.said)
        """),
        plugins={"providers": [{"name": "hello", "path": "./hello"}]},
    )
    code, output = project.run("preview")
    assert code == 0, output
    assert '"HEY"' in output, "the component answers"


@pytest.fixture
def host(tmp_path: Path) -> Iterator[LanguageRuntimeStub]:
    """The language host without an engine."""
    child = subprocess.Popen(
        [str(SANDBOX_HOST), "--tracing", "http://nowhere", "127.0.0.1:1"],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {PYTHON: sys.executable},
    )
    assert child.stdout
    with grpc.insecure_channel(f"127.0.0.1:{int(child.stdout.readline())}") as channel:
        yield LanguageRuntimeStub(channel)
    child.send_signal(signal.SIGINT)
    assert child.wait(5) == 0, "the host ends when the engine tells it to"


def info(folder: Path, **options: str) -> messages.ProgramInfo:
    struct = Struct()
    struct.update(options)
    return messages.ProgramInfo(
        root_directory=str(folder), program_directory=str(folder), entry_point=".", options=struct
    )


def test_the_host_knows_its_python_and_names_no_plugin_to_download(host: LanguageRuntimeStub, tmp_path: Path) -> None:
    about = host.About(messages.AboutRequest(info=info(tmp_path, virtualenv=sys.prefix)))
    assert about.version == ".".join(map(str, sys.version_info[:3]))
    assert host.GetPluginInfo(Empty()).version
    assert not host.GetRequiredPackages(messages.GetRequiredPackagesRequest(info=info(tmp_path))).packages


@pytest.mark.long
def test_the_host_installs_the_requirements_of_a_program(host: LanguageRuntimeStub, tmp_path: Path) -> None:
    (tmp_path / "requirements.txt").write_text("# nothing\n")
    list(host.InstallDependencies(messages.InstallDependenciesRequest(info=info(tmp_path, virtualenv="made"))))
    assert (tmp_path / "made" / "bin" / "python").exists(), "the virtual environment is made"
    (tmp_path / "requirements.txt").write_text("not a requirement!\n")
    with pytest.raises(grpc.RpcError) as raised:
        list(host.InstallDependencies(messages.InstallDependenciesRequest(info=info(tmp_path, virtualenv="made"))))
    assert "pip install -r requirements.txt` ended with non-zero exit code: 1" in str(raised.value)

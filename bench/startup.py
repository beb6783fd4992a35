"""Where the seconds of a preview without changes go, seen from outside: which process runs, and what it imports."""

import re
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median

import matplotlib as mpl
import psutil
from matplotlib.figure import Figure

from bench.plots import save
from bench.programs import Flat, Pulumi
from tests.lifecycle.stack import Sandbox

ROUNDS = 5
PROGRAMS = {
    "flat": (Flat, "import pulumi; from pulumi_aws import iam"),
    "ours": (Pulumi, "import pulumi; from aws_access_keys import ProgrammaticAccess, stack_settings"),
}
"""Name → class, and what the program imports before it does anything."""
PACKAGES = ("pulumi", "pulumi_aws", "aws_access_keys", "boto3")
OTHERS = "other packages"
ENGINE, HOST, INTERPRETER, RUN, END = (
    "engine starts",
    "language host starts",
    "Python starts",
    "settings, state, plan, registration",
    "engine ends",
)
_LINE = re.compile(r"import time:\s*(\d+) \|\s*\d+ \|\s*(\w+)")


def measure(sandbox: Sandbox, folder: Path) -> dict[str, dict[str, float]]:
    """Program → phase → seconds, medians, with one user."""
    found: dict[str, dict[str, float]] = {}
    for name, (kind, imports) in PROGRAMS.items():
        (project := folder / f"startup-{name}").mkdir()
        program = kind(sandbox, project, f"startup-{name}")
        program.write({f"startup-{name}-1": 1})
        subprocess.run(
            program.command("up"), cwd=project, env=dict(program.environment), check=True, capture_output=True
        )
        interpreter = _seconds([sys.executable, "-c", "pass"])
        packages = _imports(imports, _seconds([sys.executable, "-c", imports]) - interpreter)
        rounds = [_timeline(program.command("preview"), program) for _ in range(ROUNDS)]
        host, started, ended, finished = (median(moments) for moments in zip(*rounds, strict=True))
        run = ended - started - interpreter - sum(packages.values())
        found[name] = {ENGINE: host, HOST: started - host, INTERPRETER: interpreter, **packages}
        found[name] |= {RUN: run, END: finished - ended}
    return found


def _seconds(command: Sequence[str]) -> float:
    """The median wall time of a command."""
    rounds: list[float] = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        rounds.append(time.perf_counter() - began)
    return median(rounds)


def _imports(statement: str, seconds: float) -> dict[str, float]:
    """The seconds of an import by package. Python's own count slows imports down, so only its proportions are used."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", statement], check=True, capture_output=True, text=True
    )
    counted = dict.fromkeys((*(f"import {package}" for package in PACKAGES), OTHERS), 0.0)
    for micros, package in _LINE.findall(done.stderr):
        counted[f"import {package}" if package in PACKAGES else OTHERS] += float(micros)
    return {package: seconds * micros / sum(counted.values()) for package, micros in counted.items()}


def _timeline(command: Sequence[str], program: Pulumi) -> tuple[float, float, float, float]:
    """Seconds until the language host starts, the program starts, the program ends, and the command ends."""
    began = time.perf_counter()
    process = psutil.Popen(command, cwd=program.folder, env=dict(program.environment), stdout=subprocess.DEVNULL)
    host = started = ended = 0.0
    while process.poll() is None:
        now, lines = time.perf_counter() - began, _commands(process)
        is_running = any("pulumi-language-python-exec --monitor" in line for line in lines)
        host = host or (now if any("language_host" in line for line in lines) else 0.0)
        started = started or (now if is_running else 0.0)
        ended = ended or (now if started and not is_running else 0.0)
        time.sleep(0.002)
    finished = time.perf_counter() - began
    return host, started, ended or finished, finished


def _commands(process: psutil.Process) -> list[str]:
    try:
        return [" ".join(one.cmdline()) for one in process.children(recursive=True)]
    except psutil.Error:  # one of them has ended meanwhile
        return []


def plot(phases: Mapping[str, Mapping[str, float]], title: str, path: Path) -> None:
    """A bar for each program, its phases one after the other."""
    figure = Figure(figsize=(8.4, 2.6))
    axis = figure.subplots()
    colours = [mpl.colormaps["tab20"](number) for number in range(20)]
    for row, found in enumerate(phases.values()):
        left = 0.0
        for (phase, seconds), colour in zip(found.items(), colours, strict=False):
            axis.barh(row, seconds, left=left, color=colour, label=phase if row == 0 else None)
            left += seconds
        axis.text(left, row, f" {left:.2f} s", va="center", fontsize=8)
    axis.set_yticks(range(len(phases)), list(phases))
    axis.invert_yaxis()
    axis.set_xlabel("seconds of `pulumi preview` without changes, one user")
    axis.legend(frameon=False, fontsize=7, ncols=5, loc="upper center", bbox_to_anchor=(0.5, -0.3))
    figure.suptitle(title, y=1.0, fontsize=8, color="#555555")
    save(figure, path)

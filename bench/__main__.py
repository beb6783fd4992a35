"""`python -m bench`: this program beside the others that create the same (programs.py), in one sandbox.

Step by step in turn, so that what else the machine does meets them all. Standard output gets a table in Markdown,
results.json every single figure, and docs/ the plots.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from importlib.metadata import version
from pathlib import Path
from statistics import median

import psutil
from rich.console import Console
from rich.progress import Progress

from bench import startup
from bench.plots import plot_sizes, plot_steps
from bench.programs import (
    AWS_PROVIDER,
    CHECKOUT,
    HERE,
    MIRROR,
    WITHOUT_STATE_WRITES,
    Bare,
    Flat,
    Program,
    Pulumi,
    Terraform,
)
from tests.lifecycle.stack import Sandbox

PROGRAMS = {"boto3": Bare, "flat": Flat, "ours": Pulumi, "terraform": Terraform}
MANY_USERS = 100  # from here on one round is the default: it takes minutes
FULL = 1000  # users, with two programs, without state writes, which would take hours


@dataclass(frozen=True)
class Step:
    """A command, and what is asked for."""

    title: str
    command: str
    more_users: int = 0
    rotated: bool = False
    """Whether the first user gets another key."""


STEPS = (
    Step("first up", "up"),
    Step("preview, no change", "preview"),
    Step("up, no change", "up"),
    Step("one user more", "up", more_users=1),
    Step("one rotation", "up", more_users=1, rotated=True),
    Step("destroy", "destroy", more_users=1, rotated=True),
)


@dataclass(frozen=True)
class Measurement:
    """One step of one program in one round."""

    users: int
    round: int
    step: str
    program: str
    provider: str
    """`emulated` or `real`; of boto3, which needs none, too."""
    seconds: float
    """Wall time."""
    cpu_seconds: float
    """Of the command and all that it starts, without the sandbox: neither AWS nor the emulated provider."""
    peak_mib: float
    """The same, resident at one moment."""
    aws_calls: int
    resources: int | None
    """In the state afterwards, with the stack and its provider."""
    state_kb: float
    state_writes: bool
    """Whether the engine writes the state at each step, as it does unless it is told not to."""


def measure(program: Program, name: str, step: Step, users: int, round: int, sandbox: Sandbox) -> Measurement | None:
    """Run one step; None where the program has no such thing."""
    serials = {
        f"{name}-{number:04}": 2 if step.rotated and number == 0 else 1 for number in range(users + step.more_users)
    }
    program.write(serials)
    if (command := program.command(step.command)) is None:
        return None
    sandbox.control.clear_calls()
    with tempfile.TemporaryFile("w+") as output:
        cpu, began, peak = _cpu_seconds(), time.perf_counter(), 0
        process = psutil.Popen(command, cwd=program.folder, env=dict(program.environment), stdout=output, stderr=output)
        while process.poll() is None:
            peak = max(peak, _resident(process))
            time.sleep(0.05)
        seconds, cpu = time.perf_counter() - began, _cpu_seconds() - cpu
        output.seek(0)
        if process.returncode:
            raise SystemExit(f"{' '.join(command)} failed:\n{output.read()}")
    calls = len(sandbox.control.calls())
    resources, size = program.size()
    provider = "real" if name == "terraform" or not sandbox.running.provider_port else "emulated"
    writes = not WITHOUT_STATE_WRITES.items() <= dict(program.environment).items()
    return Measurement(
        users, round, step.title, name, provider, seconds, cpu, peak / 2**20, calls, resources, size / 1000, writes
    )


def _cpu_seconds() -> float:
    times = os.times()
    return times.children_user + times.children_system


def _resident(process: psutil.Process) -> int:
    """Bytes of a process and its descendants."""
    try:
        return sum(one.memory_info().rss for one in [process, *process.children(recursive=True)])
    except psutil.Error:  # one of them has ended meanwhile
        return 0


def lifecycle(
    sandbox: Sandbox,
    names: Sequence[str],
    folder: Path,
    users: int,
    round: int,
    progress: Progress,
    writes: bool = True,
) -> Iterator[Measurement]:
    """Every step of the programs. Which one comes first changes with the round. writes: see Measurement."""
    task = progress.add_task("", total=len(STEPS) * len(names))
    programs: dict[str, Program] = {}
    for name in sorted(names, reverse=bool(round % 2)):
        label = f"{name}-{users}-{round if writes else 'once'}"
        (project := folder / label).mkdir()
        programs[name] = PROGRAMS[name](sandbox, project, label)
        if not writes:
            programs[name].environment.update(WITHOUT_STATE_WRITES)
    for step in STEPS:
        for name, program in programs.items():
            progress.update(task, description=f"{users} users, round {round}: {step.title}, {name}")
            if measured := measure(program, name, step, users, round, sandbox):
                yield measured
            progress.advance(task)
    progress.remove_task(task)


def table(measurements: Sequence[Measurement]) -> Iterator[str]:
    """Markdown: of each step the seconds of each program, and how this one compares with the flat one."""
    names = [name for name in PROGRAMS if any(found.program == name for found in measurements)]
    rows: list[tuple[str, ...]] = [
        (
            "users",
            "step",
            *(f"{name}, s" for name in names),
            "ours / flat",
            "CPU, s",
            "peak, MiB",
            "AWS calls",
            "state, kB",
        )
    ]
    for users, writes in dict.fromkeys((found.users, found.state_writes) for found in measurements):
        of_size = [found for found in measurements if (found.users, found.state_writes) == (users, writes)]
        for step in STEPS:
            rounds = {name: [m for m in of_size if (m.step, m.program) == (step.title, name)] for name in names}
            rows.append(
                (
                    f"{users}{'' if writes else ' *'}",
                    step.title,
                    *(_spread(rounds[name]) for name in names),
                    _ratio(rounds),
                    *_costs(rounds),
                )
            )
    rows.insert(1, ("---:", "---", *["---:"] * (len(names) + 1), *["---"] * 4))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield f"| {' | '.join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))} |"


def _spread(rounds: Sequence[Measurement]) -> str:
    """The median, with the minimum and the maximum where there are several."""
    seconds = [one.seconds for one in rounds]
    if not seconds:
        return ""
    return f"{median(seconds):.2f}" + (f" ({min(seconds):.2f} to {max(seconds):.2f})" if len(seconds) > 1 else "")


def _ratio(rounds: Mapping[str, Sequence[Measurement]]) -> str:
    """The median of the rounds' ratios."""
    both = list(zip(rounds.get("ours", ()), rounds.get("flat", ()), strict=False))
    return f"{median(ours.seconds / flat.seconds for ours, flat in both):.2f}" if both else ""


def _costs(rounds: Mapping[str, Sequence[Measurement]]) -> Iterator[str]:
    """Other costs, in order of the programs: of boto3, flat, ours, terraform."""
    for member, digits in (("cpu_seconds", 1), ("peak_mib", 0), ("aws_calls", 0), ("state_kb", 0)):
        yield " / ".join(
            f"{median(getattr(one, member) for one in found):.{digits}f}" for found in rounds.values() if found
        )


def machine(sandbox: Sandbox) -> dict[str, str]:
    """Where and with what it was measured."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    terraform = {"Terraform": _terraform_version()} if Terraform.is_there() else {}
    return {
        "date": str(date.today()),
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, {memory:.0f} GiB",
        "load": f"{os.getloadavg()[0]:.1f} before the run",
        "engine": sandbox.engine.version,
        "Python": platform.python_version(),
        **{package: version(package) for package in ("pulumi", "pulumi-aws", "boto3", "moto")},
        **terraform,
    }


def _terraform_version() -> str:
    done = subprocess.run(["terraform", "version", "-json"], capture_output=True, text=True, check=True)
    return f"{json.loads(done.stdout)['terraform_version']} with provider {AWS_PROVIDER}"


def main() -> None:
    """Parse the options, measure, print."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--users", type=int, nargs="+", default=[1, 20, 200], help="sizes of the stack (1 20 200)")
    parser.add_argument("--rounds", type=int, help=f"rounds of each size (5; 1 from {MANY_USERS} users on)")
    parser.add_argument("--full", action="store_true", help=f"also {FULL} users, with the two Pulumi programs")
    parser.add_argument(
        "--real-provider", action="store_true", help="the Pulumi programs on the real aws provider, if it is installed"
    )
    parser.add_argument("--output", type=Path, default=HERE / "results.json", help="where the figures go")
    parser.add_argument("--plots", type=Path, default=CHECKOUT / "docs", help="the folder of the plots (docs)")
    options = parser.parse_args()
    names = [name for name in PROGRAMS if name != "terraform" or Terraform.is_there()]
    if "terraform" not in names:
        print(f"Terraform is not compared: there is none, or {MIRROR} is not set.", file=sys.stderr)
    measurements: list[Measurement] = []
    with tempfile.TemporaryDirectory() as temporary, Progress(console=Console(stderr=True), transient=True) as progress:
        folder = Path(temporary)
        sandbox = Sandbox(folder / "sandbox", *(["--real-provider"] if options.real_provider else []))
        facts = machine(sandbox)
        try:
            list(lifecycle(sandbox, names, folder, 1, 0, progress))  # a warm-up: caches, the sandbox's first calls
            for users in options.users:
                for round in range(1, 1 + (options.rounds or (1 if users >= MANY_USERS else 5))):
                    measurements += lifecycle(sandbox, names, folder, users, round, progress)
            for users in [*(n for n in options.users if n >= MANY_USERS), *([FULL] if options.full else [])]:
                measurements += lifecycle(sandbox, ["flat", "ours"], folder, users, 1, progress, writes=False)
            phases = startup.measure(sandbox, folder)
        finally:
            sandbox.stop()
    figures = [asdict(m) for m in measurements]
    options.output.write_text(json.dumps({**facts, "measurements": figures, "startup": phases}, indent=1) + "\n")
    title = f"{facts['machine']}, {facts['date']}, engine {facts['engine']}, Python {facts['Python']}"
    drawn = [one for one in figures if one["state_writes"]]
    plot_steps(drawn, title, options.plots / "performance-steps.svg")
    plot_sizes(drawn, title, options.plots / "performance-users.svg")
    startup.plot(phases, title, options.plots / "performance-start.svg")
    print(", ".join(f"{name} {value}" for name, value in facts.items()), *table(measurements), sep="\n")
    if not all(found.state_writes for found in measurements):
        print("* the engine writes the state once, at the end (see docs/performance.md)")


if __name__ == "__main__":
    main()

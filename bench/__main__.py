"""`python -m bench`: the program of this checkout against a flat one with the same resources (`flat/`).

Both run on the real engine in one sandbox, step by step in turn, so that what else the machine does meets both.
Standard output gets a Markdown table; every single figure goes to results.json.
"""

import argparse
import json
import os
import platform
import resource
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from importlib.metadata import version
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

from rich.console import Console
from rich.progress import Progress

from tests.lifecycle.stack import CHECKOUT, Sandbox, Stack

HERE = Path(__file__).parent
PROGRAMS = {"ours": CHECKOUT, "flat": HERE / "flat"}
MANY_USERS = 100  # from here on one round is the default: it takes minutes


@dataclass(frozen=True)
class Step:
    """A `pulumi` command, and what the stack file asks for."""

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
    seconds: float
    """Wall time."""
    cpu_seconds: float
    """Of the engine, the language host and the program, not of the sandbox."""
    aws_calls: int
    resources: int
    """In the state afterwards, with the stack and its provider."""


def config(program: str, users: int, rotated: bool) -> Mapping[str, Any]:
    """The stack file. Names begin with the program's: both share the sandbox's account."""
    group = f"{program}-group"
    serials = {f"{program}-{number:03}": 2 if rotated and number == 0 else 1 for number in range(users)}
    if program == "flat":
        return {"group": group, "users": serials}
    return {
        "groups": {group: {"policies": ["AmazonS3FullAccess", "IAMFullAccess"]}},
        "users": {user: {"groups": [group], "key": {"serial": serial}} for user, serial in serials.items()},
        "keyDefaults": {"previous": "deleted"},  # the flat program has one key per user
    }


def measure(stack: Stack, program: str, step: Step, users: int, round: int) -> Measurement:
    """Run one step."""
    stack.write(config(program, users + step.more_users, step.rotated))
    stack.sandbox.control.clear_calls()
    cpu, began = _cpu_seconds(), time.perf_counter()
    getattr(stack, step.command)()
    seconds, cpu = time.perf_counter() - began, _cpu_seconds() - cpu
    calls, resources = len(stack.sandbox.control.calls()), len(stack.resources())
    return Measurement(users, round, step.title, program, seconds, cpu, calls, resources)


def _cpu_seconds() -> float:
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return children.ru_utime + children.ru_stime


def lifecycle(sandbox: Sandbox, folder: Path, users: int, round: int, progress: Progress) -> Iterator[Measurement]:
    """Every step of both programs. Which one comes first changes with the round."""
    task = progress.add_task("", total=len(STEPS) * len(PROGRAMS))
    stacks: dict[str, Stack] = {}
    for program in sorted(PROGRAMS, reverse=bool(round % 2)):
        (project := folder / f"{program}-{users}-{round}").mkdir()
        stacks[program] = Stack(sandbox, project, PROGRAMS[program], project.name)
    for step in STEPS:
        for program, stack in stacks.items():
            progress.update(task, description=f"{users} users, round {round}: {step.title}, {program}")
            yield measure(stack, program, step, users, round)
            progress.advance(task)
    for stack in stacks.values():
        stack.run("stack", "rm", "--yes")
    progress.remove_task(task)


def table(measurements: Sequence[Measurement]) -> Iterator[str]:
    """The medians as lines of Markdown. The ratio is the median of the rounds' ratios."""
    rows: list[tuple[str, ...]] = [
        ("users", "step", "ours, s", "flat, s", "ratio", "AWS calls, ours / flat", "resources, ours / flat")
    ]
    for users in dict.fromkeys(found.users for found in measurements):
        for step in STEPS:
            ours, flat = (
                [m for m in measurements if (m.users, m.step, m.program) == (users, step.title, program)]
                for program in PROGRAMS
            )
            ratio = median(a.seconds / b.seconds for a, b in zip(ours, flat, strict=True))
            seconds = [f"{median(m.seconds for m in rounds):.2f}" for rounds in (ours, flat)]
            calls = f"{ours[-1].aws_calls} / {flat[-1].aws_calls}"
            resources = f"{ours[-1].resources} / {flat[-1].resources}"
            rows.append((str(users), step.title, *seconds, f"{ratio:.2f}", calls, resources))
    rows.insert(1, ("---:", "---", *["---:"] * 5))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield f"| {' | '.join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))} |"


def machine(sandbox: Sandbox) -> dict[str, str]:
    """Where and with what it was measured."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {
        "date": str(date.today()),
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, {memory:.0f} GiB",
        "load": f"{os.getloadavg()[0]:.1f} before the run",
        "engine": sandbox.engine.version,
        "Python": platform.python_version(),
        **{package: version(package) for package in ("pulumi", "pulumi-aws", "boto3", "moto")},
    }


def main() -> None:
    """Parse the options, measure, print."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--users", type=int, nargs="+", default=[1, 20, 200], help="sizes of the stack (1 20 200)")
    parser.add_argument("--rounds", type=int, help=f"rounds of each size (5; 1 from {MANY_USERS} users on)")
    parser.add_argument("--output", type=Path, default=HERE / "results.json", help="where the figures go")
    options = parser.parse_args()
    measurements: list[Measurement] = []
    with TemporaryDirectory() as temporary, Progress(console=Console(stderr=True), transient=True) as progress:
        folder = Path(temporary)
        sandbox = Sandbox(folder / "sandbox")
        facts = machine(sandbox)
        try:
            list(lifecycle(sandbox, folder, 1, 0, progress))  # a warm-up: caches, and the sandbox's first calls
            for users in options.users:
                for round in range(1, 1 + (options.rounds or (1 if users >= MANY_USERS else 5))):
                    measurements += lifecycle(sandbox, folder, users, round, progress)
        finally:
            sandbox.stop()
    options.output.write_text(json.dumps({**facts, "measurements": [asdict(m) for m in measurements]}, indent=1) + "\n")
    print(", ".join(f"{name} {value}" for name, value in facts.items()), *table(measurements), sep="\n")


if __name__ == "__main__":
    main()

"""Which stack has which access key."""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from rich.progress import Progress

from aws_access_keys.cli.stack import PARALLEL, KeyInState, StackError, keys_in_state, list_stacks


class Stacks(NamedTuple):
    """What the states of the stacks have."""

    keys: Mapping[str, KeyInState]
    problems: list[str]
    """What could not be read and why; a key that is in none of the others may be there."""


def read_stacks(all_projects: bool, progress: Progress) -> Stacks:
    """Read the stacks of this project, or of all projects of the backend. Raises nothing that the engine reports."""
    problems: list[str] = []
    try:
        names = list_stacks(all_projects)
    except StackError as error:
        # One damaged state keeps the engine from listing any stack.
        names = [] if all_projects else sorted(_with_a_file())
        read = f"only those with a file here were read ({', '.join(names)})" if names else "none was read"
        elsewhere = "" if names or all_projects else " Run this in the folder of the program, or with --all-projects."
        problems.append(f"The stacks could not be listed, so {read}: {error.line}.{elsewhere}")
    task = progress.add_task("reading the stacks", total=len(names), visible=bool(names))
    keys: dict[str, KeyInState] = {}
    with ThreadPoolExecutor(PARALLEL) as pool:
        for name, found in zip(names, pool.map(_read, names), strict=True):
            progress.advance(task)
            if isinstance(found, StackError):
                problems.append(found.of_stack(name))
            else:
                keys |= found
    return Stacks(keys, problems)


def _read(stack: str) -> dict[str, KeyInState] | StackError:
    try:
        return keys_in_state(stack)
    except StackError as error:
        return error


def _with_a_file() -> set[str]:
    """The stacks that have a file in this folder: Pulumi.STACK.yaml."""
    return {path.name.split(".", 1)[1].rsplit(".", 1)[0] for path in Path().glob("Pulumi.*.y*ml")}

"""Which stack has which access key."""

from collections.abc import Mapping
from typing import NamedTuple

from rich.progress import Progress

from aws_access_keys.cli.stack import KeyInState, StackError, each_stack, keys_in_state, stacks_to_read


class Stacks(NamedTuple):
    """What the states of the stacks have."""

    keys: Mapping[str, KeyInState]
    problems: list[str]
    """What could not be read and why; a key that is in none of the others may be there."""


def read_stacks(all_projects: bool, progress: Progress) -> Stacks:
    """Read the stacks of this project, or of all projects of the backend. Raises nothing that the engine reports."""
    names, problems = stacks_to_read(all_projects)
    task = progress.add_task("reading the stacks", total=len(names), visible=bool(names))
    keys: dict[str, KeyInState] = {}
    for name, found in each_stack(names, keys_in_state, lambda: progress.advance(task)).items():
        if isinstance(found, StackError):
            problems.append(found.of_stack(name))
        else:
            keys |= found
    return Stacks(keys, problems)

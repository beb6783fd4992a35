"""A fresh stack for each lifecycle test."""

from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import pytest

from tests.lifecycle.stack import Sandbox, Stack

COUNTER = count(1)  # stacks of one sandbox lie in one backend, under one project


@pytest.fixture
def new_stack(sandbox: Sandbox, tmp_path: Path) -> Iterator[Callable[..., Stack]]:
    """Makes stacks; after the test they, and all that the account holds, are gone."""
    made: list[Stack] = []

    def make(**settings: object) -> Stack:
        folder = tmp_path / f"project{len(made)}"
        folder.mkdir()
        name = f"stack{next(COUNTER)}"
        made.append(Stack(sandbox, folder, name=name, **settings))  # pyright: ignore[reportArgumentType]
        return made[-1]

    yield make
    for stack in made:
        stack.run("stack", "rm", "--yes", "--force", check=False)
    sandbox.control.clear_faults()
    sandbox.control.reset()

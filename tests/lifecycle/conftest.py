"""One sandbox for the lifecycle tests, and a fresh stack for each test."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.lifecycle.stack import Sandbox, Stack


@pytest.fixture(scope="session")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    made = Sandbox(tmp_path_factory.mktemp("sandbox"))
    yield made
    made.stop()


@pytest.fixture
def new_stack(sandbox: Sandbox, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Callable[..., Stack]]:
    """Makes a stack, and destroys it after the test."""
    made: list[Stack] = []

    def make(**settings: object) -> Stack:
        folder = tmp_path / f"project{len(made)}"
        folder.mkdir()
        name = f"s{abs(hash(request.node.name)) % 10**8}-{len(made)}"
        made.append(Stack(sandbox, folder, name=name, **settings))  # pyright: ignore[reportArgumentType]
        return made[-1]

    yield make
    for stack in made:
        stack.destroy(check=False)
        stack.run("stack", "rm", "--yes", "--force", check=False)

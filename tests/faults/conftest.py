"""The scenarios of the fault matrix."""

import shutil
from collections.abc import Callable, Iterator

import pytest

from tests.faults.matrix import Prepared, prepare
from tests.faults.scenarios import SCENARIOS
from tests.lifecycle.stack import Sandbox

FOUND: dict[str, Prepared] = {}
"""The scenarios that were set up in this process."""


@pytest.fixture
def prepared(sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Prepared]]:
    """Sets a scenario up, once per process; after the test the sandbox is empty."""

    def get(name: str) -> Prepared:
        if name not in FOUND:
            FOUND[name] = prepare(SCENARIOS[name], sandbox, tmp_path_factory.mktemp("scenario"))
        return FOUND[name]

    yield get
    sandbox.control.clear_faults()
    sandbox.control.reset()
    shutil.rmtree(sandbox.folder.state)
    sandbox.folder.state.mkdir()

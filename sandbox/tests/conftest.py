"""What the tests of AWS and of the emulated provider share: a strict AWS per module, and a provider that calls it."""

from collections.abc import Iterator

import pytest
from aws_support import REGION, Strict, strict_aws
from provider_client import Connection, provider


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Strict]:
    with strict_aws(tmp_path_factory.mktemp("aws")) as running:
        yield running


@pytest.fixture(scope="module")
def connection(strict: Strict) -> Iterator[Connection]:
    """The engine's connection to a provider that calls this AWS."""
    with provider(strict.url, region=REGION) as connected:
        yield connected

"""Unit tests ask nobody: where the program would try a new key at AWS, the trial is written down instead."""

import pytest
from aws_access_keys import keys


@pytest.fixture(autouse=True)
def tried(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Ids of the keys that the program tried."""
    ids: list[str] = []

    async def note(_maker: object, _user: str, key_id: str, _secret: str) -> None:
        ids.append(key_id)

    monkeypatch.setattr(keys, "wait_until_accepted", note)
    return ids

"""Unit tests ask nobody: every question to AWS goes to a fake, and the trial of a new key is written down instead."""

import pytest
from aws_access_keys import access_keys, session
from hypothesis import settings

from tests.unit.fake_aws import FakeAws

settings.register_profile("project", deadline=None)  # a busy machine is slow, not wrong
settings.load_profile("project")


@pytest.fixture(autouse=True)
def aws(monkeypatch: pytest.MonkeyPatch) -> FakeAws:
    """The AWS account that the program asks."""
    fake = FakeAws()
    monkeypatch.setattr(session, "session_for", lambda _: fake)
    return fake


@pytest.fixture(autouse=True)
def tried(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Ids of the keys that the program tried."""
    ids: list[str] = []

    async def note(_session: object, _user: str, key_id: str, _secret: str, **_: object) -> None:
        ids.append(key_id)

    monkeypatch.setattr(access_keys, "wait_until_accepted", note)
    return ids

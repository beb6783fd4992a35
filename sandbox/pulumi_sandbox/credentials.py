"""An AWS access key, as the account, its clients and the tests pass it on."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Credentials:
    """The secrets are kept out of its repr."""

    access_key_id: str
    secret_access_key: str = field(repr=False)
    session_token: str | None = field(default=None, repr=False)

"""Sessions of IAM users: the temporary credentials of GetSessionToken and GetFederationToken.

Nothing is stored: the session token holds all that there is to know of a session, under a code that only the sandbox
can make. So sessions outlive the key that they were made with and a restart, as on AWS, until they expire.
"""

from __future__ import annotations

import hmac
import json
from base64 import b64encode, urlsafe_b64decode, urlsafe_b64encode
from dataclasses import asdict, dataclass
from hashlib import sha256

from pulumi_sandbox.aws import account
from pulumi_sandbox.credentials import Credentials


@dataclass(frozen=True)
class UserSession:
    """A session. `user_id`: the unique id of its user. `issued` and `expires`: seconds since 1970.

    `name`: that of a federated user; None for GetSessionToken. `policies`: the session policies of a federated user.
    """

    key_id: str
    user_id: str
    issued: float
    expires: float
    name: str | None = None
    policies: tuple[str, ...] = ()


def new_key_id() -> str:
    """The key id of temporary credentials."""
    from moto.iam.utils import generate_access_key_id_from_account_id

    return generate_access_key_id_from_account_id(account.current(), "ASIA")


def credentials(root: Credentials, session: UserSession) -> Credentials:
    """The credentials of a session."""
    content = urlsafe_b64encode(json.dumps(asdict(session)).encode()).decode()
    return Credentials(session.key_id, _secret(root, content), f"{content}.{_code(root, content)}")


def read(root: Credentials, key_id: str, token: str) -> tuple[UserSession, str] | None:
    """The session that a token is of, and its secret access key; None where the token is not one of this key id's."""
    content, _, code = token.partition(".")
    if not hmac.compare_digest(code.encode(), _code(root, content).encode()):
        return None
    found = json.loads(urlsafe_b64decode(content))
    session = UserSession(**found | {"policies": tuple(found["policies"])})
    return (session, _secret(root, content)) if session.key_id == key_id else None


def _secret(root: Credentials, content: str) -> str:
    return b64encode(_mac(root, f"secret {content}"))[:40].decode()


def _code(root: Credentials, content: str) -> str:
    return _mac(root, f"token {content}").hex()


def _mac(root: Credentials, text: str) -> bytes:
    return hmac.new(root.secret_access_key.encode(), text.encode(), sha256).digest()

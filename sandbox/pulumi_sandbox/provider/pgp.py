"""OpenPGP: a secret encrypted to somebody's public key, so that the stack's state never holds it in the clear."""

import base64

from pysequoia import Cert, encrypt

from pulumi_sandbox.provider.values import ProviderError


def certificate(pgp_key: str) -> Cert:
    """The public key in the one form that both this and the real provider take: base64 of the binary key.

    Raises ProviderError for anything else. The real provider also knows ``keybase:NAME``, looked up on the internet.
    """
    if pgp_key.startswith("keybase:"):
        raise ProviderError(f"{pgp_key!r} would be looked up at keybase.io, which the sandbox cannot reach; {_INSTEAD}")
    if "-----BEGIN" in pgp_key:
        raise ProviderError(f"the key is ASCII-armored, which the aws provider does not take; {_INSTEAD}")
    try:
        return Cert.from_bytes(base64.b64decode("".join(pgp_key.split()), validate=True))
    except Exception as error:  # pysequoia raises nothing more special
        raise ProviderError(
            f"not a valid base64 of a binary OpenPGP public key ({_first_line(error)}); {_INSTEAD}"
        ) from None


def encrypted(text: str, recipient: Cert) -> str:
    """base64 of a binary OpenPGP message that only the recipient can read; ProviderError if the key cannot encrypt."""
    try:
        return base64.b64encode(encrypt(text.encode(), [recipient], armor=False)).decode()
    except Exception as error:
        raise ProviderError(f"the key {recipient.fingerprint} cannot encrypt: {_first_line(error)}") from None


def usable(pgp_key: str) -> str | None:
    """What is wrong with a key, found before an access key is made whose secret it could not keep."""
    try:
        encrypted("", certificate(pgp_key))
    except ProviderError as error:
        return str(error)
    return None


def _first_line(error: Exception) -> str:
    """Without the backtrace of the library's inside that may follow."""
    return str(error).splitlines()[0] if str(error) else type(error).__name__


_INSTEAD = "give the public key itself: gpg --export NAME | base64"

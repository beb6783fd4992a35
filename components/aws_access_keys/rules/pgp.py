"""OpenPGP public keys to which an access key's secret is encrypted.

The AWS provider takes one form only, base64 of the binary key; people have armored files.
Source: `pgp_key` of https://registry.terraform.io/providers/hashicorp/aws/latest/docs/resources/iam_access_key
"""

from base64 import b64decode, b64encode
from binascii import Error

_HOW = "Export it: gpg --export --armor NAME"


class PgpError(ValueError):
    """A text that is not an OpenPGP public key; the message explains why and what to do."""


def public_key(text: str) -> str:
    """An armored or base64 public key as base64 of its binary form. Raises PgpError."""
    from pysequoia import Cert, encrypt  # a few milliseconds, for those who use it

    if text.startswith("keybase:"):
        raise PgpError(f"a key on Keybase cannot be checked before users are created. {_HOW}")
    try:
        raw = text.encode() if "-----BEGIN" in text else b64decode("".join(text.split()), validate=True)
    except (Error, ValueError):
        raise PgpError(f"this is not an OpenPGP public key, armored or base64. {_HOW}") from None
    try:
        certificate = Cert.from_bytes(raw)
        encrypt(b"", [certificate])
    except Exception as error:  # pysequoia raises nothing more special; its first line is for people
        reason = str(error).splitlines()[0]
        raise PgpError(f"this is not a usable OpenPGP public key: {reason}. {_HOW}") from None
    if not certificate.user_ids:  # the provider would create the access key, and then fail to encrypt its secret
        raise PgpError("this OpenPGP key has no user id, without which the aws provider cannot use it. Add one to it.")
    if "PRIVATE KEY" in text or certificate.has_secret_keys:
        raise PgpError(f"this is a private OpenPGP key. Keep it private and specify the public one. {_HOW}")
    return b64encode(bytes(certificate)).decode()

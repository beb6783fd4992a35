"""`access-keys credentials`: put a user's access key where AWS's tools read it, without showing it.

As a profile in the AWS shared credentials file, or as a CSV file for `aws configure import`.
"""

import os
import stat
from collections.abc import Callable, Collection, Generator, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from shlex import quote
from typing import Any, NamedTuple

from aws_access_keys.cli.files import PRIVATE, locked, write_with_backup
from aws_access_keys.cli.profiles import (
    OVERRIDING_SETTINGS,
    EditResult,
    ProfileError,
    profile_name_problem,
    with_profile,
)
from aws_access_keys.cli.stack import StackError, keys_in_state, name_in_iam, stack_config, stack_keys, stack_outputs
from aws_access_keys.credentials import credentials_csv
from aws_access_keys.rules.names import in_words
from aws_access_keys.session import session_for

FILE_VARIABLE = "AWS_SHARED_CREDENTIALS_FILE"


class CredentialsError(StackError):
    """The key cannot be handed over, and nothing was changed; the text explains why and what to do."""


class CurrentKey(NamedTuple):
    """The current access key of a user."""

    user: str
    stack: str
    id: str
    secret: str
    active: bool
    own: Collection[str]
    """Ids of the user's current and previous key."""
    kept: Mapping[str, bool]
    """Id of each current or previous key of the stack → whether its secret is in the stack's outputs."""

    def __repr__(self) -> str:
        return f"CurrentKey({self.user}, {self.id})"  # a traceback shows no secret


def current_key(stack: str, user: str) -> CurrentKey:
    """The user's key as the stack's outputs have it. Raises StackError."""
    outputs = stack_outputs(stack, "accessKeyIds", "--show-secrets")
    ids: dict[str, str] = outputs["accessKeyIds"]
    user = name_in_iam(stack, user, ids)
    secret: str | None = outputs.get("secretAccessKeys", {}).get(user)
    encrypted: dict[str, str] = outputs.get("encryptedSecrets", {}).get(user, {})
    if not secret and encrypted:
        raise CredentialsError(
            f"The secret of {user}'s access key {ids[user]} is encrypted to the PGP key {encrypted.get('fingerprint')}"
            ", and only the owner of that key can read it. Make a file and send it to them, for `gpg --decrypt`:\n"
            f"  pulumi stack output encryptedSecrets --json --stack {quote(stack)} | "
            f"jq -r '.[\"{user}\"].ciphertext' | base64 -d > {quote(user)}.gpg"
        )
    to: dict[str, Any] = outputs.get("keys", {}).get(user, {}).get("deliveredTo", {})
    if not secret and to:
        raise CredentialsError(
            f"The stack does not keep the secret of {user}'s access key {ids[user]} (keepSecret: false). It was "
            f"delivered to {in_words(to)}, and is nowhere else."
        )
    if not secret and "secretAccessKeys" not in outputs:
        raise CredentialsError(
            f"The program of stack '{stack}' does not export secretAccessKeys. Export it, and run `pulumi up`."
        )
    if not secret:
        raise CredentialsError(
            f"The stack does not have the secret of {user}'s access key {ids[user]}: the key was adopted without it. "
            f"For a key with a secret: access-keys rotate {quote(user)} --stack {quote(stack)}"
        )
    in_state = keys_in_state(stack)
    if ids[user] not in in_state:  # the outputs are those of the last update that finished
        raise CredentialsError(
            f"Stack '{stack}' no longer has the access key {ids[user]} of {user}, though its outputs do: {user} has "
            f"moved to another stack, an update failed, or the key was deleted in IAM. Use that other stack, or run "
            f"`pulumi up --stack {quote(stack)}`."
        )
    keys: dict[str, dict[str, Any]] = outputs["keys"] if "keys" in outputs else stack_keys(stack)["keys"]
    of_users = [[key["id"] for role in ("current", "previous") if (key := part.get(role))] for part in keys.values()]
    own = {ids[user], *(key_id for of_user in of_users if ids[user] in of_user for key_id in of_user)}
    known = {key_id for of_user in of_users for key_id in of_user}
    kept = dict.fromkeys(known, False) | {key_id: name in outputs["secretAccessKeys"] for name, key_id in ids.items()}
    active = keys.get(user, {}).get("current", {}).get("status") != "Inactive"
    if active and not in_state[ids[user]].is_active:
        raise CredentialsError(
            f"The access key {ids[user]} of {user} is inactive, which the outputs of stack '{stack}' do not show yet: "
            f"an update failed, or somebody deactivated the key. Run `pulumi up --stack {quote(stack)}`, then this "
            "command again."
        )
    return CurrentKey(user, stack, ids[user], secret, active, own, kept)


def write_profile(stack: str, user: str, profile: str, file: str | None, force: bool) -> tuple[dict[str, Any], str]:
    """Put the user's key into a profile; return what was done, as data and as text. Raises StackError.

    file: instead of the file that AWS's tools read.
    """
    if problem := profile_name_problem(profile):
        raise CredentialsError(f"{problem} Choose another name with --profile.")
    path = _regular_file(file or os.environ.get(FILE_VARIABLE) or "~/.aws/credentials")
    key = current_key(stack, user)
    aws = stack_config(stack, "aws")
    region = aws.get("region")
    warnings = list(_no_longer_readable(path))
    edited, backup = put_profile(path, profile, key, force, lambda: _works(key, aws))
    if edited.overriding:
        names = ", ".join(edited.overriding)
        warnings.append(f"the profile also has {names}, which AWS's tools may use instead of the key.")
    if names := ", ".join(sorted(_configured(profile) & set(OVERRIDING_SETTINGS))):
        warnings.append(f"in AWS's config file, the profile has {names}, which AWS's tools may use instead of the key.")
    command = f"aws sts get-caller-identity --profile {quote(profile)}" + (
        f" --region {quote(region)}" if region else ""
    )
    if file:
        command = f"{FILE_VARIABLE}={quote(str(path))} {command}"
    what = f"{'Created' if edited.is_new else 'Updated'} profile '{profile}' in {path}"
    replaced = edited.replaced if edited.replaced != key.id else None
    return _result(what, key, path, command, backup, warnings, profile=profile, replacedAccessKeyId=replaced)


def _configured(profile: str) -> set[str]:
    """The settings of a profile in the config file of AWS's tools, as they read it."""
    from botocore import configloader, exceptions

    loader: Any = configloader
    try:
        found: dict[str, Any] = loader.load_config(os.environ.get("AWS_CONFIG_FILE") or "~/.aws/config")
    except exceptions.BotoCoreError:  # there is none, or AWS's tools cannot read it either
        return set()
    return set(found["profiles"].get(profile, {}))


def _works(key: CurrentKey, aws: Mapping[str, Any]) -> bool:
    """Whether a key is active in IAM, too, as far as the caller may know. aws: the stack's configuration of AWS."""
    from aws_access_keys.account import Account, AwsQueryError

    try:
        account = Account(lambda: session_for(aws))
        return account.is_active(key.user, key.id) or not account.has_user(key.user)
    except (AwsQueryError, ValueError):
        return True


def put_profile(
    path: Path, profile: str, key: CurrentKey, force: bool = False, works: Callable[[], bool] = lambda: True
) -> tuple[EditResult, Path | None]:
    """Put the key into the credentials file, which may not be there yet; return also the backup, if one was needed.

    works: whether the key is active in IAM; asked where it is to replace another one. Raises CredentialsError, also
    where the profile has a key that could not be had again (nobody but this user's replaces it, and the stack does not
    have its secret) and force is not set.
    """
    with _writing(path):
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with locked(path.parent):
            text = path.read_bytes().decode() if path.exists() else ""
            edited = with_profile(text, profile, key.id, key.secret)
            is_worse = edited.replaced not in (None, key.id) and not (key.active and works())
            if is_worse and not force:
                raise ProfileError(
                    f"its profile '{profile}' has the access key {edited.replaced or '(without an id)'}, and "
                    f"{key.user}'s current key {key.id} is inactive or gone, so AWS refuses it. "
                    f"Rotate the key or, unless it has leaked, set users.{key.user}.key.status to active; choose "
                    "another profile with --profile; or replace the key with --force."
                )
            replaced = edited.replaced
            foreign = replaced is not None and replaced not in key.own and not key.kept.get(replaced)
            if foreign and not force:
                why = "does not know: somebody else issued it, or the stack has deleted it since"
                if replaced in key.kept:
                    why = "has for another user, but without its secret: here may be the only copy"
                raise ProfileError(
                    f"its profile '{profile}' has the access key {replaced or '(without an id)'}, which stack "
                    f"'{key.stack}' {why}. "
                    "Choose another profile with --profile, or replace the key with --force (make credentials "
                    "FORCE=1), which keeps a backup of the file."
                )
            return edited, write_with_backup(path, edited.text.encode(), foreign or is_worse)


def write_csv(stack: str, user: str, file: str, force: bool) -> tuple[dict[str, Any], str]:
    """Put the user's key into a CSV file of its own; return what was done, as data and as text. Raises StackError."""
    path = _regular_file(file)
    _is_to_be_replaced(path, force)
    if "," in user:
        raise CredentialsError(
            f"`aws configure import` cannot read a user name with a comma, such as '{user}'. Write a profile instead."
        )
    key = current_key(stack, user)
    with _writing(path), locked(path.parent):
        exists, warnings = _is_to_be_replaced(path, force), list(_no_longer_readable(path))  # as it is by now
        content = credentials_csv({user: key.id}, {user: key.secret}).encode()
        backup = write_with_backup(path, content, exists)
    command = f"aws configure import --csv {quote(f'file://{path}')} && rm {quote(str(path))}"
    return _result(f"{'Replaced' if exists else 'Created'} {path}", key, path, command, backup, warnings)


def _no_longer_readable(path: Path) -> Iterator[str]:
    """A warning where others than its owner can read a file that is about to be written."""
    mode = stat.S_IMODE(path.stat().st_mode) if path.exists() else PRIVATE
    if mode & 0o077:
        yield f"the file had mode {mode:o} and has {PRIVATE:o} now: only its owner can read it."


def _is_to_be_replaced(path: Path, force: bool) -> bool:
    """Whether a file exists. Raises CredentialsError where it may not be replaced."""
    if path.exists() and not force:
        raise CredentialsError(f"{path} exists. Choose another file, or replace it with --force, which keeps a backup.")
    return path.exists()


def _result(
    what: str, key: CurrentKey, path: Path, command: str, backup: Path | None, warnings: list[str], **more: str | None
) -> tuple[dict[str, Any], str]:
    if not key.active:
        warnings.append(f"the key is inactive: AWS refuses it until users.{key.user}.key.status is active again.")
    data = {"user": key.user, "stack": key.stack, "accessKeyId": key.id, "file": str(path), **more}
    lines = [
        what,
        f"  {key.id}, the current access key of {key.user} in stack {key.stack}",
        *([f"  replaced {more['replacedAccessKeyId']}"] if more.get("replacedAccessKeyId") else []),
        *([f"  backup of the old file: {backup}"] if backup else []),
        *(f"Warning: {warning}" for warning in warnings),
        f"Next: {command}",
    ]
    return data | {"backup": backup and str(backup), "warnings": warnings, "next": command}, "\n".join(lines)


def _regular_file(name: str) -> Path:
    """The file with symbolic links followed: the link stays. Raises CredentialsError for a device, pipe or folder."""
    path = Path(os.path.realpath(os.path.expanduser(name)))
    try:
        is_other = path.exists() and not path.is_file()
    except OSError as error:
        raise CredentialsError(f"'{name}' cannot be used: {error.strerror}.") from None
    if name == "-" or name.startswith("/dev/") or is_other:
        raise CredentialsError(f"'{name}' is not a regular file; secrets are written only to regular files.")
    return path


@contextmanager
def _writing(path: Path) -> Generator[None]:
    """Turn what can go wrong with a file into a CredentialsError."""
    try:
        yield
    except ProfileError as error:
        raise CredentialsError(f"{path} was not changed: {error}") from None
    except UnicodeDecodeError as error:
        raise CredentialsError(
            f"{path} was not changed: AWS's own tools cannot read it: byte {error.start} is not UTF-8. Fix that first."
        ) from None
    except OSError as error:
        raise CredentialsError(f"{path} cannot be written: {error.strerror}. Nothing was changed.") from None

"""`python -m aws_access_keys.cli.credentials USER`: hand a user's access key to AWS's tools, without showing it.

As a profile in the AWS shared credentials file, or as a CSV file for `aws configure import`. What was done is printed,
the secret is not.
"""

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any, NamedTuple

from aws_access_keys.cli.account import aws_config
from aws_access_keys.cli.private_file import locked, write_private
from aws_access_keys.cli.stack import StackError, pulumi
from aws_access_keys.rules.credentials import credentials_csv
from aws_access_keys.rules.problem import did_you_mean
from aws_access_keys.rules.profiles import Edited, ProfileError, profile_name_problem, with_profile

FILE_VARIABLE = "AWS_SHARED_CREDENTIALS_FILE"
NAMED_AT_MOST = 20  # users in a message

Outputs = dict[str, dict[str, Any]]  # of a stack: name → user → value


class CredentialsError(Exception):
    """The key cannot be handed over, and nothing was changed; the text says why and what to do."""


class CurrentKey(NamedTuple):
    """The current access key of a user."""

    user: str
    id: str
    secret: str
    active: bool

    def __repr__(self) -> str:
        return f"CurrentKey({self.user}, {self.id})"  # a traceback shows no secret


def main() -> None:
    """Hand the key over. Exit code 1 with one message where that cannot be done."""
    arguments = _parser().parse_args()
    try:
        lines = _as_csv(arguments) if arguments.format == "csv" else _as_profile(arguments)
    except (CredentialsError, StackError) as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        sys.exit(130)
    sys.stdout.write("\n".join(lines) + "\n")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m aws_access_keys.cli.credentials",
        description="Hand a user's access key to AWS's tools, as a profile or as a CSV file. No secret is shown.",
    )
    parser.add_argument("user", metavar="USER", help="a user of the stack")
    parser.add_argument("--profile", help="name of the profile; default: the user's name")
    parser.add_argument("--stack", default="dev", help="default: dev")
    parser.add_argument(
        "--format",
        choices=("profile", "csv"),
        default="profile",
        help="profile (default): into the AWS shared credentials file, whose other profiles stay as they are; "
        "csv: into a file of its own, for `aws configure import --csv` of AWS CLI 2",
    )
    parser.add_argument(
        "--output",
        metavar="FILE",
        help=f"the file; for a profile the default is {FILE_VARIABLE}, else ~/.aws/credentials; a CSV needs one",
    )
    parser.add_argument("--force", action="store_true", help="let a CSV file replace one that exists")
    return parser


def current_key(stack: str, user: str) -> CurrentKey:
    """The user's key as the stack's outputs have it. Raises StackError and CredentialsError."""
    outputs: Outputs = json.loads(pulumi("stack", "output", "--json", "--show-secrets", "--stack", stack))
    ids = outputs.get("accessKeyIds", {})
    if not ids:
        raise CredentialsError(f"Stack '{stack}' has no access keys yet. Make them: pulumi up --stack {stack}")
    if user not in ids:
        known = sorted(ids)
        named = ", ".join(known[:NAMED_AT_MOST])
        more = f" and {len(known) - NAMED_AT_MOST} more" if len(known) > NAMED_AT_MOST else ""
        raise CredentialsError(
            f"Stack '{stack}' has no user '{user}'. Its users: {named}{more}.{did_you_mean(user, known)}"
        )
    secret = outputs.get("secretAccessKeys", {}).get(user)
    if not secret:
        raise CredentialsError(_no_secret(stack, user, ids[user], outputs))
    stands: dict[str, Any] = outputs.get("keys", {}).get(user, {})
    return CurrentKey(user, ids[user], secret, stands.get("current", {}).get("status") != "Inactive")


def _no_secret(stack: str, user: str, key_id: str, outputs: Outputs) -> str:
    encrypted: dict[str, str] = outputs.get("encryptedSecrets", {}).get(user, {})
    if encrypted:
        return (
            f"The secret of {user}'s key {key_id} is encrypted to the PGP key {encrypted.get('fingerprint')}; only the "
            "owner of that key can read it. On their machine:\n"
            f"  pulumi stack output encryptedSecrets --json --stack {stack} | "
            f"jq -r '.[\"{user}\"].ciphertext' | base64 -d | gpg --decrypt"
        )
    return (
        f"The stack does not have the secret of {user}'s key {key_id}: the key was adopted without it. For a key whose "
        f"secret it has, raise users.{user}.key.serial by one and run pulumi up."
    )


def _as_profile(arguments: argparse.Namespace) -> list[str]:
    profile: str = arguments.user if arguments.profile is None else arguments.profile
    problem = profile_name_problem(profile)
    if problem:
        raise CredentialsError(f"{problem} Say another: --profile NAME")
    path = _credentials_file(arguments.output)
    key = current_key(arguments.stack, arguments.user)
    region = aws_config(arguments.stack).get("region")
    edited = put_profile(path, profile, key)

    if edited.replaced is None:
        lines = [f"Profile '{profile}' is new in {path}"]
    else:
        lines = [f"Profile '{profile}' was replaced in {path}"]
        lines += [f"  out  {edited.replaced}"] if edited.replaced not in ("", key.id) else []
    lines.append(f"  key  {key.id} of {key.user}, stack {arguments.stack}")
    lines.append("The file has mode 600; its other profiles are as they were.")
    if edited.stronger:
        names = ", ".join(edited.stronger)
        lines.append(f"Beware: the profile also has {names}, which AWS's tools may follow instead of using the key.")
    lines += _if_inactive(key)
    command = f"aws s3 ls --profile {profile}" + (f" --region {region}" if region else "")
    if arguments.output:
        command = f"{FILE_VARIABLE}={path} {command}"
    lines.append(f"Try it: {command}")
    if os.environ.get("PULUMI_SANDBOX") and not arguments.output:
        lines.append("This is the sandbox's own file; yours was not touched. Try it there: make shell")
    return lines


def put_profile(path: Path, profile: str, key: CurrentKey) -> Edited:
    """Put the key into the credentials file, which may not be there yet. Raises CredentialsError."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with locked(path.parent):
            text = path.read_bytes().decode() if path.exists() else ""
            edited = with_profile(text, profile, key.id, key.secret)
            write_private(path, edited.text.encode())
    except ProfileError as error:
        raise CredentialsError(f"{path} was not changed: {error}") from None
    except UnicodeDecodeError as error:
        raise CredentialsError(
            f"{path} was not changed: AWS's own tools cannot read it, byte {error.start} is not UTF-8. Mend that first."
        ) from None
    except OSError as error:
        raise CredentialsError(f"{path} cannot be written: {error.strerror}. Nothing was changed.") from None
    return edited


def _credentials_file(output: str | None) -> Path:
    """The file that AWS's tools read, symbolic links followed: the link stays, its target is written."""
    said = output or os.environ.get(FILE_VARIABLE) or "~/.aws/credentials"
    path = Path(os.path.realpath(os.path.expanduser(said)))
    _refuse_what_is_no_file(said, path)
    return path


def _as_csv(arguments: argparse.Namespace) -> list[str]:
    if arguments.profile is not None:
        raise CredentialsError("--profile does not go with --format csv: there the profile gets the user's name.")
    if not arguments.output:
        raise CredentialsError("A CSV with a secret is not printed. Say which file to write: --output FILE")
    path = Path(os.path.realpath(os.path.expanduser(arguments.output)))
    _refuse_what_is_no_file(arguments.output, path)
    if path.exists() and not arguments.force:
        raise CredentialsError(f"{path} exists already. Name another file, or replace it with --force.")
    if "," in arguments.user:
        raise CredentialsError(
            f"`aws configure import` cannot read a user name with a comma, as '{arguments.user}'. "
            "Write a profile instead: leave --format csv out."
        )
    key = current_key(arguments.stack, arguments.user)
    try:
        write_private(path, credentials_csv({key.user: key.id}, {key.user: key.secret}).encode())
    except OSError as error:
        raise CredentialsError(f"{path} cannot be written: {error.strerror}. Nothing was changed.") from None
    return [
        f"{path} was written, with mode 600",
        f"  key  {key.id} of {key.user}, stack {arguments.stack}",
        *_if_inactive(key),
        f"Take it over with AWS CLI 2: aws configure import --csv file://{path}",
        f"Then delete it: rm {path}",
    ]


def _refuse_what_is_no_file(said: str, path: Path) -> None:
    """Neither standard output nor a device, a pipe or a folder gets a secret."""
    if said == "-" or said.startswith("/dev/") or (path.exists() and not path.is_file()):
        raise CredentialsError(f"'{said}' is no file. A secret is written into a file only: --output FILE")


def _if_inactive(key: CurrentKey) -> list[str]:
    if key.active:
        return []
    return [f"The key is inactive: AWS refuses it until users.{key.user}.key.status is active again."]


if __name__ == "__main__":
    main()

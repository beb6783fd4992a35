"""Commands of the user's that get a key or a notice on standard input, and nowhere else."""

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pulumi

from aws_access_keys.rules.redaction import redacted
from aws_access_keys.session import sandbox_project

USER, KEY_ID = "ACCESS_KEYS_USER", "ACCESS_KEYS_KEY_ID"
"""The environment variables that name the user and the key."""
_OWN = "PULUMI_CONFIG"
"""How the variables begin in which the engine passes the configuration to the program, with its secrets decrypted, and
that of the passphrase."""
_SHOWN = 1000  # characters of its output


class CommandError(Exception):
    """The command did not do what it is for; the text explains why, without the secret."""

    is_timeout = False


def exists(program: str, folder: Path) -> bool:
    """Whether there is such a program: on PATH, or at a path that is relative to the folder."""
    return shutil.which(folder / program if "/" in program else program) is not None


def run_command(command: Sequence[str], key: Mapping[str, str], folder: Path, seconds: int) -> str:
    """Run a command that delivers a key. Returns the end of its output, without the secret.

    key: `user`, `aws_access_key_id` and `aws_secret_access_key`. folder: where it runs. seconds: after these, it and
    what it has started are killed. Raises CommandError unless it exits with 0.
    """
    names = {USER: key["user"], KEY_ID: key["aws_access_key_id"]}
    return run(command, key, names, folder, seconds, key["aws_secret_access_key"])


def run(
    command: Sequence[str],
    document: Mapping[str, Any],
    names: Mapping[str, str],
    folder: Path,
    seconds: int,
    secret: str = "",
) -> str:
    """The same with any JSON document on standard input. names: more environment variables."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(_OWN)} | dict(names)
    try:
        process = subprocess.Popen(
            list(command),
            cwd=folder,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise CommandError(f"it cannot be run: {reason}") from None
    try:
        output, _ = process.communicate(json.dumps(dict(document)).encode(), timeout=seconds)
    except subprocess.TimeoutExpired:
        with suppress(PermissionError):  # of another user, as with sudo
            os.killpg(process.pid, signal.SIGKILL)
        try:
            output, _ = process.communicate(timeout=1)
        except subprocess.TimeoutExpired as late:  # what left the group, as a service does, still has the pipe
            output = late.output or b""
        error = CommandError(f"it did not finish within {seconds} seconds and was killed{_shown(output, secret)}")
        error.is_timeout = True
        raise error from None
    if process.returncode:
        code = process.returncode
        how = f"it exited with code {code}" if code > 0 else f"it was terminated by {_signal_name(-code)}"
        raise CommandError(f"{how}{_shown(output, secret)}")
    return _shown(output, secret)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _shown(output: bytes, secret: str) -> str:
    text = output.decode(errors="replace")
    text = "".join(letter for letter in text if letter.isprintable() or letter in "\n\t")  # no terminal escapes
    text = (redacted(text, secret) if secret else text).strip()
    return f"; it printed: {'...' if len(text) > _SHOWN else ''}{text[-_SHOWN:]}" if text else ""


def project_folder() -> Path:
    """The folder of Pulumi.yaml; where a plugin does not know it, the working directory."""
    root = sandbox_project() or pulumi.get_root_directory()
    return Path(root) if root else Path.cwd()

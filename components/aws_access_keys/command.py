"""The command that delivers a key: it gets the key on standard input, and nowhere else."""

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from aws_access_keys.rules.redaction import redacted

USER, KEY_ID = "ACCESS_KEYS_USER", "ACCESS_KEYS_KEY_ID"
"""The environment variables that name the user and the key."""
_OWN = ("PULUMI_CONFIG", "PULUMI_CONFIG_SECRET_KEYS")
"""In these the engine passes the configuration to the program, with its secrets decrypted."""
_SHOWN = 1000  # characters of its output


class CommandError(Exception):
    """The command did not deliver the key; the text explains why, without the secret."""


def exists(program: str, folder: Path) -> bool:
    """Whether there is such a program: on PATH, or at a path that is relative to the folder."""
    return shutil.which(folder / program if "/" in program else program) is not None


def run_command(command: Sequence[str], key: Mapping[str, str], folder: Path, seconds: int) -> str:
    """Run a command with a key as JSON on standard input. Returns the end of its output, without the secret.

    key: `user`, `aws_access_key_id` and `aws_secret_access_key`. folder: where it runs. seconds: after these, it and
    what it has started are killed. Raises CommandError unless it exits with 0.
    """
    environment = {name: value for name, value in os.environ.items() if name not in _OWN}
    environment |= {USER: key["user"], KEY_ID: key["aws_access_key_id"]}
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
        output, _ = process.communicate(json.dumps(dict(key)).encode(), timeout=seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        output, _ = process.communicate()
        raise CommandError(f"it did not end within {seconds} seconds and was killed{_shown(output, key)}") from None
    if process.returncode:
        code = process.returncode
        how = f"it exited with code {code}" if code > 0 else f"it was ended by {signal.Signals(-code).name}"
        raise CommandError(f"{how}{_shown(output, key)}")
    return _shown(output, key)


def _shown(output: bytes, key: Mapping[str, str]) -> str:
    text = redacted(output.decode(errors="replace"), key["aws_secret_access_key"]).strip()
    return f"; it printed: {'...' if len(text) > _SHOWN else ''}{text[-_SHOWN:]}" if text else ""

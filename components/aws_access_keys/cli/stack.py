"""What the Pulumi engine says of a stack."""

import subprocess
from collections.abc import Sequence


class StackError(Exception):
    """The engine did not answer; the text is its own, fit to be shown."""


def pulumi(*arguments: str, secret_input: str | None = None) -> str:
    """What `pulumi ARGUMENTS` prints. Raises StackError with pulumi's own words where it fails."""
    command: Sequence[str] = ("pulumi", *arguments, "--non-interactive")
    try:
        done = subprocess.run(command, capture_output=True, text=True, input=secret_input, check=False)
    except FileNotFoundError:
        raise StackError(
            "There is no pulumi on PATH. Install it (https://www.pulumi.com/docs/install/), or run this in the "
            "sandbox: pulumi-sandbox run -- ..."
        ) from None
    if done.returncode:
        raise StackError((done.stderr or done.stdout).strip())
    return done.stdout

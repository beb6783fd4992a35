"""How an update ends in which something was refused: all else is done, and the engine reports a failure."""

import atexit
import os
import sys
from collections.abc import Sequence

import pulumi

from aws_access_keys.rules.problem import Problem, as_lines

TOLD = 32  # by this exit code a program tells Pulumi's language hosts that it has said itself what is wrong


def finish(refused: Sequence[Problem]) -> None:
    """Say what of the config was refused, and let an update end in an error; a preview only warns.

    To be called once, at the end of the program. An exception instead would keep the engine from its deletions, which
    come last, and a logged error alone ends in exit code 0, which nobody's scheduler notices. So the process fails when
    the engine has finished with it.
    """
    if not refused:
        return
    count = "This was" if len(refused) == 1 else f"These {len(refused)} were"
    if pulumi.runtime.is_dry_run():
        pulumi.log.warn(f"An update will not do this; it will do all else, and end in an error:\n{as_lines(refused)}")
        return
    pulumi.log.error(f"{count} not done, all else was:\n{as_lines(refused)}")
    atexit.register(_fail)


def _fail() -> None:
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(TOLD)

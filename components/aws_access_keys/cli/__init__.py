"""The command `access-keys`: what operators do around `pulumi up`. It asks the engine, never its files."""

import errno
import os
import signal
import sys
from io import TextIOWrapper
from types import FrameType

STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""The signals of Ctrl-C, of `kill` and of a terminal that is closed."""


def main() -> None:
    """Run the command. Ctrl-C, SIGTERM and SIGHUP end it with one line and exit code 130, also while Python is still
    importing; no half-written file with a secret stays."""
    stops: list[int] = []

    def stop(number: int, _: FrameType | None) -> None:
        stops.append(number)
        raise KeyboardInterrupt

    try:
        for number in STOPS:
            # `nohup` ignores SIGHUP, and a shell SIGINT for a job in the background.
            if signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):
                signal.signal(number, stop)
        import click

        from aws_access_keys.cli.commands import access_keys

        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, TextIOWrapper):
                stream.reconfigure(errors="replace")  # a path can have letters that the terminal's encoding lacks
        try:
            code = access_keys.main(prog_name="access-keys", standalone_mode=False)
        except click.ClickException as error:
            error.show()
            code = error.exit_code
        except click.Abort:
            raise KeyboardInterrupt from None
        except OSError as error:
            if error.filename is not None:
                raise
            # Of the output. What is left in its buffer would fail again at the end.
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            if error.errno != errno.EPIPE:
                sys.stderr.write(f"Error: the output cannot be written: {error.strerror}\n")
            code = 1
    except BaseException as error:
        # Code in C, also that of `import`, can make another error of an interrupt.
        if not (stops or isinstance(error, KeyboardInterrupt)):
            raise
        sys.stderr.write("Interrupted.\n")
        sys.stderr.flush()
        os._exit(130)  # without waiting for requests that are under way
    sys.exit(code)

"""Runs one Pulumi program in its own process, for language_host.py.

What to run comes as JSON on stdin (see `Order`). Exit codes, as the engine's language hosts use them: 0 success, 32 the
program failed and the person has been told why, anything else is for the language host to report.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import runpy
import signal
import sys
import traceback
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypedDict

TOLD = 32
"""Exit code by which a program says: the engine has my error already, add nothing to it."""


class Order(TypedDict):
    """What language_host.py sends."""

    settings: dict[str, Any]
    """Keyword arguments of pulumi.runtime.Settings: monitor, engine, project, stack, parallel, dry_run, ..."""
    config: dict[str, str]
    secret_keys: list[str]
    directory: str
    entry_point: str
    """`.` for a folder with a __main__.py, or a file, relative to `directory`."""
    arguments: list[str]


def main() -> None:
    # Cancelled while it still imports, it ends without a word: a KeyboardInterrupt would print a traceback.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    # The folder of this file must not offer its modules to the program.
    here = Path(__file__).resolve().parent
    sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != here]
    try:
        import pulumi
        import pulumi.runtime
    except ImportError as error:
        print(
            f"{sys.executable} cannot import the Pulumi SDK ({error}). Install the program's requirements there, or"
            " name the virtual environment that has them in Pulumi.yaml (runtime: options: virtualenv:).",
            file=sys.stderr,
        )
        raise SystemExit(1) from None

    order: Order = json.load(sys.stdin)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.chdir(order["directory"])
    pulumi.runtime.set_all_config(order["config"], order["secret_keys"])
    pulumi.runtime.configure(pulumi.runtime.Settings(**order["settings"]))
    sys.argv = [order["entry_point"], *order["arguments"]]
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        code = run(order["entry_point"], order["settings"]["parallel"])
    except KeyboardInterrupt:
        # The engine has cancelled the run, and knows why. Threads may still wait for its answers.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(TOLD)
    raise SystemExit(code)


def run(entry_point: str, parallel: int) -> int:
    """Runs the program to its end, the resources it registers included; gives the exit code."""
    import pulumi
    import pulumi.runtime

    program = Path(entry_point).resolve()
    if program.is_dir() and not (program / "__main__.py").is_file():
        pulumi.log.error(f"there is no __main__.py in {program}: a Pulumi program in Python starts there")
        return TOLD

    # A program that fails leaves futures nobody has looked at. asyncio would list them all after the real error.
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    # Output.apply and the registrations run on these threads: as many as `pulumi up --parallel` may keep busy.
    workers = ThreadPoolExecutor(max_workers=4 * max(parallel, 1))
    loop.set_default_executor(workers)

    def start() -> None:
        runpy.run_path(entry_point, run_name="__main__")

    code = 0
    try:
        loop.run_until_complete(pulumi.runtime.run_in_stack(start))
    except pulumi.RunError as error:
        pulumi.log.error(str(error))
        code = TOLD
    except Exception as error:  # Whatever a program can raise is shown to the person, as Python would show it.
        pulumi.log.error("Program failed with an unhandled exception:\n" + _traceback(error, program))
        code = TOLD
    workers.shutdown(wait=True)
    loop.close()
    return code


def _traceback(error: Exception, program: Path) -> str:
    """The traceback from the program's own first line on, without the frames of the SDK and of this file before it."""
    start = program / "__main__.py" if program.is_dir() else program
    frames = traceback.extract_tb(error.__traceback__)
    own = next((i for i, frame in enumerate(frames) if Path(frame.filename).resolve() == start), 0)
    return "".join(traceback.format_exception(type(error), error, error.__traceback__, limit=own - len(frames)))


if __name__ == "__main__":
    main()

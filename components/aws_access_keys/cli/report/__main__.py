"""`python -m aws_access_keys.cli.report [STACK]`: every access key of a stack, its age, last use, and what is overdue.

Reads the stack's outputs from the engine and the last uses from AWS; reads no secret and changes nothing.
"""

import argparse
import json
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress

from aws_access_keys.cli.account import aws_config
from aws_access_keys.cli.day import DayError, today
from aws_access_keys.cli.last_used import Answers, ask
from aws_access_keys.cli.report.as_html import as_html
from aws_access_keys.cli.report.as_json import as_json
from aws_access_keys.cli.report.as_text import as_text, print_report
from aws_access_keys.cli.report.keys import Report, keys_of, report_of
from aws_access_keys.cli.stack import StackError, pulumi
from aws_access_keys.settings.session import session_for

OVERDUE, UNDECIDED = 3, 4  # exit codes of --fail-on-overdue
MANY = 25  # keys from which progress is shown
_BY_ENDING = {".html": "html", ".htm": "html", ".json": "json"}
_WRITERS = {"text": as_text, "json": as_json, "html": as_html}


def main() -> None:
    """Print or write the report. Exit code 1 with one message where there is none to make."""
    arguments = _parser().parse_args()
    try:
        report = make(arguments.stack)
        _put(report, arguments.format, arguments.output)
    except (StackError, DayError) as error:
        sys.exit(str(error))
    except BrokenPipeError:  # as in `make report | head`: nobody reads on
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except KeyboardInterrupt:
        sys.exit(130)
    else:
        if arguments.fail_on_overdue and report.overdue:
            sys.exit(OVERDUE)
        if arguments.fail_on_overdue and report.undecided:
            sys.exit(UNDECIDED)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m aws_access_keys.cli.report",
        description="Every access key of a stack: its age, its last use, its next rotation, and what is overdue.",
        epilog="ACCESS_KEYS_TODAY=YYYY-MM-DD makes the report for another day.",
    )
    parser.add_argument("stack", nargs="?", default="dev", metavar="STACK", help="default: dev")
    parser.add_argument(
        "--format", choices=sorted(_WRITERS), help="default: as the ending of --output says (.html, .json), else text"
    )
    parser.add_argument("--output", type=Path, metavar="FILE", help="write the report there instead of printing it")
    parser.add_argument(
        "--fail-on-overdue",
        action="store_true",
        help=f"exit with {OVERDUE} if a key is overdue, and with {UNDECIDED} if none is but AWS did not say of one "
        "whether it is used; for scheduled checks",
    )
    return parser


def make(stack: str) -> Report:
    """The report of a stack for today. Raises StackError and DayError."""
    day = today()
    with ThreadPoolExecutor() as pool:  # the engine takes a second for either
        outputs = pool.submit(_keys_output, stack)
        config = pool.submit(aws_config, stack)
        keys, aws = keys_of(outputs.result()), config.result()
    with _progress(len(keys)) as progress:
        task = progress.add_task("asking AWS for last uses", total=len(keys))
        answers = ask([key.id for key in keys], lambda: session_for(aws), lambda: progress.advance(task))
    return report_of(stack, day, keys, answers.known, _problem(answers, len(keys)))


def _keys_output(stack: str) -> dict[str, Any]:
    outputs: dict[str, Any] = json.loads(pulumi("stack", "output", "--json", "--stack", stack) or "{}")
    if outputs and "keys" not in outputs:
        raise StackError(
            f"Stack '{stack}' has no output 'keys': another version of the program was last run on it. "
            f"Run `pulumi up --stack {stack}`, and try again."
        )
    return outputs.get("keys") or {}


def _problem(answers: Answers, total: int) -> str | None:
    if not answers.reasons:
        return None
    parts: list[str] = []
    for reason, key_ids in answers.reasons.items():
        if len(key_ids) == total:
            which = "any key" if total > 1 else f"key {key_ids[0]}"
        else:
            which = ", ".join(key_ids[:3]) + (f" and {len(key_ids) - 3} more" if len(key_ids) > 3 else "")
        parts.append(f"AWS did not say when {which} was last used: {reason}.")
    return " ".join(parts)


def _progress(keys: int) -> Progress:
    """A progress line on standard error, gone when it is done; for few keys, or into a file, none."""
    console = Console(stderr=True)
    return Progress(console=console, transient=True, disable=keys < MANY or not console.is_terminal)


def _put(report: Report, chosen: str | None, output: Path | None) -> None:
    kind = chosen or (_BY_ENDING.get(output.suffix.lower(), "text") if output else "text")
    to_people = kind == "text" and output is None
    if report.problem and not to_people:
        sys.stderr.write(report.problem + "\n")
    if output is not None:
        try:
            output.write_text(_WRITERS[kind](report), "utf-8")
        except OSError as error:
            raise StackError(f"The report cannot be written to {output}: {error.strerror}.") from None
        sys.stderr.write(f"{report.summary()}. The report is in {output}\n")
    elif to_people and sys.stdout.isatty():
        print_report(report, Console(highlight=False))
    else:
        sys.stdout.buffer.write(_WRITERS[kind](report).encode())
        sys.stdout.flush()


if __name__ == "__main__":
    main()

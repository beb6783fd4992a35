"""`python -m operations.report [STACK]`: every access key of a stack, its age, its last use, and what is overdue.

Reads the stack's outputs from the engine and the last uses from AWS; reads no secret and changes nothing.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import Progress

from operations.last_used import Answers, ask
from operations.report.as_html import as_html
from operations.report.as_json import as_json
from operations.report.as_text import as_text, print_report
from operations.report.day import DayError, today
from operations.report.keys import Key, Report, count, keys_of, report_of
from operations.stack import StackError
from operations.report.stack import aws_settings, keys_output

OVERDUE, UNDECIDED = 3, 4  # exit codes of --fail-on-overdue
MANY = 25  # keys from which progress is shown
ENDINGS = {".html": "html", ".htm": "html", ".json": "json"}


def main() -> None:
    """Print or write the report. Exit code 1 with one message where there is no report to make."""
    arguments = _parser().parse_args()
    try:
        sys.exit(_run(arguments))
    except (StackError, DayError) as error:
        sys.exit(str(error))
    except BrokenPipeError:  # as in `make report | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except KeyboardInterrupt:
        sys.exit(130)

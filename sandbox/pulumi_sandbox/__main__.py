"""`pulumi-sandbox`, also as `python -m pulumi_sandbox`. Ctrl-C shows no traceback, also while Python imports."""

import sys


def main() -> None:
    """Run the command."""
    try:
        from pulumi_sandbox.cli import main as run

        run()
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()

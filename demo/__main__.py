"""`python -m demo`. Ctrl-C ends it without a traceback, also while Python is still importing."""

import sys

if __name__ == "__main__":
    try:
        from demo.commands import main

        main()
    except KeyboardInterrupt:
        sys.exit(130)

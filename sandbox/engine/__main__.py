"""`python -m sandbox.engine`: makes sure that there is an engine and prints its path. Progress goes to stderr."""

import sys

from sandbox.engine import EngineError, ensure


def main() -> int:
    try:
        engine = ensure()
    except EngineError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nInterrupted. Run the command again: what is done is kept.", file=sys.stderr)
        return 130
    print(engine.pulumi)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

"""The command: `conflictscope`, or `python -m conflictscope`."""

import sys
from typing import NoReturn


def main() -> NoReturn:
    """Begin the command line. A Ctrl-C before it has begun leaves as one after that does."""
    try:
        from conflictscope import cli
    except KeyboardInterrupt:
        sys.exit(130)
    cli.main()


if __name__ == "__main__":
    main()

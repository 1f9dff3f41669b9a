"""The `errata` command: one file per noun, each verb a function. A room is imported only when its verb is called."""

import os
import sys


def main() -> None:
    """Run the command line; errors are printed as one clear message, without a trace."""
    try:
        from errata.command.cli import run
    except ModuleNotFoundError as error:
        missing = error.name or ""
        if missing.split(".")[0] in {"typer", "rich"}:
            sys.exit(
                "The errata command is not part of the client: pip install 'errata[storage]' (or [worker], [demo])"
            )
        raise
    code = run(sys.argv[1:])
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever read has seen enough, as `head` does; Python would complain once more at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(code)

"""The form of a warning. Importing this module loads nothing heavy, so that the command line can use it at once."""

import sys

PREFIX = "WARNING"


def warning_line(text: str) -> str:
    """A warning as one line, for a report or a log."""
    return f"{PREFIX} {text}"


def warn(text: str) -> None:
    """Print a warning on stderr; nothing for no text."""
    if text:
        print(warning_line(text), file=sys.stderr, flush=True)

"""What a command prints."""

import io
import sys


def print_any_name() -> None:
    """Let stdout escape what it cannot encode, as stderr does: the name of a file must not end a command after its work."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")

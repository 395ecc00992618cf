"""What goes wrong, in one line."""

class RankLost(Exception):
    """Other ranks are gone or hang; the message names them."""


class Interrupted(Exception):
    """Ctrl-C or SIGTERM came; the state is saved, and the message says how to go on."""


class MissingInputs(FileNotFoundError):
    """Files that a recipe names are not there or cannot be used; the message has a line for each."""


EXPECTED = (ValueError, OSError, ImportError, FloatingPointError, RankLost)


def describe(error: Exception) -> str:
    """One line for the user, or the lines of MissingInputs. What is no user's error names its type, and how to trace it."""
    if isinstance(error, MissingInputs):
        return str(error)
    text = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, EXPECTED):
        return text
    return f"{type(error).__name__}: {text} (AIRD_DEBUG=1 shows where)"

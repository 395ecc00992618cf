"""Exceptions, and their one-line descriptions for the user."""


class RankLost(Exception):
    """Other ranks died or hang; the message names them."""


class Interrupted(Exception):
    """Stopped by Ctrl-C or SIGTERM; the state is saved, and the message states how to resume."""


class MissingInputs(FileNotFoundError):
    """Files that a recipe names are not there or cannot be used; the message has a line for each."""


EXPECTED = (ValueError, OSError, ImportError, FloatingPointError, RankLost)


def describe(error: Exception) -> str:
    """One line for the user, or the lines of MissingInputs. Unexpected errors name their type, and how to get a traceback."""
    if isinstance(error, MissingInputs):
        return str(error)
    text = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, EXPECTED):
        return text
    return f"{type(error).__name__}: {text} (AIRD_DEBUG=1 shows where)"

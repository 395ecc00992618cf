"""What goes wrong, in one line."""

class RankLost(Exception):
    """Other ranks are gone or hang; the message names them."""


class Interrupted(Exception):
    """Ctrl-C or SIGTERM came; the state is saved, and the message says how to go on."""


EXPECTED = (ValueError, OSError, ImportError, FloatingPointError, RankLost)


def describe(error: Exception) -> str:
    """One line for the user. What is no user's error says its type, and how to see where it arose."""
    text = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, EXPECTED):
        return text
    return f"{type(error).__name__}: {text} (AIRD_DEBUG=1 shows where)"

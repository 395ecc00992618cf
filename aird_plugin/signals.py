"""Ctrl-C and SIGTERM as a flag, so that the state can be saved before the end."""

import contextlib
import signal


@contextlib.contextmanager
def stop_signals():
    """A list that fills at Ctrl-C or SIGTERM; the second one ends the process at once."""
    received: list[int] = []

    def note(number, frame):
        if received:
            raise KeyboardInterrupt
        received.append(number)

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

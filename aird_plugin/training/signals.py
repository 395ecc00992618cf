"""Ctrl-C and SIGTERM as a flag, so that the state can be saved before the end."""

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType


class BrokenOff(BaseException):
    """Ends work that a stopping run does not need. A BaseException, so that no `except Exception` catches it."""


class StopSignals:
    """True after Ctrl-C or SIGTERM. A second signal ends the process at once."""

    def __init__(self):
        self.came = self.breaking = False

    def __bool__(self) -> bool:
        return self.came

    def note(self, number: int, frame: FrameType | None) -> None:
        """The signal handler."""
        if self.came:
            raise KeyboardInterrupt
        self.came = True
        if self.breaking:
            raise BrokenOff

    @contextlib.contextmanager
    def breaking_off(self) -> Iterator[None]:
        """Inside, a signal ends the work at once: a validation may take longer than a scheduler's grace period."""
        self.breaking = True
        try:
            # The run checks the flag next, together with the other ranks' flags.
            with contextlib.suppress(BrokenOff):
                yield
        finally:
            self.breaking = False


@contextlib.contextmanager
def stop_signals() -> Iterator[StopSignals]:
    """Inside, Ctrl-C and SIGTERM set the flag."""
    stopped = StopSignals()
    before = {number: signal.signal(number, stopped.note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stopped
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

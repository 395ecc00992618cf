"""Ctrl-C and SIGTERM as a flag, so that the state can be saved before the end."""

import contextlib
import signal
from collections.abc import Callable, Iterator
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

    def run_until_stopped(self, work: Callable[[], None]) -> None:
        """Do the work; a signal ends it at once: a validation may take longer than a scheduler's grace period.

        After a signal no work is begun. The caller checks the flag next, together with the other ranks' flags.
        """
        # No context manager: a signal just before its `with` block, or at the end of it, would end the run.
        with contextlib.suppress(BrokenOff):
            self.breaking = True
            try:
                if not self.came:
                    work()
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

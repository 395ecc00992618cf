"""Ctrl-C and SIGTERM as a flag, so that the state can be saved before the end."""

import contextlib
import signal
from collections.abc import Iterator


class BrokenOff(BaseException):
    """Leaves work that is not needed once the run is to stop. No Exception: nobody on the way may take it for a failure."""


class StopSignals:
    """True once Ctrl-C or SIGTERM came. The second one ends the process at once."""

    def __init__(self):
        self.came = self.breaking = False

    def __bool__(self) -> bool:
        return self.came

    def note(self, number: int, frame) -> None:
        """What is called at a signal."""
        if self.came:
            raise KeyboardInterrupt
        self.came = True
        if self.breaking:
            raise BrokenOff

    @contextlib.contextmanager
    def breaking_off(self) -> Iterator[None]:
        """Inside, a signal leaves the work where it is: a verification takes longer than a scheduler waits before it kills."""
        self.breaking = True
        try:
            # That it was broken off is the flag's to tell: the run asks it next, together with the other ranks'.
            with contextlib.suppress(BrokenOff):
                yield
        finally:
            self.breaking = False


@contextlib.contextmanager
def stop_signals() -> Iterator[StopSignals]:
    """Inside, Ctrl-C and SIGTERM are noted."""
    stopped = StopSignals()
    before = {number: signal.signal(number, stopped.note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stopped
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

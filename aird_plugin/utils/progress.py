"""The progress bar of all long operations."""

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar

from tqdm import tqdm

Item = TypeVar("Item")
SECONDS_BETWEEN_LINES = 30.0
# Of this thread: called with label, items done and their total.
Observer = Callable[[str, int, int | None], None]
_observer: ContextVar[Observer | None] = ContextVar("observer", default=None)


@contextmanager
def observe(observer: Observer) -> Iterator[None]:
    """Also report every bar of this thread to `observer`, at its start and after each item. What it raises ends the work."""
    token = _observer.set(observer)
    try:
        yield
    finally:
        _observer.reset(token)


def progress(items: Iterable[Item], total: int | None, label: str, unit: str = "it", initial: int = 0) -> Iterator[Item]:
    """Yield `items` under a bar with rate and time left; if stderr is no terminal, print a plain line every 30 seconds.

    A single item shows no bar. unit: its plural. Each item counts as one, or as
    `len(item)` where it is a `range` (a block of rows).
    """
    terminal = sys.stderr.isatty()
    bar = tqdm(total=total, desc=label, unit=unit, initial=initial, disable=not terminal or total == 1, dynamic_ncols=True)
    done, started, printed = initial, time.monotonic(), time.monotonic()
    report = _observer.get() or (lambda *_: None)
    report(label, done, total)
    with bar:
        for item in items:
            yield item
            step = len(item) if isinstance(item, range) else 1
            done += step
            bar.update(step)
            report(label, done, total)
            now = time.monotonic()
            if not terminal and now - printed >= SECONDS_BETWEEN_LINES:
                printed = now
                print(plain_line(label, done, initial, total, unit, now - started), file=sys.stderr, flush=True)


def plain_line(label: str, done: int, initial: int, total: int | None, unit: str, seconds: float) -> str:
    """The line printed to a log file instead of a bar: `label: 120/600 images, 40.0 images/s, 0:12 left`."""
    rate = (done - initial) / max(seconds, 1e-9)
    # Of slow work, as 0.03 a second, one decimal would be 0.0.
    speed = f"{rate:.1f} {unit}/s" if rate >= 1 else f"{rate:.2g} {unit}/s"
    if total is None:
        return f"{label}: {done} {unit}, {speed}"
    left = (total - done) / max(rate, 1e-9)
    return f"{label}: {done}/{total} {unit}, {speed}, {tqdm.format_interval(left)} left"

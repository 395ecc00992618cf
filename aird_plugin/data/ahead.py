"""Work done by a thread in front of whoever waits for it."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item, Made = TypeVar("Item"), TypeVar("Made")
AHEAD = 2


def ahead(make: Callable[[Item], Made], items: Iterable[Item], begin: Callable[[], None] | None = None) -> Iterator[Made]:
    """`make` of each item in order, by a thread that is up to `AHEAD` in front; `begin` is the first thing it does.

    What it raises is raised here, at its turn. The thread is gone when the iterator ends, raises or is closed
    (`contextlib.closing`); it never waits for room, so nothing can be left hanging.
    """
    waiting: deque[Future] = deque()
    with ThreadPoolExecutor(1, "ahead", initializer=begin) as pool:
        try:
            for item in items:
                waiting.append(pool.submit(make, item))
                if len(waiting) > AHEAD:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()

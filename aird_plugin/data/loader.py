"""Prepare batches in order while the previous ones are in use."""

import contextlib
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

import torch
from torch.utils.data import DataLoader

from aird_plugin.data.batch import Batch

Item = TypeVar("Item")
Result = TypeVar("Result")
AHEAD = 2


def loader(source: Any, numbers: Iterable[int], num_workers: int, device: torch.device) -> Generator[Batch]:
    """Yield the batches with these numbers, for work on `device`. Close it (`contextlib.closing`) if it may not run to its end.

    A source whose batches already lie on the device is indexed directly. Otherwise `num_workers` processes prepare them, or
    one thread for 0: decoding, gathering and resizing release the GIL. For a GPU the batches are in pinned memory.
    """
    pinned = device.type == "cuda"
    if source.on_device:
        yield from map(source.__getitem__, numbers)
    elif num_workers:
        yield from DataLoader(source, batch_size=None, sampler=numbers, num_workers=num_workers, pin_memory=pinned)
    elif pinned:
        # Pinning uses the thread's current device, and that of a new thread is the first GPU.
        yield from ahead(lambda number: source[number].pin_memory(), numbers, lambda: torch.cuda.set_device(device))
    else:
        yield from ahead(source.__getitem__, numbers)


def ahead(make: Callable[[Item], Result], items: Iterable[Item], begin: Callable[[], None] | None = None) -> Generator[Result]:
    """Yield `make(item)` in order, computed by a thread that runs up to `AHEAD` items ahead; the thread first calls `begin`.

    An exception in `make` is raised here, at the item's turn. The thread stops when the iterator ends, raises or is closed
    (`contextlib.closing`); it never waits for room, so it cannot hang.
    """
    waiting: deque[Future] = deque()
    with ThreadPoolExecutor(1, "ahead", initializer=begin) as pool, _cancelled_at_the_end(waiting):
        for item in items:
            waiting.append(pool.submit(make, item))
            if len(waiting) > AHEAD:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


@contextlib.contextmanager
def _cancelled_at_the_end(futures: Iterable[Future]) -> Iterator[None]:
    """Cancel what is left in `futures` when the block ends, also by an exception."""
    try:
        yield
    finally:
        for future in futures:
            future.cancel()

"""Batches in order, prepared beside the work on the one before."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import torch
from torch.utils.data import DataLoader

from aird_plugin.data.faces import Batch

AHEAD = 2


def loader(source, numbers: Iterable[int], num_workers: int, device: torch.device) -> Iterator[Batch]:
    """The batches of those numbers, for work on `device`. Close it (`contextlib.closing`) where it may not come to its end.

    A source whose batches lie on the device already is simply asked. Else `num_workers` processes prepare them, or for 0 one
    thread: decoding, gathering and resizing let Python's lock go. For a GPU they come in pinned memory.
    """
    pinned = device.type == "cuda"
    if source.resident:
        yield from map(source.__getitem__, numbers)
    elif num_workers:
        yield from DataLoader(source, batch_size=None, sampler=numbers, num_workers=num_workers, pin_memory=pinned)
    else:
        yield from ahead(lambda number: source[number].pin_memory() if pinned else source[number], numbers, device)


def ahead(prepare: Callable[[int], Batch], numbers: Iterable[int], device: torch.device) -> Iterator[Batch]:
    """`prepare` of each number in order, by a thread that is up to `AHEAD` in front.

    What it raises is raised here, at its turn. The thread is gone when the iterator ends, raises or is closed.
    """
    # Pinning happens in the current device's context, and a new thread would open one on the first GPU.
    begin = (lambda: torch.cuda.set_device(device)) if device.type == "cuda" else None
    waiting: deque[Future] = deque()
    with ThreadPoolExecutor(1, "batches", initializer=begin) as pool:
        try:
            for number in numbers:
                waiting.append(pool.submit(prepare, number))
                if len(waiting) > AHEAD:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()

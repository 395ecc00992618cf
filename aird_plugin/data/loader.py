"""Batches in order, prepared beside the work on the one before."""

from collections.abc import Iterable, Iterator

import torch
from torch.utils.data import DataLoader

from aird_plugin.data.ahead import ahead
from aird_plugin.data.faces import Batch


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
    elif pinned:
        # Pinning happens in the thread's current device, and a new thread's is the first GPU.
        yield from ahead(lambda number: source[number].pin_memory(), numbers, lambda: torch.cuda.set_device(device))
    else:
        yield from ahead(source.__getitem__, numbers)

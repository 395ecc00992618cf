"""Bytes of a rank's state, and the bytes that it sends to the others in a ring."""

import contextlib
from collections.abc import Iterator

import torch

from aird_plugin.utils import distributed


def nbytes(tensor: torch.Tensor) -> int:
    return tensor.numel() * tensor.element_size()


def weight_bytes(module: torch.nn.Module) -> int:
    return sum(map(nbytes, module.parameters()))


def state_bytes(state) -> int:
    """Bytes of the class centers and their optimizer state."""
    kept = (value for values in state.head_optimizer.state.values() for value in values.values())
    return nbytes(state.head.weight) + sum(nbytes(value) for value in kept if isinstance(value, torch.Tensor))


@contextlib.contextmanager
def count_bytes_sent(found: dict) -> Iterator[None]:
    """Sum under "bytes_sent" the bytes that a ring sends per rank for the block's collectives, without those of DDP."""
    found["bytes_sent"] = 0
    all_reduce, all_gather = torch.distributed.all_reduce, torch.distributed.all_gather

    def reduce_counted(tensor, *args, **keys):
        found["bytes_sent"] += ring_bytes(nbytes(tensor), reduced=True)
        return all_reduce(tensor, *args, **keys)

    def gather_counted(parts, tensor, *args, **keys):
        found["bytes_sent"] += ring_bytes(nbytes(tensor), reduced=False)
        return all_gather(parts, tensor, *args, **keys)

    torch.distributed.all_reduce, torch.distributed.all_gather = reduce_counted, gather_counted
    try:
        yield
    finally:
        torch.distributed.all_reduce, torch.distributed.all_gather = all_reduce, all_gather


def ring_bytes(size: int, reduced: bool) -> float:
    """Bytes that each of R ranks sends: all-reduce 2 (R - 1) / R of the tensor, all-gather R - 1 times its part."""
    ranks = distributed.world_size()
    return size * (ranks - 1) * (2 / ranks if reduced else 1)

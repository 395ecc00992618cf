"""Hold the bank's arrays during training: mapped from disk, or copied to the training device.

N = images, V = views (or jitters) of an image.
"""

import sys

import numpy as np
import torch

from aird_plugin.data.bank.sharded import ShardedArray

PLACES = ("auto", "device", "memory")
# Largest share of a GPU's free memory that bank_on="auto" gives to the bank.
MEMORY_SHARE = 0.5


class DeviceArray:
    """An array (N, V, ...) as an indexable tensor. It shares the mapped memory, or is a copy on `device`.

    `torch.index_select` reads whole rows on all cores; numpy's indexing by two arrays takes about ten times as long. An array in
    several files is one tensor on a device, and otherwise one for each file.
    """

    def __init__(self, array_NVX: np.ndarray | ShardedArray, device: torch.device | None = None):
        parts = array_NVX.parts if isinstance(array_NVX, ShardedArray) else [array_NVX]
        tensors = [torch.from_numpy(part_MVX) for part_MVX in parts]
        self.views = array_NVX.shape[1]
        if device is not None:
            tensors = [joined_on(device, tensors)]
        self.parts = [tensor_MVX.flatten(0, 1) for tensor_MVX in tensors]

    def __call__(self, row_I: torch.Tensor, view_I: torch.Tensor) -> torch.Tensor:
        """Return array[row, view], (..., X), in its own dtype. Indices: int64, of one shape (...), on the array's device."""
        index_I = row_I * self.views + view_I
        found_IX = gather_parts(self.parts, index_I.flatten())
        return found_IX.unflatten(0, index_I.shape)

    def to_device(self, *arrays: np.ndarray) -> list[torch.Tensor]:
        """Copy small arrays to this array's device, as tensors."""
        return [torch.from_numpy(array).to(self.parts[0].device, non_blocking=True) for array in arrays]


def joined_on(device: torch.device, tensors: list[torch.Tensor]) -> torch.Tensor:
    """The tensors one after the other, copied to `device` one by one."""
    if len(tensors) == 1:
        return tensors[0].to(device, copy=True)
    joined = torch.empty((sum(map(len, tensors)), *tensors[0].shape[1:]), dtype=tensors[0].dtype, device=device)
    for target, tensor in zip(joined.split([len(tensor) for tensor in tensors]), tensors, strict=True):
        target.copy_(tensor)
    return joined


def gather_parts(parts: list[torch.Tensor], index_I: torch.Tensor) -> torch.Tensor:
    """Rows of tensors that follow one another; all but the last have as many rows as the first."""
    if len(parts) == 1:
        return parts[0].index_select(0, index_I)
    size = len(parts[0])
    # Sorted, so that each part is read once and in order.
    sorted_I, order_I = index_I.sort()
    counts = torch.bincount(sorted_I // size, minlength=len(parts)).tolist()
    found = torch.empty((len(index_I), *parts[0].shape[1:]), dtype=parts[0].dtype)
    first = 0
    for number, count in enumerate(counts):
        if count:
            own = slice(first, first + count)
            found[order_I[own]] = parts[number].index_select(0, sorted_I[own] - number * size)
            first += count
    return found


def fits(device: torch.device, num_bytes: int) -> bool:
    """Return whether `device` is a GPU with at least twice as much free memory."""
    return device.type == "cuda" and num_bytes <= MEMORY_SHARE * torch.cuda.mem_get_info(device)[0]


def bank_device(bank_on: str, device: torch.device, num_bytes: int) -> torch.device | None:
    """Return the device that holds the whole bank, or None if the bank stays mapped from disk; log which.

    "auto" takes a GPU with enough memory (`fits`); on a CPU the page cache holds the mapped files already.
    """
    resident = bank_on == "device" or (bank_on == "auto" and fits(device, num_bytes))
    if resident or device.type == "cuda":
        where = f"copied to {device}" if resident else "mapped from disk, batches are prefetched"
        print(f"bank: {num_bytes / 1e9:.2f} GB, {where}", file=sys.stderr, flush=True)
    return device if resident else None

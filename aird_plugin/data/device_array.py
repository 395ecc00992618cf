"""Hold the bank's arrays during training: mapped from disk, or copied to the training device.

N = images, V = views (or jitters) of an image.
"""

import sys

import numpy as np
import torch

PLACES = ("auto", "device", "memory")
# Largest share of a GPU's free memory that bank_on="auto" gives to the bank.
MEMORY_SHARE = 0.5


class DeviceArray:
    """An array (N, V, ...) as an indexable tensor. It shares the mapped memory, or is a copy on `device`.

    `torch.index_select` reads whole rows on all cores; numpy's indexing by two arrays takes about ten times as long.
    """

    def __init__(self, array_NVX: np.ndarray, device: torch.device | None = None):
        tensor_NVX = torch.from_numpy(array_NVX)
        self.views = tensor_NVX.shape[1]
        self.rows_MX = (tensor_NVX if device is None else tensor_NVX.to(device, copy=True)).flatten(0, 1)

    def __call__(self, row_I: torch.Tensor, view_I: torch.Tensor) -> torch.Tensor:
        """Return array[row, view], (..., X), in its own dtype. Indices: int64, of one shape (...), on the array's device."""
        index_I = row_I * self.views + view_I
        return self.rows_MX.index_select(0, index_I.flatten()).unflatten(0, index_I.shape)

    def to_device(self, *arrays: np.ndarray) -> list[torch.Tensor]:
        """Copy small arrays to this array's device, as tensors."""
        return [torch.from_numpy(array).to(self.rows_MX.device, non_blocking=True) for array in arrays]


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

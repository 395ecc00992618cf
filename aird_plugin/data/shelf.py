"""Where the bank's arrays lie while a run draws from them: mapped from disk, or whole on the device that trains.

N = faces, V = views (or jitters) of a face.
"""

import sys

import numpy as np
import torch

PLACES = ("auto", "device", "memory")
# What a bank may take of the free memory of a GPU, where the recipe leaves it to us.
SHARE = 0.5


class Shelf:
    """An array (N, V, ...) as a tensor that gives rows by index. It shares the mapped memory, or is a copy on `device`.

    `torch.index_select` reads whole rows, on all cores; numpy's indexing by two arrays takes about ten times as long.
    """

    def __init__(self, array_NVX: np.ndarray, device: torch.device | None = None):
        tensor_NVX = torch.from_numpy(array_NVX)
        self.views = tensor_NVX.shape[1]
        self.rows_MX = (tensor_NVX if device is None else tensor_NVX.to(device, copy=True)).flatten(0, 1)

    def __call__(self, row_I: torch.Tensor, view_I: torch.Tensor) -> torch.Tensor:
        """The array at [row, view], in its own dtype; both int64, of one shape (...), where the array lies. (..., X)"""
        index_I = row_I * self.views + view_I
        return self.rows_MX.index_select(0, index_I.flatten()).unflatten(0, index_I.shape)

    def sent(self, *arrays: np.ndarray) -> list[torch.Tensor]:
        """Small arrays, as tensors where this array lies."""
        return [torch.from_numpy(array).to(self.rows_MX.device, non_blocking=True) for array in arrays]


def fits(device: torch.device, num_bytes: int) -> bool:
    """Whether `device` is a GPU with at least twice as much memory free."""
    return device.type == "cuda" and num_bytes <= SHARE * torch.cuda.mem_get_info(device)[0]


def place_of(bank_on: str, device: torch.device, num_bytes: int) -> torch.device | None:
    """The device where the bank goes as a whole, None where it stays mapped from disk; says which of them.

    "auto" takes a GPU that it `fits`; a CPU's own memory holds the mapped files already.
    """
    whole = bank_on == "device" or (bank_on == "auto" and fits(device, num_bytes))
    if whole or device.type == "cuda":
        where = f"whole on {device}" if whole else "in memory, read ahead of each step"
        print(f"bank: {num_bytes / 1e9:.2f} GB, {where}", file=sys.stderr, flush=True)
    return device if whole else None

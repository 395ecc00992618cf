"""Arrays of the bank that lie in several files, read as one.

N = rows of all files.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch


class ShardedArray:
    """Arrays with equal rows, one after the other along the first axis. All but the last have the same number of rows.

    Indexing is numpy's, for a first index that is a number, an array of rows >= 0 or a slice of step 1. `array[:, ...]` is again
    a ShardedArray and reads nothing; every other index returns a copy of the rows that it names.
    """

    def __init__(self, parts: Sequence[np.ndarray]):
        self.parts = list(parts)
        self.part_rows = len(self.parts[0])
        assert all(len(part) == self.part_rows for part in self.parts[:-1]) and len(self.parts[-1]) <= self.part_rows

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.part_rows * (len(self.parts) - 1) + len(self.parts[-1]), *self.parts[0].shape[1:])

    @property
    def dtype(self) -> np.dtype:
        return self.parts[0].dtype

    @property
    def nbytes(self) -> int:
        return sum(part.nbytes for part in self.parts)

    def __len__(self) -> int:
        return self.shape[0]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.concatenate(self.parts).astype(dtype or self.dtype, copy=False)

    def __getitem__(self, index: Any) -> Any:
        first, *rest = index if isinstance(index, tuple) else (index,)
        if isinstance(first, slice):
            if first == slice(None):
                return ShardedArray([part[(first, *rest)] for part in self.parts])
            return self._slice(range(*first.indices(len(self))), rest)
        arrays = [axis for axis, other in enumerate(rest) if isinstance(other, np.ndarray)]
        row_X, *others = np.broadcast_arrays(first, *(rest[axis] for axis in arrays))
        flat = [other.ravel() for other in others]
        found = self._gather(row_X.ravel(), rest, dict(zip(arrays, flat, strict=True)))
        return found.reshape(*row_X.shape, *found.shape[1:])

    def _slice(self, rows: range, rest: list) -> np.ndarray:
        assert rows.step == 1
        parts = []
        for number in range(rows.start // self.part_rows, max(rows.stop - 1, rows.start) // self.part_rows + 1):
            first = number * self.part_rows
            parts.append(self.parts[number][(slice(max(rows.start - first, 0), max(rows.stop - first, 0)), *rest)])
        return np.concatenate(parts)

    def _gather(self, row_I: np.ndarray, rest: list, arrays: dict[int, np.ndarray]) -> np.ndarray:
        """Rows one by one. arrays: position in `rest` -> an index of each row."""
        part_I = row_I // self.part_rows
        found: np.ndarray | None = None
        for number in np.unique(part_I) if len(row_I) else [0]:
            chosen = np.flatnonzero(part_I == number)
            here = [arrays[axis][chosen] if axis in arrays else other for axis, other in enumerate(rest)]
            values = self.parts[number][(row_I[chosen] - number * self.part_rows, *here)]
            if found is None:
                found = np.empty((len(row_I), *values.shape[1:]), self.dtype)
            found[chosen] = values
        assert found is not None
        return found


def map_array(path: Path) -> np.ndarray:
    """Map a .npy file (shared pages, private writes) without keeping it open, since a bank may have thousands of shards.

    Raises what numpy raises for a damaged header, and ValueError for a file that is too short.
    """
    with path.open("rb") as file:
        version = np.lib.format.read_magic(file)
        assert version == (1, 0), version
        shape, fortran, dtype = np.lib.format.read_array_header_1_0(file)
        start = file.tell()
    count = int(np.prod(shape)) * dtype.itemsize
    if path.stat().st_size < start + count or fortran:
        raise ValueError(f"{path.stat().st_size:,} bytes, {start + count:,} are needed")
    # numpy's memmap keeps a file descriptor for each file, and 1,024 is the usual limit of a process.
    bytes_X = torch.from_file(str(path), shared=False, size=start + count, dtype=torch.uint8).numpy()
    return bytes_X[start:].view(dtype).reshape(shape)


def shard_name(number: int | str) -> str:
    """The folder of a shard, within that of its cache."""
    return f"shard-{number:05d}" if isinstance(number, int) else f"shard-{number}"


def open_array(folder: Path, name: str) -> Any:
    """Map an array of the bank (shared pages, private writes); a ShardedArray where it lies in shards.

    Raises ValueError if a file is truncated or missing.
    """
    whole = folder / f"{name}.npy"
    shards = [] if whole.exists() else sorted(path for path in folder.glob(shard_name("*")) if path.is_dir())
    if shards:
        return ShardedArray([_mapped(shard / whole.name, folder, map_array) for shard in shards])
    return _mapped(whole, folder, lambda path: np.load(path, mmap_mode="c", allow_pickle=False))


def _mapped(path: Path, folder: Path, read: Callable[[Path], np.ndarray]) -> np.ndarray:
    try:
        return read(path)
    # numpy parses the header with Python's tokenizer and parser, which raise many error types on damaged text.
    except Exception as error:
        raise ValueError(f"{path} is missing or damaged ({error}); remove {folder} and build the bank again") from error

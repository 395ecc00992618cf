"""A bank folder on disk: built block by block, complete once its manifest exists, verified by checksums when opened."""

import json
import math
import os
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from aird_plugin.data.bank.inputs import MANIFEST
from aird_plugin.utils import distributed
from aird_plugin.utils.files import checksum, sync, write_atomically
from aird_plugin.utils.json_files import read_object

STATE = "building.json"
# While a folder is built: a checksum of each finished row's image.
SUMS = "images"
OF_THE_RECORDS = {"records", "num_faces"}
COPIED_ROWS = 4096
# A start verifies the checksums of a cache of so many bytes, and of a larger one those of random files, of about so many.
VERIFIED_AT_START, SAMPLED_AT_START = 4 << 30, 1 << 30


class Build:
    """A bank folder under construction: arrays on disk, the number of finished rows, and finally a manifest.

    row_sum: row -> a checksum of the image that the row is computed from, above 0. With it, a build that stopped at a bad image
    goes on once the image is mended or gone: the rows before the first image that changed are kept.
    """

    def __init__(
        self,
        folder: Path,
        inputs: dict[str, Any],
        arrays: dict[str, tuple[tuple[int, ...], type]],
        row_sum: Callable[[int], int] | None = None,
    ):
        self.folder, self.inputs, self.row_sum = folder, inputs, row_sum
        there = all((folder / f"{name}.npy").exists() for name in arrays)
        self.rows_done = self._finished_rows(next(iter(arrays.values()))[0][0]) if arrays and there else 0
        if self.rows_done == 0:
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
        else:
            # Before an array shrinks, the state counts no row that the array will lack.
            self._write_state(self.rows_done)
        self.arrays = {name: self._array(name, shape, dtype) for name, (shape, dtype) in arrays.items()}
        if row_sum:
            self.sums_N = self._array(SUMS, next(iter(self.arrays.values())).shape[:1], np.uint64)

    def _array(self, name: str, shape: tuple[int, ...], dtype: type) -> Any:
        """The array of an earlier build, or a new one. Of an array of another number of rows, those that are done are kept.

        A kill leaves the earlier array until the new one holds its rows and is on disk.
        """
        path = self.folder / f"{name}.npy"
        part = path.with_suffix(".part")
        part.unlink(missing_ok=True)
        if not self.rows_done or not path.exists():
            return new_array(path, shape, dtype)
        array = np.load(path, mmap_mode="r+", allow_pickle=False)
        if array.shape == shape:
            return array
        new = new_array(part, shape, dtype)
        for start in range(0, self.rows_done, COPIED_ROWS):
            rows = slice(start, min(start + COPIED_ROWS, self.rows_done))
            new[rows] = array[rows]
        new.flush()
        sync(part)
        part.replace(path)
        return new

    def _finished_rows(self, total: int) -> int:
        """Number of rows that an interrupted build of the same inputs finished, or of the same first images; else 0."""
        try:
            state = json.loads((self.folder / STATE).read_text())
            before, done = state["inputs"], state["rows_done"]
            if before == self.inputs:
                return done
            keys = before.keys() | self.inputs.keys()
            if {key for key in keys if before.get(key) != self.inputs.get(key)} <= OF_THE_RECORDS and self.row_sum:
                return self._same_rows(min(done, total), self.row_sum)
            return 0
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return 0

    def _same_rows(self, done: int, row_sum: Callable[[int], int]) -> int:
        """Number of rows, of the first `done`, before the first whose image has changed."""
        sums_N = np.load(self.folder / f"{SUMS}.npy", mmap_mode="r", allow_pickle=False)
        return next((row for row in range(done) if int(sums_N[row]) != row_sum(row)), done)

    def advance(self, rows: range) -> None:
        """Record that the rows up to the end of `rows` are finished, after flushing them to disk."""
        if self.row_sum:
            self.sums_N[rows.start : rows.stop] = [self.row_sum(row) for row in rows]
            self.sums_N.flush()
        for array in self.arrays.values():
            array.flush()
        self._write_state(rows.stop)

    def _write_state(self, rows_done: int) -> None:
        write_atomically(self.folder / STATE, json.dumps({"inputs": self.inputs, "rows_done": rows_done}).encode())

    def save(self, name: str, array: np.ndarray) -> None:
        """Write an array; a run that has the folder open while another adds images to it keeps the former file."""
        write_atomically(self.folder / f"{name}.npy", partial(np.save, arr=array, allow_pickle=False))

    def finish(self, metadata: dict[str, Any], keep_sums: bool = False) -> dict[str, Any]:
        """Write the manifest after all files are on disk; this completes the folder. keep_sums: of the images, in an own file."""
        if not keep_sums:
            (self.folder / f"{SUMS}.npy").unlink(missing_ok=True)
        files = sorted(path for path in self.folder.glob("*.npy") if path.stem != SUMS)
        for path in files:
            sync(path)
        manifest = {"inputs": self.inputs, **metadata, "crc32": {path.name: checksum(path) for path in files}}
        write_atomically(self.folder / MANIFEST, json.dumps(manifest, indent=1).encode())
        (self.folder / STATE).unlink(missing_ok=True)
        return manifest


def saved(folder: Path, arrays: dict[str, np.ndarray]) -> dict[str, int]:
    """Write the arrays to `folder`; returns the checksum of each file once it is on disk.

    A file that is there is replaced, not truncated: a process that has it mapped keeps the former content.
    """
    sums = {}
    for name, array in arrays.items():
        path = folder / f"{name}.npy"
        write_atomically(path, partial(np.save, arr=array, allow_pickle=False))
        sums[path.name] = checksum(path)
    return sums


def new_array(path: Path, shape: tuple[int, ...], dtype: type) -> np.memmap:
    """Create a .npy file of full size, mapped for writing.

    If the disk fills up during a write to a mapped file, the process dies without a message, so the space is allocated first.
    Raises OSError with the bytes needed if the disk (or a quota) has too little space, and leaves no file.
    """
    try:
        array = np.lib.format.open_memmap(path, mode="w+", dtype=dtype, shape=shape)
        # Not available on every system; there a full disk shows only during writing.
        if hasattr(os, "posix_fallocate"):
            with path.open("r+b") as file:
                os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
    except OSError as error:
        path.unlink(missing_ok=True)
        size = math.prod(shape) * np.dtype(dtype).itemsize
        raise OSError(error.errno, f"{error.strerror}: {size:,} bytes are needed", str(path)) from error
    return array


def check_own_sums(folder: Path) -> None:
    """Verify this rank's share of the files of a complete folder, where a start verifies only some. Raises as `check_sums`."""
    manifest = read_object(folder / MANIFEST)
    sums = list(manifest.get("crc32", {}).items())
    if sum((folder / name).stat().st_size for name, _ in sums) > VERIFIED_AT_START:
        check_sums(folder, {"crc32": dict(sums[distributed.launched_rank() :: distributed.launched_ranks()])})


def some_files(folder: Path, names: list[str]) -> list[str]:
    """All names; of a large cache random ones with few bytes together, and those of missing files."""
    size = {name: path.stat().st_size if (path := folder / name).exists() else 0 for name in names}
    if sum(size.values()) <= VERIFIED_AT_START:
        return names
    limit = SAMPLED_AT_START / distributed.launched_ranks()
    chosen, total = [name for name in names if not size[name]], 0
    for number in np.random.default_rng().permutation(len(names)):
        # At least one, however large it is.
        if total < limit and size[names[number]]:
            chosen.append(names[number])
            total += size[names[number]]
    return chosen


def check_sums(folder: Path, manifest: dict[str, Any], at_start: bool = False) -> None:
    """Raise ValueError naming a file that is missing, or whose checksum differs from the manifest's. Older banks have none.

    at_start: whether random files of a large cache suffice, shared out among the ranks.
    """
    sums = manifest.get("crc32", {})
    for name in some_files(folder, list(sums)) if at_start else sums:
        path, expected = folder / name, sums[name]
        try:
            problem = None if checksum(path) == expected else "its bytes have changed since"
        except OSError as error:
            problem = str(error)
        if problem:
            raise ValueError(f"{path} is missing or damaged ({problem}); remove {folder} and build the bank again")

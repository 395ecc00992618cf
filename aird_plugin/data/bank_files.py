"""A bank folder on disk: made block by block, whole when its manifest is there, held to its checksums when it is opened."""

import json
import math
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np

from aird_plugin.data.bank import MANIFEST
from aird_plugin.files import checksum, sync, write_atomically

STATE = "building.json"


class Build:
    """A bank folder in the making: arrays on disk, how many rows are done, and a manifest at the end."""

    def __init__(self, folder: Path, inputs: dict[str, Any], arrays: dict[str, tuple[tuple[int, ...], type]]):
        self.folder, self.inputs = folder, inputs
        self.rows_done = self._rows_already_done()
        if self.rows_done == 0:
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
        self.arrays = {
            name: np.load(path, mmap_mode="r+", allow_pickle=False) if self.rows_done else new_array(path, shape, dtype)
            for name, (shape, dtype) in arrays.items()
            for path in [folder / f"{name}.npy"]
        }

    def _rows_already_done(self) -> int:
        """Rows that an interrupted build of the same inputs left behind; anything else starts again."""
        try:
            state = json.loads((self.folder / STATE).read_text())
            return state["rows_done"] if state["inputs"] == self.inputs else 0
        except (OSError, ValueError, KeyError, TypeError):
            return 0

    def advance(self, rows: range) -> None:
        """Rows are on disk before the state says so."""
        for array in self.arrays.values():
            array.flush()
        write_atomically(self.folder / STATE, json.dumps({"inputs": self.inputs, "rows_done": rows.stop}).encode())

    def save(self, name: str, array: np.ndarray) -> None:
        np.save(self.folder / f"{name}.npy", array, allow_pickle=False)

    def finish(self, facts: dict[str, Any]) -> dict[str, Any]:
        """Write the manifest, when all it speaks of is on disk: from now on the folder counts."""
        files = sorted(self.folder.glob("*.npy"))
        for path in files:
            sync(path)
        manifest = {"inputs": self.inputs, **facts, "crc32": {path.name: checksum(path) for path in files}}
        write_atomically(self.folder / MANIFEST, json.dumps(manifest, indent=1).encode())
        (self.folder / STATE).unlink(missing_ok=True)
        return manifest


def new_array(path: Path, shape: tuple[int, ...], dtype: type) -> np.ndarray:
    """A new .npy file as an array to write into, all of its space taken.

    A mapped file that finds the disk full while it is written into ends the process without a word. Raises OSError, with the
    bytes that are needed, where the disk (or a quota) has not enough, and leaves no file.
    """
    try:
        array = np.lib.format.open_memmap(path, mode="w+", dtype=dtype, shape=shape)
        # Not every system has it; there a full disk is met later.
        if hasattr(os, "posix_fallocate"):
            with path.open("r+b") as file:
                os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
    except OSError as error:
        path.unlink(missing_ok=True)
        size = math.prod(shape) * np.dtype(dtype).itemsize
        raise OSError(error.errno, f"{error.strerror}: {size:,} bytes are needed", str(path)) from error
    return array


def check_sums(folder: Path, manifest: dict[str, Any]) -> None:
    """ValueError naming the file whose bytes are not those that the manifest was written for. Older banks have no checksums."""
    for name, sum_then in manifest.get("crc32", {}).items():
        path = folder / name
        try:
            what = None if checksum(path) == sum_then else "its bytes have changed since"
        except OSError as error:
            what = str(error)
        if what:
            raise ValueError(f"{path} is missing or damaged ({what}); remove {folder} and build the bank again")

"""A bank folder on disk: built block by block, complete once its manifest exists, verified by checksums when opened."""

import json
import math
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np

from aird_plugin.data.bank.caches import MANIFEST
from aird_plugin.utils.files import checksum, sync, write_atomically

STATE = "building.json"


class Build:
    """A bank folder under construction: arrays on disk, the number of finished rows, and finally a manifest."""

    def __init__(self, folder: Path, inputs: dict[str, Any], arrays: dict[str, tuple[tuple[int, ...], type]]):
        self.folder, self.inputs = folder, inputs
        self.rows_done = self._finished_rows()
        if self.rows_done == 0:
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
        self.arrays = {
            name: np.load(path, mmap_mode="r+", allow_pickle=False) if self.rows_done else new_array(path, shape, dtype)
            for name, (shape, dtype) in arrays.items()
            for path in [folder / f"{name}.npy"]
        }

    def _finished_rows(self) -> int:
        """Number of rows that an interrupted build of the same inputs finished; 0 for other inputs."""
        try:
            state = json.loads((self.folder / STATE).read_text())
            return state["rows_done"] if state["inputs"] == self.inputs else 0
        except (OSError, ValueError, KeyError, TypeError):
            return 0

    def advance(self, rows: range) -> None:
        """Record that the rows up to the end of `rows` are finished, after flushing them to disk."""
        for array in self.arrays.values():
            array.flush()
        write_atomically(self.folder / STATE, json.dumps({"inputs": self.inputs, "rows_done": rows.stop}).encode())

    def save(self, name: str, array: np.ndarray) -> None:
        np.save(self.folder / f"{name}.npy", array, allow_pickle=False)

    def finish(self, metadata: dict[str, Any]) -> dict[str, Any]:
        """Write the manifest after all files are on disk; this completes the folder."""
        files = sorted(self.folder.glob("*.npy"))
        for path in files:
            sync(path)
        manifest = {"inputs": self.inputs, **metadata, "crc32": {path.name: checksum(path) for path in files}}
        write_atomically(self.folder / MANIFEST, json.dumps(manifest, indent=1).encode())
        (self.folder / STATE).unlink(missing_ok=True)
        return manifest


def new_array(path: Path, shape: tuple[int, ...], dtype: type) -> np.ndarray:
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


def check_sums(folder: Path, manifest: dict[str, Any]) -> None:
    """Raise ValueError naming a file whose checksum differs from the manifest's. Older banks have no checksums."""
    for name, expected in manifest.get("crc32", {}).items():
        path = folder / name
        try:
            problem = None if checksum(path) == expected else "its bytes have changed since"
        except OSError as error:
            problem = str(error)
        if problem:
            raise ValueError(f"{path} is missing or damaged ({problem}); remove {folder} and build the bank again")

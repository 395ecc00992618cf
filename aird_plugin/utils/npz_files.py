"""Read an .npz file of unknown origin: no code is run, and memory is bounded by the file size."""

import io
import math
import zipfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from aird_plugin.utils.torch_files import check_archive

HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


def read_npz(path: Path, keys: Iterable[str]) -> dict[str, np.ndarray]:
    """The arrays of these keys, each writable and in memory of its own.

    Neither an entry nor the shape in its header takes more memory than the file has bytes; NumPy would allocate what a header
    states. Raises OSError, ValueError for what is no .npz archive, a compressed entry, an array of Python objects, or one of
    another length than its header states; and whatever zipfile and NumPy's header parser raise for damaged bytes.
    """
    with path.open("rb"):
        pass
    if not zipfile.is_zipfile(path):
        raise ValueError("it is no .npz archive")
    check_archive(path, "numpy.savez")
    with zipfile.ZipFile(path) as archive:
        return {key: _array(key, archive.read(f"{key}.npy")) for key in keys}


def _array(key: str, content: bytes) -> np.ndarray:
    """The array in the bytes of a .npy file."""
    file = io.BytesIO(content)
    read_header = HEADERS[np.lib.format.read_magic(file)]
    shape, fortran_order, dtype = read_header(file)
    if dtype.hasobject:
        raise ValueError(f"its array {key} holds Python objects")
    values = bytearray(file.read())
    if len(values) != math.prod(shape) * dtype.itemsize:
        raise ValueError(f"its array {key} has another length than its header states")
    return np.frombuffer(values, dtype).reshape(shape, order="F" if fortran_order else "C")

"""A gallery as one .npz file without pickle, and the lock under which it changes.

The arrays of the file: templates float32 (N, D); px float32, network and count int32 (N,); names and meta: JSON as UTF-8 bytes.
meta: {"format", "networks": [{"name", "identity"}]}; `network` counts in that list.
"""

import contextlib
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from aird_plugin.utils.files import write_atomically
from aird_plugin.utils.npz_files import read_npz

FORMAT = 1
# The numeric arrays.
DTYPES = {"templates": np.float32, "px": np.float32, "network": np.int32, "count": np.int32}
LOCK_SECONDS = 60.0


def write_arrays(path: Path, arrays: dict[str, np.ndarray], names: list[str], meta: dict) -> None:
    """Write a gallery file atomically."""
    texts = {"names": _to_bytes(names), "meta": _to_bytes(meta | {"format": FORMAT})}

    def write(file: BinaryIO) -> None:
        np.savez(file, **arrays, **texts)

    write_atomically(path, write)


def read_arrays(path: Path) -> tuple[dict[str, np.ndarray], list[str], dict]:
    """The arrays, names and meta of a gallery file. FileNotFoundError, and ValueError for another or a damaged file."""
    if not path.is_file():
        raise FileNotFoundError(f"no gallery at {path}; `aird enrol FOLDER --out {path}` makes one")
    # A damaged archive makes zipfile and NumPy raise nearly any exception.
    try:
        arrays = read_npz(path, (*DTYPES, "names", "meta"))
        names, meta = (json.loads(arrays.pop(key).tobytes()) for key in ("names", "meta"))
        problem = _problem(arrays, names, meta)
    except Exception as error:
        raise ValueError(f"{path} is no gallery, or a damaged one: {error}") from error
    if problem:
        raise ValueError(f"{path} is no gallery, or a damaged one: {problem}")
    return arrays, names, meta


def _problem(arrays: dict[str, np.ndarray], names: Any, meta: Any) -> str:
    """What is wrong with the content of a gallery file; "" for nothing."""
    if not isinstance(meta, dict) or meta.get("format") != FORMAT:
        return f"it has another format than {FORMAT}; enrol again with this version"
    networks = meta.get("networks")
    listed = networks if isinstance(networks, list) else [None]
    if not all(isinstance(one, dict) and isinstance(one.get(key), str) for one in listed for key in ("name", "identity")):
        return "its networks are not listed"
    templates_ND = arrays["templates"]
    if templates_ND.ndim != 2 or templates_ND.dtype != np.float32 or not np.isfinite(templates_ND).all():
        return "its templates are no finite float32 matrix"
    for key, dtype in DTYPES.items():
        if arrays[key].dtype != dtype or (arrays[key].ndim != 1 and key != "templates"):
            return f"its {key} is no list of {dtype.__name__} numbers"
    count = len(templates_ND)
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names) or len(set(names)) != len(names):
        return "its names are no list of distinct texts"
    if {len(names), *(len(array) for array in arrays.values())} != {count}:
        return "its arrays differ in length"
    network_N = arrays["network"]
    if count and not (0 <= network_N.min() and network_N.max() < len(networks)):
        return "a template names a network that is not listed"
    return ""


def write_vectors(path: Path, names: list[str], templates_ND: np.ndarray) -> None:
    """Write an .npz of `ids`, unicode (N,), and `vectors`, float32 (N, D), for vector databases.

    Raises what `check_vectors_file` raises.
    """
    check_vectors_file(path)

    def write(file: BinaryIO) -> None:
        np.savez(file, ids=np.array(names, np.str_), vectors=templates_ND)

    write_atomically(path.resolve(), write)


def check_vectors_file(path: Path) -> None:
    """Raise ValueError for another suffix, and for a file that holds anything but `ids` and `vectors`."""
    if path.suffix != ".npz":
        raise ValueError(f"{path}: vectors are exported as .npz, which NumPy alone reads; name a file that ends in .npz")
    if not path.exists():
        return
    entries: set[str] = set()
    with contextlib.suppress(zipfile.BadZipFile, OSError), zipfile.ZipFile(path) as archive:
        entries = set(archive.namelist())
    if entries != {"ids.npy", "vectors.npy"}:
        raise ValueError(f"{path} holds something else than exported ids and vectors; nothing was written, name another file")


@contextlib.contextmanager
def gallery_lock(path: Path, seconds: float = LOCK_SECONDS) -> Iterator[None]:
    """Hold the lock of a gallery file, PATH.lock beside it. Raises ValueError where another process holds it for too long."""
    import filelock

    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with filelock.FileLock(f"{path}.lock", timeout=seconds):
            yield
    except filelock.Timeout as error:
        raise ValueError(
            f"another process has been writing {path} for {seconds:g} s (it holds {path}.lock); nothing was written, try again"
        ) from error


def _to_bytes(content: Any) -> np.ndarray:
    return np.frombuffer(json.dumps(content, ensure_ascii=False).encode(), np.uint8)

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

FORMAT = 1
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
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {key: file[key] for key in ("templates", "px", "network", "count")}
            names, meta = (json.loads(file[key].tobytes()) for key in ("names", "meta"))
    except (OSError, ValueError, KeyError, zipfile.BadZipFile, EOFError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} is no gallery, or a damaged one: {error}") from error
    problem = _problem(arrays, names, meta)
    if problem:
        raise ValueError(f"{path} is no gallery, or a damaged one: {problem}")
    return arrays, names, meta


def _problem(arrays: dict[str, np.ndarray], names: Any, meta: Any) -> str:
    """What is wrong with the content of a gallery file; "" for nothing."""
    if not isinstance(meta, dict) or meta.get("format") != FORMAT:
        return f"it has another format than {FORMAT}; enrol again with this version"
    networks = meta.get("networks")
    if not isinstance(networks, list) or not all(isinstance(one, dict) and {"name", "identity"} <= set(one) for one in networks):
        return "its networks are not listed"
    templates_ND = arrays["templates"]
    if templates_ND.ndim != 2 or templates_ND.dtype != np.float32 or not np.isfinite(templates_ND).all():
        return "its templates are no finite float32 matrix"
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

    Raises ValueError for another suffix.
    """
    if path.suffix != ".npz":
        raise ValueError(f"{path}: vectors are exported as .npz, which NumPy alone reads; name a file that ends in .npz")

    def write(file: BinaryIO) -> None:
        np.savez(file, ids=np.array(names, np.str_), vectors=templates_ND)

    write_atomically(path, write)


@contextlib.contextmanager
def locked(path: Path, seconds: float = LOCK_SECONDS) -> Iterator[None]:
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

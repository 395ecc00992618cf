"""The part of mxnet that arcface_torch's dataset.py, eval/verification.py and onnx_ijbc.py use, on our own reader and decoder.

mxnet's last release does not install beside a current numpy, so `modules()` builds stand-ins for sys.modules. Their functions
return what mxnet 1.9.1 returns, bit for bit; any other name raises AttributeError.
"""

import functools
import importlib.machinery
from collections import namedtuple
from pathlib import Path
from types import ModuleType

import numpy as np

from aird_plugin.data.images import decode
from aird_plugin.data.recordio import format as form
from aird_plugin.data.recordio.reader import RecordReader

REMEDY = "installing mxnet (its last release, 1.9.1, needs numpy below 1.24) and setting `keep_mxnet=True` uses the real one"
CUBIC, WEIGHT_BITS = 2, 11
CUBIC_A = np.float32(-0.75)

IRHeader = namedtuple("IRHeader", ["flag", "label", "id", "id2"])


def modules() -> dict[str, ModuleType]:
    """Name in sys.modules -> a new stand-in module: mxnet, its recordio, image, ndarray and gluon.data."""
    recordio = standin("mxnet.recordio", {"MXIndexedRecordIO": MXIndexedRecordIO, "IRHeader": IRHeader, "unpack": unpack}, REMEDY)
    image = standin("mxnet.image", {"imdecode": imdecode, "resize_short": resize_short}, REMEDY)
    ndarray = standin("mxnet.ndarray", {"NDArray": NDArray, "transpose": transpose, "flip": flip}, REMEDY)
    data = standin("mxnet.gluon.data", {"Dataset": Dataset}, REMEDY)
    gluon = standin("mxnet.gluon", {"data": data}, REMEDY, package=True)
    inner = {"recordio": recordio, "image": image, "ndarray": ndarray, "nd": ndarray, "gluon": gluon}
    parent = standin("mxnet", inner, REMEDY, package=True)
    return {module.__name__: module for module in (parent, recordio, image, ndarray, gluon, data)}


def standin(name: str, contents: dict, remedy: str, package: bool = False) -> ModuleType:
    """A module of `contents` for sys.modules. Any other name raises an AttributeError that ends in the `remedy`.

    A package has an empty `__path__`: Python finds submodules in sys.modules only. `__file__` is this file, which Python prints
    when `from mxnet import x` fails.
    """

    def missing(attribute: str):
        # Python's import machinery, copy and inspect probe for dunder names and expect the standard error.
        if attribute.startswith("__") and attribute.endswith("__"):
            raise AttributeError(f"module {name!r} has no attribute {attribute!r}")
        root = name.partition(".")[0]
        raise AttributeError(f"this is aird_plugin's stand-in for {root}; it lacks {name}.{attribute}; {remedy}")

    module = ModuleType(name, f"aird_plugin's stand-in for {name}.")
    module.__spec__ = importlib.machinery.ModuleSpec(name, None, origin=__file__, is_package=package)
    module.__file__, module.__package__ = __file__, module.__spec__.parent
    if package:
        module.__path__ = []
    vars(module).update(contents, __getattr__=missing)
    return module


class NDArray(np.ndarray):
    """An array with mxnet's `asnumpy`."""

    def asnumpy(self) -> np.ndarray:
        """A plain numpy copy, contiguous and writable."""
        return np.array(self, order="C")


class Dataset:
    """A base class; subclasses define `__getitem__` and `__len__`."""


class MXIndexedRecordIO:
    """Reads records by key. It can be pickled and used in forked and spawned workers, like `RecordReader`.

    Raises ValueError for a flag other than "r" and for an .idx that is not the one beside the .rec, FileNotFoundError if one of
    the two is missing, and what `RecordReader` raises.
    """

    def __init__(self, idx_path, uri, flag):
        if flag != "r":
            raise ValueError(f"aird_plugin's stand-in for mxnet opens record files with flag 'r' only; got {flag!r}; {REMEDY}")
        if Path(idx_path) != Path(uri).with_suffix(".idx"):
            raise ValueError(f"the index of {uri} must be {Path(uri).with_suffix('.idx')}; got {idx_path}")
        if not Path(idx_path).is_file():
            raise FileNotFoundError(f"no index at {idx_path}; mxnet needs it to read records by key")
        self._reader = RecordReader(uri)

    @property
    def keys(self) -> list[int]:
        """All keys, in the order of the .idx."""
        return self._reader.keys

    def read_idx(self, idx) -> bytes:
        """Header and payload of a record, for `unpack`."""
        return self._reader.raw(idx)

    def close(self) -> None:
        self._reader.close()


def unpack(s: bytes) -> tuple[IRHeader, bytes]:
    """Output of `read_idx` -> header and payload. label: a float if flag is 0, otherwise float32 (flag,).

    Raises ValueError for bytes that are shorter than their header requires.
    """
    record, flag = form.unpack(s), form.HEADER.unpack_from(s)[0]
    return IRHeader(flag, record.label if flag else float(record.label[0]), record.id, record.id2), record.payload


def imdecode(buf) -> NDArray:
    """Bytes, a bytearray or a uint8 array of an image file -> uint8 (H, W, 3), RGB. Raises ValueError for anything else."""
    if not isinstance(buf, bytes | bytearray | np.ndarray) or getattr(buf, "dtype", np.uint8) != np.uint8:
        raise ValueError(f"imdecode takes bytes, a bytearray or a uint8 array; got {type(buf).__name__}")
    return decode(bytes(buf.tobytes() if isinstance(buf, np.ndarray) else buf), "mxnet.image.imdecode").view(NDArray)


def transpose(data: np.ndarray, axes=None) -> NDArray:
    """A copy of the array with its axes in another order."""
    return np.transpose(data, axes).copy().view(NDArray)


def flip(data: np.ndarray, axis: int) -> NDArray:
    """A copy of the array, mirrored along one axis."""
    return np.flip(data, axis).copy().view(NDArray)


def resize_short(src: np.ndarray, size: int, interp: int = CUBIC) -> NDArray:
    """Resize uint8 (H, W, C) so that its shorter side is `size` px; the other side keeps the ratio, rounded down.

    The bicubic of the OpenCV in mxnet: kernel a = -0.75, border repeated, no anti-aliasing. Raises ValueError for another array
    or another interpolation.
    """
    if src.dtype != np.uint8 or src.ndim != 3 or not src.size or interp != CUBIC:
        got = f"{src.dtype} {src.shape}, {interp=}"
        raise ValueError(f"the stand-in's resize_short takes uint8 (H, W, C) and interp={CUBIC}; got {got}; {REMEDY}")
    height, width = src.shape[:2]
    if height > width:
        height, width = size * height // width, size
    else:
        height, width = size, size * width // height
    return _resize(np.asarray(src), height, width).view(NDArray)


def _resize(image_HWC: np.ndarray, height: int, width: int) -> np.ndarray:
    """uint8 (H, W, C) -> uint8 (height, width, C).

    OpenCV's order of operations, for equal bits: first along rows in integers (below 2**24, where float32 is exact), then along
    columns in float32 from the first tap to the last, rounded once (half to even).
    """
    column_W4, weight_W4 = _taps(image_HWC.shape[1], width)
    row_H4, weight_H4 = _taps(image_HWC.shape[0], height)
    wide_HWC = sum(image_HWC[:, column_W4[:, tap]] * weight_W4[:, tap, None] for tap in range(4))
    scaled_H4 = weight_H4 * np.float32(2.0 ** (-2 * WEIGHT_BITS))
    grey_levels_HWC = sum(wide_HWC[row_H4[:, tap]] * scaled_H4[:, tap, None, None] for tap in range(4))
    return np.rint(grey_levels_HWC).clip(0, 255).astype(np.uint8)


@functools.lru_cache(maxsize=64)
def _taps(source: int, target: int) -> tuple[np.ndarray, np.ndarray]:
    """Four source pixels and four weights, in units of 2**-11, for each target pixel: int64 and float32, each (target, 4)."""
    # OpenCV's roundings: a reciprocal of a reciprocal, then float32. Others change some weights by one unit.
    place = ((np.arange(target) + 0.5) * (1.0 / (target / source)) - 0.5).astype(np.float32)
    first = np.floor(place)
    x, a = place - first, CUBIC_A
    before = ((a * (x + 1) - 5 * a) * (x + 1) + 8 * a) * (x + 1) - 4 * a
    here, after = (((a + 2) * side - (a + 3)) * side * side + 1 for side in (x, 1 - x))
    weights = np.stack([before, here, after, 1 - before - here - after], 1)
    pixels = (first[:, None].astype(np.int64) + np.arange(-1, 3)).clip(0, source - 1)
    return pixels, np.rint(weights * np.float32(1 << WEIGHT_BITS))

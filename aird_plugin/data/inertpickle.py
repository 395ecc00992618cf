"""A pickle machine that can build lists, bytes, numbers and numpy arrays, and can do nothing else.

A pickle is a program, and `pickle.load` runs it. Here every name a program may mention maps to a stand-in
from the table below, and the opcodes that reach for code by other ways are taken out.
"""

import io
import math
import pickle

import numpy as np

PLAIN_TYPES = ("b1", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8")
REMOVED = (
    pickle.INST, pickle.OBJ, pickle.NEWOBJ, pickle.NEWOBJ_EX, pickle.EXT1, pickle.EXT2, pickle.EXT4,
    pickle.PERSID, pickle.BINPERSID, pickle.NEXT_BUFFER, pickle.READONLY_BUFFER,
)  # fmt: skip


class InertType:
    """Stand-in for numpy.dtype: a type code and a byte order."""

    def __init__(self, code, *ignored):
        self.code, self.order = _text(code), "="

    def build(self, state) -> None:
        self.order = _text(state[1])

    def dtype(self) -> np.dtype:
        """The real dtype. Raises ValueError unless it is a plain bool or whole number."""
        if self.code not in PLAIN_TYPES or self.order not in ("=", "<", ">", "|"):
            raise ValueError(f"it holds an array of type {self.code!r:.40}, not of bools or whole numbers")
        return np.dtype(self.code).newbyteorder(self.order)


class InertArray:
    """Stand-in for numpy.ndarray: shape, type and raw bytes."""

    def __init__(self, *ignored):
        self.shape, self.type, self.raw = (0,), InertType("u1"), b""

    def build(self, state) -> None:
        _, shape, type_, _, raw = state
        if not isinstance(type_, InertType) or not isinstance(raw, bytes | bytearray):
            raise ValueError("it holds an array of objects, not of bools or whole numbers")
        if not all(isinstance(size, int) and size >= 0 for size in shape):
            raise ValueError("it holds an array whose shape is no list of whole numbers")
        self.shape, self.type, self.raw = tuple(shape), type_, raw

    def values(self) -> np.ndarray:
        """The elements, flat; ValueError where type, shape and bytes do not fit each other."""
        values = np.frombuffer(self.raw, self.type.dtype())
        if len(values) != math.prod(self.shape) or len(values) != max(self.shape, default=0):
            raise ValueError(f"it holds an array of shape {self.shape!r:.40}, not a list of bytes or flags")
        return values

    def file_bytes(self) -> bytes:
        """The bytes of an image file kept as an array of bytes."""
        if self.type.dtype() != np.uint8:
            raise ValueError(f"it holds an image as an array of {self.type.dtype()}; allowed is uint8")
        return self.values().tobytes()


def _text(value) -> str:
    return value.decode("ascii") if isinstance(value, bytes) else str(value)


def _array(*ignored):
    return InertArray()


def _frombuffer(raw, type_, shape, order):
    array = InertArray()
    array.build((1, shape, type_, order, raw))
    return array


def _scalar(type_, raw=b""):
    return np.frombuffer(raw, type_.dtype(), 1)[0].item()


def _encode(text, codec="latin1"):
    if _text(codec) not in ("latin1", "latin-1"):
        raise ValueError(f"it asks for the codec {codec!r:.40}; allowed is latin1")
    return text.encode("latin-1")


def _bytes(value=b"", codec="latin1"):
    if isinstance(value, str):
        return _encode(value, codec)
    if not isinstance(value, bytes | bytearray):
        raise ValueError(f"it builds bytes from a {type(value).__name__}")
    return bytes(value)


STAND_INS = {
    ("numpy", "ndarray"): InertArray,
    ("numpy", "dtype"): InertType,
    ("_codecs", "encode"): _encode,
    **{(module, name): _bytes for module in ("builtins", "__builtin__") for name in ("bytes", "bytearray")},
    **{(f"numpy.{core}.multiarray", "_reconstruct"): _array for core in ("core", "_core")},
    **{(f"numpy.{core}.multiarray", "scalar"): _scalar for core in ("core", "_core")},
    **{(f"numpy.{core}.numeric", "_frombuffer"): _frombuffer for core in ("core", "_core")},
}


class _Machine(pickle._Unpickler):
    """Python's own machine, in Python.

    Unlike the one in C its opcode table can be cut, and a file cannot make its memo huge.
    """

    dispatch = {code: act for code, act in pickle._Unpickler.dispatch.items() if bytes([code]) not in REMOVED}

    def find_class(self, module, name):
        try:
            return STAND_INS[_text(module), _text(name)]
        except KeyError:
            raise ValueError(f"it asks for {module}.{name} (nothing was run)") from None

    def load_build(self):
        # The inherited one writes any attribute into any object, a stand-in class included.
        state = self.stack.pop()
        if not isinstance(self.stack[-1], InertArray | InertType):
            raise ValueError(f"it sets the state of a {type(self.stack[-1]).__name__}")
        self.stack[-1].build(state)

    dispatch[pickle.BUILD[0]] = load_build

    def load_bytearray8(self):
        # The inherited one clears as much memory as the file asks for before it looks at what is there.
        self.append(bytearray(self.read(int.from_bytes(self.read(8), "little"))))

    dispatch[pickle.BYTEARRAY8[0]] = load_bytearray8


def load_inert(content: bytes):
    """What the pickle `content` describes: lists, tuples, bytes, numbers, InertArray. Runs no code from it.

    Raises ValueError for a pickle that is cut short, malformed, or needs anything else.
    """
    try:
        return _Machine(io.BytesIO(content), encoding="bytes").load()
    except ValueError:
        raise
    # A malformed program can trip the machine anywhere: short stacks, unknown opcodes, absurd sizes.
    except Exception as error:
        why = f"{type(error).__name__}: {error!s:.80}"
        raise ValueError(f"its pickle is cut short or damaged ({why})") from error

"""A restricted unpickler that builds only lists, bytes, numbers and numpy arrays.

A pickle is a program, and `pickle.load` executes it. Here every global that a pickle may reference maps to a stand-in from the
table below, and the opcodes that reach code in other ways are removed.
"""

import io
import math
import pickle
from typing import Any, ClassVar

import numpy as np

PLAIN_TYPES = ("b1", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8")
OBJECTS, BYTES = "O", "S"
MAX_BYTES = 1 << 29
REMOVED = (
    pickle.INST,
    pickle.OBJ,
    pickle.NEWOBJ,
    pickle.NEWOBJ_EX,
    pickle.EXT1,
    pickle.EXT2,
    pickle.EXT4,
    pickle.PERSID,
    pickle.BINPERSID,
    pickle.NEXT_BUFFER,
    pickle.READONLY_BUFFER,
)


class PickledType:
    """Stand-in for numpy.dtype: type code and byte order."""

    def __init__(self, code, *ignored):
        self.code, self.order = _text(code), "="

    def build(self, state) -> None:
        self.order = _text(state[1])

    def dtype(self) -> np.dtype:
        """Return the numpy dtype. Raises ValueError unless it is bool, a number type or bytes of one length."""
        of_bytes = self.code[:1] == BYTES and self.code[1:].isdecimal() and 0 < int(self.code[1:]) <= MAX_BYTES
        if not (self.code in PLAIN_TYPES or of_bytes) or self.order not in ("=", "<", ">", "|"):
            raise ValueError(f"it holds an array of type {self.code!r:.40}, not of bools, numbers or bytes")
        return np.dtype(self.code).newbyteorder(self.order)


class PickledArray:
    """Stand-in for numpy.ndarray: shape, type and raw bytes, or the list of elements of an array of objects."""

    objects: list | None = None

    def __init__(self, *ignored):
        self.shape, self.type, self.raw = (0,), PickledType("u1"), b""

    def build(self, state) -> None:
        _, shape, type_, _, raw = state
        if not isinstance(type_, PickledType) or not isinstance(raw, bytes | bytearray | list):
            raise ValueError("it holds an array without its contents")
        if not all(isinstance(size, int) and size >= 0 for size in shape):
            raise ValueError("it holds an array whose shape is not a list of integers")
        if isinstance(raw, list) != (type_.code[:1] == OBJECTS):
            raise ValueError("it holds an array whose contents do not match its type")
        self.shape, self.type = tuple(shape), type_
        self.raw, self.objects = (b"", raw) if isinstance(raw, list) else (raw, None)

    def elements(self) -> list:
        """Return the elements of a list stored as an array of one axis, or the rows of an array of two.

        Raises ValueError if type, shape and contents do not match.
        """
        if self.objects is not None:
            if len(self.objects) != math.prod(self.shape) or len(self.shape) != 1:
                raise ValueError(f"it holds an array of shape {self.shape!r:.40}, not a list")
            return self.objects
        if len(self.shape) == 2 and min(self.shape) > 1:
            values = np.frombuffer(self.raw, self.type.dtype())
            if self.type.dtype() != np.uint8 or len(values) != math.prod(self.shape) or not len(values):
                raise ValueError(f"it holds an array of shape {self.shape!r:.40}, not a list")
            return [row.tobytes() for row in values.reshape(self.shape)]
        return self.values().tolist()

    def values(self) -> np.ndarray:
        """Return the elements, flat; raise ValueError if type, shape and bytes do not match."""
        if self.objects is not None:
            raise ValueError("it holds an array of objects, not of bools or numbers")
        values = np.frombuffer(self.raw, self.type.dtype())
        if len(values) != math.prod(self.shape) or len(values) != max(self.shape, default=0):
            raise ValueError(f"it holds an array of shape {self.shape!r:.40}, not a list of bytes or flags")
        return values

    def file_bytes(self) -> bytes:
        """Return the bytes of an image file that is stored as a uint8 array."""
        if self.type.dtype() != np.uint8:
            raise ValueError(f"it holds an image as an array of {self.type.dtype()}; allowed is uint8")
        return self.values().tobytes()


def _text(value) -> str:
    return value.decode("ascii") if isinstance(value, bytes) else str(value)


def _array(*ignored):
    """In place of numpy's _reconstruct: an empty array, which the pickle's state fills."""
    return PickledArray()


def _frombuffer(raw, type_, shape, order):
    """In place of numpy's _frombuffer, which protocol 5 uses."""
    array = PickledArray()
    array.build((1, shape, type_, order, raw))
    return array


def _scalar(type_, raw=b""):
    """In place of numpy's scalar."""
    return np.frombuffer(raw, type_.dtype(), 1)[0].item()


def _encode(text, codec="latin1"):
    """In place of _codecs.encode, which protocol 2 writes for bytes."""
    if _text(codec) not in ("latin1", "latin-1"):
        raise ValueError(f"it uses the codec {codec!r:.40}; allowed is latin1")
    return text.encode("latin-1")


def _bytes(value=b"", codec="latin1"):
    if isinstance(value, str):
        return _encode(value, codec)
    if not isinstance(value, bytes | bytearray):
        raise ValueError(f"it builds bytes from a {type(value).__name__}")
    return bytes(value)


STAND_INS = {
    ("numpy", "ndarray"): PickledArray,
    ("numpy", "dtype"): PickledType,
    ("_codecs", "encode"): _encode,
    **{(module, name): _bytes for module in ("builtins", "__builtin__") for name in ("bytes", "bytearray")},
    **{(f"numpy.{core}.multiarray", "_reconstruct"): _array for core in ("core", "_core")},
    **{(f"numpy.{core}.multiarray", "scalar"): _scalar for core in ("core", "_core")},
    **{(f"numpy.{core}.numeric", "_frombuffer"): _frombuffer for core in ("core", "_core")},
}


class _RestrictedUnpickler(pickle._Unpickler):
    """The standard library's unpickler in Python.

    Unlike the C one, its opcode table can be reduced, and a file cannot make its memo huge.
    """

    dispatch: ClassVar[dict[int, Any]] = {
        code: load for code, load in pickle._Unpickler.dispatch.items() if bytes([code]) not in REMOVED
    }

    def find_class(self, module, name):
        try:
            return STAND_INS[_text(module), _text(name)]
        except KeyError:
            raise ValueError(f"it references {module}.{name} (nothing was executed)") from None

    def load_build(self):
        # The inherited method sets any attribute of any object, including the stand-in classes.
        state = self.stack.pop()
        if not isinstance(self.stack[-1], PickledArray | PickledType):
            raise ValueError(f"it sets the state of a {type(self.stack[-1]).__name__}")
        self.stack[-1].build(state)

    dispatch[pickle.BUILD[0]] = load_build

    def load_bytearray8(self):
        # The inherited method allocates the size stated in the file before it reads the bytes.
        self.append(bytearray(self.read(int.from_bytes(self.read(8), "little"))))

    dispatch[pickle.BYTEARRAY8[0]] = load_bytearray8


def safe_load(content: bytes) -> Any:
    """Unpickle `content` into lists, tuples, bytes, numbers and PickledArray, without executing code from it.

    Raises ValueError for a pickle that is truncated, malformed, or needs anything else.
    """
    try:
        return _RestrictedUnpickler(io.BytesIO(content), encoding="bytes").load()
    except ValueError:
        raise
    # A malformed pickle can fail anywhere: short stacks, unknown opcodes, absurd sizes.
    except Exception as error:
        reason = f"{type(error).__name__}: {error!s:.80}"
        raise ValueError(f"its pickle is truncated or damaged ({reason})") from error

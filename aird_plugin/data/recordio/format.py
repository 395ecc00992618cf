"""The byte format of MXNet's RecordIO: pack and split one record, read one index.

A record is u32 magic, u32 (3 bits part, 29 bits length), body, zeros up to a multiple of 4; little endian.
Part 0 is a whole record. A body that contains the magic at a multiple of 4 is split there (1 first, 2 middle, 3 last part), and
those four bytes are omitted; a reader inserts them again. A body is the header `<IfQQ` (flag, label, id, id2), `flag` float32
labels if flag > 0, then the payload. The `.idx` is text, one `key TAB offset` per line, in any order.
"""

import numbers
import struct
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import numpy as np

MAGIC_WORD = 0xCED7230A
MAGIC = struct.pack("<I", MAGIC_WORD)
FRAME = struct.Struct("<4sI")
HEADER = struct.Struct("<IfQQ")
LENGTH_BITS = 29
WHOLE, FIRST, MIDDLE, LAST = range(4)
MAX_DIGITS = 18


class Record(NamedTuple):
    """A record: labels float32 (n,), n = 1 for a scalar; the stored file, or empty bytes; two numbers of the header."""

    label: np.ndarray
    payload: bytes
    id: int
    id2: int


def padded(size: int) -> int:
    """Round `size` up to a multiple of 4."""
    return (size + 3) // 4 * 4


def unpack(body: bytes) -> Record:
    """Body of a record -> Record. Raises ValueError if it is shorter than its header states."""
    if len(body) < HEADER.size:
        raise ValueError(f"its {len(body)} bytes are too few for the {HEADER.size} byte image header")
    flag, scalar, id_, id2 = HEADER.unpack_from(body)
    start = HEADER.size + 4 * flag
    if start > len(body):
        raise ValueError(f"its header states {flag} labels, but the record has {len(body)} bytes")
    label = np.frombuffer(body, "<f4", flag, HEADER.size) if flag else np.array([scalar])
    return Record(label.astype(np.float32), body[start:], id_, id2)


def pack(label: float | np.ndarray, payload: bytes, id_: int, id2: int) -> bytes:
    """Return the body of a record. A plain number is stored in the header (flag 0), an array, even of one, after it.

    Raises ValueError for an id outside 0..2**64-1, and for a body of 2**29 bytes or more (RecordIO's limit).
    """
    if not (0 <= id_ < 1 << 64 and 0 <= id2 < 1 << 64):
        raise ValueError(f"id and id2 are whole numbers from 0 to 2**64-1, got {id_} and {id2}")
    scalar = isinstance(label, numbers.Number)
    labels = np.asarray([] if scalar else label, "<f4").ravel()
    size = HEADER.size + labels.nbytes + len(payload)
    if size >= 1 << LENGTH_BITS:
        raise ValueError(f"a record holds less than 2**{LENGTH_BITS} bytes, got {size}")
    return HEADER.pack(labels.size, label if scalar else 0, id_, id2) + labels.tobytes() + payload


def frame(body: bytes) -> bytes:
    """Body of a record -> the bytes of the file, split at every aligned magic as by MXNet's writer."""
    pieces, start, found = [], 0, body.find(MAGIC)
    while found >= 0:
        aligned = found % 4 == 0
        if aligned:
            pieces.append(body[start:found])
            start = found + 4
        found = body.find(MAGIC, found + (4 if aligned else 1))
    pieces.append(body[start:])
    kinds = [FIRST, *[MIDDLE] * (len(pieces) - 2), LAST] if len(pieces) > 1 else [WHOLE]
    framed = b"".join(
        FRAME.pack(MAGIC, kind << LENGTH_BITS | len(piece)) + piece for kind, piece in zip(kinds, pieces, strict=True)
    )
    return framed + bytes(padded(len(framed)) - len(framed))


def read_index(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """`.idx` -> keys and byte offsets, int64 (N,), in file order.

    Raises ValueError naming the line that is not `key TAB offset`, or a repeated key.
    """
    keys, offsets = [], []
    with open(path, "rb") as lines:
        for number, line in enumerate(lines, 1):
            fields = line.split()
            if not fields:
                continue
            if len(fields) != 2 or not all(field.isdigit() and len(field) <= MAX_DIGITS for field in fields):
                raise ValueError(
                    f"{path} line {number}: expected `key TAB offset`, found {line[:60]!r}; copy the .idx "
                    "again, or delete it to have it rebuilt from the .rec"
                )
            keys.append(int(fields[0]))
            offsets.append(int(fields[1]))
    if len(set(keys)) < len(keys):
        first, count = Counter(keys).most_common(1)[0]
        raise ValueError(f"{path}: key {first} occurs {count} times; delete the .idx to have it rebuilt")
    return np.array(keys, np.int64), np.array(offsets, np.int64)

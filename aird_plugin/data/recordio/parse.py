"""Find the parts, headers and payloads of records in the bytes of a `.rec` file.

data: the file, as bytes or memory-mapped. N = records.
"""

from typing import Any, NamedTuple

import numpy as np

from aird_plugin.data.recordio.format import (
    FIRST,
    FRAME,
    HEADER,
    LAST,
    LENGTH_BITS,
    MAGIC,
    MAGIC_WORD,
    MIDDLE,
    WHOLE,
    padded,
)


class Heads(NamedTuple):
    """Headers of N records: first label (float32), number of labels, payload size in bytes; each (N,)."""

    label: np.ndarray
    num_labels: np.ndarray
    size: np.ndarray


def whole_payload(data: Any, offset: int) -> bytes | None:
    """The payload of the record at `offset`; None for one in parts, or damaged."""
    if offset + FRAME.size + HEADER.size > len(data):
        return None
    magic, word = FRAME.unpack_from(data, offset)
    start = offset + FRAME.size
    stop = start + (word & ((1 << LENGTH_BITS) - 1))
    first = start + HEADER.size + 4 * HEADER.unpack_from(data, start)[0]
    intact = magic == MAGIC and word >> LENGTH_BITS == WHOLE and first <= stop and padded(stop) <= len(data)
    return data[first:stop] if intact else None


def parts_at(data: Any, offset: int) -> list[tuple[int, int]]:
    """Start and end of each part of the record at `offset`. Raises ValueError with the reason where it is damaged."""
    parts, at, allowed = [], offset, (WHOLE, FIRST)
    while True:
        if at > len(data) - FRAME.size:
            raise ValueError(f"a part should start at byte {at}, past the end")
        magic, word = FRAME.unpack_from(data, at)
        part, start = word >> LENGTH_BITS, at + FRAME.size
        stop = start + (word & ((1 << LENGTH_BITS) - 1))
        if magic != MAGIC:
            raise ValueError(f"byte {at} should hold {MAGIC.hex()}, found {magic.hex()}")
        if part not in allowed:
            raise ValueError(f"byte {at} starts a part of kind {part}, not {allowed}")
        if padded(stop) > len(data):
            raise ValueError(f"it extends to byte {padded(stop)}")
        parts.append((start, stop))
        if part in (WHOLE, LAST):
            return parts
        at, allowed = padded(stop), (MIDDLE, LAST)


def read_plain_heads(data: Any, offset_N: np.ndarray, heads: Heads) -> np.ndarray:
    """Write into `heads` the headers of records that are intact and in one part; returns which those are, bool (N,)."""
    words = np.frombuffer(data, "<u4", len(data) // 4)
    plain_N = (offset_N % 4 == 0) & (offset_N + FRAME.size + HEADER.size <= len(data))
    if not plain_N.any():
        return plain_N
    at_N = np.where(plain_N, offset_N // 4, 0)
    length_N, flag_N = words[at_N + 1].astype(np.int64), words[at_N + 2].astype(np.int64)
    heads.size[:] = length_N - HEADER.size - 4 * flag_N
    plain_N &= (words[at_N] == MAGIC_WORD) & (length_N >> LENGTH_BITS == WHOLE) & (heads.size >= 0)
    plain_N &= offset_N + FRAME.size + padded(length_N) <= len(data)
    heads.label[:] = words[np.where(plain_N & (flag_N > 0), at_N + 8, at_N + 3)].view("<f4")
    heads.num_labels[:] = np.maximum(flag_N, 1)
    return plain_N

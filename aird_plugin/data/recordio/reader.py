"""Read MXNet's RecordIO files (`.rec` with `.idx`) without MXNet.

`writer.py` writes them, `format.py` packs and unpacks one record, `parse.py` finds its bytes in the mapped file.
"""

import mmap
import operator
from functools import cached_property
from pathlib import Path

import numpy as np

from aird_plugin.data.recordio import format as form
from aird_plugin.data.recordio.format import HEADER, MAGIC, Record, padded
from aird_plugin.data.recordio.parse import Heads, parts_at, read_plain_heads, whole_payload
from aird_plugin.data.recordio.writer import RecordWriter

__all__ = ["Heads", "Record", "RecordReader", "RecordWriter"]

HEADS_AT_ONCE = 1 << 16


class RecordReader:
    """`reader[key] -> Record` over a memory-mapped `.rec`; also `key in reader`, `len`, `reader.keys`.

    Each process maps the file on first use, so a reader can be pickled, forked or spawned into workers.

    Keys come from the `.idx` beside the file. WITHOUT AN `.idx` the whole file is scanned once, and the keys are the ids in the
    record headers (InsightFace's tools, im2rec and `RecordWriter` store the key there), or 0, 1, 2 ... in file order if ids
    repeat.

    Raises FileNotFoundError for a missing file, KeyError for an unknown key, and ValueError for a damaged or truncated file,
    naming file, record, byte offset and remedy. Intact records of a damaged file are still readable.
    """

    def __init__(self, rec_path: str | Path):
        self.path = Path(rec_path)
        if not self.path.is_file():
            raise FileNotFoundError(f"no record file at {self.path}; pass the path of a .rec file")
        self._map, self._stamp = None, self._stat()
        self.idx_path = idx_path = self.path.with_suffix(".idx")
        self.indexed = idx_path.is_file()
        self._keys, offsets = form.read_index(idx_path) if self.indexed else self._scan()
        if not len(self._keys) and self.file_size:
            raise ValueError(f"{idx_path} lists no record of {self.path}; delete the .idx to have it rebuilt")
        order = np.argsort(self._keys, kind="stable")
        self._sorted_keys, self._sorted_offsets = self._keys[order], offsets[order]

    @cached_property
    def keys(self) -> list[int]:
        """Every key, in the order of the `.idx`."""
        return self._keys.tolist()

    def index(self) -> tuple[np.ndarray, np.ndarray]:
        """Keys in ascending order and their byte offsets, int64 (N,)."""
        return self._sorted_keys, self._sorted_offsets

    def offset(self, key: int) -> int:
        """Byte offset of a record in the file."""
        return int(self._offsets(np.array([operator.index(key)]))[0])

    def heads(self, keys) -> Heads:
        """Read labels and payload sizes of many records without their payloads: half a million per second."""
        keys = np.asarray(keys, np.int64)
        heads = Heads(*(np.zeros(len(keys), kind) for kind in (np.float32, np.int64, np.int64)))
        for start in range(0, len(keys), HEADS_AT_ONCE):
            block = slice(start, start + HEADS_AT_ONCE)
            done = read_plain_heads(self.mapped(), self._offsets(keys[block]), Heads(*(column[block] for column in heads)))
            for row in start + np.flatnonzero(~done):
                record = self[keys[row]]
                heads.label[row], heads.num_labels[row] = record.label[0], len(record.label)
                heads.size[row] = len(record.payload)
        return heads

    def payload_at(self, offset: int) -> bytes:
        """Return the payload of the record at `offset` (from `index`), five times as fast as reading the whole record."""
        found = whole_payload(self.mapped(), offset)
        if found is not None:
            return found
        # In parts, or damaged: __getitem__ joins the parts, or names the damage.
        key = int(self._sorted_keys[np.flatnonzero(self._sorted_offsets == offset)[0]])
        return self[key].payload

    def raw(self, key: int) -> bytes:
        """Return the body of a record: header and payload as stored, its parts joined."""
        offset, data = self.offset(key), self.mapped()
        return MAGIC.join(data[start:stop] for start, stop in self.parts(offset, f"record {key}"))

    def __getitem__(self, key: int) -> Record:
        body = self.raw(key)
        try:
            return form.unpack(body)
        except ValueError as error:
            raise self._damaged(f"record {key}", self.offset(key), str(error)) from error

    def __contains__(self, key: int) -> bool:
        at = np.searchsorted(self._sorted_keys, key)
        return bool(at < len(self) and self._sorted_keys[at] == key)

    def __iter__(self):
        return iter(self.keys)

    def __len__(self) -> int:
        return len(self._keys)

    def close(self) -> None:
        """Unmap the file; the next read maps it again."""
        if isinstance(self._map, mmap.mmap):
            self._map.close()
        self._map = None

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.close()

    def __getstate__(self):
        return {name: value for name, value in vars(self).items() if name != "keys"} | {"_map": None}

    def _offsets(self, keys: np.ndarray) -> np.ndarray:
        at = np.searchsorted(self._sorted_keys, keys).clip(max=max(len(self) - 1, 0))
        unknown = keys[self._sorted_keys[at] != keys] if len(self) else keys
        if len(unknown):
            raise KeyError(f"{self.path} has no record {unknown[0]}; it has {len(self)} records")
        return self._sorted_offsets[at]

    @property
    def file_size(self) -> int:
        """Size of the .rec in bytes."""
        return self._stamp[0]

    def _stat(self) -> tuple[int, int]:
        status = self.path.stat()
        return status.st_size, status.st_mtime_ns

    def mapped(self):
        """Return the mapped file. Raises ValueError if the file changed after its index was read."""
        if self._map is None:
            with open(self.path, "rb") as file:
                if self._stat() != self._stamp:
                    raise ValueError(f"{self.path} changed since this reader opened it; open it again")
                self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if self.file_size else b""
        return self._map

    def parts(self, offset: int, name: str) -> list[tuple[int, int]]:
        """Start and end of each part of the record at `offset`. ValueError where it is damaged; `name` is its name there."""
        data = self.mapped()
        try:
            return parts_at(data, offset)
        except ValueError as error:
            raise self._damaged(name, offset, str(error)) from error

    def _scan(self) -> tuple[np.ndarray, np.ndarray]:
        """Find keys and offsets of a file without an `.idx`."""
        at = 0
        offsets: list[int] = []
        ids: list[int] = []
        while at < self.file_size:
            parts = self.parts(at, f"record number {len(offsets)}, counted from 0 in file order,")
            head = MAGIC.join(self.mapped()[start : min(stop, start + HEADER.size)] for start, stop in parts)
            ids.append(HEADER.unpack_from(head)[2] if len(head) >= HEADER.size else 0)
            offsets.append(at)
            at = padded(parts[-1][1])
        distinct = len(set(ids)) == len(ids) and max(ids, default=0) < 1 << 63
        return np.array(ids if distinct else range(len(ids)), np.int64), np.array(offsets, np.int64)

    def _damaged(self, name: str, offset: int, reason: str) -> ValueError:
        remedy = "copy it again from its source and compare sizes"
        if self.indexed:
            remedy += "; if the .idx belongs to another .rec, delete the .idx to have it rebuilt"
        return ValueError(
            f"{self.path}: {name} at byte {offset} cannot be read: {reason} "
            f"(the file has {self.file_size} bytes). It is cut short or damaged: {remedy}"
        )

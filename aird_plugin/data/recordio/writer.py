"""Write MXNet's RecordIO files."""

import operator
import os
from pathlib import Path

import numpy as np

from aird_plugin.data.recordio.format import frame, pack
from aird_plugin.utils.files import naming
from aird_plugin.utils.writer_lock import WriterLock


class PartFile:
    """A binary file written as `NAME.part` and renamed when complete. An OSError (a full disk) names the file.

    `aird_plugin.utils.files.write_atomically` does this for one file written at once; here two files grow in parallel.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        self.part = self.path.with_name(self.path.name + ".part")
        self.stream = open(self.part, "wb")

    def write(self, data: bytes) -> None:
        with naming(self.path):
            self.stream.write(data)

    def settle(self) -> None:
        """Flush to disk and close, without renaming."""
        with naming(self.path):
            self.stream.flush()
            os.fsync(self.stream.fileno())
            self.stream.close()

    def publish(self) -> None:
        """Rename to the final name; call `settle` first."""
        os.replace(self.part, self.path)

    def discard(self) -> None:
        """Close and remove the part file; a previous file at `path` stays."""
        try:
            self.stream.close()
        except OSError:
            pass  # closing flushes, and flushing has failed; the part file is removed anyway
        self.part.unlink(missing_ok=True)


class RecordWriter:
    """Write a `.rec` and its `.idx` as MXNet does: `with RecordWriter(path) as writer: writer.write(...)`.

    Both files get their names only when the block ends without an error: an error leaves nothing, a kill leaves only `*.part`
    files and the lock, and previous files stay untouched. An OSError (a full disk) names the file. Raises ValueError where
    another process writes the same file.
    """

    def __init__(self, rec_path: str | Path):
        self.path = Path(rec_path)
        self._lock = WriterLock(self.path)
        self._rec = PartFile(self.path)
        self._idx = PartFile(self.path.with_suffix(".idx"))
        self._offset, self._open = 0, True
        self._keys: set[int] = set()

    def write(self, key: int, label: float | np.ndarray, payload: bytes, id: int | None = None, id2: int = 0) -> None:
        """Append a record. label: a number, or an array of numbers; id: of the header, `key` by default.

        Raises ValueError for a negative or repeated key, or a record of 2**29 bytes or more.
        """
        if not self._open:
            raise ValueError(f"{self.path} is closed; write records before close()")
        key = operator.index(key)
        if not 0 <= key < 1 << 63 or key in self._keys:
            raise ValueError(f"{self.path}: a key is a whole number from 0 to 2**63-1, used once; got {key}")
        framed = frame(pack(label, payload, key if id is None else id, id2))
        try:
            self._rec.write(framed)
            self._idx.write(b"%d\t%d\n" % (key, self._offset))
        except OSError:
            self.discard()
            raise
        self._keys.add(key)
        self._offset += len(framed)

    def close(self) -> None:
        """Rename both files to their names.

        The old `.idx` is removed first: a kill between the renames leaves a `.rec` without `.idx`, which a reader scans, and
        never one beside the wrong `.idx`.
        """
        if not self._open:
            return
        try:
            self._rec.settle()
            self._idx.settle()
            self._idx.path.unlink(missing_ok=True)
            self._rec.publish()
            self._idx.publish()
        except BaseException:
            self.discard()
            raise
        self._open = False
        self._lock.release()

    def discard(self) -> None:
        """Remove everything written so far."""
        self._open = False
        self._rec.discard()
        self._idx.discard()
        self._lock.release()

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        if kind is None:
            self.close()
        else:
            self.discard()

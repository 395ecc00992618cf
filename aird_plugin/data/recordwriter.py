"""Write MXNet's RecordIO files."""

import operator
import os
from pathlib import Path

from aird_plugin.data.recordformat import frame, pack


class PartFile:
    """A binary file written as `NAME.part` and renamed when whole. An OSError (a full disk) names the file.

    `aird_plugin.files.write_atomically` does this for one file in one go; here two files grow side by side.
    """

    def __init__(self, path):
        self.path = Path(path)
        self.part = self.path.with_name(self.path.name + ".part")
        self.stream = open(self.part, "wb")

    def write(self, data: bytes) -> None:
        try:
            self.stream.write(data)
        except OSError as error:
            raise self._named(error) from error

    def settle(self) -> None:
        """Everything written is on the disk; nothing is renamed yet."""
        try:
            self.stream.flush()
            os.fsync(self.stream.fileno())
            self.stream.close()
        except OSError as error:
            raise self._named(error) from error

    def publish(self) -> None:
        """Rename to the final name; after `settle`."""
        os.replace(self.part, self.path)

    def discard(self) -> None:
        """Close and remove the part; what stood at `path` before stays."""
        try:
            self.stream.close()
        except OSError:
            pass  # closing flushes, and a flush is what failed: the part goes anyway
        self.part.unlink(missing_ok=True)

    def _named(self, error: OSError) -> OSError:
        return OSError(error.errno, f"{error.strerror}, while writing", str(self.path))


class RecordWriter:
    """A `.rec` and its `.idx`, as MXNet writes them: `with RecordWriter(path) as writer: writer.write(...)`.

    Both stand under their names only when the block ends well: after an error nothing is left, after a kill
    only `*.part` files, and what stood there before is untouched. An OSError (a full disk) names the file.
    """

    def __init__(self, rec_path):
        self.path = Path(rec_path)
        self._rec = PartFile(self.path)
        self._idx = PartFile(self.path.with_suffix(".idx"))
        self._offset, self._keys, self._open = 0, set(), True

    def write(self, key: int, label, payload: bytes, id: int | None = None, id2: int = 0) -> None:
        """Append a record. label: a number, or an array of numbers; id: the header's, `key` unless given.

        Raises ValueError for a key that is negative or was written before, or a record of 2**29 bytes or
        more.
        """
        if not self._open:
            raise ValueError(f"{self.path} is closed; records go in before close()")
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
        """Put both files under their names.

        The old `.idx` goes first: a kill between the renames leaves a `.rec` that a reader scans, never one
        beside the wrong `.idx`.
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

    def discard(self) -> None:
        """Give up: remove what was written so far."""
        self._open = False
        self._rec.discard()
        self._idx.discard()

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        if kind is None:
            self.close()
        else:
            self.discard()

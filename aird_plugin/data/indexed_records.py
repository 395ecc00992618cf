"""The images of record files by an index on disk, which opens at once and stays mapped, however many images there are.

Reading a .rec from scratch takes about 100 bytes of memory for each image, its whole bytes for the hash, and minutes for 10^8
images, on every rank and at every start. BANK/records-KEY/ keeps what is then known:

labels.npy     int32 (N,)  label of each image
offsets.npy    int64 (N,)  byte of its record in its file
manifest.json  the files with their sizes and times of change, the first row of each, number of identities, fingerprints

The index counts while no file has another size or time of change; `aird bank` reads the files again in any case.

N = images.
"""

import hashlib
import json
import mmap
import sys
from pathlib import Path
from typing import Any

import numpy as np

from aird_plugin.data.bank.files import saved
from aird_plugin.data.bank.sharded import open_array
from aird_plugin.data.image_files import Accounting
from aird_plugin.data.images import FORMATS
from aird_plugin.data.joined_records import JoinedRecords, Source, source_prints
from aird_plugin.data.recordio.face_records import FaceRecords
from aird_plugin.data.recordio.parse import whole_payload
from aird_plugin.data.records import StoredRecords, open_records
from aird_plugin.utils.files import write_atomically
from aird_plugin.utils.json_files import read_object

FORMAT = "aird-records-index/1"
# Below, reading the files takes seconds and less than half a gigabyte.
INDEXED_ABOVE = 1 << 22


class IndexedRecords:
    """A training set of record files, from its index; the interface is that of `FaceRecords`."""

    formats = FORMATS

    def __init__(self, folder: Path, manifest: dict[str, Any], rec: str | tuple, identity_map: str = ""):
        self.rec, self.identity_map, self.manifest = rec, identity_map, manifest
        self.labels, self.offset_N = open_array(folder, "labels"), open_array(folder, "offsets")
        self.path, self.num_classes = manifest["path"], int(manifest["num_classes"])
        self.files = [file["path"] for file in manifest["files"] if file["path"].endswith(".rec")]
        self.sources = [Source(digest) for digest in manifest["sources"]]
        self.left_out = Accounting(Path(self.path), len(self), manifest["left_out"])
        self._maps: dict[int, mmap.mmap] = {}
        self._read: StoredRecords | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def payload(self, row: int) -> bytes:
        """The undecoded image file of a row."""
        source = self._source(row)
        if source not in self._maps:
            with open(self.files[source], "rb") as file:
                self._maps[source] = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        data = self._maps[source]
        found = whole_payload(data, int(self.offset_N[row]))
        return self._from_scratch().payload(row) if found is None else found

    def _source(self, row: int) -> int:
        """The number of the file of a row."""
        return int(np.searchsorted(self.manifest["starts"], row, "right")) - 1

    def where(self, row: int) -> str:
        """File and byte of a row's record, for error messages; its key would need the files' own index."""
        return f"{self.files[self._source(row)]} record at byte {self.offset_N[row]}"

    def fingerprint(self) -> str:
        """The fingerprint that the set had when the index was written."""
        return self.manifest["fingerprint"]

    def _from_scratch(self) -> StoredRecords:
        """The files themselves: for a record in several parts, or damaged."""
        if self._read is None:
            self._read = open_records(self.rec, self.identity_map)
        return self._read

    def __getstate__(self):
        return vars(self) | {"_maps": {}, "_read": None}


def index_folder(bank: str, rec: str | tuple, identity_map: str = "") -> Path:
    """The folder of the index of these record files."""
    key = hashlib.sha256(json.dumps([rec, identity_map]).encode()).hexdigest()
    return Path(bank) / f"records-{key[:12]}"


def open_indexed(bank: str, rec: str | tuple, identity_map: str = "") -> IndexedRecords | None:
    """The set from its index; None without one, or where a file has changed since."""
    folder = index_folder(bank, rec, identity_map)
    try:
        manifest = read_object(folder / "manifest.json")
        if manifest.get("format") != FORMAT or any(file != stamp(file["path"]) for file in manifest["files"]):
            return None
        return IndexedRecords(folder, manifest, rec, identity_map)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def write_index(bank: str, records: StoredRecords, rec: str | tuple, identity_map: str = "") -> bool:
    """Write the index of a large set of record files; returns whether the set has one now. The manifest is written last."""
    sources = records.sources if isinstance(records, JoinedRecords) else [records]
    if len(records) <= INDEXED_ABOVE or not all(isinstance(source, FaceRecords) for source in sources):
        return False
    folder = index_folder(bank, rec, identity_map)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "manifest.json").unlink(missing_ok=True)
    files = [source.reader.path for source in sources]
    files += [source.reader.idx_path for source in sources if source.reader.indexed] + ([identity_map] if identity_map else [])
    manifest = {
        "format": FORMAT,
        "files": [stamp(str(path)) for path in files],
        "starts": np.cumsum([0, *map(len, sources)])[:-1].tolist(),
        "path": str(records.path),
        "num_classes": records.num_classes,
        "fingerprint": records.fingerprint(),
        "sources": source_prints(records),
        "left_out": records.left_out.left_out,
    }
    saved(folder, {"labels": np.asarray(records.labels, np.int32), "offsets": np.concatenate([s.offset_N for s in sources])})
    write_atomically(folder / "manifest.json", json.dumps(manifest, indent=1).encode())
    print(f"{folder}: index of {len(records):,} images, for the next start", file=sys.stderr)
    return True


def stamp(path: str) -> dict[str, Any]:
    """Path, size and time of change of a file."""
    status = Path(path).stat()
    return {"path": path, "size": status.st_size, "mtime_ns": status.st_mtime_ns}

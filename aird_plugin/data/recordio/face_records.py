"""InsightFace's face data sets on top of RecordIO: images and their labels.

InsightFace's layout: images at keys 1..N, one identity record per identity at keys N+1..M (labels: first and last + 1 of its
image keys; no payload), and a header at key 0 (labels N+1, M+1; no payload). im2rec's layout: images at every key.
"""

import hashlib
from collections.abc import Callable, Iterable
from functools import cached_property
from pathlib import Path

import numpy as np

from aird_plugin.data.constants import FACE_SIDE
from aird_plugin.data.recordio.coverage import check_coverage, file_order_remedy
from aird_plugin.data.recordio.reader import RecordReader
from aird_plugin.data.recordio.writer import RecordWriter
from aird_plugin.utils.files import write_atomically

EXACT_IN_FLOAT32 = 1 << 24
HASH_BLOCK = 1 << 20
MAX_LABELS = 1 << 31


class FaceRecords:
    """Images and labels of a `.rec` in either layout. A row is an image, in ascending key order.

    labels: int64 (N,), the first label of a record with several. num_classes: highest label + 1. keys, offset_N: of
    the records, int64 (N,).

    Key 0 counts as a header only if it has two labels, 1 < first <= second, and no payload; anything else there is an image.
    (Upstream treats any array label as a header, and silently reads an empty data set from multi-label records.) Raises
    FileNotFoundError, and ValueError naming the record that is damaged, has no image, or has no integer label >= 0, or for an
    `.idx` that does not list every record.
    """

    def __init__(self, rec_path: str | Path):
        self.reader = RecordReader(rec_path)
        self.path = self.reader.path
        self.keys = image_keys(self.reader)
        if not len(self.keys):
            raise ValueError(f"{self.path} contains no image; make it again, for example with tools/make_rec.py")
        keys, offsets = self.reader.index()
        self.offset_N = offsets[np.searchsorted(keys, self.keys)]
        heads = self.reader.heads(self.keys)
        self.left_out = check_coverage(self.reader)
        self.left_out.taken = len(self)
        if (heads.size == 0).any() and (remedy := file_order_remedy(self.reader)):
            raise ValueError(remedy)
        self._check(heads.size == 0, "contains no image, and no header at key 0 marks it as an identity record")
        # A finite label may exceed the integer range; the cast would turn it into another identity.
        whole = (heads.label >= 0) & (heads.label < MAX_LABELS) & (heads.label == np.floor(heads.label))
        self._check(~whole, "has a label that is not a whole number from 0 to 2**31 - 1")
        self.labels = heads.label.astype(np.int64)
        self.num_classes = int(self.labels.max()) + 1

    def __len__(self) -> int:
        return len(self.keys)

    def payload(self, row: int) -> bytes:
        """The stored image file of a row, undecoded."""
        return self.reader.payload_at(int(self.offset_N[row]))

    def where(self, row: int) -> str:
        """File and key of a row, for error messages."""
        return f"{self.path} record {self.keys[row]}"

    def fingerprint(self) -> str:
        """SHA-256, in hex, of the `.rec` file, its keys and its offsets; a rebuilt `.idx` keeps it. Computed once."""
        return self._digest

    @cached_property
    def _digest(self) -> str:
        digest = hashlib.sha256()
        with open(self.path, "rb") as file:
            while block := file.read(HASH_BLOCK):
                digest.update(block)
        for column in self.reader.index():
            digest.update(column.astype("<i8").tobytes())
        return digest.hexdigest()

    def _check(self, bad: np.ndarray, problem: str) -> None:
        if bad.any():
            key = self.keys[np.flatnonzero(bad)[0]]
            offset = self.reader.offset(key)
            raise ValueError(
                f"{self.path}: record {key} at byte {offset} {problem}, as do {int(bad.sum()) - 1} others; "
                "omit it and make the file again"
            )


def image_keys(reader: RecordReader) -> np.ndarray:
    """Return the ascending keys of the images, int64 (N,). Raises ValueError if keys that the header states are missing."""
    keys, _ = reader.index()
    if 0 not in reader:
        return keys
    zero = reader[0]
    header = len(zero.label) == 2 and not zero.payload and np.isfinite(zero.label).all()
    if not header or not 1 < zero.label[0] <= zero.label[1]:
        return keys
    stop = first_identity_key(zero.label[0], lambda key: key not in reader or not reader[key].payload)
    images = keys[(keys > 0) & (keys < stop)]
    if len(images) < stop - 1:
        gap = np.flatnonzero(images != np.arange(1, len(images) + 1))
        missing = gap[0] + 1 if len(gap) else len(images) + 1
        raise ValueError(
            f"{reader.path}: its header states images at keys 1 to {stop - 1}, but key {missing} is "
            f"missing ({len(images)} are present); delete the .idx to have it rebuilt, or copy both files again"
        )
    return images


def first_identity_key(label: np.float32, is_empty: Callable[[int], bool]) -> int:
    """Return the header's first label as a key.

    Above 2**24 the label is rounded to float32; the key is then that of the first record nearby without payload.
    """
    if label <= EXACT_IN_FLOAT32:
        return int(label)
    slack = int(np.spacing(np.float32(label)))
    near = range(int(label) - slack, int(label) + slack + 1)
    return next((key for key in near if is_empty(key)), int(label))


def write_face_records(
    folder: str | Path, items: Iterable[tuple[int, bytes]], size: tuple[int, int] = (FACE_SIDE, FACE_SIDE)
) -> tuple[int, int]:
    """Write train.rec, train.idx and property into `folder`: images, identity records, then header 0.

    items: (label, image file bytes), sorted by label, labels 0, 1, 2 ... without a gap. size: height and width in pixels, for
    `property`. Returns the number of images and of identities. Raises ValueError for other labels, an empty payload or no
    items. The files get these names only after everything is written.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    starts: list[int] = []
    end = 1
    with RecordWriter(folder / "train.rec") as writer:
        for label, payload in items:
            count = len(starts)
            if label != count and (label != count - 1 or label < 0):
                raise ValueError(f"image {end} has label {label} after {count} identities; sort by label, 0, 1, 2 ...")
            if not payload:
                raise ValueError(f"image {end} (label {label}) has an empty payload; omit it")
            if label == count:
                starts.append(end)
            writer.write(end, label, payload)
            end += 1
        if not starts:
            raise ValueError(f"no images for {folder / 'train.rec'}; pass one or more")
        for identity, first_and_stop in enumerate(zip(starts, [*starts[1:], end], strict=True), end):
            writer.write(identity, first_and_stop, b"")
        writer.write(0, (end, end + len(starts)), b"")
    write_atomically(folder / "property", f"{len(starts)},{size[0]},{size[1]}\n".encode())
    return end - 1, len(starts)

"""InsightFace's face data sets on top of RecordIO: which records are images, and whose.

InsightFace's own layout: images at keys 1..N, one identity record per person at keys N+1..M (labels: first
and last + 1 of the person's keys; no payload), and a header at key 0 (labels N+1, M+1; no payload). im2rec's
layout: images at every key.
"""

import hashlib
from collections.abc import Callable, Iterable
from functools import cached_property
from pathlib import Path

import numpy as np

from aird_plugin.data.recordio import RecordReader, RecordWriter
from aird_plugin.files import write_atomically

EXACT_IN_FLOAT32 = 1 << 24
HASH_BLOCK = 1 << 20
MOST_PEOPLE = 1 << 31


class FaceRecords:
    """The images of a `.rec` and their people, in either layout. A row is an image, in ascending key order.

    labels: int64 (N,), the first one where a record has several. num_classes: highest label + 1. keys: int64
    (N,).

    Key 0 counts as a header only where it has two labels, 1 < first <= second, and no payload; anything else
    there is an image. (Upstream takes any array label for a header, and silently reads an empty data set
    from multi-label records.) Raises FileNotFoundError, and ValueError naming the record that is damaged,
    has no image, or has no whole label >= 0.
    """

    def __init__(self, rec_path):
        self.reader = RecordReader(rec_path)
        self.path = self.reader.path
        self.keys = image_keys(self.reader)
        if not len(self.keys):
            raise ValueError(f"{self.path} holds no image; make it again, for example with tools/make_rec.py")
        keys, offsets = self.reader.index()
        self._offsets = offsets[np.searchsorted(keys, self.keys)]
        heads = self.reader.heads(self.keys)
        self._refuse(heads.size == 0, "has no image in it, and no header at key 0 says it is an identity")
        # A finite label may still be more than an integer holds; cast, it would be some other person.
        whole = (heads.label >= 0) & (heads.label < MOST_PEOPLE) & (heads.label == np.floor(heads.label))
        self._refuse(~whole, "has a label that is no whole number from 0 up, below 2**31")
        self.labels = heads.label.astype(np.int64)
        self.num_classes = int(self.labels.max()) + 1

    def __len__(self) -> int:
        return len(self.keys)

    def payload(self, row: int) -> bytes:
        """The stored image file of a row, undecoded."""
        return self.reader.payload_at(int(self._offsets[row]))

    def where(self, row: int) -> str:
        """File and key of a row, for messages."""
        return f"{self.path} record {self.keys[row]}"

    def fingerprint(self) -> str:
        """sha256, in hex, of the `.rec` file, then its keys and offsets: a rebuilt `.idx` changes nothing. Taken once."""
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

    def _refuse(self, bad: np.ndarray, what: str) -> None:
        if bad.any():
            key = self.keys[np.flatnonzero(bad)[0]]
            offset = self.reader.offset(key)
            raise ValueError(
                f"{self.path}: record {key} at byte {offset} {what}, as have {int(bad.sum()) - 1} others; "
                "leave it out and make the file again"
            )


def image_keys(reader: RecordReader) -> np.ndarray:
    """Keys of the images, ascending, int64 (N,). ValueError where a header promises keys that are missing."""
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
            f"{reader.path}: its header promises images at keys 1 to {stop - 1}, but key {missing} is not "
            f"there ({len(images)} are); delete the .idx to have it rebuilt, or copy both files again"
        )
    return images


def first_identity_key(label: np.float32, is_empty: Callable[[int], bool]) -> int:
    """The header's first label as a key.

    Above 2**24 float32 has rounded it; then it is the first record nearby that has no payload.
    """
    if label <= EXACT_IN_FLOAT32:
        return int(label)
    slack = int(np.spacing(np.float32(label)))
    near = range(int(label) - slack, int(label) + slack + 1)
    return next((key for key in near if is_empty(key)), int(label))


def write_face_records(folder, items: Iterable[tuple[int, bytes]], size=(112, 112)) -> tuple[int, int]:
    """Write train.rec, train.idx and property into `folder`: images, identity records, then header 0.

    items: (label, image file bytes), sorted by label, labels 0, 1, 2 ... without a gap. size: height and
    width in pixels, for `property`. Returns the number of images and of people. Raises ValueError for other
    labels, an empty payload or no items. Nothing appears under those names unless all of it was written.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    starts: list[int] = []
    end = 1
    with RecordWriter(folder / "train.rec") as writer:
        for label, payload in items:
            people = len(starts)
            if label != people and (label != people - 1 or label < 0):
                raise ValueError(
                    f"image {end} has label {label} after {people} people; sort them, count 0, 1, 2 ..."
                )
            if not payload:
                raise ValueError(f"image {end} (label {label}) has an empty payload; leave it out")
            if label == people:
                starts.append(end)
            writer.write(end, label, payload)
            end += 1
        if not starts:
            raise ValueError(f"no image came for {folder / 'train.rec'}")
        for identity, first_and_stop in enumerate(zip(starts, [*starts[1:], end], strict=True), end):
            writer.write(identity, first_and_stop, b"")
        writer.write(0, (end, end + len(starts)), b"")
    write_atomically(folder / "property", f"{len(starts)},{size[0]},{size[1]}\n".encode())
    return end - 1, len(starts)

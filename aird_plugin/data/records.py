"""Open a training set of any kind, and decode its images."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from aird_plugin.data.blended_records import BlendedRecords
from aird_plugin.data.constants import FACE_SIDE, NO_IDENTITY
from aird_plugin.data.folder_records import FolderRecords
from aird_plugin.data.image_files import UNREADABLE, Accounting
from aird_plugin.data.images import FORMATS, decode
from aird_plugin.data.joined_records import JoinedRecords, open_shards
from aird_plugin.data.list_records import LIST_SUFFIXES, ListRecords
from aird_plugin.data.recordio.face_records import FaceRecords


def open_records(path: str | Sequence[str], identity_map: str = "") -> "StoredRecords":
    """Open the training set at `path`: a folder with train.rec, a .rec file, or a folder of images; or several, as one.

    The folder has one subfolder per identity, or the images themselves, without labels; or shards, train_0.rec, train_1.rec ...
    A list of paths and labels (.lst, .csv) is a training set too. The result has `labels` (N,), `num_classes`, `payload(row)`,
    `fingerprint()` and `path`. Without labels, `num_classes` is 0, the labels are `NO_IDENTITY`. Of several sets the identities
    are apart, or joined by `identity_map` (`JoinedRecords`). A sequence of one path is that set itself.
    """
    if not isinstance(path, str) and len(path) == 1:
        [path] = path
    if not isinstance(path, str):
        return JoinedRecords([open_records(one) for one in path], identity_map=identity_map)
    if identity_map:
        return JoinedRecords([open_records(path)], identity_map=identity_map)
    place = Path(path)
    if place.suffix == ".rec":
        return FaceRecords(place)
    if place.suffix in LIST_SUFFIXES and place.is_file():
        return ListRecords(place)
    if (place / "train.rec").exists():
        return FaceRecords(place / "train.rec")
    if place.is_dir():
        return open_shards(place) or FolderRecords(place)
    raise FileNotFoundError(
        f"rec={path}: no such folder or .rec file; a folder holds train.rec, one subfolder per identity, or images"
    )


class ReadableRecords:
    """A training set without its unreadable images. stored: the whole set; labels keep their numbers. skipped: a count."""

    def __init__(self, stored: FaceRecords | FolderRecords | ListRecords | JoinedRecords, unreadable: list[int]):
        self.stored, self.path, self.num_classes = stored, stored.path, stored.num_classes
        self.formats = getattr(stored, "formats", FORMATS)
        self.rows = np.setdiff1d(np.arange(len(stored)), unreadable)
        self.labels = np.asarray(stored.labels)[self.rows]
        self.skipped = len(unreadable)
        walk = getattr(stored, "left_out", None)
        self.left_out = Accounting(Path(stored.path), len(self.rows), dict(walk.left_out) if walk else {})
        self.left_out.leave_out(UNREADABLE, *(self._short(row) for row in unreadable))

    def _short(self, row: int) -> str:
        return where(self.stored, row).removeprefix(str(self.path)).lstrip("/ ")

    def __len__(self) -> int:
        return len(self.rows)

    def payload(self, row: int) -> bytes:
        """The undecoded image file of a row."""
        return self.stored.payload(int(self.rows[row]))

    def where(self, row: int) -> str:
        """The file, or the record file and key, of a row."""
        return where(self.stored, int(self.rows[row]))

    def fingerprint(self) -> str:
        """Of the whole set and the rows that are taken."""
        return hashlib.sha256(self.stored.fingerprint().encode() + self.rows.astype("<i8").tobytes()).hexdigest()


StoredRecords = FaceRecords | FolderRecords | ListRecords | JoinedRecords | ReadableRecords


class WithoutLabels:
    """A labelled training set whose labels the recipe does not use. stored: the set itself."""

    num_classes = 0

    def __init__(self, stored: StoredRecords):
        self.stored, self.path = stored, stored.path
        self.labels = np.full(len(stored), NO_IDENTITY)
        self.left_out = getattr(stored, "left_out", None)
        self.formats, self.skipped = getattr(stored, "formats", FORMATS), skipped_images(stored)

    def __len__(self) -> int:
        return len(self.stored)

    def payload(self, row: int) -> bytes:
        """The undecoded image file of a row."""
        return self.stored.payload(row)

    def where(self, row: int) -> str:
        """The file, or the record file and key, of a row."""
        return where(self.stored, row)

    def fingerprint(self) -> str:
        """The set's own fingerprint: the images are the same, so that runs with and without labels share one bank."""
        return self.stored.fingerprint()


Records = StoredRecords | WithoutLabels | BlendedRecords


def as_stored(records: Records) -> StoredRecords | BlendedRecords:
    """The training set with the labels that it has on disk."""
    return records.stored if isinstance(records, WithoutLabels) else records


def originals(records: Records) -> StoredRecords | WithoutLabels:
    """The training set without the blends of its images."""
    return WithoutLabels(records.stored) if isinstance(records, BlendedRecords) else records


def skipped_images(records) -> int:
    """The number of unreadable images that skip_bad left out."""
    return getattr(originals(records), "skipped", 0)


def where(records: Records, row: int) -> str:
    """The file, or the record file and key, of a row, for error messages."""
    return records.where(row) if hasattr(records, "where") else f"image {row} of {records.path}"


def decode_face(records: Records, row: int) -> np.ndarray:
    """Decode the HR image of a row. uint8 (112, 112, 3). Raises ValueError naming a record of another size or unreadable."""
    if isinstance(records, BlendedRecords):
        return records.face(row, decode_face)
    try:
        payload = records.payload(row)
    except OSError as error:
        raise ValueError(f"{where(records, row)} cannot be read: {error.strerror or error}") from error
    face_HWC = decode(payload, where(records, row), formats=getattr(records, "formats", FORMATS))
    if face_HWC.shape != (FACE_SIDE, FACE_SIDE, 3):
        raise ValueError(
            f"{where(records, row)} is {face_HWC.shape[1]}x{face_HWC.shape[0]}, but training needs aligned "
            f"{FACE_SIDE}x{FACE_SIDE} images; make the records again with tools/make_rec.py"
        )
    return face_HWC

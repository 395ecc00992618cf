"""Open a set of aligned images of any kind: with labels for training (`open_records`), without (`read_faces`)."""

from pathlib import Path

import numpy as np

from aird_plugin.data.constants import FACE_SIDE, IMAGE_SUFFIXES, NO_IDENTITY
from aird_plugin.data.folder_records import FolderRecords
from aird_plugin.data.images import decode, face_file
from aird_plugin.data.pairs import pair_faces, read_pairs
from aird_plugin.data.recordio.face_records import FaceRecords


def open_records(path: str) -> FaceRecords | FolderRecords:
    """Open the training set at `path`: a folder with train.rec, a .rec file, or a folder of images.

    The folder has one subfolder per identity, or the images themselves, without labels. The result has `labels` (N,),
    `num_classes`, `payload(row)`, `fingerprint()` and `path`. Without labels, `num_classes` is 0, the labels are `NO_IDENTITY`.
    """
    place = Path(path)
    if place.suffix == ".rec":
        return FaceRecords(place)
    if (place / "train.rec").exists():
        return FaceRecords(place / "train.rec")
    if place.is_dir():
        return FolderRecords(place)
    raise FileNotFoundError(
        f"rec={path}: no such folder or .rec file; a folder holds train.rec, one subfolder per identity, or images"
    )


class WithoutLabels:
    """A labelled training set whose labels the recipe does not use. stored: the set itself."""

    num_classes = 0

    def __init__(self, stored: FaceRecords | FolderRecords):
        self.stored, self.path = stored, stored.path
        self.labels = np.full(len(stored), NO_IDENTITY)

    def __len__(self) -> int:
        return len(self.stored)

    def payload(self, row: int) -> bytes:
        """The undecoded image file of a row."""
        return self.stored.payload(row)

    def fingerprint(self) -> str:
        """The set's own fingerprint: the images are the same, so that runs with and without labels share one bank."""
        return self.stored.fingerprint()


Records = FaceRecords | FolderRecords | WithoutLabels


def as_stored(records: Records) -> FaceRecords | FolderRecords:
    """The training set with the labels that it has on disk."""
    return records.stored if isinstance(records, WithoutLabels) else records


def decode_face(records: Records, row: int) -> np.ndarray:
    """Decode the HR image of a row. uint8 (112, 112, 3). Raises ValueError naming a record of another size or unreadable."""
    face_HWC = decode(records.payload(row), f"image {row} of {records.path}")
    if face_HWC.shape != (FACE_SIDE, FACE_SIDE, 3):
        raise ValueError(
            f"image {row} of {records.path} is {face_HWC.shape[1]}x{face_HWC.shape[0]}, but training needs aligned "
            f"{FACE_SIDE}x{FACE_SIDE} images; make the records again with tools/make_rec.py"
        )
    return face_HWC


def read_faces(path: str) -> np.ndarray:
    """Read unlabelled images from a folder of any layout, a .bin or a .rec. uint8 (N, 112, 112, 3), RGB.

    The reference resize brings square images of another size to 112 px. Raises FileNotFoundError, and ValueError for an image
    that is unreadable or not square, or for a folder with fewer than two images.
    """
    place = Path(path)
    if place.suffix == ".bin":
        return pair_faces(read_pairs(place))
    if place.suffix == ".rec" or (place / "train.rec").exists():
        records = open_records(path)
        return np.stack([decode_face(records, row) for row in range(len(records))])
    if not place.is_dir():
        raise FileNotFoundError(f"no images at {path}; pass a folder of images, a .bin or a .rec")
    files = sorted(file for file in place.rglob("*") if file.suffix.lower() in IMAGE_SUFFIXES)
    if len(files) < 2:
        raise ValueError(f"{path} holds {len(files)} image(s) ({', '.join(IMAGE_SUFFIXES)}); statistics need two or more")
    return np.stack([decode(face_file(file, resize=True, keep=("JPEG", "PNG")), str(file)) for file in files])

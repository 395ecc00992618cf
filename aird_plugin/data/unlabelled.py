"""Faces without names: a folder of pictures in any arrangement, a .bin, a .rec."""

from pathlib import Path

import numpy as np

from aird_plugin.data.bank_build import decode_face
from aird_plugin.data.faces import open_records
from aird_plugin.data.images import decode, face_file
from aird_plugin.data.pairs import pair_faces, read_pairs

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp")


def read_faces(path: str) -> np.ndarray:
    """Every face as uint8 (N, 112, 112, 3), RGB; squares of another size are resized by the one resize.

    Raises FileNotFoundError, and ValueError for a picture that is unreadable or not square, or where there is none.
    """
    place = Path(path)
    if place.suffix == ".bin":
        return pair_faces(read_pairs(place))
    if place.suffix == ".rec" or (place / "train.rec").exists():
        records = open_records(path)
        return np.stack([decode_face(records, row) for row in range(len(records))])
    if not place.is_dir():
        raise FileNotFoundError(f"no faces at {path}; give a folder of pictures, a .bin or a .rec")
    files = sorted(file for file in place.rglob("*") if file.suffix.lower() in SUFFIXES)
    if len(files) < 2:
        raise ValueError(f"{path} holds {len(files)} picture(s) ({', '.join(SUFFIXES)}); statistics need two or more")
    return np.stack([decode(face_file(file, resize=True, keep=("JPEG", "PNG")), str(file)) for file in files])

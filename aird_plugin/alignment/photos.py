"""One photo -> crops on disk and rows of the table."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from aird_plugin.alignment.crop import align_face
from aird_plugin.alignment.detections import Face, ranked
from aird_plugin.alignment.detector import Detector
from aird_plugin.alignment.landmarks import Landmarks
from aird_plugin.alignment.log import BAD_POINTS, CROPPED, NO_FACE, NOT_CHOSEN, TOO_SMALL, UNREADABLE, Row
from aird_plugin.data.constants import IMAGE_KINDS
from aird_plugin.data.image_files import Accounting, find_images
from aird_plugin.data.images import FILE_FORMATS, decode, encode_jpeg
from aird_plugin.utils.files import write_atomically


class CropSettings(NamedTuple):
    """Which faces to crop, and how to store them. every_face: not only the first. min_px: smallest side of a face. pick: which is
    the first (`detections.PICKS`).

    encode: uint8 crop (112, 112, 3) -> bytes of an image file.
    """

    every_face: bool = False
    min_px: int = 1
    pick: str = "prominent"
    encode: Callable[[np.ndarray], bytes] = encode_jpeg


def photos_in(folder: Path) -> tuple[list[str], Accounting]:
    """Sorted paths of all photos, relative to the folder, and what is left out.

    ValueError for none, or for two with the same crop name.
    """
    files, accounting = find_images(folder)
    if not files:
        line = accounting.line()
        raise ValueError(f"{folder} has no photo ({IMAGE_KINDS})" + (f". {line}" if line else ""))
    # Of a million photos: names alone, which take a tenth of the memory of paths.
    names = [file.relative_to(folder).as_posix() for file in files]
    del files
    seen: dict[str, str] = {}
    for name in names:
        other = seen.setdefault(os.path.splitext(name)[0], name)
        if other != name:
            raise ValueError(f"{folder / other} and {folder / name} would have the same crop name; rename one")
    return names, accounting


def crop_photo(folder: Path, out: Path, name: str, source: Detector | Landmarks, settings: CropSettings) -> list[Row]:
    """Write the crops of one photo, each atomically, and return its rows: one per face, or one with the reason for none."""
    every_face = settings.every_face
    try:
        photo_HWC = decode((folder / name).read_bytes(), name, upright=True, formats=FILE_FORMATS)
    except (ValueError, OSError) as error:
        return [Row(name, "", "0", UNREADABLE, note=" ".join(str(error).split()))]
    height, width = photo_HWC.shape[:2]
    faces = ranked(source.find(name, photo_HWC), width, height, settings.pick)
    rows, n_crops = [], 0
    for number, face in enumerate(faces):
        status, crop = _status(face, settings.min_px, every_face or not n_crops), ""
        if status == CROPPED:
            n_crops += 1
            crop = Path(name).with_suffix("").as_posix() + (f"_{number}.jpg" if every_face else ".jpg")
            write_atomically(out / crop, settings.encode(align_face(photo_HWC, face.points_52)))
        rows.append(_row(name, number, len(faces), status, crop, face))
    return rows or [Row(name, "", "0", NO_FACE)]


def _status(face: Face, min_px: int, wanted: bool) -> str:
    """What happened to a face. wanted: whether it is among the faces to crop."""
    if face.problem:
        return BAD_POINTS
    if face.px < min_px:
        return TOO_SMALL
    return CROPPED if wanted else NOT_CHOSEN


def _row(name: str, number: int, faces: int, status: str, crop: str, face: Face) -> Row:
    px, score = ("" if np.isnan(value) else f"{value:{form}}" for value, form in ((face.px, ".1f"), (face.score, ".3f")))
    points = tuple(f"{value:.2f}" for value in face.points_52.ravel())
    return Row(name, str(number), str(faces), status, crop, score, px, points, face.problem)

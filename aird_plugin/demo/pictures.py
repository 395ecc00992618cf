"""A picture from a stranger -> an aligned 112 px face, with what the user should know about how it came about."""

import io
from typing import NamedTuple

import numpy as np
from PIL import Image

from aird_plugin.alignment.detector import Detector, find_detector
from aird_plugin.alignment.found import ranked
from aird_plugin.data.align import align_face
from aird_plugin.data.images import decode, resized
from aird_plugin.data.lowres import FACE_SIDE, MIN_PX

WHERE = "the picture"


class Face(NamedTuple):
    """face_HWC: uint8 RGB (112, 112, 3). px: pixels of the picture along its side, at most 112. notes: sentences for the user."""

    face_HWC: np.ndarray
    px: float
    notes: list[str]


def face_in(payload: bytes, detector: Detector | None = None) -> Face:
    """The face of a picture file, upright as its EXIF says: found and aligned by `detector`, else the centre square as it is.

    Raises ValueError for bytes that are no readable picture, or a picture of less than 4 px.
    """
    photo_HWC = decode(payload, WHERE, upright=True)
    if min(photo_HWC.shape[:2]) < MIN_PX:
        raise ValueError(f"{WHERE} has {photo_HWC.shape[1]}x{photo_HWC.shape[0]} pixels; a face has {MIN_PX} a side or more")
    if detector is None:
        return centre_square(photo_HWC, [])
    return _found(photo_HWC, detector) or centre_square(photo_HWC, ["The detector found no face: taken as an aligned crop."])


def centre_square(photo_HWC: np.ndarray, notes: list[str]) -> Face:
    """The middle of a picture, by the one resize."""
    height, width = photo_HWC.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    if height != width:
        notes = [*notes, f"{width}x{height} is no square: its centre was cut out, not aligned."]
    square_HWC = photo_HWC[top : top + side, left : left + side]
    return Face(resized(square_HWC, FACE_SIDE), float(min(side, FACE_SIDE)), notes)


def open_detector(file: str | None) -> Detector | None:
    """The detector of that file; without one InsightFace's largest, or None where there is none. Raises what `Detector` does."""
    try:
        return Detector(find_detector(file))
    except (ImportError, FileNotFoundError):
        if file is not None:
            raise
        return None


def _found(photo_HWC: np.ndarray, detector: Detector) -> Face | None:
    """The large and central face, aligned; None where there is none."""
    height, width = photo_HWC.shape[:2]
    faces = [face for face in ranked(detector.find(WHERE, photo_HWC), width, height) if not face.problem]
    if not faces:
        return None
    notes = [f"{len(faces)} faces: the large and central one was taken."] if len(faces) > 1 else []
    return Face(align_face(photo_HWC, faces[0].points_52), min(faces[0].px, FACE_SIDE), notes)


def png(face_HWC: np.ndarray) -> bytes:
    """uint8 (H, W, 3) RGB -> PNG file, to the bit."""
    file = io.BytesIO()
    Image.fromarray(face_HWC).save(file, "PNG")
    return file.getvalue()

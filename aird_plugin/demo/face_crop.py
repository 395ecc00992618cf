"""An uploaded image -> an aligned 112 px face, with notes for the user on how it was obtained."""

import io
from typing import NamedTuple

import numpy as np
from PIL import Image

from aird_plugin.alignment.crop import align_face
from aird_plugin.alignment.detections import ranked
from aird_plugin.alignment.detector import Detector, find_detector
from aird_plugin.data.constants import FACE_SIDE
from aird_plugin.data.images import decode, resized
from aird_plugin.data.lowres import MIN_PX

WHERE = "the image"


class Face(NamedTuple):
    """face_HWC: uint8 RGB (112, 112, 3). px: its side in pixels of the original image, at most 112. notes: shown to the user."""

    face_HWC: np.ndarray
    px: float
    notes: list[str]


def extract_face(payload: bytes, detector: Detector | None = None) -> Face:
    """The face in an image file, rotated upright by EXIF: detected and aligned by `detector`, else the center square.

    Raises ValueError for bytes that are not a readable image, or an image of less than 4 px.
    """
    photo_HWC = decode(payload, WHERE, upright=True)
    if min(photo_HWC.shape[:2]) < MIN_PX:
        raise ValueError(f"{WHERE} has {photo_HWC.shape[1]}x{photo_HWC.shape[0]} pixels; a face needs at least {MIN_PX} per side")
    if detector is None:
        return center_square(photo_HWC, [])
    face = _detect(photo_HWC, detector)
    return face or center_square(photo_HWC, ["No face detected: the image is used as an aligned crop."])


def center_square(photo_HWC: np.ndarray, notes: list[str]) -> Face:
    """The center square of an image, resized to 112 px with the reference resize."""
    height, width = photo_HWC.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    if height != width:
        notes = [*notes, f"The image has {width}x{height} pixels: its center square is used, without alignment."]
    square_HWC = photo_HWC[top : top + side, left : left + side]
    return Face(resized(square_HWC, FACE_SIDE), float(min(side, FACE_SIDE)), notes)


def open_detector(file: str | None) -> Detector | None:
    """Load the detector file; by default InsightFace's largest, or None if there is none. Raises what `Detector` raises."""
    try:
        return Detector(find_detector(file))
    except (ImportError, FileNotFoundError):
        if file is not None:
            raise
        return None


def _detect(photo_HWC: np.ndarray, detector: Detector) -> Face | None:
    """The large and central face, aligned; None if no face is detected."""
    height, width = photo_HWC.shape[:2]
    faces = [face for face in ranked(detector.find(WHERE, photo_HWC), width, height) if not face.problem]
    if not faces:
        return None
    notes = [f"{len(faces)} faces detected: the large and central one is used."] if len(faces) > 1 else []
    return Face(align_face(photo_HWC, faces[0].points_52), min(faces[0].px, FACE_SIDE), notes)


def png(image_HWC: np.ndarray) -> bytes:
    """uint8 (H, W, 3) RGB -> PNG file, lossless."""
    file = io.BytesIO()
    Image.fromarray(image_HWC).save(file, "PNG")
    return file.getvalue()

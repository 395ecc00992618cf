"""The faces of one photo, and which of them counts.

F = faces of a photo.
"""

from typing import NamedTuple

import numpy as np

from aird_plugin.data.align import check_points, face_px


class Found(NamedTuple):
    """Faces: points float (F, 5, 2) as `data/align.py` has them, and the detector's scores (F,), nan where nobody gave one."""

    points_F52: np.ndarray
    scores_F: np.ndarray


class Face(NamedTuple):
    """One face. px: photo pixels along a side of its crop, nan where the points are no face; `problem` then says why."""

    points_52: np.ndarray
    score: float
    px: float
    problem: str


def ranked(found: Found, width: int, height: int) -> list[Face]:
    """The faces, the one that counts first, those that are none last.

    InsightFace's rule, on the crop's square: its area less twice the squared distance of its points' middle from the photo's.
    """
    faces = [_face(points_52, score, width, height) for points_52, score in zip(*found, strict=True)]

    def weight(face: Face) -> float:
        if face.problem:
            return -np.inf
        away = face.points_52.mean(0) - (width / 2, height / 2)
        return face.px**2 - 2 * (away**2).sum()

    return sorted(faces, key=weight, reverse=True)


def _face(points_52: np.ndarray, score: float, width: int, height: int) -> Face:
    try:
        check_points(points_52, width, height)
    except ValueError as error:
        return Face(points_52, float(score), np.nan, str(error))
    return Face(points_52, float(score), face_px(points_52), "")

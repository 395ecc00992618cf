"""The detected faces of one photo, and their order.

F = faces of a photo.
"""

from typing import NamedTuple

import numpy as np

from aird_plugin.alignment.crop import check_points, face_px

# Which face of a photo comes first: weights of the area of its crop and of its squared distance from the center.
PICKS = {"prominent": (1, 2), "largest": (1, 0), "central": (0, 1)}


class Detections(NamedTuple):
    """Landmarks, float (F, 5, 2) in the order of `alignment/crop.py`, and detector scores (F,), nan without a detector."""

    points_F52: np.ndarray
    scores_F: np.ndarray


class Face(NamedTuple):
    """One face. px: photo pixels along a side of its crop. Invalid landmarks have px nan, and their error in `problem`."""

    points_52: np.ndarray
    score: float
    px: float
    problem: str


def ranked(detections: Detections, width: int, height: int, pick: str = "prominent") -> list[Face]:
    """The faces in descending order of weight, invalid ones last.

    pick: of PICKS. "prominent" is InsightFace's weight, on the crop's square: its area minus twice the squared distance of the
    landmarks' mean from the center of the photo; "largest" is the area alone, "central" the distance alone.
    """
    faces = [_face(points_52, score, width, height) for points_52, score in zip(*detections, strict=True)]
    of_area, of_distance = PICKS[pick]

    def weight(face: Face) -> float:
        if face.problem:
            return -np.inf
        offset = face.points_52.mean(0) - (width / 2, height / 2)
        return of_area * face.px**2 - of_distance * (offset**2).sum()

    return sorted(faces, key=weight, reverse=True)


def _face(points_52: np.ndarray, score: float, width: int, height: int) -> Face:
    """A face whose problem, if any, is that of its landmarks."""
    try:
        check_points(points_52, width, height)
    except ValueError as error:
        return Face(points_52, float(score), np.nan, str(error))
    return Face(points_52, float(score), face_px(points_52), "")

"""An aligned face at the edge of its photo: black where the photo ends, as InsightFace's `norm_crop` leaves it."""

from typing import NamedTuple

import numpy as np

from aird_plugin.data.constants import FACE_SIDE

MAX_DEGREES = 40.0
EDGE_PROBABILITY = 0.3
# Distance of an edge from the middle of the crop, in pixels; the eyes are 18 px from it, a corner 79.
DISTANCES = (25.0, 75.0)


class PhotoEdges(NamedTuple):
    """A photo around a crop: by how many degrees it is rotated, and the distance of its right, left, lower and upper edge from
    the middle of the crop in pixels, infinite where the photo goes on."""

    degrees: float
    right: float
    left: float
    lower: float
    upper: float


WHOLE = PhotoEdges(0.0, np.inf, np.inf, np.inf, np.inf)


def draw_edges(rng: np.random.Generator) -> PhotoEdges:
    """A rotation of up to 40 degrees; one edge, and each of the others with a probability of 0.3; 25 to 75 px from the middle."""
    degrees, present_4 = rng.uniform(-MAX_DEGREES, MAX_DEGREES), rng.random(4) < EDGE_PROBABILITY
    present_4[rng.integers(4)] = True
    return PhotoEdges(degrees, *np.where(present_4, rng.uniform(*DISTANCES, 4), np.inf).tolist())


def cut_face(face_SSC: np.ndarray, edges: PhotoEdges) -> np.ndarray:
    """The face, black beyond the edges of the photo. uint8 (112, 112, 3)."""
    y_SS, x_SS = np.mgrid[:FACE_SIDE, :FACE_SIDE] - (FACE_SIDE - 1) / 2
    cos, sin = np.cos(np.deg2rad(edges.degrees)), np.sin(np.deg2rad(edges.degrees))
    across_SS, down_SS = cos * x_SS + sin * y_SS, cos * y_SS - sin * x_SS
    within_SS = (across_SS < edges.right) & (-across_SS < edges.left) & (down_SS < edges.lower) & (-down_SS < edges.upper)
    return face_SSC * within_SS[..., None]

"""An aligned face at the edge of its photo: black where the photo ends, as InsightFace's `norm_crop` leaves it."""

from typing import NamedTuple

import numpy as np

from aird_plugin.data.constants import FACE_SIDE

MAX_DEGREES = 40.0
EDGE_PROBABILITY = 0.2
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


def draw_edges(rng: np.random.Generator) -> PhotoEdges:
    """A rotation of up to 40 degrees; each edge in a fifth of the photos, 25 to 75 px from the middle."""
    degrees = rng.uniform(-MAX_DEGREES, MAX_DEGREES)
    distances = [rng.uniform(*DISTANCES) if rng.random() < EDGE_PROBABILITY else np.inf for _ in range(4)]
    return PhotoEdges(degrees, *distances)


def cut_face(face_SSC: np.ndarray, edges: PhotoEdges) -> np.ndarray:
    """The face, black beyond the edges of the photo. uint8 (112, 112, 3)."""
    y_SS, x_SS = np.mgrid[:FACE_SIDE, :FACE_SIDE] - (FACE_SIDE - 1) / 2
    cos, sin = np.cos(np.deg2rad(edges.degrees)), np.sin(np.deg2rad(edges.degrees))
    across_SS, down_SS = cos * x_SS + sin * y_SS, cos * y_SS - sin * x_SS
    within_SS = (across_SS < edges.right) & (-across_SS < edges.left) & (down_SS < edges.lower) & (-down_SS < edges.upper)
    return face_SSC * within_SS[..., None]

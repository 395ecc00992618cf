"""An aligned face as if the head were turned to the side: the image on a generic head, rotated and aligned again.

Most training sets hold few profiles. Rendering a frontal image on a 3-D head, the same for everybody, makes some (Masi et al.
2016, arXiv 1603.07057). Here the head is an elliptic cylinder about the vertical axis (La Cascia et al. 2000, TPAMI 22(4)) with a
nose, in pixels of the 112 px template:

    z(x, y) = DEPTH * sqrt(1 - (x / HALF_WIDTH)^2) + nose(x, y)          x from the middle of the image, z towards the camera
    u       = x * cos(yaw) + z * sin(yaw)                                column in the turned image

Of the points of a row that share a u the nearest to the camera is seen: with yaw > 0, the one of smallest x.

H = rows of pixels, X = points of the head in a row, S = side of the image in pixels.
"""

import functools

import numpy as np

from aird_plugin.alignment.crop import similarities, template
from aird_plugin.data.constants import FACE_SIDE

# Half the width of a head in the template, and its depth from the axis to the forehead.
HALF_WIDTH, DEPTH = 46.0, 50.0
# How far the nose stands out of the cylinder, and its width.
NOSE_HEIGHT, NOSE_WIDTH = 14.0, 8.0
# Rows of the template: the nose rises from the first to the second, its tip, and falls to the third.
NOSE_ROWS = (44.0, 72.0, 83.0)
MAX_YAW = 80
MIDDLE = (FACE_SIDE - 1) / 2


def turn_face(face_SSC: np.ndarray, yaw: int) -> np.ndarray:
    """The face turned by `yaw` whole degrees, -80 to 80, and aligned by its five landmarks: uint8 (112, 112, 3).

    yaw > 0 turns it to the right of the image: its right half goes out of sight. What the image does not show continues the
    pixels beside it.
    """
    assert abs(yaw) <= MAX_YAW, yaw
    if yaw < 0:
        return turn_face(face_SSC[:, ::-1], -yaw)[:, ::-1]
    return bilinear(face_SSC, *source_positions(yaw))


@functools.lru_cache(maxsize=MAX_YAW + 1)
def source_positions(yaw: int) -> tuple[np.ndarray, np.ndarray]:
    """Where in the image each pixel of the turned and aligned one comes from, yaw >= 0: columns and rows, float32 (112, 112)."""
    angle = np.deg2rad(yaw)
    x_5, y_5 = template()[:, 0] - MIDDLE, template()[:, 1]
    to_template = similarities(np.stack([turned(x_5, y_5, angle), y_5], 1))[0]
    to_turned = np.linalg.inv(np.vstack([to_template, (0, 0, 1)]))[:2]
    row_SS, column_SS = np.mgrid[:FACE_SIDE, :FACE_SIDE]
    u_SS, v_SS = np.tensordot(to_turned, np.stack([column_SS, row_SS, np.ones_like(row_SS)]), 1)

    x_X = HALF_WIDTH * np.sin(np.linspace(-np.pi / 2, np.pi / 2, 2 * FACE_SIDE))
    # A point is hidden behind one of smaller x and larger u; there x jumps.
    u_HX = np.maximum.accumulate(turned(x_X, np.arange(FACE_SIDE)[:, None], angle), axis=1)
    nearest_row_SS = np.clip(np.rint(v_SS), 0, FACE_SIDE - 1).astype(int)
    x_SS = np.empty_like(u_SS)
    for row, seen_X in enumerate(u_HX):
        here = nearest_row_SS == row
        # Beyond both edges of the head the background continues at its own scale.
        beyond = np.maximum(u_SS[here] - seen_X[-1], 0) + np.minimum(u_SS[here] - seen_X[0], 0)
        x_SS[here] = np.interp(u_SS[here], seen_X, x_X) + beyond
    return (x_SS + MIDDLE).astype(np.float32), v_SS.astype(np.float32)


def turned(x: np.ndarray, y: np.ndarray, angle: float) -> np.ndarray:
    """u, the column from the middle, of the points (x, y) of the head turned by `angle` radians."""
    start, tip, end = NOSE_ROWS
    slope = np.minimum(np.clip((y - start) / (tip - start), 0, 1), np.clip((end - y) / (end - tip), 0, 1))
    nose = NOSE_HEIGHT * slope * np.exp(-((x / NOSE_WIDTH) ** 2))
    z = DEPTH * np.sqrt(1 - np.minimum((x / HALF_WIDTH) ** 2, 1)) + nose
    return x * np.cos(angle) + z * np.sin(angle)


def bilinear(image_SSC: np.ndarray, column_SS: np.ndarray, row_SS: np.ndarray) -> np.ndarray:
    """The image at these positions, bilinear; beyond its border the edge pixel. uint8 (S, S, 3)."""
    last = FACE_SIDE - 1
    column_SS, row_SS = np.clip(column_SS, 0, last), np.clip(row_SS, 0, last)
    left_SS, top_SS = np.minimum(column_SS.astype(int), last - 1), np.minimum(row_SS.astype(int), last - 1)
    across, down = (column_SS - left_SS)[..., None], (row_SS - top_SS)[..., None]
    upper = image_SSC[top_SS, left_SS] * (1 - across) + image_SSC[top_SS, left_SS + 1] * across
    lower = image_SSC[top_SS + 1, left_SS] * (1 - across) + image_SSC[top_SS + 1, left_SS + 1] * across
    return np.rint(upper * (1 - down) + lower * down).astype(np.uint8)

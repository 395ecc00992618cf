"""Faces of a frame -> the input images of a network, by one warp from the frame's own pixels.

F = faces, S = side of the network's input. Frames are uint8 (H, W, 3) BGR, as OpenCV and InsightFace have them.
"""

import math

import numpy as np

from aird_plugin.alignment.crop import similarities
from aird_plugin.data.constants import FACE_SIDE
from aird_plugin.data.lowres import resize_faces

# Thresholds hold for crops made in one way: a change of this file's pixels changes the version.
CROPS = "warp/1"
# A bilinear warp reads 2x2 pixels of the frame. Beyond this many pixels of the frame per pixel of the crop it would skip some.
MAX_STEP = 1.25


def face_sizes(points_F52: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Matrices from the frame to the 112 px crop, (F, 2, 3), and px (F,): pixels of the frame along a side of the crop.

    Both are nan for landmarks that are not finite or all the same.
    """
    matrices_F23 = similarities(points_F52)
    return matrices_F23, FACE_SIDE / np.hypot(matrices_F23[:, 0, 0], matrices_F23[:, 1, 0])


def face_crops(frame_HWC: np.ndarray, matrices_F23: np.ndarray, px_F: np.ndarray, side: int) -> np.ndarray:
    """The network inputs of the faces, uint8 (F, S, S, 3), RGB; black outside the frame.

    side 112: the crop that InsightFace's `norm_crop` makes, within a grey level. A smaller side: one bilinear warp from the frame
    to S px; where the face has more pixels than that, to a multiple of S that has about as many, and from there by the reference
    resize, since a warp alone would skip pixels.
    """
    crops_FSSC = np.empty((len(matrices_F23), side, side, 3), np.uint8)
    factor_F = [1 if side == FACE_SIDE else warp_factor(px, side) for px in px_F.tolist()]
    for factor in set(factor_F):
        rows = [row for row, own in enumerate(factor_F) if own == factor]
        wide = np.stack([warp(frame_HWC, matrices_F23[row], side * factor) for row in rows])
        crops_FSSC[rows] = resize_faces(wide, side)
    return np.ascontiguousarray(crops_FSSC[..., ::-1])


def warp_factor(px: float, side: int) -> int:
    """How many pixels of the warp make one pixel of the input: 1 for a face of the network's own size."""
    return min(max(1, math.ceil(px / side / MAX_STEP)), math.ceil(FACE_SIDE / side))


def warp(frame_HWC: np.ndarray, matrix_23: np.ndarray, side: int) -> np.ndarray:
    """The aligned crop of one face at this side, by OpenCV.

    A pixel has its center at a whole number, so that resizing 112 px to S maps x to (x + 0.5) S / 112 - 0.5: the landmarks of a
    16 px crop lie 0.43 px to the upper left of the scaled template.
    """
    import cv2

    if side != FACE_SIDE:
        scale = side / FACE_SIDE
        matrix_23 = matrix_23 * scale
        matrix_23[:, 2] += (scale - 1) / 2
    return cv2.warpAffine(frame_HWC, matrix_23, (side, side), flags=cv2.INTER_LINEAR, borderValue=0)

"""Network inputs made batch by batch: a set of images upsampled to 112 px is never held in memory as a whole.

U = distinct images, M = requested images, B = images of a batch, S = side of the network's input.
"""

import math

import numpy as np

from aird_plugin.data.constants import FACE_SIDE
from aird_plugin.data.degradation import BICUBIC, downsample, resize_to_network

BLOCK = 256


class DegradedFaces:
    """Stands for an array uint8 (M, S, S, 3) in `embed`: it has the length, shape and dtype, and `images[rows]` makes those rows.

    images_UHWC: 112 px images. face_M: the index of each requested image; an index may occur many times.
    px, side, degradation: as in `sides.as_network_input`. The px images, which are small, are made here, each once, and
    kept.

    Raises what `downsample` raises.
    """

    dtype = np.dtype(np.uint8)

    def __init__(
        self, images_UHWC: np.ndarray, face_M: np.ndarray, px: int = FACE_SIDE, side: int = FACE_SIDE, degradation: str = BICUBIC
    ):
        self.side, self.degradation = side, degradation
        self.small_USSC, self.small_M = images_UHWC, face_M
        if px != FACE_SIDE:
            requested, self.small_M = np.unique(face_M, return_inverse=True)
            blocks = np.array_split(requested, math.ceil(len(requested) / BLOCK))
            self.small_USSC = np.concatenate([downsample(images_UHWC[block], px, degradation) for block in blocks])

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(M, S, S, 3)"""
        return len(self), self.side, self.side, 3

    def __len__(self) -> int:
        return len(self.small_M)

    def __getitem__(self, rows) -> np.ndarray:
        return resize_to_network(self.small_USSC[self.small_M[rows]], self.side, self.degradation)

"""Faces as a network sees them, made batch by batch: a set that is grown back to 112 px never stands in memory as a whole.

U = distinct faces at hand, M = faces asked for, B = faces of a batch, S = side of the network's input.
"""

import math

import numpy as np

from aird_plugin.data.degrade import BICUBIC, arrive, shrink
from aird_plugin.data.lowres import FACE_SIDE

BLOCK = 256


class SeenFaces:
    """What `embed` takes for an array uint8 (M, S, S, 3): it has its length, shape and dtype, and `faces[rows]` makes those rows.

    faces_UHWC: 112 px faces. face_M: which of them is asked for, in turn; one may be asked for many times.
    px, side, degradation: as in `protocol.as_seen`. The px faces, which are small, are made here and kept, each once.

    Raises what `shrink` raises.
    """

    dtype = np.dtype(np.uint8)

    def __init__(self, faces_UHWC: np.ndarray, face_M: np.ndarray, px=FACE_SIDE, side=FACE_SIDE, degradation=BICUBIC):
        self.side, self.degradation = side, degradation
        self.small_USSC, self.small_M = faces_UHWC, face_M
        if px != FACE_SIDE:
            asked_for, self.small_M = np.unique(face_M, return_inverse=True)
            blocks = np.array_split(asked_for, math.ceil(len(asked_for) / BLOCK))
            self.small_USSC = np.concatenate([shrink(faces_UHWC[block], px, degradation) for block in blocks])

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(M, S, S, 3)"""
        return len(self), self.side, self.side, 3

    def __len__(self) -> int:
        return len(self.small_M)

    def __getitem__(self, rows) -> np.ndarray:
        return arrive(self.small_USSC[self.small_M[rows]], self.side, self.degradation)

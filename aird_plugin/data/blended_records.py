"""Blends of two faces as further training images: new faces, without identities, for a teacher to embed (`blends`).

A few thousand identities do not show a small student how the teacher embeds other people. A blend of two aligned faces is a
face that belongs to nobody, and at small px a plausible one; teacher and student both see the blend itself, as in function
matching (arXiv 2106.05237, section 3), so that no label is mixed. Unlike mixup of a step (data/mixup.py) the blends are fixed
images, which the bank holds.

N = images before blending, K = blends of each, H = rows of pixels.
"""

import hashlib
from typing import Any, NamedTuple

import numpy as np

from aird_plugin.data.constants import FACE_SIDE, NO_IDENTITY

VERSION = "mean-or-seam/1"
# Beyond, one of the two faces would hardly show.
LEAST_SHARE = 0.3
SEAM_PROBABILITY = 1 / 3
# From below the eyes' upper lids to above the mouth, in pixels of the 112 px template, and how soft the seam is.
SEAM_ROWS, SEAM_WIDTH = (35.0, 80.0), 16.0


class Blend(NamedTuple):
    """What a blended image is made of: two rows, whether the second face is mirrored, and the first one's share per pixel row."""

    first: int
    second: int
    mirrored: bool
    share_H: np.ndarray


def draw_blend(row: int, images: int) -> Blend:
    """The blend in `row` of N * (1 + K), a function of the row and N alone.

    first  = row mod N; second = a random image, mirrored half the time
    share  = a draw from 0.3 to 0.7 for the whole image, or (a third of the time) falling linearly from 1 to 0 over 16 px about a
             height between eyes and mouth, half the time the other way round
    """
    rng = np.random.default_rng((row, images))
    second, mirrored = int(rng.integers(images)), bool(rng.integers(2))
    if rng.random() < SEAM_PROBABILITY:
        share_H = np.clip((rng.uniform(*SEAM_ROWS) - np.arange(FACE_SIDE)) / SEAM_WIDTH + 0.5, 0, 1)
        share_H = 1 - share_H if rng.integers(2) else share_H
    else:
        share_H = np.full(FACE_SIDE, rng.uniform(LEAST_SHARE, 1 - LEAST_SHARE))
    return Blend(row % images, second, mirrored, share_H)


def blended(first_HWC: np.ndarray, second_HWC: np.ndarray, share_H: np.ndarray) -> np.ndarray:
    """round(share * first + (1 - share) * second), with one share for each row of pixels. uint8 (112, 112, 3)."""
    share_H11 = share_H[:, None, None]
    return np.rint(share_H11 * first_HWC + (1 - share_H11) * second_HWC).astype(np.uint8)


class Source(NamedTuple):
    """One pass of blends over all images, by its fingerprint: a bank grows by further ones."""

    digest: str

    def fingerprint(self) -> str:
        return self.digest


class BlendedRecords:
    """A training set without labels: the N images of `stored`, then K times N blends of each with a random other one.

    Rows 0 to N - 1 are the images themselves; row n + k * N is blend k of image n. Rows of a smaller K stay when K grows.
    """

    num_classes = 0

    def __init__(self, stored: Any, blends: int):
        self.stored, self.blends, self.path = stored, blends, stored.path
        self.labels = np.full(len(self), NO_IDENTITY)
        self.left_out = stored.left_out
        digest = stored.fingerprint()
        passes = [hashlib.sha256(f"{digest} {VERSION} {number}".encode()).hexdigest() for number in range(1, blends + 1)]
        self.sources = [stored, *map(Source, passes)]

    def __len__(self) -> int:
        return len(self.stored) * (1 + self.blends)

    def payload(self, row: int) -> bytes:
        """What the image of a row depends on: the bytes of its file, of a blend those of both files and how they are blended."""
        if row < len(self.stored):
            return self.stored.payload(row)
        blend = draw_blend(row, len(self.stored))
        how = f"{VERSION} {blend.mirrored} ".encode() + blend.share_H.astype("<f8").tobytes()
        return how + bytes(self.stored.payload(blend.first)) + bytes(self.stored.payload(blend.second))

    def where(self, row: int) -> str:
        """The file, or the record file and key, of a row; of a blend, which images it blends."""
        if row < len(self.stored):
            return self.stored.where(row)
        blend = draw_blend(row, len(self.stored))
        return f"blend of {self.stored.where(blend.first)} and {self.stored.where(blend.second)}"

    def fingerprint(self) -> str:
        """Of the images and of how they are blended."""
        return hashlib.sha256("\n".join(source.fingerprint() for source in self.sources).encode()).hexdigest()

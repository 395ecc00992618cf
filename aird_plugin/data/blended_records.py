"""Blends of two faces as further training images, without identities, for a teacher to embed (recipe key `blends`).

From a few thousand identities a small student does not learn how the teacher embeds faces of other identities. A blend of two
aligned faces is an image of neither identity, and plausible at small px (Hu et al. 2018, "Frankenstein: learning deep face
representations using small data", TIP 27(1), with labels). Here teacher and student get the same blend, as in function matching
(arXiv 2106.05237, section 3), so that no label is mixed. Unlike mixup within a batch the blends are fixed images, which the bank
holds. A share of them may be turned to the side, or lie at the edge of their photo: frontal faces cut from large photos show
neither.

N = images before blending, K = blends of each, H = rows of pixels.
"""

import hashlib
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from aird_plugin.data.constants import FACE_SIDE, NO_IDENTITY
from aird_plugin.data.joined_records import Source
from aird_plugin.data.photo_edges import WHOLE, PhotoEdges, cut_face, draw_edges
from aird_plugin.data.turned_faces import MAX_YAW, turn_face

# Fingerprints of banks contain it: another draw or another way of blending needs another version.
VERSION = "mean-or-seam/1"
# With a smaller share of the image a face would hardly show.
LEAST_SHARE = 0.3
SEAM_PROBABILITY = 1 / 3
# Rows of the 112 px template between which a seam is drawn, from above the eyes (row 52) to between nose tip (72) and mouth (92),
# and the height of the transition across it.
SEAM_ROWS, SEAM_WIDTH = (35.0, 80.0), 16.0


class Blend(NamedTuple):
    """How an image is blended: the rows of both faces in the training set, whether the second is mirrored, the first's share in
    each row of pixels, 0 to 1, by how many degrees the blend is turned, and the edges of its photo."""

    first: int
    second: int
    mirrored: bool
    share_H: np.ndarray
    yaw: int = 0
    edges: PhotoEdges = WHOLE


def draw_blend(row: int, images: int, turned: float = 0.0, cut: float = 0.0) -> Blend:
    """The blend in `row`, N to N * (1 + K) - 1; a function of `row`, `images` (N) and the shares alone: banks on disk stay valid.

    first  = row mod N; second = any of the N images, in half of the blends mirrored
    share  = one of 0.3 to 0.7 for the whole image, or (in a third of the blends) falling linearly from 1 to 0 across a seam of
             16 px, in half of those rising from 0 to 1
    yaw    = any whole degree of -80 to 80 in the share `turned` of the blends, else 0
    edges  = those of `draw_edges` in the share `cut`
    """
    rng = np.random.default_rng((row, images))
    second, mirrored = int(rng.integers(images)), bool(rng.integers(2))
    if rng.random() < SEAM_PROBABILITY:
        share_H = np.clip((rng.uniform(*SEAM_ROWS) - np.arange(FACE_SIDE)) / SEAM_WIDTH + 0.5, 0, 1)
        share_H = 1 - share_H if rng.integers(2) else share_H
    else:
        share_H = np.full(FACE_SIDE, rng.uniform(LEAST_SHARE, 1 - LEAST_SHARE))
    # Another stream, so that the shares change no other draw.
    rng = np.random.default_rng((row, images, 1))
    is_turned, is_cut = rng.random(2) < (turned, cut)
    yaw, edges = int(rng.integers(-MAX_YAW, MAX_YAW + 1)), draw_edges(rng)
    return Blend(row % images, second, mirrored, share_H, yaw if is_turned else 0, edges if is_cut else WHOLE)


def make_blend(blend: Blend, first_HWC: np.ndarray, second_HWC: np.ndarray) -> np.ndarray:
    """The blend of its two faces, turned, and cut at the edges of its photo. uint8 (112, 112, 3)."""
    second_HWC = second_HWC[:, ::-1] if blend.mirrored else second_HWC
    return cut_face(turn_face(mean_faces(first_HWC, second_HWC, blend.share_H), blend.yaw), blend.edges)


def mean_faces(first_HWC: np.ndarray, second_HWC: np.ndarray, share_H: np.ndarray) -> np.ndarray:
    """round(share * first + (1 - share) * second), with one share for each row of pixels. uint8 (112, 112, 3)."""
    share_H11 = share_H[:, None, None]
    return np.rint(share_H11 * first_HWC + (1 - share_H11) * second_HWC).astype(np.uint8)


class BlendedRecords:
    """A training set without labels: the N images of `stored`, then `blends` (K) times one blend of each with a random one.

    Rows 0 to N - 1 are the images themselves; row n + k * N is blend k of image n, k = 1 to K. Rows of a smaller K stay when K
    grows: each k is a source of its own, by which a complete bank grows.
    """

    num_classes = 0

    def __init__(self, stored: Any, blends: int, turned: float = 0.0, cut: float = 0.0):
        self.stored, self.blends, self.shares, self.path = stored, blends, (turned, cut), stored.path
        self.labels = np.full(len(self), NO_IDENTITY)
        self.left_out = stored.left_out
        made = f"{stored.fingerprint()} {VERSION}" + (f" turned {turned} cut {cut}" if any(self.shares) else "")
        passes = [hashlib.sha256(f"{made} {number}".encode()).hexdigest() for number in range(1, blends + 1)]
        self.sources = [stored, *map(Source, passes)]

    def __len__(self) -> int:
        return len(self.stored) * (1 + self.blends)

    def payload(self, row: int) -> bytes:
        """What the image of a row depends on, for checksums: the bytes of its file; of a blend, which `face` makes, how it is
        blended and the bytes of both files."""
        if row < len(self.stored):
            return self.stored.payload(row)
        blend = self.blend(row)
        blending = f"{VERSION} {blend.mirrored} ".encode() + blend.share_H.astype("<f8").tobytes()
        if any(self.shares):
            blending += np.array([blend.yaw, *blend.edges], "<f8").tobytes()
        return blending + bytes(self.stored.payload(blend.first)) + bytes(self.stored.payload(blend.second))

    def blend(self, row: int) -> Blend:
        """How the image of a row is blended, row N or more."""
        return draw_blend(row, len(self.stored), *self.shares)

    def face(self, row: int, decode_stored: Callable[[Any, int], np.ndarray]) -> np.ndarray:
        """The image of a row, uint8 (112, 112, 3). decode_stored: (records, row) -> the image of a row of `stored`."""
        if row < len(self.stored):
            return decode_stored(self.stored, row)
        blend = self.blend(row)
        return make_blend(blend, decode_stored(self.stored, blend.first), decode_stored(self.stored, blend.second))

    def where(self, row: int) -> str:
        """The file, or the record file and key, of a row; of a blend, which images it blends."""
        if row < len(self.stored):
            return self.stored.where(row)
        blend = self.blend(row)
        return f"blend of {self.stored.where(blend.first)} and {self.stored.where(blend.second)}"

    def fingerprint(self) -> str:
        """Of the images, and of the version and number of the blends."""
        return hashlib.sha256("\n".join(source.fingerprint() for source in self.sources).encode()).hexdigest()

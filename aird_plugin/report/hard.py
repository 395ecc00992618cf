"""The pairs that most networks get wrong, as pictures. N = pairs."""

import io

import numpy as np
from PIL import Image

from aird_plugin.data.degrade import shrink
from aird_plugin.data.lowres import FACE_SIDE
from aird_plugin.report.material import HardPair

SHOWN = 6


def hard_pairs(cosines: dict[str, np.ndarray], same_N, faces_2NHWC, px: int, degradation: str) -> list[HardPair]:
    """The six genuine and the six impostor pairs that lie farthest on the wrong side, on average over the networks.

    cosines: network -> (N,). A network's threshold is the one that is best for it over all pairs (so no pair looks wrong for want
    of a better one), and its cosines count in their own standard deviations. Pairs that are right on average are not shown.
    """
    threshold = {name: best_threshold(cosine_N, same_N) for name, cosine_N in cosines.items()}
    side_N = np.where(same_N, -1.0, 1.0)
    wrong_N = np.mean([side_N * (cosines[name] - threshold[name]) / cosines[name].std() for name in cosines], axis=0)
    shown = []
    for kind in (True, False):
        ranked = sorted(np.flatnonzero((same_N == kind) & (wrong_N > 0)).tolist(), key=lambda pair: -wrong_N[pair])[:SHOWN]
        for pair in ranked:
            verdicts = [(n, float(c[pair]), bool((c[pair] > threshold[n]) == kind)) for n, c in cosines.items()]
            faces = faces_2NHWC[2 * pair : 2 * pair + 2]
            low, high = map(png, blocks(shrink(faces, px, degradation))), map(png, faces)
            shown.append(HardPair(pair, kind, tuple(low), tuple(high), verdicts))
    return shown


def best_threshold(cosine_N: np.ndarray, same_N: np.ndarray) -> float:
    """The cosine above which calling a pair the same person is right most often over all pairs (the middle of two cosines)."""
    order = np.argsort(-cosine_N, kind="stable")
    ranked = np.concatenate([[1.0], cosine_N[order], [-1.0]])
    right = np.concatenate([[0], np.cumsum(np.where(same_N[order], 1, -1))])
    right = np.where(np.diff(ranked) < 0, right, -len(same_N) - 1)
    best = int(np.argmax(right))
    return float(ranked[best] + ranked[best + 1]) / 2


def blocks(faces_NSSC: np.ndarray) -> np.ndarray:
    """Each pixel as a square of pixels, up to 112 px: readers of paper and PDF would smooth a small picture."""
    times = max(FACE_SIDE // faces_NSSC.shape[1], 1)
    return faces_NSSC.repeat(times, axis=1).repeat(times, axis=2)


def png(face_HWC: np.ndarray) -> bytes:
    """uint8 (H, W, 3) -> a PNG file."""
    file = io.BytesIO()
    Image.fromarray(face_HWC).save(file, "PNG", optimize=True)
    return file.getvalue()

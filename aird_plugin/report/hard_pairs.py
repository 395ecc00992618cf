"""The pairs that most networks get wrong, as images. N = pairs."""

import io

import numpy as np
from PIL import Image

from aird_plugin.data.constants import FACE_SIDE
from aird_plugin.data.degradation import downsample
from aird_plugin.report.data import HardPair

SHOWN = 6


def hard_pairs(cosines: dict[str, np.ndarray], same_N: np.ndarray, images_2NHWC, px: int, degradation: str) -> list[HardPair]:
    """The six genuine and the six impostor pairs farthest on the wrong side of the threshold, on average over the networks.

    cosines: network -> (N,). Each network uses its best threshold over all pairs, so that no pair is wrong only because of a poor
    threshold. Distances are in standard deviations of the network's cosines; a collapsed network, whose cosines are all the same,
    ranks nothing. Pairs that are correct on average are left out.
    """
    if not cosines:
        return []
    threshold = {name: best_threshold(cosine_N, same_N) for name, cosine_N in cosines.items()}
    side_N = np.where(same_N, -1.0, 1.0)
    spread = {name: cosine_N.std() or np.inf for name, cosine_N in cosines.items()}
    wrong_N = np.mean([side_N * (cosines[name] - threshold[name]) / spread[name] for name in cosines], axis=0)
    shown = []
    for kind in (True, False):
        ranked = sorted(np.flatnonzero((same_N == kind) & (wrong_N > 0)).tolist(), key=lambda pair: -wrong_N[pair])[:SHOWN]
        for pair in ranked:
            decisions = [(n, float(c[pair]), bool((c[pair] > threshold[n]) == kind)) for n, c in cosines.items()]
            images = images_2NHWC[2 * pair : 2 * pair + 2]
            low, high = map(png, blocks(downsample(images, px, degradation))), map(png, images)
            shown.append(HardPair(pair, kind, tuple(low), tuple(high), decisions))
    return shown


def best_threshold(cosine_N: np.ndarray, same_N: np.ndarray) -> float:
    """The threshold with the highest accuracy over all pairs, halfway between two cosines. A pair above it counts as genuine."""
    order = np.argsort(-cosine_N, kind="stable")
    ranked = np.concatenate([[1.0], cosine_N[order], [-1.0]])
    correct = np.concatenate([[0], np.cumsum(np.where(same_N[order], 1, -1))])
    correct = np.where(np.diff(ranked) < 0, correct, -len(same_N) - 1)
    best = int(np.argmax(correct))
    return float(ranked[best] + ranked[best + 1]) / 2


def blocks(images_NSSC: np.ndarray) -> np.ndarray:
    """Enlarge each pixel to a square, up to 112 px, because printers and PDF viewers smooth small images."""
    factor = max(FACE_SIDE // images_NSSC.shape[1], 1)
    return images_NSSC.repeat(factor, axis=1).repeat(factor, axis=2)


def png(image_HWC: np.ndarray) -> bytes:
    """uint8 (H, W, 3) -> a PNG file."""
    file = io.BytesIO()
    Image.fromarray(image_HWC).save(file, "PNG", optimize=True)
    return file.getvalue()

"""What speaks against adapting to a set of faces: too few, of one person, of two kinds."""

import numpy as np

from aird_plugin.data.lowres import low_faces

FEWEST = 200
# Pairs of one person's faces score well above this, pairs of strangers rarely.
ALIKE = 0.5
# Two kinds: each at least a tenth of the faces, the sharper ones three times as sharp, and little variance inside the kinds.
LEAST_SHARE, SHARPER, MOST_INSIDE = 0.1, 3.0, 0.2


def doubts(faces_NHWC: np.ndarray, mean_cosine: float, px: int) -> list[str]:
    """A sentence for each doubt about faces as they came, uint8 (N, 112, 112, 3).

    mean_cosine: of random pairs, by the student before it was adapted. px: what it was trained on.
    """
    told = []
    if len(faces_NHWC) < FEWEST:
        told.append(f"{len(faces_NHWC)} faces are few: statistics of fewer than {FEWEST} follow single pictures")
    if mean_cosine > ALIKE:
        told.append(
            f"random pairs score {mean_cosine:.2f} on average: these may be faces of one person, and the network would fit them"
        )
    share = sharper_share(sharpness(faces_NHWC, px))
    if share:
        told.append(f"{share:.0%} of the faces are far sharper than the rest: adapt to high and to low faces apart")
    return told


def sharpness(faces_NHWC: np.ndarray, px: int) -> np.ndarray:
    """What each face loses by being shrunk to px and grown back, in grey levels, and a tenth for a face that loses none. (N,)"""
    return np.abs(faces_NHWC.astype(np.int16) - low_faces(faces_NHWC, px)).mean(axis=(1, 2, 3)) + 0.1


def sharper_share(sharpness_N: np.ndarray) -> float | None:
    """The share of the sharper kind where the faces fall into two; None where they are one.

    The cut is Otsu's, on the logarithm: the one that leaves the least variance inside both parts.
    """
    ordered_N, count = np.sort(np.log(sharpness_N)), len(sharpness_N)
    if count < 2 or ordered_N[0] == ordered_N[-1]:
        return None
    below = np.arange(1, count)
    sums = np.cumsum(ordered_N)
    low_mean, high_mean = sums[:-1] / below, (sums[-1] - sums[:-1]) / (count - below)
    between = below * (count - below) / count * (high_mean - low_mean) ** 2
    cut = int(np.argmax(between))
    share = 1 - (cut + 1) / count
    inside = 1 - between[cut] / (ordered_N.var() * count)
    two = high_mean[cut] - low_mean[cut] > np.log(SHARPER) and inside < MOST_INSIDE
    return share if two and LEAST_SHARE <= share <= 1 - LEAST_SHARE else None

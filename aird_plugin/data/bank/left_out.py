"""Leave-one-out class centers: for each image, the mean of the other images of its identity.

N = images, V = views, D = embedding width, C = identities.
"""

from collections.abc import Iterator

import numpy as np

from aird_plugin.data.bank.caches import TeacherCache
from aird_plugin.data.blocks import BLOCK
from aird_plugin.utils.vectors import normalise

# A center of float32 sums against one of the bank's float16 embeddings: rounding leaves 1e-6.
MIN_COSINE = 0.999


def left_out_centers(bank: TeacherCache) -> np.ndarray:
    """Normalised mean of the other images of each image's identity, float16 (N, D); zeros for an identity with a single image.

    An image counts with its normalised mean over the views, as in the bank's class means. Two passes over the embeddings.
    Raises ValueError where the bank's class centers are not class means, but the teacher's own classifier or a learnt one: what
    an image contributes to those is unknown.
    """
    label_N = np.asarray(bank.label_N)
    sum_CD = np.zeros(bank.centers_CD.shape, np.float64)
    for rows, mean_RD in _image_means(bank):
        np.add.at(sum_CD, label_N[rows], mean_RD)
    cosine_C = (normalise(sum_CD) * bank.centers_CD).sum(1)
    if (cosine_C[np.unique(label_N)] < MIN_COSINE).any():
        raise ValueError(
            "leave_one_out needs class centers that are the means of the identities' embeddings; this teacher has its own "
            "classifier, or its centers are learnt: set leave_one_out=False, or another teacher file"
        )
    left_out_ND = np.zeros((len(label_N), bank.centers_CD.shape[1]), np.float16)
    for rows, mean_RD in _image_means(bank):
        # Exactly 0 for a single image: float64 holds the sum of one float32 row.
        left_out_ND[rows] = normalise(sum_CD[label_N[rows]] - mean_RD)
    return left_out_ND


def _image_means(bank: TeacherCache) -> Iterator[tuple[slice, np.ndarray]]:
    """Blocks of rows with the normalised mean over each image's views, float32 (rows, D)."""
    for start in range(0, len(bank.label_N), BLOCK):
        rows = slice(start, start + BLOCK)
        yield rows, normalise(bank.embeddings_NVD[rows].astype(np.float32).mean(1))

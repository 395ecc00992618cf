"""The class centers of the bank: the classifier in the teacher's checkpoint where it is of these identities, else class means.

N = images, X = images of a sample, D = embedding width, C = identities, K = identities of a sample.
"""

import numpy as np

from aird_plugin.data.bank.neighbors import COLUMN_BLOCK, class_means, label_counts
from aird_plugin.data.constants import NO_IDENTITY
from aird_plugin.utils.vectors import normalise
from aird_plugin.utils.warning import warn

MAX_ROWS, MAX_IDENTITIES = 20_000, 1000
# Share of identities whose class mean must be among the nearest to its own row, of a classifier that is theirs. Measured: 99%
# with the right rows; rows of other identities, or in another order, reach 1% by chance.
MIN_OWN, NEAREST = 0.9, 0.01


def class_centers(teacher, embeddings_ND: np.ndarray, label_N: np.ndarray, num_classes: int) -> np.ndarray:
    """The class centers for a bank, normalised. float32 (C, D). embeddings_ND: normalised.

    The classifier in the teacher's checkpoint, if it has as many rows and they belong to these identities; class means otherwise.
    A classifier of as many other identities, or of the same ones in another order, is reported on stderr.
    """
    own_CD = teacher.classifier
    means_CD = class_means(embeddings_ND, label_N, num_classes)
    if own_CD is None or own_CD.shape != means_CD.shape:
        return means_CD
    rows = sample_identities(label_N)
    share = share_of_own(own_CD, embeddings_ND[rows], label_N[rows])
    if share >= MIN_OWN:
        return normalise(own_CD).astype(np.float32)
    warn(f"{foreign_classifier(teacher, num_classes, share)}: class means are used instead")
    return means_CD


def foreign_classifier(teacher, num_classes: int, share: float) -> str:
    """What is wrong with a classifier of other identities, for a warning."""
    return (
        f"the classifier in {teacher.path.name} has {num_classes} rows, as many as there are identities, but of other identities "
        f"or in another order: for {share:.0%} of the identities the own row is the nearest to the mean of their embeddings"
    )


def sample_identities(label_N: np.ndarray, min_images: int = 1, seed: int = 0) -> np.ndarray:
    """The rows of all images of up to 1,000 random identities with `min_images` or more, about 20,000 rows at most. (X,)"""
    count_C = label_counts(label_N)[1:]
    chosen = np.random.default_rng(seed).permutation(np.flatnonzero(count_C >= max(min_images, 1)))[:MAX_IDENTITIES]
    within = int(np.searchsorted(np.cumsum(count_C[chosen]), MAX_ROWS, side="right"))
    # Two at least: one identity alone has nothing to be compared with.
    is_chosen_C = np.zeros(len(count_C) + 1, bool)
    is_chosen_C[chosen[: max(within, 2)] - NO_IDENTITY] = True
    blocks = (slice(start, start + COLUMN_BLOCK) for start in range(0, len(label_N), COLUMN_BLOCK))
    found = [block.start + np.flatnonzero(is_chosen_C[np.asarray(label_N[block]) - NO_IDENTITY]) for block in blocks]
    return np.concatenate([np.empty(0, np.int64), *found])


def share_of_own(centers_CD: np.ndarray, embeddings_XD: np.ndarray, label_X: np.ndarray) -> float:
    """Share of the sample's identities whose class mean has its own row of `centers_CD` among the nearest 1% of the K rows."""
    label_K, index_X = np.unique(label_X, return_inverse=True)
    mean_KD = class_means(embeddings_XD, index_X, len(label_K))
    cosine_KK = mean_KD @ normalise(centers_CD[label_K].astype(np.float32)).T
    nearer_K = (cosine_KK > np.diag(cosine_KK)[:, None]).sum(1)
    return float((nearer_K <= NEAREST * len(label_K)).mean())

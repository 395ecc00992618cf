"""The share of doubtful labels among the training images, by the teacher's cosines.

X = images of a sample, D = embedding width, K = identities of the sample.
"""

from collections.abc import Iterator

import numpy as np

from aird_plugin.data.bank.centers import sample_identities
from aird_plugin.diagnostics.diagnostic import Diagnostic
from aird_plugin.utils.vectors import normalise

# A right label's cosine exceeds this quantile of the cosines to random identities.
RANDOM_QUANTILE = 0.99
# Identities that each image is compared with.
OTHERS = 50
# Least images of an identity whose mean says anything about each; the share of doubtful labels that is a warning.
MIN_IMAGES, MAX_NOISE = 3, 0.25


def check_label_noise(bank, seed: int = 0) -> Iterator[Diagnostic]:
    """Report the images that resemble their own identity no more than the most similar 1% of random identities."""
    rows = sample_identities(bank.label_N, MIN_IMAGES, seed)
    label_X = np.asarray(bank.label_N)[rows]
    if len(np.unique(label_X)) < 2:
        return
    share = doubtful_labels(normalise(bank.embeddings_NVD[rows, 0].astype(np.float32)), label_X, seed)
    text = f"label noise: {share:.1%} of {len(rows)} images resemble other identities as much as their own, by the teacher"
    if share > MAX_NOISE:
        yield Diagnostic("warning", text, "check the labels and the teacher's input before you train on these images")
    else:
        yield Diagnostic("ok", text)


def doubtful_labels(embeddings_XD: np.ndarray, label_X: np.ndarray, seed: int = 0) -> float:
    """Share of doubtful labels, 0..1. An image is compared with the mean of the other images of its identity.

    embeddings_XD: of length 1. Each identity has two images or more, and there are two identities or more.
    """
    _, index_X = np.unique(label_X, return_inverse=True)
    sum_KD = np.zeros((index_X.max() + 1, embeddings_XD.shape[1]))
    np.add.at(sum_KD, index_X, embeddings_XD)
    own_X = (embeddings_XD * normalise(sum_KD[index_X] - embeddings_XD)).sum(1)
    other_R = np.random.default_rng(seed).permutation(len(sum_KD))[:OTHERS]
    cosine_XR = embeddings_XD @ normalise(sum_KD[other_R]).T
    is_other_XR = other_R != index_X[:, None]
    return float((own_X < np.quantile(cosine_XR[is_other_XR], RANDOM_QUANTILE)).mean())

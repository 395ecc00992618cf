"""1:1 verification: embeddings of N image pairs -> the figures of one result row.

2N = images, the two of a pair side by side (pair i is rows 2i and 2i + 1); N = pairs; D = embedding width;
F = folds; T = thresholds.
"""

import math
from typing import NamedTuple

import numpy as np

from aird_plugin.evaluation.distances import FOLDS, distances_of

# Squared distances of unit vectors reach from 0 to 4; the steps are upstream's.
THRESHOLDS_T = np.arange(0, 4, 0.01)
FARS = (0.1, 0.01, 0.001)
MIN_FALSE_ACCEPTS = 10
# Another batch, number of threads or processor moves a squared distance in float32 by less than this (measured: 3e-7).
NEAR = 1e-6
Z95 = 1.959963984540054


class FoldRates(NamedTuple):
    """The rates of each fold of arcface_torch's `calculate_roc`, bit for bit; its tpr and fpr are their means over the folds.

    tpr_FT, fpr_FT: shares, 0..1, of the fold's genuine and impostor pairs that each of the 400 thresholds accepts; 0 for a fold
    without such pairs. accuracy_F: share of correct decisions at the threshold that is best on the other folds.
    """

    tpr_FT: np.ndarray
    fpr_FT: np.ndarray
    accuracy_F: np.ndarray


def verify(embeddings_2ND, same_N, folds=FOLDS) -> dict:
    """Verification figures of a set of image pairs, from L2-normalised embeddings.

    `accuracy`, `accuracy_std`: arcface_torch's 10-fold protocol, bit for bit: squared L2 distance, contiguous unshuffled folds,
    and for each fold the first of 400 thresholds (0 to 4 in steps of 0.01, "same" is strictly below) that is best on the other
    nine. `accuracy_best`: the accuracy of the best single threshold over all pairs (AIRD, section IV-A), not limited to that
    grid. `auc`: area under the ROC curve, ties counted half. `tar`: true accept rate at a threshold that accepts at most FAR
    of the impostor pairs. `ci95`: 95% Wilson interval of the fold decisions pooled over all pairs.

    `accuracy*` and `ci95` are in per cent, `auc` and `tar` lie in 0..1. A `tar` is None with fewer than 10 / FAR impostor
    pairs: the FAR of its threshold would rest on fewer than ten false accepts, a relative standard error above
    1 / sqrt(10) = 32%; with one expected false accept it is 100%.

    `n_near`: pairs whose squared distance lies within 1e-6 of one of the thresholds. Embeddings in float32 differ in their last
    bits from machine to machine; only these pairs can change their decision, so with 0 `accuracy` is the same on any machine.

    Raises ValueError for inputs that make the figures meaningless; see `fold_decisions`.
    """
    distance_N, same_N = distances_of(embeddings_2ND, same_N, folds)
    rates, correct_N = _classify(distance_N, same_N, folds)
    genuine, impostor = np.sort(distance_N[same_N]), np.sort(distance_N[~same_N])
    low, high = wilson_interval(int(correct_N.sum()), len(correct_N))
    return {
        "n_pairs": len(same_N),
        "n_impostor": len(impostor),
        "n_near": near_thresholds(distance_N),
        "accuracy": 100 * float(np.mean(rates.accuracy_F)),
        "accuracy_std": 100 * float(np.std(rates.accuracy_F)),
        "accuracy_best": 100 * _best_accuracy(genuine, impostor),
        "auc": _auc(genuine, impostor),
        "tar": {str(far): accept_rate(genuine, impostor, far) for far in FARS},
        "ci95": [100 * low, 100 * high],
    }


def near_thresholds(distance_N: np.ndarray) -> int:
    """The number of squared distances within `NEAR` of a threshold. 0 is no threshold: no distance is below it."""
    nearest_N = THRESHOLDS_T[np.clip(np.rint(distance_N * 100), 1, len(THRESHOLDS_T) - 1).astype(int)]
    return int((np.abs(distance_N - nearest_N) <= NEAR).sum())


def fold_decisions(embeddings_2ND, same_N, folds=FOLDS) -> np.ndarray:
    """Whether the threshold of its fold classifies each pair correctly: bool (N,), for paired tests of two models.

    Raises ValueError for an odd number of embeddings or one that does not fit the labels, embeddings that are not finite or not
    L2-normalised, fewer pairs than folds, pairs of one kind only, and labels sorted by kind.
    """
    return _classify(*distances_of(embeddings_2ND, same_N, folds), folds)[1]


def fold_rates(embeddings_2ND, same_N, folds=FOLDS) -> FoldRates:
    """Upstream's true- and false-accept rates and accuracy of each fold. Raises what `fold_decisions` raises."""
    return _classify(*distances_of(embeddings_2ND, same_N, folds), folds)[0]


def operating_points(embeddings_2ND, same_N, fars=FARS) -> list[dict]:
    """For each false-accept rate the lowest cosine threshold that accepts at most that share of the impostor pairs.

    A list of {"far", "cosine", "tar", "n_impostor"}: pairs whose cosine is strictly above "cosine" are accepted, among them the
    share "tar" of the genuine pairs. "cosine" and "tar" are None with fewer than 10 / FAR impostor pairs, as in `verify`.
    Raises what `fold_decisions` raises.
    """
    distance_N, same_N = distances_of(embeddings_2ND, same_N, folds=FOLDS)
    genuine, impostor = np.sort(distance_N[same_N]), np.sort(distance_N[~same_N])
    points = []
    for far in fars:
        tar = accept_rate(genuine, impostor, far)
        # For unit vectors the squared distance d and the cosine c satisfy d = 2 - 2c.
        cosine = None if tar is None else 1 - float(impostor[_allowed_impostors(impostor, far)]) / 2
        points.append({"far": far, "cosine": cosine, "tar": tar, "n_impostor": len(impostor)})
    return points


def accept_rate(genuine, impostor, far) -> float | None:
    """Share of the genuine distances accepted by the loosest threshold that accepts at most `far` of the impostors.

    genuine, impostor: sorted distances; those strictly below the threshold are accepted. None with fewer than 10 / FAR
    impostors: the threshold would rest on fewer than ten false accepts.
    """
    if not supports(len(impostor), far):
        return None
    return float(np.searchsorted(genuine, impostor[_allowed_impostors(impostor, far)], side="left") / len(genuine))


def supports(n_impostor: int, far: float) -> bool:
    """Whether the impostor pairs suffice for a threshold at this false-accept rate: ten or more expected false accepts."""
    return n_impostor * far >= MIN_FALSE_ACCEPTS * (1 - 1e-9)


def error_rates(embeddings_2ND, same_N) -> tuple[np.ndarray, np.ndarray]:
    """The points of a DET or ROC curve: false-accept and false-reject rate (T,), 0..1, at every threshold that changes one.

    From the strictest (0, 1) to the loosest (1, 0); distances strictly below a threshold are accepted. Raises what
    `fold_decisions` raises.
    """
    distance_N, same_N = distances_of(embeddings_2ND, same_N, folds=FOLDS)
    genuine, impostor = np.sort(distance_N[same_N]), np.sort(distance_N[~same_N])
    threshold_T = np.append(np.unique(distance_N), np.inf)
    far_T = np.searchsorted(impostor, threshold_T, side="left") / len(impostor)
    frr_T = 1 - np.searchsorted(genuine, threshold_T, side="left") / len(genuine)
    return far_T, frr_T


def equal_error_rate(far_T: np.ndarray, frr_T: np.ndarray) -> float:
    """The EER of `error_rates`: the mean of both rates at the threshold where they are nearest."""
    nearest = int(np.argmin(np.abs(far_T - frr_T)))
    return float(far_T[nearest] + frr_T[nearest]) / 2


def wilson_interval(hits: int, trials: int) -> tuple[float, float]:
    """95% Wilson score interval of a proportion, in 0..1 (Wilson 1927)."""
    share, z2 = hits / trials, Z95**2
    middle = share + z2 / (2 * trials)
    half = Z95 * math.sqrt(share * (1 - share) / trials + z2 / (4 * trials**2))
    low, high = (middle - half) / (1 + z2 / trials), (middle + half) / (1 + z2 / trials)
    return max(low, 0.0), min(high, 1.0)


def _classify(distance_N, same_N, folds) -> tuple[FoldRates, np.ndarray]:
    """The rates of the folds, and whether the threshold of its fold classifies each pair correctly, bool (N,)."""
    # The first `N % folds` folds have one pair more.
    size_F = np.full(folds, len(same_N) // folds)
    size_F[: len(same_N) % folds] += 1
    fold_N = np.repeat(np.arange(folds), size_F)
    # Each distance is binned by the first threshold strictly above it, so that counting replaces comparing.
    above_N = np.searchsorted(THRESHOLDS_T, distance_N, side="right")
    bins = len(THRESHOLDS_T) + 1
    bin_N = (same_N * folds + fold_N) * bins + above_N
    count_2FT = np.bincount(bin_N, minlength=2 * folds * bins).reshape(2, folds, bins).cumsum(axis=2)
    pairs_2F1, accepted_2FT = count_2FT[:, :, -1:], count_2FT[:, :, :-1]
    fpr_FT, tpr_FT = accepted_2FT / np.maximum(pairs_2F1, 1)
    correct_FT = accepted_2FT[1] + pairs_2F1[0] - accepted_2FT[0]
    threshold_F = np.argmax(correct_FT.sum(axis=0) - correct_FT, axis=1)
    accuracy_F = correct_FT[np.arange(folds), threshold_F] / size_F
    return FoldRates(tpr_FT, fpr_FT, accuracy_F), (above_N <= threshold_F[fold_N]) == same_N


def _best_accuracy(genuine, impostor) -> float:
    """Share of pairs that the best single threshold classifies correctly; both arguments are sorted distances."""
    candidates = np.append(np.unique(np.concatenate([genuine, impostor])), np.inf)
    accepted = np.searchsorted(genuine, candidates, side="left")
    rejected = len(impostor) - np.searchsorted(impostor, candidates, side="left")
    return float((accepted + rejected).max() / (len(genuine) + len(impostor)))


def _auc(genuine, impostor) -> float:
    """Probability that a genuine pair is closer than an impostor pair (Mann-Whitney); both arguments are sorted distances."""
    farther = len(impostor) - np.searchsorted(impostor, genuine, side="right")
    tied = np.searchsorted(impostor, genuine, side="right") - np.searchsorted(impostor, genuine, side="left")
    return float((farther + tied / 2).sum() / (len(genuine) * len(impostor)))


def _allowed_impostors(impostor, far) -> int:
    """The number of impostors that may be accepted."""
    return int(len(impostor) * far * (1 + 1e-9))

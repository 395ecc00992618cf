"""Pair verification: embeddings of N face pairs -> the numbers of one result row.

2N = faces, two a pair, side by side (pair i is rows 2i and 2i + 1); N = pairs; D = embedding width;
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
# What another batch, number of threads or processor moves a squared distance by, in float32, is below this (seen: 3e-7).
NEAR = 1e-6
Z95 = 1.959963984540054


class FoldRates(NamedTuple):
    """What arcface_torch's `calculate_roc` finds in each fold, to the bit; its tpr and fpr are the means over folds of these.

    tpr_FT, fpr_FT: shares, 0..1, of the fold's same and different pairs that each of the 400 thresholds accepts; 0 where it has
    none. accuracy_F: share judged rightly at the threshold that is best on the other folds.
    """

    tpr_FT: np.ndarray
    fpr_FT: np.ndarray
    accuracy_F: np.ndarray


def verify(embeddings_2ND, same_N, folds=FOLDS) -> dict:
    """Verification figures of a set of face pairs, from L2-normalised embeddings.

    `accuracy`, `accuracy_std`: arcface_torch's 10-fold protocol to the bit. Squared L2 distance, contiguous
    unshuffled folds, and for each fold the first of 400 thresholds (0 to 4 by 0.01, "same" is strictly below)
    that is best on the other nine. `accuracy_best`: the best that any one threshold does over all pairs
    (AIRD, section IV-A), not limited to that grid. `auc`: area under the ROC curve, ties counted half. `tar`:
    true accept rate where at most FAR of the impostor pairs are accepted. `ci95`: 95% Wilson interval of the
    fold decisions pooled over all pairs.

    `accuracy*` and `ci95` are in per cent, `auc` and `tar` lie in 0..1. A `tar` is None where fewer than
    10 / FAR impostor pairs exist: the FAR of its threshold would rest on under ten false accepts, a relative
    standard error above 1 / sqrt(10) = 32%. One expected false accept would leave it at 100%.

    `n_near`: pairs whose squared distance lies within 1e-6 of one of the thresholds. Embeddings in float32 differ in their last
    bits from machine to machine; no pair beyond that reach can be judged otherwise, so with 0 `accuracy` is the same anywhere.

    Raises ValueError for what makes the figures meaningless; see `fold_decisions`.
    """
    distance_N, same_N = distances_of(embeddings_2ND, same_N, folds)
    rates, correct_N = _judge(distance_N, same_N, folds)
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
    """How many squared distances lie within `NEAR` of a threshold; 0 is none, for no distance is below it."""
    nearest_N = THRESHOLDS_T[np.clip(np.rint(distance_N * 100), 1, len(THRESHOLDS_T) - 1).astype(int)]
    return int((np.abs(distance_N - nearest_N) <= NEAR).sum())


def fold_decisions(embeddings_2ND, same_N, folds=FOLDS) -> np.ndarray:
    """Was each pair judged rightly by the threshold of its fold? bool (N,), for paired tests of two models.

    Raises ValueError on an odd number of embeddings or one that does not fit the labels, embeddings that are
    not finite or not L2-normalised, fewer pairs than folds, pairs of one kind only, labels sorted by kind.
    """
    return _judge(*distances_of(embeddings_2ND, same_N, folds), folds)[1]


def fold_rates(embeddings_2ND, same_N, folds=FOLDS) -> FoldRates:
    """Upstream's true- and false-accept rates and accuracy of each fold. Raises what `fold_decisions` raises."""
    return _judge(*distances_of(embeddings_2ND, same_N, folds), folds)[0]


def operating_points(embeddings_2ND, same_N, fars=FARS) -> list[dict]:
    """For each false-accept rate the least cosine at which at most that share of the impostor pairs is accepted.

    A list of {"far", "cosine", "tar", "n_impostor"}: pairs whose cosine is strictly above "cosine" are accepted, "tar" of the
    same pairs among them. "cosine" and "tar" are None where fewer than 10 / FAR impostor pairs exist, as in `verify`.
    Raises what `fold_decisions` raises.
    """
    distance_N, same_N = distances_of(embeddings_2ND, same_N, folds=FOLDS)
    genuine, impostor = np.sort(distance_N[same_N]), np.sort(distance_N[~same_N])
    points = []
    for far in fars:
        tar = accept_rate(genuine, impostor, far)
        # Of unit vectors, squared distance d and cosine c are d = 2 - 2c.
        cosine = None if tar is None else 1 - float(impostor[_allowed(impostor, far)]) / 2
        points.append({"far": far, "cosine": cosine, "tar": tar, "n_impostor": len(impostor)})
    return points


def accept_rate(genuine, impostor, far) -> float | None:
    """Share of the genuine distances accepted by the loosest threshold that accepts at most `far` of the impostors.

    genuine, impostor: sorted. Accepted is what lies strictly below the threshold. None where fewer than 10 / FAR impostors
    exist: the threshold would rest on under ten false accepts.
    """
    if not supports(len(impostor), far):
        return None
    return float(np.searchsorted(genuine, impostor[_allowed(impostor, far)], side="left") / len(genuine))


def supports(n_impostor: int, far: float) -> bool:
    """Whether so many impostor pairs can carry a threshold for this false-accept rate: ten are wrongly accepted, or more."""
    return n_impostor * far >= MIN_FALSE_ACCEPTS * (1 - 1e-9)


def error_rates(embeddings_2ND, same_N) -> tuple[np.ndarray, np.ndarray]:
    """What a DET or ROC curve runs through: false-accept and false-reject rate (T,), 0..1, at every threshold that changes one.

    From the strictest (0, 1) to the loosest (1, 0); accepted are distances strictly below. Raises what `fold_decisions` raises.
    """
    distance_N, same_N = distances_of(embeddings_2ND, same_N, folds=FOLDS)
    genuine, impostor = np.sort(distance_N[same_N]), np.sort(distance_N[~same_N])
    threshold_T = np.append(np.unique(distance_N), np.inf)
    far_T = np.searchsorted(impostor, threshold_T, side="left") / len(impostor)
    frr_T = 1 - np.searchsorted(genuine, threshold_T, side="left") / len(genuine)
    return far_T, frr_T


def equal_error_rate(far_T: np.ndarray, frr_T: np.ndarray) -> float:
    """Where the two rates of `error_rates` cross: the mean of both at the threshold where they are nearest."""
    nearest = int(np.argmin(np.abs(far_T - frr_T)))
    return float(far_T[nearest] + frr_T[nearest]) / 2


def wilson_interval(hits: int, trials: int) -> tuple[float, float]:
    """95% Wilson score interval of a share, in 0..1 (Wilson 1927)."""
    share, z2 = hits / trials, Z95**2
    middle = share + z2 / (2 * trials)
    half = Z95 * math.sqrt(share * (1 - share) / trials + z2 / (4 * trials**2))
    low, high = (middle - half) / (1 + z2 / trials), (middle + half) / (1 + z2 / trials)
    return max(low, 0.0), min(high, 1.0)


def _judge(distance_N, same_N, folds) -> tuple[FoldRates, np.ndarray]:
    """The folds' rates, and whether each pair was judged rightly by the threshold of its fold."""
    # The first `pairs % folds` folds hold one pair more.
    size_F = np.full(folds, len(same_N) // folds)
    size_F[: len(same_N) % folds] += 1
    fold_N = np.repeat(np.arange(folds), size_F)
    # The first threshold strictly above a distance stands for the distance, so counting replaces comparing.
    above_N = np.searchsorted(THRESHOLDS_T, distance_N, side="right")
    bins = len(THRESHOLDS_T) + 1
    place_N = (same_N * folds + fold_N) * bins + above_N
    count_2FT = np.bincount(place_N, minlength=2 * folds * bins).reshape(2, folds, bins).cumsum(axis=2)
    pairs_2F1, accepted_2FT = count_2FT[:, :, -1:], count_2FT[:, :, :-1]
    fpr_FT, tpr_FT = accepted_2FT / np.maximum(pairs_2F1, 1)
    right_FT = accepted_2FT[1] + pairs_2F1[0] - accepted_2FT[0]
    threshold_F = np.argmax(right_FT.sum(axis=0) - right_FT, axis=1)
    accuracy_F = right_FT[np.arange(folds), threshold_F] / size_F
    return FoldRates(tpr_FT, fpr_FT, accuracy_F), (above_N <= threshold_F[fold_N]) == same_N


def _best_accuracy(genuine, impostor) -> float:
    """Share of pairs that the best single threshold gets right; both arguments sorted distances."""
    candidates = np.append(np.unique(np.concatenate([genuine, impostor])), np.inf)
    accepted = np.searchsorted(genuine, candidates, side="left")
    refused = len(impostor) - np.searchsorted(impostor, candidates, side="left")
    return float((accepted + refused).max() / (len(genuine) + len(impostor)))


def _auc(genuine, impostor) -> float:
    """Chance that a same pair is closer than a different one (Mann-Whitney); both sorted distances."""
    farther = len(impostor) - np.searchsorted(impostor, genuine, side="right")
    tied = np.searchsorted(impostor, genuine, side="right") - np.searchsorted(impostor, genuine, side="left")
    return float((farther + tied / 2).sum() / (len(genuine) * len(impostor)))


def _allowed(impostor, far) -> int:
    """How many impostors may be accepted."""
    return int(len(impostor) * far * (1 + 1e-9))

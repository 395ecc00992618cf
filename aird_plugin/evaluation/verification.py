"""Pair verification: embeddings of N face pairs -> the numbers of one result row.

2N = faces, two a pair, side by side (pair i is rows 2i and 2i + 1); N = pairs; D = embedding width;
F = folds; T = thresholds.
"""

import math

import numpy as np

# Squared distances of unit vectors reach from 0 to 4; the steps are upstream's.
THRESHOLDS_T = np.arange(0, 4, 0.01)
FARS = (0.1, 0.01, 0.001)
MIN_FALSE_ACCEPTS = 10
Z95 = 1.959963984540054


def verify(embeddings_2ND, same_N, folds=10) -> dict:
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

    Raises ValueError for what makes the figures meaningless; see `fold_decisions`.
    """
    distance_N, same_N = _check(embeddings_2ND, same_N, folds)
    correct_N = _decide(distance_N, same_N, folds)
    fold_accuracy_F = [part.mean() for part in np.split(correct_N, _fold_starts(len(same_N), folds)[1:])]
    genuine, impostor = np.sort(distance_N[same_N]), np.sort(distance_N[~same_N])
    low, high = wilson_interval(int(correct_N.sum()), len(correct_N))
    return {
        "n_pairs": len(same_N),
        "n_impostor": len(impostor),
        "accuracy": 100 * float(np.mean(fold_accuracy_F)),
        "accuracy_std": 100 * float(np.std(fold_accuracy_F)),
        "accuracy_best": 100 * _best_accuracy(genuine, impostor),
        "auc": _auc(genuine, impostor),
        "tar": {str(far): accept_rate(genuine, impostor, far) for far in FARS},
        "ci95": [100 * low, 100 * high],
    }


def fold_decisions(embeddings_2ND, same_N, folds=10) -> np.ndarray:
    """Was each pair judged rightly by the threshold of its fold? bool (N,), for paired tests of two models.

    Raises ValueError on an odd number of embeddings or one that does not fit the labels, embeddings that are
    not finite or not L2-normalised, fewer pairs than folds, pairs of one kind only, labels sorted by kind.
    """
    distance_N, same_N = _check(embeddings_2ND, same_N, folds)
    return _decide(distance_N, same_N, folds)


def operating_points(embeddings_2ND, same_N, fars=FARS) -> list[dict]:
    """For each false-accept rate the least cosine at which at most that share of the impostor pairs is accepted.

    A list of {"far", "cosine", "tar", "n_impostor"}: pairs whose cosine is strictly above "cosine" are accepted, "tar" of the
    same pairs among them. "cosine" and "tar" are None where fewer than 10 / FAR impostor pairs exist, as in `verify`.
    Raises what `fold_decisions` raises.
    """
    distance_N, same_N = _check(embeddings_2ND, same_N, folds=10)
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
    if len(impostor) * far < MIN_FALSE_ACCEPTS * (1 - 1e-9):
        return None
    return float(np.searchsorted(genuine, impostor[_allowed(impostor, far)], side="left") / len(genuine))


def error_rates(embeddings_2ND, same_N) -> tuple[np.ndarray, np.ndarray]:
    """What a DET or ROC curve runs through: false-accept and false-reject rate (T,), 0..1, at every threshold that changes one.

    From the strictest (0, 1) to the loosest (1, 0); accepted are distances strictly below. Raises what `fold_decisions` raises.
    """
    distance_N, same_N = _check(embeddings_2ND, same_N, folds=10)
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


def _check(embeddings_2ND, same_N, folds):
    embeddings_2ND, same_N = np.asarray(embeddings_2ND), np.asarray(same_N)
    if embeddings_2ND.ndim != 2 or len(embeddings_2ND) % 2:
        raise ValueError(
            f"embeddings must be an array (2N, D), two rows a pair, got shape {embeddings_2ND.shape}"
            + (": an odd number of rows" if len(embeddings_2ND.shape) == 2 else "")
        )
    pairs = len(embeddings_2ND) // 2
    if same_N.shape != (pairs,):
        raise ValueError(f"{2 * pairs} embeddings make {pairs} pairs, but there are {same_N.shape} labels")
    if not np.isin(same_N, (0, 1)).all():
        raise ValueError(f"labels must be true or false (1 or 0), got {np.unique(same_N)[:5].tolist()}")
    same_N = same_N.astype(bool)
    _check_labels(same_N, folds)
    embeddings_2ND = embeddings_2ND.astype(np.float64)
    broken = np.flatnonzero(~np.isfinite(embeddings_2ND).all(axis=1))
    if len(broken):
        raise ValueError(
            f"the embedding of face {broken[0] % 2} of pair {broken[0] // 2} is not finite (counted from 0; "
            f"{len(broken)} of {2 * pairs} faces are like that): its pair would silently count as 'different'"
        )
    distance_N = np.sum(np.square(embeddings_2ND[0::2] - embeddings_2ND[1::2]), axis=1)
    if distance_N.max() > 4.001:
        raise ValueError(
            f"pair {distance_N.argmax()} has a squared distance of {distance_N.max():.4g}; unit vectors are "
            "at most 4 apart: L2-normalise the embeddings"
        )
    return distance_N, same_N


def _check_labels(same_N, folds):
    pairs, genuine = len(same_N), int(same_N.sum())
    if folds < 2:
        raise ValueError(f"folds must be 2 or more, got {folds}")
    if pairs < folds:
        raise ValueError(f"{pairs} pairs do not fill {folds} folds: give at least {folds} pairs")
    if genuine in (0, pairs):
        kind = "same" if genuine else "different"
        raise ValueError(f"all {pairs} pairs are '{kind}': a threshold needs pairs of both kinds")
    if np.count_nonzero(np.diff(same_N)) == 1:
        first, rest = ("same", "different") if same_N[0] else ("different", "same")
        raise ValueError(
            f"the pairs are sorted: all '{first}' ones first, then all '{rest}' ones. Folds are contiguous, "
            "so each threshold would be chosen on another mixture than it is tried on: interleave the pairs, "
            "half of each kind in a fold"
        )


def _fold_starts(pairs: int, folds: int) -> np.ndarray:
    """First pair of each fold: the first `pairs % folds` folds hold one pair more."""
    sizes_F = np.full(folds, pairs // folds)
    sizes_F[: pairs % folds] += 1
    return np.cumsum(sizes_F) - sizes_F


def _decide(distance_N, same_N, folds) -> np.ndarray:
    # The first threshold strictly above a distance stands for the distance, so counting replaces comparing.
    above_N = np.searchsorted(THRESHOLDS_T, distance_N, side="right")
    starts_F = _fold_starts(len(same_N), folds)
    fold_N = np.searchsorted(starts_F, np.arange(len(same_N)), side="right") - 1
    # At threshold t: the same pairs with above <= t are right, and the different pairs with above > t.
    bins = len(THRESHOLDS_T) + 1
    right_FT = np.zeros((folds, bins), dtype=np.int64)
    np.add.at(right_FT, (fold_N, above_N), np.where(same_N, 1, -1))
    right_FT = np.cumsum(right_FT, axis=1)[:, : len(THRESHOLDS_T)]
    right_FT += np.bincount(fold_N[~same_N], minlength=folds)[:, None]
    threshold_F = np.argmax(right_FT.sum(axis=0) - right_FT, axis=1)
    return (above_N <= threshold_F[fold_N]) == same_N


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

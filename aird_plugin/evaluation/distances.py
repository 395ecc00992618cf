"""Embeddings of image pairs -> squared distances, with checks of what would make verification figures meaningless.

N = pairs, 2N = their images, side by side, D = embedding width.
"""

import numpy as np

# Contiguous folds of the verification protocol.
FOLDS = 10
# Pairs per block: their float64 differences stay in the cache, which takes a third of the time of all pairs at once.
BLOCK = 64


def squared_distances(first_ND: np.ndarray, second_ND: np.ndarray) -> np.ndarray:
    """Squared L2 distance of each pair, float64 (N,), bit for bit upstream's np.sum(np.square(np.subtract(a, b)), 1)."""
    distance_N = np.empty(len(first_ND))
    with np.errstate(invalid="ignore", over="ignore"):
        for start in range(0, len(first_ND), BLOCK):
            rows = slice(start, start + BLOCK)
            gap_BD = np.subtract(first_ND[rows], second_ND[rows], dtype=np.float64)
            np.sum(np.square(gap_BD, out=gap_BD), axis=1, out=distance_N[rows])
    return distance_N


def distances_of(embeddings_2ND: np.ndarray, same_N: np.ndarray, folds: int) -> tuple[np.ndarray, np.ndarray]:
    """Squared distance of every pair, float64 (N,), and its label, bool (N,).

    Raises ValueError for the inputs that `fold_decisions` lists.
    """
    embeddings_2ND, same_N = np.asarray(embeddings_2ND), np.asarray(same_N)
    if embeddings_2ND.ndim != 2 or len(embeddings_2ND) % 2:
        raise ValueError(
            f"embeddings must be an array (2N, D), two rows per pair, got shape {embeddings_2ND.shape}"
            + (": an odd number of rows" if len(embeddings_2ND.shape) == 2 else "")
        )
    pairs = len(embeddings_2ND) // 2
    if same_N.shape != (pairs,):
        raise ValueError(f"{2 * pairs} embeddings make {pairs} pairs, but there are {same_N.shape} labels")
    if not np.isin(same_N, (0, 1)).all():
        raise ValueError(f"labels must be true or false (1 or 0), got {np.unique(same_N)[:5].tolist()}")
    same_N = same_N.astype(bool)
    check_labels(same_N, folds)
    distance_N = squared_distances(embeddings_2ND[0::2], embeddings_2ND[1::2])
    # A value that is not finite makes the distance of its pair not finite.
    if not np.isfinite(distance_N).all():
        _raise_nonfinite(embeddings_2ND)
    if distance_N.max() > 4.001:
        raise ValueError(
            f"pair {distance_N.argmax()} has a squared distance of {distance_N.max():.4g}; unit vectors are "
            "at most 4 apart: L2-normalise the embeddings"
        )
    return distance_N, same_N


def _raise_nonfinite(embeddings_2ND):
    """ValueError naming the first image whose embedding is not finite."""
    nonfinite = np.flatnonzero(~np.isfinite(embeddings_2ND).all(axis=1))
    if len(nonfinite):
        raise ValueError(
            f"the embedding of image {nonfinite[0] % 2} of pair {nonfinite[0] // 2} (counted from 0) is not finite, "
            f"{len(nonfinite)} of {len(embeddings_2ND)} in all: their pairs would silently count as 'different'"
        )


def check_labels(same_N: np.ndarray, folds: int) -> None:
    """Raise ValueError for labels, bool (N,), on which k-fold accuracy is meaningless; `fold_decisions` lists them."""
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
            "so each threshold would be chosen on another mixture than the one it is tested on: interleave the pairs, "
            "half of each kind per fold"
        )

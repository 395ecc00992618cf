"""Template pooling: several crops of one identity or track -> one embedding, a mean weighted by quality.

N = crops, D = embedding width, G = groups.
"""

import numpy as np

from aird_plugin.data.pairs import connected_components
from aird_plugin.utils.vectors import normalise


def pool(features_ND: np.ndarray, quality_N: np.ndarray | None = None) -> np.ndarray:
    """One L2-normalised embedding, float32 (D,), of all rows: the mean of their directions, weighted by quality.

    features_ND: embeddings, normalised or not.
    quality_N: one weight per row, 0 or more. By default the row's length, which in networks trained with a softmax grows with
        the quality of the image (MagFace, AdaFace); the result is then the direction of the sum of the rows, and for
        L2-normalised rows the plain mean.

    Directions that cancel out give zeros. Raises ValueError for no row, rows that are not finite, and weights that are
    negative, not finite, all zero or of another number.
    """
    features_ND = _checked_features(features_ND)
    if quality_N is None:
        quality_N = np.linalg.norm(features_ND, axis=1)
    quality_N = _checked_weights(quality_N, len(features_ND))
    return normalise(quality_N[None] @ normalise(features_ND))[0].astype(np.float32)


def pool_by(features_ND: np.ndarray, group_N, quality_N: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """`pool` of the rows of each group: the groups in ascending order (G,) and their embeddings float32 (G, D).

    group_N: the group of each row, numbers or names. Raises ValueError as `pool` does, naming the group, and unless each row
    has a group.
    """
    features_ND, group_N = _checked_features(features_ND), np.asarray(group_N)
    if group_N.shape != (len(features_ND),):
        raise ValueError(f"{len(features_ND)} embeddings need one group each, got {group_N.shape}")
    if quality_N is not None and np.shape(quality_N) != group_N.shape:
        raise ValueError(f"{len(features_ND)} embeddings need one weight each, got {np.shape(quality_N)}")
    groups, first_G = np.unique(np.sort(group_N), return_index=True)
    rows_of = np.split(np.argsort(group_N, kind="stable"), first_G[1:])
    pooled = []
    for group, rows in zip(groups, rows_of, strict=True):
        try:
            pooled.append(pool(features_ND[rows], None if quality_N is None else np.asarray(quality_N)[rows]))
        except ValueError as error:
            raise ValueError(f"group {group}: {error}") from error
    return groups, np.stack(pooled)


def merge_groups(features_ND: np.ndarray, group_N, cosine: float) -> np.ndarray:
    """Merge the groups whose pooled embeddings have a cosine above `cosine`: the new group of each row (N,).

    For identities that a list of pairs splits into several. Raises what `pool_by` raises, and ValueError for a cosine outside
    -1..1.
    """
    if not -1 <= cosine <= 1:
        raise ValueError(f"a cosine must lie in -1..1, got {cosine}")
    groups, pooled_GD = pool_by(features_ND, group_N)
    links = np.argwhere(np.triu(pooled_GD @ pooled_GD.T, 1) > cosine)
    merged = connected_components(groups.tolist(), groups[links].tolist())
    return np.array([merged[group] for group in np.asarray(group_N).tolist()])


def _checked_features(features_ND) -> np.ndarray:
    """As float64 (N, D). ValueError for another shape or a non-finite embedding."""
    features_ND = np.asarray(features_ND, dtype=np.float64)
    if features_ND.ndim != 2 or 0 in features_ND.shape:
        raise ValueError(f"embeddings to pool must be an array (N, D) of one row or more, got shape {features_ND.shape}")
    nonfinite = np.flatnonzero(~np.isfinite(features_ND).all(axis=1))
    if len(nonfinite):
        raise ValueError(f"embedding {nonfinite[0]} is not finite ({len(nonfinite)} of {len(features_ND)} in all)")
    return features_ND


def _checked_weights(quality_N, count: int) -> np.ndarray:
    """As float64 (N,). ValueError for another number, or weights that allow no mean."""
    quality_N = np.asarray(quality_N, dtype=np.float64)
    if quality_N.shape != (count,):
        raise ValueError(f"{count} embeddings need one weight each, got {quality_N.shape}")
    wrong = np.flatnonzero(~np.isfinite(quality_N) | (quality_N < 0))
    if len(wrong):
        raise ValueError(f"the weight of embedding {wrong[0]} is {quality_N[wrong[0]]}; weights must be finite and 0 or more")
    if not quality_N.any():
        raise ValueError(f"all {count} weights are zero: leave these embeddings out, or pass other weights")
    return quality_N

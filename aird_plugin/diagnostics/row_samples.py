"""Random rows of a set of any size, without an array of all rows."""

import numpy as np

# Up to so many rows, a permutation of all of them (32 MB); windows of so many rows in a larger set.
MANY, WINDOW, WINDOWS = 1 << 22, 1 << 16, 16


def random_rows(rng: np.random.Generator, count: int, wanted: int) -> np.ndarray:
    """Up to `wanted` different random rows of `count`, in random order. int64"""
    if count <= MANY:
        return rng.permutation(count)[:wanted]
    return rng.permutation(np.unique(rng.integers(0, count, 2 * wanted)))[:wanted]


def row_windows(rng: np.random.Generator, count: int) -> np.ndarray:
    """All rows, or those of random windows of a large set, which hold whole identities where it is sorted by them. int64"""
    if count <= MANY:
        return np.arange(count)
    first_W = np.unique(rng.integers(0, count // WINDOW, WINDOWS)) * WINDOW
    return (first_W[:, None] + np.arange(WINDOW)).ravel()

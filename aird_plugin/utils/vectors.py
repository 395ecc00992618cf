"""Arithmetic on embeddings in NumPy. N = rows, D = width."""

import numpy as np


def normalise(rows_ND: np.ndarray) -> np.ndarray:
    """L2-normalised rows, of the same dtype; a row of zeros stays."""
    length_N1 = np.linalg.norm(rows_ND, axis=1, keepdims=True)
    return rows_ND / np.where(length_N1 == 0, 1, length_N1)

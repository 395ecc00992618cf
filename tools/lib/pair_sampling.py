"""Random genuine and impostor pairs in InsightFace's ten folds: no identity in two folds, half of each fold genuine."""

import itertools
import random

import numpy as np

FOLDS = 10
FEWEST_IMAGES = 4


def synthetic_pairs(identities: int, first_identity: int, count: int, seed: int) -> list[tuple]:
    """`count` pairs ((identity, image), (identity, image), genuine) in ten folds: no identity in two folds, half genuine in each.

    Each identity has four images, or as many as are needed for twice the pairs. Raises ValueError for fewer than 20 identities,
    or a count that is not a multiple of 20.
    """
    half = genuine_per_fold(count, identities)
    per_fold = identities // FOLDS
    images = FEWEST_IMAGES
    while per_fold * images * (images - 1) // 2 < 2 * half:
        images += 1
    rng = random.Random(seed)
    pairs = []
    for group in np.array_split(np.arange(first_identity, first_identity + identities), FOLDS):
        shots = [(int(identity), image) for identity in group for image in range(images)]
        pairs += fold_pairs(shots, half, rng)
    return pairs


def genuine_per_fold(count: int, identities: int) -> int:
    """Genuine pairs in each of the ten folds. ValueError for too few identities, or a count that is not a multiple of 20."""
    if identities < 2 * FOLDS or count < 2 * FOLDS or count % (2 * FOLDS):
        raise ValueError(f"need 20 or more identities and a multiple of 20 pairs, got {identities} identities, {count} pairs")
    return count // FOLDS // 2


def held_out_pairs(rows: list[list[int]], half: int, rng: random.Random) -> list[tuple]:
    """Pairs ((identity, row), (identity, row), genuine) in ten folds: no identity in two folds, half genuine in each.

    rows: of each identity. Raises ValueError where a fold has fewer pairs of one kind than `half`.
    """
    pairs = []
    for number, group in enumerate(np.array_split(rng.sample(range(len(rows)), len(rows)), FOLDS), 1):
        shots = [(int(identity), row) for identity in group for row in rows[identity]]
        genuine = sum(len(rows[identity]) * (len(rows[identity]) - 1) // 2 for identity in group)
        available = min(genuine, len(shots) * (len(shots) - 1) // 2 - genuine)
        if available < half:
            raise ValueError(
                f"fold {number} of the held-out identities has {available} pairs of a kind for {half}: fewer --pairs"
            )
        pairs += fold_pairs(shots, half, rng)
    return pairs


def fold_pairs(shots: list[tuple[int, int]], half: int, rng: random.Random) -> list[tuple]:
    """`half` genuine and `half` impostor pairs of (identity, image), none twice."""
    genuine = [(a, b, True) for a, b in itertools.combinations(shots, 2) if a[0] == b[0]]
    impostor: set[tuple] = set()
    chosen = rng.sample(genuine, half)
    while len(impostor) < half:
        a, b = sorted(rng.sample(shots, 2))
        if a[0] != b[0]:
            impostor.add((a, b, False))
    return chosen + sorted(impostor)

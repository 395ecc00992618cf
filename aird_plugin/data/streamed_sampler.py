"""Batches in an order that is computed, not stored: the row at a position of an epoch is a function of (seed, epoch, position).

The order is a permutation by a Feistel network: each round changes one half of a number's bits by a hash of the other half, which
can be undone, so that different positions have different rows. Numbers above N - 1 are permuted again until they are below
(cycle walking: Black and Rogaway, "Ciphers with Arbitrary Finite Domains", CT-RSA 2002).
"""

import numpy as np

from aird_plugin.data.sampler import SHUFFLE, BatchIndices, BatchSampler

# Four for each half; Luby and Rackoff's proof needs four of an ideal hash.
ROUNDS = 8
# Steps and factors of SplitMix64 (Steele, Lea and Flood, OOPSLA 2014).
GOLDEN, FIRST, SECOND = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)


class StreamedSampler(BatchSampler):
    """A sampler without the order of an epoch in memory: 64 bytes for an epoch, where `BatchSampler` holds 16 bytes an image.

    Every row once per epoch, in a new order and with new views, as a function of (seed, step); the order is another one than
    `BatchSampler`'s. The ranks share one order, each takes its part of a global batch.
    """

    def indices(self, batch: int) -> BatchIndices:
        """Rows and views, int64 (B,), of this rank's part of a batch of the run, counted from its start."""
        epoch, position = divmod(batch, self.batches_per_epoch)
        first = (position * self.world_size + self.rank) * self.batch_size
        position_B = np.arange(first, first + self.batch_size, dtype=np.uint64)
        key_K = np.random.default_rng((self.seed, SHUFFLE, epoch)).integers(0, 1 << 64, ROUNDS + 1, dtype=np.uint64)
        rows_B = permuted(position_B, self.num_rows, key_K[:ROUNDS]).astype(np.int64)
        views_B = (hashed(position_B, key_K[ROUNDS]) % np.uint64(self.views)).astype(np.int64)
        return BatchIndices(rows_B, views_B, self.batch_rng(batch))


def permuted(position_B: np.ndarray, count: int, key_K: np.ndarray) -> np.ndarray:
    """The permutation of 0 .. count - 1 that these keys choose, at these positions. uint64 (B,)"""
    bits = max(count - 1, 1).bit_length()
    found_B = _rounds(position_B, bits, key_K)
    while (outside_B := found_B >= count).any():
        found_B[outside_B] = _rounds(found_B[outside_B], bits, key_K)
    return found_B


def _rounds(number_B: np.ndarray, bits: int, key_K: np.ndarray) -> np.ndarray:
    """The Feistel network on numbers of so many bits; the upper half has one bit less where they are odd."""
    low_bits = np.uint64((bits + 1) // 2)
    low, high = np.uint64((1 << int(low_bits)) - 1), np.uint64((1 << (bits - int(low_bits))) - 1)
    left_B, right_B = number_B >> low_bits, number_B & low
    for number, key in enumerate(key_K):
        if number % 2:
            right_B = right_B ^ (hashed(left_B, key) & low)
        else:
            left_B = left_B ^ (hashed(right_B, key) & high)
    return (left_B << low_bits) | right_B


def hashed(number_B: np.ndarray, key: np.uint64) -> np.ndarray:
    """64 mixed bits of each number and the key. uint64 (B,)"""
    mixed_B = (number_B * GOLDEN) ^ key
    mixed_B = (mixed_B ^ (mixed_B >> np.uint64(30))) * FIRST
    mixed_B = (mixed_B ^ (mixed_B >> np.uint64(27))) * SECOND
    return mixed_B ^ (mixed_B >> np.uint64(31))

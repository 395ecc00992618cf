"""Batch samplers: rows and views of a batch are a function of (seed, step), so a resumed run needs only the step."""

from dataclasses import dataclass

import numpy as np

SHUFFLE, NEIGHBOURS, SIZES, DEGRADATION, ANCHORS, MIXUP = 0, 1, 2, 3, 4, 5


@dataclass(frozen=True)
class BatchIndices:
    """Rows and views of one batch, and the random generator for everything else that the batch draws."""

    rows_B: np.ndarray
    views_B: np.ndarray
    rng: np.random.Generator


def whole_batches(num_rows: int, batch_size: int, world_size: int) -> int:
    """Number of global batches in an epoch, each of batch_size rows on every rank. ValueError for none."""
    batches = num_rows // (batch_size * world_size)
    if batches == 0:
        raise ValueError(
            f"{num_rows} images do not fill one batch of {batch_size} on each of {world_size} ranks; "
            "lower batch_size or add images"
        )
    return batches


class BatchSampler:
    """Sample every row once per epoch, in a new order and with new views; the last incomplete batch is dropped.

    batch_size is per rank. Rank r takes the r-th part of each global batch.
    Raises ValueError if there are fewer rows than one global batch.
    """

    def __init__(self, num_rows: int, views: int, batch_size: int, seed: int, rank: int = 0, world_size: int = 1):
        self.batches_per_epoch = whole_batches(num_rows, batch_size, world_size)
        self.num_rows, self.views, self.batch_size = num_rows, views, batch_size
        self.seed, self.rank, self.world_size = seed, rank, world_size
        self._epoch = -1
        self._order: tuple[np.ndarray, np.ndarray] = (np.empty(0), np.empty(0))

    def indices(self, batch: int) -> BatchIndices:
        """Rows and views of this rank in global batch `batch`, counted from the start of training."""
        epoch, position = divmod(batch, self.batches_per_epoch)
        rows_N, views_N = self._epoch_order(epoch)
        first = (position * self.world_size + self.rank) * self.batch_size
        chosen = slice(first, first + self.batch_size)
        return BatchIndices(rows_N[chosen], views_N[chosen], self.batch_rng(batch))

    def batch_rng(self, batch: int) -> np.random.Generator:
        """The generator for all other draws of this rank's part of a global batch."""
        return np.random.default_rng((self.seed, NEIGHBOURS, batch, self.rank))

    def _epoch_order(self, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        if epoch != self._epoch:
            rng = np.random.default_rng((self.seed, SHUFFLE, epoch))
            self._order = self._shuffled(rng), rng.integers(0, self.views, self.num_rows)
            self._epoch = epoch
        return self._order

    def _shuffled(self, rng: np.random.Generator) -> np.ndarray:
        return rng.permutation(self.num_rows)


class MPerClassSampler(BatchSampler):
    """A sampler that keeps up to `faces` images of an identity together in a batch; still every row once per epoch.

    Each epoch the images of an identity are shuffled and split into groups of `faces`; the last group of an identity may be
    smaller. The groups are shuffled as wholes; only a group at the end of a batch may be cut.
    label_N: the identity of every row.
    """

    def __init__(self, label_N: np.ndarray, faces: int, *args, **options):
        super().__init__(len(label_N), *args, **options)
        self.label_N, self.faces = np.asarray(label_N), faces

    def _shuffled(self, rng: np.random.Generator) -> np.ndarray:
        rows_N = rng.permutation(self.num_rows)
        rows_N = rows_N[np.argsort(self.label_N[rows_N], kind="stable")]
        label_N = self.label_N[rows_N]
        position_N = np.arange(self.num_rows) - np.searchsorted(label_N, label_N)
        group_N = np.cumsum(position_N % self.faces == 0) - 1
        rank_N = rng.permutation(group_N[-1] + 1)[group_N]
        return rows_N[np.argsort(rank_N, kind="stable")]

"""Which rows, in which view, make up which batch: a function of (seed, step), so that a resumed run needs the step alone."""

from dataclasses import dataclass

import numpy as np

SHUFFLE, NEIGHBOURS = 0, 1


@dataclass(frozen=True)
class Draw:
    """One batch: rows and views, and the generator for whatever else the batch draws."""

    rows_B: np.ndarray
    views_B: np.ndarray
    rng: np.random.Generator


class Plan:
    """Every row once an epoch, in a new order with a new view each; the last incomplete batch is dropped.

    batch_size is per rank. Rank r of W takes the r-th part of each global batch.
    Raises ValueError where there are fewer rows than one global batch.
    """

    def __init__(self, num_rows: int, views: int, batch_size: int, seed: int, rank: int = 0, world_size: int = 1):
        self.batches_per_epoch = num_rows // (batch_size * world_size)
        if self.batches_per_epoch == 0:
            raise ValueError(
                f"{num_rows} faces do not fill one batch of {batch_size} on each of {world_size} ranks; "
                "lower batch_size or add faces"
            )
        self.num_rows, self.views, self.batch_size = num_rows, views, batch_size
        self.seed, self.rank, self.world_size = seed, rank, world_size
        self._epoch, self._order = -1, (np.empty(0), np.empty(0))

    def draw(self, batch: int) -> Draw:
        """The faces of global batch number `batch`, counted from the start of training."""
        epoch, place = divmod(batch, self.batches_per_epoch)
        rows_N, views_N = self._epoch_order(epoch)
        first = (place * self.world_size + self.rank) * self.batch_size
        chosen = slice(first, first + self.batch_size)
        rng = np.random.default_rng((self.seed, NEIGHBOURS, batch, self.rank))
        return Draw(rows_N[chosen], views_N[chosen], rng)

    def _epoch_order(self, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        if epoch != self._epoch:
            rng = np.random.default_rng((self.seed, SHUFFLE, epoch))
            self._order = rng.permutation(self.num_rows), rng.integers(0, self.views, self.num_rows)
            self._epoch = epoch
        return self._order

"""Which rows, in which view, make up which batch: a function of (seed, step), so that a resumed run needs the step alone."""

from dataclasses import dataclass

import numpy as np

SHUFFLE, NEIGHBOURS, SIZES = 0, 1, 2


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
            self._order = self._shuffled(rng), rng.integers(0, self.views, self.num_rows)
            self._epoch = epoch
        return self._order

    def _shuffled(self, rng: np.random.Generator) -> np.ndarray:
        return rng.permutation(self.num_rows)


class PeoplePlan(Plan):
    """A plan whose batches hold up to `faces` faces of each person: still every row once an epoch.

    Each epoch a person's faces are shuffled and dealt into hands of `faces`; the last hand of a person, and the only one of a
    person with few faces, is smaller. Whole hands are shuffled; only one at a batch's end may be cut.
    person_N: the person of every row.
    """

    def __init__(self, person_N: np.ndarray, faces: int, *args, **options):
        super().__init__(len(person_N), *args, **options)
        self.person_N, self.faces = np.asarray(person_N), faces

    def _shuffled(self, rng: np.random.Generator) -> np.ndarray:
        rows_N = rng.permutation(self.num_rows)
        rows_N = rows_N[np.argsort(self.person_N[rows_N], kind="stable")]
        person_N = self.person_N[rows_N]
        place_N = np.arange(self.num_rows) - np.searchsorted(person_N, person_N)
        hand_N = np.cumsum(place_N % self.faces == 0) - 1
        luck_N = rng.permutation(hand_N[-1] + 1)[hand_N]
        return rows_N[np.argsort(luck_N, kind="stable")]

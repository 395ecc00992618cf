import numpy as np
import pytest

from aird_plugin.data.sampler import BatchSampler, MPerClassSampler


def rows_of(sampler, epoch):
    first = epoch * sampler.batches_per_epoch
    return np.concatenate([sampler.indices(first + n).rows_B for n in range(sampler.batches_per_epoch)])


def test_an_epoch_has_every_row_once_in_a_new_order():
    sampler = BatchSampler(24, 4, 6, seed=0)
    first, second = rows_of(sampler, 0), rows_of(sampler, 1)
    assert sorted(first) == sorted(second) == list(range(24))
    assert (first != second).any()


def test_an_incomplete_batch_is_dropped():
    sampler = BatchSampler(25, 2, 6, seed=0)
    assert sampler.batches_per_epoch == 4
    assert len(set(rows_of(sampler, 0))) == 24


def test_indices_depend_only_on_the_batch_number():
    forwards, backwards = BatchSampler(40, 8, 4, seed=5), BatchSampler(40, 8, 4, seed=5)
    forward = [forwards.indices(n) for n in range(30)]
    for n in reversed(range(30)):
        indices = backwards.indices(n)
        np.testing.assert_array_equal(indices.rows_B, forward[n].rows_B)
        np.testing.assert_array_equal(indices.views_B, forward[n].views_B)
    assert backwards.indices(7).rng.integers(1 << 60) == BatchSampler(40, 8, 4, seed=5).indices(7).rng.integers(1 << 60)


def test_all_views_are_drawn():
    sampler = BatchSampler(400, 8, 400, seed=1)
    assert set(sampler.indices(0).views_B) == set(range(8))


def test_ranks_split_the_batch_of_one_rank():
    single, ranked = BatchSampler(48, 2, 12, 3), [BatchSampler(48, 2, 6, 3, rank, 2) for rank in range(2)]
    for n in range(8):
        together = np.concatenate([sampler.indices(n).rows_B for sampler in ranked])
        np.testing.assert_array_equal(together, single.indices(n).rows_B)


def test_too_few_images_are_rejected():
    with pytest.raises(ValueError, match="5 images do not fill one batch of 4 on each of 2 ranks"):
        BatchSampler(5, 2, 4, 0, 0, 2)


LABELS = np.array([0] * 9 + [1, 2, 3, 4] + [5] * 4 + [6] * 2 + [7] * 5)


def identity_sampler(seed=5, batch=8, rank=0, ranks=1):
    return MPerClassSampler(LABELS, 4, 6, batch, seed, rank, ranks)


def runs_of(sampler, epoch) -> list[tuple[int, int]]:
    """(label, number of consecutive images) in the order of the epoch."""
    labels = LABELS[rows_of(sampler, epoch)]
    starts = np.flatnonzero(np.diff(labels, prepend=-1))
    return [(int(labels[start]), int(count)) for start, count in zip(starts, np.diff([*starts, len(labels)]), strict=True)]


def test_m_per_class_keeps_groups_and_every_row_once():
    sampler = identity_sampler()
    first, second = rows_of(sampler, 0), rows_of(sampler, 1)
    assert sorted(first) == sorted(second) == list(range(24)) and (first != second).any()
    epochs = [runs_of(sampler, epoch) for epoch in range(20)]
    for runs in epochs:
        assert sorted(n for label, n in runs if label in (1, 2, 3, 4)) == [1, 1, 1, 1]
        assert [n for label, n in runs if label == 5] == [4] and [n for label, n in runs if label == 6] == [2]
        # Two groups of one identity may be adjacent by chance; no group is split.
        assert {n for label, n in runs if label in (0, 7)} <= {1, 4, 5, 8, 9}
    assert any(sorted(n for label, n in runs if label == 0) == [1, 4, 4] for runs in epochs)
    assert len({tuple(label for label, _ in runs) for runs in epochs}) == 20


def test_m_per_class_indices_depend_only_on_the_batch_number():
    forward = [identity_sampler().indices(n) for n in range(9)]
    backwards = identity_sampler()
    for n in reversed(range(9)):
        indices = backwards.indices(n)
        np.testing.assert_array_equal(indices.rows_B, forward[n].rows_B)
        np.testing.assert_array_equal(indices.views_B, forward[n].views_B)
    assert any((identity_sampler(seed=6).indices(n).rows_B != forward[n].rows_B).any() for n in range(3))


def test_m_per_class_ranks_split_the_batch_of_one_rank():
    ranked = [identity_sampler(batch=4, rank=rank, ranks=2) for rank in range(2)]
    for n in range(6):
        together = np.concatenate([sampler.indices(n).rows_B for sampler in ranked])
        np.testing.assert_array_equal(together, identity_sampler().indices(n).rows_B)


def test_groups_change_every_epoch():
    sampler = MPerClassSampler(np.zeros(8, int), 4, 2, 4, seed=0)
    assert len({frozenset(sampler.indices(n).rows_B) for n in range(20)}) > 4

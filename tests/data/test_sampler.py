import numpy as np
import pytest

from aird_plugin.data.sampler import BatchSampler, MPerClassSampler
from aird_plugin.data.streamed_sampler import StreamedSampler, permuted

KINDS = pytest.mark.parametrize("kind", [BatchSampler, StreamedSampler])


def rows_of(sampler, epoch):
    first = epoch * sampler.batches_per_epoch
    return np.concatenate([sampler.indices(first + n).rows_B for n in range(sampler.batches_per_epoch)])


@KINDS
def test_an_epoch_has_every_row_once_in_a_new_order(kind):
    sampler = kind(24, 4, 6, seed=0)
    first, second = rows_of(sampler, 0), rows_of(sampler, 1)
    assert sorted(first) == sorted(second) == list(range(24))
    assert (first != second).any()


@KINDS
def test_an_incomplete_batch_is_dropped(kind):
    sampler = kind(25, 2, 6, seed=0)
    assert sampler.batches_per_epoch == 4
    assert len(set(rows_of(sampler, 0))) == 24


@KINDS
def test_indices_depend_only_on_the_batch_number(kind):
    forwards, backwards = kind(40, 8, 4, seed=5), kind(40, 8, 4, seed=5)
    forward = [forwards.indices(n) for n in range(30)]
    for n in reversed(range(30)):
        indices = backwards.indices(n)
        np.testing.assert_array_equal(indices.rows_B, forward[n].rows_B)
        np.testing.assert_array_equal(indices.views_B, forward[n].views_B)
    assert backwards.indices(7).rng.integers(1 << 60) == kind(40, 8, 4, seed=5).indices(7).rng.integers(1 << 60)


@KINDS
def test_all_views_are_drawn(kind):
    sampler = kind(400, 8, 400, seed=1)
    assert set(sampler.indices(0).views_B) == set(range(8))


@KINDS
def test_ranks_split_the_batch_of_one_rank(kind):
    single, ranked = kind(48, 2, 12, 3), [kind(48, 2, 6, 3, rank, 2) for rank in range(2)]
    for n in range(8):
        together = np.concatenate([sampler.indices(n).rows_B for sampler in ranked])
        np.testing.assert_array_equal(together, single.indices(n).rows_B)


@KINDS
def test_too_few_images_are_rejected(kind):
    with pytest.raises(ValueError, match="5 images do not fill one batch of 4 on each of 2 ranks"):
        kind(5, 2, 4, 0, 0, 2)


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


@pytest.mark.parametrize("count", [1, 2, 3, 5, 64, 65, 1000, 4097])
def test_a_streamed_order_is_a_permutation(count):
    keys = np.random.default_rng(count).integers(0, 1 << 64, 8, dtype=np.uint64)
    assert sorted(permuted(np.arange(count, dtype=np.uint64), count, keys).tolist()) == list(range(count))


def test_streamed_orders_are_uniform():
    """Of 4,000 epochs: where each row of 16 stands, and the row that follows it. Chi-squared with 15 * 15 degrees of freedom."""
    epochs, count = 4000, 16
    orders = np.stack([rows_of(StreamedSampler(count, 2, count, seed=0), epoch) for epoch in range(epochs)])
    places, follows = np.zeros((count, count)), np.zeros((count, count))
    np.add.at(places, (orders, np.arange(count)[None].repeat(epochs, 0)), 1)
    np.add.at(follows, (orders[:, :-1], orders[:, 1:]), 1)
    for found, expected, freedom in (
        (places, epochs / count, 225),
        (follows[~np.eye(count, dtype=bool)], epochs / count, 239),
    ):
        chi = ((found - expected) ** 2 / expected).sum()
        assert abs(chi - freedom) < 6 * np.sqrt(2 * freedom), chi


def test_a_streamed_batch_of_a_billion_images_needs_no_order():
    sampler = StreamedSampler(10**9, 2, 512, seed=3, rank=7, world_size=64)
    draw = sampler.indices(12_345_678_901)
    assert draw.rows_B.dtype == np.int64 and 0 <= draw.rows_B.min() and draw.rows_B.max() < 10**9
    assert len(set(draw.rows_B)) == 512 and abs(draw.views_B.mean() - 0.5) < 0.1
    other = StreamedSampler(10**9, 2, 512, seed=3, rank=8, world_size=64).indices(12_345_678_901)
    assert not set(other.rows_B) & set(draw.rows_B)
    # Rows of neighboring positions are unrelated: the mean distance of two uniform rows is a third of their range.
    assert np.abs(np.diff(draw.rows_B)).mean() == pytest.approx(1e9 / 3, rel=0.15)

import numpy as np
import pytest

from aird_plugin.data.plan import Plan


def rows_of(plan, epoch):
    first = epoch * plan.batches_per_epoch
    return np.concatenate([plan.draw(first + n).rows_B for n in range(plan.batches_per_epoch)])


def test_every_row_once_an_epoch_in_a_new_order():
    plan = Plan(24, 4, 6, seed=0)
    first, second = rows_of(plan, 0), rows_of(plan, 1)
    assert sorted(first) == sorted(second) == list(range(24))
    assert (first != second).any()


def test_an_incomplete_batch_is_dropped():
    plan = Plan(25, 2, 6, seed=0)
    assert plan.batches_per_epoch == 4
    assert len(set(rows_of(plan, 0))) == 24


def test_a_draw_depends_on_its_number_alone():
    forwards, backwards = Plan(40, 8, 4, seed=5), Plan(40, 8, 4, seed=5)
    ahead = [forwards.draw(n) for n in range(30)]
    for n in reversed(range(30)):
        draw = backwards.draw(n)
        np.testing.assert_array_equal(draw.rows_B, ahead[n].rows_B)
        np.testing.assert_array_equal(draw.views_B, ahead[n].views_B)
    assert backwards.draw(7).rng.integers(1 << 60) == Plan(40, 8, 4, seed=5).draw(7).rng.integers(1 << 60)


def test_all_views_are_drawn():
    plan = Plan(400, 8, 400, seed=1)
    assert set(plan.draw(0).views_B) == set(range(8))


def test_ranks_share_the_batch_that_one_rank_would_take():
    whole, parts = Plan(48, 2, 12, 3), [Plan(48, 2, 6, 3, rank, 2) for rank in range(2)]
    for n in range(8):
        together = np.concatenate([part.draw(n).rows_B for part in parts])
        np.testing.assert_array_equal(together, whole.draw(n).rows_B)


def test_too_few_faces_for_a_batch():
    with pytest.raises(ValueError, match="5 faces do not fill one batch of 4 on each of 2 ranks"):
        Plan(5, 2, 4, 0, 0, 2)

import numpy as np
import pytest

from aird_plugin.data.plan import PeoplePlan, Plan


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


PEOPLE = np.array([0] * 9 + [1, 2, 3, 4] + [5] * 4 + [6] * 2 + [7] * 5)


def people_plan(seed=5, batch=8, rank=0, ranks=1):
    return PeoplePlan(PEOPLE, 4, 6, batch, seed, rank, ranks)


def runs_of(plan, epoch) -> list[tuple[int, int]]:
    """(person, how many faces of theirs stand together) in the order of the epoch."""
    people = PEOPLE[rows_of(plan, epoch)]
    starts = np.flatnonzero(np.diff(people, prepend=-1))
    return [(int(people[start]), int(count)) for start, count in zip(starts, np.diff([*starts, len(people)]), strict=True)]


def test_people_come_in_hands_and_every_row_once_an_epoch():
    plan = people_plan()
    first, second = rows_of(plan, 0), rows_of(plan, 1)
    assert sorted(first) == sorted(second) == list(range(24)) and (first != second).any()
    told = [runs_of(plan, epoch) for epoch in range(20)]
    for runs in told:
        assert sorted(n for person, n in runs if person in (1, 2, 3, 4)) == [1, 1, 1, 1]
        assert [n for person, n in runs if person == 5] == [4] and [n for person, n in runs if person == 6] == [2]
        # Two hands of one person may meet by chance; none is ever torn.
        assert {n for person, n in runs if person in (0, 7)} <= {1, 4, 5, 8, 9}
    assert any(sorted(n for person, n in runs if person == 0) == [1, 4, 4] for runs in told)
    assert len({tuple(person for person, _ in runs) for runs in told}) == 20


def test_a_draw_of_people_depends_on_its_number_alone():
    ahead = [people_plan().draw(n) for n in range(9)]
    backwards = people_plan()
    for n in reversed(range(9)):
        draw = backwards.draw(n)
        np.testing.assert_array_equal(draw.rows_B, ahead[n].rows_B)
        np.testing.assert_array_equal(draw.views_B, ahead[n].views_B)
    assert any((people_plan(seed=6).draw(n).rows_B != ahead[n].rows_B).any() for n in range(3))


def test_ranks_share_people_that_one_rank_would_take():
    parts = [people_plan(batch=4, rank=rank, ranks=2) for rank in range(2)]
    for n in range(6):
        together = np.concatenate([part.draw(n).rows_B for part in parts])
        np.testing.assert_array_equal(together, people_plan().draw(n).rows_B)


def test_hands_are_dealt_anew_each_epoch():
    plan = PeoplePlan(np.zeros(8, int), 4, 2, 4, seed=0)
    assert len({frozenset(plan.draw(n).rows_B) for n in range(20)}) > 4

import numpy as np
import pytest

from aird_plugin.evaluation.pooling import merge_groups, pool, pool_by

ROWS = np.array([[3.0, 0], [0, 1], [0, 4]])


def unit(vector):
    return np.asarray(vector) / np.linalg.norm(vector)


def test_default_weight_is_the_length_of_the_row():
    assert pool(ROWS) == pytest.approx(unit([3, 5])) and pool(ROWS).dtype == np.float32
    assert pool(ROWS) == pytest.approx(unit(ROWS.sum(axis=0)))


def test_normalised_rows_give_the_plain_mean():
    normalised = np.array([unit(row) for row in ROWS])
    assert pool(normalised) == pytest.approx(unit([1, 2])) and pool(normalised) == pytest.approx(pool(ROWS, np.ones(3)))


def test_given_weights_replace_the_length():
    assert pool(ROWS, [1, 0, 1]) == pytest.approx(unit([1, 1]))
    assert pool(ROWS, [1, 0, 1]) == pytest.approx(pool(7 * ROWS, [2, 0, 2]))


def test_single_row_and_opposite_rows():
    assert pool(ROWS[:1]) == pytest.approx([1, 0])
    assert pool(np.array([[1.0, 0], [-1, 0]])).tolist() == [0, 0]


@pytest.mark.parametrize(
    "features, quality, message",
    [
        (np.zeros((0, 2)), None, "one row or more"),
        (np.ones(4), None, r"shape \(4,\)"),
        ([[1, np.nan], [1, 1]], None, "embedding 0 is not finite"),
        (ROWS, [1, 2], "need one weight each"),
        (ROWS, [1, -2, 1], "weight of embedding 1 is -2"),
        (ROWS, [1, np.inf, 1], "weight of embedding 1 is inf"),
        (ROWS, [0, 0, 0], "all 3 weights are zero"),
        (np.zeros((3, 2)), None, "all 3 weights are zero"),
    ],
)
def test_invalid_rows_and_weights_are_rejected(features, quality, message):
    with pytest.raises(ValueError, match=message):
        pool(features, quality)


@pytest.mark.parametrize("names", [[7, -2, 7, 5], ["b", "a", "b", "c"]])
def test_each_group_is_pooled_separately(names):
    rng = np.random.default_rng(0)
    rows, quality = rng.normal(size=(4, 3)), rng.random(4)
    groups, pooled = pool_by(rows, names, quality)
    assert groups.tolist() == sorted(set(names))
    for group, embedding in zip(groups.tolist(), pooled, strict=True):
        own = [n for n, name in enumerate(names) if name == group]
        assert embedding == pytest.approx(pool(rows[own], quality[own]))


def test_invalid_group_is_named():
    with pytest.raises(ValueError, match="group 4: all 1 weights"):
        pool_by(ROWS, [3, 3, 4], [1, 1, 0])
    with pytest.raises(ValueError, match="one group each"):
        pool_by(ROWS, [3, 3])
    with pytest.raises(ValueError, match="one weight each"):
        pool_by(ROWS, [3, 3, 4], [1, 1])


def test_similar_groups_are_merged():
    degrees = np.deg2rad([0, 4, 10, 90, 97, 180])
    rows = np.stack([np.cos(degrees), np.sin(degrees)], axis=1)
    group = merge_groups(rows, [5, 5, 8, 1, 2, 9], np.cos(np.deg2rad(7.5)))
    assert group[0] == group[1] and group[3] == group[4] and len(set(group)) == 4
    # The mean of the first group is 8 degrees away: pooled embeddings are compared, not the nearest rows.
    assert group[0] != group[2]
    assert merge_groups(rows, [5, 5, 8, 1, 2, 9], np.cos(np.deg2rad(8.5)))[2] == group[0]
    with pytest.raises(ValueError, match=r"-1\.\.1, got 67"):
        merge_groups(rows, range(6), 67)

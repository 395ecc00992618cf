import numpy as np
import pytest

from aird_plugin.data import neighbours
from aird_plugin.data.neighbours import class_means, hard_lists, normalised, same_person_lists
from tests.exact import rounding


def on_circle(*degrees):
    return np.stack([np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))], 1).astype(np.float32)


EMBEDDINGS, PERSON = on_circle(0, 10, 40, 50, 90), np.array([0, 0, 1, 0, 2])


def test_same_person_lists_are_sorted_by_likeness_and_filled_up():
    np.testing.assert_array_equal(
        same_person_lists(EMBEDDINGS, PERSON, 3), [[1, 3, -1], [0, 3, -1], [-1] * 3, [1, 0, -1], [-1] * 3]
    )
    np.testing.assert_array_equal(same_person_lists(EMBEDDINGS, PERSON, 1)[:, 0], [1, 0, -1, 1, -1])


def test_hard_lists_hold_the_nearest_faces_of_other_people():
    np.testing.assert_array_equal(
        hard_lists(EMBEDDINGS, PERSON, 4),
        [[2, 4, -1, -1], [2, 4, -1, -1], [3, 1, 0, 4], [2, 4, -1, -1], [3, 2, 1, 0]],
    )


def test_blocks_change_nothing(monkeypatch):
    rng = np.random.default_rng(0)
    embeddings = normalised(rng.normal(size=(60, 5))).astype(np.float32)
    person = rng.integers(0, 9, 60)
    whole = hard_lists(embeddings, person, 7)
    monkeypatch.setattr(neighbours, "ROW_BLOCK", 11)
    monkeypatch.setattr(neighbours, "COLUMN_BLOCK", 13)
    np.testing.assert_array_equal(hard_lists(embeddings, person, 7), whole)


def test_against_a_slow_loop():
    rng = np.random.default_rng(1)
    embeddings = normalised(rng.normal(size=(30, 4))).astype(np.float32)
    person = rng.integers(0, 5, 30)
    hard, same = hard_lists(embeddings, person, 6), same_person_lists(embeddings, person, 6)
    for i in range(30):
        order = np.argsort(-(embeddings @ embeddings[i]))
        strangers = [j for j in order if person[j] != person[i]]
        friends = [j for j in order if person[j] == person[i] and j != i]
        assert list(hard[i]) == strangers[:6]
        assert [j for j in same[i] if j >= 0] == friends[:6]


def test_class_means_have_length_one_and_an_absent_person_none():
    means = class_means(EMBEDDINGS, PERSON, 4)
    # Rows of length one in float32, divided by their length: each of a few steps rounds by u.
    np.testing.assert_allclose(np.linalg.norm(means, axis=1), [1, 1, 1, 0], atol=rounding(8))
    np.testing.assert_allclose(means[1], EMBEDDINGS[2], atol=rounding(8))
    assert np.rad2deg(np.arctan2(means[0, 1], means[0, 0])) == pytest.approx(20, abs=0.5)

import tracemalloc

import numpy as np
import pytest

from aird_plugin.data.bank import neighbors
from aird_plugin.data.bank.neighbors import Candidates, class_means, hard_lists, same_identity_lists
from aird_plugin.utils.vectors import normalise
from tests.exact import rounding


def on_circle(*degrees):
    return np.stack([np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))], 1).astype(np.float32)


EMBEDDINGS, LABELS = on_circle(0, 10, 40, 50, 90), np.array([0, 0, 1, 0, 2])


def test_same_identity_lists_are_sorted_and_padded():
    np.testing.assert_array_equal(
        same_identity_lists(EMBEDDINGS, LABELS, 3), [[1, 3, -1], [0, 3, -1], [-1] * 3, [1, 0, -1], [-1] * 3]
    )
    np.testing.assert_array_equal(same_identity_lists(EMBEDDINGS, LABELS, 1)[:, 0], [1, 0, -1, 1, -1])


def test_hard_lists_hold_the_nearest_images_of_other_identities():
    np.testing.assert_array_equal(
        hard_lists(EMBEDDINGS, LABELS, 4),
        [[2, 4, -1, -1], [2, 4, -1, -1], [3, 1, 0, 4], [2, 4, -1, -1], [3, 2, 1, 0]],
    )


def test_images_without_identity_are_identities_of_their_own_without_a_center():
    labels = np.array([-1, 0, -1, 0, -1])
    np.testing.assert_array_equal(same_identity_lists(EMBEDDINGS, labels, 2), [[-1, -1], [3, -1], [-1, -1], [1, -1], [-1, -1]])
    np.testing.assert_array_equal(
        hard_lists(EMBEDDINGS, labels, 4),
        [[1, 2, 3, 4], [0, 2, 4, -1], [3, 1, 0, 4], [2, 4, 0, -1], [3, 2, 1, 0]],
    )
    np.testing.assert_allclose(class_means(EMBEDDINGS, labels, 1), on_circle(30), atol=rounding(4))
    assert class_means(EMBEDDINGS, np.full(5, -1), 0).shape == (0, 2)


def test_blocks_change_nothing(monkeypatch):
    rng = np.random.default_rng(0)
    embeddings = normalise(rng.normal(size=(60, 5))).astype(np.float32)
    labels = rng.integers(0, 9, 60)
    expected = hard_lists(embeddings, labels, 7)
    monkeypatch.setattr(neighbors, "ROW_BLOCK", 11)
    monkeypatch.setattr(neighbors, "COLUMN_BLOCK", 13)
    np.testing.assert_array_equal(hard_lists(embeddings, labels, 7), expected)


def test_blocks_change_no_list_of_the_same_identity(monkeypatch):
    rng = np.random.default_rng(3)
    # Products of small whole numbers are exact in any order; ties are many.
    embeddings = rng.integers(-3, 4, (90, 4)).astype(np.float32)
    labels = np.where(rng.random(90) < 0.8, 0, rng.integers(-1, 4, 90))
    expected = [same_identity_lists(embeddings, labels, 7, rows) for rows in (range(90), range(20, 71))]
    monkeypatch.setattr(neighbors, "ROW_BLOCK", 11)
    for rows, lists in zip((range(90), range(20, 71)), expected, strict=True):
        np.testing.assert_array_equal(same_identity_lists(embeddings, labels, 7, rows), lists)


def test_memory_does_not_grow_with_the_square_of_an_identity(monkeypatch):
    monkeypatch.setattr(neighbors, "ROW_BLOCK", 50)
    embeddings, labels = np.random.default_rng(4).normal(size=(2000, 2)).astype(np.float32), np.zeros(2000, int)
    tracemalloc.start()
    same_identity_lists(embeddings, labels, 3)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2000 * 2000


def test_candidates_limit_the_search(monkeypatch):
    rng = np.random.default_rng(2)
    embeddings = normalise(rng.normal(size=(200, 6))).astype(np.float32)
    labels = np.where(rng.random(200) < 0.1, -1, rng.integers(0, 20, 200))
    monkeypatch.setattr(neighbors, "COLUMN_BLOCK", 17)
    found = Candidates.sample(embeddings, 90)
    written = Candidates.sample(embeddings, 90, np.empty((90, 6), np.float32))
    assert (written.embeddings_MD == found.embeddings_MD).all() and len(set(found.row_M)) == 90
    lists = hard_lists(embeddings, labels, 5, candidates=found)
    everything = hard_lists(embeddings, labels, 200)
    for row in range(200):
        assert lists[row].tolist() == [other for other in everything[row] if other in found.row_M][:5]
    part = hard_lists(embeddings, labels, 5, rows=range(30, 70), candidates=found)
    np.testing.assert_array_equal(part, lists[30:70])


def test_lists_match_a_naive_loop():
    rng = np.random.default_rng(1)
    embeddings = normalise(rng.normal(size=(30, 4))).astype(np.float32)
    labels = rng.integers(0, 5, 30)
    hard, same = hard_lists(embeddings, labels, 6), same_identity_lists(embeddings, labels, 6)
    for i in range(30):
        order = np.argsort(-(embeddings @ embeddings[i]))
        impostors = [j for j in order if labels[j] != labels[i]]
        mates = [j for j in order if labels[j] == labels[i] and j != i]
        assert list(hard[i]) == impostors[:6]
        assert [j for j in same[i] if j >= 0] == mates[:6]


def test_class_means_are_normalised_and_zero_for_a_missing_identity():
    means = class_means(EMBEDDINGS, LABELS, 4)
    # Rows of length one in float32, divided by their length: each of a few steps rounds by u.
    np.testing.assert_allclose(np.linalg.norm(means, axis=1), [1, 1, 1, 0], atol=rounding(8))
    np.testing.assert_allclose(means[1], EMBEDDINGS[2], atol=rounding(8))
    assert np.rad2deg(np.arctan2(means[0, 1], means[0, 0])) == pytest.approx(20, abs=0.5)

import numpy as np
import pytest

from aird_plugin.evaluation.distances import squared_distances
from aird_plugin.evaluation.verification import (
    equal_error_rate,
    error_rates,
    fold_decisions,
    fold_rates,
    operating_points,
    verify,
    wilson_interval,
)


def unit(vectors):
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def toy(pairs, width=8, seed=0, noise=1.2):
    """Embeddings of pairs whose genuine pairs are noisy copies: accuracy between chance and 100%."""
    rng = np.random.default_rng(seed)
    same = rng.random(pairs) < 0.5
    first = unit(rng.normal(size=(pairs, width)))
    second = unit(np.where(same[:, None], first, 0) + noise / width**0.5 * rng.normal(size=(pairs, width)))
    embeddings = np.empty((2 * pairs, width))
    embeddings[0::2], embeddings[1::2] = first, second
    return embeddings, same


def upstream_rates(embeddings, same, folds):
    """Upstream's protocol as a loop over folds, thresholds and pairs: rates at every threshold and accuracy, per fold."""
    pairs = len(same)
    distances = [float(np.sum(np.square(embeddings[2 * i] - embeddings[2 * i + 1]))) for i in range(pairs)]
    sizes = [pairs // folds + (fold < pairs % folds) for fold in range(folds)]
    rows, first = [], 0
    for size in sizes:
        test = range(first, first + size)
        train = [i for i in range(pairs) if i not in test]
        best_threshold, best_accuracy = None, -1.0
        for threshold in np.arange(0, 4, 0.01):
            accuracy = sum((distances[i] < threshold) == same[i] for i in train) / len(train)
            if accuracy > best_accuracy:
                best_threshold, best_accuracy = threshold, accuracy
        accuracy = sum((distances[i] < best_threshold) == same[i] for i in test) / size
        kinds = [[i for i in test if same[i] == kind] for kind in (True, False)]
        tpr, fpr = [[sum(distances[i] < t for i in kind) / max(len(kind), 1) for t in np.arange(0, 4, 0.01)] for kind in kinds]
        rows.append((tpr, fpr, accuracy))
        first += size
    return [list(column) for column in zip(*rows, strict=True)]


def upstream_accuracies(embeddings, same, folds):
    return upstream_rates(embeddings, same, folds)[2]


def on_circle(*degrees):
    radians = np.deg2rad(degrees)
    return np.stack([np.cos(radians), np.sin(radians)], axis=1)


def pairs_at(angles):
    """Pairs of unit vectors `angles` degrees apart."""
    embeddings = np.empty((2 * len(angles), 2))
    embeddings[0::2], embeddings[1::2] = on_circle(*np.zeros(len(angles))), on_circle(*angles)
    return embeddings


@pytest.mark.parametrize("pairs, folds, seed", [(60, 10, 0), (67, 10, 1), (41, 7, 2), (10, 10, 3)])
def test_fold_accuracy_equals_the_slow_loop_exactly(pairs, folds, seed):
    embeddings, same = toy(pairs, seed=seed)
    slow = upstream_accuracies(embeddings, same, folds)
    fast = verify(embeddings, same, folds)
    assert fast["accuracy"] == 100 * np.mean(slow)
    assert fast["accuracy_std"] == 100 * np.std(slow)


@pytest.mark.parametrize("pairs, folds, seed", [(60, 10, 0), (41, 7, 2), (10, 10, 3)])
def test_fold_rates_equal_the_slow_loop_exactly(pairs, folds, seed):
    """With ten pairs in ten folds each fold has pairs of one kind only."""
    embeddings, same = toy(pairs, seed=seed)
    for fast, slow in zip(fold_rates(embeddings, same, folds), upstream_rates(embeddings, same, folds), strict=True):
        assert fast.tolist() == slow


def test_fold_rates_equal_upstreams_output():
    """Output of calculate_roc of deepinsight/insightface for the same pairs; its rates are means over the folds."""
    rates = fold_rates(*pairs_of_whole_numbers())
    assert rates.tpr_FT.shape == rates.fpr_FT.shape == (10, 400)
    wrong_of_nine = [2, 3, 3, 2, 3, 2, 2, 2, 1, 2]
    assert rates.accuracy_F.tolist() == [(9 - wrong) / 9 for wrong in wrong_of_nine]
    at = [50, 100, 150, 200]
    assert np.mean(rates.tpr_FT, 0)[at].tolist() == [0.27, 0.465, 0.805, 1.0]
    assert np.mean(rates.fpr_FT, 0)[at].tolist() == [0.13, 0.16999999999999998, 0.35000000000000003, 0.45499999999999996]


def pairs_of_whole_numbers():
    """Ninety deterministic pairs, forty-one of them genuine."""
    vector_N2D = ((np.arange(1620) ** 2 % 1009) - 504.0).reshape(90, 2, 9)
    same = np.arange(90) * 5 % 11 < 5
    vector_N2D[same, 1] = vector_N2D[same, 0] + 1.5 * vector_N2D[same, 1]
    return unit(vector_N2D.reshape(180, 9)), same


@pytest.mark.parametrize("pairs, width", [(1, 1), (63, 512), (64, 129), (65, 512), (200, 1)])
def test_distances_in_blocks_equal_one_pass_exactly(pairs, width):
    first, second = np.random.default_rng(0).normal(size=(2, pairs, width))
    for kind in (np.float64, np.float32):
        a, b = first.astype(kind), second.astype(kind)
        expected = np.sum(np.square(np.subtract(a.astype(np.float64), b.astype(np.float64))), 1)
        assert squared_distances(a, b).tolist() == expected.tolist()


def test_distance_on_a_threshold_counts_as_different():
    # 0.25 is exactly a threshold. Genuine pairs lie on it, impostor pairs below the next one: "strictly below" rejects both at
    # the first and accepts both at the second, so no threshold of the grid separates them.
    embeddings, same = np.zeros((40, 1)), np.tile([True, False], 10)
    embeddings[1::2, 0] = np.where(same, 0.5, 0.505)
    row = verify(embeddings, same)
    assert row["accuracy"] == 100 * np.mean(upstream_accuracies(embeddings, same, 10)) == 50
    assert row["accuracy_best"] == 100


def test_distances_are_computed_in_float64():
    # In float32 both kinds of pairs would have the distance 0.25.
    embeddings, same = np.zeros((40, 1)), np.tile([True, False], 10)
    embeddings[1::2, 0] = np.where(same, 0.5 - 1e-9, 0.5)
    assert verify(embeddings, same)["accuracy"] == 100
    embeddings, same = toy(50, seed=9)
    single = embeddings.astype(np.float32)
    assert verify(single, same) == verify(single.astype(np.float64), same)


def test_fold_decisions_give_the_accuracy():
    embeddings, same = toy(60)
    correct = fold_decisions(embeddings, same)
    assert correct.shape == (60,) and correct.dtype == bool
    assert [part.mean() for part in np.split(correct, 10)] == upstream_accuracies(embeddings, same, 10)


def test_figures_of_separable_pairs():
    same = np.tile([True, False], 100)
    row = verify(pairs_at(np.where(same, 10.0, 90.0)), same)
    assert (row["accuracy"], row["accuracy_std"], row["accuracy_best"], row["auc"]) == (100, 0, 100, 1)
    assert row["tar"] == {"0.1": 1.0, "0.01": None, "0.001": None}
    assert (row["n_pairs"], row["n_impostor"]) == (200, 100)
    assert row["ci95"][0] < 100 and row["ci95"][1] == 100


def test_best_threshold_is_not_limited_to_the_grid():
    # Squared distances 0.0001 .. 0.0002 and 0.0003: all are within one step of the grid.
    same = np.tile([True, False], 10)
    row = verify(pairs_at(np.where(same, 0.6, 1.0)), same)
    assert row["accuracy_best"] == 100 and row["accuracy"] == 50


def test_best_accuracy_and_auc_equal_a_count_over_all_pairs():
    embeddings, same = toy(80, seed=3)
    distances = np.sum((embeddings[0::2] - embeddings[1::2]) ** 2, axis=1).round(1)  # rounding makes ties
    coarse = np.zeros((160, 1))
    coarse[1::2, 0] = np.sqrt(distances)
    distances = coarse[1::2, 0] ** 2
    row = verify(coarse, same)
    best = max(np.mean((distances < t) == same) for t in [*distances, 5.0])
    wins = [(d < e) + (d == e) / 2 for d in distances[same] for e in distances[~same]]
    assert row["accuracy_best"] == pytest.approx(100 * best)
    assert row["auc"] == pytest.approx(np.mean(wins))


def test_tar_accepts_at_most_far_of_the_impostors():
    # Impostors at 1, 2, .. 100 degrees: FAR 0.1 allows the ten below 11 degrees, so genuine pairs at 10.5 degrees are accepted
    # and one at 11 degrees is not.
    angles = np.concatenate([[10.5, 11, 10.5, 10.5], np.arange(1, 101)])
    same = np.arange(104) < 4
    mixed = np.random.default_rng(0).permutation(104)
    row = verify(pairs_at(angles[mixed]), same[mixed])
    assert row["tar"] == {"0.1": 0.75, "0.01": None, "0.001": None}


@pytest.mark.parametrize("impostors, supported", [(99, False), (100, True)])
def test_tar_is_null_below_ten_expected_false_accepts(impostors, supported):
    same = np.concatenate([np.ones(10, bool), np.zeros(impostors, bool), np.ones(10, bool)])
    embeddings = pairs_at(np.random.default_rng(0).uniform(0, 180, len(same)))
    assert (verify(embeddings, same)["tar"]["0.1"] is not None) == supported


def test_wilson_interval_against_published_values():
    # Textbook values (e.g. Newcombe 1998, table I): 81/263 and 0/20.
    assert wilson_interval(81, 263) == pytest.approx((0.2553, 0.3662), abs=1e-4)
    assert wilson_interval(0, 20) == pytest.approx((0.0, 0.1611), abs=1e-4)


def test_rotation_of_all_embeddings_keeps_the_auc():
    embeddings, same = toy(60, seed=7)
    rotation, _ = np.linalg.qr(np.random.default_rng(1).normal(size=(8, 8)))
    rotated = verify(embeddings @ rotation, same)
    assert rotated["auc"] == verify(embeddings, same)["auc"]


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda e, s: (e[:-1], s), "odd number"),
        (lambda e, s: (e[0], s), "two rows per pair"),
        (lambda e, s: (e, s[:-1]), "make 30 pairs"),
        (lambda e, s: (e[:18], s[:9]), "do not fill 10 folds"),
        (lambda e, s: (e, np.ones_like(s)), "all 30 pairs are 'same'"),
        (lambda e, s: (e, np.zeros_like(s)), "all 30 pairs are 'different'"),
        (lambda e, s: (e, np.sort(s)), "sorted: all 'different' ones first"),
        (lambda e, s: (e, np.sort(s)[::-1]), "sorted: all 'same' ones first"),
        (lambda e, s: (30 * e, s), "L2-normalise"),
        (lambda e, s: (e, np.where(s, 1, -1)), "labels must be true or false"),
    ],
)
def test_invalid_sets_are_rejected(change, message):
    with pytest.raises(ValueError, match=message):
        verify(*change(*toy(30)))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_pair_with_a_nonfinite_embedding_is_named(value):
    embeddings, same = toy(30)
    embeddings[35, 2] = value
    with pytest.raises(ValueError, match="image 1 of pair 17"):
        verify(embeddings, same)


def test_one_fold_is_rejected():
    with pytest.raises(ValueError, match="2 or more"):
        verify(*toy(30), folds=1)


def test_fold_of_one_kind_is_allowed():
    embeddings, same = toy(40)
    same[:4], same[4:8] = True, False
    assert 0 <= verify(embeddings, same)["accuracy"] <= 100


def test_operating_point_has_the_stated_far_and_tar():
    """The cosine accepts at most FAR of the impostors, a lower one accepts more, and tar equals that of verify."""
    rng = np.random.default_rng(4)
    same = np.arange(2000) % 2 == 0
    first = normalised(rng.normal(size=(2000, 6)))
    noise = normalised(rng.normal(size=(2000, 6)))
    second = normalised(np.where(same[:, None], first + 0.6 * noise, noise))
    embeddings = np.stack([first, second], 1).reshape(-1, 6)
    cosine = (first * second).sum(1)
    for point in operating_points(embeddings, same, fars=(0.2, 0.05, 0.01)):
        accepted = (cosine[~same] > point["cosine"] + 1e-12).mean()
        assert accepted <= point["far"] < (cosine[~same] >= point["cosine"] - 1e-12).mean() + 1e-12
        assert point["tar"] == pytest.approx((cosine[same] > point["cosine"]).mean()) and point["n_impostor"] == 1000
    assert operating_points(embeddings, same, fars=(0.001,))[0] == {"far": 0.001, "cosine": None, "tar": None, "n_impostor": 1000}
    assert operating_points(embeddings, same, fars=(0.01,))[0]["tar"] == verify(embeddings, same)["tar"]["0.01"]


def normalised(rows):
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def test_error_rates_equal_a_count_at_every_threshold():
    embeddings_2ND, same_N = random_pairs_on_a_grid()
    distance_N = np.sum(np.square(embeddings_2ND[0::2] - embeddings_2ND[1::2]), axis=1)
    far_T, frr_T = error_rates(embeddings_2ND, same_N)
    expected = [(np.mean(distance_N[~same_N] < t), np.mean(distance_N[same_N] >= t)) for t in [*np.unique(distance_N), np.inf]]
    np.testing.assert_allclose(list(zip(far_T, frr_T, strict=True)), expected, atol=1e-12)
    assert (far_T[0], frr_T[0], far_T[-1], frr_T[-1]) == (0, 1, 1, 0)


def test_equal_error_rate_is_where_the_rates_cross():
    assert equal_error_rate(np.array([0, 0.1, 0.2, 1]), np.array([1, 0.4, 0.2, 0])) == pytest.approx(0.2)
    assert equal_error_rate(np.array([0, 0.1, 0.3, 1]), np.array([1, 0.5, 0.2, 0])) == pytest.approx(0.25)


def random_pairs_on_a_grid():
    """Forty pairs on a coarse grid of angles, with tied distances."""
    rng = np.random.default_rng(0)
    same_N = np.arange(40) % 2 == 0
    angle_N2 = np.stack([np.zeros(40), rng.integers(0, 6, 40) / 6 + 0.4 * ~same_N], axis=1)
    return np.stack([np.cos(angle_N2), np.sin(angle_N2)], axis=-1).reshape(80, 2), same_N

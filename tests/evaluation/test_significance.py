"""Significance tests: false alarms, power, and identities that occur in many pairs."""

import math

import numpy as np
import pytest

from aird_plugin.evaluation.significance import (
    compare,
    compare_methods,
    holm,
    identity_interval,
    least_to_show,
    mcnemar,
    winner,
)
from tests.skips import needs


def random_labels(identities, pairs, seed=0):
    """The identities of the images of pairs, every other pair genuine, with each identity in many pairs."""
    rng = np.random.default_rng(seed)
    first_N = rng.integers(identities, size=pairs)
    second_N = np.where(np.arange(pairs) % 2, (first_N + rng.integers(1, identities, size=pairs)) % identities, first_N)
    return np.stack([first_N, second_N], axis=1).ravel()


def decisions(label_2N, hardness, rng, edge=0.0):
    """Correct decisions of a model with its own hard identities, bool (N,). hardness 0: pairs are independent."""
    ease_P = hardness * rng.normal(size=label_2N.max() + 1)
    noise_N = rng.normal(size=len(label_2N) // 2)
    return 1.3 * math.hypot(1, hardness) + edge + (ease_P[label_2N[0::2]] + ease_P[label_2N[1::2]]) / 2 + noise_N > 0


# By hand: 1 and 7 of 8 throws: 2 * (1 + 8 / 2) / 256; 0 of 5: 2 * (1 / 2) / 32; 2 and 3 of 5: 2 * (1 + 5 + 10 / 2) / 32.
@pytest.mark.parametrize(
    ("a", "b", "p"),
    [
        (0, 0, 1),
        (1, 0, 1 / 2),
        (0, 5, 1 / 32),
        (7, 1, 10 / 256),
        (2, 3, 22 / 32),
        (4, 4, 1),
    ],
)
def test_mid_p_by_hand(a, b, p):
    assert mcnemar(a, b) == mcnemar(b, a) == p


@pytest.mark.parametrize(("a", "b"), [(3, 9), (40, 61), (0, 30), (10_000, 10_300), (20_000, 19_500)])
def test_mid_p_is_the_exact_p_minus_the_probability_of_the_count(a, b):
    stats = needs("scipy.stats")
    exact = stats.binomtest(a, a + b).pvalue
    assert mcnemar(a, b) == pytest.approx(exact - stats.binom.pmf(min(a, b), a + b, 0.5), rel=1e-6)


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.6]) == [1, 1] and holm([0.04]) == [0.04] and holm([]) == []


def test_false_alarm_rate_of_independent_pairs_is_near_5_percent():
    rng = np.random.default_rng(1)
    gain_DN = (rng.random((2000, 600)) < 0.9).astype(int) - (rng.random((2000, 600)) < 0.9)
    p_D = np.array([mcnemar(int(a), int(b)) for a, b in zip((gain_DN > 0).sum(1), (gain_DN < 0).sum(1), strict=True)])
    assert 0.035 < (p_D < 0.05).mean() < 0.06


def test_true_difference_is_significant_with_the_right_sign():
    label_2N, rng = random_labels(200, 2000), np.random.default_rng(2)
    winners = []
    for _ in range(20):
        row = compare(decisions(label_2N, 0.3, rng, edge=0.8), decisions(label_2N, 0.3, rng), label_2N)
        winners.append(winner(row | {"p_holm": row["p"]}))
    assert winners.count("a") >= 18 and "b" not in winners
    swapped = compare(decisions(label_2N, 0.3, rng), decisions(label_2N, 0.3, rng, edge=0.8), label_2N)
    assert winner(swapped | {"p_holm": swapped["p"]}) == "b" and swapped["difference"] < 0


def test_dependent_pairs_affect_mcnemar_but_not_the_interval():
    """Two equally good models, each with its own hard identities: every significant difference is a false alarm."""
    label_2N, rng = random_labels(60, 1200), np.random.default_rng(3)
    false_alarms = covered = 0
    for _ in range(200):
        correct_a_N, correct_b_N = decisions(label_2N, 1.5, rng), decisions(label_2N, 1.5, rng)
        gain_N = correct_a_N.astype(int) - correct_b_N
        false_alarms += mcnemar(int((gain_N > 0).sum()), int((gain_N < 0).sum())) < 0.05
        low, high = identity_interval(gain_N, label_2N, draws=400)
        covered += low <= 0 <= high
    assert false_alarms > 40 and covered >= 180


def test_interval_equals_the_slow_loop():
    rng, label_2N = np.random.default_rng(4), random_labels(7, 30)
    gain_N, pair_N = rng.integers(-1, 2, 30), label_2N.reshape(-1, 2)
    means, draws = [], np.random.default_rng(0).integers(7, size=(50, 7))
    for drawn in draws.tolist():
        weight_N = [drawn.count(a) * (1 if a == b else drawn.count(b)) for a, b in pair_N.tolist()]
        means.append(sum(w * g for w, g in zip(weight_N, gain_N.tolist(), strict=True)) / sum(weight_N))
    slow = np.percentile(means, [2.5, 97.5])
    np.testing.assert_allclose(identity_interval(gain_N, label_2N, draws=50), slow, atol=1e-6)


def test_interval_is_reproducible_and_independent_of_label_values():
    label_2N, gain_N = random_labels(30, 200), np.random.default_rng(5).integers(-1, 2, 200)
    interval = identity_interval(gain_N, label_2N)
    assert interval == identity_interval(gain_N, label_2N) == identity_interval(gain_N, 7 * label_2N + 3)
    assert interval != identity_interval(gain_N, label_2N, seed=1)
    assert interval[0] < gain_N.mean() < interval[1]


def test_a_model_equals_itself():
    label_2N = random_labels(20, 100)
    correct_N = decisions(label_2N, 0.5, np.random.default_rng(6))
    row = compare(correct_N, correct_N, label_2N)
    assert (row["difference"], row["ci95"], row["p"], row["a_only"], row["b_only"]) == (0, [0, 0], 1, 0, 0)
    assert row["accuracy_a"] == row["accuracy_b"] == 100 * correct_N.mean() and row["n_people"] == 20
    assert winner(row | {"p_holm": 1.0}) is None


@pytest.mark.parametrize(
    ("p_holm", "ci95", "expected"),
    [
        (0.01, [0.1, 2], "a"),
        (0.01, [-2, -0.1], "b"),
        (0.05, [0.1, 2], None),
        (0.01, [-0.1, 2], None),
        (0.01, [0, 2], None),
    ],
)
def test_winner_needs_p_and_interval(p_holm, ci95, expected):
    assert winner({"p_holm": p_holm, "ci95": ci95}) == expected


def test_least_to_show_is_the_larger_of_both_conditions():
    row = {"difference": 1.0, "ci95": [-0.5, 2.0], "a_only": 30, "b_only": 20, "n_pairs": 1000, "tests": 1}
    assert least_to_show(row) == 1.5
    # The 0.9975 quantile of the normal distribution is 2.807: 2.807 * sqrt(50) pairs of 1000.
    assert least_to_show(row | {"tests": 10}) == pytest.approx(2.807 * math.sqrt(50) / 10, abs=1e-3)


def test_invalid_inputs_are_rejected():
    with pytest.raises(ValueError, match="the same pairs"):
        compare([True, False], [True], [0, 0, 1, 1])
    with pytest.raises(ValueError, match="2 pairs need 4 identity labels, got 3"):
        compare([True, False], [True, True], [0, 0, 1])
    with pytest.raises(ValueError, match="two of them or more, got 1"):
        compare([True, False], [True, True], [5, 5, 5, 5])


def test_draws_without_a_pair_are_left_out():
    low, high = identity_interval([1, -1], [0, 1, 1, 2])
    assert -1 <= low < high <= 1


def test_methods_of_one_run_have_the_interval_of_their_runs():
    label_2N, rng = random_labels(60, 400), np.random.default_rng(6)
    a_N, b_N = decisions(label_2N, 0.5, rng), decisions(label_2N, 0.5, rng)
    row = compare_methods([a_N], [b_N], label_2N)
    assert row["ci95"] == pytest.approx([100 * end for end in identity_interval(a_N.astype(int) - b_N, label_2N)], abs=1e-4)
    assert row["difference"] == pytest.approx(100 * (a_N.mean() - b_N.mean())) and row["runs_a"] == 1
    swapped = compare_methods([b_N], [a_N], label_2N)
    assert swapped["difference"] == pytest.approx(-row["difference"]) and swapped["p"] == pytest.approx(row["p"])
    assert compare_methods([a_N], [a_N], label_2N)["p"] == 1


def test_seeds_widen_the_interval_of_methods():
    label_2N, rng = random_labels(200, 1000), np.random.default_rng(7)
    equal = [decisions(label_2N, 0.3, rng)] * 3
    varying = [decisions(label_2N, 0.3, rng, edge=edge) for edge in (-0.5, 0.0, 0.5)]
    other = [decisions(label_2N, 0.3, rng)] * 3
    width = [np.diff(compare_methods(runs, other, label_2N)["ci95"])[0] for runs in (equal, varying)]
    assert width[1] > 1.5 * width[0]


def test_false_alarm_rate_of_methods_that_differ_by_seeds_and_identities():
    """Three seeds per method, each with its own offset and hard identities. With few seeds it is somewhat above 5%."""
    label_2N, rng = random_labels(120, 600), np.random.default_rng(8)
    false_alarms = 0
    for _ in range(120):
        a, b = ([decisions(label_2N, 0.5, rng, edge=rng.normal(0, 0.05)) for _ in range(3)] for _ in range(2))
        false_alarms += compare_methods(a, b, label_2N, draws=200)["p"] < 0.05
    assert false_alarms <= 12


def test_methods_on_other_pairs_are_rejected():
    with pytest.raises(ValueError, match="need the same pairs"):
        compare_methods([[True, False]], [[True]], [0, 1, 0, 1])
    with pytest.raises(ValueError, match="need the same pairs"):
        compare_methods([True, False], [True, False], [0, 1, 0, 1])

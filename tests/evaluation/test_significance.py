"""Tests that find nothing where there is nothing, find what is there, and are not fooled by people in many pairs."""

import math

import numpy as np
import pytest

from aird_plugin.evaluation.significance import (
    compare,
    compare_methods,
    holm,
    least_to_show,
    mcnemar,
    people_interval,
    winner,
)
from tests.skips import needs


def crossed(people, pairs, seed=0):
    """Who is on the faces of pairs, every other one of one person, drawn so that people stand in many of them."""
    rng = np.random.default_rng(seed)
    first_N = rng.integers(people, size=pairs)
    second_N = np.where(np.arange(pairs) % 2, (first_N + rng.integers(1, people, size=pairs)) % people, first_N)
    return np.stack([first_N, second_N], axis=1).ravel()


def judged(person_2N, hardness, rng, edge=0.0):
    """Was each pair judged rightly, by a model with its own hard people? hardness 0: pairs are independent."""
    ease_P = hardness * rng.normal(size=person_2N.max() + 1)
    noise_N = rng.normal(size=len(person_2N) // 2)
    return 1.3 * math.hypot(1, hardness) + edge + (ease_P[person_2N[0::2]] + ease_P[person_2N[1::2]]) / 2 + noise_N > 0


# By hand: 1 and 7 of 8 throws: 2 * (1 + 8 / 2) / 256; 0 of 5: 2 * (1 / 2) / 32; 2 and 3 of 5: 2 * (1 + 5 + 10 / 2) / 32.
@pytest.mark.parametrize(("a", "b", "p"), [
    (0, 0, 1), (1, 0, 1 / 2), (0, 5, 1 / 32), (7, 1, 10 / 256), (2, 3, 22 / 32), (4, 4, 1),
])  # fmt: skip
def test_mid_p_by_hand(a, b, p):
    assert mcnemar(a, b) == mcnemar(b, a) == p


@pytest.mark.parametrize(("a", "b"), [(3, 9), (40, 61), (0, 30), (10_000, 10_300), (20_000, 19_500)])
def test_mid_p_is_the_exact_p_less_the_chance_of_the_count_itself(a, b):
    stats = needs("scipy.stats")
    exact = stats.binomtest(a, a + b).pvalue
    assert mcnemar(a, b) == pytest.approx(exact - stats.binom.pmf(min(a, b), a + b, 0.5), rel=1e-6)


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.6]) == [1, 1] and holm([0.04]) == [0.04] and holm([]) == []


def test_false_alarms_of_independent_pairs_are_near_five_in_a_hundred():
    rng = np.random.default_rng(1)
    gain_DN = (rng.random((2000, 600)) < 0.9).astype(int) - (rng.random((2000, 600)) < 0.9)
    p_D = np.array([mcnemar(int(a), int(b)) for a, b in zip((gain_DN > 0).sum(1), (gain_DN < 0).sum(1), strict=True)])
    assert 0.035 < (p_D < 0.05).mean() < 0.06


def test_a_true_difference_is_seen_and_has_the_right_sign():
    person_2N, rng = crossed(200, 2000), np.random.default_rng(2)
    found = []
    for _ in range(20):
        row = compare(judged(person_2N, 0.3, rng, edge=0.8), judged(person_2N, 0.3, rng), person_2N)
        found.append(winner(row | {"p_holm": row["p"]}))
    assert found.count("a") >= 18 and "b" not in found
    flipped = compare(judged(person_2N, 0.3, rng), judged(person_2N, 0.3, rng, edge=0.8), person_2N)
    assert winner(flipped | {"p_holm": flipped["p"]}) == "b" and flipped["difference"] < 0


def test_people_in_many_pairs_fool_mcnemar_but_not_the_interval():
    """Two models as good as each other, each with its own hard people: every difference that is found is false."""
    person_2N, rng = crossed(60, 1200), np.random.default_rng(3)
    fooled = covered = 0
    for _ in range(200):
        right_a_N, right_b_N = judged(person_2N, 1.5, rng), judged(person_2N, 1.5, rng)
        gain_N = right_a_N.astype(int) - right_b_N
        fooled += mcnemar(int((gain_N > 0).sum()), int((gain_N < 0).sum())) < 0.05
        low, high = people_interval(gain_N, person_2N, draws=400)
        covered += low <= 0 <= high
    assert fooled > 40 and covered >= 180


def test_the_interval_is_the_slow_loops():
    rng, person_2N = np.random.default_rng(4), crossed(7, 30)
    gain_N, pair_N = rng.integers(-1, 2, 30), person_2N.reshape(-1, 2)
    means, draws = [], np.random.default_rng(0).integers(7, size=(50, 7))
    for drawn in draws.tolist():
        weight_N = [drawn.count(a) * (1 if a == b else drawn.count(b)) for a, b in pair_N.tolist()]
        means.append(sum(w * g for w, g in zip(weight_N, gain_N.tolist(), strict=True)) / sum(weight_N))
    slow = np.percentile(means, [2.5, 97.5])
    np.testing.assert_allclose(people_interval(gain_N, person_2N, draws=50), slow, atol=1e-6)


def test_the_interval_is_the_same_every_time_and_does_not_mind_how_people_are_numbered():
    person_2N, gain_N = crossed(30, 200), np.random.default_rng(5).integers(-1, 2, 200)
    interval = people_interval(gain_N, person_2N)
    assert interval == people_interval(gain_N, person_2N) == people_interval(gain_N, 7 * person_2N + 3)
    assert interval != people_interval(gain_N, person_2N, seed=1)
    assert interval[0] < gain_N.mean() < interval[1]


def test_a_model_against_itself():
    person_2N = crossed(20, 100)
    right_N = judged(person_2N, 0.5, np.random.default_rng(6))
    row = compare(right_N, right_N, person_2N)
    assert (row["difference"], row["ci95"], row["p"], row["a_only"], row["b_only"]) == (0, [0, 0], 1, 0, 0)
    assert row["accuracy_a"] == row["accuracy_b"] == 100 * right_N.mean() and row["n_people"] == 20
    assert winner(row | {"p_holm": 1.0}) is None


@pytest.mark.parametrize(("p_holm", "ci95", "who"), [
    (0.01, [0.1, 2], "a"), (0.01, [-2, -0.1], "b"), (0.05, [0.1, 2], None), (0.01, [-0.1, 2], None), (0.01, [0, 2], None),
])  # fmt: skip
def test_a_winner_needs_both(p_holm, ci95, who):
    assert winner({"p_holm": p_holm, "ci95": ci95}) == who


def test_what_could_have_been_seen_is_more_than_what_was_not():
    row = {"difference": 1.0, "ci95": [-0.5, 2.0], "a_only": 30, "b_only": 20, "n_pairs": 1000, "tests": 1}
    assert least_to_show(row) == 1.5
    # 0.0025 of a normal distribution lie beyond 2.807: 2.807 * sqrt(50) pairs of 1000.
    assert least_to_show(row | {"tests": 10}) == pytest.approx(2.807 * math.sqrt(50) / 10, abs=1e-3)


def test_what_makes_no_sense_is_refused():
    with pytest.raises(ValueError, match="the same pairs"):
        compare([True, False], [True], [0, 0, 1, 1])
    with pytest.raises(ValueError, match="2 pairs have 4 faces, got people for 3"):
        compare([True, False], [True, True], [0, 0, 1])
    with pytest.raises(ValueError, match="two of them or more, got 1"):
        compare([True, False], [True, True], [5, 5, 5, 5])


def test_few_people_leave_draws_without_a_pair():
    low, high = people_interval([1, -1], [0, 1, 1, 2])
    assert -1 <= low < high <= 1


def test_methods_of_one_run_each_are_compared_as_people_interval_does():
    person_2N, rng = crossed(60, 400), np.random.default_rng(6)
    a_N, b_N = judged(person_2N, 0.5, rng), judged(person_2N, 0.5, rng)
    found = compare_methods([a_N], [b_N], person_2N)
    assert found["ci95"] == pytest.approx([100 * end for end in people_interval(a_N.astype(int) - b_N, person_2N)], abs=1e-4)
    assert found["difference"] == pytest.approx(100 * (a_N.mean() - b_N.mean())) and found["runs_a"] == 1
    turned = compare_methods([b_N], [a_N], person_2N)
    assert turned["difference"] == pytest.approx(-found["difference"]) and turned["p"] == pytest.approx(found["p"])
    assert compare_methods([a_N], [a_N], person_2N)["p"] == 1


def test_seeds_widen_the_interval_of_methods():
    person_2N, rng = crossed(200, 1000), np.random.default_rng(7)
    steady = [judged(person_2N, 0.3, rng)] * 3
    shaky = [judged(person_2N, 0.3, rng, edge=edge) for edge in (-0.5, 0.0, 0.5)]
    other = [judged(person_2N, 0.3, rng)] * 3
    width = [np.diff(compare_methods(runs, other, person_2N)["ci95"])[0] for runs in (steady, shaky)]
    assert width[1] > 1.5 * width[0]


def test_methods_that_differ_by_seeds_and_people_alone_are_rarely_told_apart():
    """Three seeds a method, each with its own luck and its own hard people. Few seeds: somewhat more than five in a hundred."""
    person_2N, rng = crossed(120, 600), np.random.default_rng(8)
    false = 0
    for _ in range(120):
        a, b = ([judged(person_2N, 0.5, rng, edge=rng.normal(0, 0.05)) for _ in range(3)] for _ in range(2))
        false += compare_methods(a, b, person_2N, draws=200)["p"] < 0.05
    assert false <= 12


def test_methods_on_other_pairs_are_refused():
    with pytest.raises(ValueError, match="must judge the same pairs"):
        compare_methods([[True, False]], [[True]], [0, 1, 0, 1])
    with pytest.raises(ValueError, match="must judge the same pairs"):
        compare_methods([True, False], [True, False], [0, 1, 0, 1])

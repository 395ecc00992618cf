"""Does model A beat model B? Both judged the same pairs of faces; are the pairs that only one got right enough to say so?

N = pairs, 2N = their faces, side by side; P = people; R = draws at once; S, T = runs of a method (T also tests).

Two questions hide in one. McNemar's test asks whether the pairs on which the models disagree could be a coin's doing, each
pair a throw of its own. But pairs are not independent: a person who is hard for A makes every pair of his hard for A, and a
file may have him in dozens. McNemar's test does not know that and finds differences where none are. The interval over people
draws people, not pairs, and does know. `winner` asks for both.
"""

import math
from statistics import NormalDist

import numpy as np

ALPHA = 0.05
DRAWS = 2000
DRAWS_AT_ONCE = 100


def compare(right_a_N, right_b_N, person_2N) -> dict:
    """The paired figures of two models, from whether each judged each pair rightly (`fold_decisions`, bool (N,)).

    person_2N: int, who is on each face (`people_of`). `accuracy_a`, `accuracy_b`: share of pairs judged rightly, per cent;
    `difference`: A's less B's, in points; `ci95`: its interval over people; `a_only`, `b_only`: pairs that only this one
    judged rightly; `p`: McNemar's mid-p. Raises ValueError where the counts do not fit.
    """
    right_a_N, right_b_N = np.asarray(right_a_N, bool), np.asarray(right_b_N, bool)
    if right_a_N.shape != right_b_N.shape:
        raise ValueError(f"two models must judge the same pairs, got {right_a_N.shape} and {right_b_N.shape} decisions")
    gain_N = right_a_N.astype(int) - right_b_N
    low, high = people_interval(gain_N, person_2N)
    a_only, b_only = int((gain_N > 0).sum()), int((gain_N < 0).sum())
    return {
        "n_pairs": len(gain_N),
        "n_people": len(np.unique(person_2N)),
        "accuracy_a": 100 * float(right_a_N.mean()),
        "accuracy_b": 100 * float(right_b_N.mean()),
        "difference": 100 * float(gain_N.mean()),
        "ci95": [100 * low, 100 * high],
        "a_only": a_only,
        "b_only": b_only,
        "p": mcnemar(a_only, b_only),
    }


def winner(row: dict) -> str | None:
    """ "a" or "b" where the corrected p of the row is below 0.05 and the interval over people excludes 0; else None."""
    low, high = row["ci95"]
    if row["p_holm"] >= ALPHA or low <= 0 <= high:
        return None
    return "a" if low > 0 else "b"


def least_to_show(row: dict) -> float:
    """About the least measured difference, in points, that `winner` would have called one, by both of its conditions.

    The longer arm of the interval over people; or so many pairs of N that McNemar's test, the first of `tests` that Holm
    corrects, would see them among as many disagreements as there were (normal approximation).
    """
    z = NormalDist().inv_cdf(1 - ALPHA / (2 * row["tests"]))
    by_pairs = 100 * z * (row["a_only"] + row["b_only"]) ** 0.5 / row["n_pairs"]
    return max(row["difference"] - row["ci95"][0], row["ci95"][1] - row["difference"], by_pairs)


def mcnemar(a_only: int, b_only: int) -> float:
    """Two-sided mid-p of McNemar's test: were the disagreements dealt out by a fair coin?

    Twice the chance of fewer than the lesser count, plus half the chance of just that count, in a + b throws. The exact
    binomial test counts the latter in full and keeps too far below 5% false alarms; mid-p stays near 5% and was never seen
    to go far above it (Fagerland, Lydersen, Laake 2013, BMC Med Res Methodol 13:91). Equal counts, also none, give 1.

    Whole numbers of any size: right for tens of thousands of disagreements, where floats of 2**n would overflow.
    """
    lesser, throws = min(a_only, b_only), a_only + b_only
    ways, fewer = 1, 0
    for k in range(lesser):
        fewer += ways
        ways = ways * (throws - k) // (k + 1)
    return (2 * fewer + ways) / 2**throws if a_only != b_only else 1.0


def holm(p_T: list[float]) -> list[float]:
    """p-values corrected for their number, in their order (Holm 1979): below 0.05 any false alarm among all has that chance."""
    corrected_T, highest = [0.0] * len(p_T), 0.0
    for done, test in enumerate(sorted(range(len(p_T)), key=p_T.__getitem__)):
        highest = max(highest, min(1.0, (len(p_T) - done) * p_T[test]))
        corrected_T[test] = highest
    return corrected_T


def people_interval(gain_N, person_2N, draws: int = DRAWS, seed: int = 0) -> tuple[float, float]:
    """95% percentile bootstrap interval of the mean of `gain_N`, drawing people with replacement.

    for each draw: draw P people, some of them several times
        a pair of one person counts as often as the person was drawn
        a pair of two people as often as the product of both
        note the weighted mean of the gains
    return the 2.5% and 97.5% percentiles of what was noted

    A product of two counts scatters more than one count, so the interval is on the wide side where most people stand in
    few pairs: up to 1.4 times the right width for half same, half different pairs (the pigeonhole bootstrap; Owen 2007,
    Annals of Applied Statistics 1:386). In simulations on the people of LFW's pairs, with people from equally hard to very
    unequally hard, it held the true difference in 96 to 100 of a hundred cases; with 60 people in 1,200 pairs, in 95.

    gain_N: per pair, for example 1 where only A was right, -1 where only B was, else 0. The same seed gives the same interval.
    Raises ValueError for other than 2N people, or fewer than two different ones.
    """
    gain_N = np.asarray(gain_N, np.float32)
    means = []
    for weight_RN in drawn_pairs(person_2N, len(gain_N), draws, np.random.default_rng(seed)):
        total_R = weight_RN.sum(axis=1)
        # A draw may miss every pair where people are very few: it says nothing of the mean.
        means.append((weight_RN @ gain_N)[total_R > 0] / total_R[total_R > 0])
    low, high = np.percentile(np.concatenate(means), [2.5, 97.5])
    return float(low), float(high)


def compare_methods(right_a_SN, right_b_TN, person_2N, draws: int = DRAWS, seed: int = 0) -> dict:
    """Two methods, each trained with several seeds: is their difference more than pairs, people and seeds explain?

    right_a_SN, right_b_TN: bool, S and T runs on the same N pairs. Each draw takes people with replacement, as `people_interval`
    does, and on each side runs with replacement, so that a method with one run is compared as that run. `difference`: of the
    means over runs, in points; `ci95`: 2.5% and 97.5% of the draws; `p`: two-sided, the difference over its standard deviation
    among the draws, taken for normal. Few runs drawn with replacement scatter less than the method does (two thirds of its
    variance with three), so a difference that only seeds explain is found too often: read it beside the spread over seeds.
    Raises ValueError as `compare` and `people_interval` do.
    """
    a_SN, b_TN = np.asarray(right_a_SN, np.float32), np.asarray(right_b_TN, np.float32)
    if a_SN.ndim != 2 or b_TN.ndim != 2 or a_SN.shape[1] != b_TN.shape[1]:
        raise ValueError(f"two methods must judge the same pairs, a row a run; got {a_SN.shape} and {b_TN.shape} decisions")
    luck, means = np.random.default_rng((seed, 1)), []
    for weight_RN in drawn_pairs(person_2N, a_SN.shape[1], draws, np.random.default_rng(seed)):
        shares = [drawn(luck, len(weight_RN), len(runs)) @ runs / len(runs) for runs in (a_SN, b_TN)]
        total_R = weight_RN.sum(axis=1)
        gain_R = (weight_RN * (shares[0] - shares[1])).sum(axis=1)
        means.append(gain_R[total_R > 0] / total_R[total_R > 0])
    drawn_R = np.concatenate(means)
    difference, spread = float(a_SN.mean(dtype=float) - b_TN.mean(dtype=float)), float(drawn_R.std())
    p = math.erfc(abs(difference) / spread / math.sqrt(2)) if spread else float(difference == 0)
    low, high = np.percentile(100 * drawn_R, [2.5, 97.5])
    return {"difference": 100 * difference, "ci95": [float(low), float(high)], "p": p, "runs_a": len(a_SN), "runs_b": len(b_TN)}


def drawn_pairs(person_2N, pairs: int, draws: int, rng):
    """How often each pair counts when people are drawn with replacement: float32 (draws at once, N), until all are drawn."""
    person_2N = np.asarray(person_2N)
    if person_2N.shape != (2 * pairs,):
        raise ValueError(f"{pairs} pairs have {2 * pairs} faces, got people for {len(person_2N)}")
    people, person_2N = np.unique(person_2N, return_inverse=True)
    if len(people) < 2:
        raise ValueError(f"an interval over people needs two of them or more, got {len(people)}")
    first_N, second_N = person_2N[0::2], person_2N[1::2]
    for done in range(0, draws, DRAWS_AT_ONCE):
        times_RP = drawn(rng, min(DRAWS_AT_ONCE, draws - done), len(people))
        weight_RN = times_RP[:, first_N]
        weight_RN *= np.where(first_N == second_N, 1, times_RP[:, second_N])
        yield weight_RN


def drawn(rng, draws: int, items: int) -> np.ndarray:
    """How often each of `items` is drawn, float32 (draws, items), `items` a row."""
    cell = rng.integers(items, size=(draws, items)) + items * np.arange(draws)[:, None]
    return np.bincount(cell.ravel(), minlength=draws * items).reshape(draws, items).astype(np.float32)

"""Paired significance tests: is the difference of two models (or methods) on the same image pairs significant?

N = pairs, 2N = their images, side by side; P = identities; R = draws at once; S, T = runs of a method (T also tests).

McNemar's test compares the numbers of pairs that only one of the models classifies correctly with the throws of a fair coin and
treats the pairs as independent. They are not: an identity that is hard for A makes all its pairs hard for A, and a file may
have it in dozens of pairs, so McNemar's test alone finds differences that do not exist. The bootstrap interval resamples
identities, not pairs, and covers this dependence. `winner` requires both.
"""

import math
from collections.abc import Iterator
from statistics import NormalDist

import numpy as np

ALPHA = 0.05
DRAWS = 2000
DRAWS_AT_ONCE = 100


def compare(correct_a_N, correct_b_N, label_2N) -> dict:
    """The paired figures of two models, from whether each classifies each pair correctly (`fold_decisions`, bool (N,)).

    label_2N: int, the identity of each image (`identities_of`). `accuracy_a`, `accuracy_b`: share of correct pairs, per cent;
    `difference`: A's minus B's, in points; `ci95`: its interval over identities; `a_only`, `b_only`: pairs that only this model
    classifies correctly; `p`: McNemar's mid-p. Raises ValueError if the counts do not fit.
    """
    correct_a_N, correct_b_N = np.asarray(correct_a_N, bool), np.asarray(correct_b_N, bool)
    if correct_a_N.shape != correct_b_N.shape:
        raise ValueError(f"two models need the same pairs, got {correct_a_N.shape} and {correct_b_N.shape} decisions")
    gain_N = correct_a_N.astype(int) - correct_b_N
    low, high = identity_interval(gain_N, label_2N)
    a_only, b_only = int((gain_N > 0).sum()), int((gain_N < 0).sum())
    return {
        "n_pairs": len(gain_N),
        "n_people": len(np.unique(label_2N)),
        "accuracy_a": 100 * float(correct_a_N.mean()),
        "accuracy_b": 100 * float(correct_b_N.mean()),
        "difference": 100 * float(gain_N.mean()),
        "ci95": [100 * low, 100 * high],
        "a_only": a_only,
        "b_only": b_only,
        "p": mcnemar(a_only, b_only),
    }


def winner(row: dict) -> str | None:
    """ "a" or "b" if the corrected p of the row is below 0.05 and the interval over identities excludes 0; else None."""
    low, high = row["ci95"]
    if row["p_holm"] >= ALPHA or low <= 0 <= high:
        return None
    return "a" if low > 0 else "b"


def least_to_show(row: dict) -> float:
    """Approximately the smallest measured difference, in points, that both conditions of `winner` would call significant.

    The larger of the longer arm of the interval over identities and the share of the N pairs that McNemar's test, as the first
    of `tests` tests that Holm corrects, finds significant with this number of disagreements (normal approximation).
    """
    z = NormalDist().inv_cdf(1 - ALPHA / (2 * row["tests"]))
    by_pairs = 100 * z * (row["a_only"] + row["b_only"]) ** 0.5 / row["n_pairs"]
    return max(row["difference"] - row["ci95"][0], row["ci95"][1] - row["difference"], by_pairs)


def mcnemar(a_only: int, b_only: int) -> float:
    """Two-sided mid-p of McNemar's test of the null hypothesis that a disagreement favours either model with probability 1/2.

    Twice the probability of fewer than the smaller count plus half the probability of exactly that count, in a + b throws. The
    exact binomial test counts the latter in full and stays too far below 5% false alarms; mid-p stays near 5% and never
    exceeded it by much (Fagerland, Lydersen, Laake 2013, BMC Med Res Methodol 13:91). Equal counts, also zero, give 1.

    Computed in integers: exact for tens of thousands of disagreements, where floats of 2**n would overflow.
    """
    smaller, throws = min(a_only, b_only), a_only + b_only
    ways, fewer = 1, 0
    for k in range(smaller):
        fewer += ways
        ways = ways * (throws - k) // (k + 1)
    return (2 * fewer + ways) / 2**throws if a_only != b_only else 1.0


def holm(p_T: list[float]) -> list[float]:
    """p-values corrected for their number, in their order (Holm 1979); controls the family-wise error rate."""
    corrected_T, highest = [0.0] * len(p_T), 0.0
    for done, test in enumerate(sorted(range(len(p_T)), key=p_T.__getitem__)):
        highest = max(highest, min(1.0, (len(p_T) - done) * p_T[test]))
        corrected_T[test] = highest
    return corrected_T


def identity_interval(gain_N, label_2N, draws: int = DRAWS, seed: int = 0) -> tuple[float, float]:
    """95% percentile bootstrap interval of the mean of `gain_N`, resampling identities with replacement.

    for each draw: draw P identities, some of them several times
        weight a pair of one identity by the count of the identity
        weight a pair of two identities by the product of their counts
        record the weighted mean of the gains
    return the 2.5% and 97.5% percentiles of the recorded means

    A product of two counts has a larger variance than one count, so the interval is too wide where most identities are in few
    pairs: up to 1.4 times the right width for half same, half different pairs (the pigeonhole bootstrap; Owen 2007, Annals of
    Applied Statistics 1:386). In simulations on the identities of LFW's pairs, from equally hard to very unequally hard ones, it
    covered the true difference in 96 to 100% of cases; with 60 identities in 1,200 pairs, in 95%.

    gain_N: per pair, for example 1 if only A is correct, -1 if only B is, else 0. The same seed gives the same interval.
    Raises ValueError for other than 2N labels, or fewer than two identities.
    """
    gain_N = np.asarray(gain_N, np.float32)
    means = []
    for weight_RN in resampled_weights(label_2N, len(gain_N), draws, np.random.default_rng(seed)):
        total_R = weight_RN.sum(axis=1)
        # With very few identities a draw may miss every pair: it has no mean.
        means.append((weight_RN @ gain_N)[total_R > 0] / total_R[total_R > 0])
    low, high = np.percentile(np.concatenate(means), [2.5, 97.5])
    return float(low), float(high)


def compare_methods(correct_a_SN, correct_b_TN, label_2N, draws: int = DRAWS, seed: int = 0) -> dict:
    """Test of two methods, each trained with several seeds, that covers the variance of pairs, identities and seeds.

    correct_a_SN, correct_b_TN: bool, S and T runs on the same N pairs. Each draw resamples identities, as `identity_interval`
    does, and the runs of each method, so that a method with one run is compared as that run. `difference`: of the means over
    runs, in points; `ci95`: 2.5% and 97.5% percentiles of the draws; `p`: two-sided, of the difference over its standard
    deviation among the draws, by the normal distribution. A few resampled runs vary less than the method (two thirds of its
    variance with three), so a difference due to seeds alone is found too often: compare it with the spread over seeds. Raises
    ValueError as `compare` and `identity_interval` do.
    """
    a_SN, b_TN = np.asarray(correct_a_SN, np.float32), np.asarray(correct_b_TN, np.float32)
    if a_SN.ndim != 2 or b_TN.ndim != 2 or a_SN.shape[1] != b_TN.shape[1]:
        raise ValueError(f"two methods need the same pairs, one row per run, got {a_SN.shape} and {b_TN.shape} decisions")
    run_rng, means = np.random.default_rng((seed, 1)), []
    for weight_RN in resampled_weights(label_2N, a_SN.shape[1], draws, np.random.default_rng(seed)):
        shares = [resampled_counts(run_rng, len(weight_RN), len(runs)) @ runs / len(runs) for runs in (a_SN, b_TN)]
        total_R = weight_RN.sum(axis=1)
        gain_R = (weight_RN * (shares[0] - shares[1])).sum(axis=1)
        means.append(gain_R[total_R > 0] / total_R[total_R > 0])
    drawn_R = np.concatenate(means)
    difference, spread = float(a_SN.mean(dtype=float) - b_TN.mean(dtype=float)), float(drawn_R.std())
    p = math.erfc(abs(difference) / spread / math.sqrt(2)) if spread else float(difference == 0)
    low, high = np.percentile(100 * drawn_R, [2.5, 97.5])
    return {"difference": 100 * difference, "ci95": [float(low), float(high)], "p": p, "runs_a": len(a_SN), "runs_b": len(b_TN)}


def resampled_weights(label_2N, pairs: int, draws: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """The weight of each pair when identities are resampled: blocks float32 (draws at once, N), `draws` rows in all."""
    label_2N = np.asarray(label_2N)
    if label_2N.shape != (2 * pairs,):
        raise ValueError(f"{pairs} pairs need {2 * pairs} identity labels, got {len(label_2N)}")
    identities, label_2N = np.unique(label_2N, return_inverse=True)
    if len(identities) < 2:
        raise ValueError(f"an interval over identities needs two of them or more, got {len(identities)}")
    first_N, second_N = label_2N[0::2], label_2N[1::2]
    for done in range(0, draws, DRAWS_AT_ONCE):
        count_RP = resampled_counts(rng, min(DRAWS_AT_ONCE, draws - done), len(identities))
        weight_RN = count_RP[:, first_N]
        weight_RN *= np.where(first_N == second_N, 1, count_RP[:, second_N])
        yield weight_RN


def resampled_counts(rng: np.random.Generator, draws: int, items: int) -> np.ndarray:
    """The count of each of `items` in draws of `items` with replacement, float32 (draws, items)."""
    cell = rng.integers(items, size=(draws, items)) + items * np.arange(draws)[:, None]
    return np.bincount(cell.ravel(), minlength=draws * items).reshape(draws, items).astype(np.float32)

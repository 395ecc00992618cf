import numpy as np

from tools.bench_pooling import CROPS, WEIGHTS, compare


def test_noise_averages_out_and_weights_are_used():
    """Twenty people, eight crops each, in 64 dimensions; at px 8 an embedding is mostly noise, at px 32 hardly any."""
    rng = np.random.default_rng(0)
    person_ND = np.repeat(rng.normal(size=(20, 64)), 8, axis=0)
    sums_PND = np.stack([person_ND + noise * rng.normal(size=person_ND.shape) for noise in (5.0, 0.3)])
    people = np.split(np.arange(160), 20)
    draws = [compare(sums_PND, people, [8, 32], rng) for _ in range(5)]
    rank = {name: np.mean([draw[name][0] for draw in draws]) for name in WEIGHTS}
    assert rank["one crop"] < rank["mean"] < rank["by px"] <= 100
    assert rank["one crop"] < rank["the largest crop"]
    sharp = compare(sums_PND[1:], people, [32], rng)
    assert sharp["mean"] == (100, 100)
    assert all(len(rows) >= 2 * CROPS for rows in people)

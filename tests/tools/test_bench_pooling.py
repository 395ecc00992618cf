import numpy as np

from tools.bench_pooling import CROPS, WEIGHTS, compare


def test_pooling_reduces_noise_and_uses_the_weights():
    """20 identities, 8 crops each, 64 dimensions; at 8 px an embedding is mostly noise, at 32 px hardly any."""
    rng = np.random.default_rng(0)
    identity_ND = np.repeat(rng.normal(size=(20, 64)), 8, axis=0)
    sums_PND = np.stack([identity_ND + noise * rng.normal(size=identity_ND.shape) for noise in (5.0, 0.3)])
    identities = np.split(np.arange(160), 20)
    draws = [compare(sums_PND, identities, [8, 32], rng) for _ in range(5)]
    rank = {name: np.mean([draw[name][0] for draw in draws]) for name in WEIGHTS}
    assert rank["one crop"] < rank["mean"] < rank["by px"] <= 100
    assert rank["one crop"] < rank["the largest crop"]
    large = compare(sums_PND[1:], identities, [32], rng)
    assert large["mean"] == (100, 100)
    assert all(len(rows) >= 2 * CROPS for rows in identities)

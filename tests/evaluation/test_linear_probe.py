import numpy as np
import pytest

from aird_plugin.evaluation import linear_probe
from aird_plugin.evaluation.linear_probe import linear_probe_accuracies
from aird_plugin.utils.vectors import normalise


def clusters(count, images, spread, seed=0, width=16):
    """Unit vectors around one direction per identity, and their labels."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(count), images)
    return normalise(rng.normal(size=(count, width))[labels] + spread * rng.normal(size=(len(labels), width))), labels


def test_separated_identities_are_all_classified():
    assert linear_probe_accuracies(*clusters(20, 10, 0.1), draws=2, identities=12) == [100, 100]


def test_random_labels_give_chance_accuracy():
    embeddings, labels = clusters(20, 20, 0.1)
    shuffled = np.random.default_rng(1).permutation(labels)
    assert np.mean(linear_probe_accuracies(embeddings, shuffled, draws=3, identities=10)) < 25


def test_draws_differ_and_are_reproducible():
    data = clusters(40, 12, 1.0)
    first = linear_probe_accuracies(*data, draws=4, identities=15)
    assert first == linear_probe_accuracies(*data, draws=4, identities=15) and len(set(first)) > 1
    assert first[:2] == linear_probe_accuracies(*data, draws=2, identities=15) and all(20 < share < 100 for share in first)


def test_split_of_fitted_and_tested_images(monkeypatch):
    splits = []
    monkeypatch.setattr(linear_probe, "_accuracy", lambda embeddings, fit, test: splits.append((fit, test)) or 0.0)
    labels = np.repeat(np.arange(6), [2, 2, 27, 27, 27, 1])
    linear_probe_accuracies(np.zeros((len(labels), 2)), labels, draws=3, identities=5)
    for fit, test in splits:
        assert sorted(map(len, test)) == [1, 1, 5, 5, 5] and sorted(map(len, fit)) == [1, 1, 22, 22, 22]
        assert sorted(np.concatenate(fit + test)) == [*range(85)]
        assert all((labels[a][:, None] == labels[b]).all() for a, b in zip(fit, test, strict=True))


def test_an_embedding_that_is_not_finite_is_named():
    embeddings, labels = clusters(20, 4, 0.1)
    embeddings[7, 3] = np.nan
    with pytest.raises(ValueError, match="image 7 is not finite, 1 of 80 in all"):
        linear_probe_accuracies(embeddings, labels, draws=1, identities=10)


def test_too_few_identities_with_two_images_are_rejected():
    with pytest.raises(ValueError, match="takes 180 identities with two images or more; there are 20"):
        linear_probe_accuracies(*clusters(20, 2, 0.1))

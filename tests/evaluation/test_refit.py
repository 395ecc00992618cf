import numpy as np
import pytest

from aird_plugin.evaluation import refit
from aird_plugin.evaluation.embed import normalise
from aird_plugin.evaluation.refit import refit_accuracies


def people(count, faces, spread, seed=0, width=16):
    """Unit vectors around a direction a person."""
    rng = np.random.default_rng(seed)
    who = np.repeat(np.arange(count), faces)
    return normalise(rng.normal(size=(count, width))[who] + spread * rng.normal(size=(len(who), width))), who


def test_people_that_stand_apart_are_all_told_apart():
    assert refit_accuracies(*people(20, 10, 0.1), draws=2, people=12) == [100, 100]


def test_noise_is_told_apart_by_chance_alone():
    embeddings, who = people(20, 20, 0.1)
    shuffled = np.random.default_rng(1).permutation(who)
    assert np.mean(refit_accuracies(embeddings, shuffled, draws=3, people=10)) < 25


def test_draws_differ_and_a_draw_is_the_same_every_time():
    data = people(40, 12, 1.0)
    first = refit_accuracies(*data, draws=4, people=15)
    assert first == refit_accuracies(*data, draws=4, people=15) and len(set(first)) > 1
    assert first[:2] == refit_accuracies(*data, draws=2, people=15) and all(20 < share < 100 for share in first)


def test_fitted_and_tested_faces_are_apart_and_shared_as_published(monkeypatch):
    seen = []
    monkeypatch.setattr(refit, "_accuracy", lambda embeddings, fit, test: seen.append((fit, test)) or 0.0)
    who = np.repeat(np.arange(6), [2, 2, 27, 27, 27, 1])
    refit_accuracies(np.zeros((len(who), 2)), who, draws=3, people=5)
    for fit, test in seen:
        assert sorted(map(len, test)) == [1, 1, 5, 5, 5] and sorted(map(len, fit)) == [1, 1, 22, 22, 22]
        assert sorted(np.concatenate(fit + test)) == [*range(85)]
        assert all((who[a][:, None] == who[b]).all() for a, b in zip(fit, test, strict=True))


def test_people_of_one_face_cannot_be_drawn():
    with pytest.raises(ValueError, match="takes 180 people with two faces or more; there are 20"):
        refit_accuracies(*people(20, 2, 0.1))

"""The class centers of the bank, from classifiers of these and of other identities."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from aird_plugin.data.bank.build import open_teacher_cache
from aird_plugin.data.bank.centers import class_centers, sample_identities, share_of_own
from aird_plugin.data.bank.neighbors import class_means
from aird_plugin.utils.vectors import normalise
from tests.data.bank.test_caches import Teacher, config

IDENTITIES, WIDTH = 200, 64


@pytest.fixture
def faces():
    """Embeddings and labels of two images of each of 200 identities, and the classifier of a teacher trained on them."""
    rng = np.random.default_rng(0)
    center_CD = normalise(rng.normal(size=(IDENTITIES, WIDTH)))
    label_N = np.arange(IDENTITIES).repeat(2)
    embeddings_ND = normalise(center_CD[label_N] + rng.normal(0, 0.08, (len(label_N), WIDTH)))
    return embeddings_ND.astype(np.float32), label_N, 3 * normalise(center_CD + rng.normal(0, 0.08, center_CD.shape))


def centers(faces, classifier_CD):
    embeddings_ND, label_N, _ = faces
    teacher = SimpleNamespace(classifier=classifier_CD, path=Path("backbone.pt"))
    return class_centers(teacher, embeddings_ND, label_N, IDENTITIES)


def test_classifier_of_the_identities_is_used(faces, capsys):
    np.testing.assert_allclose(centers(faces, faces[2]), faces[2] / 3, rtol=1e-5)
    assert capsys.readouterr().err == ""


FOREIGN = {
    "other identities": lambda own_CD: np.random.default_rng(1).normal(size=own_CD.shape),
    "another order": lambda own_CD: own_CD[np.random.default_rng(1).permutation(len(own_CD))],
    "one identity inserted near the beginning": lambda own_CD: np.roll(own_CD, 1, axis=0),
    "two fifths in another order": lambda own_CD: np.concatenate([own_CD[:120], own_CD[:119:-1]]),
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_classifier_of_other_identities_is_replaced_by_class_means(faces, kind, capsys):
    embeddings_ND, label_N, own_CD = faces
    np.testing.assert_array_equal(centers(faces, FOREIGN[kind](own_CD)), class_means(embeddings_ND, label_N, IDENTITIES))
    text = capsys.readouterr().err
    assert text.startswith("WARNING the classifier in backbone.pt has 200 rows, as many as there are identities, but of other")
    assert text.endswith("class means are used instead\n")


def test_classifier_of_another_size_is_replaced_silently(faces, capsys):
    embeddings_ND, label_N, own_CD = faces
    np.testing.assert_array_equal(centers(faces, own_CD[:-1]), class_means(embeddings_ND, label_N, IDENTITIES))
    assert capsys.readouterr().err == ""


def test_built_bank_holds_the_classifier_or_the_class_means(records, tmp_path):
    means_CD = open_teacher_cache(config(tmp_path / "means"), records, Teacher()).centers_CD
    own_CD = normalise(means_CD + 0.001)
    for name, classifier_CD, expected in (("own", 3 * own_CD, own_CD), ("foreign", own_CD[::-1], means_CD)):
        teacher = Teacher()
        teacher.classifier, teacher.path = classifier_CD, Path("backbone.pt")
        built = open_teacher_cache(config(tmp_path / name), records, teacher).centers_CD
        np.testing.assert_allclose(built, expected, atol=1e-6)


def test_sample_holds_whole_identities(faces):
    label_N = np.arange(3000).repeat(30)
    rows = sample_identities(label_N)
    assert 19_000 < len(rows) <= 20_000 and (np.bincount(label_N[rows])[np.unique(label_N[rows])] == 30).all()
    assert len(np.unique(sample_identities(np.arange(5000)))) == 1000
    assert not len(sample_identities(np.arange(10), min_images=2)) and not len(sample_identities(np.full(3, -1)))
    assert sample_identities(np.zeros(30_000, int).repeat(2) + np.arange(60_000) % 2).size == 60_000


def test_share_by_hand():
    """Of two identities, the first has its own row as the nearest."""
    embeddings = np.array([[1.0, 0], [0, 1.0]])
    assert share_of_own(np.array([[1.0, 0], [0.9, -0.1]]), embeddings, np.array([0, 1])) == 0.5

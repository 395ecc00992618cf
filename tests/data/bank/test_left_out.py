from types import SimpleNamespace

import numpy as np
import pytest

from aird_plugin.data.bank.left_out import left_out_centers
from aird_plugin.data.bank.neighbors import class_means
from aird_plugin.utils.vectors import normalise

LABEL = np.array([1, 0, 1, 1, 2], np.int32)


def bank_of(views=2, width=6):
    embeddings = normalise(np.random.default_rng(0).normal(size=(len(LABEL) * views, width))).astype(np.float16)
    embeddings_NVD = embeddings.reshape(len(LABEL), views, width)
    mean_ND = normalise(embeddings_NVD.astype(np.float32).mean(1))
    return SimpleNamespace(embeddings_NVD=embeddings_NVD, label_N=LABEL, centers_CD=class_means(mean_ND, LABEL, 3))


def test_each_center_is_the_mean_of_the_other_images():
    bank = bank_of()
    mean_ND = normalise(bank.embeddings_NVD.astype(np.float32).mean(1))
    found = left_out_centers(bank)
    for i, label in enumerate(LABEL):
        others = [mean_ND[j] for j in range(len(LABEL)) if j != i and LABEL[j] == label]
        expected = normalise(np.mean(others, 0, keepdims=True))[0] if others else np.zeros(6)
        np.testing.assert_allclose(found[i], expected, atol=2**-11)


def test_teachers_own_classifier_is_rejected():
    bank = bank_of()
    bank.centers_CD = bank.centers_CD[::-1]
    with pytest.raises(ValueError, match="set leave_one_out=False"):
        left_out_centers(bank)

"""Class centers of other identities, in a bank and in a teacher's checkpoint."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from aird_plugin.data.bank.neighbors import class_means
from aird_plugin.data.recordio.face_records import FaceRecords, write_face_records
from aird_plugin.diagnostics.class_centers import check_centers, check_classifier
from tests.diagnostics.test_leaks import IDENTITIES, bank_of, training
from tests.diagnostics.test_teacher_input import IDENTITIES as FEW
from tests.diagnostics.test_teacher_input import RedTeacher, images_of, png


@pytest.mark.parametrize(("order", "status"), [(1, "ok"), (-1, "warning")])
def test_class_centers_of_a_bank_are_compared_with_its_class_means(order, status):
    """A bank that an older version built with a classifier in another order."""
    _, embeddings_ND, label_N = training(np.random.default_rng(0))
    bank = bank_of(embeddings_ND, label_N)
    bank.centers_CD = class_means(embeddings_ND, label_N, IDENTITIES)[::order]
    [diagnostic] = check_centers(bank)
    assert diagnostic.status == status and "the bank's class centers belong to" in diagnostic.what


def test_bank_without_centers_is_not_compared():
    bank = bank_of(*training(np.random.default_rng(0))[1:])
    bank.centers_CD = np.empty((0, 4), np.float32)
    assert not list(check_centers(bank))


@pytest.fixture
def records(tmp_path):
    write_face_records(tmp_path, ((index // 2, png(image)) for index, image in enumerate(images_of(FEW))))
    return FaceRecords(tmp_path / "train.rec")


@pytest.mark.parametrize(
    ("change", "status", "words"),
    [
        (lambda own_CD: own_CD, "ok", "the rows of the teacher's classifier belong to the identities: 100% of 40"),
        (lambda own_CD: own_CD[::-1], "warning", "the classifier in red.pt has 40 rows, as many as there are identities, but of"),
        (lambda own_CD: own_CD[1:], "note", "the teacher's classifier has 39 rows and the images 40 identities"),
    ],
)
def test_classifier_is_compared_before_a_bank_is_built(records, change, status, words):
    teacher = RedTeacher()
    teacher.path = Path("red.pt")
    embeddings_2PD = teacher.embed(images_of(FEW))
    teacher.classifier = change(class_means(embeddings_2PD, np.arange(FEW).repeat(2), FEW))
    [diagnostic] = check_classifier(teacher, records)
    assert diagnostic.status == status and words in diagnostic.what


def test_teacher_without_a_classifier_is_not_compared(records):
    assert not list(check_classifier(SimpleNamespace(), records))

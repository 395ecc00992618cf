import numpy as np
import pytest

from aird_plugin.diagnostics.near_copies import check_near_copies, copy_cosine
from tests.diagnostics.test_leaks import bank_of, training


def found(embeddings_ND, label_N) -> list:
    return [(one.status, one.what) for one in check_near_copies(bank_of(embeddings_ND, label_N))]


@pytest.fixture
def clean():
    _, embeddings_ND, label_N = training(np.random.default_rng(0))
    return embeddings_ND, label_N


def test_clean_images_are_ok(clean):
    [(status, text)] = found(*clean)
    assert status == "ok" and text.startswith("0 of 900 training images have a near copy under another identity")


@pytest.mark.parametrize(("copies", "status"), [(2, "note"), (6, "warning")])
def test_photo_under_two_identities_is_found(clean, copies, status):
    """Each copy has a partner: twice as many images."""
    embeddings_ND, label_N = clean
    for place in range(copies):
        embeddings_ND[100 + 10 * place] = embeddings_ND[7 * place]
    [(is_status, text)] = found(embeddings_ND, label_N)
    assert is_status == status and text.startswith(f"{2 * copies} of 900 training images have a near copy under another identity")
    assert "for example row 0 and row 100)" in text


def test_photo_twice_under_one_identity_is_a_note(clean):
    embeddings_ND, label_N = clean
    embeddings_ND[1] = embeddings_ND[0]
    assert found(embeddings_ND, label_N)[1:] == [("note", "2 of 900 training images have a near copy under the same identity")]


def test_images_without_labels_are_not_searched(clean):
    bank = bank_of(*clean)
    bank.label_N = np.full(len(bank.label_N), -1)
    assert not list(check_near_copies(bank))


def test_teacher_that_separates_nothing_finds_no_copies():
    """All cosines are near 1 by the teacher, not by the images."""
    rng = np.random.default_rng(0)
    embeddings_ND = 1 + rng.normal(0, 0.01, (90, 32))
    assert [status for status, _ in found(embeddings_ND, np.arange(30).repeat(3))] == ["note"]
    assert [copy_cosine(limit) for limit in (0.4, 0.88, 0.96)] == pytest.approx([0.95, 0.97, 1])

"""Faces that a gallery cannot take or search are refused with the way to get others."""

import numpy as np
import pytest

from aird_plugin import Gallery
from tests.recognition.conftest import DIM
from tests.recognition.test_gallery import face


@pytest.fixture
def gallery(analysis):
    return Gallery.enrol({f"id {n}": face(analysis, n) for n in range(3)}, analysis)


def test_single_face_is_a_list_of_one(analysis, gallery):
    [match] = gallery.search(face(analysis, 2))
    assert match.candidates[0][0] == "id 2"
    generator = (one for one in [face(analysis, 1)])
    assert gallery.search([generator])[0].candidates[0][0] == "id 1"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"network_id": "f" * 64},
            "give templates of another model (ffffffffffffffff), which cannot be compared with those of tiny",
        ),
        ({"network_id": None, "px": None, "quality": None}, "have no network_id, px and quality"),
        ({"px": None}, "have no network_id, px and quality"),
        ({"embedding": np.zeros(128, np.float32)}, f"have embeddings of shape (128,), the networks give ({DIM},)"),
        ({"quality": float("nan")}, "quality nan"),
    ],
)
def test_faces_of_others_are_refused(analysis, gallery, changes, message):
    other = face(analysis, 1)
    for key, value in changes.items():
        setattr(other, key, value)
    track = [face(analysis, 1), other]
    for use in (lambda: gallery.search([other]), lambda: gallery.search([track]), lambda: gallery.add("new", track)):
        with pytest.raises(ValueError) as caught:
            use()
        assert message in str(caught.value) and "TinyFaceAnalysis.get" in str(caught.value)


@pytest.mark.parametrize("other", [np.zeros((2, DIM), np.float32), [{"embedding": np.zeros(DIM)}], 3])
def test_what_is_no_face_is_refused(gallery, other):
    with pytest.raises(ValueError, match=r"must be Face objects, got a \w+; take those that TinyFaceAnalysis.get"):
        gallery.search(other)

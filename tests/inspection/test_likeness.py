"""The teacher here is a rule, so that what is right and what is wrong with its faces is known."""

import io
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from aird_plugin.data.facerec import FaceRecords, write_face_records
from aird_plugin.inspection import likeness

PEOPLE, CELL = 40, 4


def faces_of(people: int, side: int = 112) -> np.ndarray:
    """Two faces of each person, uint8: a red pattern of its own in the upper half of the middle, noise everywhere else."""
    rng = np.random.default_rng(0)
    cells = side // CELL
    faces = rng.integers(40, 216, (people, 2, cells, cells, 3))
    faces[:, 1, 6:14, 6:22, 0] = faces[:, 0, 6:14, 6:22, 0]
    return faces.reshape(-1, cells, cells, 3).repeat(CELL, 1).repeat(CELL, 2).astype(np.uint8)


def png(face_HWC: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(face_HWC).save(file, "PNG")
    return file.getvalue()


class Rule:
    """Looks for red in the upper half of the middle, with -1..1 for 0..255."""

    def embed(self, faces_XHWC):
        cells = faces_XHWC[:, 24:56, 24:88, 0].reshape(-1, 8, CELL, 16, CELL)[:, :, 1:3, :, 1:3].mean((2, 4))
        return cells.reshape(len(faces_XHWC), -1) / 127.5 - 1


def records(folder, change=lambda faces: faces):
    faces = change(faces_of(PEOPLE))
    write_face_records(folder, ((place // 2, png(face)) for place, face in enumerate(faces)))
    return FaceRecords(folder / "train.rec")


def told(folder, change=lambda faces: faces) -> str:
    return "\n".join(str(finding) for finding in likeness.about_teacher(Rule(), records(folder, change)))


def test_sound_faces_raise_no_doubt(tmp_path):
    text = told(tmp_path)
    assert "DOUBT" not in text and "ok    no change of crop, scale or channel order" in text


@pytest.mark.parametrize(("mistake", "words"), [
    (lambda faces: np.ascontiguousarray(faces[..., ::-1]), "better with red and blue swapped"),
    (lambda faces: likeness.moved(faces, 1, -8), "better moved down"),
    (lambda faces: likeness.moved(faces, 1, 8), "better moved up"),
    (lambda faces: likeness.moved(faces, 1 / 1.15, 0), "better zoomed in"),
    (lambda faces: likeness.moved(faces, 1.15, 0), "better zoomed out"),
    (lambda faces: np.ascontiguousarray(faces[:, ::-1]), "better upside down"),
])  # fmt: skip
def test_a_mistake_is_named_by_what_undoes_it(tmp_path, mistake, words, monkeypatch):
    monkeypatch.setattr(likeness, "LEAST_AUC", 0.0)
    assert words in told(tmp_path, mistake)


def test_grey_faces_cannot_tell_the_channel_order(tmp_path):
    text = told(tmp_path, lambda faces: faces.mean(-1, keepdims=True).repeat(3, -1).astype(np.uint8))
    assert "note  the faces are grey: whether RGB and BGR were swapped cannot be seen" in text and "swapped (t" not in text


def test_too_few_people_are_no_basis(tmp_path):
    faces = faces_of(3)
    write_face_records(tmp_path, ((place // 2, png(face)) for place, face in enumerate(faces)))
    (finding,) = likeness.about_teacher(Rule(), FaceRecords(tmp_path / "train.rec"))
    assert finding.status == "note" and "3 people with two faces are too few" in finding.what


def test_nobody_with_two_faces(tmp_path):
    write_face_records(tmp_path, ((place, png(face)) for place, face in enumerate(faces_of(2))))
    (finding,) = likeness.about_teacher(Rule(), FaceRecords(tmp_path / "train.rec"))
    assert "0 people with two faces are too few" in finding.what


def test_an_implausible_teacher_is_doubted(tmp_path):
    blind = SimpleNamespace(embed=lambda faces: np.random.default_rng(0).normal(size=(len(faces), 8)))
    first, *_ = likeness.about_teacher(blind, records(tmp_path))
    assert first.status == "doubt" and "AUC of 0." in first.what


def test_separation_by_hand():
    """Cosines: own 1 and 0, strangers 0.6 and 0.8 -> own 1 beats both, own 0 none: half."""
    embeddings = np.array([[1.0, 0], [1.0, 0], [0.6, 0.8], [0.8, -0.6]])
    assert likeness.separation(embeddings) == 0.5
    assert likeness.margins(embeddings) == pytest.approx([0.2, -0.8])


def test_equal_likeness_counts_half():
    assert likeness.separation(np.ones((6, 1))) == 0.5


def test_two_rows_each_are_one_persons_and_no_row_twice():
    person_N = np.random.default_rng(0).integers(0, 30, 100)
    rows_P2 = likeness.two_rows_each(person_N, 1000, np.random.default_rng(1))
    assert (person_N[rows_P2[:, 0]] == person_N[rows_P2[:, 1]]).all() and len(np.unique(rows_P2)) == rows_P2.size
    assert len(rows_P2) == (np.bincount(person_N) > 1).sum()
    assert len(likeness.two_rows_each(person_N, 5, np.random.default_rng(1))) == 5


def test_a_shift_moves_by_whole_pixels():
    face = np.zeros((1, 112, 112, 3), np.uint8)
    face[0, 50, 60] = 255
    assert likeness.moved(face, 1, 8)[0, 58, 60, 0] == 255 and likeness.moved(face, 1, -8)[0, 42, 60, 0] == 255

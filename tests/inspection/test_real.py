"""The doctor on real faces and the real teacher: as they are, and spoilt in each way that it promises to see."""

import numpy as np
import pytest

from aird_plugin.data.faces import open_records
from aird_plugin.inspection import likeness
from aird_plugin.models.teacher import load_teacher

pytestmark = pytest.mark.slow
# (mistake, what is said of it); enlarged and moved are crops by another rule.
MISTAKES = {
    "BGR": (lambda faces: faces[..., ::-1], "red and blue swapped"),
    "shifted": (lambda faces: likeness.moved(faces, 1, 9), "moved up"),
    "loose": (lambda faces: likeness.moved(faces, 1 / 1.2, 0), "zoomed in"),
    "tight": (lambda faces: likeness.moved(faces, 1.2, 0), "zoomed out"),
    "flipped": (lambda faces: faces[:, ::-1], "upside down"),
}


@pytest.fixture(scope="module")
def real(aird_data):
    teacher = load_teacher(str(aird_data / "teacher" / "mobilefacenet_casia.onnx"))
    return teacher, open_records(str(aird_data / "faces15k"))


def told(monkeypatch, teacher, records, mistake=None) -> list:
    faces, coloured = likeness.sample(records)
    spoilt = faces if mistake is None else np.ascontiguousarray(mistake(faces))
    monkeypatch.setattr(likeness, "sample", lambda *_: (spoilt, coloured))
    return list(likeness.about_teacher(teacher, records))


def test_sound_faces_raise_no_doubt(real, monkeypatch):
    assert {finding.status for finding in told(monkeypatch, *real)} == {"ok"}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_named_by_what_undoes_it(real, monkeypatch, name):
    mistake, words = MISTAKES[name]
    doubts = [finding.what for finding in told(monkeypatch, *real, mistake) if finding.status == "doubt"]
    assert any(words in doubt for doubt in doubts), doubts


def test_an_input_scaled_otherwise_than_the_teacher_was_trained_on_is_told(real, monkeypatch):
    """The teacher takes what 0..255 became as -1..1; here it is handed 0..1 of that instead."""
    teacher, records = real
    faces, coloured = likeness.sample(records)
    dim = np.clip((faces.astype(np.float32) - 127.5) * 2, 0, 255).astype(np.uint8)
    monkeypatch.setattr(likeness, "sample", lambda *_: (dim, coloured))
    doubts = [finding.what for finding in likeness.about_teacher(teacher, records) if finding.status == "doubt"]
    assert any("scaled" in doubt for doubt in doubts), doubts

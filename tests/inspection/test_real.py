"""The doctor on real faces and the real teacher: as they are, and spoilt in each way that it promises to see."""

import numpy as np
import pytest

from aird_plugin.data.faces import open_records
from aird_plugin.inspection import likeness
from aird_plugin.models.load import load_teacher

pytestmark = pytest.mark.slow
# (mistake, what is said of it); enlarged and moved are crops by another rule.
MISTAKES = {
    "BGR": (lambda faces: faces[..., ::-1], "red and blue swapped"),
    "shifted": (lambda faces: likeness.moved(faces, 1, 9), "moved up"),
    "loose": (lambda faces: likeness.moved(faces, 1 / 1.2, 0), "zoomed in"),
    # A fifth tighter costs this teacher too little to be sure of (t = 3.5).
    "tight": (lambda faces: likeness.moved(faces, 1.3, 0), "zoomed out"),
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


def test_an_input_scaled_otherwise_than_the_teacher_was_trained_on_is_told(real):
    """The teacher behind this one takes -1..1 for what it is handed as 0..1, as one trained on 0..1 would see ours."""
    teacher, records = real

    class TrainedOnHalf:
        def embed(self, faces_XHWC):
            return teacher.embed((2 * faces_XHWC.astype(np.int16) - 255).clip(0, 255).astype(np.uint8))

    doubts = [finding.what for finding in likeness.about_teacher(TrainedOnHalf(), records) if finding.status == "doubt"]
    assert any("scaled" in doubt for doubt in doubts), doubts

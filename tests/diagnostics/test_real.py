"""The teacher check on real images and the real teacher, unchanged and with each mistake that it detects."""

import numpy as np
import pytest

from aird_plugin.data.records import open_records
from aird_plugin.diagnostics import input_at_start, teacher_input
from aird_plugin.models.load import load_teacher

pytestmark = pytest.mark.slow
# Name -> (mistake, words of the warning); zoom and shift imitate crops of another template.
MISTAKES = {
    "BGR": (lambda images: images[..., ::-1], "red and blue swapped"),
    "shifted": (lambda images: teacher_input.zoom_and_shift(images, 1, 9), "moved up"),
    "loose": (lambda images: teacher_input.zoom_and_shift(images, 1 / 1.2, 0), "zoomed in"),
    # A zoom of 1.2 costs this teacher too little to be significant (t = 3.5).
    "tight": (lambda images: teacher_input.zoom_and_shift(images, 1.3, 0), "zoomed out"),
    "flipped": (lambda images: images[:, ::-1], "upside down"),
}


@pytest.fixture(scope="module")
def real(aird_data):
    teacher = load_teacher(str(aird_data / "teacher" / "mobilefacenet_casia.onnx"))
    return teacher, open_records(str(aird_data / "faces15k"))


def diagnostics_of(monkeypatch, teacher, records, mistake=None) -> list:
    images, coloured = teacher_input.sample_pairs(records)
    changed = images if mistake is None else np.ascontiguousarray(mistake(images))
    monkeypatch.setattr(teacher_input, "sample_pairs", lambda *_: (changed, coloured))
    return list(teacher_input.check_teacher_input(teacher, records))


def test_correct_images_give_no_warning(real, monkeypatch):
    assert {diagnostic.status for diagnostic in diagnostics_of(monkeypatch, *real)} == {"ok"}


@pytest.mark.parametrize("name", MISTAKES)
def test_mistake_is_reported_as_the_change_that_undoes_it(real, monkeypatch, name):
    mistake, words = MISTAKES[name]
    warnings = [one.what for one in diagnostics_of(monkeypatch, *real, mistake) if one.status == "warning"]
    assert any(words in warning for warning in warnings), warnings


def test_wrong_input_scale_is_a_warning(real):
    """The wrapped teacher is trained on -1..1 and gets 0..1, which imitates a teacher trained on 0..1 that gets -1..1."""
    teacher, records = real

    class TrainedOnHalf:
        def embed(self, images_XHWC):
            return teacher.embed((2 * images_XHWC.astype(np.int16) - 255).clip(0, 255).astype(np.uint8))

    diagnostics = teacher_input.check_teacher_input(TrainedOnHalf(), records)
    warnings = [one.what for one in diagnostics if one.status == "warning"]
    assert any("scaled" in warning for warning in warnings), warnings


@pytest.mark.parametrize("folder", ["celeb240", "faces15k"])
def test_start_of_a_run_finds_the_wrong_channel_order(real, aird_data, folder, monkeypatch):
    teacher, records = real[0], open_records(str(aird_data / folder))
    images, coloured = teacher_input.sample_pairs(records, identities=input_at_start.SOME)
    for change, expected in ((slice(None), []), (slice(None, None, -1), ["color=bgr"])):
        changed = np.ascontiguousarray(images[..., change])
        monkeypatch.setattr(input_at_start, "sample_pairs", lambda *_, changed=changed, **__: (changed, coloured))
        found = [warning.what for warning in input_at_start.check_at_start(teacher, records, unlimited=True)]
        assert len(found) == len(expected) and all(words in what for words, what in zip(expected, found, strict=True))

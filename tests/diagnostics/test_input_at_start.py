"""The start of a run finds the wrong input of a hand-written teacher, and is silent where the input is right."""

import itertools
import time
from types import SimpleNamespace

import pytest

from aird_plugin.data.recordio.face_records import FaceRecords, write_face_records
from aird_plugin.diagnostics import input_at_start
from aird_plugin.diagnostics.input_at_start import check_at_start
from aird_plugin.models.teacher_input import TeacherInput
from tests.diagnostics.red_network import RAW, RedNetwork
from tests.diagnostics.test_teacher_input import png


@pytest.mark.parametrize(
    ("right", "words"),
    [(TeacherInput("bgr"), "color=bgr,mean=127.5,std=127.5"), (RAW, "color=rgb,mean=0.0,std=1.0")],
)
def test_start_of_a_run_warns_of_a_better_input(records, right, words):
    [warning] = check_at_start(RedNetwork(right), records)
    assert (
        warning.status == "warning"
        and f"red.onnx separates the training identities better with teacher_input {words}" in warning.what
    )


def test_start_of_a_run_is_silent_otherwise(records, images, tmp_path, monkeypatch):
    assert not list(check_at_start(RedNetwork(), records))
    assert not list(check_at_start(SimpleNamespace(embed=lambda images: images), records))
    write_face_records(tmp_path / "few", ((index // 2, png(image)) for index, image in enumerate(images[:6])))
    assert not list(check_at_start(RedNetwork(RAW), FaceRecords(tmp_path / "few" / "train.rec")))
    monkeypatch.setattr(input_at_start, "SECONDS", 0.0)
    assert not list(check_at_start(RedNetwork(RAW), records))
    assert len(list(check_at_start(RedNetwork(RAW), records, unlimited=True))) == 1


def test_channel_order_of_a_large_teacher_is_checked_alone(records, monkeypatch):
    """All ways together would take too long, as with an R50 on a CPU."""
    monkeypatch.setattr(input_at_start, "SECONDS", 0.0)
    [warning] = check_at_start(RedNetwork(TeacherInput("bgr")), records)
    assert "better with teacher_input color=bgr" in warning.what
    monkeypatch.setattr(input_at_start, "SECONDS_COLOR", 0.0)
    assert not list(check_at_start(RedNetwork(TeacherInput("bgr")), records))
    [warning] = check_at_start(RedNetwork(TeacherInput("bgr")), records, unlimited=True)


def test_busy_machine_does_not_silence_the_check(records, monkeypatch):
    """Ten seconds pass at each look at the clock, in which other processes run."""
    clock = itertools.count(step=10)
    monkeypatch.setattr(time, "monotonic", lambda: float(next(clock)))
    [warning] = check_at_start(RedNetwork(TeacherInput("bgr")), records)
    assert "color=bgr" in warning.what


def test_each_teacher_of_an_ensemble_is_checked(records):
    ensemble = SimpleNamespace(teachers=(RedNetwork(), RedNetwork(TeacherInput("bgr"))))
    [warning] = check_at_start(ensemble, records)
    assert "color=bgr" in warning.what


@pytest.mark.parametrize(("name", "least"), [("MIN_T", 1e6), ("MIN_GAIN", 2.0)])
def test_start_of_a_run_needs_both_a_gain_and_its_t(records, monkeypatch, name, least):
    monkeypatch.setattr(input_at_start, name, least)
    assert not list(check_at_start(RedNetwork(TeacherInput("bgr")), records))

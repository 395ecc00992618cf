"""The images, teacher and keys of a pair of trainings, and the number of steps that a call trains."""

import shutil
from types import SimpleNamespace

import numpy as np
import pytest

from aird_plugin.data.images import encode_jpeg
from aird_plugin.data.recordio.face_records import FaceRecords
from tools.lib import training_steps
from tools.lib.ratios import AT_MOST
from tools.lib.training_pairs import AIRD, BARE, Pair

PAIR = Pair("", AT_MOST, 1, (AIRD, []), (BARE, []), ["network=native16_0.05m", "batch_size=8"])


@pytest.fixture
def faces15k(tiny_run, tmp_path, monkeypatch):
    """faces15k of 48 images."""
    shutil.copytree(tiny_run["rec"], tmp_path / "data" / "faces15k")
    monkeypatch.setenv("AIRD_DATA", str(tmp_path / "data"))


def test_first_images_are_the_same_with_labels_from_zero(tmp_path, monkeypatch, noise_faces):
    images = [encode_jpeg(face) for face in noise_faces(5)]
    faces15k = SimpleNamespace(labels=np.array([5, 5, 2, 2, 7]), payload=images.__getitem__)
    monkeypatch.setattr(training_steps, "open_records", lambda path: faces15k)
    first = FaceRecords(training_steps.first_images(tmp_path, 3) / "train.rec")
    assert [first.payload(row) for row in range(len(first))] == images[:3]
    assert list(first.labels) == [0, 0, 1] and first.num_classes == 2


def test_a_call_trains_as_many_steps_as_given(faces15k, tmp_path, monkeypatch):
    shared, teacher = training_steps.shared_keys(PAIR, "cpu", tmp_path)
    numbers = []
    take_step = training_steps.take_step
    monkeypatch.setattr(training_steps, "take_step", lambda *args: numbers.append(args[2]) or take_step(*args))
    call = training_steps.stepper(AIRD, [*shared, *teacher, "rid_negatives=8"])
    call(1)
    call(2)
    assert numbers == [0, 1, 2]

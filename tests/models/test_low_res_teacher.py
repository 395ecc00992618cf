"""A teacher that sees its images at a px: its embeddings, its description, and what embeds the HR side instead."""

import pickle

import numpy as np
import pytest
import torch

from aird_plugin.data.degradation import downsample, resize_to_network
from aird_plugin.models import build
from aird_plugin.models.ensemble import Ensemble
from aird_plugin.models.load import load_teacher, load_teachers
from aird_plugin.models.low_res_teacher import LowResTeacher

NAME = "native112_0.05m"


@pytest.fixture
def images(noise_faces):
    return noise_faces(5)


@pytest.fixture
def file(tmp_path):
    torch.manual_seed(3)
    torch.save(build(NAME, 8).state_dict(), tmp_path / "teacher.pt")
    return str(tmp_path / "teacher.pt")


@pytest.mark.parametrize("px", [8, 16, 40])
def test_embeds_the_image_at_that_px(file, images, px):
    plain, low = load_teacher(file, NAME), load_teachers(file, NAME, px=px)
    seen = resize_to_network(downsample(images, px), 112)
    assert np.array_equal(low.embed(images), plain.embed(seen))
    assert not np.allclose(low.embed(images), plain.embed(images), atol=1e-3)


def test_zero_is_the_teacher_itself(file):
    assert not isinstance(load_teachers(file, NAME, px=0), LowResTeacher)


def test_description_and_digest_name_the_px(file):
    plain, low, lower = (load_teachers(file, NAME, px=px) for px in (0, 16, 8))
    assert low.describe() == plain.describe() | {"px": 16}
    assert len({plain.sha256, low.sha256, lower.sha256}) == 3


def test_hr_side_is_embedded_from_hr_images(file, images):
    plain = load_teacher(file, NAME)
    both = load_teachers((file, file), NAME, px=(0, 16))
    assert isinstance(both, Ensemble) and isinstance(both.teachers[1], LowResTeacher)
    assert np.array_equal(both.teachers[1].on_hr.embed(images), plain.embed(images))
    twice = load_teachers((file, file), NAME)
    assert np.array_equal(both.on_hr.embed(images), twice.embed(images))
    assert not np.allclose(both.embed(images), twice.embed(images), atol=1e-3)


def test_pickles(file, images):
    low = load_teachers(file, NAME, px=16)
    again = pickle.loads(pickle.dumps(low))
    assert again.sha256 == low.sha256 and np.array_equal(again.embed(images), low.embed(images))


def test_feeds_it_as_stated(file, images):
    bgr = {"color": "bgr"}
    low = load_teachers(file, NAME, inputs=bgr, px=16)
    seen = resize_to_network(downsample(images, 16), 112)
    assert np.array_equal(low.embed(images), load_teachers(file, NAME, inputs=bgr).embed(seen))
    assert low.describe()["input"] == {"color": "bgr"}


def test_number_of_px_that_does_not_fit_is_rejected(file):
    with pytest.raises(ValueError, match="teacher names 2 files and teacher_px has 3 entries"):
        load_teachers((file, file), NAME, px=(0, 16, 8))

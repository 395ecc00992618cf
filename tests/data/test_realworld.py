import itertools

import numpy as np
import pytest
from PIL import Image

from aird_plugin.data import realworld as rw
from aird_plugin.data.degradation import downsample, get_degradation, resize_to_network
from aird_plugin.data.lowres import RESIZE, resize_faces
from aird_plugin.data.realworld import realworld


@pytest.fixture
def images(noise_faces):
    return resize_faces(noise_faces(40, side=28), 112)


class Scripted:
    """A random generator that returns the values listed in the test."""

    def __init__(self, **answers):
        self.answers = {name: iter(values) for name, values in answers.items()}

    def __getattr__(self, name):
        return lambda *args: next(self.answers[name])


def test_an_image_degrades_alike_in_any_batch(images):
    small = realworld(images, 16)
    assert small.shape == (40, 16, 16, 3) and small.dtype == np.uint8
    np.testing.assert_array_equal(realworld(images, 16), small)
    for row in (0, 39):
        np.testing.assert_array_equal(realworld(images[row : row + 1], 16)[0], small[row])


def test_different_images_get_different_parameters():
    flat = np.stack([np.full((112, 112, 3), level, np.uint8) for level in range(100, 130)])
    spread = realworld(flat, 16).std(axis=(1, 2, 3))
    assert len(set(spread)) > 20 and spread.min() < 2 < 6 < spread.max()


@pytest.mark.parametrize("px", [4, 8, 16, 64, 111])
def test_degraded_images_still_resemble_the_original(images, px):
    small = realworld(images, px).astype(int)
    plain = downsample(images, px)
    assert (small != plain).mean() > 0.3
    correlations = [np.corrcoef(one.ravel(), other.ravel())[0, 1] for one, other in zip(small, plain, strict=True)]
    if px >= 16:
        assert np.median(correlations) > 0.8
    assert abs(small.mean() - plain.mean()) < 4


def test_every_order_occurs(images, monkeypatch):
    steps = []

    def step(name, downsamples=False):
        def work(image_SSC, px, rng):
            steps.append(name)
            return image_SSC[:px, :px] if downsamples else image_SSC

        return work

    monkeypatch.setattr(rw, "STEPS", (step("b"), step("s", True), step("n"), step("j")))
    images = np.concatenate([images + np.uint8(level) for level in range(8)])
    realworld(images, 16)
    assert {tuple(steps[n : n + 4]) for n in range(0, len(steps), 4)} == set(itertools.permutations("bsnj"))


def test_zero_blur_changes_nothing_and_motion_blur_follows_its_line():
    dot = np.zeros((112, 112, 3), np.uint8)
    dot[56, 56] = 250
    unchanged = rw._blur(dot, 16, Scripted(uniform=[0.0, 0.0, 0.0], integers=[2]))
    np.testing.assert_array_equal(unchanged, dot)
    rows = rw._blur(dot, 16, Scripted(uniform=[0.0, 12 / 7, 0.0], integers=[2]))
    assert sorted(set(np.nonzero(rows)[0])) == [56] and sorted(set(np.nonzero(rows)[1])) == list(range(50, 63))
    assert np.unique(rows[56, 50:63]).tolist() == [np.rint(250 / 13)]
    columns = rw._blur(dot, 16, Scripted(uniform=[0.0, 12 / 7, np.pi / 2], integers=[1]))
    assert sorted(set(np.nonzero(columns)[1])) == [56]
    assert columns[56, 56, 0] > columns[53, 56, 0] > columns[50, 56, 0] > 0
    flat = np.full((112, 112, 3), 90, np.uint8)
    np.testing.assert_array_equal(rw._blur(flat, 16, np.random.default_rng(0)), flat)


def test_blur_scales_with_lr_pixels(images):
    """The same draw removes about as much detail at 16 px from the 112 px image as from the 16 px image."""

    def detail(small):
        return np.abs(np.diff(small.astype(int), axis=1)).mean()

    def draw():
        return Scripted(uniform=[0.7, 0.0, 0.0], integers=[0])

    kernel = Image.Resampling.BICUBIC
    early = np.asarray(Image.fromarray(rw._blur(images[0], 16, draw())).resize((16, 16), kernel))
    late = rw._blur(np.asarray(Image.fromarray(images[0]).resize((16, 16), kernel)), 16, draw())
    assert detail(early) == pytest.approx(detail(late), rel=0.25)
    assert detail(early) < 0.8 * detail(downsample(images[:1], 16)[0])


@pytest.mark.parametrize("kernel", range(3))
def test_downsampling_equals_pillow(images, kernel):
    expected = np.asarray(Image.fromarray(images[0]).resize((16, 16), rw.KERNELS[kernel]))
    np.testing.assert_array_equal(rw._downsample(images[0], 16, Scripted(integers=[kernel])), expected)


def test_gaussian_and_shot_noise_have_their_standard_deviation():
    normal = np.random.default_rng(0).standard_normal((112, 112, 3)).astype(np.float32)
    shot = 255 * (0.2 / 500) ** 0.5
    for level, random, uniform, expected in ((120, [0.9, 0.1], 9.0, 9.0), (51, [0.9, 0.9], np.log(500), shot)):
        flat = np.full((112, 112, 3), level, np.uint8)
        noisy = rw._noise(flat, 16, Scripted(random=random, uniform=[uniform], standard_normal=[normal]))
        assert noisy.std() == pytest.approx(expected, rel=0.02)
    grey = rw._noise(flat, 16, Scripted(random=[0.1, 0.1], uniform=[9.0], standard_normal=[normal[..., :1]]))
    assert (grey == grey[..., :1]).all() and grey.std() > 5
    dark = np.zeros((8, 8, 3), np.uint8)
    assert not rw._noise(dark, 8, Scripted(random=[0.9, 0.9], uniform=[5.0], standard_normal=[normal[:8, :8]])).any()


def test_realworld_is_a_named_degradation(images):
    np.testing.assert_array_equal(downsample(images, 16, "realworld"), realworld(images, 16))
    np.testing.assert_array_equal(
        resize_to_network(downsample(images, 16), 112, "realworld"), resize_to_network(downsample(images, 16), 112)
    )
    assert get_degradation("realworld").version == f"realworld/1, {RESIZE}"


def test_invalid_arguments_are_rejected(images):
    with pytest.raises(ValueError, match="uint8"):
        realworld(images.astype(np.float32), 16)
    with pytest.raises(ValueError, match="uint8"):
        realworld(images[:, :100], 16)
    assert realworld(images[:0], 16).shape == (0, 16, 16, 3)

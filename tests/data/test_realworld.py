import itertools

import numpy as np
import pytest
from PIL import Image

from aird_plugin.data import realworld as rw
from aird_plugin.data.degrade import arrive, named, shrink
from aird_plugin.data.lowres import RESIZE, resize_faces
from aird_plugin.data.realworld import realworld


@pytest.fixture
def faces(noise_faces):
    return resize_faces(noise_faces(40, side=28), 112)


class Scripted:
    """A generator that gives what the test wrote down."""

    def __init__(self, **answers):
        self.answers = {name: iter(values) for name, values in answers.items()}

    def __getattr__(self, name):
        return lambda *args: next(self.answers[name])


def test_a_face_comes_again_whatever_stands_beside_it(faces):
    small = realworld(faces, 16)
    assert small.shape == (40, 16, 16, 3) and small.dtype == np.uint8
    np.testing.assert_array_equal(realworld(faces, 16), small)
    for row in (0, 39):
        np.testing.assert_array_equal(realworld(faces[row : row + 1], 16)[0], small[row])


def test_faces_that_differ_by_a_level_meet_other_cameras():
    flat = np.stack([np.full((112, 112, 3), level, np.uint8) for level in range(100, 130)])
    spread = realworld(flat, 16).std(axis=(1, 2, 3))
    assert len(set(spread)) > 20 and spread.min() < 2 < 6 < spread.max()


@pytest.mark.parametrize("px", [4, 8, 16, 64, 111])
def test_any_px_and_it_is_another_picture_of_the_same_face(faces, px):
    small = realworld(faces, px).astype(int)
    plain = shrink(faces, px)
    assert (small != plain).mean() > 0.3
    moved = [np.corrcoef(one.ravel(), other.ravel())[0, 1] for one, other in zip(small, plain, strict=True)]
    if px >= 16:
        assert np.median(moved) > 0.8
    assert abs(small.mean() - plain.mean()) < 4


def test_every_order_occurs(faces, monkeypatch):
    seen = []

    def step(name, shrinks=False):
        def work(face_SSC, px, rng):
            seen.append(name)
            return face_SSC[:px, :px] if shrinks else face_SSC

        return work

    monkeypatch.setattr(rw, "STEPS", (step("b"), step("s", True), step("n"), step("j")))
    many = np.concatenate([faces + np.uint8(level) for level in range(8)])
    realworld(many, 16)
    assert {tuple(seen[n : n + 4]) for n in range(0, len(seen), 4)} == set(itertools.permutations("bsnj"))


def test_blur_of_nothing_is_nothing_and_a_line_draws_out_along_itself():
    dot = np.zeros((112, 112, 3), np.uint8)
    dot[56, 56] = 250
    still = rw._blur(dot, 16, Scripted(uniform=[0.0, 0.0, 0.0], integers=[2]))
    np.testing.assert_array_equal(still, dot)
    rows = rw._blur(dot, 16, Scripted(uniform=[0.0, 12 / 7, 0.0], integers=[2]))
    assert sorted(set(np.nonzero(rows)[0])) == [56] and sorted(set(np.nonzero(rows)[1])) == list(range(50, 63))
    assert np.unique(rows[56, 50:63]).tolist() == [np.rint(250 / 13)]
    columns = rw._blur(dot, 16, Scripted(uniform=[0.0, 12 / 7, np.pi / 2], integers=[1]))
    assert sorted(set(np.nonzero(columns)[1])) == [56]
    assert columns[56, 56, 0] > columns[53, 56, 0] > columns[50, 56, 0] > 0
    flat = np.full((112, 112, 3), 90, np.uint8)
    np.testing.assert_array_equal(rw._blur(flat, 16, np.random.default_rng(0)), flat)


def test_blur_counts_in_low_pixels(faces):
    """The same draw on the 112 px face and on the small one takes away about as much of what 16 pixels can show."""

    def detail(small):
        return np.abs(np.diff(small.astype(int), axis=1)).mean()

    def draw():
        return Scripted(uniform=[0.7, 0.0, 0.0], integers=[0])

    kernel = Image.Resampling.BICUBIC
    early = np.asarray(Image.fromarray(rw._blur(faces[0], 16, draw())).resize((16, 16), kernel))
    late = rw._blur(np.asarray(Image.fromarray(faces[0]).resize((16, 16), kernel)), 16, draw())
    assert detail(early) == pytest.approx(detail(late), rel=0.25)
    assert detail(early) < 0.8 * detail(shrink(faces[:1], 16)[0])


@pytest.mark.parametrize("kernel", range(3))
def test_shrinking_is_pillows(faces, kernel):
    expected = np.asarray(Image.fromarray(faces[0]).resize((16, 16), rw.KERNELS[kernel]))
    np.testing.assert_array_equal(rw._shrink(faces[0], 16, Scripted(integers=[kernel])), expected)


def test_grain_and_shot_noise_have_their_size():
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


def test_it_is_a_degradation_by_name(faces):
    np.testing.assert_array_equal(shrink(faces, 16, "realworld"), realworld(faces, 16))
    np.testing.assert_array_equal(arrive(shrink(faces, 16), 112, "realworld"), arrive(shrink(faces, 16), 112))
    assert named("realworld").version == f"realworld/1, {RESIZE}"


def test_refusals(faces):
    with pytest.raises(ValueError, match="uint8"):
        realworld(faces.astype(np.float32), 16)
    with pytest.raises(ValueError, match="uint8"):
        realworld(faces[:, :100], 16)
    assert realworld(faces[:0], 16).shape == (0, 16, 16, 3)

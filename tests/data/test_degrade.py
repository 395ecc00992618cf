import io

import numpy as np
import pytest
import torch
from PIL import Image

from aird_plugin.data.degrade import (
    DEGRADATIONS,
    arrive,
    arrive_torch,
    bilinear_weights,
    named,
    shrink,
    shrink_torch,
    warp_torch,
)
from aird_plugin.data.lowres import RESIZE, low_faces, resize_faces
from tests.skips import needs

NAMES = list(DEGRADATIONS)
MADE_SMALL_OTHERWISE = ["blur", "noise", "jpeg"]


@pytest.fixture
def faces(noise_faces):
    """Noise that the resize leaves something of."""
    return resize_faces(noise_faces(5, side=28), 112)


def test_bicubic_is_the_one_resize(faces):
    small = shrink(faces, 16)
    np.testing.assert_array_equal(small, low_faces(faces, 16, grow=False))
    np.testing.assert_array_equal(arrive(small, 112), low_faces(faces, 16))
    np.testing.assert_array_equal(arrive(small, 24), resize_faces(small, 24))


@pytest.mark.parametrize("name", NAMES)
def test_shapes_and_dtypes(faces, name):
    small = shrink(faces, 16, name)
    assert small.shape == (5, 16, 16, 3) and small.dtype == np.uint8
    for side in (16, 32, 112):
        seen = arrive(small, side, name)
        assert seen.shape == (5, side, side, 3) and seen.dtype == np.uint8


@pytest.mark.parametrize("name", NAMES)
def test_untouched_faces_stay_untouched(faces, name):
    assert shrink(faces, 112, name) is faces
    np.testing.assert_array_equal(arrive(faces, 112, name), faces)
    np.testing.assert_array_equal(arrive_torch(torch.from_numpy(faces), 16, name).numpy(), resize_faces(faces, 16))


@pytest.mark.parametrize("name", NAMES)
def test_the_torch_twins_are_equal_on_the_cpu(faces, name):
    small = shrink(faces, 16, name)
    np.testing.assert_array_equal(shrink_torch(torch.from_numpy(faces), 16, name).numpy(), small)
    for side in (16, 112):
        np.testing.assert_array_equal(arrive_torch(torch.from_numpy(small), side, name).numpy(), arrive(small, side, name))


@pytest.mark.parametrize("name", NAMES)
def test_a_face_does_not_depend_on_its_neighbours(faces, name):
    together = arrive(shrink(faces, 16, name), 112, name)
    for row in range(5):
        np.testing.assert_array_equal(arrive(shrink(faces[row : row + 1], 16, name), 112, name)[0], together[row])


@pytest.mark.parametrize("name", MADE_SMALL_OTHERWISE)
def test_what_makes_faces_small_otherwise_says_so(faces, name):
    assert (shrink(faces, 16, name) != shrink(faces, 16)).mean() > 0.3
    assert named(name).version.startswith(f"{RESIZE}, {name}/")


def test_the_warp_changes_the_way_back_alone(faces):
    assert named("insightface-warp").version == RESIZE
    np.testing.assert_array_equal(shrink(faces, 16, "insightface-warp"), shrink(faces, 16))
    small = shrink(faces, 16)
    wide = warp_torch(torch.from_numpy(small)).numpy()
    np.testing.assert_array_equal(arrive(small, 112, "insightface-warp"), wide)
    np.testing.assert_array_equal(arrive(small, 16, "insightface-warp"), resize_faces(wide, 16))
    assert (wide != resize_faces(small, 112)).mean() > 0.3


def test_warp_geometry():
    """From 2 to 4 pixels: the edge repeats, between the centres it goes a quarter and three quarters of the way."""
    np.testing.assert_allclose(bilinear_weights(2, 4), [[1, 0], [0.75, 0.25], [0.25, 0.75], [0, 1]])
    assert np.allclose(bilinear_weights(16, 112).sum(1), 1) and (bilinear_weights(17, 112) >= 0).all()
    np.testing.assert_array_equal(bilinear_weights(9, 9), np.eye(9))


def test_warp_is_pillows_bilinear_and_mirrors(faces):
    small = shrink(faces, 16)
    wide = warp_torch(torch.from_numpy(small)).numpy()
    pillow = np.stack([np.asarray(Image.fromarray(face).resize((112, 112), Image.Resampling.BILINEAR)) for face in small])
    assert np.abs(wide.astype(int) - pillow).max() <= 1
    mirrored = warp_torch(torch.from_numpy(small[:, :, ::-1].copy())).numpy()
    np.testing.assert_array_equal(mirrored, wide[:, :, ::-1])


@pytest.mark.parametrize("px", [16, 23, 32])
def test_warp_is_what_insightface_does_to_a_small_face_in_a_photograph(faces, px):
    """A photograph with the px face in its middle, and its five points where the template has them."""
    face_align = needs("insightface.utils.face_align")
    small = shrink(faces, px)
    points = (face_align.arcface_dst + 0.5) * px / 112 - 0.5 + 8
    for face, ours in zip(small, warp_torch(torch.from_numpy(small)).numpy(), strict=True):
        photo = np.pad(face, ((8, 8), (8, 8), (0, 0)), mode="edge")
        theirs = face_align.norm_crop(photo, points.astype(np.float32))
        # One level by rounding; opencv before 5 also rounds places to 1/32 pixel.
        assert np.abs(theirs.astype(int) - ours).max() <= 5
        assert np.abs(theirs.astype(int) - ours).mean() <= 0.5


def test_blur_is_a_low_pass(faces):
    def detail(images):
        return np.abs(np.diff(images.astype(int), axis=2)).mean()

    assert detail(shrink(faces, 16, "blur")) < 0.7 * detail(shrink(faces, 16))
    flat = np.full((1, 112, 112, 3), 90, np.uint8)
    np.testing.assert_array_equal(shrink(flat, 16, "blur"), 90)


def test_grain_has_its_size_and_comes_again():
    flat = np.stack([np.full((112, 112, 3), level, np.uint8) for level in (120, 121)])
    grained = shrink(flat, 64, "noise")
    np.testing.assert_array_equal(shrink(flat, 64, "noise"), grained)
    assert np.allclose(grained.std(axis=(1, 2, 3)), 8, atol=0.4)
    assert (grained[0] != grained[1] - 1).any(), "faces that differ have grain of their own"


def test_jpeg_is_a_file_of_that_quality(faces):
    file = io.BytesIO()
    Image.fromarray(shrink(faces, 16)[0]).save(file, "JPEG", quality=30, subsampling="4:2:0")
    np.testing.assert_array_equal(shrink(faces, 16, "jpeg")[0], np.asarray(Image.open(file)))


def test_refusals(faces):
    with pytest.raises(ValueError, match="degradation is one of bicubic, insightface-warp.*got 'fog'"):
        shrink(faces, 16, "fog")
    with pytest.raises(ValueError, match="whole number from 4 to 112; got 3"):
        shrink(faces, 3, "blur")
    with pytest.raises(ValueError, match="uint8"):
        shrink(faces.astype(np.float32), 112, "jpeg")
    with pytest.raises(ValueError, match="uint8"):
        arrive(faces[..., 0], 16, "insightface-warp")


def test_many_faces_are_warped_in_blocks(monkeypatch, faces):
    small = shrink(faces, 16)
    whole = arrive(small, 112, "insightface-warp")
    monkeypatch.setattr("aird_plugin.data.degrade.BLOCK", 2)
    np.testing.assert_array_equal(arrive(small, 112, "insightface-warp"), whole)

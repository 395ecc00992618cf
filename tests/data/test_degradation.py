import io

import numpy as np
import pytest
import torch
from PIL import Image

from aird_plugin.data.degradation import (
    DEGRADATIONS,
    downsample,
    downsample_torch,
    get_degradation,
    resize_to_network,
    resize_to_network_torch,
)
from aird_plugin.data.lowres import RESIZE, low_faces, resize_faces
from aird_plugin.data.warp import bilinear_weights, warp_torch, warped
from tests.skips import needs

NAMES = list(DEGRADATIONS)
OTHER_DOWNSAMPLING = ["blur", "noise", "jpeg"]


@pytest.fixture
def images(noise_faces):
    """Noise that keeps contrast after the resize."""
    return resize_faces(noise_faces(5, side=28), 112)


def test_bicubic_equals_the_reference_resize(images):
    small = downsample(images, 16)
    np.testing.assert_array_equal(small, low_faces(images, 16, grow=False))
    np.testing.assert_array_equal(resize_to_network(small, 112), low_faces(images, 16))
    np.testing.assert_array_equal(resize_to_network(small, 24), resize_faces(small, 24))


@pytest.mark.parametrize("name", NAMES)
def test_shapes_and_dtypes(images, name):
    small = downsample(images, 16, name)
    assert small.shape == (5, 16, 16, 3) and small.dtype == np.uint8
    for side in (16, 32, 112):
        resized = resize_to_network(small, side, name)
        assert resized.shape == (5, side, side, 3) and resized.dtype == np.uint8


@pytest.mark.parametrize("name", NAMES)
def test_112_px_images_are_unchanged(images, name):
    assert downsample(images, 112, name) is images
    np.testing.assert_array_equal(resize_to_network(images, 112, name), images)
    np.testing.assert_array_equal(resize_to_network_torch(torch.from_numpy(images), 16, name).numpy(), resize_faces(images, 16))


@pytest.mark.parametrize("name", NAMES)
def test_torch_functions_equal_numpy_on_the_cpu(images, name):
    small = downsample(images, 16, name)
    np.testing.assert_array_equal(downsample_torch(torch.from_numpy(images), 16, name).numpy(), small)
    for side in (16, 112):
        np.testing.assert_array_equal(
            resize_to_network_torch(torch.from_numpy(small), side, name).numpy(), resize_to_network(small, side, name)
        )


@pytest.mark.parametrize("name", NAMES)
def test_an_image_does_not_depend_on_the_rest_of_the_batch(images, name):
    together = resize_to_network(downsample(images, 16, name), 112, name)
    for row in range(5):
        np.testing.assert_array_equal(resize_to_network(downsample(images[row : row + 1], 16, name), 112, name)[0], together[row])


@pytest.mark.parametrize("name", OTHER_DOWNSAMPLING)
def test_other_downsampling_has_its_own_version(images, name):
    assert (downsample(images, 16, name) != downsample(images, 16)).mean() > 0.3
    assert get_degradation(name).version.startswith(f"{RESIZE}, {name}/")


def test_the_warp_changes_only_the_upsampling(images):
    assert get_degradation("insightface-warp").version == RESIZE
    np.testing.assert_array_equal(downsample(images, 16, "insightface-warp"), downsample(images, 16))
    small = downsample(images, 16)
    upsampled = warp_torch(torch.from_numpy(small)).numpy()
    np.testing.assert_array_equal(resize_to_network(small, 112, "insightface-warp"), upsampled)
    np.testing.assert_array_equal(resize_to_network(small, 16, "insightface-warp"), resize_faces(upsampled, 16))
    assert (upsampled != resize_faces(small, 112)).mean() > 0.3


def test_bilinear_weights():
    """From 2 to 4 pixels: the edge repeats; between the centers the weights are a quarter and three quarters."""
    np.testing.assert_allclose(bilinear_weights(2, 4), [[1, 0], [0.75, 0.25], [0.25, 0.75], [0, 1]])
    assert np.allclose(bilinear_weights(16, 112).sum(1), 1) and (bilinear_weights(17, 112) >= 0).all()
    np.testing.assert_array_equal(bilinear_weights(9, 9), np.eye(9))


def test_warp_matches_pillow_bilinear_and_commutes_with_the_flip(images):
    small = downsample(images, 16)
    upsampled = warp_torch(torch.from_numpy(small)).numpy()
    pillow = np.stack([np.asarray(Image.fromarray(image).resize((112, 112), Image.Resampling.BILINEAR)) for image in small])
    assert np.abs(upsampled.astype(int) - pillow).max() <= 1
    mirrored = warp_torch(torch.from_numpy(small[:, :, ::-1].copy())).numpy()
    np.testing.assert_array_equal(mirrored, upsampled[:, :, ::-1])


def test_autocast_does_not_change_the_warp(images):
    """In float32, as on a GPU, where a step upsamples its images inside the student's autocast."""
    small = torch.from_numpy(downsample(images, 16))
    weights = torch.from_numpy(bilinear_weights(16, 112)).float()
    with torch.autocast("cpu", torch.bfloat16):
        under_autocast = warped(small, weights)
    assert torch.equal(under_autocast, warped(small, weights))
    assert (under_autocast.int() - warp_torch(small).int()).abs().max() <= 1


@pytest.mark.parametrize("px", [16, 23, 32])
def test_warp_matches_insightface_norm_crop_of_a_small_face(images, px):
    """A photo with the px image in its middle and its five landmarks at the template's positions."""
    face_align = needs("insightface.utils.face_align")
    small = downsample(images, px)
    points = (face_align.arcface_dst + 0.5) * px / 112 - 0.5 + 8
    for image, ours in zip(small, warp_torch(torch.from_numpy(small)).numpy(), strict=True):
        photo = np.pad(image, ((8, 8), (8, 8), (0, 0)), mode="edge")
        theirs = face_align.norm_crop(photo, points.astype(np.float32))
        # One level by rounding; opencv before 5 also rounds positions to 1/32 pixel.
        assert np.abs(theirs.astype(int) - ours).max() <= 5
        assert np.abs(theirs.astype(int) - ours).mean() <= 0.5


def test_blur_is_a_low_pass(images):
    def detail(images):
        return np.abs(np.diff(images.astype(int), axis=2)).mean()

    assert detail(downsample(images, 16, "blur")) < 0.7 * detail(downsample(images, 16))
    flat = np.full((1, 112, 112, 3), 90, np.uint8)
    np.testing.assert_array_equal(downsample(flat, 16, "blur"), 90)


def test_noise_has_its_standard_deviation_and_is_repeatable():
    flat = np.stack([np.full((112, 112, 3), level, np.uint8) for level in (120, 121)])
    noisy = downsample(flat, 64, "noise")
    np.testing.assert_array_equal(downsample(flat, 64, "noise"), noisy)
    assert np.allclose(noisy.std(axis=(1, 2, 3)), 8, atol=0.4)
    assert (noisy[0] != noisy[1] - 1).any(), "different images have different noise"


def test_jpeg_equals_a_pillow_file_of_that_quality(images):
    file = io.BytesIO()
    Image.fromarray(downsample(images, 16)[0]).save(file, "JPEG", quality=30, subsampling="4:2:0")
    np.testing.assert_array_equal(downsample(images, 16, "jpeg")[0], np.asarray(Image.open(file)))


def test_invalid_arguments_are_rejected(images):
    with pytest.raises(ValueError, match="degradation is one of bicubic, insightface-warp.*got 'fog'"):
        downsample(images, 16, "fog")
    with pytest.raises(ValueError, match="whole number from 4 to 112; got 3"):
        downsample(images, 3, "blur")
    with pytest.raises(ValueError, match="uint8"):
        downsample(images.astype(np.float32), 112, "jpeg")
    with pytest.raises(ValueError, match="uint8"):
        resize_to_network(images[..., 0], 16, "insightface-warp")


def test_warping_in_blocks_changes_nothing(monkeypatch, images):
    small = downsample(images, 16)
    expected = resize_to_network(small, 112, "insightface-warp")
    monkeypatch.setattr("aird_plugin.data.degradation.BLOCK", 2)
    np.testing.assert_array_equal(resize_to_network(small, 112, "insightface-warp"), expected)

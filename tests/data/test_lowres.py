import numpy as np
import pytest
import torch
from PIL import Image

from aird_plugin.data.lowres import fixed_point_weights, low_faces, low_faces_torch, resize_torch, to_input, two_passes


@pytest.mark.parametrize("px", [4, 7, 8, 14, 16, 23, 32, 56, 64, 111])
def test_low_faces_equals_pillow(noise_faces, px):
    images = noise_faces(3)
    small = np.stack([np.asarray(Image.fromarray(f).resize((px, px), Image.Resampling.BICUBIC)) for f in images])
    upsampled = np.stack([np.asarray(Image.fromarray(f).resize((112, 112), Image.Resampling.BICUBIC)) for f in small])
    np.testing.assert_array_equal(low_faces(images, px, grow=False), small)
    np.testing.assert_array_equal(low_faces(images, px), upsampled)


@pytest.mark.parametrize("px", [4, 8, 16, 23, 32, 64, 111])
def test_low_faces_torch_equals_pillow_on_the_cpu(noise_faces, px):
    images = noise_faces(4)
    for grow in (False, True):
        actual = low_faces_torch(torch.from_numpy(images), px, grow=grow)
        np.testing.assert_array_equal(actual.numpy(), low_faces(images, px, grow=grow))


def test_autocast_does_not_change_low_faces_torch(noise_faces):
    """In float32, as on a GPU."""
    images = noise_faces(2)
    weights = torch.from_numpy(fixed_point_weights(112, 16)).float()
    with torch.autocast("cpu", torch.bfloat16):
        under_autocast = low_faces_torch(torch.from_numpy(images), 16, grow=False)
        passes_under_autocast = two_passes(torch.from_numpy(images), weights)
    passes = two_passes(torch.from_numpy(images), weights)
    expected = low_faces(images, 16, grow=False)
    np.testing.assert_array_equal(under_autocast.numpy(), expected)
    assert np.abs(passes.numpy().astype(int) - expected).max() <= 1
    assert torch.equal(passes_under_autocast, passes) and (passes.numpy() == expected).mean() > 0.999


def test_batches_above_a_block_and_empty_batches(noise_faces):
    images = noise_faces(19)
    np.testing.assert_array_equal(low_faces_torch(torch.from_numpy(images), 23).numpy(), low_faces(images, 23))
    assert low_faces_torch(torch.from_numpy(images[:0]), 16, grow=False).shape == (0, 16, 16, 3)


def test_low_faces_torch_on_extreme_pixels():
    checker = (np.indices((112, 112)).sum(0) % 2 * 255).astype(np.uint8)[None, :, :, None].repeat(3, 3)
    for px in (16, 75):
        np.testing.assert_array_equal(low_faces_torch(torch.from_numpy(checker), px).numpy(), low_faces(checker, px))


def test_a_flat_image_stays_flat():
    flat = np.full((1, 112, 112, 3), 201, np.uint8)
    assert (low_faces(flat, 16) == 201).all()


@pytest.mark.parametrize("px", [8, 16, 24, 32, 64])
def test_downsampling_commutes_with_the_flip(noise_faces, px):
    images = noise_faces(4)
    flipped_then_downsampled = low_faces(np.ascontiguousarray(images[:, :, ::-1]), px, grow=False)
    np.testing.assert_array_equal(flipped_then_downsampled, low_faces(images, px, grow=False)[:, :, ::-1])


def test_px_112_leaves_images_unchanged(noise_faces):
    images = noise_faces(2)
    assert low_faces(images, 112) is images


@pytest.mark.parametrize("px", [0, 3, 113, 16.0, True, "16"])
def test_an_invalid_px_is_rejected(noise_faces, px):
    with pytest.raises(ValueError, match=r"4 to 112; got"):
        low_faces(noise_faces(1), px)


@pytest.mark.parametrize(
    "images",
    [
        np.zeros((2, 112, 112, 3), np.float32),
        np.zeros((112, 112, 3), np.uint8),
        np.zeros((1, 112, 96, 3), np.uint8),
        np.zeros((1, 3, 112, 112), np.uint8),
    ],
)
def test_invalid_images_are_rejected(images):
    with pytest.raises(ValueError, match="uint8"):
        low_faces(images, 16)
    with pytest.raises(ValueError, match="uint8"):
        resize_torch(torch.from_numpy(images), 16)


def test_weights_sum_to_one_within_fixed_point():
    for source, target in ((112, 16), (16, 112), (112, 23)):
        assert np.abs(fixed_point_weights(source, target).sum(1) - 1).max() < 2e-5


def test_to_input_has_the_range_of_insightface():
    images = torch.tensor([0, 127, 128, 255], dtype=torch.uint8).view(1, 2, 2, 1).expand(1, 2, 2, 3)
    out = to_input(images)
    assert out.shape == (1, 3, 2, 2)
    torch.testing.assert_close(out[0, 0].flatten(), torch.tensor([-1.0, -0.5 / 127.5, 0.5 / 127.5, 1.0]))

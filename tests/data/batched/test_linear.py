import numpy as np
import pytest
import torch
from PIL import Image

from aird_plugin.data.batched import linear
from aird_plugin.data.batched.linear import KERNEL_NAMES, downsample_each, upsample_each, warp_each
from aird_plugin.data.lowres import to_square
from aird_plugin.data.warp import warp_torch


def test_each_image_is_downsampled_by_its_own_kernel(hard_images):
    px_B = np.random.default_rng(0).integers(4, 112, 24)
    kernel_B = np.arange(24) % 3
    small = downsample_each(torch.from_numpy(hard_images), px_B, kernel_B).numpy()
    assert small.shape == (24, px_B.max(), px_B.max(), 3)
    for image, px, kernel, actual in zip(hard_images, px_B, kernel_B, small, strict=True):
        resampling = Image.Resampling[KERNEL_NAMES[kernel].upper()]
        np.testing.assert_array_equal(actual[:px, :px], np.asarray(Image.fromarray(image).resize((px, px), resampling)))


@pytest.mark.parametrize("side", [16, 40, 112])
def test_upsampling_equals_pillow_and_ignores_the_padding(hard_images, padded, side):
    px_B = np.random.default_rng(1).integers(4, 112, 24)
    images = [image[:px, :px] for image, px in zip(hard_images, px_B, strict=True)]
    resized = upsample_each(torch.from_numpy(padded(images)), px_B, side).numpy()
    for image, actual in zip(images, resized, strict=True):
        np.testing.assert_array_equal(actual, to_square(image, side))


def test_warp_equals_the_one_image_form_up_to_ties(hard_images, padded):
    px_B = np.random.default_rng(2).integers(4, 112, 24)
    images = [image[:px, :px] for image, px in zip(hard_images, px_B, strict=True)]
    warped = warp_each(torch.from_numpy(padded(images)), px_B).numpy()
    alone = np.stack([warp_torch(torch.from_numpy(image[None].copy()))[0].numpy() for image in images])
    difference = np.abs(warped.astype(int) - alone)
    assert difference.max() <= 1 and (difference > 0).mean() < 1e-3


def test_float32_weights_of_a_gpu_are_within_a_grey_level(hard_images, monkeypatch):
    """A rounding of the first pass that differs changes the result by at most its weight, below 1.3, so by one level."""
    px_B = np.random.default_rng(3).integers(4, 112, 24)
    images = torch.from_numpy(hard_images)
    exact = downsample_each(images, px_B)
    tables = linear.weight_table
    monkeypatch.setattr(linear, "weight_table", lambda *where: tables(*where).float())
    difference = (downsample_each(images, px_B).int() - exact.int()).abs()
    for px, one in zip(px_B, difference, strict=True):
        assert one[:px, :px].max() <= 1

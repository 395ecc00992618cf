import numpy as np
import pytest
import torch
from PIL import Image, ImageFilter

from aird_plugin.data.batched.gaussian import box_radius, box_weights, gaussian_blur


@pytest.mark.parametrize("sides", ["112", "any"])
def test_equals_pillow_bit_for_bit(hard_images, padded, sides):
    """Standard deviations from none to 28 pixels, the blur of the smallest px."""
    rng = np.random.default_rng(0)
    side_B = np.full(24, 112) if sides == "112" else rng.integers(4, 113, 24)
    sigma_B = np.concatenate([[0.0, 0.01, 28.0], rng.uniform(0.05, 3, 10), 112 / rng.integers(4, 64, 11)])
    images = [image[:side, :side] for image, side in zip(hard_images, side_B, strict=True)]
    blurred = gaussian_blur(torch.from_numpy(padded(images)), side_B, sigma_B).numpy()
    for image, side, sigma, actual in zip(images, side_B, sigma_B, blurred, strict=True):
        expected = np.asarray(Image.fromarray(image).filter(ImageFilter.GaussianBlur(float(sigma))))
        np.testing.assert_array_equal(actual[:side, :side], expected, err_msg=f"side {side}, sigma {sigma}")


def test_weights_equal_a_loop_over_taps():
    side_B, radius_B = np.array([5, 9, 9]), box_radius(np.array([3.0, 0.3, 1.7]))
    weights = box_weights(9, side_B, radius_B, torch.device("cpu")).numpy() * 2**24
    for side, radius, matrix in zip(side_B, radius_B, weights, strict=True):
        whole = int(radius)
        inner = int(np.float32(2**24) / (radius * np.float32(2) + np.float32(1)))
        outer = (2**24 - (2 * whole + 1) * inner) // 2
        expected = np.zeros((9, 9))
        for x in range(side):
            for offset in range(-whole - 1, whole + 2):
                expected[x, min(max(x + offset, 0), side - 1)] += outer if abs(offset) == whole + 1 else inner
        np.testing.assert_array_equal(matrix[:side], expected[:side])

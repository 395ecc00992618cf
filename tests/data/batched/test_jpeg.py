import io

import numpy as np
import pytest
import torch
from PIL import Image

from aird_plugin.data.batched.jpeg import dct_matrix, jpeg, quantisation_tables


def pillow(image: np.ndarray, quality: int) -> np.ndarray:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file))


@pytest.mark.parametrize("first", [4, 9, 16, 31, 64, 97])
def test_equals_pillow_bit_for_bit(hard_images, padded, first):
    """Every side modulo 16 (the MCU), every image, qualities from 1 to 100."""
    rng = np.random.default_rng(first)
    side_B = np.minimum(first + np.arange(24) % 16, 112)
    quality_B = np.append(rng.integers(1, 101, 22), [1, 100])
    images = [image[:side, :side] for image, side in zip(hard_images, side_B, strict=True)]
    decoded = jpeg(torch.from_numpy(padded(images)), side_B, quality_B).numpy()
    for image, side, quality, actual in zip(images, side_B, quality_B, decoded, strict=True):
        np.testing.assert_array_equal(actual[:side, :side], pillow(image, int(quality)), err_msg=f"side {side}, {quality}")


def test_quantisation_tables_are_those_of_a_file(drawn_faces):
    for quality in (1, 30, 49, 50, 75, 95, 100):
        file = io.BytesIO()
        Image.fromarray(drawn_faces[0]).save(file, "JPEG", quality=quality)
        tables = Image.open(file).quantization
        for ours, key in zip(quantisation_tables(np.array([quality])), (0, 1), strict=True):
            np.testing.assert_array_equal(ours[0].ravel(), tables[key])


def test_dct_matrix_is_the_cosine_transform_in_fixed_point():
    """Its factored constants have 13 bits: at most a unit per product, and no product has more than two of them."""
    u_8, x_8 = np.arange(8)[:, None], np.arange(8)
    exact = 2**13 * np.sqrt(2) * np.cos((2 * x_8 + 1) * u_8 * np.pi / 16)
    exact[0] /= np.sqrt(2)
    assert np.abs(dct_matrix() - exact).max() <= 2

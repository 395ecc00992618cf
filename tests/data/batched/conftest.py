"""Images that stress the degradations: drawn faces, noise, flat and extreme images."""

import numpy as np
import pytest

from aird_plugin.data.synthetic.draw import draw_person


@pytest.fixture(scope="session")
def drawn_faces() -> np.ndarray:
    return np.stack([draw_person(label, 0) for label in range(6)])


@pytest.fixture(scope="session")
def hard_images(drawn_faces) -> np.ndarray:
    """uint8 (24, 112, 112, 3): 6 drawn faces, 12 images of noise, and flat, black, white and checkered ones."""
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (12, 112, 112, 3), np.uint8)
    flat = np.stack(
        [np.full((112, 112, 3), color, np.uint8) for color in ((0, 0, 0), (255, 255, 255), (255, 0, 0), (7, 90, 201))]
    )
    checker = (255 * (np.indices((112, 112)).sum(0) % 2)).astype(np.uint8)[None, ..., None].repeat(3, -1)
    return np.concatenate([drawn_faces, noise, flat, checker, 255 - checker])


@pytest.fixture
def padded():
    """A function: square images of several sides -> one tensor of them, padded with values that must not matter."""

    def pad(images: list[np.ndarray]) -> np.ndarray:
        side = max(len(image) for image in images)
        rng = np.random.default_rng(1)
        out = rng.integers(0, 256, (len(images), side, side, 3), np.uint8)
        for row, image in zip(out, images, strict=True):
            row[: len(image), : len(image)] = image
        return out

    return pad

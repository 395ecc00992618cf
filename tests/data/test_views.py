import numpy as np
import pytest

from aird_plugin.data.lowres import low_faces
from aird_plugin.data.views import check_views, jitter, mirror_odd


def test_the_first_two_views_are_the_image_and_its_mirror_image(noise_faces):
    image = noise_faces(1)[0]
    views = mirror_odd(np.stack([jitter(image, 7, 0)] * 2), np.array([0, 1]))
    np.testing.assert_array_equal(views, [image, image[:, ::-1]])


def test_a_jitter_depends_on_seed_row_and_number(noise_faces):
    image = noise_faces(1)[0]
    again = jitter(image, 7, 2, seed=3)
    np.testing.assert_array_equal(jitter(image, 7, 2, seed=3), again)
    for other in (jitter(image, 8, 2, seed=3), jitter(image, 7, 3, seed=3), jitter(image, 7, 2, seed=4), image):
        assert (other != again).any()


def test_downsampling_commutes_with_mirroring_a_view(noise_faces):
    """The bank therefore stores one LR image for two views."""
    image = noise_faces(1)[0]
    jittered = jitter(image, 1, 2)
    low = low_faces(np.stack([jittered, jittered[:, ::-1]]), 16, grow=False)
    np.testing.assert_array_equal(low[1], low[0][:, ::-1])


def test_jitters_are_small():
    """A flat image stays flat except for its brightness; the border adds no black."""
    flat = np.full((112, 112, 3), 128, np.uint8)
    for number in range(1, 20):
        out = jitter(flat, 0, number).astype(int)
        assert out.std(axis=(0, 1)).max() < 1 and 80 < out.mean() < 176


def test_half_of_the_jitters_are_grey():
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (112, 112, 3), np.uint8)
    grey = [(np.ptp(jitter(image, row, 1), axis=2) == 0).all() for row in range(60)]
    assert 15 < sum(grey) < 45


@pytest.mark.parametrize("views", [0, 1, 3, 2.0, True, "2"])
def test_an_invalid_number_of_views_is_rejected(views):
    with pytest.raises(ValueError, match="even and at least 2; got"):
        check_views(views)

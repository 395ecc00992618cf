import numpy as np
import pytest

from aird_plugin.data.lowres import low_faces
from aird_plugin.data.views import check_views, jitter, view_of


def test_the_first_two_views_are_the_image_and_its_mirror_image(noise_faces):
    image = noise_faces(1)[0]
    np.testing.assert_array_equal(view_of(image, 7, 0), image)
    np.testing.assert_array_equal(view_of(image, 7, 1), image[:, ::-1])


def test_a_view_depends_on_seed_row_and_number(noise_faces):
    image = noise_faces(1)[0]
    again = view_of(image, 7, 4, seed=3)
    np.testing.assert_array_equal(view_of(image, 7, 4, seed=3), again)
    for other in (view_of(image, 8, 4, seed=3), view_of(image, 7, 6, seed=3), view_of(image, 7, 4, seed=4), image):
        assert (other != again).any()


def test_an_odd_view_mirrors_the_even_one_before_it(noise_faces):
    image = noise_faces(1)[0]
    np.testing.assert_array_equal(view_of(image, 1, 5), view_of(image, 1, 4)[:, ::-1])


def test_downsampling_commutes_with_mirroring_a_view(noise_faces):
    """The bank therefore stores one LR image for two views."""
    image = noise_faces(1)[0]
    low = [low_faces(view_of(image, 1, view)[None], 16, grow=False)[0] for view in (4, 5)]
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

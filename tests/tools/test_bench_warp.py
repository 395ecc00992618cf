"""The two ways from a frame to a native student's input see the same face."""

import numpy as np
import pytest

from aird_plugin.data.lowres import low_faces
from aird_plugin.data.synthetic.draw import draw_person
from tests.skips import needs
from tools.bench_warp import WAYS, place


@pytest.mark.parametrize("px", [12, 16, 40])
@pytest.mark.parametrize("way", WAYS)
def test_crop_of_a_turned_face_is_the_downsampled_image(way, px):
    needs("cv2")
    rng, image_HWC = np.random.default_rng(1), draw_person(3, 0)
    [expected] = low_faces(image_HWC[None], 16, grow=False)
    inner = slice(3, 13)
    for _ in range(4):
        frame_HWC, points_52 = place(image_HWC, px, rng)
        assert frame_HWC.shape == (2 * px, 2 * px, 3)
        [crop] = WAYS[way](frame_HWC, points_52, 16)
        found, wanted = (one[inner, inner].astype(float).ravel() for one in (crop, expected))
        # A crop that is a pixel off, or not turned back, correlates with less than 0.8.
        assert np.corrcoef(found, wanted)[0, 1] > (0.9 if px > 12 else 0.85)

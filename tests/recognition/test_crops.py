"""Crops from a frame's own pixels."""

import numpy as np

from aird_plugin.alignment.crop import template
from aird_plugin.recognition.crops import face_crops, face_sizes
from tests.skips import needs


def crop(frame_HWC, points_52, side):
    return face_crops(frame_HWC, *face_sizes(points_52[None]), side)[0]


def test_112_px_crop_is_insightfaces_within_a_grey_level(noise_faces):
    face_align = needs("insightface.utils.face_align")
    frame_HWC = noise_faces(1, side=200)[0]
    rng = np.random.default_rng(0)
    for scale in (0.3, 1.0, 1.6):
        points_52 = (template() * scale + 20 + rng.uniform(-3, 3, (5, 2))).astype(np.float32)
        expected = face_align.norm_crop(frame_HWC, points_52, 112)
        assert np.abs(crop(frame_HWC, points_52, 112)[..., ::-1].astype(int) - expected).max() <= 1


def test_face_of_the_networks_size_is_its_own_pixels(noise_faces):
    # The landmarks of the 16 px image that the reference resize makes of a 112 px one.
    frame_HWC = noise_faces(1, side=64)[0]
    points_52 = (template() + 0.5) * 16 / 112 - 0.5 + (24, 8)
    assert (crop(frame_HWC, points_52, 16)[..., ::-1] == frame_HWC[8:24, 24:40]).all()


def test_larger_face_is_resized_without_skipping_pixels():
    # Lines of one pixel: their mean is grey; a warp alone would return black, white or waves of both.
    frame_HWC = np.zeros((160, 160, 3), np.uint8)
    frame_HWC[:, ::2] = 255
    for px in (48, 100):
        points_52 = (template() + 0.5) * px / 112 - 0.5 + 24
        assert np.abs(crop(frame_HWC, points_52, 16)[2:-2, 2:-2].astype(int) - 127).max() < 60


def test_px_is_the_side_in_the_frame_and_nan_for_no_face():
    _, px_F = face_sizes(np.stack([template() * 0.25, np.ones((5, 2)), np.full((5, 2), np.nan)]))
    assert abs(px_F[0] - 28) < 1e-9 and np.isnan(px_F[1:]).all()

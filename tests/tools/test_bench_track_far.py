"""False accepts of pooled tracks: thresholds, rates, and the simulated frames."""

import numpy as np

from aird_plugin.data.synthetic.draw import draw_person
from tools.bench_track_far import distinct, figures, noisy_crop, threshold


def test_threshold_accepts_the_stated_share_of_the_impostors():
    cosine_GG = np.random.default_rng(0).normal(size=(101, 101))
    np.fill_diagonal(cosine_GG, 9)
    at = threshold(cosine_GG, 0.01)
    impostors = cosine_GG[~np.eye(101, dtype=bool)]
    assert (impostors > at).sum() == 101
    rate, genuine, own = figures(cosine_GG, at, 0.01)
    assert rate.startswith("1.00% (") and genuine == "100.0%" and own == f"{at:.3f}"
    assert figures(cosine_GG - 1, at, 0.01)[0] < rate and figures(cosine_GG - 1, at, 0.01)[2] == f"{at - 1:.3f}"


def test_frames_of_a_track_differ_and_show_the_face():
    rng, image_HWC = np.random.default_rng(0), draw_person(0, 0)
    crops = np.concatenate([noisy_crop(image_HWC, 16, 16, rng) for _ in range(8)])
    assert crops.shape == (8, 16, 16, 3) and crops.dtype == np.uint8
    deviation = crops.astype(float).std(0).mean()
    # Noise of 4 grey levels, of which the warp averages up to four pixels, JPEG, and shifts by parts of a pixel at edges.
    assert 2 < deviation < 8
    mean = crops.astype(float).mean(0)
    small = np.asarray(noisy_crop(image_HWC, 64, 16, rng)[0], float)
    assert np.corrcoef(mean.ravel(), small.ravel())[0, 1] > 0.95


def test_an_identity_that_is_listed_twice_counts_once():
    gallery_GD = np.array([[1.0, 0.0], [0.0, 1.0], [0.9, 0.1], [0.6, 0.8]])
    assert distinct(gallery_GD, 0.85).tolist() == [0, 1, 3]

"""A face turned on a generic head: where its points go, what hides what, and symmetry."""

import numpy as np
import pytest
import skimage.transform

from aird_plugin.alignment.crop import template
from aird_plugin.data.turned_faces import DEPTH, HALF_WIDTH, MAX_YAW, MIDDLE, NOSE_HEIGHT, bilinear, turn_face, turned


def noise(seed=0):
    return np.random.default_rng(seed).integers(0, 256, (112, 112, 3), np.uint8)


def spot(column, row):
    """A black image with a soft white spot at this place."""
    y, x = np.mgrid[:112, :112]
    grey = 255 * np.exp(-((x - column) ** 2 + (y - row) ** 2) / 8)
    return np.repeat(grey.astype(np.uint8)[..., None], 3, 2)


def center_of(image):
    weight = image[..., 0].astype(float)
    y, x = np.mgrid[:112, :112]
    return np.array([(weight * x).sum(), (weight * y).sum()]) / weight.sum()


def test_no_turn_is_the_image_itself():
    assert np.array_equal(turn_face(noise(), 0), noise())


def test_points_of_the_head_by_hand():
    # Far from the nose: on the axis the head is DEPTH deep, at its side not at all; the tip of the nose stands out of it.
    x, y = np.array([0.0, HALF_WIDTH, -HALF_WIDTH]), np.array([10.0, 10.0, 10.0])
    assert turned(x, y, np.pi / 6) == pytest.approx([DEPTH / 2, HALF_WIDTH * 0.75**0.5, -HALF_WIDTH * 0.75**0.5])
    assert turned(np.array(0.0), np.array(72.0), np.pi / 2) == pytest.approx(DEPTH + NOSE_HEIGHT)


@pytest.mark.parametrize("yaw", [15, 30, 45])
def test_landmarks_are_aligned_again(yaw):
    """Spots at the eyes and at the left corner of the mouth come out where scikit-image's own alignment of the head puts them."""
    points_52 = template()
    columns_5 = turned(points_52[:, 0] - MIDDLE, points_52[:, 1], np.deg2rad(yaw)) + MIDDLE
    turned_52 = np.stack([columns_5, points_52[:, 1]], 1)
    aligned_52 = skimage.transform.SimilarityTransform.from_estimate(turned_52, points_52)(turned_52)
    for landmark in (0, 1, 3) if yaw < 45 else (0, 3):
        found = center_of(turn_face(spot(*points_52[landmark]), yaw))
        assert found == pytest.approx(aligned_52[landmark], abs=2)


def test_the_far_side_is_hidden_and_the_near_one_is_not():
    assert turn_face(spot(MIDDLE + 34, 20), 60).max() < 30
    assert turn_face(spot(MIDDLE - 20, 20), 60).max() > 200
    assert turn_face(spot(MIDDLE + 34, 20), -60).max() > 200


def test_the_nose_hides_what_is_behind_it():
    beside_the_tip, below_the_nose = spot(MIDDLE + 11, 70), spot(MIDDLE + 11, 95)
    assert turn_face(below_the_nose, 45).sum() > 2 * turn_face(beside_the_tip, 45).sum()


@pytest.mark.parametrize("yaw", [20, MAX_YAW])
def test_turning_the_mirror_image_the_other_way_is_the_mirror_image(yaw):
    assert np.array_equal(turn_face(noise()[:, ::-1], -yaw), turn_face(noise(), yaw)[:, ::-1])


def test_a_plain_image_stays_plain_at_every_angle():
    plain = np.full((112, 112, 3), 77, np.uint8)
    for yaw in range(-MAX_YAW, MAX_YAW + 1, 16):
        found = turn_face(plain, yaw)
        assert found.dtype == np.uint8 and found.shape == plain.shape and (found == 77).all()


def test_more_than_80_degrees_are_refused():
    with pytest.raises(AssertionError):
        turn_face(noise(), MAX_YAW + 1)


def test_bilinear_equals_a_loop():
    image, rng = noise().astype(float), np.random.default_rng(3)
    columns, rows = rng.uniform(-3, 114, (2, 112, 112))
    found = bilinear(noise(), columns, rows)
    for y, x in rng.integers(0, 112, (200, 2)):
        column, row = np.clip(columns[y, x], 0, 111), np.clip(rows[y, x], 0, 111)
        expected = sum(
            image[j, i] * max(0, 1 - abs(column - i)) * max(0, 1 - abs(row - j))
            for j in {int(row), min(int(row) + 1, 111)}
            for i in {int(column), min(int(column) + 1, 111)}
        )
        assert np.abs(found[y, x] - expected).max() <= 0.5 + 1e-9

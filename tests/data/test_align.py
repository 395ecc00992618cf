"""Geometry one can do in the head, and InsightFace's own function beside ours."""

import warnings

import numpy as np
import pytest

from aird_plugin.data.align import align_face, check_points, face_px, likeness, similarity, template
from tests.skips import needs


def placed(turn: float, scale: float, shift: tuple, side: int = 112) -> np.ndarray:
    """The template's points turned (radians), scaled and shifted about the origin."""
    cosine, sine = np.cos(turn), np.sin(turn)
    return template(side) @ (scale * np.array([[cosine, sine], [-sine, cosine]])) + shift


def test_the_templates_own_points_move_nothing(noise_faces):
    np.testing.assert_allclose(similarity(template()), [[1, 0, 0], [0, 1, 0]], atol=1e-12)
    face_HWC = noise_faces(1)[0]
    assert np.array_equal(align_face(face_HWC, template()), face_HWC)
    assert np.array_equal(align_face(np.pad(face_HWC, ((3, 0), (5, 0), (0, 0))), template() + (5, 3)), face_HWC)


def test_a_quarter_turn_comes_back(noise_faces):
    """A pixel at (x, y) of a picture turned left stands at (y, 111 - x): whole pixels, so to the bit."""
    face_HWC = noise_faces(1)[0]
    x, y = template().T
    turned_HWC = np.ascontiguousarray(np.rot90(face_HWC))
    assert np.array_equal(align_face(turned_HWC, np.stack([y, 111 - x], 1)), face_HWC)


@pytest.mark.parametrize(("turn", "scale", "shift"), [(0.0, 2.0, (0, 0)), (0.5, 0.1, (40, -7)), (-3.0, 30.0, (900, 4000))])
def test_turn_scale_and_shift_are_undone(turn, scale, shift):
    points_52 = placed(turn, scale, shift)
    matrix = similarity(points_52)
    np.testing.assert_allclose(points_52 @ matrix[:, :2].T + matrix[:, 2], template(), atol=1e-6)
    assert face_px(points_52) == pytest.approx(112 * scale) and likeness(points_52) == pytest.approx(1)
    np.testing.assert_allclose(similarity(points_52, 224), 2 * matrix, atol=1e-9)


def test_between_pixels_it_is_bilinear_and_beyond_the_photo_black():
    """A photo shifted by half a pixel: the mean of two neighbours, and half a rim."""
    photo_HWC = np.zeros((112, 112, 3), np.uint8)
    photo_HWC[:, ::2] = 100
    photo_HWC[:, 0] = 200
    crop_HWC = align_face(photo_HWC, template() - (0.5, 0))
    assert (crop_HWC[:, 0] == 100).all() and (crop_HWC[:, 1] == 100).all() and (crop_HWC[:, 2:] == 50).all()
    assert not align_face(photo_HWC, template() + (500, 0)).any()


@pytest.fixture
def photos(noise_faces):
    """Noise: the hardest case there is for a resampling."""
    photo_HWC = noise_faces(1, side=400)[0][:300]
    assert photo_HWC.shape == (300, 400, 3)
    return photo_HWC


def test_it_is_insightfaces_norm_crop(photos):
    """A hundred faces, turned, tiny and large, over the rim too. OpenCV 5 to a grey level; 4 rounds positions to 1/32 px."""
    face_align = needs("insightface.utils.face_align")
    cv2 = needs("cv2")
    modern = int(cv2.__version__.split(".")[0]) >= 5
    np.testing.assert_array_equal(template().astype(np.float32), face_align.arcface_dst)
    rng = np.random.default_rng(0)
    differences = []
    for number in range(100):
        scale = rng.uniform(0.05, 2)
        centre = np.array([200, 150] if number % 2 else [rng.uniform(0, 400), rng.uniform(0, 20)])
        points_52 = placed(rng.uniform(-3, 3), scale, (0, 0)) + rng.normal(0, 2 * scale, (5, 2))
        points_52 = (points_52 - points_52.mean(0) + centre).astype(np.float32)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # scikit-image 0.26 warns of the call that InsightFace makes
            matrix = face_align.estimate_norm(points_52)
            theirs_HWC = face_align.norm_crop(photos, points_52)
        np.testing.assert_allclose(similarity(points_52), matrix, rtol=1e-5, atol=1e-4)
        differences.append(np.abs(align_face(photos, points_52).astype(int) - theirs_HWC))
    assert np.max(differences) <= (1 if modern else 12) and np.mean(differences) < (0.01 if modern else 1)


@pytest.mark.parametrize(("points", "words"), [
    (np.full((5, 2), 7.0), "one and the same, (7.0, 7.0)"),
    (template()[:4], "five finite points"),
    (np.where(np.eye(5, 2) > 0, np.nan, template()), "five finite points"),
    ((111, 0) - template() * (1, -1), "mirrored"),
    (template() + (0, 300), "outside a photo of 200x200"),
    (template() - (200, 0), "around (-144, 72), outside"),
])  # fmt: skip
def test_what_is_no_face_is_told(points, words):
    with pytest.raises(ValueError) as told:
        check_points(points, 200, 200)
    assert words in str(told.value)


def test_faces_seen_from_the_side_upside_down_or_over_the_rim_pass():
    profile = (template() - template().mean(0)) * (0.02, 1) + 60
    for points in (profile, placed(np.pi, 1, (112, 112)), template() - (40, 0)):
        check_points(points, 112, 112)

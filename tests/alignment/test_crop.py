"""Crops with a known result, and parity with InsightFace's norm_crop and estimate_norm."""

import sys
import warnings

import numpy as np
import pytest

from aird_plugin.alignment.crop import align_face, check_points, face_px, likeness, similarities, similarity, template
from tests.skips import needs

needs("skimage")


def transformed(angle: float, scale: float, shift: tuple, side: int = 112) -> np.ndarray:
    """The template's landmarks rotated (radians) and scaled about the origin, then shifted."""
    cosine, sine = np.cos(angle), np.sin(angle)
    return template(side) @ (scale * np.array([[cosine, sine], [-sine, cosine]])) + shift


def test_template_landmarks_give_the_identity(noise_faces):
    np.testing.assert_allclose(similarity(template()), [[1, 0, 0], [0, 1, 0]], atol=1e-12)
    image_HWC = noise_faces(1)[0]
    assert np.array_equal(align_face(image_HWC, template()), image_HWC)
    assert np.array_equal(align_face(np.pad(image_HWC, ((3, 0), (5, 0), (0, 0))), template() + (5, 3)), image_HWC)


def test_quarter_turn_is_undone_exactly(noise_faces):
    """A pixel at (x, y) moves to (y, 111 - x): whole pixels, so the crop is exact."""
    image_HWC = noise_faces(1)[0]
    x, y = template().T
    rotated_HWC = np.ascontiguousarray(np.rot90(image_HWC))
    assert np.array_equal(align_face(rotated_HWC, np.stack([y, 111 - x], 1)), image_HWC)


@pytest.mark.parametrize(("angle", "scale", "shift"), [(0.0, 2.0, (0, 0)), (0.5, 0.1, (40, -7)), (-3.0, 30.0, (900, 4000))])
def test_rotation_scale_and_shift_are_undone(angle, scale, shift):
    points_52 = transformed(angle, scale, shift)
    matrix = similarity(points_52)
    np.testing.assert_allclose(points_52 @ matrix[:, :2].T + matrix[:, 2], template(), atol=1e-6)
    assert face_px(points_52) == pytest.approx(112 * scale) and likeness(points_52) == pytest.approx(1)
    np.testing.assert_allclose(similarity(points_52, 224), 2 * matrix, atol=1e-9)


def test_crop_is_bilinear_and_black_outside_the_photo():
    """A photo shifted by half a pixel: the mean of two neighbours, and half the grey level at the rim, also of a bright photo."""
    photo_HWC = np.zeros((112, 112, 3), np.uint8)
    photo_HWC[:, ::2] = 100
    photo_HWC[:, 0] = 200
    crop_HWC = align_face(photo_HWC, template() - (0.5, 0))
    assert (crop_HWC[:, 0] == 100).all() and (crop_HWC[:, 1] == 100).all() and (crop_HWC[:, 2:] == 50).all()
    assert (align_face(np.full_like(photo_HWC, 200), template() - (0.5, 0))[:, 0] == 100).all()
    assert not align_face(photo_HWC, template() + (500, 0)).any()


@pytest.fixture
def photo_HWC(noise_faces):
    """Noise, the hardest case for resampling."""
    photo_HWC = noise_faces(1, side=400)[0][:300]
    assert photo_HWC.shape == (300, 400, 3)
    return photo_HWC


def test_crop_equals_insightface_norm_crop(photo_HWC):
    """A hundred faces, rotated, small, large, across the rim. Within a grey level of OpenCV 5; 4 rounds positions to 1/32 px."""
    face_align = needs("insightface.utils.face_align")
    cv2 = needs("cv2")
    opencv5 = int(cv2.__version__.split(".")[0]) >= 5
    np.testing.assert_array_equal(template().astype(np.float32), face_align.arcface_dst)
    rng = np.random.default_rng(0)
    differences = []
    for number in range(100):
        scale = rng.uniform(0.05, 2)
        center = np.array([200, 150] if number % 2 else [rng.uniform(0, 400), rng.uniform(0, 20)])
        points_52 = transformed(rng.uniform(-3, 3), scale, (0, 0)) + rng.normal(0, 2 * scale, (5, 2))
        points_52 = (points_52 - points_52.mean(0) + center).astype(np.float32)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # scikit-image 0.26 deprecates InsightFace's call
            matrix = face_align.estimate_norm(points_52)
            expected_HWC = face_align.norm_crop(photo_HWC, points_52)
        np.testing.assert_allclose(similarity(points_52), matrix, rtol=1e-5, atol=1e-4)
        differences.append(np.abs(align_face(photo_HWC, points_52).astype(int) - expected_HWC))
    assert np.max(differences) <= (1 if opencv5 else 12) and np.mean(differences) < (0.01 if opencv5 else 1)


@pytest.mark.parametrize(
    ("points", "words"),
    [
        (np.full((5, 2), 7.0), "are all at (7.0, 7.0)"),
        (template()[:4], "five finite landmarks"),
        (np.where(np.eye(5, 2) > 0, np.nan, template()), "five finite landmarks"),
        ((111, 0) - template() * (1, -1), "mirrored"),
        (template() + (0, 300), "outside a photo of 200x200"),
        (template() - (200, 0), "around (-144, 72), outside"),
    ],
)
def test_invalid_landmarks_are_rejected(points, words):
    with pytest.raises(ValueError) as error:
        check_points(points, 200, 200)
    assert words in str(error.value)


def test_profile_upside_down_and_partly_outside_faces_pass():
    profile = (template() - template().mean(0)) * (0.02, 1) + 60
    for points in (profile, transformed(np.pi, 1, (112, 112)), template() - (40, 0)):
        check_points(points, 112, 112)


def test_missing_scikit_image_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "skimage.transform", None)
    with pytest.raises(ImportError, match=r"pip install aird_plugin\[insightface\]"):
        similarity(template())


def test_similarities_of_many_faces_are_those_of_each():
    rng = np.random.default_rng(0)
    points_F52 = np.stack([transformed(a, s, (40, 7)) + rng.uniform(-4, 4, (5, 2)) for a, s in ((0, 1), (2, 0.3), (-3, 5))])
    mirrored = template() * (-1, 1)
    points_F52 = np.concatenate([points_F52, mirrored[None]])
    expected = [similarity(points_52) for points_52 in points_F52]
    np.testing.assert_allclose(similarities(points_F52), expected, atol=1e-9)
    assert np.isnan(similarities(np.stack([np.ones((5, 2)), np.full((5, 2), np.nan)]))).all()

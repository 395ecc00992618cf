"""From an uploaded file to an aligned face."""

import io

import numpy as np
import pytest
from PIL import Image

from aird_plugin.data.images import encode_jpeg
from aird_plugin.data.synthetic.draw import draw_person
from aird_plugin.demo.face_crop import extract_face, open_detector, png

FACE = draw_person(2, 3)


def encoded(image, kind: str = "PNG", **options) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, kind, **options)
    return file.getvalue()


class NoFaceDetector:
    def find(self, name, photo_HWC):
        from aird_plugin.alignment.detections import Detections

        return Detections(np.empty((0, 5, 2)), np.empty(0))


class TwoFaceDetector:
    """A face of 56 px in the middle, one of 28 px in the corner."""

    def find(self, name, photo_HWC):
        from aird_plugin.alignment.crop import template
        from aird_plugin.alignment.detections import Detections

        return Detections(np.stack([template(28), template(56) + 84]), np.array([0.9, 0.8]))


def test_aligned_crop_is_unchanged():
    face = extract_face(png(FACE))
    assert np.array_equal(face.face_HWC, FACE) and face.px == 112.0 and face.notes == []


@pytest.mark.parametrize(
    ("shape", "px", "message"),
    [
        ((112, 160), 112.0, "160x112 pixels"),
        ((40, 20), 20.0, "20x40 pixels"),
        ((300, 300), 112.0, None),
        ((4, 4), 4.0, None),
    ],
)
def test_center_square_is_used_with_a_note(shape, px, message):
    height, width = shape
    image = np.asarray(Image.fromarray(FACE).resize((width, height)))
    face = extract_face(encoded(image))
    side = min(shape)
    top, left = (height - side) // 2, (width - side) // 2
    square = Image.fromarray(image[top : top + side, left : left + side])
    assert np.array_equal(face.face_HWC, square.resize((112, 112), Image.Resampling.BICUBIC)) and face.px == px
    assert [message in note for note in face.notes] == ([True] if message else [])


def test_photo_is_rotated_upright():
    exif = Image.Exif()
    exif[0x0112] = 6
    rotated = np.ascontiguousarray(np.rot90(FACE))
    assert np.array_equal(extract_face(encoded(rotated, exif=exif)).face_HWC, FACE)


def test_photo_without_a_detected_face_is_used_as_a_crop():
    face = extract_face(png(FACE), NoFaceDetector())
    assert np.array_equal(face.face_HWC, FACE) and face.notes == ["No face detected: the image is used as an aligned crop."]


def test_detected_face_is_aligned_and_has_its_px(noise_faces):
    photo = np.full((224, 224, 3), 90, np.uint8)
    photo[84:140, 84:140] = noise_faces(1, 56)[0]
    face = extract_face(png(photo), TwoFaceDetector())
    # The crop samples the photo from pixel 84 in steps of a half: every second pixel is a pixel of the photo.
    assert np.array_equal(face.face_HWC[::2, ::2], photo[84:140, 84:140])
    assert face.px == pytest.approx(56) and face.notes == ["2 faces detected: the large and central one is used."]


def test_insightface_detector_class(detectors, photo_of):
    face = extract_face(png(photo_of(("large", 208, 208))), open_detector(str(detectors / "det_markers.onnx")))
    assert face.px == pytest.approx(112, abs=1) and face.notes == []
    assert abs(face.face_HWC.astype(int) - photo_of(("large", 208, 208))[224:336, 224:336]).mean() < 3


def test_requested_detector_must_exist(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert open_detector(None) is None
    with pytest.raises(FileNotFoundError, match="--detector none.onnx: no such .onnx file"):
        open_detector("none.onnx")


@pytest.mark.parametrize(
    ("payload", "message"),
    [
        (b"", "the image: 0 bytes that are no readable image"),
        (b"<svg/>", "not JPEG, PNG, BMP, WEBP"),
        (png(FACE)[:3000], "truncated"),
        (encode_jpeg(FACE)[:1500], "truncated"),
        (encoded(FACE, "GIF"), "not JPEG, PNG, BMP, WEBP"),
        (encoded(np.zeros((8200, 8200), np.uint8)), "8200x8200 pixels"),
        (encoded(FACE[:3]), "112x3 pixels; a face needs at least 4"),
    ],
)
def test_unreadable_image_is_rejected_in_one_line(payload, message):
    with pytest.raises(ValueError, match=message):
        extract_face(payload)

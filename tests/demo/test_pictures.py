"""From a stranger's file to an aligned face."""

import io

import numpy as np
import pytest
from PIL import Image

from aird_plugin.data.images import encode_jpeg
from aird_plugin.data.synthetic import draw_person
from aird_plugin.demo.pictures import face_in, open_detector, png

FACE = draw_person(2, 3)


def saved(picture, kind: str = "PNG", **options) -> bytes:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, kind, **options)
    return file.getvalue()


class FindsNothing:
    def find(self, name, photo_HWC):
        from aird_plugin.alignment.found import Found

        return Found(np.empty((0, 5, 2)), np.empty(0))


class FindsTwo:
    """A face of 56 px in the middle, one of 28 px in the corner."""

    def find(self, name, photo_HWC):
        from aird_plugin.alignment.found import Found
        from aird_plugin.data.align import template

        return Found(np.stack([template(28), template(56) + 84]), np.array([0.9, 0.8]))


def test_an_aligned_crop_stays_what_it_is():
    face = face_in(png(FACE))
    assert np.array_equal(face.face_HWC, FACE) and face.px == 112.0 and face.notes == []


@pytest.mark.parametrize(("shape", "px", "told"), [
    ((112, 160), 112.0, "160x112 is no square"), ((40, 20), 20.0, "20x40 is no square"),
    ((300, 300), 112.0, None), ((4, 4), 4.0, None),
])  # fmt: skip
def test_the_centre_square_is_taken_and_said_to_be(shape, px, told):
    height, width = shape
    picture = np.asarray(Image.fromarray(FACE).resize((width, height)))
    face = face_in(saved(picture))
    side = min(shape)
    top, left = (height - side) // 2, (width - side) // 2
    square = Image.fromarray(picture[top : top + side, left : left + side])
    assert np.array_equal(face.face_HWC, square.resize((112, 112), Image.Resampling.BICUBIC)) and face.px == px
    assert [told in note for note in face.notes] == ([True] if told else [])


def test_a_photo_is_turned_upright():
    exif = Image.Exif()
    exif[0x0112] = 6
    lying = np.ascontiguousarray(np.rot90(FACE))
    assert np.array_equal(face_in(saved(lying, exif=exif)).face_HWC, FACE)


def test_where_the_detector_finds_no_face_the_crop_is_taken():
    face = face_in(png(FACE), FindsNothing())
    assert np.array_equal(face.face_HWC, FACE) and face.notes == ["The detector found no face: taken as an aligned crop."]


def test_the_detectors_face_is_aligned_and_its_px_told(noise_faces):
    photo = np.full((224, 224, 3), 90, np.uint8)
    photo[84:140, 84:140] = noise_faces(1, 56)[0]
    face = face_in(png(photo), FindsTwo())
    # The crop reaches from pixel 84 on by halves: every second pixel of it is one of the photo's.
    assert np.array_equal(face.face_HWC[::2, ::2], photo[84:140, 84:140])
    assert face.px == pytest.approx(56) and face.notes == ["2 faces: the large and central one was taken."]


def test_insightfaces_own_detector_class(detectors, photo_of):
    face = face_in(png(photo_of(("large", 208, 208))), open_detector(str(detectors / "det_markers.onnx")))
    assert face.px == pytest.approx(112, abs=1) and face.notes == []
    assert abs(face.face_HWC.astype(int) - photo_of(("large", 208, 208))[224:336, 224:336]).mean() < 3


def test_a_detector_that_is_asked_for_must_be_there(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert open_detector(None) is None
    with pytest.raises(FileNotFoundError, match="--detector none.onnx: no such .onnx file"):
        open_detector("none.onnx")


@pytest.mark.parametrize(("payload", "message"), [
    (b"", "the picture: 0 bytes that are no readable image"), (b"<svg/>", "not JPEG, PNG, BMP, WEBP"),
    (png(FACE)[:3000], "truncated"), (encode_jpeg(FACE)[:1500], "truncated"), (saved(FACE, "GIF"), "not JPEG, PNG, BMP, WEBP"),
    (saved(np.zeros((8200, 8200), np.uint8)), "8200x8200 pixels, allowed are"), (saved(FACE[:3]), "112x3 pixels; a face has 4"),
])  # fmt: skip
def test_what_is_no_picture_is_one_sentence(payload, message):
    with pytest.raises(ValueError, match=message):
        face_in(payload)

"""A hand-written teacher, so that the correct input is known."""

import io
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from aird_plugin.data.recordio.face_records import FaceRecords, write_face_records
from aird_plugin.diagnostics import teacher_input

IDENTITIES, CELL = 40, 4


def images_of(identities: int, side: int = 112) -> np.ndarray:
    """Two uint8 images per identity: its own red pattern in the upper half of the center, noise everywhere else."""
    rng = np.random.default_rng(0)
    cells = side // CELL
    images = rng.integers(40, 216, (identities, 2, cells, cells, 3))
    images[:, 1, 6:14, 6:22, 0] = images[:, 0, 6:14, 6:22, 0]
    return images.reshape(-1, cells, cells, 3).repeat(CELL, 1).repeat(CELL, 2).astype(np.uint8)


def png(image_HWC: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image_HWC).save(file, "PNG")
    return file.getvalue()


class RedTeacher:
    """Embeds the red channel in the upper half of the center, scaled from 0..255 to -1..1."""

    def embed(self, images_XHWC):
        cells = images_XHWC[:, 24:56, 24:88, 0].reshape(-1, 8, CELL, 16, CELL)[:, :, 1:3, :, 1:3].mean((2, 4))
        return cells.reshape(len(images_XHWC), -1) / 127.5 - 1


def records(folder, change=lambda images: images):
    images = change(images_of(IDENTITIES))
    write_face_records(folder, ((index // 2, png(image)) for index, image in enumerate(images)))
    return FaceRecords(folder / "train.rec")


def text_of(folder, change=lambda images: images) -> str:
    return "\n".join(str(one) for one in teacher_input.check_teacher_input(RedTeacher(), records(folder, change)))


def test_correct_images_give_no_warning(tmp_path):
    text = text_of(tmp_path)
    assert "WARNING" not in text and "ok      no change of crop, scale or channel order" in text


@pytest.mark.parametrize(
    ("mistake", "words"),
    [
        (lambda images: np.ascontiguousarray(images[..., ::-1]), "better with red and blue swapped"),
        (lambda images: teacher_input.zoom_and_shift(images, 1, -8), "better moved down"),
        (lambda images: teacher_input.zoom_and_shift(images, 1, 8), "better moved up"),
        (lambda images: teacher_input.zoom_and_shift(images, 1 / 1.15, 0), "better zoomed in"),
        (lambda images: teacher_input.zoom_and_shift(images, 1.15, 0), "better zoomed out"),
        (lambda images: np.ascontiguousarray(images[:, ::-1]), "better upside down"),
    ],
)
def test_mistake_is_reported_as_the_change_that_undoes_it(tmp_path, mistake, words, monkeypatch):
    monkeypatch.setattr(teacher_input, "MIN_AUC", 0.0)
    assert words in text_of(tmp_path, mistake)


def test_channel_order_of_grey_images_is_not_checked(tmp_path):
    text = text_of(tmp_path, lambda images: images.mean(-1, keepdims=True).repeat(3, -1).astype(np.uint8))
    assert "note    the images are grey: a swap of RGB and BGR cannot be detected" in text and "swapped (t" not in text


def test_too_few_identities_are_a_note(tmp_path):
    images = images_of(3)
    write_face_records(tmp_path, ((index // 2, png(image)) for index, image in enumerate(images)))
    (diagnostic,) = teacher_input.check_teacher_input(RedTeacher(), FaceRecords(tmp_path / "train.rec"))
    assert (
        diagnostic.status == "note" and "identities with two images: 3; the teacher is checked on 20 or more" in diagnostic.what
    )


def test_single_images_are_a_note(tmp_path):
    write_face_records(tmp_path, ((index, png(image)) for index, image in enumerate(images_of(2))))
    (diagnostic,) = teacher_input.check_teacher_input(RedTeacher(), FaceRecords(tmp_path / "train.rec"))
    assert "identities with two images: 0; " in diagnostic.what


def test_implausible_teacher_is_a_warning(tmp_path):
    random_teacher = SimpleNamespace(embed=lambda images: np.random.default_rng(0).normal(size=(len(images), 8)))
    first, *_ = teacher_input.check_teacher_input(random_teacher, records(tmp_path))
    assert first.status == "warning" and "verification AUC on 40 identities is 0." in first.what


def test_auc_and_margins_by_hand():
    """Genuine cosines 1 and 0, impostor cosines 0.6 and 0.8: one genuine pair beats both impostors, the other none."""
    embeddings = np.array([[1.0, 0], [1.0, 0], [0.6, 0.8], [0.8, -0.6]])
    assert teacher_input.verification_auc(embeddings) == 0.5
    assert teacher_input.margins(embeddings) == pytest.approx([0.2, -0.8])


def test_ties_count_half():
    assert teacher_input.verification_auc(np.ones((6, 1))) == 0.5


def test_two_distinct_rows_per_identity():
    label_N = np.random.default_rng(0).integers(0, 30, 100)
    rows_P2 = teacher_input.two_rows_per_identity(label_N, 1000, np.random.default_rng(1))
    assert (label_N[rows_P2[:, 0]] == label_N[rows_P2[:, 1]]).all() and len(np.unique(rows_P2)) == rows_P2.size
    assert len(rows_P2) == (np.bincount(label_N) > 1).sum()
    assert len(teacher_input.two_rows_per_identity(label_N, 5, np.random.default_rng(1))) == 5


def test_shift_moves_by_whole_pixels():
    image = np.zeros((1, 112, 112, 3), np.uint8)
    image[0, 50, 60] = 255
    assert teacher_input.zoom_and_shift(image, 1, 8)[0, 58, 60, 0] == 255
    assert teacher_input.zoom_and_shift(image, 1, -8)[0, 42, 60, 0] == 255

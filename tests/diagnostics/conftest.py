import pytest

from aird_plugin.data.recordio.face_records import FaceRecords, write_face_records
from tests.diagnostics.test_teacher_input import IDENTITIES, images_of, png


@pytest.fixture
def images():
    return images_of(IDENTITIES)


@pytest.fixture
def records(images, tmp_path):
    write_face_records(tmp_path / "rec", ((index // 2, png(image)) for index, image in enumerate(images)))
    return FaceRecords(tmp_path / "rec" / "train.rec")

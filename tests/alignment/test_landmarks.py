"""Valid and invalid landmark files."""

import numpy as np
import pytest

from aird_plugin.alignment.crop import template
from aird_plugin.alignment.landmarks import Landmarks

POINTS = ",".join(str(value) for value in template().ravel())
ROW = f"ann/a.jpg,{POINTS}"
CELEBA = "lefteye_x lefteye_y righteye_x righteye_y nose_x nose_y leftmouth_x leftmouth_y rightmouth_x rightmouth_y"


def read(tmp_path, text: str, encoding: str = "utf-8") -> Landmarks:
    (tmp_path / "points").write_bytes(text.encode(encoding))
    return Landmarks(str(tmp_path / "points"))


@pytest.mark.parametrize(
    "text",
    [
        ROW,
        f"{ROW}\n",
        f"path,{POINTS}\n{ROW}\r\n\r\n",
        f"\ufeffname,x1\n./{ROW}",
        f'"ann/a.jpg",{POINTS}',
        ROW.replace(",", " , "),
        f"1\n{CELEBA} \nann/a.jpg   {POINTS.replace(',', '  ')}\n",
    ],
)
def test_both_layouts_with_and_without_header(text, tmp_path):
    landmarks = read(tmp_path, text)
    detections = landmarks.find("ann/a.jpg", None)
    assert np.array_equal(detections.points_F52, template()[None]) and np.isnan(detections.scores_F).all()
    assert len(landmarks.find("ann/b.jpg", None).points_F52) == 0


@pytest.mark.parametrize("name", ["a\nb.jpg", "a\rb.jpg", "a\u2028b.jpg", "a\x0cb.jpg"])
def test_a_quoted_name_may_have_a_line_break(name, tmp_path):
    landmarks = read(tmp_path, f'path,{POINTS}\n"{name}",{POINTS}\n{ROW}\n')
    assert [len(landmarks.find(photo, None).points_F52) for photo in (name, "ann/a.jpg")] == [1, 1]


def test_photo_listed_twice_has_two_faces(tmp_path):
    detections = read(tmp_path, f"{ROW}\n{ROW.replace('38.2946', '37')}").find("ann/a.jpg", None)
    assert detections.points_F52.shape == (2, 5, 2) and detections.points_F52[:, 0, 0].tolist() == [38.2946, 37]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "lists no face"),
        ("path,x1\n", "lists no face"),
        (f"{ROW}\n{ROW},7", "line 2 has 12 columns, expected 11: path,x1,y1"),
        (f'"a\nb.jpg",{POINTS}\n\n{ROW},7', "line 4 has 12 columns"),
        (f'{ROW}\n"{"x" * 140_000}', "line 2: field larger than field limit"),
        (ROW.replace(",", ";"), "line 1 has 1 columns"),
        (f"{ROW}\n{ROW.replace('38.2946', 'left')}", "line 2: could not convert string to float: 'left'"),
        (ROW.replace("38.2946", ""), "line 1: could not convert"),
        (ROW.replace("38.2946", "nan"), "line 1: landmarks must be finite numbers, got nan, 51.6963"),
        (ROW.replace("38.2946", "-1e999"), "finite numbers, got -1e999"),
        (f"3\n{CELEBA}\n{ROW.replace(',', ' ')}", "announces 3 faces in its first line, but has 1: it is truncated"),
    ],
)
def test_invalid_file_is_rejected_with_its_line(text, words, tmp_path):
    with pytest.raises(ValueError) as error:
        read(tmp_path, text)
    assert words in str(error.value) and str(tmp_path / "points") in str(error.value)


def test_unreadable_file_is_rejected(tmp_path):
    with pytest.raises(ValueError, match="is not UTF-8 text"):
        read(tmp_path, ROW, "utf-16")
    with pytest.raises(FileNotFoundError, match="nowhere"):
        Landmarks(str(tmp_path / "nowhere.csv"))

"""faces.csv and JSON lines of any file name and identity."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from aird_plugin.data.images import encode_jpeg
from aird_plugin.recognition.match import NO_FACE, Match
from aird_plugin.recognition.output import json_lines, summary
from aird_plugin.recognition.recognise import FaceRow, Recognition
from tests.recognition.commands import command

# Latin-1, as old archives hold it: Python reads the byte as a lone surrogate.
NAME = os.fsdecode(b"caf\xe9.jpg")


@pytest.fixture
def folder(tmp_path, photo_of):
    """A folder with one frame whose name is not UTF-8."""
    (tmp_path / "latin").mkdir()
    try:
        (tmp_path / "latin" / NAME).write_bytes(encode_jpeg(photo_of(("large", 0, 0))))
    except OSError:
        pytest.skip("this file system allows UTF-8 names alone")
    return tmp_path / "latin"


def test_json_lines_are_utf_8_and_return_the_names():
    face = FaceRow(0, NAME, 0, 0.0, 0.0, 9.0, 9.0, float("nan"), "hr", "Zoë\udce9", 0.5, None)
    match = Match("Zoë\udce9", 0.5, None, None, "", [("Zoë\udce9", 0.5)], None, None)
    lines = json_lines(Recognition([face], [match], [1], 1, []))
    assert "Zoë".encode() in lines
    stored = json.loads(lines.decode("utf-8"))
    assert (stored["source"], stored["name"], stored["candidates"][0][0]) == (NAME, "Zoë\udce9", "Zoë\udce9")
    assert os.fsencode(stored["source"]) == b"caf\xe9.jpg"


def test_summary_of_a_photo_with_one_face():
    match = Match("ann", 0.5, 0.2, 0.01, "", [("ann", 0.5)], 40.0, "hr")
    lines = summary(Recognition([FaceRow(0, "a.jpg", 0, 0.0, 0.0, 9.0, 9.0, 40.0, "hr", "ann", 0.5, 0.2)], [match], [1], 1, []))
    assert lines.splitlines() == ["1 frame: 1 face in 1 track", "  ann: 1 track, 1 face, highest cosine 0.500"]


def test_summary_gives_no_cosine_where_no_face_was_embedded():
    row = FaceRow(0, "a.jpg", 0, 0.0, 0.0, 9.0, 9.0, 40.0, "", "", float("nan"), None)
    assert summary(Recognition([row], [NO_FACE], [1], 1, [])).splitlines()[1] == "  no decision: 1 track, 1 face"


def test_name_that_is_not_utf_8_in_files(folder, gallery, pack, tmp_path, capsys):
    assert command(folder, gallery, pack, "--out", tmp_path / "out", "--json", "--no-tracks") == 0
    assert json.loads((tmp_path / "out" / "faces.jsonl").read_bytes())["source"] == NAME
    with (tmp_path / "out" / "faces.csv").open(newline="", errors="surrogateescape") as file:
        assert next(csv.DictReader(file))["source"] == NAME


def aird(*words, encoding):
    """The command in a process of its own, with the output encoding of a terminal or a pipe."""
    return subprocess.run(
        [sys.executable, "-m", "aird_plugin", *map(os.fsencode, map(str, words))],
        env=os.environ | {"PYTHONIOENCODING": encoding},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        timeout=120,
    )


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_name_that_is_not_utf_8_on_the_terminal(folder, gallery, pack, encoding):
    done = aird("recognise", folder, "--gallery", gallery, "--models", pack, "--json", "--no-tracks", encoding=encoding)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["source"] == NAME


def test_output_folder_that_is_not_utf_8(folder, gallery, pack, tmp_path):
    out = tmp_path / os.fsdecode(b"r\xe9sultat")
    done = aird("recognise", folder, "--gallery", gallery, "--models", pack, "--out", out, "--no-tracks", encoding="utf-8")
    assert done.returncode == 0, done.stderr
    assert b"r\\udce9sultat/faces.csv" in done.stdout

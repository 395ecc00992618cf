"""What is read from photos, folders, animations and videos, and what is said of frames that cannot be read."""

import os
import re

from aird_plugin.recognition.frames import FrameSource
from tests.recognition.commands import command


def test_replaced_input_of_the_same_size_is_another_input(frames, gallery, pack, tmp_path, capsys):
    for name in ("000.jpg", "."):
        given = frames / name
        out = tmp_path / f"out of {name}"
        assert command(given, gallery, pack, "--out", out, "--no-tracks", "--no-faces") == 0
        file = frames / "000.jpg"
        stat = file.stat()
        os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1_000_000))
        assert command(given, gallery, pack, "--out", out, "--no-tracks", "--no-faces") == 1
        assert "names, sizes and times of the input files was" in capsys.readouterr().err


def test_two_frames_that_swap_their_names_are_another_input(tmp_path):
    for name, content in (("a.jpg", b"1"), ("b.jpg", b"22")):
        (tmp_path / name).write_bytes(content)
        os.utime(tmp_path / name, ns=(0, 0))
    before = FrameSource(tmp_path).describe()
    (tmp_path / "a.jpg").rename(tmp_path / "c.jpg")
    (tmp_path / "b.jpg").rename(tmp_path / "a.jpg")
    (tmp_path / "c.jpg").rename(tmp_path / "b.jpg")
    assert FrameSource(tmp_path).describe() != before


def test_output_folder_of_an_earlier_version_resumes(frames, gallery, pack, tmp_path):
    out = tmp_path / "out"
    assert command(frames, gallery, pack, "--out", out, "--no-tracks", "--no-faces") == 0
    settings = (out / "recognise.json").read_text()
    earlier = re.sub(r'\n "names, sizes and times of the input files": "\w+",', "", settings)
    assert earlier != settings
    (out / "recognise.json").write_text(earlier)
    assert command(frames, gallery, pack, "--out", out, "--no-tracks", "--no-faces") == 0

"""README's Python blocks run on a pack of small random networks and drawn faces."""

import re
import shutil
from pathlib import Path

import cv2
import numpy as np

from aird_plugin.data.synthetic.draw import draw_person

BLOCKS = re.findall(r"^```python\n(.*?)^```", (Path(__file__).parents[2] / "README.md").read_text(), re.M | re.S)


def test_python_blocks_run(pack, frame, tmp_path, monkeypatch, capsys):
    shutil.copytree(pack, tmp_path / "buffalo_l", ignore=shutil.ignore_patterns("tiny"))
    shutil.copytree(pack / "tiny", tmp_path / "tiny_faces")
    (tmp_path / "people").mkdir()
    cv2.imwrite(str(tmp_path / "people" / "anna.png"), frame)
    monkeypatch.chdir(tmp_path)
    embedding, recognition = BLOCKS
    given = {"crops": np.stack([draw_person(0, 1), draw_person(0, 2)]), "frame": frame}
    exec(compile(embedding, "README.md", "exec"), given)
    exec(compile(recognition, "README.md", "exec"), given)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("cosine ") and -1 <= float(lines[0].split()[1]) <= 1
    # A face of 112 px has a threshold and is found again; each of the three faces has a line.
    assert len(lines) == 4 and any(line.startswith("anna 1.0") or line.startswith("anna 0.99") for line in lines)

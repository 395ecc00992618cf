"""The names that the package offers, and the code blocks of docs/api.md in order, on a tiny run."""

import re
import shutil
from pathlib import Path

import pytest
from PIL import Image

import aird_plugin
from tests.recognition.conftest import write_export, write_hr
from tests.runs import write_recipe
from tests.skips import needs

PAGE = (Path(__file__).parents[1] / "docs" / "api.md").read_text()
ALL_BLOCKS = re.findall(r"^```python\n(.*?)^```", PAGE, re.M | re.S)
# Needs other files than the others, and the insightface extra.
[RECOGNITION] = [block for block in ALL_BLOCKS if "TinyFaceAnalysis(" in block]
BLOCKS = [block for block in ALL_BLOCKS if block != RECOGNITION]


@pytest.fixture
def workspace(tiny_run, pairs_file, tmp_path, monkeypatch):
    """A working folder with a finished run of one epoch, its teacher, pairs, two photos and a recipe."""
    from aird_plugin.config.recipe import from_flat
    from aird_plugin.data.synthetic.draw import draw_person
    from aird_plugin.training.loop import train

    train(from_flat(tiny_run | {"output": str(tmp_path / "runs" / "student"), "num_epoch": 1}))
    write_recipe(tmp_path / "recipe.py", tiny_run)
    shutil.copy(tiny_run["teacher"], tmp_path / "teacher.pt")
    shutil.copy(pairs_file, tmp_path / "pairs.bin")
    for shot in (1, 2):
        Image.fromarray(draw_person(0, shot)).save(tmp_path / f"anna{shot}.png")
    monkeypatch.chdir(tmp_path)


def test_the_page_runs_in_order(workspace):
    names: dict = {"__name__": "api"}
    for block in BLOCKS:
        exec(compile(block, "docs/api.md", "exec"), names)
    assert len(BLOCKS) >= 7
    assert names["row"]["protocol"] == "lr-hr" and -1 <= names["first_D"] @ names["second_D"] <= 1
    assert names["adapted_BD"].shape[0] == 2 and names["student_BD"].grad.abs().sum() > 0
    assert (Path("runs") / "mine" / "model.pt").is_file()


def test_the_recognition_block_finds_the_enrolled_face(detectors, photo_of, tmp_path, monkeypatch):
    onnx, pack = needs("onnx"), tmp_path / "pack"
    pack.mkdir()
    shutil.copy(detectors / "det_markers.onnx", pack)
    write_hr(onnx, pack / "hr.onnx")
    write_export(pack / "tiny", pack / "hr.onnx")
    (tmp_path / "people" / "anna").mkdir(parents=True)
    for path in (tmp_path / "people" / "anna" / "1.png", tmp_path / "frame.png"):
        Image.fromarray(photo_of(("large", 112, 112))).save(path)
    monkeypatch.chdir(tmp_path)
    names: dict = {"__name__": "api"}
    exec(compile(RECOGNITION, "docs/api.md", "exec"), names)
    [match] = names["matches"]
    assert match.name == "anna" and match.cosine == pytest.approx(1, abs=1e-5)


def test_every_name_exists_and_has_a_row():
    listed = set(re.findall(r"`(\w+)", "\n".join(line for line in PAGE.splitlines() if line.startswith("| `"))))
    assert aird_plugin.PUBLIC.keys() <= listed
    for name in aird_plugin.PUBLIC:
        assert callable(getattr(aird_plugin, name)) and name in dir(aird_plugin)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = aird_plugin.nothing

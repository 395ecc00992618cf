import re
import shutil
from pathlib import Path

import pytest

from aird_plugin.__main__ import main
from aird_plugin.doctor import EXTRAS

STANDIN = Path(__file__).parent / "bridge" / "standin"


def test_a_sound_checkout(capsys):
    assert main(["doctor", "--arcface-torch", str(STANDIN)]) == 0
    told = capsys.readouterr().out
    assert "seam train_v2.PartialFC_V2 (" in told and "FAULT" not in told and told.endswith("no fault found\n")
    assert "mend of mxnet will be applied (its last release wants numpy below 1.24" in told


def test_a_checkout_without_a_seam(capsys, tmp_path):
    shutil.copytree(STANDIN, tmp_path / "a")
    entry = tmp_path / "a" / "train_v2.py"
    entry.write_text(entry.read_text().replace("import CombinedMarginLoss", "import CombinedMarginLoss as Margin"))
    assert main(["doctor", "--arcface-torch", str(tmp_path / "a")]) == 1
    told = capsys.readouterr().out
    assert "FAULT seam train_v2.CombinedMarginLoss is missing: check out one of ab27f4d6" in told and "1 fault(s)" in told


def test_no_checkout_at_all(capsys, tmp_path):
    assert main(["doctor", "--arcface-torch", str(tmp_path)]) == 1
    assert "FAULT arcface_torch: " in capsys.readouterr().out


def test_the_machine_alone(capsys, monkeypatch):
    monkeypatch.setenv("AIRD_DATA", "/nowhere")
    assert main(["doctor"]) == 0
    told = capsys.readouterr().out
    assert "Python 3." in told and "note  no folder AIRD_DATA=/nowhere" in told and "seam" not in told


@pytest.mark.parametrize(("change", "status", "words"), [
    ({}, 0, "48 faces of 8 people"),
    ({"num_image": 47}, 1, "num_image=47, but"),
    ({"val_targets": ("lfw",)}, 1, "FAULT val_targets="),
    ({"teacher": "gone.pt"}, 1, "gone.pt"),
    ({"leaning_rate": 1}, 1, "the nearest is"),
    ({"student_init": "gone.pt"}, 1, "gone.pt"),
    ({"terms": {"gen": "aird_plugin.losses.generative:Generative"}, "prior": "gone"}, 1, "FAULT prior=gone"),
])  # fmt: skip
def test_a_recipe_is_opened_as_a_run_would(change, status, words, tiny_run, tmp_path, capsys):
    recipe = tmp_path / "recipe.py"
    keys = {key: value for key, value in tiny_run.items() if key != "rid_negatives" or "terms" not in change} | change
    recipe.write_text(f"from easydict import EasyDict\nconfig = EasyDict({keys!r})\n")
    assert main(["doctor", str(recipe)]) == status
    assert words in capsys.readouterr().out


def test_overrides_are_checked_with_the_recipe(tiny_run, tmp_path, capsys):
    recipe = tmp_path / "recipe.py"
    recipe.write_text(f"from easydict import EasyDict\nconfig = EasyDict({tiny_run!r})\n")
    assert main(["doctor", str(recipe), "batch_size=6", f"teacher={tmp_path / 'gone.onnx'}"]) == 1
    told = capsys.readouterr().out
    assert f"{recipe} batch_size=6 teacher={tmp_path / 'gone.onnx'}: every key and value is known" in told
    assert f"FAULT teacher={tmp_path / 'gone.onnx'} (teacher): not there" in told and "Model Zoo" in told
    assert main(["doctor", str(recipe), "lrr=1"]) == 1
    assert "the nearest is 'lr'" in capsys.readouterr().out


def test_it_looks_for_every_extra_of_the_package():
    """A line a key: the extra's own name, and a package that only it brings."""
    text = (Path(__file__).parents[1] / "setup.py").read_text()
    extras = set(re.findall(r'^    "(\w+)": \[', text, re.M)) | set(re.findall(r'^EXTRAS\["(\w+)"\]', text, re.M))
    assert set(EXTRAS) == extras - {"dev"}

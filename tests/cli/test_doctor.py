import importlib.metadata
import re
import shutil
from pathlib import Path

import pytest

from aird_plugin.__main__ import main
from aird_plugin.diagnostics.machine import EXTRAS, check_machine
from tests.runs import write_recipe

STANDIN = Path(__file__).parents[1] / "bridge" / "standin"


def test_complete_checkout_has_no_error(capsys):
    assert main(["doctor", "--arcface-torch", str(STANDIN)]) == 0
    text = capsys.readouterr().out
    assert "hook train_v2.PartialFC_V2 (" in text and "ERROR" not in text and text.endswith("no error found\n")
    assert "compatibility patch of mxnet will be applied (its last release needs numpy below 1.24" in text


def test_checkout_without_a_hook(capsys, tmp_path):
    shutil.copytree(STANDIN, tmp_path / "a")
    entry = tmp_path / "a" / "train_v2.py"
    entry.write_text(entry.read_text().replace("import CombinedMarginLoss", "import CombinedMarginLoss as Margin"))
    assert main(["doctor", "--arcface-torch", str(tmp_path / "a")]) == 1
    text = capsys.readouterr().out
    assert "ERROR   hook train_v2.CombinedMarginLoss is missing: check out one of ab27f4d6" in text and "1 error(s)" in text


def test_missing_checkout_is_an_error(capsys, tmp_path):
    assert main(["doctor", "--arcface-torch", str(tmp_path)]) == 1
    assert "ERROR   arcface_torch: " in capsys.readouterr().out


def test_machine_only(capsys, monkeypatch):
    monkeypatch.setenv("AIRD_DATA", "/nowhere")
    assert main(["doctor"]) == 0
    text = capsys.readouterr().out
    assert "Python 3." in text and "note    no folder AIRD_DATA=/nowhere" in text and "hook" not in text


@pytest.mark.parametrize(
    ("change", "status", "words"),
    [
        ({}, 0, "48 images of 8 identities"),
        ({"num_image": 47}, 1, "num_image=47, but"),
        ({"val_targets": ("lfw",)}, 1, "ERROR   val_targets="),
        ({"teacher": "gone.pt"}, 1, "gone.pt"),
        ({"leaning_rate": 1}, 1, "the nearest is"),
        ({"student_init": "gone.pt"}, 1, "gone.pt"),
        ({"terms": {"gen": "aird_plugin.losses.gdrd:GDRD"}, "prior": "gone"}, 1, "ERROR   prior=gone"),
    ],
)
def test_recipe_inputs_are_opened(change, status, words, tiny_run, tmp_path, capsys):
    recipe = tmp_path / "recipe.py"
    keys = {key: value for key, value in tiny_run.items() if key != "rid_negatives" or "terms" not in change} | change
    write_recipe(recipe, keys)
    assert main(["doctor", str(recipe)]) == status
    assert words in capsys.readouterr().out


def test_overrides_are_checked_with_the_recipe(tiny_run, tmp_path, capsys):
    recipe = write_recipe(tmp_path / "recipe.py", tiny_run)
    assert main(["doctor", str(recipe), "batch_size=6", f"teacher={tmp_path / 'gone.onnx'}"]) == 1
    text = capsys.readouterr().out
    assert f"{recipe} batch_size=6 teacher={tmp_path / 'gone.onnx'}: every key and value is known" in text
    assert f"ERROR   teacher={tmp_path / 'gone.onnx'} (teacher): not there" in text and "Model Zoo" in text
    assert main(["doctor", str(recipe), "lrr=1"]) == 1
    assert "the nearest is 'lr'" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["recipe.py", "--gpu"], "--gpu checks the machine with recipes of its own: leave out recipe.py"),
        (["--gpu", "--teacher", "t.onnx", "--pairs", "p.bin"], "give one of them"),
        (["--teacher", "t.onnx", "--pairs", "p.bin", "--arcface-torch", "a"], "no recipe and no --arcface-torch"),
        (["--network", "r50"], "give --teacher FILE"),
        (["--minutes", "3"], "--fake, --only and --minutes belong to --gpu"),
        (["--gpu", "--fake", "--only", "resize"], "leave out --only"),
    ],
)
def test_arguments_that_another_check_would_ignore_are_rejected(words, message, capsys, monkeypatch):
    for name in ("diagnostics.gpu.suite.run_checks", "diagnostics.gpu.fake.run_fake", "models.load.load_teacher"):
        monkeypatch.setattr(f"aird_plugin.{name}", lambda *arguments, **options: pytest.fail("the check began"))
    assert main(["doctor", *words]) == 1
    assert message in capsys.readouterr().err


def test_every_extra_is_checked():
    """Each extra has an entry: its name, and a package that only it installs."""
    text = (Path(__file__).parents[2] / "setup.py").read_text()
    extras = set(re.findall(r'^    "(\w+)": \[', text, re.M)) | set(re.findall(r'^EXTRAS\["(\w+)"\]', text, re.M))
    assert set(EXTRAS) == extras - {"dev"}


def test_a_package_for_gpus_counts_as_the_one_for_cpus(monkeypatch):
    """Of onnxruntime-gpu, `aird doctor` said "no onnxruntime" and to install it: the two overwrite each other's files."""
    versions = {"onnxruntime-gpu": "1.20.0", "faiss-gpu-cu12": "1.9.0"}

    def version(package):
        if package not in versions:
            raise importlib.metadata.PackageNotFoundError(package)
        return versions[package]

    distributions = {"onnxruntime": ["onnxruntime-gpu"], "faiss": ["faiss-gpu-cu12"]}
    monkeypatch.setattr(importlib.metadata, "version", version)
    monkeypatch.setattr(importlib.metadata, "packages_distributions", lambda: distributions)
    lines = [str(diagnostic) for diagnostic in check_machine()]
    assert {"ok      onnxruntime-gpu 1.20.0", "ok      faiss-gpu-cu12 1.9.0"} <= set(lines)
    assert [line for line in lines if "no onnxruntime" in line or "no faiss" in line] == []
    assert any("no scikit-learn" in line for line in lines)

"""Files that version 0.1.0 wrote are still read: run folders of both training loops, a bank, an exported folder, a recipe, rows.

fixtures/version_0.1.0.zip holds six identities of four images each, a teacher, its bank, `recipe.py` with that version's class
paths, `run` (the native loop, stopped at step 4 of 6), `hosted` (inside arcface_torch, its checkpoint of step 3), `whole` and
`hosted_model.pt` (both finished without a stop), `exported` (of `whole`) and `rows.json` (`aird evaluate whole`).
"""

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from aird_plugin.__main__ import main
from aird_plugin.config.aliases import CLASSES, MODULES, PACKAGE, current_name
from aird_plugin.config.recipe import load
from tests.runs import metrics
from tests.skips import needs

ARCHIVE = Path(__file__).parent / "fixtures" / "version_0.1.0.zip"
STANDIN = str(Path(__file__).parent / "bridge" / "standin")
# Other processors round differently; after the two or three resumed steps the weights stay this close.
CLOSE = {"rtol": 1e-3, "atol": 1e-4}


@pytest.fixture
def saved(tmp_path, monkeypatch) -> Path:
    """The archive's contents, as the working directory: its recipe names relative paths."""
    with zipfile.ZipFile(ARCHIVE) as archive:
        archive.extractall(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def assert_same_weights(path: Path, expected: Path) -> None:
    found, right = (torch.load(file, weights_only=True) for file in (path, expected))
    assert found.keys() == right.keys()
    for name in right:
        torch.testing.assert_close(found[name], right[name], **CLOSE, msg=lambda m, n=name: f"{n}: {m}")


def test_stopped_run_resumes_and_equals_the_uninterrupted_one(saved, capsys):
    bank = {path: path.stat().st_mtime_ns for path in (saved / "bank").rglob("*.npy")}
    assert main(["train", "recipe.py"]) == 0
    assert_same_weights(saved / "run" / "model.pt", saved / "whole" / "model.pt")
    before, now = (json.loads((saved / run / "evaluation.json").read_text()) for run in ("whole", "run"))
    assert [(row["px"], row["protocol"]) for row in now] == [(row["px"], row["protocol"]) for row in before]
    assert [row["accuracy"] for row in now] == pytest.approx([row["accuracy"] for row in before], abs=5.0)
    # The existing bank is used, not rebuilt.
    assert bank == {path: path.stat().st_mtime_ns for path in (saved / "bank").rglob("*.npy")}
    steps = [line["step"] for line in metrics(saved / "run")]
    assert steps == [6]


def test_run_inside_arcface_torch_resumes(saved):
    assert main(["train", "recipe.py", "output=hosted", "--arcface-torch", STANDIN]) == 0
    assert_same_weights(saved / "hosted" / "model.pt", saved / "hosted_model.pt")


def test_native_loop_resumes_an_arcface_torch_run(saved):
    assert main(["train", "recipe.py", "output=hosted"]) == 0
    assert_same_weights(saved / "hosted" / "model.pt", saved / "hosted_model.pt")


def test_other_recipe_is_rejected_by_key(saved, capsys):
    assert main(["train", "recipe.py", "rid_weight=3"]) == 1
    assert "rid_weight was 2.0, now 3.0" in capsys.readouterr().err


def test_finished_run_evaluates_to_the_same_row(saved):
    assert main(["evaluate", "whole", "--pairs", "pairs.bin", "--px", "8", "--json", "now.json"]) == 0
    (before,), (now,) = (json.loads((saved / name).read_text()) for name in ("rows.json", "now.json"))
    assert now.keys() == before.keys() | {"include_bn1d"} and now["made"].keys() == before["made"].keys() | {"inputs"}
    same = [
        key for key in before if key not in ("made", "accuracy", "accuracy_std", "accuracy_best", "auc", "ci95", "n_near", "tar")
    ]
    assert {key: now[key] for key in same} == {key: before[key] for key in same}
    assert now["made"]["sha256"] == before["made"]["sha256"]
    assert now["accuracy"] == pytest.approx(before["accuracy"], abs=5.0) and now["auc"] == pytest.approx(before["auc"], abs=0.02)


def test_exported_folder_evaluates_as_its_run(saved):
    needs("onnxruntime")
    rows = []
    for model in ("exported", "exported/native/exported_8.onnx", "whole"):
        assert main(["evaluate", model, "--pairs", "pairs.bin", "--px", "8", "--json", "now.json"]) == 0
        rows += json.loads((saved / "now.json").read_text())
    assert np.ptp([row["auc"] for row in rows]) < 0.02


def test_export_adapt_and_report_read_an_old_run(saved, capsys):
    needs("onnxruntime")
    assert main(["export", "whole", "--out", "again", "--faces", "pairs.bin", "--count", "8"]) == 0
    assert main(["adapt", "whole", "pairs.bin", "--out", "adapted"]) == 0
    assert main(["report", "whole", "run", "--out", "report.html"]) == 0
    assert (saved / "report.html").stat().st_size


def test_every_old_class_path_has_a_current_class(saved):
    terms = load("recipe.py").terms
    assert [type(spec).__name__ for spec in terms.values()] == ["IID", "RID", "CosineRegression"]
    for old in CLASSES:
        module, _, name = current_name(PACKAGE + old).partition(":")
        assert hasattr(__import__(module, fromlist=[name]), name)
    assert set(MODULES) <= {old.partition(":")[0] for old in CLASSES}
    assert current_name("my_module:MyTerm") == "my_module:MyTerm" and current_name(None) is None

"""A run with several teachers: the bank and the online path agree, and its files name every teacher."""

import json
from pathlib import Path

import pytest
import torch

from aird_plugin.__main__ import main
from aird_plugin.config.recipe import from_flat
from aird_plugin.models import build
from aird_plugin.training.build import build_setup
from tests.runs import write_recipe


@pytest.fixture
def keys(tiny_run, tmp_path):
    """The tiny run with a second teacher."""
    torch.manual_seed(5)
    torch.save(build("native112_0.05m", 8).state_dict(), tmp_path / "second.pt")
    teacher = (tiny_run["teacher"], str(tmp_path / "second.pt"))
    return tiny_run | {"teacher": teacher, "bank": str(tmp_path / "bank"), "output": str(tmp_path / "run"), "num_epoch": 1}


@pytest.mark.parametrize(("join", "width"), [("mean", 8), ("concat", 16)])
def test_bank_and_online_path_give_the_same_embeddings(keys, join, width):
    keys = keys | {"teacher_join": join, "teacher_input": (None, {"color": "bgr"})}
    from_bank, online = build_setup(from_flat(keys)), build_setup(from_flat(keys | {"online": True}))
    assert from_bank.embedding_size == width == from_bank.bank.dim
    rows, views = torch.arange(6).numpy(), torch.zeros(6, dtype=torch.int64).numpy()
    from aird_plugin.data.records import decode_face

    images = torch.stack([torch.from_numpy(decode_face(online.records, int(row)).copy()) for row in rows])
    expected = torch.nn.functional.normalize(online.teacher.embed_torch(images).cpu())
    # Two roundings to float16 of values below 1, and a mean that is normalised again.
    torch.testing.assert_close(torch.from_numpy(from_bank.bank.embeddings(rows, views)), expected, rtol=0, atol=2**-8)


def test_run_of_an_ensemble_and_its_evaluation(keys, pairs_file, tmp_path, capsys):
    write_recipe(tmp_path / "recipe.py", keys)
    assert main(["train", str(tmp_path / "recipe.py")]) == 0
    metadata = json.loads((tmp_path / "run" / "recipe.json").read_text())
    assert metadata["teacher"]["kind"] == "ensemble" and len(metadata["teacher"]["teachers"]) == 2
    assert metadata["recipe"]["teacher"] == list(keys["teacher"])
    assert main(["train", str(tmp_path / "recipe.py")]) == 0
    words = ["evaluate", str(tmp_path / "run"), "--pairs", str(pairs_file), "--px", "16", "--protocol", "lr-hr"]
    for path in keys["teacher"]:
        words += ["--teacher", path]
    capsys.readouterr()
    assert main(words) == 1
    assert "native student" in capsys.readouterr().err


def test_single_teacher_leaves_its_files_as_they_were(tiny_run, tmp_path):
    keys = tiny_run | {"bank": str(tmp_path / "bank"), "output": str(tmp_path / "run")}
    setup = build_setup(from_flat(keys))
    assert {path.name for path in Path(keys["bank"]).iterdir() if path.is_dir()} == {"teacher-v2", "low16-v2"}
    assert set(setup.metadata["teacher"]) == {"kind", "network", "dim", "sha256", "file", "weights"}
    assert "teacher_input" not in json.loads((Path(keys["bank"]) / "teacher-v2" / "manifest.json").read_text())["inputs"]

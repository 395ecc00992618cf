"""At the start of a run, and on request."""

import pytest

from aird_plugin.__main__ import main
from aird_plugin.data.faces import open_records
from aird_plugin.data.pairs import write_pairs
from aird_plugin.lesson import prepare
from aird_plugin.recipe import from_flat


def leaking(tiny_run, tmp_path) -> dict:
    """The tiny run, tested on two of its own training faces."""
    records = open_records(tiny_run["rec"])
    pictures = [bytes(records.payload(row)) for row in (0, 1, 0, 20)] * 10
    write_pairs(tmp_path / "own.bin", pictures, [1, 0] * 10)
    return tiny_run | {"output": str(tmp_path / "run"), "val_targets": (str(tmp_path / "own.bin"),)}


def test_a_run_begins_with_its_doubts(tiny_run, tmp_path, capsys):
    prepare(from_flat(leaking(tiny_run, tmp_path)))
    assert "DOUBT 3 of 3 pictures of own.bin are training faces" in capsys.readouterr().err


def test_a_run_without_doubts_says_nothing(tiny_run, tmp_path, capsys):
    prepare(from_flat(tiny_run | {"output": str(tmp_path / "run")}))
    assert "DOUBT" not in capsys.readouterr().err


def test_a_teacher_of_noise_is_doubted_from_its_bank(tmp_path, tiny_run, capsys, monkeypatch):
    from aird_plugin.inspection import likeness, run

    monkeypatch.setattr(run, "FEWEST_PEOPLE", 5)
    monkeypatch.setattr(likeness, "LEAST_AUC", 1.01)
    prepare(from_flat(tiny_run | {"output": str(tmp_path / "run")}))
    assert "DOUBT the teacher tells 8 people apart with an AUC of" in capsys.readouterr().err


def test_doctor_counts_doubts_and_still_finds_no_fault(tiny_run, tmp_path, capsys):
    recipe = tmp_path / "recipe.py"
    recipe.write_text(f"from easydict import EasyDict\nconfig = EasyDict({leaking(tiny_run, tmp_path)!r})\n")
    assert main(["doctor", str(recipe)]) == 0
    told = capsys.readouterr().out
    assert "DOUBT 3 of 3 pictures" in told and "probably among the training faces" in told
    assert told.endswith("no fault found, 2 doubt(s)\n")


@pytest.mark.slow
def test_faces15k_and_all_of_lfw_are_caught(aird_data, tmp_path):
    from aird_plugin.inspection.leaks import about_pictures

    records = open_records(str(aird_data / "faces15k"))
    assert "6152 of 7701 pictures of lfw.bin are training faces" in about_pictures(records, aird_data / "lfw" / "lfw.bin").what
    for name in ("lfw_split", "lfw_folds9_10"):
        assert about_pictures(records, aird_data / "lfw" / f"{name}.bin").status == "ok"

"""Warnings at the start of a run, and in `aird doctor`."""

import pytest

from aird_plugin.__main__ import main
from aird_plugin.config.recipe import from_flat
from aird_plugin.data.pairs import write_pairs
from aird_plugin.data.records import open_records
from aird_plugin.diagnostics import checks
from aird_plugin.diagnostics.diagnostic import Diagnostic
from aird_plugin.training.bank import build_bank
from aird_plugin.training.build import build_setup
from tests.runs import write_recipe


def leaking(tiny_run, tmp_path) -> dict:
    """The tiny run, with its own training images as test set."""
    records = open_records(tiny_run["rec"])
    images = [bytes(records.payload(row)) for row in (0, 1, 0, 20)] * 10
    write_pairs(tmp_path / "own.bin", images, [1, 0] * 10)
    return tiny_run | {"output": str(tmp_path / "run"), "val_targets": (str(tmp_path / "own.bin"),)}


def test_run_start_prints_warnings(tiny_run, tmp_path, capsys):
    build_setup(from_flat(leaking(tiny_run, tmp_path)))
    assert "WARNING 3 of 3 images of own.bin are training images" in capsys.readouterr().err


def test_run_start_without_warnings_prints_none(tiny_run, tmp_path, capsys):
    build_setup(from_flat(tiny_run | {"output": str(tmp_path / "run")}))
    assert "WARNING" not in capsys.readouterr().err


@pytest.fixture
def folder_run(tiny_run, tmp_path) -> dict:
    """The tiny run on a folder of images, one of whose identities has a second copy in a hidden folder."""
    records = open_records(tiny_run["rec"])
    for row in range(len(records)):
        file = tmp_path / "faces" / f"{records.labels[row]}" / f"{row}.jpg"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(records.payload(row))
    (tmp_path / "faces" / ".thumbnails").mkdir()
    (tmp_path / "faces" / ".thumbnails" / "1.jpg").write_bytes(records.payload(0))
    places = {"rec": str(tmp_path / "faces"), "bank": str(tmp_path / "bank"), "output": str(tmp_path / "run")}
    return tiny_run | places | {"num_epoch": 1}


def test_what_a_folder_holds_besides_is_a_warning_of_run_doctor_and_bank(folder_run, tmp_path, capsys):
    line = f"WARNING {tmp_path}/faces: 48 images taken; left out: hidden or system folders with images: 1 (.thumbnails)\n"
    assert line in "".join(f"{text}\n" for text in build_bank(from_flat(folder_run)))
    setup = build_setup(from_flat(folder_run))
    assert setup.recipe.head.num_classes == 8 and line in capsys.readouterr().err
    recipe = write_recipe(tmp_path / "recipe.py", folder_run)
    assert main(["doctor", str(recipe)]) == 0 and line in capsys.readouterr().out


def test_implausible_teacher_cache_is_a_warning(tmp_path, tiny_run, capsys, monkeypatch):
    from aird_plugin.diagnostics import teacher_input

    monkeypatch.setattr(checks, "MIN_IDENTITIES", 5)
    monkeypatch.setattr(teacher_input, "MIN_AUC", 1.01)
    build_setup(from_flat(tiny_run | {"output": str(tmp_path / "run")}))
    assert "WARNING the teacher's verification AUC on 8 identities is" in capsys.readouterr().err


def test_doctor_counts_warnings_and_exits_with_zero(tiny_run, tmp_path, capsys):
    recipe = write_recipe(tmp_path / "recipe.py", leaking(tiny_run, tmp_path))
    assert main(["doctor", str(recipe)]) == 0
    text = capsys.readouterr().out
    assert "WARNING 3 of 3 images" in text and "training and test set probably share identities" in text
    # The images of an identity differ by noise alone, and count as one image.
    assert "WARNING 10 of 10 genuine and 0 of 10 impostor pairs of own.bin show one image twice" in text
    assert text.endswith("no error found, 3 warning(s)\n")


@pytest.mark.parametrize("start", [build_setup, build_bank])
def test_input_of_the_teacher_is_checked_before_the_bank_is_built(tiny_run, tmp_path, capsys, monkeypatch, start):
    """Without a bank the check is not limited; a wrong input would make all of the bank worthless."""

    def not_built(*_):
        raise InterruptedError

    monkeypatch.setattr(checks, "check_at_start", lambda *_, unlimited: [Diagnostic("warning", f"unlimited: {unlimited}")])
    monkeypatch.setattr("aird_plugin.training.data.open_image_cache", not_built)
    keys = tiny_run | {"output": str(tmp_path / "run"), "bank": str(tmp_path / "bank")}
    with pytest.raises(InterruptedError):
        start(from_flat(keys))
    assert capsys.readouterr().err == "WARNING unlimited: True\n"
    (tmp_path / "bank" / "teacher-v2").mkdir(parents=True)
    (tmp_path / "bank" / "teacher-v2" / "manifest.json").touch()
    with pytest.raises(InterruptedError):
        start(from_flat(keys))
    assert capsys.readouterr().err == "WARNING unlimited: False\n"


@pytest.mark.slow
def test_faces15k_shares_images_with_lfw_but_not_with_its_splits(aird_data, tmp_path):
    from aird_plugin.diagnostics.leaks import check_shared_images

    records = open_records(str(aird_data / "faces15k"))
    assert (
        "6152 of 7701 images of lfw.bin are training images" in check_shared_images(records, aird_data / "lfw" / "lfw.bin").what
    )
    for name in ("lfw_split", "lfw_folds9_10"):
        assert check_shared_images(records, aird_data / "lfw" / f"{name}.bin").status == "ok"

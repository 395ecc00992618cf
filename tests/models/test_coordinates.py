"""A student of a student embeds into the coordinates of the first teacher: X.onnx -> its own student -> a native student."""

import json
import shutil
from pathlib import Path

import pytest

from aird_plugin.__main__ import main
from aird_plugin.config.recipe import from_flat
from aird_plugin.models.coordinates import foreign_teacher, teacher_entry
from aird_plugin.models.load import load_model, load_teacher
from aird_plugin.recognition.networks import open_models
from aird_plugin.training.loop import train
from tests.recognition.conftest import write_hr
from tests.skips import needs

onnx = needs("onnx")


@pytest.fixture(scope="module")
def models(tiny_run, pairs_file, tmp_path_factory):
    """Folder of x.onnx, other.onnx, the runs `own` (112 px, taught by x.onnx) and `native` (by `own`), and their exports."""
    root = tmp_path_factory.mktemp("chain")
    for seed, name in enumerate(("x", "other")):
        write_hr(onnx, root / f"{name}.onnx", seed)
    common = {key: value for key, value in tiny_run.items() if key != "rid_negatives"} | {"num_epoch": 1, "teacher_network": None}
    common["terms"] = {"align": "aird_plugin.losses.cosine:CosineRegression"}
    own = {"teacher": str(root / "x.onnx"), "network": "native112_0.05m", "bank": str(root / "bank_x")}
    native = {"teacher": str(root / "own"), "teacher_px": 16, "bank": str(root / "bank_own")}
    for name, keys in (("own", own), ("native", native)):
        train(from_flat(common | keys | {"output": str(root / name)}))
        export(root / name, pairs_file)
    return root


def export(run, pairs_file, *more, to: str = "export") -> Path:
    out = run.with_name(f"{run.name}_{to}")
    assert main(["export", str(run), "--out", str(out), "--faces", pairs_file, "--count", "4", *map(str, more)]) == 0
    return out


def without_chain(run: Path, to: Path) -> Path:
    """A copy of a run as older versions recorded it."""
    shutil.copytree(run, to)
    metadata = json.loads((to / "recipe.json").read_text())
    for key in ("weights", "teacher"):
        del metadata["teacher"][key]
    (to / "recipe.json").write_text(json.dumps(metadata))
    return to


def problem(model, teacher) -> str:
    return foreign_teacher(model, load_model(model), load_teacher(teacher))


def test_run_records_the_chain_of_its_teachers(models):
    entry = json.loads((models / "native" / "recipe.json").read_text())["teacher"]
    assert entry == teacher_entry(load_teacher(models / "own")) | {"px": 16} and entry["file"] == "model.pt"
    assert entry["teacher"]["file"] == "x.onnx" and entry["weights"] and entry["teacher"]["weights"] is None
    file = onnx.load(models / "native_export" / "native_export.onnx")
    recorded = json.loads(next(one.value for one in file.metadata_props if one.key == "aird_plugin"))["teacher"]
    assert recorded["weights"] == entry["weights"] and recorded["teacher"]["sha256"] == entry["teacher"]["sha256"]
    assert str(models) not in json.dumps(recorded)


@pytest.mark.parametrize("model", ["native", "native_export", "old", "old_export"])
def test_every_member_of_the_chain_has_the_coordinates(models, pairs_file, tmp_path, model):
    place = models / model
    if model.startswith("old"):
        place = without_chain(models / "native", tmp_path / "old")
        place = export(place, pairs_file) if model == "old_export" else place
    for teacher in ("own", "own_export", "x.onnx"):
        assert problem(place, models / teacher) == ""
    assert "other.onnx" in problem(place, models / "other.onnx")


def test_they_are_opened_together_and_others_are_not(models):
    native, own, x = models / "native_export", models / "own_export", models / "x.onnx"
    for sources in ([x, native], [own, native], [native, own], [x, own, native]):
        assert len(open_models(sources).networks) == len(sources)
    with pytest.raises(ValueError, match="other.onnx .* is not the teacher of"):
        open_models([models / "other.onnx", native])


def test_commands_take_the_first_teacher(models, pairs_file, tmp_path, capsys):
    arguments = ["--pairs", pairs_file, "--px", "16", "--protocol", "lr-hr", "--high-side", "teacher"]
    assert main(["evaluate", str(models / "native"), *arguments, "--teacher", str(models / "x.onnx")]) == 0
    assert "WARNING" not in capsys.readouterr().err
    shutil.copytree(models / "native", tmp_path / "native")
    export(tmp_path / "native", pairs_file, "--thresholds", pairs_file, "--teacher", models / "x.onnx", to="measured")


def test_chain_ends_where_coordinates_do(models, tmp_path):
    """A teacher that was trained with random class centers, or has changed since, has coordinates of its own."""
    shutil.copytree(models / "own", tmp_path / "own")
    file = tmp_path / "own" / "recipe.json"
    metadata = json.loads(file.read_text())
    assert teacher_entry(load_teacher(tmp_path / "own"))["teacher"]["file"] == "x.onnx"
    file.write_text(json.dumps(metadata | {"recipe": metadata["recipe"] | {"head_init": "random"}}))
    assert "teacher" not in teacher_entry(load_teacher(tmp_path / "own"))
    old = without_chain(models / "native", tmp_path / "old")
    recipe = json.loads((old / "recipe.json").read_text())
    recipe["recipe"]["teacher"] = str(tmp_path / "gone")
    (old / "recipe.json").write_text(json.dumps(recipe))
    assert "x.onnx" in problem(old, models / "x.onnx") and problem(old, models / "own") == ""


def test_network_fed_in_another_way_is_foreign_though_its_teacher_is_not(models):
    fed = load_teacher(models / "own", teacher_input={"color": "bgr"})
    assert "fed with {'color': 'bgr'}" in foreign_teacher(models / "native", load_model(models / "native"), fed)
    fed = load_teacher(models / "x.onnx", teacher_input={"color": "bgr"})
    assert "fed with" in foreign_teacher(models / "native", load_model(models / "native"), fed)

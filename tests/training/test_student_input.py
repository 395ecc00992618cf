"""An .onnx student is fed after training, a reload, another start and `aird export` as it was fed in training."""

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from aird_plugin.__main__ import main
from aird_plugin.config.recipe import from_flat
from aird_plugin.evaluation.embed import embed
from aird_plugin.export.check import minimum_cosine
from aird_plugin.models.load import load_model, load_onnx_student
from aird_plugin.models.teacher_input import TeacherInput
from aird_plugin.recognition.calibration_files import find_sections
from aird_plugin.recognition.networks import open_models
from aird_plugin.training.loop import train
from aird_plugin.training.resumed_run import check_same_start
from tests.export.test_export import stand_in_detector
from tests.models.onnx_files import network, write_network
from tests.skips import needs

onnx = needs("onnx")
needs("onnxruntime")
from tests.models.onnx_variants import write_variant  # noqa: E402


class Fed(NamedTuple):
    """A run of a student, how its file is fed, and the run's keys."""

    run: Path
    input: TeacherInput
    keys: dict[str, Any]


def write_manifest(file: Path, std: float) -> None:
    """InsightFace's manifest V2 beside the file."""
    task = {"file": file.name, "sha256": hashlib.sha256(file.read_bytes()).hexdigest()}
    task |= {"preprocessing": {"mean": 127.5, "std": std}}
    (file.parent / "manifest.json").write_text(json.dumps({"manifest_version": 2, "tasks": {"recognition": task}}))


@pytest.fixture(scope="module", params=["stated", "manifest"])
def fed(request, tiny_run, tmp_path_factory) -> Fed:
    """A file with two outputs whose input the recipe states, or one whose std is in the manifest beside it."""
    folder = tmp_path_factory.mktemp("fed")
    file = write_network(folder / "teacher.onnx", network("native112_0.05m"), fold=False)
    stated = None
    if request.param == "stated":
        write_variant(file, file, "two embeddings")
        stated = {"color": "bgr", "output": "features"}
    else:
        write_manifest(file, 64)
    own = {"teacher": str(file), "teacher_network": None, "teacher_input": stated, "network": "onnx", "num_epoch": 1}
    own |= {"bank": str(folder / "bank"), "optimizer": "adamw", "lr": 1e-4, "centers": "frozen", "identity_weight": 0.0}
    keys = tiny_run | own | {"output": str(folder / "run")}
    fed_by = load_onnx_student(file, stated).input
    return Fed(train(from_flat(keys)), fed_by, keys)


def test_a_reloaded_run_is_fed_as_in_training(fed):
    assert (fed.input.color, fed.input.std) in [("bgr", (127.5,) * 3), ("rgb", (64.0,) * 3)] and fed.input.output == "features"
    for loaded in (load_model(fed.run), load_onnx_student(fed.run)):
        assert loaded.input == fed.input


def test_a_run_that_starts_from_a_run_is_fed_as_that_one(fed, tmp_path):
    own = {"student_init": str(fed.run), "output": str(tmp_path / "run")}
    assert load_model(train(from_flat(fed.keys | own))).input == fed.input


def test_a_run_states_its_own_input(fed):
    with pytest.raises(ValueError, match="student_input states std=100.0, but .*run was trained with color="):
        load_onnx_student(fed.run, {"std": 100})
    assert load_onnx_student(fed.run, {"std": fed.input.std}).input == fed.input


def test_a_run_does_not_go_on_with_another_input(fed, tmp_path):
    before = json.loads((fed.run / "recipe.json").read_text())
    check_same_start(before, before, "out")
    with pytest.raises(ValueError, match="out fed its student color=.*, now color=.*std=100"):
        check_same_start(before, before | {"input": before["input"] | {"std": 100}}, "out")
    older = {key: value for key, value in before.items() if key != "input"}
    check_same_start(older, before, "out")
    other = fed.keys | {"resume_from": str(fed.run), "student_input": {"std": 100, "output": "features"}}
    with pytest.raises(ValueError, match="has input=.*give a run with the same input"):
        train(from_flat(other | {"output": str(tmp_path / "run")}))


def test_an_adapted_run_is_fed_as_in_training(fed, tmp_path, pairs_file):
    assert main(["adapt", str(fed.run), pairs_file, "--out", str(tmp_path / "adapted")]) == 0
    assert load_model(tmp_path / "adapted").input == fed.input


def test_an_exported_file_is_fed_as_in_training(fed, tmp_path, noise_faces, capsys):
    assert main(["export", str(fed.run), "--out", str(tmp_path / "better"), "--count", "8"]) == 0
    shutil.copy(tmp_path / "better" / "better.onnx", tmp_path / "alone.onnx")
    images_NHWC = noise_faces(3)
    images_NHWC[..., 2] //= 3
    expected_ND = embed(load_model(fed.run), images_NHWC, flip=False, label="")
    found_ND = embed(load_model(tmp_path / "alone.onnx"), images_NHWC, flip=False, label="")
    assert minimum_cosine(found_ND, expected_ND) > 0.999999
    out = capsys.readouterr().out
    assert "1.000000 in onnxruntime, not checked: InsightFace feeds it another way" in out
    card = (tmp_path / "better" / "MODEL_CARD.md").read_text()
    words = f"Input: color={fed.input.color}, mean=127.5, std={fed.input.std[0]}, "
    assert "| InsightFace feeds it another way |" in card and words in card and "get_model(" not in card
    [network] = open_models([tmp_path / "better"]).networks
    assert network.model.input == load_model(tmp_path / "alone.onnx").input


def test_thresholds_with_the_teacher_are_of_the_teacher_as_it_is_fed(fed, tmp_path, pairs_file, capsys):
    """`aird recognise` finds them for the same statement, and only for that."""
    file, stated = Path(fed.keys["teacher"]), fed.keys["teacher_input"]
    options = ["--count", "8", "--thresholds", pairs_file, "--teacher", str(file)]
    if stated:
        wrong = ["--teacher-input", '{"output": "features"}']
        assert main(["export", str(fed.run), "--out", str(tmp_path / "wrong"), *options, *wrong]) == 1
        assert "is not the teacher of" in capsys.readouterr().err
        options += ["--teacher-input", json.dumps(stated)]
    assert main(["export", str(fed.run), "--out", str(tmp_path / "better"), *options]) == 0
    networks = open_models([tmp_path / "better", file], inputs={"teacher": stated} if stated else None).networks
    [section] = find_sections(networks)
    assert {one["network"] for one in section["entries"]} == {network.identity for network in networks}


def test_insightface_server_is_refused_a_file_that_it_feeds_another_way(fed, tmp_path, capsys):
    stand_in_detector(tmp_path / "det.onnx")
    options = ["--out", str(tmp_path / "better"), "--count", "8", "--server", str(tmp_path / "det.onnx")]
    assert main(["export", str(fed.run), *options]) == 1
    assert "InsightFace Server feeds a recogniser by InsightFace's rule, and this one takes color=" in capsys.readouterr().err
    assert not (tmp_path / "better").exists()

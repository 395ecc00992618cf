"""Centring by training means: what the means are, which model they belong to, and that every command subtracts them."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from aird_plugin.__main__ import main
from aird_plugin.config.recipe import from_flat
from aird_plugin.data.pairs import read_pairs
from aird_plugin.evaluation.embed import embed
from aird_plugin.evaluation.pair_evaluator import PairEvaluator
from aird_plugin.evaluation.sides import as_network_input
from aird_plugin.models.load import load_model, load_teacher
from aird_plugin.models.training_means import MEANS_FILE, read_means
from aird_plugin.training import means as training_means
from aird_plugin.training.build import build_setup
from aird_plugin.training.loop import train
from aird_plugin.utils.vectors import normalise
from tests.skips import needs


@pytest.fixture(scope="module")
def run(tiny_run, tmp_path_factory):
    """A finished run of 8 steps."""
    return train(from_flat(keys(tiny_run, tmp_path_factory.mktemp("means"))))


def keys(tiny_run, folder):
    bare = {key: value for key, value in tiny_run.items() if key not in ("terms", "rid_negatives")}
    return bare | {"output": str(folder / "run"), "num_epoch": 1}


@pytest.fixture(scope="module")
def teacher_folder(tiny_run, tmp_path_factory):
    """The teacher with its network's name beside it, as the command line needs."""
    folder = tmp_path_factory.mktemp("teacher")
    (folder / "model.pt").write_bytes(Path(tiny_run["teacher"]).read_bytes())
    (folder / "recipe.json").write_text(json.dumps({"network": tiny_run["teacher_network"]}))
    return str(folder)


def test_means_are_those_of_normalised_embeddings(run, tiny_run, tmp_path):
    student = load_model(run)
    found = read_means(run, student)
    setup = build_setup(from_flat(keys(tiny_run, tmp_path)))
    low_NHWC = np.concatenate([setup.source[number].images_BHWC.numpy() for number in range(6)])
    expected = embed(student, low_NHWC, flip=False).mean(0)
    assert found.images == 48
    np.testing.assert_allclose(found.student_D, expected, atol=1e-6)
    np.testing.assert_allclose(found.teacher_D, setup.bank.embeddings_NVD.astype(float).mean((0, 1)), atol=1e-6)


def test_row_equals_slow_centring_of_each_side(run, tiny_run, pairs_file):
    """Each network's outputs: normalised, its mean subtracted, both flips added, normalised."""
    student, teacher = load_model(run), load_teacher(tiny_run["teacher"], tiny_run["teacher_network"])
    means = read_means(run, student)
    evaluator = PairEvaluator(student, pairs_file, teacher, means=means)
    assert evaluator.evaluate(16, "lr-hr", centre="training")["centre"] == "training"
    images = evaluator.images_UHWC[evaluator.face_2N]
    sides = []
    for network, mean_D, part in (
        (student, means.student_D, as_network_input(images[0::2], 16, 16)),
        (teacher, means.teacher_D, images[1::2]),
    ):
        flips = [part, np.ascontiguousarray(part[:, :, ::-1])]
        sides.append(normalise(sum(embed(network, one, flip=False) - mean_D for one in flips)))
    found = evaluator.embeddings(16, "lr-hr", centre="training")
    np.testing.assert_allclose(found, np.stack(sides, 1).reshape(found.shape), atol=2e-5)
    assert np.abs(found - evaluator.embeddings(16, "lr-hr")).max() > 0.01
    assert len(read_pairs(pairs_file).same) == len(sides[0])


def test_means_of_other_weights_or_another_teacher_are_rejected(run, tiny_run):
    student = load_model(run)
    means = read_means(run, student)
    with pytest.raises(ValueError, match="belong to another teacher"):
        means.center("teacher", student)
    with torch.no_grad():
        next(student.parameters()).add_(1e-3)
    with pytest.raises(ValueError, match="belongs to another model"):
        read_means(run, student)


def test_model_without_means_is_rejected_with_the_way_out(run, tmp_path):
    (tmp_path / "bare.pt").write_bytes((run / "model.pt").read_bytes())
    with pytest.raises(ValueError, match="has no training means.*leave out --training-centre"):
        read_means(tmp_path / "bare.pt", load_model(run))


def test_run_without_a_teacher_has_no_mean_of_one(tiny_run, tmp_path):
    none = {"teacher": None, "teacher_network": None, "head_init": "random", "embedding_size": 8}
    folder = train(from_flat(keys(tiny_run, tmp_path) | none))
    means = read_means(folder, load_model(folder))
    assert means.teacher_D is None and means.student_D.shape == (8,)
    with pytest.raises(ValueError, match="no mean of its teacher's HR embeddings"):
        means.center("teacher", None)


def test_evaluate_and_compare_take_the_flag(run, teacher_folder, pairs_file, tmp_path, capsys):
    arguments = ["--pairs", pairs_file, "--px", "16", "--protocol", "lr-lr", "lr-hr", "--teacher", teacher_folder]
    file = tmp_path / "rows.json"
    assert main(["evaluate", str(run), *arguments, "--training-centre", "--json", str(file)]) == 0
    assert "training" in capsys.readouterr().out
    rows = json.loads(file.read_text())
    assert [row["centre"] for row in rows] == ["training"] * 2
    assert main(["compare", str(run), str(run), *arguments, "--training-centre", "--json", str(file)]) == 0
    assert json.loads(file.read_text())[0]["accuracy_a"] == rows[0]["accuracy"]
    assert main(["evaluate", str(run), *arguments, "--training-centre", "--centre"]) == 1
    assert "exclude each other" in capsys.readouterr().err


def test_identify_takes_the_flag(run, pairs_file, tmp_path):
    file = tmp_path / "rows.json"
    for flags, value in (([], False), (["--training-centre"], "training")):
        assert main(["identify", str(run), pairs_file, "--layout", "bin", "--px", "16", *flags, "--json", str(file)]) == 0
        assert json.loads(file.read_text())[0]["centre"] == value


def test_exported_graph_subtracts_the_mean(run, pairs_file, tmp_path, teacher_folder, capsys):
    needs("onnx")
    needs("onnxruntime")
    out = tmp_path / "centered"
    assert main(["export", str(run), "--out", str(out), "--faces", pairs_file, "--count", "8", "--training-centre"]) == 0
    content = json.loads((out / MEANS_FILE).read_text())
    assert content["student"] is None and len(content["teacher"]) == 8 and "centered too" in (out / "MODEL_CARD.md").read_text()
    student = load_model(run)
    own = PairEvaluator(student, pairs_file, means=read_means(run, student)).embeddings(16, centre="training")
    for file, side in ((out / "centered.onnx", 112), (out / "native" / "centered_16.onnx", 16)):
        network = load_model(file)
        assert network.input_size == side
        found = PairEvaluator(network, pairs_file, means=read_means(file, network)).embeddings(16, centre="training")
        if side == 16:
            np.testing.assert_allclose(found, own, atol=1e-4)
    teacher = ["--teacher", teacher_folder, "--protocol", "lr-hr"]
    capsys.readouterr()
    assert main(["evaluate", str(Path(file)), "--pairs", pairs_file, "--px", "16", *teacher]) == 0
    assert "LR-HR needs --training-centre" in capsys.readouterr().err


def test_sample_of_the_images_is_taken_at_large_sets(run, tiny_run, tmp_path, monkeypatch):
    monkeypatch.setattr(training_means, "IMAGES", 10)
    _, images = training_means.student_mean(build_setup(from_flat(keys(tiny_run, tmp_path))))
    assert images == 16

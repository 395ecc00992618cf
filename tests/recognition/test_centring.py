"""Beside a student whose graph subtracts its training mean, every network is centered, or the models are refused."""

import json
import shutil

import numpy as np
import pytest

from aird_plugin import Gallery
from aird_plugin.__main__ import main
from aird_plugin.config.recipe import from_flat
from aird_plugin.export.thresholds_file import check_owner, read_thresholds
from aird_plugin.models.load import load_model
from aird_plugin.models.training_means import TrainingMeans, read_means, write_means
from aird_plugin.recognition.analysis import TinyFaceAnalysis
from aird_plugin.recognition.calibration_files import beside, write_section
from aird_plugin.recognition.measure import measure
from aird_plugin.recognition.networks import open_models
from aird_plugin.training.loop import train
from aird_plugin.utils.files import file_sha256
from aird_plugin.utils.vectors import normalise
from tests.recognition.conftest import write_export, write_hr
from tests.recognition.test_gallery import face
from tests.skips import needs

IMAGES = np.random.default_rng(0).integers(0, 256, (5, 112, 112, 3), np.uint8)


@pytest.fixture(scope="module")
def models(tiny_run, pairs_file, tmp_path_factory):
    """Folder of hr.onnx, its student's run, and two exports of it, `plain` and `centered`, with thresholds."""
    root = tmp_path_factory.mktemp("centring")
    write_hr(needs("onnx"), root / "hr.onnx")
    keys = {key: value for key, value in tiny_run.items() if key != "rid_negatives"} | {"num_epoch": 1, "teacher_network": None}
    keys |= {"teacher": str(root / "hr.onnx"), "bank": str(root / "bank"), "output": str(root / "run")}
    train(from_flat(keys | {"terms": {"align": "aird_plugin.losses.cosine:CosineRegression"}}))
    assert export(root / "run", root / "plain", pairs_file) == 0
    assert export(root / "run", root / "centered", pairs_file, "--training-centre") == 0
    return root


def export(run, out, pairs_file, *more) -> int:
    measured = ["--thresholds", pairs_file, "--teacher", str(run.parent / "hr.onnx")]
    return main(["export", str(run), "--out", str(out), "--faces", pairs_file, "--count", "4", *measured, *more])


def test_hr_recogniser_is_centered_beside_a_centered_student(models):
    means = read_means(models / "run", load_model(models / "run"))
    alone, centered = open_models([models / "hr.onnx"]).hr, open_models([models / "hr.onnx", models / "centered"])
    plain = open_models([models / "hr.onnx", models / "plain"])
    embeddings_ND = alone.embed(IMAGES)
    expected_ND = embeddings_ND / np.linalg.norm(embeddings_ND, axis=1, keepdims=True) - means.teacher_D
    np.testing.assert_allclose(centered.hr.embed(IMAGES), expected_ND, atol=1e-6)
    np.testing.assert_array_equal(plain.hr.embed(IMAGES), embeddings_ND)
    assert plain.hr.identity == alone.identity
    # The same weights with other embeddings: galleries and thresholds of one do not fit the other.
    assert len({network.identity for network in [*plain.networks, *centered.networks]}) == 4


def test_thresholds_are_those_of_the_networks_as_they_are_opened(models, pairs_file):
    opened = open_models([models / "hr.onnx", models / "centered"])
    expected = measure(opened.networks, pairs_file)
    written = json.loads((models / "centered" / "thresholds.json").read_text())["recognition"]
    assert written["entries"] == expected["entries"]
    analysis = TinyFaceAnalysis([models / "hr.onnx", models / "centered"])
    assert analysis.calibration.rows


@pytest.mark.parametrize(("own", "other"), [("plain", "centered"), ("centered", "plain")])
def test_thresholds_of_the_other_export_of_the_weights_are_refused(models, own, other):
    """The run and both exports have the same weights, and not the same cosines."""
    path = models / own / "thresholds.json"
    for file in sorted((models / own).rglob("*.onnx")) + [models / "run"] * (own == "plain"):
        assert check_owner(str(path), read_thresholds(path), str(file), load_model(file)) == ""
    for file in sorted((models / other).rglob("*.onnx")) + [models / "run"] * (own == "centered"):
        with pytest.raises(ValueError, match="the weights are the same, but .* is of an export with --training-centre"):
            check_owner(str(path), read_thresholds(path), str(file), load_model(file))


def test_gallery_of_the_uncentered_networks_is_refused(models, tmp_path):
    plain, centered = (TinyFaceAnalysis([models / "hr.onnx", models / name]) for name in ("plain", "centered"))
    gallery = Gallery(plain)
    template = face(plain, 0)
    template.embedding = np.ones(plain.dim, np.float32)
    gallery.add("ann", template)
    gallery.save(tmp_path / "g.npz")
    with pytest.raises(
        ValueError, match=r"g.npz was made with .*hr \((\w{16})\); templates of another model .*hr \(\1\+\w{16}\)"
    ):
        Gallery.load(tmp_path / "g.npz", centered)


def test_measured_thresholds_of_the_uncentered_recogniser_stay_usable(models, pairs_file, tmp_path):
    """NAME.thresholds.json lies beside the recogniser, with and without a centered student."""
    shutil.copy(models / "hr.onnx", tmp_path)
    [network] = open_models([tmp_path / "hr.onnx"]).networks
    write_section(beside(tmp_path / "hr.onnx"), measure([network], pairs_file, (16,)))
    alone = TinyFaceAnalysis(tmp_path / "hr.onnx")
    assert {key[0] for key in alone.calibration.rows} == {alone.models.hr.identity}
    together = TinyFaceAnalysis([tmp_path / "hr.onnx", models / "centered"])
    assert together.models.hr.identity in {key[0] for key in together.calibration.rows}


def test_networks_that_cannot_be_centered_are_refused(models, tmp_path):
    shutil.copytree(models / "centered", tmp_path / "bare")
    (tmp_path / "bare" / "native" / "means.json").unlink()
    message = (
        "subtracts its training mean in its graph, and .*{} cannot be centered: .*Export the student without --training-centre"
    )
    with pytest.raises(ValueError, match=message.format("hr.onnx")):
        open_models([models / "hr.onnx", tmp_path / "bare"])
    assert len(open_models([tmp_path / "bare"]).students) == 1
    write_export(tmp_path / "tiny", models / "hr.onnx")
    with pytest.raises(ValueError, match=message.format("tiny_16.onnx")):
        open_models([models / "centered", tmp_path / "tiny"])


def test_student_is_centered_by_the_mean_beside_its_file(models, tmp_path):
    """As of a student in its own graph, which the export leaves as it was."""
    write_export(tmp_path / "tiny", models / "hr.onnx")
    file = tmp_path / "tiny" / "native" / "tiny_16.onnx"
    [alone], mean_D = open_models([tmp_path / "tiny"]).networks, np.full(16, 0.25, np.float32)
    write_means(file.parent, TrainingMeans(mean_D, None, None), {"files": {file.name: file_sha256(file)}})
    small = IMAGES[:, :16, :16].copy()
    in_graph, student = open_models([models / "centered", tmp_path / "tiny"]).students
    assert in_graph.mean_D is None and student.name == "tiny"
    np.testing.assert_allclose(student.embed(small), normalise(alone.embed(small)) - mean_D, atol=1e-6)


def test_export_refuses_thresholds_against_a_recogniser_without_a_mean(models, pairs_file, tmp_path, capsys):
    run = tmp_path / "run"
    shutil.copytree(models / "run", run)
    shutil.copy(models / "hr.onnx", tmp_path)
    student = load_model(run)
    means = read_means(run, student)
    belongs = json.loads((run / "means.json").read_text())["model"]
    write_means(run, TrainingMeans(means.student_D, None, means.teacher_sha256), belongs)
    assert export(run, tmp_path / "out", pairs_file, "--training-centre") == 1
    assert "has no mean of its teacher's HR embeddings" in capsys.readouterr().err and not (tmp_path / "out").exists()

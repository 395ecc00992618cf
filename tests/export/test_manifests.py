"""Both manifests, against the rules of InsightFace's loaders."""

import hashlib
import json
from pathlib import Path

import pytest

from aird_plugin.export.manifests import check_detector, write_package_manifest, write_server_folder
from tests.skips import needs

onnx = needs("onnx")


def graph_of(path: Path, outputs: int) -> Path:
    """An ONNX file with this number of outputs."""
    helper = onnx.helper
    value = helper.make_tensor("zero", onnx.TensorProto.FLOAT, [1], [0.0])
    nodes = [helper.make_node("Constant", [], [f"out{number}"], value=value) for number in range(outputs)]
    values = [helper.make_tensor_value_info(f"out{number}", onnx.TensorProto.FLOAT, [1]) for number in range(outputs)]
    onnx.save(helper.make_model(helper.make_graph(nodes, "any", [], values)), path)
    return path


@pytest.fixture
def served(tmp_path) -> Path:
    """A folder for InsightFace Server."""
    write_server_folder(tmp_path / "server", graph_of(tmp_path / "tiny.v2.onnx", 1), graph_of(tmp_path / "det.onnx", 9), 128)
    return tmp_path / "server"


def test_server_manifest_has_exactly_the_required_keys(served):
    """The keys that the Server's loader requires: server/backend/insightface_server/models/manifest.py, as of July 2026."""
    manifest = json.loads((served / "manifest.json").read_text())
    version = hashlib.sha256((served / "tiny.v2.onnx").read_bytes()).hexdigest()[:12]
    assert manifest == {
        "manifest_version": 1,
        "model_id": "tiny.v2",
        "model_version": version,
        "files": {"detector": "det.onnx", "recognizer": "tiny.v2.onnx"},
        "recognition": {"input_size": [112, 112], "embedding_dimension": 128, "preprocessing": "insightface-arcface-1"},
        "license": "MODEL.LICENSE",
    }
    assert sorted(path.name for path in served.iterdir()) == ["det.onnx", "manifest.json", "tiny.v2.onnx"]
    assert (served / "det.onnx").read_bytes() == (served.parent / "det.onnx").read_bytes()


def test_server_loader_accepts_the_folder(served):
    """Skipped where the Server's backend cannot be imported."""
    loader = needs("insightface_server.models.manifest")
    bundle = loader.load_manifest(served)
    assert (bundle.model_id, bundle.detector.path.name, bundle.recognizer.path.name) == ("tiny.v2", "det.onnx", "tiny.v2.onnx")
    assert (bundle.recognizer.input_size, bundle.recognizer.embedding_dimension) == ((112, 112), 128)
    assert bundle.license_path == (served / "MODEL.LICENSE").resolve() and not bundle.legacy_manifest


def test_insightface_package_reads_version_2_and_ignores_version_1(served, tmp_path):
    packages = needs("insightface.model_zoo.package_manifest")
    assert not packages.has_model_package_manifest(str(served))
    (tmp_path / "native").mkdir()
    write_package_manifest(graph_of(tmp_path / "native" / "tiny_16.onnx", 1), 16, 128)
    task = packages.load_model_package(str(tmp_path / "native")).task("recognition")
    assert packages.verify_model_artifact(task) == tmp_path / "native" / "tiny_16.onnx"
    manifest = json.loads((tmp_path / "native" / "manifest.json").read_text())
    assert manifest["manifest_version"] == 2 and manifest["tasks"]["recognition"]["input_size"] == [16, 16]


@pytest.mark.parametrize(
    ("file", "outputs", "words"),
    [
        ("det.onnx", 1, "has 1 outputs; a detector with landmarks has 9 or 15"),
        ("det.onnx", 6, "has 6 outputs"),
        ("tiny.onnx", 9, "would have the same file name"),
        ("det.pt", 9, "no such .onnx file"),
        ("det.onnx", None, "is not an ONNX file"),
    ],
)
def test_invalid_detector_is_rejected(file, outputs, words, tmp_path):
    (tmp_path / file).write_bytes(b"no model")
    if outputs:
        graph_of(tmp_path / file, outputs)
    with pytest.raises((ValueError, FileNotFoundError), match=words):
        check_detector(tmp_path / file, "tiny")


@pytest.mark.parametrize("outputs", [9, 15])
def test_detector_with_landmarks_is_accepted(outputs, tmp_path):
    check_detector(graph_of(tmp_path / "det.onnx", outputs), "tiny")

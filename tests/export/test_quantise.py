import numpy as np
import pytest
import torch

from aird_plugin.export import check, graph
from aird_plugin.export.quantise import compare_accuracy, quantise
from aird_plugin.models import build
from aird_plugin.models.onnx_teacher import OnnxTeacher
from tests.skips import needs

onnx = needs("onnx")


def network(seed: int = 3, name: str = "native16_0.05m") -> torch.nn.Module:
    torch.manual_seed(seed)
    student = build(name, 16).train()
    for _ in range(3):
        student(torch.rand(16, 3, 16, 16) * 2 - 1)
    return student.eval()


@pytest.fixture(scope="module", params=["native", "shrinking"])
def source(request, tmp_path_factory):
    """The px file, and the 112 px one that shrinks inside."""
    path = tmp_path_factory.mktemp("int8") / f"{request.param}.onnx"
    student = network()
    graph.write_onnx(student if request.param == "native" else graph.for_112_px(student), path, {})
    return path


def test_int8_is_small_near_and_leaves_the_resize_exact(source, noise_faces, tmp_path, capsys):
    side = OnnxTeacher(source).input_size
    faces = check.seen_by(side, noise_faces(64))
    quantise(source, tmp_path / "int8.onnx", faces)
    assert capsys.readouterr().out == ""
    one, other = (OnnxTeacher(path).embed(faces) for path in (source, tmp_path / "int8.onnx"))
    assert 0.98 < check.least_cosine(one, other) < 0.999999
    assert (tmp_path / "int8.onnx").stat().st_size < 0.6 * source.stat().st_size
    nodes = onnx.load(tmp_path / "int8.onnx").graph.node
    assert any(node.op_type == "QuantizeLinear" for node in nodes)
    first = next(place for place, node in enumerate(nodes) if node.op_type == "QuantizeLinear")
    resize = [place for place, node in enumerate(nodes) if node.op_type in ("MatMul", "Floor") and "student" not in node.name]
    assert len(resize) == (0 if side == 16 else 5) and all(place < first for place in resize)


def test_other_batches_than_those_of_the_calibration(source, noise_faces, tmp_path):
    side = OnnxTeacher(source).input_size
    faces = check.seen_by(side, noise_faces(64))
    quantise(source, tmp_path / "int8.onnx", faces)
    int8 = OnnxTeacher(tmp_path / "int8.onnx")
    np.testing.assert_allclose(int8.embed(faces[:1]), int8.embed(faces[:5])[:1], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("variant", ["_dw", "_prelu", "_dw_prelu"])
def test_variants_of_native_students_are_quantised_too(variant, noise_faces, tmp_path):
    graph.write_onnx(network(name=f"native16_0.05m{variant}"), tmp_path / "fp32.onnx", {})
    faces = check.seen_by(16, noise_faces(64))
    quantise(tmp_path / "fp32.onnx", tmp_path / "int8.onnx", faces)
    assert check.least_cosine(*(OnnxTeacher(tmp_path / f"{kind}.onnx").embed(faces) for kind in ("fp32", "int8"))) > 0.9
    assert any(node.op_type == "QuantizeLinear" for node in onnx.load(tmp_path / "int8.onnx").graph.node)


def test_too_few_faces_are_told(source, noise_faces, tmp_path):
    with pytest.raises(ValueError, match="calibrated on 32 faces or more, got 31"):
        quantise(source, tmp_path / "int8.onnx", check.seen_by(OnnxTeacher(source).input_size, noise_faces(31)))
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_loses_too_much_is_refused(source, pairs_file, tmp_path):
    side = OnnxTeacher(source).input_size
    same = compare_accuracy(source, source, source.parent, pairs_file, side)
    assert same.accuracy == same.accuracy_fp32 and same.file == source.name
    worse = network()
    with torch.no_grad():
        worse.fc.weight.normal_()
        worse.stages[0][0][0].weight.zero_()
    graph.write_onnx(worse if side == 16 else graph.for_112_px(worse), tmp_path / "worse.onnx", {})
    with pytest.raises(ValueError, match=r"worse.onnx loses [\d.]+ points on .* allowed are 0.3"):
        compare_accuracy(source, tmp_path / "worse.onnx", tmp_path, pairs_file, side)

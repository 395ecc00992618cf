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


@pytest.fixture(scope="module", params=["native", "112"])
def source(request, tmp_path_factory):
    """The native file, and the 112 px one with the resize in its graph."""
    path = tmp_path_factory.mktemp("int8") / f"{request.param}.onnx"
    student = network()
    graph.write_onnx(student if request.param == "native" else graph.for_112_px(student), path, {})
    return path


def test_int8_is_smaller_close_to_fp32_and_keeps_the_resize_exact(source, noise_faces, tmp_path, capsys):
    side = OnnxTeacher(source).input_size
    images = check.resize_to_side(side, noise_faces(64))
    quantise(OnnxTeacher(source), tmp_path / "int8.onnx", images)
    assert capsys.readouterr().out == ""
    fp32, int8 = (OnnxTeacher(path).embed(images) for path in (source, tmp_path / "int8.onnx"))
    assert 0.98 < check.minimum_cosine(fp32, int8) < 0.999999
    assert (tmp_path / "int8.onnx").stat().st_size < 0.6 * source.stat().st_size
    nodes = onnx.load(tmp_path / "int8.onnx").graph.node
    assert any(node.op_type == "QuantizeLinear" for node in nodes)
    first = next(index for index, node in enumerate(nodes) if node.op_type == "QuantizeLinear")
    resize = [index for index, node in enumerate(nodes) if node.op_type in ("MatMul", "Floor") and "student" not in node.name]
    assert len(resize) == (0 if side == 16 else 5) and all(index < first for index in resize)


def test_batch_size_may_differ_from_calibration(source, noise_faces, tmp_path):
    side = OnnxTeacher(source).input_size
    images = check.resize_to_side(side, noise_faces(64))
    quantise(OnnxTeacher(source), tmp_path / "int8.onnx", images)
    int8 = OnnxTeacher(tmp_path / "int8.onnx")
    np.testing.assert_allclose(int8.embed(images[:1]), int8.embed(images[:5])[:1], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("variant", ["_dw", "_prelu", "_dw_prelu"])
def test_variants_of_native_students_are_quantised(variant, noise_faces, tmp_path):
    graph.write_onnx(network(name=f"native16_0.05m{variant}"), tmp_path / "fp32.onnx", {})
    images = check.resize_to_side(16, noise_faces(64))
    quantise(OnnxTeacher(tmp_path / "fp32.onnx"), tmp_path / "int8.onnx", images)
    assert check.minimum_cosine(*(OnnxTeacher(tmp_path / f"{kind}.onnx").embed(images) for kind in ("fp32", "int8"))) > 0.9
    assert any(node.op_type == "QuantizeLinear" for node in onnx.load(tmp_path / "int8.onnx").graph.node)


def test_too_few_images_are_rejected(source, noise_faces, tmp_path):
    with pytest.raises(ValueError, match="calibration needs 32 images or more, got 31"):
        quantise(
            OnnxTeacher(source), tmp_path / "int8.onnx", check.resize_to_side(OnnxTeacher(source).input_size, noise_faces(31))
        )
    assert list(tmp_path.iterdir()) == []


def test_too_large_loss_of_accuracy_is_rejected(source, pairs_file, tmp_path):
    side = OnnxTeacher(source).input_size
    same = compare_accuracy(OnnxTeacher(source), source, source.parent, pairs_file, side)
    assert same.accuracy == same.accuracy_fp32 and same.file == source.name
    worse = network()
    with torch.no_grad():
        worse.fc.weight.normal_()
        worse.stages[0][0][0].weight.zero_()
    graph.write_onnx(worse if side == 16 else graph.for_112_px(worse), tmp_path / "worse.onnx", {})
    with pytest.raises(ValueError, match=r"worse.onnx loses [\d.]+ points on .* allowed are 0.3"):
        compare_accuracy(OnnxTeacher(source), tmp_path / "worse.onnx", tmp_path, pairs_file, side)

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from aird_plugin.evaluation.verification import verify
from aird_plugin.export import check, graph
from aird_plugin.export.quantise import Int8Rejected, compare_accuracy, quantise
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
    assert len(resize) == (0 if side == 16 else 9) and all(index < first for index in resize)


def test_batch_size_may_differ_from_calibration(source, noise_faces, tmp_path):
    side = OnnxTeacher(source).input_size
    images = check.resize_to_side(side, noise_faces(64))
    quantise(OnnxTeacher(source), tmp_path / "int8.onnx", images)
    int8 = OnnxTeacher(tmp_path / "int8.onnx")
    np.testing.assert_allclose(int8.embed(images[:1]), int8.embed(images[:5])[:1], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("variant", ["_dw", "_prelu", "_dw_prelu", "_gdc"])
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


def test_too_large_loss_of_accuracy_is_rejected(source, pairs_file, tmp_path, monkeypatch):
    monkeypatch.setattr("aird_plugin.export.quantise.ALPHA", 1.01)
    side = OnnxTeacher(source).input_size
    same = compare_accuracy(OnnxTeacher(source), source, source.parent, pairs_file, side)
    assert same.accuracy == same.accuracy_fp32 and same.file == source.name
    worse = network()
    with torch.no_grad():
        worse.fc.weight.normal_()
        worse.stages[0][0][0].weight.zero_()
    graph.write_onnx(worse if side == 16 else graph.for_112_px(worse), tmp_path / "worse.onnx", {})
    words = r"worse.onnx loses [\d.]+ points on 40 pairs of .* allowed are 0.3: the file was left out"
    with pytest.raises(Int8Rejected, match=words):
        compare_accuracy(OnnxTeacher(source), tmp_path / "worse.onnx", tmp_path, pairs_file, side)


@pytest.mark.parametrize(("wrong", "significant"), [(1, False), (3, False), (12, True)])
def test_loss_within_chance_is_accepted_with_a_note(monkeypatch, tmp_path, wrong, significant):
    """One of 200 pairs is 0.5 points: a loss of one pair is no evidence of a loss above 0.3 points."""
    from aird_plugin.export import quantise as module

    same_N = np.arange(200) % 2 == 0

    class Evaluator:
        """Embeddings of two axes: right for all pairs but `wrong` of the int8 file, which are taken for the other kind."""

        def __init__(self, network, pairs, errors=0):
            self.same_N, self.errors = same_N, errors

        def with_student(self, student):
            return Evaluator(student, "", wrong)

        def embeddings(self, px, protocol):
            near_N = same_N.copy()
            near_N[: self.errors] ^= True
            second_ND = np.where(near_N[:, None], [1.0, 0.0], [0.0, 1.0])
            return np.stack([np.tile([1.0, 0.0], (200, 1)), second_ND], 1).reshape(400, 2)

        def evaluate(self, px, protocol):
            return verify(self.embeddings(px, protocol), same_N)

    monkeypatch.setattr(module, "PairEvaluator", Evaluator)
    monkeypatch.setattr(module, "OnnxTeacher", lambda *args: None)
    source = SimpleNamespace(input=None, input_size=16)
    arguments = (source, tmp_path / "int8.onnx", tmp_path, "some.bin", 16)
    if significant:
        with pytest.raises(Int8Rejected, match=r"loses 6.00 points on 200 pairs of some.bin \(100.00 to 94.00\)"):
            compare_accuracy(*arguments)
        return
    result = compare_accuracy(*arguments)
    assert result.accuracy_fp32 - result.accuracy == pytest.approx(wrong / 2)
    assert f"loses {wrong / 2:.2f} points on 200 pairs of some.bin" in result.note
    assert "which is not significant (p " in result.note and "one pair is 0.5 points: give a larger file" in result.note


def test_rejected_int8_file_does_not_keep_the_others_back(tiny_run, pairs_file, tmp_path, monkeypatch, capsys):
    from aird_plugin.__main__ import main
    from aird_plugin.config.recipe import from_flat
    from aird_plugin.export import quantise as module
    from aird_plugin.training.loop import train

    run = train(from_flat(tiny_run | {"output": str(tmp_path / "run"), "num_epoch": 1}))
    capsys.readouterr()
    monkeypatch.setattr(module, "MAX_LOSS", -200.0)
    monkeypatch.setattr(module, "ALPHA", 2.0)
    assert main(["export", str(run), "--out", str(tmp_path / "tiny"), "--count", "40", "--int8", pairs_file]) == 1
    files = {str(path.relative_to(tmp_path / "tiny")) for path in (tmp_path / "tiny").rglob("*") if path.is_file()}
    assert files == {"MODEL_CARD.md", "tiny.onnx", "native/tiny_16.onnx", "native/manifest.json"}
    errors = capsys.readouterr().err.splitlines()
    assert [line.split(" loses")[0] for line in errors] == ["error: tiny_int8.onnx", "error: tiny_16_int8.onnx"]
    assert all(line.endswith(f"; the fp32 files are in {tmp_path / 'tiny'}") for line in errors)

"""Errors of an .onnx file call it by its path: it may be a student, a teacher or a model to evaluate."""

import numpy as np
import pytest

from aird_plugin.__main__ import main
from aird_plugin.models.load import load_model
from tests.skips import needs

onnx = needs("onnx")
needs("onnxruntime")


def write_graph(path, shape, kind=onnx.TensorProto.FLOAT) -> str:
    """A graph that returns its input."""
    value = onnx.helper.make_tensor_value_info
    nodes = [onnx.helper.make_node("Identity", ["data"], ["out"])]
    graph = onnx.helper.make_graph(nodes, "g", [value("data", kind, shape)], [value("out", kind, shape)])
    onnx.save(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8), path)
    return str(path)


@pytest.mark.parametrize("kind", ["corrupt", "shape", "type", "output"])
def test_error_of_a_model_does_not_call_it_a_teacher(tmp_path, kind, pairs_file, capsys):
    path = str(tmp_path / "student.onnx")
    if kind == "corrupt":
        (tmp_path / "student.onnx").write_bytes(np.random.default_rng(0).bytes(300))
    shape = ["b", 3, 640, 640] if kind == "shape" else ["b", 3, 112, 112]
    if kind != "corrupt":
        write_graph(path, shape, onnx.TensorProto.INT32 if kind == "type" else onnx.TensorProto.FLOAT)
    with pytest.raises(ValueError, match=r"student\.onnx") as error:
        load_model(path)
    assert "teacher " not in str(error.value).replace("teacher_input or", "").replace("--teacher-input or", "")
    assert main(["evaluate", path, "--pairs", pairs_file, "--px", "16"]) == 1
    assert capsys.readouterr().err.startswith(f"error: {path}")

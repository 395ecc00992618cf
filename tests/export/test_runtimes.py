"""The exported files in other runtimes: older and newer onnxruntime, OpenCV's dnn, OpenVINO.

Each runs in an interpreter of its own where it is not installed here: ONNXRUNTIME_PYTHONS names one or more, separated like PATH
(the oldest supported version is 1.16.3, which needs numpy below 2), OPENCV_PYTHON and OPENVINO_PYTHON one each.
"""

import importlib.util
import os
import subprocess
import sys

import numpy as np
import pytest
import torch

from aird_plugin.data.lowres import fixed_point_weights, low_faces, to_input
from aird_plugin.export import check, graph
from aird_plugin.export.graph import Downsampling, split_weights
from aird_plugin.export.quantise import drop_unused_domains, quantise
from aird_plugin.models import build
from aird_plugin.models.onnx_file import nodes_of
from aird_plugin.models.onnx_teacher import OnnxTeacher
from tests.skips import needs, other_python

onnx = needs("onnx")
# Those of onnxruntime 1.16: https://onnxruntime.ai/docs/reference/compatibility.html
OLDEST_IR, OLDEST_OPSET = 9, 19
FILES = ("wide", "native", "wide_int8", "native_int8", "resize")

RUNNERS = {
    "onnxruntime": "import onnxruntime\nrun = lambda f, x: onnxruntime.InferenceSession(f, providers=['CPUExecutionProvider'])"
    ".run(None, {'data': x})[0]",
    "opencv": "import cv2\ndef run(f, x):\n    net = cv2.dnn.readNetFromONNX(f)\n    net.setInput(x)\n    return net.forward()",
    "openvino": "import openvino\n"
    "run = lambda f, x: openvino.Core().compile_model(f, 'CPU', {'INFERENCE_PRECISION_HINT': 'f32'})(x)[0]",
}
SCRIPT = """
import sys
import numpy as np
{runner}
folder, *files = sys.argv[1:]
for name in files:
    side = "low" if name.startswith("native") else "hr"
    np.save(f"{{folder}}/{{name}}.npy", run(f"{{folder}}/{{name}}.onnx", np.load(f"{{folder}}/{{side}}.npy")))
"""


class Pixels(torch.nn.Module):
    """Returns its 16 px input."""

    input_size = 16

    def forward(self, x):
        return x.flatten(1)


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A native student's files, their int8 versions, the resize alone; inputs `hr.npy`, `low.npy`; what torch gives for each."""
    folder = tmp_path_factory.mktemp("runtimes")
    torch.manual_seed(3)
    student = build("native16_0.05m", 8).train()
    for _ in range(3):
        student(torch.rand(16, 3, 16, 16) * 2 - 1)
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (64, 112, 112, 3), np.uint8)
    images[1] = np.where(rng.random((112, 112, 3)) < 0.5, 0, 255)
    graph.write_onnx(graph.for_112_px(student), folder / "wide.onnx", {})
    graph.write_onnx(student.eval(), folder / "native.onnx", {})
    graph.write_onnx(graph.for_112_px(Pixels()), folder / "resize.onnx", {})
    for name, side in (("wide", 112), ("native", 16)):
        quantise(OnnxTeacher(folder / f"{name}.onnx"), folder / f"{name}_int8.onnx", check.resize_to_side(side, images))
    hr = to_input(torch.from_numpy(images[:4])).contiguous()
    low = to_input(torch.from_numpy(low_faces(images[:4], 16, grow=False))).contiguous()
    np.save(folder / "hr.npy", hr.numpy())
    np.save(folder / "low.npy", low.numpy())
    with torch.inference_mode():
        return folder, low.flatten(1).numpy(), student(low).numpy()


def run_in(interpreter: str, runtime: str, folder, files) -> None:
    script = SCRIPT.format(runner=RUNNERS[runtime])
    done = subprocess.run([interpreter, "-I", "-c", script, str(folder), *files], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def assert_exact(exported) -> None:
    """The grey levels of the resize to the bit, and the fp32 embeddings up to the rounding of a small network."""
    folder, low, embeddings = exported
    grey = [np.rint(np.float64(x).reshape(4, -1) * 127.5 + 127.5) for x in (np.load(folder / "resize.npy"), low)]
    assert np.array_equal(*grey)
    for name in ("wide", "native"):
        np.testing.assert_allclose(np.load(folder / f"{name}.npy"), embeddings, rtol=0, atol=2e-5)


def interpreters(runtime: str, module: str) -> list[str]:
    """Those named by the runtime's variable, else this one where it has the module."""
    here = importlib.util.find_spec(module) is not None
    variable = f"{runtime.upper()}_PYTHON"
    if here and variable not in os.environ:
        return [sys.executable]
    return other_python(variable, f"{runtime} (pip install {PIP[runtime]})")


PIP = {"opencv": "opencv-python-headless", "openvino": "openvino"}


@pytest.mark.parametrize(("runtime", "module"), [("opencv", "cv2"), ("openvino", "openvino")])
def test_fp32_files_in_other_runtimes(exported, runtime, module):
    for interpreter in interpreters(runtime, module):
        run_in(interpreter, runtime, exported[0], ("wide", "native", "resize"))
        assert_exact(exported)


def test_all_files_in_other_versions_of_onnxruntime(exported):
    """int8 kernels differ between versions and processors: the cosine to fp32 is that of quantisation."""
    names = other_python("ONNXRUNTIME_PYTHONS", "other onnxruntime (pip install onnxruntime==1.16.3 'numpy<2')")
    for interpreter in names:
        run_in(interpreter, "onnxruntime", exported[0], FILES)
        assert_exact(exported)
        for name in ("wide_int8", "native_int8"):
            assert check.minimum_cosine(np.load(exported[0] / f"{name}.npy"), exported[2]) > 0.95


@pytest.mark.parametrize("name", FILES)
def test_files_import_only_what_the_oldest_onnxruntime_knows(exported, name):
    """And no float64, which OpenCV and TensorRT do not compute."""
    model = onnx.load(exported[0] / f"{name}.onnx")
    domains = {entry.domain: entry.version for entry in model.opset_import}
    assert domains.keys() <= {node.domain for node in nodes_of(model.graph)} | {""}
    assert domains[""] <= OLDEST_OPSET and model.ir_version <= OLDEST_IR
    inferred = onnx.shape_inference.infer_shapes(model).graph
    types = {value.type.tensor_type.elem_type for value in (*inferred.value_info, *inferred.input, *inferred.output)}
    assert onnx.TensorProto.DOUBLE not in types | {tensor.data_type for tensor in inferred.initializer}


def test_used_domains_are_kept(tmp_path):
    """Also of a node in a nested graph."""
    make, value = onnx.helper, onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1])
    inner = make.make_graph(
        [make.make_node("Odd", ["x"], ["z"], domain="mine")], "i", [], [make.make_empty_tensor_value_info("z")]
    )
    true = make.make_node("Constant", [], ["yes"], value=onnx.numpy_helper.from_array(np.array(True)))
    branch = make.make_node("If", ["yes"], ["y"], then_branch=inner, else_branch=inner)
    nodes, out = [true, branch], make.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [1])
    opsets = [make.make_opsetid(*one) for one in (("", 17), ("mine", 1), ("ai.onnx.ml", 5), ("unused", 2))]
    onnx.save(make.make_model(make.make_graph(nodes, "g", [value], [out]), opset_imports=opsets), tmp_path / "a.onnx")
    drop_unused_domains(tmp_path / "a.onnx")
    assert [entry.domain for entry in onnx.load(tmp_path / "a.onnx").opset_import] == ["", "mine"]


@pytest.mark.parametrize("side", range(4, 112))
def test_float32_holds_every_partial_sum_of_the_resize(side, noise_faces):
    """The proof that `Downsampling` states, for every side, and the result on extreme images."""
    weights_PS = fixed_point_weights(112, side)
    coarse_PS, fine_PS, unit = split_weights(weights_PS)
    assert np.array_equal(coarse_PS + fine_PS, weights_PS) and np.abs(fine_PS).max() <= unit / 2
    for part_PS, step in ((coarse_PS, unit), (fine_PS, 2.0**-22)):
        whole_PS = part_PS / step
        assert np.array_equal(whole_PS, np.rint(whole_PS)) and np.abs(whole_PS).sum(1).max() * 255 < 2**24
    if side in (4, 8, 15, 16, 31, 64, 111):
        images = noise_faces(3, seed=side)
        images[1] = np.where(weights_PS.sum(0)[:, None, None] > 1, 255, 0)
        images[2] = np.where(np.indices((112, 112, 3)).sum(0) % 2, 255, 0)
        grey = torch.from_numpy(images).permute(0, 3, 1, 2).float()
        out = Downsampling(side)(grey).permute(0, 2, 3, 1).numpy().astype(np.uint8)
        assert np.array_equal(out, low_faces(images, side, grow=False))

"""Each ONNX operator as a PyTorch function, against onnxruntime's."""

from pathlib import Path

import numpy as np
import pytest
import torch

from aird_plugin.models.onnx_first_run import first_run
from aird_plugin.models.onnx_graph import graph_module
from aird_plugin.models.onnx_operators import OPERATORS
from aird_plugin.models.onnx_values import GraphInfo
from tests.exact import rounding
from tests.skips import needs

onnx = needs("onnx")
ort = needs("onnxruntime")
from onnx import TensorProto, helper, numpy_helper  # noqa: E402

RNG = np.random.default_rng(0)


def floats(*shape):
    return RNG.normal(size=shape).astype(np.float32)


def ints(*values):
    return np.asarray(values, np.int64)


MAP, ROW, TOKENS = (4, 6, 6), (12,), (5, 8)
W = floats(6, 4, 3, 3)
# (operator, shape of one input, further inputs, attributes, opset)
CASES = [
    ("Abs", MAP, [], {}, 17),
    ("Add", MAP, [floats(4, 1, 1)], {}, 17),
    ("Add", ROW, [floats(12)], {}, 17),
    ("AveragePool", MAP, [], {"kernel_shape": [2, 2], "strides": [2, 2]}, 17),
    ("AveragePool", MAP, [], {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1], "count_include_pad": 1}, 17),
    ("AveragePool", MAP, [], {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]}, 17),
    ("AveragePool", MAP, [], {"kernel_shape": [2, 2], "dilations": [1, 1]}, 19),
    ("Cast", MAP, [], {"to": 1}, 17),
    ("Clip", MAP, [np.float32(-0.5), np.float32(0.5)], {}, 17),
    ("Clip", MAP, [], {"min": 0.0, "max": 0.5}, 6),
    ("Concat", MAP, ["data"], {"axis": 1}, 17),
    ("Conv", MAP, [W, floats(6)], {"pads": [1, 1, 1, 1]}, 17),
    ("Conv", MAP, [W], {"strides": [2, 2]}, 17),
    ("Conv", MAP, [W], {"pads": [0, 1, 2, 1], "strides": [2, 2]}, 17),
    ("Conv", MAP, [W], {"dilations": [2, 2], "pads": [2, 2, 2, 2]}, 17),
    ("Conv", MAP, [floats(4, 1, 3, 3), floats(4)], {"group": 4, "pads": [1, 1, 1, 1], "kernel_shape": [3, 3]}, 17),
    ("Conv", MAP, [W], {"auto_pad": "SAME_UPPER", "strides": [2, 2]}, 17),
    ("Conv", MAP, [W], {"auto_pad": "SAME_LOWER", "strides": [2, 2]}, 17),
    ("Conv", MAP, [W], {"auto_pad": "VALID"}, 17),
    ("Conv", TOKENS, [floats(6, 5, 3)], {"pads": [1, 1]}, 17),
    ("Div", MAP, [np.float32(1.5)], {}, 17),
    ("Dropout", MAP, [], {}, 17),
    ("Dropout", MAP, [], {"ratio": 0.5}, 10),
    ("Einsum", TOKENS, [floats(8, 3)], {"equation": "bij,jk->bik"}, 17),
    ("Elu", MAP, [], {"alpha": 0.7}, 17),
    ("Erf", MAP, [], {}, 17),
    ("Exp", MAP, [], {}, 17),
    ("Expand", (1, 6, 6), [ints(1, 4, 6, 6)], {}, 17),
    ("Flatten", MAP, [], {}, 17),
    ("Flatten", MAP, [], {"axis": 2}, 17),
    ("Gather", MAP, [ints(3, 0, -1)], {"axis": 1}, 17),
    ("Gather", MAP, [np.int64(2)], {"axis": 2}, 17),
    ("Gelu", MAP, [], {}, 20),
    ("Gelu", MAP, [], {"approximate": "tanh"}, 20),
    ("Gemm", ROW, [floats(12, 5), floats(5)], {}, 17),
    ("Gemm", ROW, [floats(5, 12), floats(5)], {"transB": 1}, 17),
    ("Gemm", ROW, [floats(5, 12), floats(5)], {"transB": 1, "alpha": 0.5, "beta": 2.0}, 17),
    ("Gemm", ROW, [floats(5, 12), floats(1, 5)], {"transB": 1}, 17),
    ("Gemm", ROW, [floats(12, 5)], {}, 17),
    ("GlobalAveragePool", MAP, [], {}, 17),
    ("GlobalMaxPool", MAP, [], {}, 17),
    ("HardSigmoid", MAP, [], {"alpha": 0.25, "beta": 0.4}, 17),
    ("HardSwish", MAP, [], {}, 17),
    ("Identity", MAP, [], {}, 17),
    ("InstanceNormalization", MAP, [floats(4), floats(4)], {"epsilon": 1e-3}, 17),
    ("LayerNormalization", TOKENS, [floats(8), floats(8)], {"epsilon": 1e-6}, 17),
    ("LayerNormalization", TOKENS, [floats(5, 8)], {"axis": 1}, 17),
    ("LeakyRelu", MAP, [], {"alpha": 0.2}, 17),
    ("LpNormalization", ROW, [], {"axis": 1, "p": 2}, 17),
    ("MatMul", TOKENS, [floats(8, 3)], {}, 17),
    ("MatMul", (2, 5, 8), [floats(2, 8, 3)], {}, 17),
    ("Max", MAP, [floats(4, 1, 1)], {}, 17),
    ("Max", MAP, [np.float32(0.2)], {}, 17),
    ("Max", MAP, [np.float32([0.2]), floats(4, 1, 1), np.float32(-0.1)], {}, 17),
    ("MaxPool", MAP, [], {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]}, 17),
    ("MaxPool", MAP, [], {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [0, 1, 1, 0]}, 17),
    ("Min", MAP, [floats(4, 1, 1)], {}, 17),
    ("Min", MAP, [np.float32(0.2)], {}, 17),
    ("Min", MAP, [np.float32([0.2]), floats(4, 1, 1), np.float32(-0.1)], {}, 17),
    ("Mul", MAP, [floats(4, 1, 1)], {}, 17),
    ("Neg", MAP, [], {}, 17),
    ("PRelu", MAP, [floats(4, 1, 1)], {}, 17),
    ("PRelu", MAP, [floats(1)], {}, 17),
    ("PRelu", MAP, [floats(6, 6)], {}, 17),
    ("PRelu", ROW, [floats(12)], {}, 17),
    ("Pad", MAP, [ints(0, 0, 1, 2, 0, 0, 0, 1)], {}, 17),
    ("Pad", MAP, [ints(0, 0, 1, 2, 0, 0, 0, 1), np.float32(3.0)], {}, 17),
    ("Pad", MAP, [], {"pads": [0, 0, 1, 0, 0, 0, 0, 1], "value": 2.0}, 10),
    ("Pow", MAP, [np.float32(2.0)], {}, 17),
    ("Pow", MAP, [np.float32(3.0)], {}, 17),
    ("ReduceL2", MAP, [], {"axes": [1], "keepdims": 0}, 17),
    ("ReduceMax", MAP, [], {"axes": [2, 3]}, 17),
    ("ReduceMean", MAP, [], {"axes": [-1], "keepdims": 1}, 17),
    ("ReduceMean", MAP, [ints(2, 3)], {"keepdims": 0}, 18),
    ("ReduceSum", MAP, [ints(1)], {}, 17),
    ("ReduceSum", MAP, [], {"axes": [1, 2]}, 11),
    ("ReduceSum", MAP, [], {"keepdims": 0}, 17),
    *[(name, MAP, [], {"noop_with_empty_axes": 1}, 18) for name in ("ReduceL2", "ReduceMax", "ReduceMean", "ReduceSum")],
    ("ReduceSum", MAP, [ints()], {"noop_with_empty_axes": 1}, 17),
    ("ReduceSum", MAP, [ints(1)], {"noop_with_empty_axes": 1}, 17),
    ("Relu", MAP, [], {}, 17),
    ("Reshape", MAP, [ints(0, 4, -1)], {}, 17),
    ("Reshape", MAP, [ints(-1, 144)], {}, 17),
    ("Sigmoid", MAP, [], {}, 17),
    ("Slice", MAP, [ints(1, 0), ints(-1, 3), ints(2, 3)], {}, 17),
    ("Slice", MAP, [ints(1), ints(2**62), ints(-1), ints(2)], {}, 17),
    ("Slice", MAP, [], {"axes": [2], "starts": [1], "ends": [5]}, 9),
    ("Slice", MAP, [ints(-1), ints(-(2**63)), ints(1), ints(-1)], {}, 17),
    ("Slice", MAP, [ints(4, 9), ints(0, -6), ints(2, 3), ints(-1, -2)], {}, 17),
    ("Slice", MAP, [ints(5), ints(-6), ints(-1), ints(-3)], {}, 17),
    ("Softmax", TOKENS, [], {}, 17),
    ("Softmax", TOKENS, [], {"axis": 1}, 17),
    ("Softmax", TOKENS, [], {"axis": 1}, 11),
    ("Softmax", TOKENS, [], {"axis": 2}, 11),
    ("Softplus", MAP, [], {}, 17),
    ("Split", MAP, [ints(1, 3)], {"axis": 1}, 17),
    ("Split", MAP, [], {"axis": 1}, 17),
    ("Split", MAP, [], {"axis": 1, "split": [3, 1]}, 11),
    ("Sub", MAP, [floats(4, 1, 1)], {}, 17),
    ("Squeeze", (1, 6, 1), [ints(1, -1)], {}, 17),
    ("Squeeze", (1, 6, 1), [], {"axes": [3]}, 11),
    ("Sum", MAP, ["data", floats(4, 1, 1)], {}, 17),
    ("Tanh", MAP, [], {}, 17),
    ("Transpose", MAP, [], {"perm": [0, 2, 3, 1]}, 17),
    ("Transpose", ROW, [], {}, 17),
    ("Unsqueeze", ROW, [ints(1, -1)], {}, 17),
    ("Unsqueeze", ROW, [], {"axes": [1]}, 11),
]
# Operators of positive numbers only.
POSITIVE = [("Log", ROW, [], {}, 17), ("Sqrt", ROW, [], {}, 17), ("Reciprocal", ROW, [], {}, 17)]
# The longest sum: 8 or 36 products and their bias; an error of a rounding in an argument grows by exp, erf or a power of three.
TOLERANCE = rounding(40, 8.0)


def one_node(operator, side, inputs, options, opset, batch="N"):
    """A model of one node; the first input is the image, the others are stored in the file."""
    arrays = {f"c{number}": array for number, array in enumerate(inputs) if not isinstance(array, str)}
    names = [array if isinstance(array, str) else f"c{number}" for number, array in enumerate(inputs)]
    outputs = ["out", "rest"] if operator == "Split" else ["out"]
    node = helper.make_node(operator, ["data", *names], outputs, name="node", **options)
    image = helper.make_tensor_value_info("data", TensorProto.FLOAT, [batch, *side])
    out = helper.make_tensor_value_info(outputs[-1], TensorProto.FLOAT, None)
    initializers = [numpy_helper.from_array(np.asarray(value), name) for name, value in arrays.items()]
    graph = helper.make_graph([node], "g", [image], [out], initializers)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def run_both(model, side, batch=2, positive=False):
    images = floats(batch, *side)
    images = np.abs(images) + 0.5 if positive else images
    output = model.graph.output[0].name
    expected = ort.InferenceSession(model.SerializeToString()).run([output], {"data": images})[0]
    module, _ = graph_module(model, GraphInfo(Path("x.onnx"), "data", output, images[:1]))
    with torch.no_grad():
        return module(torch.from_numpy(images)).numpy(), expected


@pytest.mark.parametrize(
    "case", [*CASES, *POSITIVE], ids=lambda case: f"{case[0]}-{case[4]}-{'-'.join(f'{k}{v}' for k, v in case[3].items())}"
)
def test_equals_onnxruntime(case):
    operator, side, *_ = case
    batch = 1 if operator == "Expand" else 2
    found, expected = run_both(one_node(*case), side, batch, case in POSITIVE)
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=TOLERANCE, atol=TOLERANCE)


def test_every_operator_has_a_case():
    assert {case[0] for case in [*CASES, *POSITIVE]} == set(OPERATORS)


@pytest.mark.parametrize(
    "operator, inputs, options, opset, words",
    [
        ("Pad", [ints(0, 0, 1, 1, 0, 0, 1, 1)], {"mode": "reflect"}, 17, "Pad with mode='reflect'"),
        ("AveragePool", [], {"kernel_shape": [2, 2], "pads": [0, 0, 1, 1]}, 17, "AveragePool with unequal pads"),
        ("AveragePool", [], {"kernel_shape": [2, 2], "dilations": [2, 2]}, 19, r"AveragePool with dilations \[2, 2\]"),
        ("Elu", [], {"slope": 1.0}, 17, "unexpected keyword argument 'slope'"),
        ("MatMul", [floats(5, 3)], {}, 17, "mat1 and mat2 shapes cannot be multiplied"),
    ],
)
def test_what_is_not_supported_is_refused_with_file_and_node(operator, inputs, options, opset, words):
    info = GraphInfo(Path("x.onnx"), "data", "out", floats(1, *MAP))
    module, _ = graph_module(one_node(operator, MAP, inputs, options, opset), info)
    refused = rf"x\.onnx cannot be trained: node node \({operator}\): [^\n]*{words}[^\n]*; it can still be a teacher$"
    with pytest.raises(ValueError, match=refused):
        first_run(info.path, module, torch.zeros(2, *MAP))

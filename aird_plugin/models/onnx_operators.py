"""Table of the ONNX operators that a trainable network may have, and the roles of their inputs."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from aird_plugin.models import onnx_functions, onnx_windows

# Parameters that are lists of whole numbers.
INTS = frozenset({"shape", "axes", "starts", "ends", "steps", "split", "pads"})
# Operators with weights: their stored operands are trained.
LEARNED = frozenset({"Conv", "Gemm", "MatMul", "BatchNormalization", "LayerNormalization", "InstanceNormalization", "PRelu"})
OPERATORS: dict[str, Callable[..., Tensor]] = {
    "Abs": torch.abs,
    "Add": torch.add,
    "AveragePool": onnx_windows.average_pool,
    "Cast": onnx_functions.cast,
    "Clip": onnx_functions.clip,
    "Concat": onnx_functions.concat,
    "Conv": onnx_windows.conv,
    "Div": torch.div,
    "Dropout": onnx_functions.dropout,
    "Einsum": onnx_functions.einsum,
    "Elu": onnx_functions.elu,
    "Erf": torch.erf,
    "Exp": torch.exp,
    "Expand": onnx_functions.expand,
    "Flatten": onnx_functions.flatten,
    "Gather": onnx_functions.gather,
    "Gelu": onnx_functions.gelu,
    "Gemm": onnx_functions.gemm,
    "GlobalAveragePool": onnx_functions.global_average_pool,
    "GlobalMaxPool": onnx_functions.global_max_pool,
    "HardSigmoid": onnx_functions.hard_sigmoid,
    "HardSwish": F.hardswish,
    "Identity": onnx_functions.identity,
    "InstanceNormalization": onnx_functions.instance_norm,
    "LayerNormalization": onnx_functions.layer_norm,
    "LeakyRelu": onnx_functions.leaky_relu,
    "Log": torch.log,
    "LpNormalization": onnx_functions.lp_normalization,
    "MatMul": onnx_functions.matmul,
    "Max": onnx_functions.maximum,
    "MaxPool": onnx_windows.max_pool,
    "Min": onnx_functions.minimum,
    "Mul": torch.mul,
    "Neg": torch.neg,
    "PRelu": onnx_functions.prelu,
    "Pad": onnx_windows.pad,
    "Pow": onnx_functions.power,
    "Reciprocal": torch.reciprocal,
    "ReduceL2": onnx_functions.reduce_l2,
    "ReduceMax": onnx_functions.reduce_max,
    "ReduceMean": onnx_functions.reduce_mean,
    "ReduceSum": onnx_functions.reduce_sum,
    "Relu": F.relu,
    "Reshape": onnx_functions.reshape,
    "Sigmoid": torch.sigmoid,
    "Slice": onnx_functions.slice_,
    "Softmax": onnx_functions.softmax,
    "Softplus": F.softplus,
    "Split": onnx_functions.split,
    "Sqrt": torch.sqrt,
    "Squeeze": onnx_functions.squeeze,
    "Sub": torch.sub,
    "Sum": onnx_functions.add_all,
    "Tanh": torch.tanh,
    "Transpose": onnx_functions.transpose,
    "Unsqueeze": onnx_functions.unsqueeze,
}
# Operators whose defaults changed with an opset: name -> (opset, function before it).
BEFORE = {"Softmax": (13, onnx_functions.softmax_before_13)}


def operator(name: str, opset: int) -> Callable[..., Tensor]:
    """The function of an operator of the table."""
    since, before = BEFORE.get(name, (0, OPERATORS[name]))
    return before if opset < since else OPERATORS[name]

"""What grey levels an ONNX graph takes, from the operations that it applies to its input first."""

from typing import Any, NamedTuple

import numpy as np

from aird_plugin.models.onnx_values import constant_array

# Operations that select channels: a Slice with step -1 or a Gather swaps RGB and BGR, as do parts in another order.
SELECTIONS = ("Slice", "Gather", "Split")
# Operations that leave values in their range.
MOVES = (
    *SELECTIONS,
    *("Identity", "Cast", "Transpose", "Dropout", "Concat", "Reshape", "Squeeze", "Unsqueeze", "Resize", "Upsample", "Pad"),
    *("Clip", "QuantizeLinear", "DequantizeLinear"),
)
# Operations that hand on a constant: exporters store equal tensors, such as mean and std of 0.5, once.
COPIES = ("Identity", "Cast", "QuantizeLinear", "DequantizeLinear")
# Operations on the image's shape, beside those on the image.
OF_THE_SHAPE = ("Shape", "Size")
# First operations of a network that does not normalise its input.
FIRST_LAYERS = ("Conv", "Gemm", "MatMul", "GlobalAveragePool", "AveragePool", "MaxPool")
# A constant of more values than an image is a weight.
LARGEST_CONSTANT = 3 * 112 * 112
RAW, UNIT, CENTRED = "raw", "unit", "centred"


class Affine(NamedTuple):
    """The first operations as (x - mean) / std, averaged over the channels. batchnorm: a trained BatchNorm is among them."""

    mean: float
    std: float
    batchnorm: bool


def grey_levels(model, input_name: str) -> str | None:
    """The range that the input is in: "raw" 0..255, "unit" 0..1, "centred" about 0 (normalised outside), None: not clear.

    Constants of the first operations show it. A mean of 60 to 190, or a division of nothing but the range by 100 or more, is of
    grey levels; a mean of 0.3 to 0.7 with a std below 1 is of 0..1. Without any, the first layer works on normalised images.
    """
    affine, next_operation = leading_affine(model, input_name)
    if affine is None:
        return CENTRED if next_operation in FIRST_LAYERS else None
    if 60 <= affine.mean <= 190 or (abs(affine.mean) < 1 and affine.std >= 100):
        return RAW
    if not affine.batchnorm and 0.3 <= affine.mean <= 0.7 and 0.1 <= affine.std <= 0.7:
        return UNIT
    return CENTRED if affine.batchnorm and abs(affine.mean) < 1 and affine.std < 3 else None


def leading_affine(model, input_name: str) -> tuple[Affine | None, str | None]:
    """The constants that the input meets first, None without any, and the operation behind them (None at a branch)."""
    graph, users = model.graph, dict[str, list]()
    for node in graph.node:
        for name in node.input:
            users.setdefault(name, []).append(node)
    constants = _Constants(graph)
    scale, shift, changed, batchnorm, name = 1.0, 0.0, False, False, input_name
    while True:
        following = [node for node in users.get(name, []) if node.op_type not in OF_THE_SHAPE]
        # Of channels that are treated one by one, the first stands for all.
        is_one = len(following) == 1 or (following and all(node.op_type in SELECTIONS for node in following))
        node = following[0] if is_one else None
        step = _step(node, name, constants) if node is not None else None
        if step is None:
            break
        if step != (1.0, 0.0):
            changed, batchnorm = True, batchnorm or node.op_type == "BatchNormalization"
        scale, shift, name = scale * step[0], shift * step[0] + step[1], node.output[0]
    behind = node.op_type if node is not None else None
    if not changed or scale == 0 or not np.isfinite([scale, shift]).all():
        return None, behind
    return Affine(-shift / scale, 1 / abs(scale), batchnorm), behind


def _step(node, name: str, constants: "_Constants") -> tuple[float, float] | None:
    """(scale, shift) of a node that maps its input x to scale * x + shift; None for another node."""
    if node.op_type in MOVES:
        # The image may be any of a Concat's inputs, and is the first of the others.
        return (1.0, 0.0) if node.input[0] == name or node.op_type == "Concat" else None
    if node.op_type == "BatchNormalization":
        gamma, beta, mean, var = (constants.value(one) for one in node.input[1:5])
        if any(one is None for one in (gamma, beta, mean, var)):
            return None
        epsilon = next((one.f for one in node.attribute if one.name == "epsilon"), 1e-5)
        scale_C = gamma / np.sqrt(np.maximum(var, 0) + epsilon)
        return float(scale_C.mean()), float((beta - mean * scale_C).mean())
    if node.op_type not in ("Sub", "Add", "Mul", "Div") or len(node.input) != 2:
        return None
    first = node.input[0] == name
    value = constants.value(node.input[1] if first else node.input[0])
    if value is None or (node.op_type == "Div" and (not first or not value.all())):
        return None
    number = float(value.mean())
    if node.op_type == "Sub":
        return (1.0, -number) if first else (-1.0, number)
    if node.op_type == "Add":
        return 1.0, number
    return (number, 0.0) if node.op_type == "Mul" else (float((1 / value).mean()), 0.0)


class _Constants:
    """The values of a graph's constants by name. Weights in external files, and large ones, are left out."""

    def __init__(self, graph: Any) -> None:
        from onnx import numpy_helper

        self.tensors: dict[str, Any] = {tensor.name: tensor for tensor in graph.initializer}
        self.copies = {node.output[0]: node.input[0] for node in graph.node if node.op_type in COPIES}
        for node in graph.node:
            if node.op_type == "Constant" and node.attribute and node.attribute[0].name == "value":
                self.tensors[node.output[0]] = node.attribute[0].t
            elif node.op_type == "Constant" and node.attribute and node.attribute[0].name.startswith("value_float"):
                self.tensors[node.output[0]] = numpy_helper.from_array(constant_array(node.attribute[0]))

    def value(self, name: str) -> np.ndarray | None:
        """The stored tensor of this name, None where the graph computes it."""
        from onnx import numpy_helper

        while name in self.copies and name not in self.tensors:
            name = self.copies[name]
        tensor = self.tensors.get(name)
        if tensor is None or tensor.external_data or int(np.prod(list(tensor.dims), dtype=np.int64)) > LARGEST_CONSTANT:
            return None
        return np.asarray(numpy_helper.to_array(tensor), np.float64)

"""What each value of an ONNX graph is: a constant, a weight, the image, or a feature; and the constants' values.

Constants are whatever depends neither on the image nor on a weight: numbers, shapes, position encodings. onnxruntime computes
them once, at two batch sizes, so a value that depends on the batch size is found, and as a function of it.
"""

from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from aird_plugin.models.onnx_operators import LEARNED, OPERATORS

BATCHES = (2, 3)


class Kind(Enum):
    CONSTANT = auto()
    # A float tensor of the file that is trained.
    WEIGHT = auto()
    # The image, up to the first operator with weights: what normalises it is not trained.
    IMAGE = auto()
    FEATURE = auto()


@dataclass(frozen=True)
class ByBatch:
    """A constant that depends on the batch size B: `values` are those at B = 2 and B = 3."""

    values: tuple[np.ndarray, np.ndarray]


class GraphInfo(NamedTuple):
    """Names of a graph's input and output, the input of one image, and the only batch size, None for any.

    unused_inputs: values for the inputs that no operation uses and that onnxruntime still wants.
    """

    path: Path
    image: str
    output: str
    example: np.ndarray
    fixed_batch: int | None = None
    unused_inputs: dict[str, np.ndarray] | None = None

    def inputs(self, batch: int) -> dict[str, np.ndarray]:
        """What onnxruntime takes for a batch of this size."""
        return {self.image: self.example.repeat(batch, 0)} | (self.unused_inputs or {})


def kinds_of(model: Any, image: str) -> dict[str, Kind]:
    """Kind of every value by name. `image` is the name of the graph's input."""
    tensors = file_tensors(model)
    kinds = {
        name: Kind.WEIGHT if array.dtype.kind == "f" and array.size > 1 else Kind.CONSTANT for name, array in tensors.items()
    }
    kinds[image] = Kind.IMAGE
    for node in model.graph.node:
        for name, array in ((name, tensors[name]) for name in node.input if name in tensors):
            if node.op_type in LEARNED and array.dtype.kind == "f":
                kinds[name] = Kind.WEIGHT
        if node.op_type != "Constant":
            # A weight combined with axes, shapes or single numbers is still a weight.
            sizes = [name for name in node.input if name in tensors and kinds[name] is Kind.CONSTANT]
            kind = _output_kind(node, [kinds[name] for name in node.input if name and name not in sizes])
            kinds |= dict.fromkeys(node.output, kind)
    return kinds


def _output_kind(node: Any, inputs: list[Kind]) -> Kind:
    if node.op_type in ("Shape", "Size"):
        return Kind.CONSTANT
    if Kind.FEATURE in inputs or (node.op_type in LEARNED and len(inputs) > 1 and inputs != [Kind.CONSTANT] * len(inputs)):
        return Kind.FEATURE
    if Kind.IMAGE in inputs:
        return Kind.IMAGE
    return Kind.WEIGHT if set(inputs) == {Kind.WEIGHT} and node.op_type in OPERATORS else Kind.CONSTANT


def file_tensors(model: Any) -> dict[str, np.ndarray]:
    """Every tensor stored in the file, by name: the initializers and the Constant nodes'."""
    from onnx import numpy_helper

    arrays = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "Constant":
            arrays[node.output[0]] = constant_array(node.attribute[0])
    return arrays


def constant_array(attribute: Any) -> np.ndarray:
    """The value of a Constant node: a tensor, or a number or list in an attribute of its own."""
    from onnx import helper, numpy_helper

    value = helper.get_attribute_value(attribute)
    if attribute.name == "value":
        return numpy_helper.to_array(value)
    return np.asarray(value, np.float32 if attribute.name.startswith("value_float") else np.int64)


def set_tensors(model: Any, arrays: dict[str, np.ndarray]) -> None:
    """Overwrite tensors stored in the file, by name, in their stored type and shape. A value that is equal stays as it was."""
    from onnx import numpy_helper

    constants = {node.output[0]: node.attribute[0].t for node in model.graph.node if node.op_type == "Constant"}
    stored = {tensor.name: tensor for tensor in model.graph.initializer} | constants
    for name, array in arrays.items():
        before = numpy_helper.to_array(stored[name])
        after = array.reshape(before.shape).astype(before.dtype)
        if not np.array_equal(before, after, equal_nan=True):
            stored[name].CopyFrom(numpy_helper.from_array(after, stored[name].name))


def constant_values(model: Any, names: set[str], info: GraphInfo) -> dict[str, Any]:
    """The value of each constant in `names`: an array, or `ByBatch`."""
    arrays = file_tensors(model)
    wanted = sorted(names - arrays.keys())
    if not wanted:
        return {name: arrays[name] for name in names}
    batches = [info.fixed_batch] if info.fixed_batch else BATCHES
    runs = [run_graph(model, wanted, info.inputs(batch)) for batch in batches]
    values: dict[str, Any] = {name: arrays[name] for name in names & arrays.keys()}
    for name, *found in zip(wanted, *runs, strict=True):
        same = len(found) == 1 or (found[0].shape == found[1].shape and np.array_equal(found[0], found[1]))
        values[name] = found[0] if same else ByBatch((found[0], found[1]))
    return values


def run_graph(model: Any, names: list[str], inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
    """Values of a graph by their names, computed by onnxruntime."""
    import onnx
    import onnxruntime

    part = onnx.ModelProto()
    part.CopyFrom(model)
    del part.graph.output[:]
    part.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(part.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(names, inputs)

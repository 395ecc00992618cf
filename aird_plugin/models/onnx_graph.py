"""An ONNX graph -> a torch.fx.GraphModule: generated PyTorch code without an interpreter, which trains and compiles like any
other. Float weights become parameters, BatchNormalization nodes become nn.BatchNorm1d or 2d.
"""

import inspect
import operator as python
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import fx, nn

from aird_plugin.models.onnx_fusion import fuse
from aird_plugin.models.onnx_operators import INTS, LEARNED, OPERATORS, operator
from aird_plugin.models.onnx_values import ByBatch, Kind, constant_values, file_tensors, kinds_of


@dataclass
class Translation:
    """The state while a graph is translated.

    sources: key of the state dict -> name of the tensor in the file. shared: that name -> the BatchNorm tensor made from it.
    """

    model: Any
    image: str
    arrays: dict[str, np.ndarray]
    kinds: dict[str, Kind]
    constants: dict[str, Any]
    root: nn.Module = field(default_factory=nn.Module)
    graph: fx.Graph = field(default_factory=fx.Graph)
    values: dict[str, fx.Node] = field(default_factory=dict)
    sources: dict[str, str] = field(default_factory=dict)
    ranks: dict[str, int] = field(default_factory=dict)
    shared: dict[str, Any] = field(default_factory=dict)
    batch: fx.Node | None = None

    def stored(self, name: str) -> str:
        """The tensor of the file behind a name: exporters write equal tensors once, and Identity nodes for the others."""
        copies = {node.output[0]: node.input[0] for node in self.model.graph.node if node.op_type == "Identity"}
        while name in copies:
            name = copies[name]
        return name


def graph_module(model: Any, path: Path, image: str, side: tuple[int, ...], fixed_batch: int | None, output: str):
    """Translate a graph; returns (module: image tensor -> output tensor, state-dict key -> tensor name of the file).

    image, output: names in the graph. side: shape of one image. fixed_batch: the declared batch size, None for any; a batch of
    one in constant shapes becomes any.
    Raises ValueError for an operator that is not supported, naming it and those that are.
    """
    check_operators(model, path)
    kinds = kinds_of(model, image)
    computed = [node for node in model.graph.node if kinds[node.output[0]] is not Kind.CONSTANT and node.op_type != "Constant"]
    names = {name for node in computed for name in node.input if name and kinds[name] is Kind.CONSTANT}
    constants = constant_values(model, names, image, side, fixed_batch)
    state = Translation(model, image, file_tensors(model), kinds, constants)
    if any(node.op_type == "BatchNormalization" for node in computed):
        state.ranks = ranks_of(model)
    state.values[image] = state.graph.placeholder("images")
    state.batch = state.graph.call_method("size", (state.values[image], 0))
    for node in computed:
        try:
            translate(state, node, fixed_batch)
        except (TypeError, KeyError, IndexError) as error:
            raise ValueError(f"{path}: node {node.name or node.output[0]} ({node.op_type}) cannot be read: {error}") from error
    state.graph.output(state.values[output])
    module = fx.GraphModule(state.root, state.graph)
    fuse(module.graph)
    module.recompile()
    used = {node.target for node in module.graph.nodes if node.op in ("get_attr", "call_module")}
    for name in [*module._parameters, *module._buffers, *module._modules]:
        if name not in used:
            delattr(module, name)
    return module, {key: name for key, name in state.sources.items() if key.split(".")[0] in used}


def check_operators(model: Any, path: Path) -> None:
    """ValueError where the graph has an operator without a PyTorch function, outside its constant parts."""
    unknown = {node.op_type for node in model.graph.node if operator(node.op_type, opset(model)) is None}
    unknown -= CONSTANT_ONLY
    if unknown:
        raise ValueError(
            f"{path} cannot be trained: operators {', '.join(sorted(unknown))} are not supported (it can still be a teacher). "
            f"Supported are BatchNormalization, {', '.join(OPERATORS)}"
        )


# Operators that are computed when the graph is read, or that become modules.
CONSTANT_ONLY = frozenset(
    {"Constant", "ConstantOfShape", "Shape", "Size", "Range", "CumSum", "Sin", "Cos", "Not", "Equal", "Where", "Floor", "Mod"}
    | {"BatchNormalization"}
)


def opset(model: Any) -> int:
    """Version of the default operator set."""
    return next((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), 1)


def translate(state: Translation, node: Any, fixed_batch: int | None) -> None:
    """Add one node of the ONNX graph to the fx graph."""
    if node.op_type in LEARNED and state.kinds[node.input[1]] is Kind.CONSTANT:
        raise ValueError(f"{node.op_type} with a weight that the graph computes is not supported; stored ones are")
    if node.op_type == "BatchNormalization":
        state.values[node.output[0]] = batch_norm(state, node)
        return
    function = operator(node.op_type, opset(state.model))
    if function is None:
        raise ValueError(f"{node.op_type} of an image or a feature is not supported")
    names = parameter_names(function)
    args = [argument(state, node, names[min(number, len(names) - 1)], name) for number, name in enumerate(node.input)]
    options = attributes(node)
    if node.op_type == "Reshape" and fixed_batch == 1 and isinstance(args[1], list) and args[1][:1] == [1]:
        args[1] = [state.batch, *args[1][1:]]
    if node.op_type == "Split" and len(args) < 2 and "split" not in options:
        options["num_outputs"] = len(node.output)
    out = state.graph.call_function(function, tuple(args), options)
    if node.op_type == "Split":
        for number, name in enumerate(node.output):
            state.values[name] = state.graph.call_function(python.getitem, (out, number))
    else:
        state.values[node.output[0]] = out


def parameter_names(function: Any) -> list[str]:
    """Names of a function's parameters; of a built-in one (of tensors only) a placeholder."""
    try:
        return list(inspect.signature(function).parameters)
    except ValueError:
        return ["tensor"]


def attributes(node: Any) -> dict[str, Any]:
    """The attributes of a node as keyword arguments."""
    from onnx import helper

    found = {entry.name: helper.get_attribute_value(entry) for entry in node.attribute}
    return {key: value.decode() if isinstance(value, bytes) else value for key, value in found.items()}


def argument(state: Translation, node: Any, parameter: str, name: str) -> Any:
    """One input of a node as an argument: an fx node, a number, a list of whole numbers, or None."""
    if not name:
        return None
    if parameter in INTS:
        if name not in state.constants:
            raise ValueError(f"its {parameter} depends on the image")
        return whole_numbers(state, state.constants[name], reshaping=node.op_type == "Reshape")
    if name in state.values:
        return state.values[name]
    # A stored tensor in the place of the features is a position encoding.
    encoding = node.op_type in LEARNED - {"MatMul", "Gemm"} and name == node.input[0]
    if state.kinds[name] is Kind.WEIGHT and state.kinds[node.output[0]] is not Kind.IMAGE and not encoding:
        return parameter_of(state, name)
    return constant(state, name, state.constants[name] if name in state.constants else state.arrays[name])


def whole_numbers(state: Translation, value: Any, reshaping: bool) -> list:
    """A constant as a list of whole numbers, of fx nodes where they depend on the batch size."""
    if not isinstance(value, ByBatch):
        return [int(number) for number in np.atleast_1d(value)]
    two, three = (np.atleast_1d(one).tolist() for one in value.values)
    varying = [index for index, (a, b) in enumerate(zip(two, three, strict=True)) if a != b]
    if reshaping and len(varying) == 1 and -1 not in two:
        return [-1 if index in varying else number for index, number in enumerate(two)]
    return [state.graph.call_function(linear_in, (state.batch, a, b)) if a != b else a for a, b in zip(two, three, strict=True)]


def linear_in(batch: int, two: int, three: int) -> int:
    """The number that is `two` at batch 2 and `three` at batch 3, if it is linear in the batch."""
    return two + (batch - 2) * (three - two)


def parameter_of(state: Translation, name: str) -> fx.Node:
    """A float tensor of the file as a parameter."""
    if name not in state.values:
        key = unused_key(state.root, name)
        state.root.register_parameter(key, nn.Parameter(as_tensor(state.arrays[name])))
        state.sources[key] = name
        state.values[name] = state.graph.get_attr(key)
    return state.values[name]


def constant(state: Translation, name: str, value: Any) -> Any:
    """A constant: a Python number where it has no axes, else a buffer, repeated over the batch where it depends on it."""
    if isinstance(value, ByBatch):
        two, three = value.values
        if two.shape[1:] != three.shape[1:] or not np.array_equal(two, np.broadcast_to(two[:1], two.shape)):
            raise ValueError(f"its input {name} depends on the batch size, from {two.shape} to {three.shape}")
        row = constant(state, name, two[:1])
        return state.graph.call_method("expand", (row, state.batch, *[-1] * (two.ndim - 1)))
    if value.ndim == 0 or value.shape == (1,):
        return value.item()
    key = unused_key(state.root, f"constant_{name}")
    state.root.register_buffer(key, as_tensor(value), persistent=False)
    return state.graph.get_attr(key)


def batch_norm(state: Translation, node: Any) -> fx.Node:
    """A BatchNormalization node as a module, which FaceBN and training know."""
    x, *names = node.input
    if x not in state.values:
        raise ValueError("BatchNormalization of a constant is not supported")
    options = attributes(node)
    names = [state.stored(name) for name in names]
    kind = nn.BatchNorm1d if state.ranks.get(x) == 2 else nn.BatchNorm2d
    layer = kind(state.arrays[names[0]].size, options.get("epsilon", 1e-5))
    key = unused_key(state.root, f"bn_{node.name or node.output[0]}")
    for part, name in zip(("weight", "bias", "running_mean", "running_var"), names, strict=True):
        value = state.shared.setdefault(name, getattr(layer, part))
        value.data.copy_(as_tensor(state.arrays[name]))
        setattr(layer, part, value)
        state.sources[f"{key}.{part}"] = name
    state.root.add_module(key, layer)
    return state.graph.call_module(key, (state.values[x],))


def ranks_of(model: Any) -> dict[str, int]:
    """Number of axes of every value, from ONNX's shape inference."""
    from onnx import shape_inference

    inferred = shape_inference.infer_shapes(model).graph
    values = (*inferred.value_info, *inferred.output, *inferred.input)
    return {value.name: len(value.type.tensor_type.shape.dim) for value in values}


def as_tensor(array: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.array(array, np.float32 if array.dtype.kind == "f" else array.dtype))


def unused_key(root: nn.Module, name: str) -> str:
    """A new attribute name from a tensor's name in the file."""
    key = base = re.sub(r"\W", "_", name).strip("_") or "value"
    key = base = f"w_{base}" if base[0].isdigit() else base
    number = 1
    while hasattr(root, key):
        number += 1
        key = f"{base}_{number}"
    return key

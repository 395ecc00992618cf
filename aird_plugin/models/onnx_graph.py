"""An ONNX graph -> a torch.fx.GraphModule: generated PyTorch code without an interpreter, which trains and compiles like any
other. Stored float weights become parameters, BatchNormalization nodes become nn.BatchNorm1d or 2d.
"""

import inspect
import operator as python
import re
from typing import Any

import numpy as np
import torch
from torch import fx, nn

from aird_plugin.models.onnx_file import attributes, ranks_of, sort_nodes, untrainable
from aird_plugin.models.onnx_first_run import FAILURES, ORIGIN, first_line
from aird_plugin.models.onnx_fusion import fuse
from aird_plugin.models.onnx_operators import INTS, LEARNED, OPERATORS, operator
from aird_plugin.models.onnx_shared import PARTS
from aird_plugin.models.onnx_values import ByBatch, GraphInfo, Kind, constant_values, file_tensors, kinds_of, run_graph


def graph_module(model: Any, info: GraphInfo) -> tuple[fx.GraphModule, dict[str, str]]:
    """Translate a graph: (module from images to `output`, state-dict key -> name of the tensor in the file).

    model: onnx ModelProto with all weights, after `onnx_shared.separate`. A fixed batch of one becomes any batch size.
    Raises ValueError for an operator that is not supported, naming it and those that are. Arguments that are not supported show
    when the module runs (`onnx_first_run.first_run`).
    """
    sort_nodes(model.graph)
    translator = Translator(model, info)
    for node in translator.computed:
        origin = f"node {node.name or node.output[0]} ({node.op_type})"
        try:
            translator.add(node)
        except FAILURES as error:
            raise untrainable(info.path, f"{origin}: {first_line(error)}") from error
        translator.name_new_nodes(origin)
    return translator.finish()


class Translator:
    """Builds the fx graph node by node. sources: key of the state dict -> name of the tensor in the file."""

    def __init__(self, model: Any, info: GraphInfo):
        self.model, self.info, self.arrays = model, info, file_tensors(model)
        self.opset = next((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), 1)
        self.kinds = kinds_of(model, info.image)
        nodes = [node for node in model.graph.node if node.op_type != "Constant"]
        self.computed = [node for node in nodes if self.kinds[node.output[0]] is not Kind.CONSTANT]
        self._check_operators()
        inputs = {name for node in self.computed for name in node.input if name}
        constants = {name for name in inputs if self.kinds[name] is Kind.CONSTANT}
        self.constants = constant_values(model, constants, info)
        self.copies = {node.output[0]: node.input[0] for node in nodes if node.op_type == "Identity"}
        normalised = [node.input[0] for node in nodes if node.op_type == "BatchNormalization"]
        self.ranks = ranks_of(model) if normalised else {}
        # Shape inference gives up at a shape that the graph computes.
        if unknown := [name for name in normalised if not self.ranks.get(name)]:
            values = run_graph(model, unknown, info.inputs(info.fixed_batch or 1))
            self.ranks |= {name: value.ndim for name, value in zip(unknown, values, strict=True)}
        self.root, self.graph = nn.Module(), fx.Graph()
        self.sources: dict[str, str] = {}
        image = self.graph.placeholder("images")
        self.values: dict[str, fx.Node] = {info.image: image}
        self.batch = self.graph.call_method("size", (image, 0))

    def _check_operators(self) -> None:
        known = {"BatchNormalization", *OPERATORS}
        if unknown := {node.op_type for node in self.computed} - known:
            raise ValueError(
                f"{self.info.path} cannot be trained: operators {', '.join(sorted(unknown))} are not supported (it can still be "
                f"a teacher). Supported are {', '.join(sorted(known))}"
            )

    def add(self, node: Any) -> None:
        """Add one node of the ONNX graph."""
        if node.op_type in LEARNED and self.kinds[node.input[1]] is Kind.CONSTANT:
            raise ValueError("its weight is computed in the graph; only stored weights are supported")
        if node.op_type == "BatchNormalization":
            self.values[node.output[0]] = self.batch_norm(node)
            return
        function = operator(node.op_type, self.opset)
        names = parameter_names(function)
        args = [self.argument(node, names[min(index, len(names) - 1)], name) for index, name in enumerate(node.input)]
        options = attributes(node)
        if node.op_type == "Reshape" and self.info.fixed_batch == 1 and args[1][:1] == [1]:
            args[1] = [self.batch, *args[1][1:]]
        if node.op_type != "Split":
            self.values[node.output[0]] = self.graph.call_function(function, tuple(args), options)
            return
        if len(args) < 2 and "split" not in options:
            options["num_outputs"] = len(node.output)
        parts = self.graph.call_function(function, tuple(args), options)
        for index, name in enumerate(node.output):
            self.values[name] = self.graph.call_function(python.getitem, (parts, index))

    def name_new_nodes(self, origin: str) -> None:
        """Note on the fx nodes that were added last which node of the file they are from."""
        for node in reversed(self.graph.nodes):
            if ORIGIN in node.meta:
                return
            node.meta[ORIGIN] = origin

    def argument(self, node: Any, parameter: str, name: str) -> Any:
        """One input of a node as an argument: an fx node, a number, a list of whole numbers, or None."""
        if not name:
            return None
        if parameter in INTS:
            if name not in self.constants:
                raise ValueError(f"its {parameter} depends on the image")
            return self.whole_numbers(self.constants[name], reshaping=node.op_type == "Reshape")
        if name in self.values:
            return self.values[name]
        # Without gradient: what normalises the image, and a stored tensor in the place of features (a position encoding).
        normalising = self.kinds[node.output[0]] is Kind.IMAGE
        encoding = node.op_type in LEARNED - {"MatMul", "Gemm"} and name == node.input[0]
        if self.kinds[name] is Kind.WEIGHT and not normalising and not encoding:
            return self.parameter(name)
        return self.constant(name, self.constants[name] if name in self.constants else self.arrays[name])

    def whole_numbers(self, value: Any, reshaping: bool) -> list:
        """A constant as a list of whole numbers, of fx nodes where they depend on the batch size."""
        if not isinstance(value, ByBatch):
            return [int(number) for number in np.atleast_1d(value)]
        pairs = list(zip(*(np.atleast_1d(one).tolist() for one in value.values), strict=True))
        varying = [two != three for two, three in pairs]
        if reshaping and sum(varying) == 1 and (-1, -1) not in pairs:
            return [-1 if varies else two for varies, (two, _) in zip(varying, pairs, strict=True)]
        return [self.graph.call_function(linear_in, (self.batch, *pair)) if pair[0] != pair[1] else pair[0] for pair in pairs]

    def parameter(self, name: str) -> fx.Node:
        """A float tensor of the file as a parameter."""
        if name not in self.values:
            key = unused_key(self.root, name)
            self.root.register_parameter(key, nn.Parameter(as_tensor(self.arrays[name])))
            self.sources[key] = name
            self.values[name] = self.graph.get_attr(key)
        return self.values[name]

    def constant(self, name: str, value: Any) -> Any:
        """A Python number where the constant is one, else a buffer, repeated over the batch where its size is the batch's."""
        if isinstance(value, ByBatch):
            two, three = value.values
            if two.shape[1:] != three.shape[1:] or not np.array_equal(two, np.broadcast_to(two[:1], two.shape)):
                raise ValueError(f"its input {name} depends on the batch size, from {two.shape} to {three.shape}")
            row = self.buffer(name, two[:1])
            return self.graph.call_method("expand", (row, self.batch, *[-1] * (two.ndim - 1)))
        return value.item() if value.ndim == 0 or value.shape == (1,) else self.buffer(name, value)

    def buffer(self, name: str, value: np.ndarray) -> fx.Node:
        """A constant tensor, which the state dict leaves out."""
        key = unused_key(self.root, f"constant_{name}")
        self.root.register_buffer(key, as_tensor(value), persistent=False)
        return self.graph.get_attr(key)

    def batch_norm(self, node: Any) -> fx.Node:
        """A BatchNormalization node as a module, which FaceBN and training know."""
        image, *names = node.input
        layer_type = nn.BatchNorm1d if self.ranks[image] == 2 else nn.BatchNorm2d
        names = [self.stored(name) for name in names]
        if computed := [name for name in names if name not in self.arrays]:
            raise ValueError(f"its {computed[0]} is computed in the graph; only stored weights are supported")
        layer = layer_type(self.arrays[names[0]].size, attributes(node).get("epsilon", 1e-5), dtype=torch.float32)
        key = unused_key(self.root, f"bn_{node.name or node.output[0]}")
        for part, name in zip(PARTS, names, strict=True):
            getattr(layer, part).data.copy_(as_tensor(self.arrays[name]))
            self.sources[f"{key}.{part}"] = name
        self.root.add_module(key, layer)
        return self.graph.call_module(key, (self.values[image],))

    def stored(self, name: str) -> str:
        """The tensor of the file behind a name: exporters write equal tensors once, and Identity nodes for the others."""
        while name in self.copies:
            name = self.copies[name]
        return name

    def finish(self) -> tuple[fx.GraphModule, dict[str, str]]:
        """The module, without what the output does not use, and the sources of what it has."""
        self.graph.output(self.values[self.info.output])
        module = fx.GraphModule(self.root, self.graph)
        fuse(module.graph)
        module.recompile()
        used = {node.target for node in module.graph.nodes if node.op in ("get_attr", "call_module")}
        for name in [*module._parameters, *module._buffers, *module._modules]:
            if name not in used:
                delattr(module, name)
        return module, {key: name for key, name in self.sources.items() if key.split(".")[0] in used}


def linear_in(batch: int, two: int, three: int) -> int:
    """The number that is `two` at batch 2 and `three` at batch 3, if it is linear in the batch."""
    return two + (batch - 2) * (three - two)


def parameter_names(function: Any) -> list[str]:
    """Names of a function's parameters; of a built-in one (of tensors only) a placeholder."""
    try:
        return list(inspect.signature(function).parameters)
    except ValueError:
        return ["tensor"]


def as_tensor(array: np.ndarray) -> torch.Tensor:
    """A copy; every float type becomes float32."""
    return torch.from_numpy(np.array(array, np.float32 if array.dtype.kind == "f" else array.dtype))


def unused_key(root: nn.Module, name: str) -> str:
    """A new attribute name from a tensor's name in the file."""
    key = re.sub(r"\W", "_", name).strip("_") or "value"
    base = key = f"w_{key}" if key[0].isdigit() else key
    number = 1
    while hasattr(root, key):
        number += 1
        key = f"{base}_{number}"
    return key

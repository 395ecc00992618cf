"""Tensors that a file stores once and that BatchNorm layers read beside others.

Exporters store equal tensors once: the zero biases and zero means of all layers of a new network. Training moves some of them and
not others, so each BatchNorm layer gets tensors of its own; the file gets them where their values have changed.
"""

from collections import Counter
from collections.abc import Mapping, Set
from typing import Any, NamedTuple

import numpy as np

from aird_plugin.models.onnx_values import file_tensors, set_tensors

# The inputs of BatchNormalization after the first, by their names in nn.BatchNorm.
PARTS = ("weight", "bias", "running_mean", "running_var")


class Reader(NamedTuple):
    """An input of a node, and the stored tensor behind it."""

    node: Any
    input_index: int
    stored: str


def separate(model: Any, values: Mapping[str, np.ndarray] | None = None) -> None:
    """Give every BatchNorm input whose tensor others read too a tensor of its own, in place.

    values: new values of stored tensors and of these own ones, by name; an own one without a new value is left out.
    """
    arrays, readers = file_tensors(model), shared_readers(model)
    for name, reader in readers.items():
        before = arrays[reader.stored]
        if values is None or not _stays(name, reader.stored, before, values):
            _add_tensor(model, name, before)
            reader.node.input[reader.input_index] = name
    read = {name for node in model.graph.node for name in node.input}
    for stored in {reader.stored for reader in readers.values()} - read:
        for kept in (model.graph.initializer, model.graph.input):
            for entry in [entry for entry in kept if entry.name == stored]:
                kept.remove(entry)


def write_tensors(model: Any, values: Mapping[str, np.ndarray]) -> None:
    """Write a network's tensors, whose names are those of the file after `separate`, into the file as it is stored."""
    separate(model, values)
    stored = file_tensors(model)
    set_tensors(model, {name: value for name, value in values.items() if name in stored})


def shared_readers(model: Any) -> dict[str, Reader]:
    """The BatchNorm inputs whose stored tensor others read too, by the names of their own tensors."""
    counts = Counter(name for node in model.graph.node for name in node.input)
    copies = {node.output[0]: node for node in model.graph.node if node.op_type == "Identity"}
    stored = file_tensors(model).keys()
    taken = stored | counts.keys() | {name for node in model.graph.node for name in node.output}
    found: dict[str, Reader] = {}
    for node in model.graph.node:
        if node.op_type != "BatchNormalization":
            continue
        for input_index, part in enumerate(PARTS, start=1):
            reader, shared = _reader(node, input_index, copies, counts)
            if shared and reader.stored in stored:
                found[_new_name(f"{node.name or node.output[0]}.{part}", taken | found.keys())] = reader
    return found


def _reader(node: Any, input_index: int, copies: Mapping[str, Any], counts: Mapping[str, int]) -> tuple[Reader, bool]:
    """What to rewire for a BatchNorm input, and whether others read its tensor: an Identity node of its own keeps its name."""
    name = node.input[input_index]
    while counts[name] == 1 and name in copies:
        node, input_index = copies[name], 0
        name = node.input[0]
    shared = counts[name] > 1
    while name in copies:
        name = copies[name].input[0]
        shared = shared or counts[name] > 1
    return Reader(node, input_index, name), shared


def _new_name(name: str, taken: Set[str]) -> str:
    while name in taken:
        name += "_own"
    return name


def _stays(name: str, stored: str, before: np.ndarray, values: Mapping[str, np.ndarray]) -> bool:
    """Whether the stored tensor will still hold the value of an own one."""
    if name not in values:
        return True
    own, common = (np.asarray(value, before.dtype) for value in (values[name], values.get(stored, before)))
    return np.array_equal(own.ravel(), common.ravel(), equal_nan=True)


def _add_tensor(model: Any, name: str, value: np.ndarray) -> None:
    from onnx import helper, numpy_helper

    tensor = numpy_helper.from_array(value, name)
    model.graph.initializer.append(tensor)
    # Before IR version 4 every stored tensor is an input too.
    if model.ir_version < 4:
        model.graph.input.append(helper.make_tensor_value_info(name, tensor.data_type, list(tensor.dims)))

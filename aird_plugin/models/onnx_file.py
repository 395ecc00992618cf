"""An ONNX file as a graph: read it, check where its weights lie, and derive how its input is normalised."""

import json
from pathlib import Path
from typing import Any

# The key of an exported file's metadata.
METADATA = "aird_plugin"
MISSING_EXTRA = "an .onnx file needs the onnx extra: `pip install aird_plugin[onnx]`"


def read_onnx(path: Path):
    """The file as an onnx ModelProto, without the weights in external files."""
    try:
        import onnx
    except ImportError as error:
        raise ImportError(MISSING_EXTRA) from error
    # protobuf's exceptions have no common base class.
    try:
        return onnx.load(str(path), load_external_data=False)
    except Exception as error:
        raise ValueError(f"{path} is not a readable ONNX graph (corrupt or truncated?): {error}") from error


def untrainable(path: Path, reason: str) -> ValueError:
    """The error of a file that no student can start from."""
    return ValueError(f"{path} cannot be trained: {reason}; it can still be a teacher")


def load_onnx(path: Path):
    """The file as an onnx ModelProto with all weights inside. Raises what `read_onnx` and `check_external_data` raise."""
    model = read_onnx(path)
    check_external_data(path, model)
    from onnx.external_data_helper import load_external_data_for_model

    try:
        load_external_data_for_model(model, str(path.resolve().parent))
    except OSError as error:
        raise ValueError(f"{path} lacks its external weights: {error}; keep them in its folder") from error
    return model


def file_metadata(model: Any) -> dict[str, Any]:
    """What `aird export` recorded in a file; empty for any other file, and where it is damaged."""
    text = next((entry.value for entry in model.metadata_props if entry.key == METADATA), "{}")
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def check_external_data(path: Path, model) -> None:
    """Raise ValueError for external weights outside the graph's folder: a graph could name any file of the machine."""
    folder = path.resolve().parent
    for tensor in tensors_of(model.graph):
        for location in (entry.value for entry in tensor.external_data if entry.key == "location"):
            if folder not in (folder / location).resolve().parents:
                raise ValueError(f"{path} has external weights at {location!r}, outside its folder; it was not opened")


def tensors_of(graph):
    """Weights and constants of a graph and of its nested graphs."""
    yield from graph.initializer
    for node in graph.node:
        for attribute in node.attribute:
            yield from (attribute.t, *attribute.tensors)
            for inner in (attribute.g, *attribute.graphs):
                if inner.node or inner.initializer:
                    yield from tensors_of(inner)


def nodes_of(graph):
    """Nodes of a graph and of its nested graphs."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                yield from nodes_of(inner)


def normalises_inside(model) -> bool:
    """Whether the input is raw 0..255. InsightFace's rule: a Sub and a Mul, by node NAME, in the first 8 nodes."""
    names = [node.name for node in model.graph.node[:8]]
    return any(name.startswith(("Sub", "_minus")) for name in names) and any(name.startswith(("Mul", "_mul")) for name in names)


def attributes(node: Any) -> dict[str, Any]:
    """The attributes of a node as keyword arguments."""
    from onnx import helper

    found = {entry.name: helper.get_attribute_value(entry) for entry in node.attribute}
    return {key: value.decode() if isinstance(value, bytes) else value for key, value in found.items()}


def ranks_of(model: Any) -> dict[str, int]:
    """Number of axes of every value, from ONNX's shape inference."""
    from onnx import shape_inference

    inferred = shape_inference.infer_shapes(model).graph
    values = (*inferred.value_info, *inferred.output, *inferred.input)
    return {value.name: len(value.type.tensor_type.shape.dim) for value in values}

"""An ONNX file as a graph: read it, check where its weights lie, and derive how its input is normalised."""

import hashlib
import json
from pathlib import Path
from typing import Any

from aird_plugin.utils.files import file_sha256

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
    """The file as an onnx ModelProto with all weights inside. Raises what `read_onnx` and `external_files` raise."""
    model = read_onnx(path)
    external_files(path, model)
    from onnx.external_data_helper import load_external_data_for_model

    load_external_data_for_model(model, str(path.resolve().parent))
    return model


def single_file(path: Path) -> bytes:
    """The file's bytes; of one with external weights, those of the same graph with the weights inside."""
    return load_onnx(path).SerializeToString() if external_files(path, read_onnx(path)) else path.read_bytes()


def weights_sha256(path: Path) -> str:
    """SHA-256, in hex, of a weight file of any kind (`graph_sha256`)."""
    return graph_sha256(path, read_onnx(path)) if path.suffix == ".onnx" else file_sha256(path)


def graph_sha256(path: Path, model: Any) -> str:
    """SHA-256, in hex, of an .onnx file's bytes; of one with external weights, of those of all its files."""
    digests = [file_sha256(file) for file in (path, *external_files(path, model))]
    return hashlib.sha256(" ".join(digests).encode()).hexdigest() if digests[1:] else digests[0]


def file_metadata(model: Any) -> dict[str, Any]:
    """What `aird export` recorded in a file; empty for any other file, and where it is damaged."""
    text = next((entry.value for entry in model.metadata_props if entry.key == METADATA), "{}")
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def external_files(path: Path, model: Any) -> list[Path]:
    """The files of a graph's external weights, sorted.

    Raises ValueError for one outside the graph's folder, as a graph could name any file of the machine, and for a missing one.
    """
    folder, found = path.resolve().parent, set()
    for tensor in tensors_of(model.graph):
        for location in (entry.value for entry in tensor.external_data if entry.key == "location"):
            file = (folder / location).resolve()
            if folder not in file.parents:
                raise ValueError(f"{path} has external weights at {location!r}, outside its folder; it was not opened")
            if not file.is_file():
                raise ValueError(f"{path} has its weights in {location!r}, which is not in its folder; copy both files there")
            found.add(file)
    return sorted(found)


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


def sort_nodes(graph: Any) -> None:
    """Put each node behind those whose outputs it takes, in place: converters to float16 append nodes at the end.

    Raises ValueError for nodes that take each other's outputs.
    """
    nodes = list(graph.node)
    maker = {name: place for place, node in enumerate(nodes) for name in node.output if name}
    inner = [[part for attribute in node.attribute for part in (attribute.g, *attribute.graphs)] for node in nodes]
    inputs = [
        [*node.input, *(name for part in parts for one in nodes_of(part) for name in one.input)]
        for node, parts in zip(nodes, inner, strict=True)
    ]
    order: dict[int, None] = {}
    edges = sum(map(len, inputs))
    for place in range(len(nodes)):
        waiting = [place]
        while waiting:
            # In a graph without cycles, each edge is waited for once.
            if len(waiting) > edges + 1:
                raise ValueError(f"its node with the output {nodes[waiting[-1]].output[0]!r} takes that output itself")
            before = [maker[name] for name in inputs[waiting[-1]] if name in maker and maker[name] not in order]
            if before:
                waiting += before
            else:
                order.setdefault(waiting.pop())
    if list(order) != list(range(len(nodes))):
        del graph.node[:]
        graph.node.extend(nodes[place] for place in order)


def check_inference(path: Path, model: Any) -> None:
    """Raise ValueError for a graph with BatchNorm in training mode, whose embeddings depend on the other images of a batch."""
    for node in nodes_of(model.graph):
        if node.op_type == "BatchNormalization" and any(one.name == "training_mode" and one.i for one in node.attribute):
            raise ValueError(
                f"{path} was exported in training mode: its BatchNormalization normalises each image by those beside it; export "
                "it again after model.eval()"
            )


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

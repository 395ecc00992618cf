"""The network of a state dict: detected by its keys, built, and loaded strictly."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from aird_plugin.models.find import RUN_FILE
from aird_plugin.models.ir import IR_BLOCKS, LINEAR_KEY, style_of
from aird_plugin.models.iresnet import BLOCKS, blocks_in
from aird_plugin.models.onnx_network import GRAPH_FILE, OnnxNetwork
from aird_plugin.models.registry import ONNX, OTHERS, build, detect, is_native_state
from aird_plugin.models.teacher_input import TeacherInput
from aird_plugin.models.weights import read_weights
from aird_plugin.utils.json_files import read_object

# Tensors as long as the embedding: of IR networks, iresnets, mfn, mbf and native students.
WIDTH_KEYS = (LINEAR_KEY, "fc.weight", "linear1.conv.weight", "features.layers.2.weight", "features.running_mean")
# Keys of IR and IR-SE networks of other face recognition repositories.
FOREIGN_PREFIXES = ("input_layer.", "body.", "output_layer.")


def load_network(path: str | Path, network: str | None = None) -> nn.Module:
    """Build the network of a .pt file and load it strictly, in eval mode.

    network: its name (see `models.registry`); required where the keys do not identify it, as for native students.

    Raises ValueError for another architecture and for tensors that are missing, unexpected, of a wrong shape or not finite; and
    what `read_weights` raises.
    """
    return network_from(read_weights(path).state, path, network)


def network_from(state: Mapping[str, Tensor], path: str | Path, network: str | None = None) -> nn.Module:
    """`load_network` for a state dict already read; `path` is used in error messages only."""
    network = network or detect_network(state, path)
    net = build_for(network, state, path)
    check_types(state, net, path)
    try:
        net.load_state_dict(state, strict=True)
    except RuntimeError as error:
        found = detect(state)
        if found not in (None, network):
            raise ValueError(f"{path} holds weights of {found}, but network={network} is requested") from error
        lines = [line.strip() for line in str(error).splitlines()[1:4]]
        raise ValueError(f"{path} does not fit {network}: {' '.join(lines)[:400]}") from error
    check_numbers(state, path)
    return net.eval()


def check_types(state: Mapping[str, Tensor], net: nn.Module, path: str | Path) -> None:
    """Raise ValueError for whole or complex numbers in the place of weights: loading would turn them into others."""
    own = net.state_dict()
    for key, value in state.items():
        if key in own and own[key].is_floating_point() and not value.is_floating_point():
            raise ValueError(
                f"{path} holds {key} as {str(value.dtype).removeprefix('torch.')}, of which a weight cannot be made (a quantised "
                "network?); give weights in float32, float16 or bfloat16"
            )


def check_numbers(state: Mapping[str, Tensor], path: str | Path) -> None:
    """Raise ValueError for numbers that give no finite embedding."""
    for key, value in state.items():
        if not torch.isfinite(value).all():
            raise ValueError(f"{path} holds values that are not finite, first in {key}; did its training diverge?")
        if key.endswith("running_var") and (value < 0).any():
            raise ValueError(f"{path} holds negative variances, first in {key}; the file is damaged")


def build_for(network: str, state: Mapping[str, Tensor], path: str | Path) -> nn.Module:
    """A new network for the state dict of `path`; that of an .onnx student needs the graph beside it, as in a run folder."""
    if network != ONNX:
        return build(network, embedding_width(state))
    graph = Path(path).with_name(GRAPH_FILE)
    if not graph.is_file():
        raise FileNotFoundError(f"{path} holds the weights of a graph, but {graph} is not there: give the run folder")
    return OnnxNetwork(graph, TeacherInput.of(input_of_run(graph.with_name(RUN_FILE))))


def input_of_run(recipe_json: Path) -> Any:
    """How the .onnx student of a run is fed. A run of an older version knows only what its recipe states, None for the rules."""
    metadata = read_object(recipe_json) if recipe_json.is_file() else {}
    recipe = metadata.get("recipe")
    return metadata.get("input") or (recipe.get("student_input") if isinstance(recipe, dict) else None)


def detect_network(state: Mapping[str, Tensor], path: str | Path = "the file") -> str:
    """Name of the architecture with these keys.

    Raises ValueError where no entry of `models.registry` matches, and for a native student, whose keys do not determine its size.
    """
    name = detect(state)
    if name is not None:
        return name
    if is_native_state(state):
        raise ValueError(
            f"{path} is a native student: set network=native{{px}}_{{millions}}m, or give its run folder, which holds the name"
        )
    blocks = blocks_in(state)
    if blocks is not None:
        known = ", ".join(f"{name} {list(blocks)}" for name, blocks in BLOCKS.items())
        raise ValueError(f"{path} is an iresnet with {list(blocks)} blocks; supported are {known}")
    if any(key.startswith(FOREIGN_PREFIXES) for key in state):
        found = style_of(state)
        blocks_found = f" with {list(found[0])} blocks of style {tuple(found[1])}" if found else ""
        raise ValueError(
            f"{path} is an IR or IR-SE network of another repository (keys input_layer, body, output_layer){blocks_found}; "
            f"supported are {', '.join(OTHERS)}, with blocks of {IR_BLOCKS}; export others to ONNX with 112 px input"
        )
    raise ValueError(
        f"{path}: no registered network has keys like {', '.join(list(state)[:3])}; set its network, or give its run folder"
    )


def embedding_width(state: Mapping[str, Tensor]) -> int:
    """Width D of the embedding: the rows of the last linear layer, by its name in `WIDTH_KEYS`.

    Of another network, those of its last tensor with a dimension: a state dict keeps module order (a .safetensors file does not).
    """
    known = next((state[key] for key in WIDTH_KEYS if key in state and state[key].ndim), None)
    width = len(known) if known is not None else next((len(value) for value in reversed(state.values()) if value.ndim), 1)
    # An empty layer fits no width; loading the weights reports it.
    return max(width, 1)

"""Load weight files (.pt, .pth, .ckpt, .safetensors): detect the network by its keys and load it strictly."""

import pickle
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from aird_plugin.models.file_formats import SAFETENSORS, TORCHSCRIPT, is_torchscript, load_safetensors
from aird_plugin.models.ir import IR_BLOCKS, LINEAR_KEY, style_of
from aird_plugin.models.iresnet import BLOCKS, blocks_in
from aird_plugin.models.onnx_network import GRAPH_FILE, OnnxNetwork
from aird_plugin.models.registry import ONNX, OTHERS, build, detect, is_native_state
from aird_plugin.models.teacher_input import TeacherInput
from aird_plugin.models.weight_keys import network_keys
from aird_plugin.utils.json_files import read_object
from aird_plugin.utils.torch_files import safe_torch_load

RUN_FILE = "recipe.json"
# Keys of arcface_torch's resume file, and of the wrapper that many forks write.
BACKBONE_KEYS = ("state_dict_backbone", "state_dict")
CLASSIFIER_KEY = "state_dict_softmax_fc"
# DataParallel and torch.compile prepend these to every key.
PREFIXES = ("module.", "_orig_mod.")
# Of IR networks, iresnets, mfn, mbf and native students.
WIDTH_KEYS = (LINEAR_KEY, "fc.weight", "linear1.conv.weight", "features.layers.2.weight", "features.running_mean")
# Keys of IR and IR-SE networks of other face recognition repositories.
FOREIGN_PREFIXES = ("input_layer.", "body.", "output_layer.")


class Weights(NamedTuple):
    """A network's float32 state dict and, where the file has a classifier, its class centers (C, D)."""

    state: dict[str, Tensor]
    classifier_CD: Tensor | None


def load_weights(path: str | Path) -> dict[str, Tensor]:
    """State dict of a .pt file, unwrapped, without prefixes, float32. Raises what `read_weights` raises."""
    return read_weights(path).state


def read_weights(path: str | Path) -> Weights:
    """Read a state dict: plain, prefixed (PREFIXES, OUTER_PREFIXES), or inside a checkpoint. Never runs code from the file.

    The classifier is arcface_torch's `state_dict_softmax_fc`. In a run on several ranks each file holds one shard; the files of
    the other ranks in the same folder are read too, and the shards are concatenated in rank order.

    Raises FileNotFoundError, and ValueError for a file that would run code, is corrupt, or is not a state dict.
    """
    path = Path(path)
    content = _load_safely(path)
    if not isinstance(content, dict):
        raise ValueError(
            f"{path} holds a {type(content).__name__}, not a state dict; "
            "a softmax shard (rank_0_softmax_weight.pt) contains no network: give the backbone's file"
        )
    state = next((content[key] for key in BACKBONE_KEYS if isinstance(content.get(key), dict)), content)
    state = network_keys({_strip(key): value for key, value in state.items()})
    non_tensors = [key for key, value in state.items() if not isinstance(value, Tensor)]
    if non_tensors or not state:
        found = ", ".join(map(str, non_tensors[:5])) or "nothing"
        raise ValueError(
            f"{path} is not a state dict: it holds {found} where tensors are expected; allowed are a plain "
            f"state dict or a checkpoint with {' or '.join(BACKBONE_KEYS)}"
        )
    return Weights({key: _as_float32(value) for key, value in state.items()}, _classifier(path, content))


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
    try:
        net.load_state_dict(state, strict=True)
    except RuntimeError as error:
        found = detect(state)
        if found not in (None, network):
            raise ValueError(f"{path} holds weights of {found}, but network={network} is requested") from error
        lines = [line.strip() for line in str(error).splitlines()[1:4]]
        raise ValueError(f"{path} does not fit {network}: {' '.join(lines)[:400]}") from error
    broken = [key for key, value in state.items() if not torch.isfinite(value).all()]
    if broken:
        raise ValueError(f"{path} holds values that are not finite, first in {broken[0]}; did its training diverge?")
    return net.eval()


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
    known = next((state[key] for key in WIDTH_KEYS if key in state), None)
    return len(known) if known is not None else next((len(value) for value in reversed(state.values()) if value.ndim), 1)


def _load_safely(path: Path) -> object:
    if not path.exists():
        raise FileNotFoundError(f"no weight file at {path}")
    if not path.is_file():
        raise ValueError(f"{path} is not a file; give a weight file (.pt, .pth)")
    if path.suffix == SAFETENSORS:
        return load_safetensors(path)
    try:
        return safe_torch_load(path)
    except PermissionError:
        raise
    # A malicious or truncated file can make the unpickler raise any exception.
    except Exception as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        if is_torchscript(path):
            raise ValueError(f"{path} is {TORCHSCRIPT}") from error
        found = re.search(r"GLOBAL (\S+)", str(error)) if isinstance(error, pickle.UnpicklingError) else None
        if found:
            raise ValueError(
                f"{path} refused: it would run {found[1]} while loading (a whole pickled module, or other objects); only plain "
                "tensors are allowed. Where you trust it, save its weights again: torch.save(torch.load(FILE, "
                "weights_only=False).state_dict(), 'OUT.pt')"
            ) from error
        raise ValueError(f"{path} is not a readable PyTorch weight file (corrupt or truncated?): {reason}") from error


def _strip(key: object) -> str:
    key = str(key)
    while key.startswith(PREFIXES):
        key = key.split(".", 1)[1]
    return key


def _as_float32(value: Tensor) -> Tensor:
    return value.float() if value.is_floating_point() else value


def _classifier(path: Path, content: dict) -> Tensor | None:
    if not isinstance(content.get(CLASSIFIER_KEY), dict):
        return None
    weights = [_classifier_shard(path, content)]
    rank = re.fullmatch(r"checkpoint_gpu_(\d+)\.pt", path.name)
    if rank is not None and int(rank[1]) != 0:
        raise ValueError(
            f"{path} holds only rank {rank[1]}'s shard of the classifier; give checkpoint_gpu_0.pt, "
            "with the other ranks' files in the same folder"
        )
    while rank and (other := path.with_name(f"checkpoint_gpu_{len(weights)}.pt")).exists():
        weights.append(_classifier_shard(other, _load_safely(other)))
    return torch.cat(weights)


def _classifier_shard(path: Path, content: object) -> Tensor:
    head = content.get(CLASSIFIER_KEY) if isinstance(content, dict) else None
    weight = head.get("weight") if isinstance(head, dict) else None
    if not isinstance(weight, Tensor) or weight.ndim != 2:
        raise ValueError(f"{path}: {CLASSIFIER_KEY} holds no tensor named weight of shape (classes, width)")
    return weight.float()

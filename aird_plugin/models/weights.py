"""Read weight files (.pt, .pth, .ckpt, .safetensors) without running code from them."""

import pickle
import re
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from aird_plugin.models.file_formats import SAFETENSORS, TORCHSCRIPT, is_torchscript, load_safetensors
from aird_plugin.models.weight_keys import network_keys
from aird_plugin.utils.torch_files import safe_torch_load

# Keys of arcface_torch's resume file, and of the wrapper that many forks write.
BACKBONE_KEYS = ("state_dict_backbone", "state_dict")
CLASSIFIER_KEY = "state_dict_softmax_fc"


class Weights(NamedTuple):
    """A network's float32 state dict and, where the file has a classifier, its class centers (C, D)."""

    state: dict[str, Tensor]
    classifier_CD: Tensor | None


def load_weights(path: str | Path) -> dict[str, Tensor]:
    """State dict of a .pt file, unwrapped, without prefixes, float32. Raises what `read_weights` raises."""
    return read_weights(path).state


def read_weights(path: str | Path) -> Weights:
    """Read a state dict: plain, prefixed (`weight_keys`), or inside a checkpoint. Never runs code from the file.

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
    state = network_keys({str(key): value for key, value in state.items()})
    non_tensors = [key for key, value in state.items() if not isinstance(value, Tensor)]
    if non_tensors or not state:
        found = ", ".join(map(str, non_tensors[:5])) or "nothing"
        raise ValueError(
            f"{path} is not a state dict: it holds {found} where tensors are expected; allowed are a plain "
            f"state dict or a checkpoint with {' or '.join(BACKBONE_KEYS)}"
        )
    return Weights({key: _as_float32(value) for key, value in state.items()}, _classifier(path, content))


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

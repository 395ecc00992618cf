"""What a model records about itself: recipe.json beside a run's weights, or the metadata inside an exported file."""

import json
from pathlib import Path
from typing import Any

from torch import nn

from aird_plugin.models.find import RUN_FILE, run_folder
from aird_plugin.models.onnx_file import METADATA
from aird_plugin.utils.files import is_same
from aird_plugin.utils.json_files import read_object
from aird_plugin.utils.torch_files import state_sha256


def recorded_metadata(path: str | Path, network: Any) -> dict:
    """The recipe.json of a run, or the metadata of an exported file; empty for any other model, and where it is damaged.

    network: the model at `path`, as `load_model` returns it.
    """
    session, file = getattr(network, "session", None), run_folder(path) / RUN_FILE
    try:
        if session is not None:
            content = json.loads(session.get_modelmeta().custom_metadata_map.get(METADATA, "{}"))
        else:
            content = read_object(file) if file.is_file() else {}
    except (ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def weights_of(path: str | Path, network: Any) -> str | None:
    """Hash of a model's weights, whatever file holds them (`state_sha256`); None for an .onnx file that records none."""
    # A teacher from PyTorch weights is no nn.Module, but holds one.
    module = network if isinstance(network, nn.Module) else getattr(network, "net", None)
    if isinstance(module, nn.Module):
        return state_sha256(module.state_dict())
    return recorded_metadata(path, network).get("weights")


def half_centered(path: str | Path, network: Any) -> str:
    """A warning on LR-HR with an exported file that centers its outputs and a teacher that does not; else ""."""
    if not recorded_metadata(path, network).get("training_centre"):
        return ""
    return f"{path} subtracts its training mean in its graph, and the teacher does not: LR-HR needs --training-centre"


def adaptations(metadata: dict) -> list[dict]:
    """The entries of the adaptations of a run, or of an exported file, one after the other."""
    last = metadata.get("adapted")
    if not isinstance(last, dict):
        return []
    earlier = last.get("earlier")
    earlier = [entry for entry in earlier if isinstance(entry, dict)] if isinstance(earlier, list) else []
    return [*earlier, {key: value for key, value in last.items() if key != "earlier"}]


def adapted_to(path: str | Path, network: Any, pairs_file: str, pairs_sha256: str) -> str:
    """A warning where a model's BatchNorm was adapted to the very file it is evaluated on; else ""."""
    sources = [entry.get("source_sha256") for entry in adaptations(recorded_metadata(path, network))]
    if not any(is_same(source, pairs_sha256) for source in sources):
        return ""
    return f"{path} was adapted to the images of {pairs_file} itself: its figures there are not those of unseen images"

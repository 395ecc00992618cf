"""Whatever a user calls a model -> a network: a run folder, its model.pt, an exported folder, an .onnx file, a bare .pt file."""

from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from aird_plugin.jsonfile import read_object
from aird_plugin.models.onnx_teacher import OnnxTeacher
from aird_plugin.models.teacher import INPUT_SIZE, Teacher, TorchTeacher
from aird_plugin.models.weights import load_network, load_weights

MODEL_FILE, RUN_FILE = "model.pt", "recipe.json"
KINDS = "a run folder, its model.pt, an exported folder, an .onnx file or a .pt file"


class ModelFile(NamedTuple):
    """Where a model's weights lie. network: the architecture's name where a run folder states it, else None."""

    file: Path
    network: str | None


def find_model(path: str | Path, what: str = "model") -> ModelFile:
    """The weight file behind `path`: KINDS. `what` names it in errors.

    Raises FileNotFoundError where nothing is there or a folder holds no model, ValueError for another kind of file.
    """
    path = Path(path)
    if path.is_dir():
        return _in_folder(path, what)
    if not path.is_file():
        raise FileNotFoundError(f"no {what} at {path}; give {KINDS}")
    if path.suffix not in (".onnx", ".pt", ".pth"):
        raise ValueError(f"{what} {path}: a .pt, .pth or .onnx file is expected, got {path.suffix or 'no suffix'!r}")
    if path.name == MODEL_FILE and (path.parent / RUN_FILE).is_file():
        return ModelFile(path, _network_of_run(path.parent))
    return ModelFile(path, None)


def run_folder(path: str | Path) -> Path:
    """The run folder that `path` is, or whose model.pt it is; any other path as it stands."""
    path = Path(path)
    return path.parent if path.name == MODEL_FILE and (path.parent / RUN_FILE).is_file() else path


def load_model(path: str | Path, network: str | None = None, device: str | torch.device = "cpu") -> nn.Module | Teacher:
    """The network behind `path` (KINDS), on `device` and in eval mode.

    .pt weights give an nn.Module, an .onnx file an object with `embed`.

    network: the architecture's name. A run folder states its own; a bare .pt file needs it where its keys do not tell, and is
        checked against it otherwise.

    Raises what `find_model` raises, and ValueError for weights that do not fit.
    """
    found = find_model(path)
    if found.file.suffix == ".onnx":
        return OnnxTeacher(found.file, device)
    return load_network(found.file, found.network or network).to(device)


def load_teacher(path: str | Path, network: str | None = None, device: str | torch.device = "cpu") -> Teacher:
    """Open a teacher (KINDS): arcface_torch weights, any recognition .onnx of the InsightFace zoo, or a run of our own.

    network: name of the architecture; needed for a bare .pt whose keys do not tell, checked for every other .pt.

    Raises what `find_model` raises, ImportError where the `onnx` extra is missing, and ValueError for a file that is corrupt,
    unsafe, of another architecture, or that does not take 112 px images.
    """
    found = find_model(path, "teacher")
    if found.file.suffix == ".onnx":
        teacher = OnnxTeacher(found.file, device)
        if teacher.input_size != INPUT_SIZE:
            side = teacher.input_size
            raise ValueError(
                f"teacher {path} takes [batch, 3, {side}, {side}]; a teacher takes [batch, 3, {INPUT_SIZE}, {INPUT_SIZE}]"
            )
        return teacher
    if found.network and network and found.network != network:
        raise ValueError(f"teacher {path} is a run of network={found.network}; you asked for {network}")
    return TorchTeacher(found.file, found.network or network, device)


def load_initial_weights(path: str | Path, network: str) -> dict[str, Tensor]:
    """The state dict that a student starts from. ValueError for a run of another network than `network`; else as `find_model`."""
    found = find_model(path, "student_init")
    if found.file.suffix == ".onnx":
        raise ValueError(f"student_init={path}: an .onnx file holds no state dict; give {KINDS.replace('an .onnx file or ', '')}")
    if found.network not in (None, network):
        raise ValueError(f"student_init={path} is a run of network={found.network}, this recipe's is {network}")
    return load_weights(found.file)


def _in_folder(folder: Path, what: str) -> ModelFile:
    """The model of a run folder, or of an exported one, where InsightFace too takes the last .onnx by name."""
    if (folder / RUN_FILE).is_file():
        if not (folder / MODEL_FILE).is_file():
            raise FileNotFoundError(f"{folder} is no finished run: it has no {MODEL_FILE}")
        return ModelFile(folder / MODEL_FILE, _network_of_run(folder))
    exported = sorted(folder.glob("*.onnx"))
    if exported:
        return ModelFile(exported[-1], None)
    if (folder / MODEL_FILE).is_file():
        raise FileNotFoundError(f"{folder} is no finished run: it has no {RUN_FILE}; give {folder / MODEL_FILE} and its network")
    raise FileNotFoundError(f"no {what} in {folder}: neither a run's {RUN_FILE} and {MODEL_FILE} nor an .onnx file")


def _network_of_run(folder: Path) -> str:
    """What recipe.json calls the network. ValueError where it calls it nothing."""
    network = read_object(folder / RUN_FILE).get("network")
    if not isinstance(network, str):
        raise ValueError(f"{folder / RUN_FILE} names no network; give {MODEL_FILE} out of this folder, and --network")
    return network

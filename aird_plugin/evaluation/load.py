"""MODEL on the command line -> a network: a run folder, an .onnx file, or a bare .pt file."""

from pathlib import Path

from torch import nn

from aird_plugin.jsonfile import read_object
from aird_plugin.models.onnx_teacher import OnnxTeacher
from aird_plugin.models.teacher import Teacher
from aird_plugin.models.weights import load_network


def load_model(path: str | Path, network: str | None = None, device="cpu") -> nn.Module | Teacher:
    """The network behind `path`, on `device` and in eval mode.

    A run folder (`recipe.json`, `model.pt`) and a .pt or .pth file give an nn.Module, an .onnx file an object
    with `embed`.

    network: the architecture's name. A run folder knows its own; a bare file needs it for a native student,
        and for others it is checked.

    Raises FileNotFoundError, and ValueError for a folder that is no run, another kind of file, or weights
    that do not fit.
    """
    path = Path(path)
    if path.is_dir():
        return _load_run(path, network).to(device)
    if not path.exists():
        raise FileNotFoundError(f"no model at {path}; give a run folder, an .onnx file or a .pt file")
    if path.suffix == ".onnx":
        return OnnxTeacher(path, device)
    if path.suffix in (".pt", ".pth"):
        return load_network(path, network).to(device)
    raise ValueError(f"{path} is no model: give a run folder, an .onnx file or a .pt file")


def _load_run(folder: Path, network: str | None) -> nn.Module:
    recipe_file, weights_file = folder / "recipe.json", folder / "model.pt"
    for file in (recipe_file, weights_file):
        if not file.is_file():
            raise FileNotFoundError(f"{folder} is no finished run: it has no {file.name}")
    recipe = read_object(recipe_file)
    network = recipe.get("network", network)
    if not isinstance(network, str):
        raise ValueError(f"{recipe_file} names no network; say which with --network")
    return load_network(weights_file, network)

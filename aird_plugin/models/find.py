"""Find a model at a path: a run folder, its model.pt, an exported folder, an .onnx file or a bare .pt file."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from aird_plugin.models.file_formats import SUFFIXES, unreadable_format
from aird_plugin.models.onnx_file import weights_sha256
from aird_plugin.utils.json_files import read_object

MODEL_FILE = "model.pt"
RUN_FILE = "recipe.json"
KINDS = "a run folder, its model.pt, an exported folder, an .onnx file or a .pt file"


class ModelFile(NamedTuple):
    """Path of a model's weight file. network: the architecture's name from the run folder, else None."""

    file: Path
    network: str | None


def find_model(path: str | Path, what: str = "model") -> ModelFile:
    """Find the weight file of the model at `path` (KINDS). `what` is the noun used in error messages.

    Raises FileNotFoundError where the path does not exist or a folder holds no model, ValueError for another kind of file.
    """
    path = Path(path)
    if path.is_dir():
        return _in_folder(path, what)
    if not path.is_file():
        raise FileNotFoundError(f"no {what} at {path}; give {KINDS}")
    if path.suffix not in SUFFIXES:
        raise ValueError(f"{what} {path}: {unreadable_format(path.suffix)}")
    if path.name == MODEL_FILE and (path.parent / RUN_FILE).is_file():
        return ModelFile(path, _network_of_run(path.parent))
    return ModelFile(path, None)


def model_hashes(models: Mapping[str, Any]) -> dict[str, str]:
    """Name -> SHA-256 of each model's weights; names without a model are left out. Raises what `find_model` raises.

    A model is a path, or several: the second is listed as "NAME 2".
    """
    hashes = {}
    for name, model in models.items():
        paths = [] if model is None else list(model) if isinstance(model, tuple | list) else [model]
        for number, path in enumerate(paths):
            hashes[f"{name} {number + 1}" if number else name] = weights_sha256(find_model(path).file)
    return hashes


def run_folder(path: str | Path) -> Path:
    """The run folder of `path`, which is the folder or its model.pt; any other path is returned unchanged."""
    path = Path(path)
    return path.parent if path.name == MODEL_FILE and (path.parent / RUN_FILE).is_file() else path


def skipped_images(path: str | Path) -> int:
    """The number of unreadable images that the run at `path` was trained without (skip_bad); 0 for what is no run folder."""
    try:
        return int(read_object(run_folder(path) / RUN_FILE)["records"].get("skipped", 0))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return 0


def network_of(found: ModelFile, network: str | None, what: str) -> str | None:
    """The architecture that the run names, else the requested one. ValueError where they differ. what: for the message."""
    if found.network and network and found.network != network:
        raise ValueError(f"{what} is a run of network={found.network}, but network={network} is requested")
    return found.network or network


def _in_folder(folder: Path, what: str) -> ModelFile:
    """The model of a run folder, or of an exported folder: the last .onnx file by name, as InsightFace chooses."""
    if (folder / RUN_FILE).is_file():
        if not (folder / MODEL_FILE).is_file():
            raise FileNotFoundError(f"{folder} is not a finished run: it has no {MODEL_FILE}")
        return ModelFile(folder / MODEL_FILE, _network_of_run(folder))
    exported = sorted(folder.glob("*.onnx"))
    if exported:
        return ModelFile(exported[-1], None)
    if (folder / MODEL_FILE).is_file():
        raise FileNotFoundError(
            f"{folder} is not a finished run: it has no {RUN_FILE}; give {folder / MODEL_FILE} and its network"
        )
    raise FileNotFoundError(f"no {what} in {folder}: neither a run's {RUN_FILE} and {MODEL_FILE} nor an .onnx file")


def _network_of_run(folder: Path) -> str:
    """The network's name in recipe.json. Raises ValueError where it is missing."""
    network = read_object(folder / RUN_FILE).get("network")
    if not isinstance(network, str):
        raise ValueError(
            f"{folder / RUN_FILE} has no key network; copy {MODEL_FILE} out of this folder and give the copy with --network"
        )
    return network

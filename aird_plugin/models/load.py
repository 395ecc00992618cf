"""Load a model from a path: a run folder, its model.pt, an exported folder, an .onnx file or a bare .pt file."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from aird_plugin.data.constants import FACE_SIDE
from aird_plugin.models.ensemble import Ensemble
from aird_plugin.models.file_formats import SUFFIXES, unreadable_format
from aird_plugin.models.low_res_teacher import LowResTeacher
from aird_plugin.models.onnx_network import GRAPH_FILE, OnnxNetwork
from aird_plugin.models.onnx_teacher import OnnxTeacher
from aird_plugin.models.registry import ONNX
from aird_plugin.models.teacher import Teacher
from aird_plugin.models.teacher_input import TeacherInput
from aird_plugin.models.torch_teacher import TorchTeacher
from aird_plugin.models.weights import RUN_FILE, load_network, load_weights
from aird_plugin.utils.json_files import read_object

MODEL_FILE = "model.pt"
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


def model_files(models: Mapping[str, Any]) -> dict[str, Path]:
    """Name -> weight file of each model; names without a model are left out. Raises what `find_model` raises.

    A model is a path, or several: the second is listed as "NAME 2".
    """
    files = {}
    for name, model in models.items():
        paths = [] if model is None else list(model) if isinstance(model, tuple | list) else [model]
        for number, path in enumerate(paths):
            files[f"{name} {number + 1}" if number else name] = find_model(path).file
    return files


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


def load_model(
    path: str | Path, network: str | None = None, device: str | torch.device = "cpu", model_input: Any = None
) -> nn.Module | Teacher:
    """Load the network at `path` (KINDS), on `device` and in eval mode.

    .pt weights give an nn.Module, an .onnx file an object with `embed`.

    network: the architecture's name. For a bare .pt file it is required where the keys do not identify the network, and checked
        otherwise, as for a run folder, whose recipe.json names it.
    model_input: how an .onnx file is fed (`TeacherInput`, or its dict); None for the rules.

    Raises what `find_model` raises, and ValueError for weights that do not fit the network.
    """
    found = find_model(path)
    if found.file.suffix == ".onnx":
        return OnnxTeacher(found.file, device, TeacherInput.of(model_input))
    if model_input is not None:
        raise ValueError(f"{path} holds PyTorch weights, which are fed as arcface_torch does; --input states how an .onnx is fed")
    return load_network(found.file, network_of(found, network, f"model {path}")).to(device)


def network_of(found: ModelFile, network: str | None, what: str) -> str | None:
    """The architecture that the run names, else the requested one. ValueError where they differ. what: for the message."""
    if found.network and network and found.network != network:
        raise ValueError(f"{what} is a run of network={found.network}, but network={network} is requested")
    return found.network or network


def load_teachers(
    paths: str | Path | Sequence[str | Path],
    networks: Any = None,
    device: Any = "cpu",
    inputs: Any = None,
    join: str = "mean",
    px: Any = 0,
) -> Teacher:
    """Open one teacher, or several as an `Ensemble` joined by `join`.

    networks, inputs, px: of the only path, or a tuple with a value for each. A name, None or a number is for all. px: that at
    which the teacher sees the images (`LowResTeacher`), 0 for the images as they are.
    Raises what `load_teacher` and `Ensemble` raise, and ValueError where the numbers differ.
    """
    if not isinstance(paths, tuple | list):
        return at_px(load_teacher(paths, networks, device, inputs), px)
    columns = {"teacher_network": networks, "teacher_input": inputs, "teacher_px": px}
    for key, column in columns.items():
        if not isinstance(column, tuple | list):
            columns[key] = (column,) * len(paths)
        elif len(column) != len(paths):
            raise ValueError(f"teacher names {len(paths)} files and {key} has {len(column)} entries; give one for each, or None")
    rows = zip(paths, *columns.values(), strict=True)
    teachers = [at_px(load_teacher(path, network, device, given), side) for path, network, given, side in rows]
    return teachers[0] if len(teachers) == 1 else Ensemble(teachers, join)


def at_px(teacher: Teacher, px: int) -> Teacher:
    """The teacher on images of this px; itself for 0."""
    return LowResTeacher(teacher, px) if px else teacher


def load_teacher(
    path: str | Path, network: str | None = None, device: str | torch.device = "cpu", teacher_input: Any = None
) -> Teacher:
    """Open a teacher (KINDS): arcface_torch weights, a recognition .onnx, or an aird run.

    network: name of the architecture; required for a bare .pt whose keys do not identify it, checked for every other .pt.
    teacher_input: how it is fed (`TeacherInput`, or its dict); None for the rules.

    Raises what `find_model` raises, ImportError where the `onnx` extra is missing, and ValueError for a file that is corrupt,
    unsafe, of another architecture, or of another input size than 112 px.
    """
    found, stated = find_model(path, "teacher"), TeacherInput.of(teacher_input)
    if found.file.suffix == ".onnx":
        teacher = OnnxTeacher(found.file, device, stated)
        if teacher.input_size != FACE_SIDE:
            side = teacher.input_size
            raise ValueError(
                f"teacher {path} has input [batch, 3, {side}, {side}]; a teacher needs [batch, 3, {FACE_SIDE}, {FACE_SIDE}]"
            )
        return teacher
    return TorchTeacher(found.file, network_of(found, network, f"teacher {path}"), device, stated)


def load_initial_weights(path: str | Path, network: str) -> dict[str, Tensor]:
    """Initial state dict of a student. Raises what `find_model` raises, and ValueError for a run of another network."""
    found = find_model(path, "student_init")
    if found.file.suffix == ".onnx":
        raise ValueError(
            f"student_init={path} is an .onnx file, which only network='onnx' starts from; set network=onnx, or give "
            f"{KINDS.replace('an .onnx file or ', '')}"
        )
    if found.network not in (None, network):
        raise ValueError(f"student_init={path} is a run of network={found.network}, but this recipe has network={network}")
    return load_weights(found.file)


def load_onnx_student(path: str | Path, student_input: Any = None) -> OnnxNetwork:
    """A trainable network from an .onnx file, an exported folder, or the run folder of another such student.

    student_input: how an .onnx file is fed (`TeacherInput`, or its dict); None for the rules. A run states its own.

    Raises what `find_model` and `OnnxNetwork` raise, and ValueError for a model of another kind, or for a run that is fed in
    another way than stated.
    """
    found = find_model(path, "student_init")
    if found.file.suffix == ".onnx":
        return OnnxNetwork(found.file, TeacherInput.of(student_input))
    if found.network != ONNX:
        raise ValueError(f"network='onnx' starts from an .onnx file or a run of such a student; got student_init={path}")
    network = load_network(found.file, ONNX)
    assert isinstance(network, OnnxNetwork)
    stated = TeacherInput.of(student_input, "student_input")
    # An index of an output cannot be compared: the run knows its name.
    keys = ("color", "mean", "std", "size", *(["output"] if isinstance(stated.output, str) else []))
    if any(getattr(stated, key) not in (None, getattr(network.input, key)) for key in keys):
        raise ValueError(f"student_input states {stated}, but {path} was trained with {network.input}; leave student_input out")
    return network


def graph_file(path: str | Path) -> Path:
    """The .onnx file of an ONNX student's `student_init`, which may be a run folder."""
    found = find_model(path, "student_init")
    return found.file if found.file.suffix == ".onnx" else found.file.with_name(GRAPH_FILE)


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

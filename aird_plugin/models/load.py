"""Load a model, a teacher or a student to start from, at a path of any kind that `find.py` finds."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from aird_plugin.data.constants import FACE_SIDE
from aird_plugin.models.ensemble import Ensemble
from aird_plugin.models.find import KINDS, ModelFile, find_model, network_of
from aird_plugin.models.from_weights import load_network
from aird_plugin.models.low_res_teacher import LowResTeacher
from aird_plugin.models.onnx_input import HOW
from aird_plugin.models.onnx_network import GRAPH_FILE, OnnxNetwork
from aird_plugin.models.onnx_teacher import OnnxTeacher
from aird_plugin.models.registry import ONNX, detect
from aird_plugin.models.teacher import Teacher
from aird_plugin.models.teacher_input import USUAL, TeacherInput
from aird_plugin.models.torch_teacher import TorchTeacher, check_stated
from aird_plugin.models.weights import load_weights


def load_model(
    path: str | Path, network: str | None = None, device: str | torch.device = "cpu", model_input: Any = None
) -> nn.Module | Teacher:
    """Load the network at `path` (KINDS), on `device` and in eval mode.

    .pt weights give an nn.Module, an .onnx file an object with `embed`.

    network: the architecture's name. For a bare .pt file it is required where the keys do not identify the network, and checked
        otherwise, as for a run folder, whose recipe.json names it.
    model_input: how the file is fed (`TeacherInput`, or its dict), a bare .pt by color, mean and std alone; None for the rules.

    Raises what `find_model` raises, and ValueError for weights that do not fit the network, or a run that is fed in another way.
    """
    found, stated = find_model(path), TeacherInput.of(model_input)
    if found.file.suffix == ".onnx":
        return OnnxTeacher(found.file, device, stated)
    if found.network and model_input is not None:
        raise ValueError(f"{path} is a run, which is fed as it was trained; --input states how an .onnx or a bare .pt is fed")
    check_stated(stated, f"model {path}")
    model: Any = load_network(found.file, network_of(found, network, f"model {path}")).to(device)
    if model_input is not None:
        model.input = stated.over(USUAL)
        model.register_forward_pre_hook(lambda module, inputs: (stated.apply(*inputs),))
    note_color(found, network or detect(model.state_dict()), stated)
    return model


def note_color(found: ModelFile, network: str | None, stated: TeacherInput) -> None:
    """Print a note where a bare file of AdaFace's network does not state its channel order, which no file shows."""
    if found.network is None and str(network).startswith("adaface") and stated.color is None:
        print(
            f"note: {found.file.name} is fed RGB, as CVLface's networks take it; AdaFace's own take BGR. State color to choose "
            f"({HOW})",
            file=sys.stderr,
        )


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
    """Open a teacher (KINDS): weights of a known network, a recognition .onnx, or an aird run.

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
    loaded = TorchTeacher(found.file, network_of(found, network, f"teacher {path}"), device, stated)
    note_color(found, loaded.network, stated)
    return loaded


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

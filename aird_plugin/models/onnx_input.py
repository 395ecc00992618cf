"""How an ONNX graph is fed: its declared input, its metadata, the manifest beside it, its first operations, InsightFace's rule.

What the user states comes first, then what `aird export` recorded in the file, then the manifest, then what the graph's first
operations show, then InsightFace's rule.
"""

import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from aird_plugin.data.constants import FACE_SIDE
from aird_plugin.models.onnx_file import file_metadata, normalises_inside
from aird_plugin.models.onnx_normalisation import CENTRED, RAW, UNIT, grey_levels
from aird_plugin.models.teacher_input import CROP, TeacherInput
from aird_plugin.utils.files import file_sha256
from aird_plugin.utils.json_files import read_object

DTYPES = {"tensor(float)": "float32", "tensor(float16)": "float16", "tensor(uint8)": "uint8"}
# Mean and std for each range that a graph may take.
LEVELS = {
    RAW: TeacherInput(mean=0, std=1),
    UNIT: TeacherInput(mean=0, std=255),
    CENTRED: TeacherInput(mean=127.5, std=127.5),
}
HOW = "teacher_input or student_input in a recipe, --teacher-input or --input on the command line"


class GraphInput(NamedTuple):
    """A graph's image input. batch: the declared number of images, None for any. declared: what its shape and type fix.

    unused: zeros for the inputs that no operation uses and that onnxruntime still wants.
    """

    name: str
    batch: int | None
    declared: TeacherInput
    unused: dict[str, np.ndarray]


def image_input(path: Path, session, model, stated: TeacherInput) -> GraphInput:
    """The one input that takes images. ValueError where the graph has none or several, or contradicts what is stated."""
    # onnxruntime lists no weights that have values. Converters leave some that have none and that no operation uses.
    used = {name for node in model.graph.node for name in node.input}
    inputs = [one for one in session.get_inputs() if one.name in used]
    if len(inputs) != 1:
        raise ValueError(
            f"{path} has {len(inputs)} inputs without values ({', '.join(one.name for one in inputs)}); a recogniser has "
            "one, the images (detectors and landmark models of the zoo are no recognisers)"
        )
    [found] = inputs
    layout, size = _layout_and_size(path, found.shape, stated)
    dtype = DTYPES.get(found.type)
    if dtype is None:
        raise ValueError(f"{path} has an input of {found.type}; a recogniser takes {', '.join(DTYPES)}")
    declared = TeacherInput(color="rgb", layout=layout, size=size, dtype=dtype)
    for key in ("layout", "size", "dtype"):
        wanted, has = getattr(stated, key), getattr(declared, key)
        if wanted not in (None, has):
            raise ValueError(f"{path} has an input with {key} {has!r}, but {key} {wanted!r} is stated; leave it out ({HOW})")
    unused = {one.name: _zeros(one) for one in session.get_inputs() if one.name not in used}
    return GraphInput(found.name, found.shape[0] if isinstance(found.shape[0], int) else None, declared, unused)


def recorded_input(path: Path, model) -> TeacherInput:
    """What `aird export` recorded in the file about its input; nothing in a file of other origin."""
    try:
        return TeacherInput.of(file_metadata(model).get("input"), "input")
    except ValueError as error:
        raise ValueError(f"{path}: in its metadata, {error}") from error


def resolve_input(path: Path, model, graph: GraphInput, stated: TeacherInput) -> tuple[TeacherInput, TeacherInput]:
    """The input by the file's own rules, whatever is stated, and the usual one: the same graph by InsightFace's rule alone.

    Prints a note where the graph's first operations contradict that rule and neither the user nor the file states mean and std.
    """
    by_name = LEVELS[RAW if normalises_inside(model) or graph.declared.dtype == "uint8" else CENTRED]
    usual = graph.declared.over(by_name)
    shown = LEVELS.get(grey_levels(model, graph.name) or "", by_name) if graph.declared.dtype != "uint8" else by_name
    own = recorded_input(path, model).over(manifest_input(path))
    explicit = stated.over(own)
    if shown != by_name and explicit.mean is None and explicit.std is None:
        print(
            f"note: {path.name}: its first operations show an input of {_words(shown)}, InsightFace's rule of node names one of "
            f"{_words(by_name)}; fed {_words(shown)}. State mean and std to choose ({HOW})",
            file=sys.stderr,
        )
    return own.over(shown).over(usual), usual


def manifest_input(path: Path) -> TeacherInput:
    """What InsightFace's manifest V2 beside the file states about it; nothing without one, or with one of another file."""
    file = path.parent / "manifest.json"
    if not file.is_file():
        return TeacherInput()
    try:
        manifest = read_object(file)
    except ValueError:
        return TeacherInput()
    tasks = manifest.get("tasks")
    task = tasks.get("recognition") if manifest.get("manifest_version") == 2 and isinstance(tasks, dict) else None
    if not isinstance(task, dict) or task.get("file") != path.name or task.get("sha256", file_sha256(path)) != file_sha256(path):
        return TeacherInput()
    preprocessing: Any = task.get("preprocessing")
    if preprocessing == "embedded":
        return LEVELS[RAW]
    if not isinstance(preprocessing, dict):
        return TeacherInput()
    try:
        return TeacherInput(mean=preprocessing.get("mean"), std=preprocessing.get("std"))
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from error


def _layout_and_size(path: Path, shape: list, stated: TeacherInput) -> tuple[str, tuple[int, int]]:
    """Layout and (rows, columns) of a declared shape; sides that it leaves open are the stated ones."""
    if len(shape) == 4 and 3 in (shape[1], shape[3]):
        layout = "nchw" if shape[1] == 3 else "nhwc"
        declared = tuple(shape[2:] if layout == "nchw" else shape[1:3])
        free = not any(isinstance(side, int) for side in declared)
        sides = stated.size if free and stated.size else declared
        if sides == CROP or (isinstance(sides[0], int) and sides[0] == sides[1] and 1 <= sides[0] <= FACE_SIDE):
            return layout, sides
    remedy = f"; if it takes {FACE_SIDE} px, state size={FACE_SIDE} ({HOW})" if len(shape) == 4 else ""
    raise ValueError(
        f"{path} has an input of shape {shape}; a recogniser takes [batch, 3, {FACE_SIDE}, {FACE_SIDE}], "
        f"[batch, 3, {CROP[0]}, {CROP[1]}], or the same with the channels last{remedy}"
    )


def _zeros(argument) -> np.ndarray:
    """Zeros of an input's declared shape and type; an open dimension is 1."""
    kind = argument.type.removeprefix("tensor(").removesuffix(")")
    dtype = {"float": "float32", "double": "float64"}.get(kind, kind)
    return np.zeros([side if isinstance(side, int) else 1 for side in argument.shape], dtype)


def _words(levels: TeacherInput) -> str:
    name = next(name for name, one in LEVELS.items() if one == levels)
    return {RAW: "raw 0..255", UNIT: "0..1", CENTRED: "-1..1"}[name]

"""The model files of a run, found in folders and files: a detector, an HR recogniser, exported students."""

from collections.abc import Sequence
from pathlib import Path

from aird_plugin.data.constants import FACE_SIDE
from aird_plugin.models.onnx_file import METADATA, read_onnx
from aird_plugin.utils.files import file_sha256

THRESHOLDS = "thresholds.json"
DETECTION, RECOGNITION, STUDENT = "detection", "recognition", "student"
# Scores, boxes and perhaps landmarks at several strides; recognisers have one output.
DETECTOR_OUTPUTS = 5
# Sides of InsightFace's landmark and attribute models, by which its router recognises them.
OTHER_TASKS = (192, 96)
GIVE = "give an InsightFace pack (its name or folder), a folder of `aird export`, or .onnx files"


def find_sources(name: str | Path | Sequence[str | Path], root: str | Path) -> list[Path]:
    """The folders and files that `name` stands for: a pack below root/models, a path, or several of either.

    Raises FileNotFoundError for what does not exist; nothing is downloaded.
    """
    names = [name] if isinstance(name, str | Path) else list(name)
    found = []
    for one in names:
        paths = [Path(one).expanduser(), Path(root).expanduser() / "models" / one]
        path = next((path for path in paths if path.exists()), None)
        if path is None:
            raise FileNotFoundError(f"no models at {paths[0]} nor at {paths[1]}; {GIVE}")
        found.append(path)
    return found


def files_in(source: Path) -> list[tuple[Path, str]]:
    """The model files of a folder or of one file, with their kinds. An export's native file stands for its 112 px file."""
    if source.is_file():
        return [(source, kind_of(source))]
    native = sorted(source.glob("native/*.onnx"))
    files = [(file, kind) for file in sorted(source.glob("*.onnx")) if (kind := kind_of(file)) != STUDENT or not native]
    files += [(file, STUDENT) for file in native]
    for folder in sorted(source.iterdir()):
        if folder.is_dir() and (any(folder.glob("native/*.onnx")) or (folder / THRESHOLDS).is_file()):
            files += files_in(folder)
    return files


def kind_of(file: Path) -> str:
    """What a model file is for; "" for InsightFace's other tasks."""
    if file.suffix != ".onnx":
        raise ValueError(f"{file} is no .onnx file; {GIVE}")
    model = read_onnx(file)
    if len(model.graph.output) >= DETECTOR_OUTPUTS:
        return DETECTION
    if any(entry.key == METADATA for entry in model.metadata_props):
        return STUDENT
    sides = {dim.dim_value for one in model.graph.input for dim in one.type.tensor_type.shape.dim[2:]}
    return "" if sides & set(OTHER_TASKS) and FACE_SIDE not in sides else RECOGNITION


def hr_file_of(found: list[tuple[Path, bool]]) -> Path | None:
    """The file of the HR recogniser: the first one found. found: files, and whether the user named the file itself or its folder.

    Raises ValueError where a further file was named: without the metadata of `aird export` it is no student.
    """
    if not found:
        return None
    file = found[0][0]
    for other, is_named in found[1:]:
        if is_named and file_sha256(other) != file_sha256(file):
            raise ValueError(
                f"{file} and {other} are both HR recognisers, of which there is one; leave one out. A student is a file of "
                "`aird export`, whose metadata name its teacher"
            )
    return file

"""The networks of the model files: the HR recogniser, and exported students in its coordinates, opened."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch

from aird_plugin.export.thresholds_file import check_owner, read_thresholds
from aird_plugin.models.coordinates import foreign_teacher, named, share_coordinates
from aird_plugin.models.onnx_teacher import OnnxTeacher
from aird_plugin.models.recorded import recorded_metadata, weights_of
from aird_plugin.models.teacher_input import TeacherInput
from aird_plugin.recognition.centring import center_all
from aird_plugin.recognition.model_files import DETECTION, GIVE, RECOGNITION, STUDENT, THRESHOLDS, files_in, hr_file_of
from aird_plugin.recognition.network import Network

CUDA = "CUDAExecutionProvider"


class Models(NamedTuple):
    """The detector and the opened networks: hr, students or both. All embed into the same coordinates, of one width.

    students: by ascending side, so that without an HR recogniser the largest is the last of the networks and stands for it.
    """

    detector: Path | None
    hr: Network | None
    students: list[Network]

    @property
    def networks(self) -> list[Network]:
        """The students, and the HR recogniser last."""
        return [*self.students, *([self.hr] if self.hr else [])]


def open_models(
    sources: list[Path],
    device: str | torch.device = "cpu",
    inputs: Mapping[str, Any] | None = None,
    recognition: bool = True,
) -> Models:
    """Open the networks of the sources. Of a folder's recognisers the first by name is the HR one, as in InsightFace.

    Where a student's graph subtracts its training mean, the others subtract theirs.
    inputs: name of a network -> how it is fed (`TeacherInput`, or its dict), where its file's own rules do not find out.
    recognition: False opens none of the networks.

    Raises ValueError where there is no recogniser, or a second one among the files, where a student was trained in other
    coordinates than the HR recogniser's or the other students', where only some can be centered, and for damaged files,
    thresholds of another model, or inputs of a network that is not there.
    """
    found = [(file, kind, source.is_file()) for source in sources for file, kind in files_in(source)]
    detector = next((file for file, kind, _ in found if kind == DETECTION), None)
    if not recognition:
        return Models(detector, None, [])
    inputs = inputs or {}
    students = [_open_student(file, device, inputs) for file, kind, _ in found if kind == STUDENT]
    hr_file = hr_file_of([(file, is_named) for file, kind, is_named in found if kind == RECOGNITION])
    hr = open_hr(hr_file, device, inputs.get(hr_file.stem)) if hr_file else None
    students = sorted({student.identity: student for student in students}.values(), key=lambda student: student.side)
    if not students and not hr:
        raise ValueError(f"no recogniser in {', '.join(map(str, sources))}; {GIVE}")
    names = [network.name for network in (*students, *([hr] if hr else []))]
    if unknown := set(inputs) - set(names):
        raise ValueError(f"an input is stated for {', '.join(sorted(unknown))}; the networks are {', '.join(names)}")
    _check_coordinates(Models(detector, hr, students))
    students, hr = center_all(students, hr)
    return Models(detector, hr, students)


def open_hr(file: Path, device: str | torch.device = "cpu", stated: Any = None) -> Network:
    """An HR recogniser. stated: how it is fed (`TeacherInput`, or its dict); None for the rules."""
    model = OnnxTeacher(file, device, TeacherInput.of(stated, "input"))
    return Network(file.stem, model, _identity(file, model))


def _identity(file: Path, model: OnnxTeacher) -> str:
    """The hash by which galleries and thresholds know a network: of its weights, else of its file.

    A network that is fed in another way than by its file's rules has other embeddings, so its input is hashed too.
    """
    own = weights_of(file, model) or model.sha256
    return hashlib.sha256(json.dumps([own, model.restated], sort_keys=True).encode()).hexdigest() if model.restated else own


def _open_student(file: Path, device: str | torch.device, inputs: Mapping[str, Any]) -> Network:
    """An exported student, with the thresholds of its export where there are any. inputs: see `open_models`."""
    folder = file.parent.parent if file.parent.name in ("native", "int8") else file.parent
    name = folder.name if file.parent.name == "native" else file.stem
    model = OnnxTeacher(file, device, TeacherInput.of(inputs.get(name), "input"))
    thresholds: dict[str, Any] = {}
    if (folder / THRESHOLDS).is_file():
        thresholds = read_thresholds(folder / THRESHOLDS)
        check_owner(str(folder / THRESHOLDS), thresholds, str(file), model)
    return Network(name, model, _identity(file, model), thresholds)


def _check_coordinates(models: Models) -> None:
    """Raise ValueError unless cosines between any two of the networks mean something."""
    widths = {network.name: network.model.dim for network in models.networks}
    if len(set(widths.values())) > 1:
        raise ValueError(f"the networks embed into different widths ({widths}), so that their embeddings cannot be compared")
    for student in models.students:
        problem = foreign_teacher(student.model.path, student.model, models.hr.model) if models.hr else ""
        if problem:
            raise ValueError(f"{problem}. Leave one of the two out")
    opened = [(student.model.path, student.model) for student in models.students]
    for number, one in enumerate(opened[1:], 1):
        if not models.hr and not any(share_coordinates(one, earlier) for earlier in opened[:number]):
            teachers = {str(path): named(recorded_metadata(path, network).get("teacher") or {}) for path, network in opened}
            raise ValueError(f"the students were trained in the coordinates of different teachers ({teachers}); use one of them")

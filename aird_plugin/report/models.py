"""The networks that a report evaluates, and the protocols of each."""

from collections.abc import Iterator
from dataclasses import dataclass

from aird_plugin.data.constants import FACE_SIDE
from aird_plugin.evaluation.eval_spec import PROTOCOLS, EvalSpec
from aird_plugin.evaluation.sides import check_eval_spec, input_side
from aird_plugin.models.coordinates import has_coordinates_of
from aird_plugin.models.facebn import KEEP
from aird_plugin.models.load import load_model
from aird_plugin.report.data import TEACHER_NAME, ReportOptions
from aird_plugin.report.runs import Method, Run


@dataclass(frozen=True)
class Model:
    """A network to evaluate: a run's student or the teacher. path: its folder or file; first_of_method: the one of its
    seeds that stands for them where one is shown."""

    name: str
    seed: int | None
    path: str
    network: object
    protocols: tuple[str, ...]
    first_of_method: bool


def models_of(methods: list[Method], teacher, options: ReportOptions, device: str, notes: list[str]) -> Iterator[Model]:
    """The teacher first, because the students reuse its HR embeddings; then the students. Appends what is left out to `notes`."""
    without_high: dict[str, list[str]] = {}
    if teacher is not None:
        yield Model(TEACHER_NAME, seed=None, path=options.teacher, network=teacher, protocols=PROTOCOLS, first_of_method=True)
    for method in methods:
        finished = [run for run in method.runs if run.finished and not run.untrained]
        unfinished = [run.name for run in method.runs if not run.finished]
        notes += [f"{name} has no model.pt: the run is not finished, and only its curves are drawn." for name in unfinished]
        for run in finished:
            student = load_model(run.folder, device=device)
            reason = no_high_side(run, student, teacher, options.high_side)
            if reason:
                without_high.setdefault(reason, []).append(run.name)
            elif teacher is not None and has_coordinates_of(run.metadata, teacher) is False:
                notes.append(f"The teacher shown is not the one that {run.name} was trained with.")
            protocols = PROTOCOLS[:1] if reason else PROTOCOLS
            yield Model(method.name, run.seed, run.folder, student, protocols, first_of_method=run is finished[0])
    notes += [f"No LR-HR for {', '.join(names)}. {reason}" for reason, names in without_high.items()]


def no_high_side(run: Run, student, teacher, high_side: str | None) -> str:
    """Why no network can embed HR images in this student's embedding space; "" if one can."""
    by_teacher = high_side == "teacher" or (high_side is None and input_side(student) != FACE_SIDE)
    if not by_teacher:
        return ""
    if teacher is None:
        return "The HR images need the teacher: give --teacher."
    run_teacher = run.metadata.get("teacher")
    if run.recipe.get("head_init") != "teacher" or not isinstance(run_teacher, dict):
        return "The student was not trained in the teacher's embedding space, which the HR side would use."
    if not has_coordinates_of(run.metadata, teacher):
        return f"The run was trained with another teacher ({run_teacher.get('file')}), or another input, than the one given."
    return ""


def with_batchnorm(models: list[Model]) -> Iterator[Model]:
    """The first student of each method that has BatchNorm to adapt."""
    for model in models:
        if model.first_of_method and model.name != TEACHER_NAME:
            try:
                check_eval_spec(model.network, None, EvalSpec(facebn="full", keep=KEEP["full"]))
            except ValueError:
                continue
            yield model

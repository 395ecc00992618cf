"""Collects the data of a report from runs and pairs. Everything is computed at call time; nothing is cached on disk.

N = pairs, 2N = their images, M = images on a map, D = embedding width.
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from aird_plugin.data.constants import FACE_SIDE
from aird_plugin.data.degradation import get_degradation
from aird_plugin.data.lowres import check_px
from aird_plugin.evaluation.degraded_faces import DegradedFaces
from aird_plugin.evaluation.eval_spec import PROTOCOLS, EvalSpec
from aird_plugin.evaluation.pair_evaluator import PairEvaluator
from aird_plugin.evaluation.sides import check_eval_spec, input_side
from aird_plugin.evaluation.verification import error_rates
from aird_plugin.models.coordinates import has_coordinates_of
from aird_plugin.models.facebn import KEEP
from aird_plugin.models.find import skipped_images
from aird_plugin.models.load import load_model, load_teacher
from aird_plugin.report.batchnorm_shift import measure_batchnorm_shift
from aird_plugin.report.data import TEACHER_NAME, EvalResult, FocusDetails, ReportData, Scores
from aird_plugin.report.embedding_map import identity_map, shown_images
from aird_plugin.report.hard_pairs import hard_pairs
from aird_plugin.report.runs import Method, Run, group, read_run

BATCH = 96


@dataclass(frozen=True)
class ReportOptions:
    """The evaluations of every run. pairs: .bin files; px: sides of LR images, () for the px of the runs' training.

    teacher: file. high_side: "student" or "teacher". faces: False leaves the images of the hardest pairs out.
    include_bn1d: whether FaceBN adapts BatchNorm1d too.
    """

    pairs: tuple[str, ...] = ()
    px: tuple[int, ...] = ()
    teacher: str | None = None
    high_side: str | None = None
    degradation: str = "bicubic"
    faces: bool = True
    teacher_input: dict | None = None
    include_bn1d: bool = False


@dataclass(frozen=True)
class Model:
    """A network to evaluate: a run's student or the teacher. path: its folder or file; first: of its method."""

    name: str
    seed: int | None
    path: str
    network: object
    protocols: tuple[str, ...]
    first: bool


def gather(folders: list[str], options: ReportOptions, command: str, device: str) -> ReportData:
    """Read the runs, evaluate their students (and the teacher), and compute what only embeddings can show.

    Without pairs the results are those of the runs' own evaluation.json. Raises FileNotFoundError or ValueError, before any image
    is embedded, for folders that are not runs, missing files and invalid options.
    """
    methods = group([read_run(folder) for folder in folders])
    notes = [
        f"{run.name} was trained without {count} unreadable images (skip_bad)."
        for run in (run for method in methods for run in method.runs)
        if (count := skipped_images(run.folder))
    ]
    notes += [
        f"{run.name} took no step: its model.pt holds the initial weights, and its accuracies are left out."
        for method in methods
        for run in method.runs
        if run.untrained
    ]
    if not options.pairs:
        return ReportData(methods, list(_recorded(methods)), None, command, notes)
    sides = options.px or sorted({check_px(run.metadata.get("px")) for method in methods for run in method.runs})
    sides = tuple(map(check_px, sides))
    get_degradation(options.degradation)
    teacher = load_teacher(options.teacher, None, device, options.teacher_input) if options.teacher else None
    models = list(_models(methods, teacher, options, device, notes))
    if not models:
        raise ValueError("none of the runs has a model.pt that took a step, so there is nothing to evaluate; omit --pairs")
    results, focus = [], None
    for pairs_file in options.pairs:
        evaluator = PairEvaluator(None, pairs_file, teacher, BATCH, device)
        notes += [f"{copies}." for copies in [evaluator.copies()] if copies]
        file_results, embeddings = _evaluate(evaluator, models, sides, options)
        results += file_results
        focus = focus or _focus(evaluator, models, embeddings, sides[0], options)
        if focus.pairs == evaluator.pairs_file:
            results += _adapted(evaluator, models, sides[0], options)
    return ReportData(methods, results, focus, command, notes)


def _recorded(methods: list[Method]) -> Iterator[EvalResult]:
    """The results in the runs' own evaluation.json."""
    for method in methods:
        for run in method.runs:
            for row in () if run.untrained else run.rows:
                yield EvalResult(method.name, run.seed, run.folder, run.recipe.get("teacher"), row)


def _models(methods: list[Method], teacher, options: ReportOptions, device: str, notes: list[str]) -> Iterator[Model]:
    """The teacher first, because the students reuse its HR embeddings; then the students. Appends what is left out to `notes`."""
    without_high: dict[str, list[str]] = {}
    if teacher is not None:
        yield Model(TEACHER_NAME, None, options.teacher, teacher, PROTOCOLS, True)
    for method in methods:
        finished = [run for run in method.runs if run.finished and not run.untrained]
        unfinished = [run.name for run in method.runs if not run.finished]
        notes += [f"{name} has no model.pt: the run is not finished, and only its curves are drawn." for name in unfinished]
        for run in finished:
            student = load_model(run.folder, device=device)
            reason = _no_high_side(run, student, teacher, options.high_side)
            if reason:
                without_high.setdefault(reason, []).append(run.name)
            elif teacher is not None and has_coordinates_of(run.metadata, teacher) is False:
                notes.append(f"The teacher shown is not the one that {run.name} was trained with.")
            yield Model(method.name, run.seed, run.folder, student, PROTOCOLS[:1] if reason else PROTOCOLS, run is finished[0])
    notes += [f"No LR-HR for {', '.join(names)}. {reason}" for reason, names in without_high.items()]


def _no_high_side(run: Run, student, teacher, high_side: str | None) -> str:
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


def _evaluate(
    evaluator: PairEvaluator, models: list[Model], sides: tuple[int, ...], options: ReportOptions
) -> tuple[list[EvalResult], dict[str, np.ndarray]]:
    """Results of every model, and LR-LR embeddings (2N, D) at the first px of the first model of each method."""
    results, embeddings = [], {}
    for model in models:
        own = evaluator.with_student(model.network)
        for px, protocol in itertools.product(sides, model.protocols):
            arguments = _eval_arguments(model, protocol, options)
            row = own.evaluate(px, protocol, **arguments)
            e_2ND = own.embeddings(px, protocol, **arguments)
            scores = _scores(e_2ND, evaluator.same_N) if px == sides[0] else None
            results.append(_result(model, row, options, scores))
            if model.first and (px, protocol) == (sides[0], "lr-lr"):
                embeddings[model.name] = e_2ND
        if model.name == TEACHER_NAME:
            evaluator = own
    return results, embeddings


def _eval_arguments(model: Model, protocol: str, options: ReportOptions) -> dict:
    """The teacher embeds the HR side of its own LR-HR; all students then reuse its HR embeddings."""
    high_side = "teacher" if model.name == TEACHER_NAME else options.high_side
    return {"high_side": high_side if protocol == "lr-hr" else None, "degradation": options.degradation}


def _result(model: Model, row: dict, options: ReportOptions, scores: Scores | None = None) -> EvalResult:
    return EvalResult(model.name, model.seed, model.path, options.teacher, row, scores)


def _scores(e_2ND: np.ndarray, same_N: np.ndarray) -> Scores:
    """Cosines and error rates of pairs. e_2ND: unit embeddings, first and second image in turn."""
    return Scores((e_2ND[0::2] * e_2ND[1::2]).sum(axis=1), same_N, *error_rates(e_2ND, same_N))


def _focus(
    evaluator: PairEvaluator, models: list[Model], embeddings: dict[str, np.ndarray], px: int, options: ReportOptions
) -> FocusDetails:
    """Maps, BatchNorm statistics and hard pairs at the first px."""
    image_M, label_M = shown_images(evaluator.face_2N, evaluator.same_N)
    n_identities = len(np.unique(label_M))
    maps = [identity_map(name, e_2ND[image_M], label_M) for name, e_2ND in embeddings.items()] if n_identities > 1 else []
    shifts = []
    for model in _with_batchnorm(models):
        side = input_side(model.network)
        images_2NSSC = DegradedFaces(evaluator.images_UHWC, evaluator.face_2N, px, side, options.degradation)
        place = (KEEP["full"], BATCH, evaluator.device, options.include_bn1d)
        shifts.append(measure_batchnorm_shift(model.name, model.network, images_2NSSC, *place))
    cosines = {n: (e[0::2] * e[1::2]).sum(axis=1) for n, e in embeddings.items()}
    students = {name: cosine_N for name, cosine_N in cosines.items() if name != TEACHER_NAME}
    images = DegradedFaces(evaluator.images_UHWC, evaluator.face_2N)
    hard = hard_pairs(students, evaluator.same_N, images, px, options.degradation) if options.faces else []
    return FocusDetails(evaluator.pairs_file, px, n_identities, maps, shifts, hard)


def _adapted(evaluator: PairEvaluator, models: list[Model], px: int, options: ReportOptions) -> Iterator[EvalResult]:
    """LR-LR with FaceBN, and with centered embeddings: the control without which FaceBN gets undue credit."""
    for model in _with_batchnorm(models):
        own = evaluator.with_student(model.network)
        facebn = {"facebn": "full", "keep": KEEP["full"], "order": 0, "include_bn1d": options.include_bn1d}
        for variant in (facebn, {"centre": True}):
            yield _result(model, own.evaluate(px, "lr-lr", degradation=options.degradation, **variant), options)


def _with_batchnorm(models: list[Model]) -> Iterator[Model]:
    """The first student of each method that has BatchNorm to adapt."""
    for model in models:
        if model.first and model.name != TEACHER_NAME:
            try:
                check_eval_spec(model.network, None, EvalSpec(facebn="full", keep=KEEP["full"]))
            except ValueError:
                continue
            yield model

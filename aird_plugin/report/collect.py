"""Collects the data of a report from runs and pairs. Everything is computed at call time; nothing is cached on disk.

N = pairs, 2N = their images, M = images on a map, D = embedding width.
"""

import itertools
from collections.abc import Iterator

import numpy as np

from aird_plugin.data.degradation import get_degradation
from aird_plugin.data.lowres import check_px
from aird_plugin.evaluation.degraded_faces import DegradedFaces
from aird_plugin.evaluation.eval_spec import EvalSpec
from aird_plugin.evaluation.pair_evaluator import PairEvaluator
from aird_plugin.evaluation.sides import input_side
from aird_plugin.evaluation.verification import error_rates
from aird_plugin.models.facebn import KEEP
from aird_plugin.models.load import load_teacher
from aird_plugin.models.recorded import adapted_to
from aird_plugin.report.batchnorm_shift import measure_batchnorm_shift
from aird_plugin.report.data import TEACHER_NAME, EvalResult, FocusDetails, ReportData, ReportOptions, Scores
from aird_plugin.report.embedding_map import identity_map, shown_images
from aird_plugin.report.hard_pairs import hard_pairs
from aird_plugin.report.models import Model, models_of, with_batchnorm
from aird_plugin.report.notes import different_images, notes_on_runs
from aird_plugin.report.runs import Method, group, read_run
from aird_plugin.utils.warning import warn

BATCH = 96


def gather(folders: list[str], options: ReportOptions, command: str, device: str) -> ReportData:
    """Read the runs, evaluate their students (and the teacher), and compute what only embeddings can show.

    Without pairs the results are those of the runs' own evaluation.json. Raises FileNotFoundError or ValueError, before any image
    is embedded, for folders that are not runs, missing files and invalid options.
    """
    methods = group([read_run(folder) for folder in folders])
    notes = notes_on_runs(methods)
    if not options.pairs:
        results = list(_recorded(methods))
        return ReportData(methods, results, None, command, [*notes, *different_images(results)])
    sides = options.px or sorted({check_px(run.metadata.get("px")) for method in methods for run in method.runs})
    sides = tuple(map(check_px, sides))
    get_degradation(options.degradation)
    teacher = load_teacher(options.teacher, None, device, options.teacher_input) if options.teacher else None
    models = list(models_of(methods, teacher, options, device, notes))
    if not models:
        raise ValueError("none of the runs has a model.pt that took a step, so there is nothing to evaluate; omit --pairs")
    results, focus = [], None
    for pairs_file in options.pairs:
        evaluator = PairEvaluator(None, pairs_file, teacher, BATCH, device)
        notes += map(_printed, _warnings(evaluator, models, sides))
        file_results, embeddings, copies = _evaluate(evaluator, models, sides, options)
        notes += map(_printed, copies)
        results += file_results
        focus = focus or _focus(evaluator, models, embeddings, sides[0], options)
        if focus.pairs == evaluator.pairs_file:
            results += _adapted(evaluator, models, sides[0], options)
    return ReportData(methods, results, focus, command, notes)


def _recorded(methods: list[Method]) -> Iterator[EvalResult]:
    """The results in the runs' own evaluation.json."""
    for method in methods:
        for run in method.runs:
            if run.untrained:
                continue
            teacher, fed = run.recipe.get("teacher"), run.recipe.get("teacher_input")
            join = run.recipe.get("teacher_join", "mean")
            for row in run.rows:
                yield EvalResult(method.name, run.seed, run.folder, teacher, row, None, fed, join)


def _warnings(evaluator: PairEvaluator, models: list[Model], sides: tuple[int, ...]) -> list[str]:
    """The warnings of `aird evaluate` that need no embeddings."""
    specs = [EvalSpec(px, protocol) for model in models for px in sides for protocol in model.protocols]
    pairs = (evaluator.pairs_file, evaluator.pairs_sha256)
    adapted = [adapted_to(model.path, model.network, *pairs) for model in models if model.name != TEACHER_NAME]
    return [text for text in (evaluator.upsampled(specs), *adapted) if text]


def _printed(text: str) -> str:
    """Print a warning as `aird evaluate` does, and return its note for the page, which others may read without its stderr."""
    warn(text)
    return f"{text}."


def _evaluate(
    evaluator: PairEvaluator, models: list[Model], sides: tuple[int, ...], options: ReportOptions
) -> tuple[list[EvalResult], dict[str, np.ndarray], list[str]]:
    """Results of every model, LR-LR embeddings (2N, D) at the first px of the first model of each method, and at most one
    warning of copies, by the images or by the embeddings of the first model that shows any.
    """
    results, embeddings, copies = [], {}, [evaluator.copies()]
    for model in models:
        own = evaluator.with_student(model.network)
        for px, protocol in itertools.product(sides, model.protocols):
            arguments = _eval_arguments(model, protocol, options)
            row = own.evaluate(px, protocol, **arguments)
            e_2ND = own.embeddings(px, protocol, **arguments)
            scores = _scores(e_2ND, evaluator.same_N) if px == sides[0] else None
            results.append(_result(model, row, options, scores))
            if model.first_of_method and (px, protocol) == (sides[0], "lr-lr"):
                embeddings[model.name] = e_2ND
        copies.append(own.copies())
        if model.name == TEACHER_NAME:
            evaluator = own
    return results, embeddings, [text for text in copies if text][:1]


def _eval_arguments(model: Model, protocol: str, options: ReportOptions) -> dict:
    """The teacher embeds the HR side of its own LR-HR; all students then reuse its HR embeddings."""
    high_side = "teacher" if model.name == TEACHER_NAME else options.high_side
    return {"high_side": high_side if protocol == "lr-hr" else None, "degradation": options.degradation}


def _result(model: Model, row: dict, options: ReportOptions, scores: Scores | None = None) -> EvalResult:
    return EvalResult(model.name, model.seed, model.path, options.teacher, row, scores, options.teacher_input)


def _scores(e_2ND: np.ndarray, same_N: np.ndarray) -> Scores:
    """Cosines and error rates of pairs. e_2ND: unit embeddings, first and second image in turn."""
    return Scores(_cosines(e_2ND), same_N, *error_rates(e_2ND, same_N))


def _cosines(e_2ND: np.ndarray) -> np.ndarray:
    """Cosine of each pair, (N,)."""
    return (e_2ND[0::2] * e_2ND[1::2]).sum(axis=1)


def _focus(
    evaluator: PairEvaluator, models: list[Model], embeddings: dict[str, np.ndarray], px: int, options: ReportOptions
) -> FocusDetails:
    """Maps, BatchNorm statistics and hard pairs at the first px."""
    image_M, label_M = shown_images(evaluator.face_2N, evaluator.same_N)
    n_identities = len(np.unique(label_M))
    maps = [identity_map(name, e_2ND[image_M], label_M) for name, e_2ND in embeddings.items()] if n_identities > 1 else []
    shifts = []
    for model in with_batchnorm(models):
        side = input_side(model.network)
        images_2NSSC = DegradedFaces(evaluator.images_UHWC, evaluator.face_2N, px, side, options.degradation)
        settings = (KEEP["full"], BATCH, evaluator.device, options.include_bn1d)
        shifts.append(measure_batchnorm_shift(model.name, model.network, images_2NSSC, *settings))
    students = {name: _cosines(e_2ND) for name, e_2ND in embeddings.items() if name != TEACHER_NAME}
    images = DegradedFaces(evaluator.images_UHWC, evaluator.face_2N)
    hard = hard_pairs(students, evaluator.same_N, images, px, options.degradation) if options.faces else []
    return FocusDetails(evaluator.pairs_file, px, n_identities, maps, shifts, hard)


def _adapted(evaluator: PairEvaluator, models: list[Model], px: int, options: ReportOptions) -> Iterator[EvalResult]:
    """LR-LR with FaceBN, and with centered embeddings: the control without which FaceBN gets undue credit."""
    for model in with_batchnorm(models):
        own = evaluator.with_student(model.network)
        facebn = {"facebn": "full", "keep": KEEP["full"], "order": 0, "include_bn1d": options.include_bn1d}
        for variant in (facebn, {"centre": True}):
            yield _result(model, own.evaluate(px, "lr-lr", degradation=options.degradation, **variant), options)

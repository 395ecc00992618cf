"""The input files of a recipe: which exist, and where to get the others. All are checked together, before any work."""

import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from aird_plugin.config.recipe import Recipe
from aird_plugin.config.recipe_file import DataPath
from aird_plugin.config.sections import TeacherConfig
from aird_plugin.data.list_records import LIST_SUFFIXES
from aird_plugin.diagnostics.diagnostic import Diagnostic
from aird_plugin.evaluation.pair_files import check_pairs_file
from aird_plugin.models.find import find_model
from aird_plugin.models.registry import ONNX
from aird_plugin.training.resume_from import is_begun, source_problem
from aird_plugin.utils import distributed
from aird_plugin.utils.errors import MissingInputs

SOURCES = {
    "rec": "CASIA-WebFace: 'CASIA-Webface' on InsightFace's page Face Recognition Datasets (recognition/_datasets_ of its "
    "repository), unpacked. Your own photos: `aird align PHOTOS --out FOLDER`, then rec=FOLDER num_classes=0; without "
    "identities: a folder of crops, by a recipe such as zoo/zoo_nolabels.py",
    "identity_map": "a CSV file, each line source,label,identity; without it the identities of several training sets are apart",
    "teacher": "an .onnx recognition model of InsightFace's Model Zoo (model_zoo of its repository; the R50 of CASIA-WebFace is "
    "its row 'CISIA'; packs are under ~/.insightface/models, e.g. buffalo_l/w600k_r50.onnx), an arcface_torch model.pt, or a "
    "run folder",
    "student_init": "a run folder, or a .pt file of this recipe's network; for network='onnx' an .onnx recogniser",
    "resume_from": "the run folder of `aird train`, with its checkpoints",
    "prior": "the run folder of a recipe that trains a prior (gdrd_prior.py), or a diffusion model in diffusers' format",
    "val_targets": "lfw.bin, agedb_30.bin and others come with InsightFace's training sets; your own pairs: tools/make_bin.py; "
    "several: val_targets=\"('lfw.bin', 'agedb_30.bin')\"; val_targets='()' verifies nothing",
}
NOTHING_AT_HAND = "No data yet? `make quickstart` renders its own images and trains a teacher and students in 10 to 15 minutes."


@dataclass(frozen=True)
class Input:
    """A file or folder that a recipe names. key: the recipe's key; problem: why it cannot be used, None where it can."""

    key: str
    path: str
    what: str
    problem: str | None

    def __str__(self) -> str:
        return f"{self.key}={self.path} ({self.what})" + (f": {self.problem}" if self.problem else "")


def inputs_of(recipe: Recipe, verification: bool = True) -> Iterator[Input]:
    """Every input that the recipe names. verification: also the files of val_targets, each opened and its pairs counted."""
    for rec in recipe.data.places:
        there = Path(rec).is_file() if rec.endswith((".rec", *LIST_SUFFIXES)) else Path(rec).is_dir()
        yield Input("rec", rec, "training images", None if there else "not there")
    if joins := recipe.data.identity_map:
        yield Input("identity_map", joins, "joined identities", None if Path(joins).is_file() else "not there")
    for key, path, what in (
        *(("teacher", path, "teacher") for path in recipe.teacher.paths),
        ("student_init", recipe.student.student_init, "initial weights of the student"),
    ):
        if path:
            yield Input(key, path, what, model_problem(path))
    if recipe.run.resume_from and not is_begun(recipe):
        yield Input("resume_from", recipe.run.resume_from, "run to start from", source_problem(recipe.run.resume_from))
    if recipe.prior.prior:
        yield Input("prior", recipe.prior.prior, "diffusion prior", None if Path(recipe.prior.prior).is_dir() else "not there")
    if verification:
        for target in target_files(recipe):
            yield Input("val_targets", target, "verification pairs", target_problem(target))


def check_inputs(recipe: Recipe, verification: bool = True) -> None:
    """Raise MissingInputs, one message for all of them, where an input cannot be used. Rank 0 prints `absent_targets`."""
    if verification and distributed.rank() == 0:
        for note in absent_targets(recipe):
            print(note, file=sys.stderr, flush=True)
    problems = [found for found in inputs_of(recipe, verification) if found.problem]
    if not problems:
        return
    lines = [f"{len(problems)} of this recipe's inputs cannot be used:", *(f"  {found}" for found in problems)]
    lines += [f"  {key}: {SOURCES[key]}" for key in dict.fromkeys(found.key for found in problems)]
    raise MissingInputs("\n".join([*lines, f"  {NOTHING_AT_HAND}"]))


def model_problem(path: str) -> str | None:
    """Why no weight file is found at `path`; None if one is."""
    try:
        find_model(path)
    except FileNotFoundError as error:
        return str(error) if Path(path).exists() else "not there"
    except ValueError as error:
        return str(error)
    return None


def target_problem(path: str) -> str | None:
    """Why a .bin cannot be verified by ten folds, or which image of it is unreadable; None where it can be verified."""
    if not Path(path).is_file():
        return "not there"
    try:
        check_pairs_file(path)
    except ValueError as error:
        return str(error).removeprefix(f"{path}: ")
    return None


def target_files(recipe: Recipe) -> list[str]:
    """Each of val_targets as a file, without the recipe's defaults that are absent.

    A bare name, as in arcface_torch (`lfw`), is looked up beside the (first) training set; a default that is not in the data
    folder, too.
    """
    files = [target_file(recipe, target) for target in recipe.run.val_targets]
    return [str(file) for file in files if not is_absent_default(file)]


def target_file(recipe: Recipe, target: str) -> str:
    """The file of one of val_targets, which may not be there."""
    rec, name = Path(recipe.data.places[0]), Path(target).name
    beside = rec.parent if rec.suffix in (".rec", *LIST_SUFFIXES) else rec
    if is_absent_default(target) and (beside / name).is_file():
        return str(beside / name)
    if name == target and not Path(target).is_file():
        return str(beside / (target if target.endswith(".bin") else f"{target}.bin"))
    return target


def is_absent_default(target: str) -> bool:
    """Whether a target is a default of the recipe, by `data_path`, and not there."""
    return isinstance(target, DataPath) and not Path(target).exists()


def absent_targets(recipe: Recipe) -> Iterator[Diagnostic]:
    """A note on the recipe's default val_targets that are absent: a run does without them. Those that a user names must exist."""
    absent = [file for target in recipe.run.val_targets if is_absent_default(file := target_file(recipe, target))]
    if not absent:
        return
    lost = f"accuracy at {recipe.data.px} px ({', '.join(recipe.run.val_protocols)}) is not measured on them"
    if recipe.prior.prior_side:
        lost = "samples.png shows training images"
    what = f"no {', '.join(absent)} (default val_targets), so {lost}"
    yield Diagnostic("note", what, "val_targets=FILE.bin names other pairs, and tools/make_bin.py writes your own")


def with_student_init(recipe: Recipe) -> Recipe:
    """The recipe with the file that an ONNX student starts from, and how that is fed: the teacher's file as the teacher."""
    if recipe.student.network != ONNX:
        return recipe
    first = recipe.student.student_init or recipe.teacher.teacher
    if not isinstance(first, str):
        raise ValueError(f"network='onnx' is built from an .onnx file: set student_init=FILE.onnx or teacher; got {first!r}")
    stated = recipe.student.student_input or stated_for(recipe.teacher, first)
    return replace(recipe, student=replace(recipe.student, student_init=first, student_input=stated))


def stated_for(spec: TeacherConfig, path: str) -> dict | None:
    """How the recipe states that the teacher with the .onnx file of `path` is fed; None where no teacher has this file."""
    file = find_model(path).file
    inputs = spec.teacher_input if isinstance(spec.teacher_input, tuple) else (spec.teacher_input,) * len(spec.paths)
    same = (given for own, given in zip(spec.paths, inputs, strict=True) if find_model(own).file.resolve() == file.resolve())
    return next(same, None) if file.suffix == ".onnx" else None


def with_target_files(recipe: Recipe) -> Recipe:
    """The recipe with val_targets as paths of files."""
    return replace(recipe, run=replace(recipe.run, val_targets=tuple(target_files(recipe))))

"""Validation during training: val_targets at the recipe's px, in its protocols. Used by the embedded loop and arcface_torch."""

import io
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from aird_plugin.data.constants import FACE_SIDE
from aird_plugin.data.mixture import verified_degradation
from aird_plugin.data.records import skipped_images
from aird_plugin.evaluation.pair_evaluator import PairEvaluator
from aird_plugin.evaluation.sides import input_side
from aird_plugin.models.find import model_hashes
from aird_plugin.models.teacher import Teacher
from aird_plugin.models.teacher_input import described_inputs
from aird_plugin.training.setup import TrainingSetup
from aird_plugin.utils import distributed
from aird_plugin.utils.files import write_atomically
from aird_plugin.utils.provenance import stamped
from aird_plugin.utils.warning import warn

# In a row: the number of unreadable training images that the student was trained without.
SKIPPED = "skipped_images"


@dataclass(frozen=True)
class ValidationSpec:
    """One row of the validation. facebn: None or a mode."""

    target: str
    px: int
    protocol: str
    facebn: str | None

    @property
    def name(self) -> str:
        """Its name in logs: `lfw` for 112 px images, as in arcface_torch, else `lfw/lr-lr/16px`; with FaceBN `.../facebn`."""
        suffix = "" if self.px == FACE_SIDE else f"/{self.protocol}/{self.px}px"
        return Path(self.target).stem + suffix + ("/facebn" if self.facebn else "")


def eval_specs(setup: TrainingSetup, untouched: bool = False) -> list[ValidationSpec]:
    """The recipe's specs for each target; with `untouched`, first the images at full size, where the student takes 112 px.

    LR-HR is left out for a student trained without a teacher that takes LR images only: no network embeds its HR side.
    """
    recipe = setup.recipe
    specs = [(recipe.data.px, protocol) for protocol in recipe.run.val_protocols]
    if not has_high_side(setup):
        specs = [(px, protocol) for px, protocol in specs if protocol != "lr-hr"]
    if untouched and input_side(setup.student) == FACE_SIDE and recipe.data.px != FACE_SIDE:
        specs.insert(0, (FACE_SIDE, "lr-lr"))
    modes = [None, recipe.run.facebn] if recipe.run.facebn else [None]
    return [
        ValidationSpec(target, *px_protocol, mode) for target in recipe.run.val_targets for px_protocol in specs for mode in modes
    ]


def renew_evaluators(setup: TrainingSetup) -> None:
    """Point the evaluators at the updated student; decoded images and the teacher's embeddings are kept."""
    for target, evaluator in setup.evaluators.items():
        setup.evaluators[target] = evaluator.with_student(setup.deployed)


def evaluate_one(setup: TrainingSetup, spec: ValidationSpec, specs: Sequence[ValidationSpec]) -> dict:
    """The row of one spec, for the student as it was at the last `renew_evaluators`.

    specs: all of the run. At the first row of a file a warning is printed if one of them upsamples images of the file.
    """
    if spec.target not in setup.evaluators:
        evaluator = PairEvaluator(setup.deployed, spec.target, high_side(setup), device=setup.device)
        warn(evaluator.upsampled(specs))
        setup.evaluators[spec.target] = evaluator
    run = setup.recipe.run
    options = {"facebn": spec.facebn, "keep": run.keep, "include_bn1d": run.include_bn1d, "order": run.seed}
    options = options if spec.facebn else {}
    degradation = verified_degradation(setup.recipe.data.degradation)
    return setup.evaluators[spec.target].evaluate(spec.px, spec.protocol, degradation=degradation, **options)


def evaluate_run(
    setup: TrainingSetup, write: bool = False, run: Callable[[Callable[[], None]], None] = lambda work: work()
) -> list[dict]:
    """A row for each spec; rank 0 evaluates, the others wait and get none. `write` prints the rows and puts them into
    evaluation.json.

    run: calls rank 0's work, and may break it off; then there are no rows.
    """
    rows: list[dict] = []

    def work() -> None:
        """Rank 0's part; broken off before its end, it leaves no rows."""
        renew_evaluators(setup)
        specs = eval_specs(setup)
        found = [evaluate_one(setup, spec, specs) for spec in specs]
        if write:
            write_rows(setup, found)
            print_accuracies(specs, found)
        rows.extend(found)

    try:
        if distributed.rank() == 0:
            run(work)
    # Also after an error on rank 0.
    finally:
        distributed.wait_for_rank0()
    return rows


def write_rows(setup: TrainingSetup, rows: list[dict]) -> None:
    """OUTPUT/evaluation.json, of the student in model.pt beside it. Rank 0 calls it, once model.pt is written."""
    run, teacher = setup.recipe.run, setup.recipe.teacher.paths or None
    hashes = model_hashes({"student": run.output, "teacher": teacher})
    rows = stamped(rows, setup.device, hashes, described_inputs({"student": setup.deployed, "teacher": high_side(setup)}))
    if skipped := skipped_images(setup.records):
        rows = [row | {SKIPPED: skipped} for row in rows]
    write_atomically(Path(run.output) / "evaluation.json", json.dumps(rows, indent=1).encode())


def print_accuracies(specs: list[ValidationSpec], rows: list[dict]) -> None:
    """A line on stderr for each row: accuracy and 95% interval, in per cent."""
    for spec, row in zip(specs, rows, strict=True):
        low, high = row["ci95"]
        print(f"{spec.name}: accuracy {row['accuracy']:.2f} (95% interval {low:.2f}..{high:.2f})", file=sys.stderr)


def high_side(setup: TrainingSetup) -> Teacher | None:
    """The teacher that embeds the HR side."""
    return setup.teacher.on_hr if setup.teacher else None


def has_high_side(setup: TrainingSetup) -> bool:
    """Whether a network can embed the HR side in the embedding space of the student."""
    takes_hr = input_side(setup.student) == FACE_SIDE
    if takes_hr or setup.teacher is None:
        return takes_hr
    # A student of a projected teacher is comparable with the teacher only at the teacher's width.
    return setup.recipe.head.head_init == "teacher" and setup.teacher.dim == setup.embedding_size


def write_student(setup: TrainingSetup) -> None:
    """OUTPUT/model.pt: the bare student's state dict, or that of its averaged weights, written atomically by rank 0."""
    if distributed.rank() == 0:
        state = {name: value.detach().cpu().contiguous() for name, value in setup.deployed.state_dict().items()}
        content = io.BytesIO()
        torch.save(state, content)
        write_atomically(Path(setup.recipe.run.output) / "model.pt", content.getvalue())

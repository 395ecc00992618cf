"""Verification of a run by its own recipe: val_targets at the recipe's px, in the recipe's protocols."""

import io
import json
from pathlib import Path

import torch

from aird_plugin import distributed
from aird_plugin.evaluation.protocol import Session
from aird_plugin.files import write_atomically


def evaluate_run(training, write: bool = False) -> list[dict]:
    """A row for each target and protocol; rank 0 evaluates, the others wait. LR-HR of a student that never met a teacher and
    takes low faces only has no answer and is left out."""
    rows: list[dict] = []
    if distributed.rank() == 0:
        recipe = training.recipe
        for target in recipe.run.val_targets:
            if target not in training.sessions:
                training.sessions[target] = Session(training.student, target, training.teacher, device=training.device)
            # The student has moved since the last time; the faces and what the teacher says of them have not.
            session = training.sessions[target] = training.sessions[target].with_student(training.student)
            for protocol in recipe.run.val_protocols:
                if protocol == "lr-hr" and not can_compare_with_high(training):
                    continue
                rows.append(session.evaluate(recipe.data.px, protocol))
                if recipe.run.facebn:
                    options = {"facebn": recipe.run.facebn, "keep": recipe.run.keep, "order": recipe.run.seed}
                    rows.append(session.evaluate(recipe.data.px, protocol, **options))
        if write:
            write_atomically(Path(recipe.run.output) / "evaluation.json", json.dumps(rows, indent=1).encode())
    distributed.barrier()
    return rows


def can_compare_with_high(training) -> bool:
    """Whether somebody can embed the high side in the student's coordinates."""
    takes_high = training.student.input_size == 112
    return takes_high or (training.teacher is not None and training.recipe.head.head_init == "teacher")


def write_student(training) -> None:
    """OUTPUT/model.pt: the bare student's state dict, whole or not at all. Rank 0 writes."""
    if distributed.rank() == 0:
        state = {name: value.detach().cpu().contiguous() for name, value in training.student.state_dict().items()}
        content = io.BytesIO()
        torch.save(state, content)
        write_atomically(Path(training.recipe.run.output) / "model.pt", content.getvalue())

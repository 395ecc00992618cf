"""Verification of a run by its own recipe: val_targets at the recipe's px, in the recipe's protocols. Both hosts ask here."""

import io
import json
from dataclasses import dataclass
from pathlib import Path

import torch

from aird_plugin import distributed
from aird_plugin.data.lowres import FACE_SIDE
from aird_plugin.evaluation.protocol import Session, input_side
from aird_plugin.files import write_atomically
from aird_plugin.provenance import stamped


@dataclass(frozen=True)
class Question:
    """One row to be measured. facebn: None or a mode."""

    target: str
    px: int
    protocol: str
    facebn: str | None

    @property
    def name(self) -> str:
        """How logs call it: `lfw` for sharp faces, as arcface_torch does, else `lfw/lr-lr/16px`; with FaceBN `.../facebn`."""
        low = "" if self.px == FACE_SIDE else f"/{self.protocol}/{self.px}px"
        return Path(self.target).stem + low + ("/facebn" if self.facebn else "")


def questions(lesson, sharp: bool = False) -> list[Question]:
    """What the recipe asks, for each target; with `sharp` first the untouched faces, where the student can take them.

    LR-HR of a student that never met a teacher and takes low faces only has no answer and is left out.
    """
    recipe = lesson.recipe
    asked = [(recipe.data.px, protocol) for protocol in recipe.run.val_protocols]
    if not can_compare_with_high(lesson):
        asked = [(px, protocol) for px, protocol in asked if protocol != "lr-hr"]
    if sharp and input_side(lesson.student) == FACE_SIDE and recipe.data.px != FACE_SIDE:
        asked.insert(0, (FACE_SIDE, "lr-lr"))
    modes = [None, recipe.run.facebn] if recipe.run.facebn else [None]
    return [Question(target, *px_protocol, mode) for target in recipe.run.val_targets for px_protocol in asked for mode in modes]


def renew_sessions(lesson) -> None:
    """The student has moved since the last verification; the decoded faces and what the teacher says of them have not."""
    for target, session in lesson.sessions.items():
        lesson.sessions[target] = session.with_student(lesson.student)


def answer(lesson, question: Question) -> dict:
    """The row of one question, for the student as it was at the last `renew_sessions`."""
    if question.target not in lesson.sessions:
        lesson.sessions[question.target] = Session(lesson.student, question.target, lesson.teacher, device=lesson.device)
    run = lesson.recipe.run
    options = {"facebn": question.facebn, "keep": run.keep, "order": run.seed} if question.facebn else {}
    degradation = lesson.recipe.data.degradation
    return lesson.sessions[question.target].evaluate(question.px, question.protocol, degradation=degradation, **options)


def evaluate_run(lesson, write: bool = False, sharp: bool = False) -> list[dict]:
    """A row for each question; rank 0 evaluates, the others wait. `write` puts the rows into evaluation.json."""
    rows: list[dict] = []
    try:
        if distributed.rank() == 0:
            renew_sessions(lesson)
            rows = [answer(lesson, question) for question in questions(lesson, sharp)]
            if write:
                write_rows(lesson, rows)
    # Also where a signal breaks it off.
    finally:
        distributed.wait_for_the_first()
    return rows


def write_rows(lesson, rows: list[dict]) -> None:
    """OUTPUT/evaluation.json, of the student in model.pt beside it. Rank 0 calls it, once model.pt is written."""
    run, teacher = lesson.recipe.run, lesson.recipe.teacher.teacher
    rows = stamped(rows, lesson.device, {"student": run.output, "teacher": teacher})
    write_atomically(Path(run.output) / "evaluation.json", json.dumps(rows, indent=1).encode())


def can_compare_with_high(lesson) -> bool:
    """Whether somebody can embed the high side in the student's coordinates."""
    takes_high = input_side(lesson.student) == FACE_SIDE
    if takes_high or lesson.teacher is None:
        return takes_high
    # A student of an adapted teacher stays near the teacher's coordinates only in the teacher's width.
    return lesson.recipe.head.head_init == "teacher" and lesson.teacher.dim == lesson.embedding_size


def write_student(lesson) -> None:
    """OUTPUT/model.pt: the bare student's state dict, whole or not at all. Rank 0 writes."""
    if distributed.rank() == 0:
        state = {name: value.detach().cpu().contiguous() for name, value in lesson.student.state_dict().items()}
        content = io.BytesIO()
        torch.save(state, content)
        write_atomically(Path(lesson.recipe.run.output) / "model.pt", content.getvalue())
